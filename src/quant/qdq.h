// Q/DQ, the program's one representation of quantization. These three operators are not things that get quantized but
// the notation itself, so quant/ knows their names; every other operator it knows by its QuantRule alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "graph/graph.h"
#include "quant/numbers.h"

namespace zp::quant {

inline constexpr std::string_view kQuantize = "QuantizeLinear";            // x, scale, zero_point -> integers
inline constexpr std::string_view kDequantize = "DequantizeLinear";        // integers, scale, zero_point -> x
inline constexpr std::string_view kDynamicQuantize = "DynamicQuantizeLinear";  // x -> integers, scale, zero_point

inline bool is_quantize(const Node& n) { return n.is(kQuantize); }
inline bool is_dequantize(const Node& n) { return n.is(kDequantize); }
inline bool is_dynamic_quantize(const Node& n) { return n.is(kDynamicQuantize); }
inline bool is_notation(const Node& n) { return is_quantize(n) || is_dequantize(n) || is_dynamic_quantize(n); }

// Scale and zero point of a Q or DQ node, when it is per tensor and they are constants.
std::optional<QParams> constant_params(const Graph& graph, const Node& node);

// Whether the graph already holds quantized values.
bool is_quantized(const Graph& graph);

// A copy that shares tensors but nothing that a rewrite or shape inference could change (subgraphs are copied too).
Graph clone(const Graph& graph);

// Bytes of all constants that nodes or outputs use, subgraphs included.
size_t constant_bytes(const Graph& graph);

}  // namespace zp::quant
