// Q/DQ, the program's one representation of quantization: recognised and named by OpDef::role.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include "core/tensor.h"
#include "graph/graph.h"
#include "ops/op.h"
#include "quant/numbers.h"

namespace zp::quant {

// x, scale, zero_point -> integers
inline bool is_quantize(const Node& n) { return role_of(n) == QdqRole::kQuantize; }
// integers, scale, zero_point -> x
inline bool is_dequantize(const Node& n) { return role_of(n) == QdqRole::kDequantize; }
inline bool is_of_qdq_pair(const Node& n) { return role_of(n) != QdqRole::kNone; }
// The operator of the default domain that has this role.
std::string_view operator_of(QdqRole role);

// Scale and zero point of a Q or DQ node, when it is per tensor and they are constants.
std::optional<QParams> constant_params(const Graph& graph, const Node& node);

// Whether the graph already holds quantized values.
bool is_quantized(const Graph& graph);

// What a file has once: one memory under two shapes is two tensors there.
using TensorKey = std::tuple<const void*, DType, Shape>;
inline TensorKey key_of(const Tensor& t) { return {t.identity(), t.dtype(), t.dims()}; }
// All constants that nodes or outputs use, subgraphs included, as a file has them: what is shared once.
std::vector<Tensor> stored_constants(const Graph& graph);
// Their bytes, without those of strings.
size_t constant_bytes(const Graph& graph);

}  // namespace zp::quant
