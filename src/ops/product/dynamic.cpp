// The form that ONNX Runtime's dynamic quantizer writes, back to Q/DQ:
//
//   DynamicQuantizeLinear -> MatMulInteger or ConvInteger -> Cast -> Mul by both scales (-> Add)
//
// becomes DynamicQuantizeLinear -> DequantizeLinear -> MatMul or Conv (-> Add), which runs as one integer
// kernel.
#include "ops/product/qdq.h"
#include "ops/rewrite.h"

namespace zp {
namespace {

// DynamicQuantizeLinear's three outputs, if `value` is the first of them.
const Node* dynamic_source(const RewriteContext& r, ValueId value) {
  const int32_t at = r.producer(value);
  if (at < 0) return nullptr;
  const Node& n = r.node(at);
  return n.is("DynamicQuantizeLinear") && n.output(0) == value && n.output(1) != kNoValue &&
                 n.output(2) != kNoValue
             ? &n
             : nullptr;
}

// Scales that multiply the sums; at most two factors.
std::vector<ValueId> factors(const RewriteContext& r, ValueId scale) {
  const int32_t at = r.producer(scale);
  if (at >= 0 && r.node(at).is("Mul") && r.node(at).inputs.size() == 2) return r.node(at).inputs;
  return {scale};
}

// A constant scale as DequantizeLinear takes it: of one element, or a vector along an axis of B's channels.
std::optional<Tensor> weight_scale(const Tensor& scale, int64_t channels, size_t trailing) {
  if (scale.dtype() != DType::kFloat32) return std::nullopt;
  if (scale.size() == 1) return scale.reshaped({});
  if (scale.size() != channels || scale.dims().size() <= trailing) return std::nullopt;
  // All of its elements along one dimension, which `trailing` dimensions of 1 follow.
  if (scale.dims()[scale.dims().size() - 1 - trailing] != channels) return std::nullopt;
  return scale.reshaped({channels});
}

bool apply(RewriteContext& r) {
  const Node& mul = r.node();
  if (!mul.is("Mul") || mul.inputs.size() != 2) return false;
  for (const size_t side : {size_t{0}, size_t{1}}) {
    const int32_t cast_at = r.producer(mul.inputs[side]);
    if (cast_at < 0 || !r.node(cast_at).is("Cast") || r.only_consumer(mul.inputs[side]) != r.at()) continue;
    const Node& cast = r.node(cast_at);
    if (cast.int_attribute("to", 0) != static_cast<int64_t>(DType::kFloat32)) continue;
    const int32_t product_at = r.producer(cast.input(0));
    if (product_at < 0 || r.only_consumer(cast.input(0)) != cast_at) continue;
    const Node& product = r.node(product_at);
    const bool conv = product.is("ConvInteger");
    if (!conv && !product.is("MatMulInteger")) continue;
    const Node* a = dynamic_source(r, product.input(0));
    if (!a || product.input(2) != a->output(2)) continue;

    const std::vector<ValueId> scales = factors(r, mul.inputs[1 - side]);
    if (scales.size() != 2) continue;
    const size_t a_side = scales[0] == a->output(1) ? 0 : 1;
    if (scales[a_side] != a->output(1)) continue;
    const ValueId b_scale = scales[1 - a_side];

    // B: a constant, or quantized in the run like A (the products of attention).
    const ValueId b = product.input(1);
    ValueId scale = b_scale, zero_point = product.input(3);
    Node dequantize_b;
    if (const Node* dynamic = dynamic_source(r, b)) {
      if (conv || b_scale != dynamic->output(1) || zero_point != dynamic->output(2)) continue;
    } else {
      const Tensor* weights = r.graph.constant(b);
      const Tensor* constant_scale = r.graph.constant(b_scale);
      if (!weights || !constant_scale || weights->dims().empty()) continue;
      const size_t rank = weights->dims().size();
      const int64_t axis = conv ? 0 : static_cast<int64_t>(rank) - 1;
      const int64_t channels = weights->dims()[static_cast<size_t>(axis)];
      std::optional<Tensor> fitting = weight_scale(*constant_scale, channels, conv ? rank - 2 : 0);
      if (!fitting) continue;
      const Tensor* points = r.graph.constant(zero_point);
      if (zero_point != kNoValue && (!points || (points->size() != 1 && points->size() != channels)))
        continue;
      const bool per_channel = fitting->size() > 1 || (points && points->size() > 1);
      if (per_channel) {
        // DequantizeLinear wants as many zero points as scales.
        if (fitting->size() == 1) {
          const std::vector<float> all(static_cast<size_t>(channels), fitting->floats()[0]);
          fitting = Tensor::of<float>({channels}, all);
        }
        if (points) {
          Tensor all(points->dtype(), {channels});
          for (int64_t i = 0; i < channels; ++i) {
            all.mutable_raw()[i] = points->raw()[points->size() == 1 ? 0 : i];
          }
          zero_point = r.graph.add_constant(r.graph[zero_point].name + "_all", std::move(all));
        }
        dequantize_b.attributes["axis"] = axis;
      } else {
        zero_point = scalar_if_single(r.graph, zero_point);
      }
      scale = r.graph.add_constant(r.graph[b_scale].name + "_dequantize", std::move(*fitting));
    }

    const auto dequantize = [&](Node n, ValueId q, ValueId s, ValueId z) {
      n.op_type = "DequantizeLinear";
      n.inputs = {q, s};
      if (z != kNoValue) n.inputs.push_back(z);
      n.outputs = {r.graph.add_value(r.graph[q].name + "_dequantized", DType::kFloat32, r.graph[q].shape)};
      n.name = r.graph[n.outputs[0]].name;
      return n;
    };
    std::vector<Node> made;
    made.push_back(dequantize({}, a->output(0), a->output(1), a->output(2)));
    made.push_back(dequantize(std::move(dequantize_b), b, scale, zero_point));
    Node result;
    result.op_type = conv ? "Conv" : "MatMul";
    result.name = product.name;
    result.attributes = product.attributes;
    result.inputs = {made[0].outputs[0], made[1].outputs[0]};
    result.outputs = mul.outputs;
    made.push_back(std::move(result));
    r.replace({product_at, cast_at, r.at()}, std::move(made));
    return true;
  }
  return false;
}

const RegisterRewrite kDynamicProduct({.name = "dynamically quantized product to Q/DQ",
                                       .apply = apply,
                                       .order = -1});

}  // namespace
}  // namespace zp
