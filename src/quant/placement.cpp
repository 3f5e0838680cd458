#include "quant/placement.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/fnv.h"
#include "ops/infer.h"
#include "quant/bias.h"
#include "quant/qdq.h"
#include "quant/runtimes.h"
#include "quant/scheme.h"

namespace zp::quant {
namespace {

// Half of what int32 holds: the sums of products need room too.
constexpr double kBiasLimit = 1 << 30;

// Whether integers at scales s_x * s_w can stand for this bias: a number for all channels at one scale, or
// one for each, whose scales are the weight's, again and again in a grouped ConvTranspose.
bool has_integer_form(const Node& product, const Tensor& weight, const Tensor& bias, size_t scales) {
  if (bias.dtype() != DType::kFloat32 || bias.size() == 0) return false;
  if (scales == 1 && bias.size() == 1) return true;
  const auto rank = static_cast<int>(weight.dims().size());
  return is_channel_bias(product, rank, bias.size(), bias.dims(), true) &&
         static_cast<size_t>(bias.size()) % scales == 0 && (scales == 1 || bias.dims().size() == 1);
}

// The dimensions up to `last` as one.
Tensor joined(const Tensor& t, size_t last) {
  Shape dims(t.dims().begin() + static_cast<std::ptrdiff_t>(last), t.dims().end());
  for (size_t d = 0; d < last; ++d) dims[0] *= t.dims()[d];
  return t.reshaped(std::move(dims));
}

// All that the result depends on beside the weight.
std::string name_of_work(const WeightSpec& spec) {
  Fnv1a least;
  least.add(spec.min_scale.data(), spec.min_scale.size() * sizeof(float));
  const Grouping& g = spec.grouping;
  return Text({name_of(spec.dtype), spec.symmetric ? " symmetric" : "", spec.reduce_range ? " reduced" : "",
               g.joined ? " joined" : "", " along ", int64_t{g.axis}, " by ", g.block_size, " from ",
               static_cast<int64_t>(least.value)})
      .str();
}

// A quantized weight as tensors, so that a program that was stopped leaves it to the next one.
QuantizedWeight quantized_beside(const Tensor& weight, const WeightSpec& spec) {
  std::vector<Tensor> made = made_beside(weight, name_of_work(spec), [&]() -> std::vector<Tensor> {
    QuantizedWeight q = quantize_weight(weight, spec);
    std::vector<Tensor> all{std::move(q.integers), std::move(q.scale),
                            Tensor::of<float>({2}, std::array{q.range.min, q.range.max}),
                            Tensor::of<double>({}, std::array{q.sqnr_db})};
    if (q.zero_point.defined()) all.push_back(std::move(q.zero_point));
    return all;
  });
  if (made.size() < 4 || made[2].size() != 2 || made[3].size() != 1)
    throw_error(ErrorCode::kIo,
                "the scratch file of an earlier program holds other tensors than its notes say",
                {.hint = "remove the scratch file"});
  const std::span<const float> range = made[2].data<float>();
  return {.integers = std::move(made[0]),
          .scale = std::move(made[1]),
          .zero_point = made.size() > 4 ? std::move(made[4]) : Tensor(),
          .range = {range[0], range[1]},
          .sqnr_db = made[3].data<double>()[0]};
}

}  // namespace

// Weights quantized so far, by the memory of the float ones: a weight that a graph and its branches read is
// quantized once and stays one tensor.
class Placement::Pool {
 public:
  struct Entry {
    Tensor weight;  // keeps the memory that is the key
    QuantizedWeight quantized;
    Tensor zero_point;  // zeros, where `quantized` has none
  };
  const Entry& quantized(const Tensor& weight, const WeightSpec& spec) {
    const auto [it, added] =
        entries_.try_emplace({weight.identity(), weight.dims(), spec.dtype, spec.grouping.axis,
                              spec.grouping.block_size, spec.min_scale});
    Entry& e = it->second;
    if (added) {
      e.weight = weight;
      e.quantized = quantized_beside(weight, spec);
      e.zero_point = e.quantized.zero_point.defined()
                         ? e.quantized.zero_point
                         : Tensor(stored_as(spec.dtype), e.quantized.scale.dims());
      e.weight.forget();
    }
    return e;
  }
  const Tensor& half(const Tensor& weight) {
    Halves& h = halves_[{weight.identity(), weight.dims()}];
    if (!h.half.defined()) {
      h.weight = weight;
      h.half = std::move(made_beside(weight, "float16", [&]() -> std::vector<Tensor> {
        Tensor half(DType::kFloat16, weight.dims());
        auto* to = reinterpret_cast<uint16_t*>(half.mutable_raw());
        const Glance glance(weight);
        for (float v : weight.data<float>()) *to++ = float_to_half(v);
        return {std::move(half)};
      })[0]);
      h.weight.forget();
    }
    return h.half;
  }

