// The part of a model that can be run, where it has unknown operators: calibration goes as far as they let
// it.
#pragma once

#include <memory>
#include <vector>

#include "graph/graph.h"

namespace zp::quant {

// By value: a run computes it. Empty: it computes all of them.
std::vector<bool> computable(const Graph& graph);

// The model without what cannot be computed, if there is any; ids stay. If none of the model's
// own outputs is left, the values that the dropped part read become outputs.
std::shared_ptr<const Model> runnable(const std::shared_ptr<const Model>& model);

}  // namespace zp::quant
