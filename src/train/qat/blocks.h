// Where a model can be cut into blocks that are trained one after the other (Li et al. 2021, "BRECQ: Pushing
// the Limit of Post-Training Quantization by Block Reconstruction"). Each one learns, with the inputs that
// the blocks before it give, to make what the float model makes at its end: many numbers for each sample,
// instead of the few that the model's outputs are, so that few samples teach many weights without being
// learned by heart.
#pragma once

#include <vector>

#include "graph/graph.h"
#include "train/qat/learned.h"

namespace zp::train {

// A block has at least `products` products, and ends in front of the next one, where a single value is left
// of all that weights had a part in; the last block ends at the model's float outputs. `graph` is the
// prepared one, sorted.
std::vector<Block> find_blocks(const Graph& graph, int products = 3);

}  // namespace zp::train
