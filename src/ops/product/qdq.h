// Between the operator formats (QLinear..., ...Integer, MatMulNBits) and Q/DQ: what the products'
// canonicalize and fold hooks share.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ops/op.h"

namespace zp {

using Attributes = std::vector<std::pair<std::string, Attribute>>;

// All attributes of a node but `without`.
Attributes attributes_of(const Node& node, std::vector<std::string_view> without = {});

// A constant, or one that a Reshape gives other dimensions, as files have it where two nodes share a table.
const Tensor* stored_constant(const Canonicalize& c, size_t input);
// A constant of one element as a scalar, which says "per tensor" without doubt; other values as they are.
ValueId scalar_if_single(Graph& graph, ValueId value);
// Is it a constant, or known to have so many elements? -1: unknown.
int64_t known_size(const Graph& graph, ValueId value);

// DequantizeLinear of `value`; `axis` counts only where the scale has more than one element.
ValueId add_dequantize(Canonicalize& c, ValueId value, ValueId scale, ValueId zero_point, int64_t axis);
// DynamicQuantizeLinear of `value`, and DequantizeLinear behind it.
ValueId add_dynamic_quantize(Canonicalize& c, ValueId value);
// a * b * alpha of scales: a constant where they are, nodes otherwise.
ValueId add_scale_product(Canonicalize& c, ValueId a, ValueId b, float alpha = 1);

// The zero point of an edge, or zeros like its scale: operator forms need an explicit one.
ValueId zero_point_or_zeros(Graph& graph, const QuantizedEdge& edge);
// A node of a fold that makes `output`.
Node folded_node(std::string name, std::string_view type, std::string_view domain,
                 std::vector<ValueId> inputs, ValueId output, Attributes attributes = {});

bool is_8_bit_value(const Graph& graph, ValueId value);
// An input or output that com.microsoft's QLinear operators take: 8 bits, one constant scale, and an explicit
// zero point. ONNX Runtime has their kernels for one type alone: all edges of a node have the same.
bool is_plain_8_bit(const Graph& graph, const std::optional<QuantizedEdge>& edge);
bool are_plain_8_bit(const Fold& f);  // all inputs and the output
bool is_single(const Graph& graph, ValueId value);
// Per tensor, or per element of `axis` of a tensor with `rank` dimensions.
bool fits_axis(const Graph& graph, const QuantizedEdge& edge, int axis, int rank);
// Is the scale of `bias`, where both are constants, that of x times that of w (and alpha)?
bool has_product_scale(const Graph& graph, const QuantizedEdge& bias, const QuantizedEdge& x,
                       const QuantizedEdge& w, float alpha = 1);
// A two-dimensional 8-bit constant transposed.
Tensor transposed_bytes(const Tensor& matrix);

// The form that ONNX Runtime writes for dynamic quantization: integer product, Cast, Mul by both scales (and
// Add): the nodes after the integer product `sums`. `weight_scale` already broadcasts to the output; bias
// kNoValue: none.
void fold_dynamic_tail(Fold& f, ValueId sums, ValueId input_scale, ValueId weight_scale, ValueId bias);

}  // namespace zp
