// DynamicQuantizeLSTM (com.microsoft): an LSTM with weights of 8 bits whose input becomes uint8 in each run,
// and its hidden state before each step. In memory it is DynamicQuantizeLinear and DequantizeLinear before an
// LSTM that rounds its states so (Lstm::kRoundsState). ONNX Runtime has one scale for the states of all
// sequences, or with several threads one for the sequences of each thread: this operator has one for all.
// Unlike ONNX Runtime, it also reads the input of steps behind the longest sequence.
#include <algorithm>

#include "ops/lstm.h"
#include "ops/product/qdq.h"

namespace zp {
namespace {

using enum Recurrent::Input;
using enum Lstm::More;

// Behind the inputs of an LSTM.
enum Parameters : size_t { kWScale = kInputs, kWZeroPoint, kRScale, kRZeroPoint, kAll };

// [a, b, c] as [a, c, b], of bytes.
Tensor transposed(const Tensor& t) {
  const Shape& dims = t.dims();
  Tensor out(t.dtype(), {dims[0], dims[2], dims[1]});
  const std::byte* from = t.raw();
  std::byte* to = out.mutable_raw();
  for (int64_t a = 0; a < dims[0]; ++a)
    for (int64_t c = 0; c < dims[2]; ++c)
      for (int64_t b = 0; b < dims[1]; ++b) *to++ = from[(a * dims[1] + b) * dims[2] + c];
  return out;
}

// Weights [directions, inputs, 4 hidden] with scales [directions] or [directions, 4 hidden], as
// DequantizeLinear of [directions, 4 hidden, inputs].
ValueId weights(Canonicalize& c, size_t at, size_t scale_at) {
  const Tensor *t = c.constant(at), *scale = c.constant(scale_at), *zero = c.constant(scale_at + 1);
  if (!t || !scale || (c.node.input(scale_at + 1) != kNoValue && !zero))
    c.fail(ErrorCode::kUnsupportedOperator, "weights that are computed are not supported");
  if (t->dims().size() != 3 || (t->dtype() != DType::kInt8 && t->dtype() != DType::kUint8))
    c.fail(ErrorCode::kInvalidModel, {"weights of shape ", t->dims(), " do not fit an LSTM"});
  const int64_t directions = t->dims()[0], gates = t->dims()[2];
  const bool channels = scale->size() == directions * gates && scale->dims().size() == 2;
  if ((!channels && scale->size() != directions) || (zero && zero->size() != scale->size())) {
    c.fail(ErrorCode::kInvalidModel,
           {"scales of shape ", scale->dims(), " do not fit weights of shape ", t->dims()});
  }
  const std::string name = c.graph[c.node.inputs[at]].name;
  Tensor stored = transposed(*t);
  const Shape dims = stored.dims();
  // A list of scales serves one dimension: with scales of channels, two directions become one dimension.
  int64_t axis = 0, count = scale->size();
  if (channels && directions == 1) axis = 1;
  if (channels && directions > 1) stored = stored.reshaped({directions * gates, dims[2]});
  const bool flat = channels && directions > 1;
  const Shape of_scale = count == 1 ? Shape{} : Shape{count};
  const ValueId integers = c.constant_value(name + "_transposed", std::move(stored)),
                scales = c.constant_value(name + "_scales", scale->reshaped(of_scale)),
                zeros = zero ? c.constant_value(name + "_zero_points", zero->reshaped(of_scale)) : kNoValue;
  const ValueId floats = c.add("DequantizeLinear", {integers, scales, zeros}, {{"axis", axis}});
  if (!flat) return floats;
  return c.add("Reshape", {floats, c.constant_value(name + "_shape",
                                                    Tensor::of<int64_t>({3}, {dims[0], dims[1], dims[2]}))});
}

void canonicalize(Canonicalize& c) {
  Node lstm = c.node;
  lstm.domain.clear();
  lstm.op_type = "LSTM";
  lstm.attributes.insert_or_assign(std::string(Lstm::kRoundsState), int64_t{1});
  lstm.inputs.resize(kInputs, kNoValue);
  lstm.inputs[kX] = add_dynamic_quantize(c, c.node.input(kX));
  lstm.inputs[kW] = weights(c, kW, kWScale);
  lstm.inputs[kR] = weights(c, kR, kRScale);
  while (lstm.inputs.back() == kNoValue) lstm.inputs.pop_back();
  c.nodes.push_back(std::move(lstm));
}

// The integers of W or R. Weights of both directions whose scales go along one dimension have a Reshape
// behind their DequantizeLinear.
struct GateWeights {
  std::optional<QuantizedEdge> edge;
  Shape dims;  // [directions, 4 hidden, inputs]
};
GateWeights gate_weights(const Fold& f, size_t at) {
  const Graph& g = f.graph;
  const auto maker = [&](ValueId v) {
    const auto found = std::find_if(g.nodes.begin(), g.nodes.end(), [&](const Node& n) {
      return n.output(0) == v && n.input(1) != kNoValue;
    });
    return found == g.nodes.end() ? nullptr : &*found;
  };
  if (f.inputs[at]) {
    const Tensor* t = g.constant(f.inputs[at]->quantized);
    return {f.inputs[at], t ? t->dims() : Shape()};
  }
  const Node* reshape = maker(f.node.input(at));
  const Tensor* shape = reshape && reshape->is("Reshape") ? g.constant(reshape->inputs[1]) : nullptr;
  const Node* dequantize = shape ? maker(reshape->inputs[0]) : nullptr;
  if (!dequantize || !dequantize->is("DequantizeLinear")) return {};
  const Tensor* t = g.constant(dequantize->inputs[0]);
  const Shape dims = shape->integers();
  if (!t || dims.size() != 3 || dequantize->int_attribute("axis", 1) != 0 ||
      dequantize->int_attribute("block_size", 0) != 0 || t->dims() != Shape{dims[0] * dims[1], dims[2]})
    return {};
  return {QuantizedEdge{.quantized = dequantize->inputs[0],
                        .scale = dequantize->inputs[1],
                        .zero_point = dequantize->input(2),
                        .axis = 0,
                        .block_size = 0,
                        .dynamic = false},
          dims};
}

// Whether each row of both directions has a scale.
bool has_rows(const Graph& g, const GateWeights& w) {
  return g.constant(w.edge->quantized)->dims().size() == 2 && g.constant(w.edge->scale)->size() > 1;
}

// Weights that ONNX Runtime takes: 8 bits; zero points of channels are all the same, and zero for int8.
bool fits(const Graph& g, const GateWeights& w) {
  const std::optional<QuantizedEdge>& e = w.edge;
  if (!e || e->dynamic || e->block_size != 0 || !is_8_bit_value(g, e->quantized)) return false;
  const Tensor *t = g.constant(e->quantized), *scale = g.constant(e->scale),
               *zero = g.constant(e->zero_point);
  if (!t || !scale || scale->dtype() != DType::kFloat32 || w.dims.size() != 3) return false;
  if (e->zero_point != kNoValue && !zero) return false;
  const int axis = e->axis < 0 ? e->axis + 3 : e->axis;
  if (scale->size() == 1) return true;
  if (!has_rows(g, w)) {
    if (axis == 0) return scale->size() == t->dims()[0];
    if (axis != 1 || scale->size() != t->dims()[1]) return false;
  }
  if (!zero) return true;
  const std::vector<int64_t> zeros = zero->integers();
  return std::all_of(zeros.begin(), zeros.end(),
                     [&](int64_t z) { return z == zeros[0] && (z == 0 || t->dtype() == DType::kUint8); });
}

void put_weights(Fold& f, Node& n, const GateWeights& w, size_t at, size_t scale_at) {
  Graph& g = f.graph;
  const QuantizedEdge& e = *w.edge;
  const Tensor &t = *g.constant(e.quantized), &scale = *g.constant(e.scale);
  const int64_t directions = w.dims[0], gates = w.dims[1];
  const int axis = e.axis < 0 ? e.axis + 3 : e.axis;
  const bool channels = has_rows(g, w) || (scale.size() > 1 && axis == 1);
  const Shape dims = channels ? Shape{directions, gates} : Shape{directions};
  // `from` has one element for all directions, one for each, or the elements of one direction.
  const auto spread = [&](const Tensor& from) {
    Tensor to(from.dtype(), dims);
    const auto bytes = static_cast<size_t>(bits_of(from.dtype()) / 8);
    const auto have = static_cast<size_t>(from.size()), want = static_cast<size_t>(to.size());
    for (size_t i = 0; i < want; ++i)
      std::copy_n(from.raw() + i % have * bytes, bytes, to.mutable_raw() + i * bytes);
    return to;
  };
  const std::string name = g[e.quantized].name;
  n.inputs[at] = g.add_constant(name + "_transposed", transposed(t.reshaped(w.dims)));
  n.inputs[scale_at] = g.add_constant(name + "_scales", spread(scale));
  const Tensor* zero = g.constant(zero_point_or_zeros(g, e));
  n.inputs[scale_at + 1] = g.add_constant(name + "_zero_points", spread(*zero));
}

constexpr OpDef kDynamicQuantizeLstm = {
    .domain = kMicrosoft,
    .name = "DynamicQuantizeLSTM",
    .inputs = "X W R B? sequence_lens? initial_h? initial_c? P? W_scale W_zero_point? R_scale R_zero_point?",
    .canonicalize = canonicalize};
const RegisterOps kRegistered({&kDynamicQuantizeLstm});

}  // namespace

bool fold_lstm(Fold& f) {
  if (f.inputs.size() <= kR || !f.inputs[kX] || !f.inputs[kX]->dynamic) return false;
  const GateWeights w = gate_weights(f, kW), r = gate_weights(f, kR);
  if (!fits(f.graph, w) || !fits(f.graph, r)) return false;
  const auto made = std::find_if(f.graph.nodes.begin(), f.graph.nodes.end(),
                                 [&](const Node& n) { return n.output(0) == f.inputs[kX]->quantized; });
  if (made == f.graph.nodes.end()) return false;
  Node n = f.node;
  n.domain = kMicrosoft;
  n.op_type = "DynamicQuantizeLSTM";
  n.attributes.erase(std::string(Lstm::kRoundsState));
  n.inputs.resize(kAll, kNoValue);
  n.inputs[kX] = made->input(0);  // which it quantizes itself
  put_weights(f, n, w, kW, kWScale);
  put_weights(f, n, r, kR, kRScale);
  f.nodes.push_back(std::move(n));
  return true;
}

}  // namespace zp
