#include "quant/product_layer.h"

#include <algorithm>
#include <cmath>

#include "quant/layerwise.h"

namespace zp::quant {

std::optional<ProductLayer> ProductLayer::of(const Node& node, const Tensor& weight) {
  const OpDef* def = find_op(node);
  if (!def || def->quant.kind != QuantRule::Kind::kProduct || !def->quant.channel_axis ||
      !def->quant.input_axis)
    return std::nullopt;
  const QuantRule& rule = def->quant;
  const Shape& dims = weight.dims();
  const int rank = static_cast<int>(dims.size());
  const int axis = rule.channel_axis(node, rank), from = rule.input_axis(node, rank);
  if (axis < 0 || axis >= rank || from < 0 || from >= rank || axis == from) return std::nullopt;
  ProductLayer l;
  for (int d = 0; d < rank; ++d)
    if (d != axis) (d < axis ? l.outer : l.inner) *= dims[static_cast<size_t>(d)];
  l.depth = l.outer * l.inner;
  // Where channels come last, a weight of more dimensions than two is a weight for each element of a batch.
  if (rule.channel_dim < 0 && l.depth != dims[static_cast<size_t>(from)]) return std::nullopt;
  l.groups = node.int_attribute("group", 1);
  const int64_t channels = dims[static_cast<size_t>(axis)];
  if (l.depth < 1 || l.groups < 1 || channels % l.groups != 0 || (l.groups > 1 && axis != 0))
    return std::nullopt;
  l.rows = channels / l.groups;
  return l;
}

std::unique_ptr<runtime::Session> with_weight(const Node& node, Tensor weight, int threads) {
  const QuantRule& rule = op_of(node).quant;
  auto model = std::make_shared<Model>();
  Graph& g = model->graph;
  const ValueId in = g.add_value(std::string(kLayerInput), DType::kFloat32);
  Node n = node;
  for (ValueId& v : n.inputs) v = kNoValue;
  n.inputs[static_cast<size_t>(rule.data.first())] = in;
  n.inputs[static_cast<size_t>(rule.weight)] = g.add_constant("weight", std::move(weight));
  while (n.inputs.back() == kNoValue) n.inputs.pop_back();
  n.outputs = {g.add_value("y", DType::kFloat32)};
  g.inputs = {in};
  g.outputs = n.outputs;
  g.nodes.push_back(std::move(n));
  return std::make_unique<runtime::Session>(std::move(model), runtime::SessionOptions{.threads = threads});
}

PatchReader::PatchReader(const Node& node, const Tensor& weight, const ProductLayer& layer, size_t most,
                         size_t samples, int threads)
    : layer_(layer) {
  const QuantRule& rule = op_of(node).quant;
  channel_dim_ = rule.channel_dim;
  most_each_ = static_cast<int64_t>(std::max<size_t>(1, most / std::max<size_t>(1, samples)));
  seen_.x.resize(static_cast<size_t>(layer.groups));

  // One output channel for each weight of a group, which takes the input that this weight would meet.
  Shape dims = weight.dims();
  const auto axis = static_cast<size_t>(rule.channel_axis(node, static_cast<int>(dims.size())));
  dims[axis] = layer.groups * layer.depth;
  ProductLayer probe = layer;
  probe.rows = layer.depth;
  Tensor ones(DType::kFloat32, dims);
  for (int64_t q = 0; q < layer.groups; ++q)
    for (int64_t k = 0; k < layer.depth; ++k)
      ones.mutable_data<float>()[probe.element(q * layer.depth + k, k)] = 1;
  session_ = with_weight(node, std::move(ones), threads);
}

void PatchReader::read(const Tensor& input, const Tensor& output, const float* bias) {
  const Tensor patches = session_->run({{std::string(kLayerInput), input}})[0];
  const ChannelView p(patches.dims(), channel_dim_), y(output.dims(), channel_dim_);
  const int64_t positions = p.outer * p.inner;
  if (positions == 0 || y.outer * y.inner != positions) return;
  const float *from = patches.data<float>().data(), *made = output.data<float>().data();
  const int64_t take = std::min(most_each_, positions);
  for (int64_t t = 0; t < take; ++t) {
    // One position out of each of `take` equal parts.
    const int64_t begin = positions * t / take, end = positions * (t + 1) / take;
    random_ = random_ * 1664525u + 1013904223u;
    const int64_t at = begin + static_cast<int64_t>(random_ >> 8) % (end - begin);
    const int64_t o = at / p.inner, i = at % p.inner;
    // Padded rows may hold NaN, which would become everyone's.
    float odd = 0;
    for (int64_t k = 0; k < p.channels; ++k) odd += 0 * from[(o * p.channels + k) * p.inner + i];
    for (int64_t m = 0; m < layer_.channels(); ++m) odd += 0 * made[(o * y.channels + m) * y.inner + i];
    if (std::isnan(odd)) continue;
    for (int64_t q = 0; q < layer_.groups; ++q) {
      std::vector<float>& x = seen_.x[static_cast<size_t>(q)];
      for (int64_t k = 0; k < layer_.depth; ++k)
        x.push_back(from[(o * p.channels + q * layer_.depth + k) * p.inner + i]);
    }
    for (int64_t m = 0; m < layer_.channels(); ++m)
      seen_.y.push_back(made[(o * y.channels + m) * y.inner + i] - (bias ? bias[m] : 0));
    ++seen_.count;
  }
}

}  // namespace zp::quant