  // Gives back the memory of what lies in files.
  void forget_files() const {
    for (const auto& [key, e] : entries_) e.quantized.scale.forget();
  }

 private:
  struct Halves {
    Tensor weight, half;
  };
  using Key = std::tuple<const void*, Shape, DType, int, int64_t, std::vector<float>>;
  std::map<Key, Entry> entries_;
  std::map<std::pair<const void*, Shape>, Halves> halves_;
};

Placement::Placement(const Graph& prepared, const Plan& the_plan, const Config& the_config,
                     std::vector<QParams> params, std::shared_ptr<Pool> pool)
    : graph(clone(prepared)),
      plan(the_plan),
      config(the_config),
      prepared_(prepared),
      params_(std::move(params)),
      pool_(pool ? std::move(pool) : std::make_shared<Pool>()) {
  graph.nodes.clear();
  // Values that are integers in the model already are read as they are: rounding them twice would gain
  // nothing.
  for (const Node& n : prepared_.nodes) {
    const auto known = is_dequantize(n) && !params_.empty() ? constant_params(prepared_, n) : std::nullopt;
    const ValueId v = n.output(0);
    const int32_t g = v == kNoValue ? -1 : plan.group[static_cast<size_t>(v)];
    if (!known || g < 0 || prepared_.constant(n.input(0))) continue;
    const Group& group = plan.groups[static_cast<size_t>(g)];
    if (group.members.size() != 1 || group.dtype != known->dtype) continue;
    params_[static_cast<size_t>(g)] = *known;
    quantized_[v] = {n.input(0), n.input(1), n.input(2)};
  }
}

const QParams* Placement::params(ValueId v) const {
  if (v == kNoValue || static_cast<size_t>(v) >= plan.group.size()) return nullptr;
  const int32_t g = plan.group[static_cast<size_t>(v)];
  return g < 0 || params_.empty() ? nullptr : &params_[static_cast<size_t>(g)];
}

ValueId Placement::constant(const std::string& name, Tensor t) {
  return graph.add_constant(name, std::move(t));
}
ValueId Placement::scale_constant(const QParams& p, const std::string& name) {
  return constant(name + "_scale", Tensor::scalar<float>(p.scale));
}
ValueId Placement::zero_constant(const QParams& p, const std::string& name) {
  const int32_t zero[] = {p.zero_point};
  return constant(name + "_zero_point", pack_integers(p.dtype, {}, zero));
}

Node Placement::qdq_node(QdqRole role, const std::string& name, std::vector<ValueId> inputs,
                         ValueId output) const {
  Node n;
  n.name = name;
  n.op_type = operator_of(role);
  n.inputs = std::move(inputs);
  while (!n.inputs.empty() && n.inputs.back() == kNoValue) n.inputs.pop_back();
  n.outputs = {output};
  return n;
}

ValueId Placement::dequantize(ValueId integers, ValueId scale, ValueId zero, const std::string& base,
                              const std::optional<SymShape>& shape, const Grouping& grouping) {
  const ValueId out = graph.add_value(base + "_dequantized", DType::kFloat32, shape);
  Node n = qdq_node(QdqRole::kDequantize, graph[out].name, {integers, scale, zero}, out);
  if (grouping.axis >= 0) n.attributes["axis"] = static_cast<int64_t>(grouping.axis);
  if (grouping.block_size > 0) n.attributes["block_size"] = grouping.block_size;
  emit(std::move(n));
  return out;
}

ValueId Placement::reshape(ValueId value, const Shape& dims) {
  const std::string name = graph[value].name;
  const ValueId shape =
      constant(name + "_shape", Tensor::of<int64_t>({static_cast<int64_t>(dims.size())}, dims));
  Node n;
  n.op_type = "Reshape";
  n.inputs = {value, shape};
  n.outputs = {graph.add_value(name + "_reshaped", graph[value].dtype, symbolic(dims))};
  n.name = graph[n.outputs[0]].name;
  const ValueId made = n.outputs[0];
  emit(std::move(n));
  return made;
}

ValueId Placement::dequantized(ValueId v) {
  const QParams* p = params(v);
  if (!p)
    throw_error(ErrorCode::kInternal, "a value without a range is to be quantized",
                {.tensor = graph[v].name});
  const std::string name = graph[v].name;
  if (const Tensor* t = prepared_.constant(v)) {
    const auto [it, added] = constants_.try_emplace({v, plan.group[static_cast<size_t>(v)]});
    if (added)
      it->second = {constant(name + "_quantized", quantize(*t, *p)), scale_constant(*p, name),
                    zero_constant(*p, name)};
    return dequantize(it->second.integers, it->second.scale, it->second.zero_point, name, graph[v].shape, {});
  }
  const auto [it, added] = quantized_.try_emplace(v);
  if (added) {
    const ValueId scale = scale_constant(*p, name), zero = zero_constant(*p, name);
    const ValueId integers = graph.add_value(name + "_quantized", p->dtype, graph[v].shape);
    emit(qdq_node(QdqRole::kQuantize, graph[integers].name, {v, scale, zero}, integers));
    it->second = {integers, scale, zero};
  }
  const Quantized q = it->second;
  return dequantize(q.integers, q.scale, q.zero_point, name, graph[v].shape, {});
}

ValueId Placement::dequantized_constant(ValueId v, DType dtype, bool symmetric) {
  const std::string name = graph[v].name;
  const auto [it, added] = constants_.try_emplace({v, -1 - static_cast<int>(dtype)});
  if (added) {
    const Tensor& t = *prepared_.constant(v);
    bool finite = true;
    const Range range = range_of(t, &finite);
    if (!finite) {
      throw_error(ErrorCode::kInvalidModel, {"constant '", name, "' holds NaN or infinity"},
                  {.tensor = name, .hint = "exclude the nodes that read it"});
    }
    const QParams p = choose_params(range, dtype, symmetric);
    it->second = {constant(name + "_quantized", quantize(t, p)), scale_constant(p, name),
                  zero_constant(p, name)};
  }
  return dequantize(it->second.integers, it->second.scale, it->second.zero_point, name, graph[v].shape, {});
}

ValueId Placement::shared(std::string_view name, const Tensor& t) {
  const auto* bytes = reinterpret_cast<const char*>(t.raw());
  const auto [it, added] =
      shared_.try_emplace({t.dtype(), t.dims(), std::string(bytes, t.bytes())}, kNoValue);
  if (added) it->second = constant(std::string(name), t);
  return it->second;
}

bool Placement::in_pieces(int32_t i) {
  const Node n = node(i);
  const OpDef& def = op_of(n);
  const RuntimeRules& rules = runtime_named(config.runtime);
  if (!def.pieces || rules.fuses_it(n) || graph.is_output(n.output(0))) return false;
  if (scheme_named(config.mode).trains) return false;  // each pair learns one scale
  const QParams *in = params(n.input(0)), *out = params(n.output(0));
  const auto fits = [](const QParams* p) { return p && p->dtype == DType::kUint8; };
  if (!fits(in) || !fits(out) || !plan.integer[static_cast<size_t>(n.output(0))]) return false;
  Pieces pieces{.to = {graph, n, kOpset, {}}, .rounded = {}};
  def.pieces(pieces);
  // The value in place of the result has the result's integers, and saturates where it does: at the lower end
  // of the integers, and at the upper end or beyond it.
  for (const Pieces::Rounded& r : pieces.rounded) {
    if (r.as == kNoValue) continue;
    const Range all = covered(*out);
    if (std::fabs(all.min - r.lo * r.factor) > out->scale / 2 || all.max > r.hi * r.factor + out->scale / 2)
      return false;
  }
  std::map<ValueId, Quantized> made;  // what the pieces hand on
  for (Node& piece : pieces.to.nodes) {
    for (ValueId& v : piece.inputs) {
      if (const auto it = made.find(v); it != made.end()) {
        v = dequantize(it->second.integers, it->second.scale, it->second.zero_point, graph[v].name,
                       graph[n.input(0)].shape, {});
      } else if (graph.constant(v)) {
        const Tensor number = *graph.constant(v);
        const QParams p = choose_params(range_of(number), DType::kUint8, false);
        const ValueId integers = shared("pieces_number", quantize(number, p));
        const ValueId scale = shared("pieces_scale", Tensor::scalar<float>(p.scale));
        v = dequantize(integers, scale,
                       shared("pieces_zero_point", Tensor::scalar(static_cast<uint8_t>(p.zero_point))),
                       graph[v].name, SymShape{}, {});
      } else {
        v = dequantized(v);
      }
    }
    const ValueId result = piece.outputs[0];
    emit(std::move(piece));
    for (const Pieces::Rounded& r : pieces.rounded) {
      if (r.value != result) continue;
      QParams p = choose_params({r.lo, r.hi}, DType::kUint8, false);
      if (r.as != kNoValue) p = {out->dtype, out->scale / r.factor, out->zero_point};
      const std::string name = graph[result].name;
      const ValueId scale = shared("pieces_scale", Tensor::scalar<float>(p.scale));
      const ValueId zero = shared("pieces_zero_point", Tensor::scalar(static_cast<uint8_t>(p.zero_point)));
      const ValueId integers = graph.add_value(name + "_quantized", p.dtype, graph[n.input(0)].shape);
      emit(qdq_node(QdqRole::kQuantize, graph[integers].name, {result, scale, zero}, integers));
      const float read_at = r.as == kNoValue ? p.scale * r.factor : out->scale;
      const Quantized q{integers, shared("pieces_scale", Tensor::scalar<float>(read_at)), zero};
      (r.as == kNoValue ? made[result] : quantized_[r.as]) = q;
    }
  }
  return !pieces.to.nodes.empty();
}

// Where(IsNaN(v), 0, v)
ValueId Placement::without_nan(ValueId v) {
  const std::string name = graph[v].name;
  Node is_nan;
  is_nan.op_type = "IsNaN";
  is_nan.inputs = {v};
  is_nan.outputs = {graph.add_value(name + "_is_nan", DType::kBool, graph[v].shape)};
  is_nan.name = graph[is_nan.outputs[0]].name;
  Node where;
  where.op_type = "Where";
  where.inputs = {is_nan.outputs[0], shared("zero_for_nan", Tensor::scalar(0.0F)), v};
  where.outputs = {graph.add_value(name + "_without_nan", DType::kFloat32, graph[v].shape)};
  where.name = graph[where.outputs[0]].name;
  emit(std::move(is_nan));
  emit(std::move(where));
  return graph.nodes.back().outputs[0];
}

ValueId Placement::dynamically_quantized(ValueId v, bool may_be_nan) {
  const std::string name = graph[v].name;
  const auto [it, added] = quantized_.try_emplace(v);
  if (added) {
    const ValueId integers = graph.add_value(name + "_quantized", DType::kUint8, graph[v].shape);
    const ValueId scale = graph.add_value(name + "_scale", DType::kFloat32, SymShape{});
    const ValueId zero = graph.add_value(name + "_zero_point", DType::kUint8, SymShape{});
    const ValueId numbers = may_be_nan ? without_nan(v) : v;
    Node n = qdq_node(QdqRole::kDynamicQuantize, graph[integers].name, {numbers}, integers);
    n.outputs = {integers, scale, zero};
    emit(std::move(n));
    it->second = {integers, scale, zero};
  }
  const Quantized q = it->second;
  return dequantize(q.integers, q.scale, q.zero_point, name, graph[v].shape, {});
}

ValueId Placement::transposed(int32_t transposed_by, ValueId constant) {
  const auto [it, added] = transposed_.try_emplace({transposed_by, constant}, kNoValue);
  if (!added) return it->second;
  Node n = node(transposed_by);
  n.name = graph[constant].name + "_transposed";
  n.inputs[0] = constant;
  n.outputs = {
      graph.add_value(n.name, graph[constant].dtype, prepared_[node(transposed_by).outputs[0]].shape)};
  it->second = n.outputs[0];
  emit(std::move(n));
  return it->second;
}

ValueId Placement::half_weight(ValueId w, int32_t transposed_by) {
  const auto known = halves_.find({w, transposed_by});
  if (known != halves_.end()) return known->second;
  const std::string name = graph[w].name;
  ValueId& stored = halves_.try_emplace({w, -2}, kNoValue).first->second;  // the constant itself
  if (stored == kNoValue) stored = constant(name + "_float16", pool_->half(*prepared_.constant(w)));
  Node cast;
  cast.inputs = {transposed_by < 0 ? stored : transposed(transposed_by, stored)};
  cast.outputs = {graph.add_value(name + "_float32", DType::kFloat32, graph[cast.inputs[0]].shape)};
  cast.name = graph[cast.outputs[0]].name;
  cast.op_type = "Cast";
  cast.attributes.emplace("to", int64_t{1});  // TensorProto.FLOAT
  const ValueId made = halves_[{w, transposed_by}] = cast.outputs[0];
  emit(std::move(cast));
  return made;
}

Placement::Weight Placement::weights_into(int32_t i, Node& n, ValueId bias, float input_scale) {
  const NodePlan& p = plan.nodes[static_cast<size_t>(i)];
  Weight first = weight(i, p.weight, bias, input_scale);
  n.inputs[static_cast<size_t>(p.weight_slot)] = first.value;
  for (const int slot : p.more_slots) {
    ValueId& w = n.inputs[static_cast<size_t>(slot)];
    w = weight(i, w, kNoValue, 0).value;
  }
  return first;
}

namespace {

// A channel of small weights under a large bias: the bias decides, and the weights can afford wider steps.
std::vector<float> least_scales(const Tensor& bias, size_t scales, float input_scale) {
  std::vector<float> least(scales, 0.f);
  const std::span<const float> values = bias.data<float>();
  for (size_t k = 0; k < values.size(); ++k) {
    float& l = least[k % least.size()];
    l = std::max(l,
                 static_cast<float>(std::fabs(values[k]) / (kBiasLimit * static_cast<double>(input_scale))));
  }
  return least;
}

bool any_below(const Tensor& scale, const std::vector<float>& least) {
  const std::span<const float> s = scale.data<float>();
  for (size_t k = 0; k < least.size(); ++k)
    if (s[s.size() == 1 ? 0 : k] < least[k]) return true;
  return false;
}

}  // namespace

Placement::Weight Placement::weight(int32_t i, ValueId w, ValueId bias, float input_scale) {
  const NodePlan& p = plan.nodes[static_cast<size_t>(i)];
  if (p.weights == DType::kFloat16) return {.value = half_weight(w, p.transposed_by), .scale = {}};
  const Tensor& as_read = *prepared_.constant(w);
  // DequantizeLinear has scales along one dimension.
  const auto along = static_cast<size_t>(std::max(p.grouping.axis, 0));
  const Tensor tensor = p.grouping.joined ? joined(as_read, along) : as_read;
  Grouping grouping = p.grouping.joined ? Grouping{.axis = 0} : p.grouping;
  const std::string name = graph[w].name;
  bool finite = true;
  range_of(tensor, &finite);
  if (!finite) {
    throw_error(ErrorCode::kInvalidModel, {"weight '", name, "' holds NaN or infinity"},
                {.node = node(i).name,
                 .op = qualified_name(node(i)),
                 .tensor = name,
                 .hint = "exclude this node, or export the model again"});
  }
  WeightSpec spec{.dtype = p.weights,
                  .symmetric = config.symmetric_weights,
                  .reduce_range = config.reduce_range,
                  .grouping = grouping,
                  .min_scale = {}};
  const Tensor* b = bias == kNoValue ? nullptr : prepared_.constant(bias);
  const size_t scales =
      grouping.axis < 0 ? 1 : static_cast<size_t>(tensor.dims()[static_cast<size_t>(grouping.axis)]);
  const bool wants_bias =
      b && grouping.block_size == 0 && input_scale > 0 && has_integer_form(node(i), tensor, *b, scales);
  if (wants_bias) {
    // Where the bias asks for no wider steps than the weight has anyway, layers that share the weight share
    // its integers too, whatever their biases are.
    std::vector<float> least = least_scales(*b, scales, input_scale);
    if (any_below(pool_->quantized(tensor, spec).quantized.scale, least)) spec.min_scale = std::move(least);
  }
  const PlacedWeight& placed = place_weight(i, w, tensor, spec);
  Weight out;
  out.scale = graph.constant(placed.scale)->floats();
  out.bias_fits = wants_bias;
  if (p.transposed_by < 0) {
    out.value =
        dequantize(placed.integers, placed.scale, placed.zero_point, name, symbolic(tensor.dims()), grouping);
    if (p.grouping.joined) out.value = reshape(out.value, as_read.dims());
    return out;
  }
  const ValueId scale = placed.scale, zero = placed.zero_point;
  const ValueId integers = transposed(p.transposed_by, placed.integers);
  // The scales go along another dimension of what was transposed.
  const OpDef& def = op_of(node(p.transposed_by));
  const int rank = static_cast<int>(tensor.dims().size());
  for (int axis = 0; axis < rank && p.grouping.axis >= 0; ++axis)
    if (def.moved_axis(node(p.transposed_by), rank, axis) == p.grouping.axis) grouping.axis = axis;
  out.value = dequantize(integers, scale, zero, name, graph[integers].shape, grouping);
  return out;
}

const PlacedWeight& Placement::place_weight(int32_t i, ValueId w, const Tensor& tensor,
                                            const WeightSpec& spec) {
  constexpr int kJoined = -2;  // stored with other dimensions
  const int axis_of_key = plan.nodes[static_cast<size_t>(i)].grouping.joined ? kJoined : spec.grouping.axis;
  const WeightKey key{w, spec.dtype, axis_of_key, spec.grouping.block_size, spec.min_scale};
  const auto [it, added] = shared_weights_.try_emplace(key, weights.size());
  if (!added) {
    PlacedWeight again = weights[it->second];
    again.node = i;
    weights.push_back(std::move(again));
    return weights[it->second];
  }
  const std::string name = graph[w].name;
  const Pool::Entry& entry = pool_->quantized(tensor, spec);
  const QuantizedWeight& q = entry.quantized;
  PlacedWeight placed{.node = i, .weight = w, .spec = spec, .range = q.range, .sqnr_db = q.sqnr_db};
  placed.integers = constant(name + "_quantized", q.integers);
  placed.scale = constant(name + "_scale", q.scale);
  // QLinear and Integer operators, and older readers, want the zero point even where it is zero. But not ONNX
  // Runtime's products of batches: it makes them MatMulInteger, and that takes no vector there.
  const bool batched = tensor.dims().size() > 2 && q.scale.size() > 1 && op_of(node(i)).quant.channel_dim < 0;
  if ((spec.grouping.block_size == 0 && !batched) || q.zero_point.defined())
    placed.zero_point = constant(name + "_zero_point", entry.zero_point);
  weights.push_back(std::move(placed));
  return weights.back();
}

ValueId Placement::bias(int32_t i, ValueId b, float input_scale, const Weight& weight) {
  if (!weight.bias_fits) return kNoValue;
  const Tensor& t = *prepared_.constant(b);
  const std::span<const float> values = t.data<float>();
  const bool per_tensor = weight.scale.size() == 1;
  std::vector<float> scales(per_tensor ? 1 : values.size());
  for (size_t k = 0; k < scales.size(); ++k) scales[k] = input_scale * weight.scale[k % weight.scale.size()];
  if (std::any_of(scales.begin(), scales.end(),
                  [](float s) { return !(s >= std::numeric_limits<float>::min()); }))
    return kNoValue;
  std::vector<int32_t> q(values.size());
  for (size_t k = 0; k < q.size(); ++k) {
    const double limit = 2147483647.0;
    const float scaled = std::nearbyint(values[k] / scales[per_tensor ? 0 : k]);
    q[k] = static_cast<int32_t>(std::clamp(static_cast<double>(scaled), -limit, limit));
  }
  const std::string name = graph[b].name;
  PlacedBias placed{.node = i, .bias = b};
  placed.integers = constant(name + "_quantized", Tensor::of<int32_t>(t.dims(), q));
  const Shape scale_dims = per_tensor ? Shape{} : Shape{static_cast<int64_t>(scales.size())};
  placed.scale = constant(name + "_scale", Tensor::of<float>(scale_dims, scales));
  biases.push_back(placed);
  return dequantize(placed.integers, placed.scale, kNoValue, name, graph[b].shape,
                    per_tensor ? Grouping{} : Grouping{.axis = 0});
}

// An output of a rounding layer is its integers, dequantized, under the name that callers know.
void Placement::round_outputs() {
  std::set<ValueId> rounded;
  for (size_t i = 0; i < plan.nodes.size(); ++i) {
    const int32_t of = plan.nodes[i].part_of < 0 ? static_cast<int32_t>(i) : plan.nodes[i].part_of;
    if (plan.nodes[static_cast<size_t>(of)].rounds) rounded.insert(prepared_.nodes[i].output(0));
  }
  std::map<ValueId, ValueId> read_as;  // an output may be one twice
  for (ValueId& output : graph.outputs) {
    if (!rounded.contains(output) || !params(output) || !plan.integer[static_cast<size_t>(output)]) continue;
    const auto [it, added] = read_as.try_emplace(output, kNoValue);
    if (added) {
      const ValueId read = it->second = dequantized(output);
      const std::string name = graph[output].name;
      graph[output].name = graph.fresh_name(name + "_float");
      graph[read].name = name;
    }
    output = it->second;
  }
}

void Placement::forget_files(int32_t i, size_t since) const {
  pool_->forget_files();
  zp::forget_files(prepared_, prepared_.nodes[static_cast<size_t>(i)]);
  for (size_t n = since; n < graph.nodes.size(); ++n) zp::forget_files(graph, graph.nodes[n]);
}

void Placement::finish() {
  // Where integers are asked for at the edges, the integer value takes the name that callers know.
  const auto rename = [&](ValueId float_value, ValueId integers) {
    const std::string name = graph[float_value].name;
    graph[float_value].name = graph.fresh_name(name + "_float");
    graph[integers].name = name;
  };
  if (config.quantized_inputs) {
    for (ValueId& input : graph.inputs) {
      const auto it = quantized_.find(input);
      if (it == quantized_.end() || !params(input)) {
        warnings.push_back("input '" + graph[input].name + "' stays float: no quantized layer reads it");
        continue;
      }
      const Quantized q = it->second;
      const ValueId as_float = input;
      std::erase_if(graph.nodes, [&](const Node& n) { return is_quantize(n) && n.output(0) == q.integers; });
      rename(as_float, q.integers);
      // Whoever still reads the float input reads what the integers stand for.
      const bool read = std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const Node& n) {
        return std::find(n.inputs.begin(), n.inputs.end(), as_float) != n.inputs.end();
      });
      input = q.integers;
      if (read || graph.is_output(as_float)) {
        Node n = qdq_node(QdqRole::kDequantize, graph[as_float].name, {q.integers, q.scale, q.zero_point},
                          as_float);
        graph.nodes.insert(graph.nodes.begin(), std::move(n));
      }
    }
  }
  if (!config.quantized_outputs) round_outputs();
  if (config.quantized_outputs) {
    for (ValueId& output : graph.outputs) {
      if (graph.constant(output) || !params(output) ||
          std::find(graph.inputs.begin(), graph.inputs.end(), output) != graph.inputs.end()) {
        warnings.push_back("output '" + graph[output].name + "' stays float: no quantized layer makes it");
        continue;
      }
      dequantized(output);  // makes the Q; its DQ goes unread
      const ValueId integers = quantized_.at(output).integers;
      rename(output, integers);
      output = integers;
    }
  }
  sort_topologically(graph);
  remove_unused(graph);
  infer_shapes(graph);
}

}  // namespace zp::quant
