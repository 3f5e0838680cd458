// What normalizations of rows share.
#pragma once

#include <string_view>
#include <vector>

#include "graph/graph.h"

namespace zp {

// OpDef::fails_in_half of those that give mean and deviation, too: ONNX has these in float32.
std::string_view moments_fail_in_half(const Graph& graph, const Node& node,
                                      const std::vector<const Node*>& readers);

}  // namespace zp
