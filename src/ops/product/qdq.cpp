#include "ops/product/qdq.h"

#include <algorithm>
#include <cmath>

#include "core/element_types.h"

namespace zp {

Attributes attributes_of(const Node& node, std::vector<std::string_view> without) {
  Attributes attributes;
  for (const auto& [key, value] : node.attributes) {
    if (std::find(without.begin(), without.end(), key) == without.end()) attributes.emplace_back(key, value);
  }
  return attributes;
}

int64_t known_size(const Graph& graph, ValueId value) {
  if (value == kNoValue) return -1;
  if (const Tensor* t = graph.constant(value)) return t->size();
  const auto& shape = graph[value].shape;
  if (!shape) return -1;
  const std::optional<Shape> dims = concrete(*shape);
  return dims ? element_count(*dims) : -1;
}

ValueId scalar_if_single(Graph& graph, ValueId value) {
  const Tensor* t = graph.constant(value);
  if (!t || t->size() != 1 || t->dims().empty()) return value;
  return graph.add_constant(graph[value].name + "_scalar", t->reshaped({}));
}

ValueId add_dequantize(Canonicalize& c, ValueId value, ValueId scale, ValueId zero_point, int64_t axis) {
  std::vector<ValueId> inputs{value, scalar_if_single(c.graph, scale)};
  if (zero_point != kNoValue) {
    // Some files give one zero point for all scales; DequantizeLinear wants as many.
    const Tensor* point = c.graph.constant(zero_point);
    const int64_t scales = known_size(c.graph, scale);
    if (point && point->size() == 1 && scales > 1 && bits_of(point->dtype()) == 8) {
      Tensor all(point->dtype(), {scales});
      std::fill_n(all.mutable_raw(), scales, point->raw()[0]);
      zero_point = c.constant_value(c.graph[zero_point].name + "_all", std::move(all));
    }
    inputs.push_back(scalar_if_single(c.graph, zero_point));
  }
  Attributes attributes;
  if (known_size(c.graph, scale) != 1) attributes.emplace_back("axis", axis);
  return c.add("DequantizeLinear", std::move(inputs), std::move(attributes));
}

const Tensor* stored_constant(const Canonicalize& c, size_t input) {
  if (const Tensor* t = c.constant(input)) return t;
  for (const Node& n : c.graph.nodes)
    if (n.is("Reshape") && n.output(0) == c.node.input(input)) return c.graph.constant(n.input(0));
  return nullptr;
}

ValueId add_dynamic_quantize(Canonicalize& c, ValueId value) {
  Graph& g = c.graph;
  Node quantize;
  quantize.op_type = "DynamicQuantizeLinear";
  quantize.inputs = {value};
  const std::string base = c.node.output(0) == kNoValue ? c.node.name : g[c.node.output(0)].name;
  for (const char* part : {"_quantized", "_scale", "_zero_point"})
    quantize.outputs.push_back(g.add_value(base + part));
  quantize.name = g[quantize.outputs[0]].name;
  const std::vector<ValueId> made = quantize.outputs;
  c.nodes.push_back(std::move(quantize));
  return c.add("DequantizeLinear", made);
}

ValueId add_scale_product(Canonicalize& c, ValueId a, ValueId b, float alpha) {
  const Tensor* at = c.graph.constant(a);
  const Tensor* bt = c.graph.constant(b);
  if (at && bt && (at->size() == 1 || bt->size() == 1 || at->size() == bt->size())) {
    const std::vector<float> x = at->floats(), y = bt->floats();
    std::vector<float> product(std::max(x.size(), y.size()));
    for (size_t i = 0; i < product.size(); ++i) {
      product[i] = x[x.size() == 1 ? 0 : i] * y[y.size() == 1 ? 0 : i] * alpha;
    }
    const Shape dims = product.size() == 1 ? Shape{} : Shape{static_cast<int64_t>(product.size())};
    return c.constant_value(c.graph[b].name + "_product", Tensor::of<float>(dims, product));
  }
  const ValueId product = c.add("Mul", {a, b});
  return alpha == 1
             ? product
             : c.add("Mul", {product, c.constant_value(c.node.name + "_alpha", Tensor::scalar(alpha))});
}

ValueId zero_point_or_zeros(Graph& graph, const QuantizedEdge& edge) {
  if (edge.zero_point != kNoValue) return edge.zero_point;
  const Tensor* scale = graph.constant(edge.scale);
  return graph.add_constant(graph[edge.scale].name + "_zero_point",
                            Tensor(graph[edge.quantized].dtype, scale ? scale->dims() : Shape{}));
}

Node folded_node(std::string name, std::string_view type, std::string_view domain,
                 std::vector<ValueId> inputs, ValueId output, Attributes attributes) {
  Node n;
  n.name = std::move(name);
  n.op_type = type;
  n.domain = domain;
  n.inputs = std::move(inputs);
  n.outputs = {output};
  for (auto& [key, value] : attributes) n.attributes.emplace(std::move(key), std::move(value));
  return n;
}

bool is_8_bit_value(const Graph& graph, ValueId value) {
  return value != kNoValue && is_8_bit(graph[value].dtype);
}

bool is_plain_8_bit(const Graph& graph, const std::optional<QuantizedEdge>& edge) {
  if (!edge || edge->dynamic || edge->block_size != 0 || edge->zero_point == kNoValue) return false;
  const Tensor* scale = graph.constant(edge->scale);
  return scale && scale->size() == 1 && is_8_bit_value(graph, edge->quantized);
}

bool are_plain_8_bit(const Fold& f) {
  if (!is_plain_8_bit(f.graph, f.output)) return false;
  const DType type = f.graph[f.output->quantized].dtype;
  return std::all_of(f.inputs.begin(), f.inputs.end(), [&](const std::optional<QuantizedEdge>& e) {
    return is_plain_8_bit(f.graph, e) && f.graph[e->quantized].dtype == type;
  });
}

bool is_single(const Graph& graph, ValueId value) { return known_size(graph, value) == 1; }

bool fits_axis(const Graph& graph, const QuantizedEdge& edge, int axis, int rank) {
  if (edge.block_size != 0) return false;
  return is_single(graph, edge.scale) || (edge.axis < 0 ? edge.axis + rank : edge.axis) == axis;
}

bool has_product_scale(const Graph& graph, const QuantizedEdge& bias, const QuantizedEdge& x,
                       const QuantizedEdge& w, float alpha) {
  const Tensor *bt = graph.constant(bias.scale), *xt = graph.constant(x.scale), *wt = graph.constant(w.scale);
  if (!bt || !xt || !wt || xt->size() != 1) return false;
  const std::vector<float> b = bt->floats(), ws = wt->floats();
  const float s_x = xt->floats()[0];
  const size_t count = std::max(b.size(), ws.size());
  if ((b.size() != count && b.size() != 1) || (ws.size() != count && ws.size() != 1)) return false;
  for (size_t i = 0; i < count; ++i) {
    const float want = s_x * ws[ws.size() == 1 ? 0 : i] * alpha;
    if (!(std::abs(b[b.size() == 1 ? 0 : i] - want) <= 1e-5F * std::abs(want))) return false;
  }
  return true;
}

Tensor transposed_bytes(const Tensor& matrix) {
  const int64_t rows = matrix.dims()[0], columns = matrix.dims()[1];
  Tensor t(matrix.dtype(), {columns, rows});
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) t.mutable_raw()[c * rows + r] = matrix.raw()[r * columns + c];
  return t;
}

void fold_dynamic_tail(Fold& f, ValueId sums, ValueId input_scale, ValueId weight_scale, ValueId bias) {
  const ValueId floats = f.add("Cast", {sums}, {{"to", static_cast<int64_t>(DType::kFloat32)}});
  const ValueId scale = f.add("Mul", {input_scale, weight_scale});
  if (bias == kNoValue) {
    f.nodes.push_back(folded_node(f.node.name, "Mul", "", {floats, scale}, f.node.outputs[0]));
    return;
  }
  const ValueId scaled = f.add("Mul", {floats, scale});
  f.nodes.push_back(folded_node(f.node.name, "Add", "", {scaled, bias}, f.node.outputs[0]));
}

}  // namespace zp
