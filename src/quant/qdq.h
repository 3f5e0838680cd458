// Q/DQ, the program's one representation of quantization: recognised and named by OpDef::role.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "graph/graph.h"
#include "ops/op.h"
#include "quant/numbers.h"

namespace zp::quant {

QdqRole role_of(const Node& node);
inline bool is_quantize(const Node& n) {
  return role_of(n) == QdqRole::kQuantize;
}  // x, scale, zero_point -> integers
inline bool is_dequantize(const Node& n) {
  return role_of(n) == QdqRole::kDequantize;
}  // integers, scale, zero_point -> x
inline bool is_notation(const Node& n) { return role_of(n) != QdqRole::kNone; }
// The operator of the default domain that has this role.
std::string_view operator_of(QdqRole role);

// Scale and zero point of a Q or DQ node, when it is per tensor and they are constants.
std::optional<QParams> constant_params(const Graph& graph, const Node& node);

// Whether the graph already holds quantized values.
bool is_quantized(const Graph& graph);

// Bytes of all constants that nodes or outputs use, subgraphs included; what is shared counts once.
size_t constant_bytes(const Graph& graph);

}  // namespace zp::quant
