// Where a model can be cut into blocks that are trained one after the other (Li et al. 2021, "BRECQ: Pushing
// the Limit of Post-Training Quantization by Block Reconstruction"). Each one takes the outputs of the
// blocks before it and learns to give the float model's values at its end. These are many numbers for each
// sample, and the model's outputs are few, so that few samples teach many weights without overfitting.
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
