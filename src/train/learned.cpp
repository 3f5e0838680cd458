#include "train/learned.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "core/error.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "quant/qdq.h"

namespace zp::train {
namespace {

using quant::QParams;

constexpr std::string_view kPrefix = "parameter:";
constexpr double kRangeMemory = 0.98;  // of a moving average of ranges, from step to step

constexpr std::string_view kRounding = "/rounding";
constexpr float kStretch = 1.2f, kShift = -0.1f;  // a stretched sigmoid reaches 0 and 1 (Louizos et al. 2018)

std::string group_name(size_t group) { return "group " + std::to_string(group); }

// Where an element of a weight finds its scale.
struct Channels {
  int64_t length = 1, inner = 1;
  size_t at(int64_t element) const { return static_cast<size_t>(element / inner % length); }
};

Channels channels_of(const Shape& dims, int axis, size_t scales) {
  Channels c;
  if (scales == 1) {
    c.inner = std::max<int64_t>(1, element_count(dims));
    return c;
  }
  c.length = dims[static_cast<size_t>(axis)];
  for (size_t d = static_cast<size_t>(axis) + 1; d < dims.size(); ++d) c.inner *= dims[d];
  return c;
}

float rounded(float x, float scale, int32_t zero_point, IntegerRange codes) {
  return std::clamp(std::nearbyint(x / scale), static_cast<float>(codes.min - zero_point),
                    static_cast<float>(codes.max - zero_point));
}

// For each channel, of several steps that reach from a part to all of its largest weight, the one with the
// least squared error.
std::vector<float> best_scales(const Tensor& w, const Channels& channels, size_t count, int32_t zero_point,
                               IntegerRange codes) {
  constexpr int kTries = 40;
  std::vector<float> largest(count, 0.f), best(count, 1.f);
  const std::span<const float> x = w.data<float>();
  for (size_t i = 0; i < x.size(); ++i) {
    float& l = largest[channels.at(static_cast<int64_t>(i))];
    l = std::max(l, std::fabs(x[i]));
  }
  std::vector<double> least(count, std::numeric_limits<double>::infinity());
  const auto reach = static_cast<float>(zero_point - codes.min);
  for (int t = 1; t <= kTries; ++t) {
    std::vector<double> error(count, 0);
    const auto scale_of = [&](size_t c) {
      return largest[c] == 0 ? 1.f : largest[c] * static_cast<float>(t) / (kTries * reach);
    };
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t c = channels.at(static_cast<int64_t>(i));
      const double d = x[i] - rounded(x[i], scale_of(c), zero_point, codes) * scale_of(c);
      error[c] += d * d;
    }
    for (size_t c = 0; c < count; ++c) {
      if (error[c] >= least[c]) continue;
      least[c] = error[c];
      best[c] = scale_of(c);
    }
  }
  return best;
}

// The integers in the middle of a type that `bits` can tell apart.
IntegerRange middle_codes(DType dtype, int bits) {
  const IntegerRange all = integer_range(dtype);
  const int32_t middle = all.min < 0 ? 0 : (all.max + 1) / 2, half = 1 << (bits - 1);
  return {middle - half, middle + half - 1};
}

Tensor tensor_like(const Tensor& like, const std::vector<float>& values) {
  return Tensor::of<float>(like.dims(), values);
}

Node node_of(std::string_view type, std::string_view domain, std::string name, std::vector<ValueId> inputs,
             ValueId output) {
  Node n;
  n.op_type = type;
  n.domain = domain;
  n.name = std::move(name);
  n.inputs = std::move(inputs);
  n.outputs = {output};
  return n;
}

struct ParameterInput {
  int at;
  bool is_bias;  // or a scale: weight decay leaves it alone
};

// Where an operator takes what training moves.
std::vector<ParameterInput> parameter_inputs(const OpDef* def) {
  std::vector<ParameterInput> inputs;
  if (!def) return inputs;
  const auto add = [&](int at, bool is_bias) {
    if (at >= 0) inputs.push_back({at, is_bias});
  };
  if (def->quant.kind == QuantRule::Kind::kProduct) {
    add(def->quant.weight, false);
    add(def->quant.bias, true);
  }
  add(def->gain, true);
  add(def->shift, true);
  for (const int8_t at : def->weights) add(static_cast<int>(at), false);
  for (const int8_t at : def->biases) add(static_cast<int>(at), true);
  return inputs;
}

}  // namespace

Learned::Learned(quant::JobState& state) : state_(state), settings_(state.config.training) {
  find_weights();
  find_plain();
  find_activations();
}

bool Learned::is_narrow(const Weight& w) const {
  return settings_.weight_bits && settings_.weight_bits < bits_of(state_.weights[w.placed].spec.dtype);
}

// What is behind the integers of a weight: the floats of the model. Where a repair has rounded one otherwise
// than to the nearest it moves into the cell of its integer, so far that the first steps do not throw it out
// again.
Tensor Learned::latent(const Weight& w) const {
  constexpr float kReach = 0.25f;  // of a step, from the middle of a cell
  const quant::PlacedWeight& placed = state_.weights[w.placed];
  const Tensor& integers = *graph().constant(placed.integers);
  const Channels channels = channels_of(w.value.dims(), placed.spec.grouping.axis, w.scales.size());
  Tensor moved = Tensor::of<float>(w.value.dims(), w.value.data<float>());
  const std::span<float> x = moved.mutable_data<float>();
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t c = channels.at(static_cast<int64_t>(i));
    const auto code = static_cast<int32_t>(integers.integer_at(static_cast<int64_t>(i)));
    const auto whole = static_cast<float>(code - w.zero_points[c]);
    const float off = rounded(x[i], w.scales[c], w.zero_points[c], w.codes) - whole;
    if (off != 0) x[i] = (whole + std::copysign(kReach, off)) * w.scales[c];
  }
  return moved;
}

// The lower one of the two integers, less their zero points, that a rounding decides between: those around
// the weight, unless what it is now is neither of them.
std::vector<float> Learned::lower_codes(const Weight& w) const {
  const quant::PlacedWeight& placed = state_.weights[w.placed];
  const Tensor& integers = *graph().constant(placed.integers);
  const Channels channels = channels_of(w.value.dims(), placed.spec.grouping.axis, w.scales.size());
  const std::span<const float> x = state_.prepared->graph.constant(placed.weight)->data<float>();
  std::vector<float> low(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t c = channels.at(static_cast<int64_t>(i));
    const auto least = static_cast<float>(w.codes.min - w.zero_points[c]),
               most = static_cast<float>(w.codes.max - w.zero_points[c]);
    const auto now = static_cast<float>(integers.integer_at(static_cast<int64_t>(i)) - w.zero_points[c]);
    low[i] = std::clamp(std::floor(x[i] / w.scales[c]), now - 1, now);
    low[i] = std::clamp(low[i], least, most - 1);
  }
  return low;
}

// What the sigmoid is taken of, so that it gives how far up the weight is; where a repair has chosen the
// integers, mostly what it chose.
Tensor Learned::rounding(const Weight& w, const std::vector<float>& low) const {
  constexpr float kTowards = 0.8f, kMargin = 0.02f;
  const quant::PlacedWeight& placed = state_.weights[w.placed];
  const Tensor& integers = *graph().constant(placed.integers);
  const Channels channels = channels_of(w.value.dims(), placed.spec.grouping.axis, w.scales.size());
  const std::span<const float> x = state_.prepared->graph.constant(placed.weight)->data<float>();
  std::vector<float> part(low.size()), now(low.size());
  bool chosen = false;
  for (size_t i = 0; i < low.size(); ++i) {
    const size_t c = channels.at(static_cast<int64_t>(i));
    part[i] = std::clamp(x[i] / w.scales[c] - low[i], 0.f, 1.f);
    now[i] = static_cast<float>(integers.integer_at(static_cast<int64_t>(i)) - w.zero_points[c]) - low[i];
    chosen = chosen || std::fabs(now[i] - part[i]) > 0.51f;
  }
  Tensor value(DType::kFloat32, w.value.dims());
  for (size_t i = 0; i < low.size(); ++i) {
    const float at = chosen ? part[i] + kTowards * (now[i] - part[i]) : part[i];
    const float sigmoid = (std::clamp(at, kMargin, 1 - kMargin) - kShift) / kStretch;
    value.mutable_data<float>()[i] = std::log(sigmoid / (1 - sigmoid));
  }
  return value;
}

IntegerRange Learned::activation_codes(DType dtype) const {
  IntegerRange codes = integer_range(dtype);
  const int bits = settings_.activation_bits;
  if (bits == 0 || bits >= bits_of(dtype)) return codes;
  if (state_.config.symmetric_activations) return middle_codes(dtype, bits);
  if (codes.min < 0) return middle_codes(dtype, bits);
  return {codes.min, codes.min + (1 << bits) - 1};
}

void Learned::find_weights() {
  std::set<ValueId> seen;
  for (size_t i = 0; i < state_.weights.size(); ++i) {
    const quant::PlacedWeight& p = state_.weights[i];
    if (p.spec.grouping.block_size > 0 || !seen.insert(p.integers).second) continue;
    // Only those of products: a table that is picked from has no gradient worth its memory.
    if (op_of(state_.prepared->graph.nodes[static_cast<size_t>(p.node)]).quant.kind !=
        QuantRule::Kind::kProduct)
      continue;
    // Nor one that is turned first: it serves as a table too.
    if (state_.plan.nodes[static_cast<size_t>(p.node)].turned >= 0) continue;
    Weight w;
    w.placed = i;
    w.value = *state_.prepared->graph.constant(p.weight);
    w.scales = graph().constant(p.scale)->floats();
    w.zero_points.assign(w.scales.size(), 0);
    if (const Tensor* z = graph().constant(p.zero_point))
      for (size_t c = 0; c < w.scales.size(); ++c)
        w.zero_points[c] = static_cast<int32_t>(z->integer_at(z->size() == 1 ? 0 : static_cast<int64_t>(c)));
    w.codes = integer_range(p.spec.dtype);
    if (p.spec.reduce_range && bits_of(p.spec.dtype) == 8) w.codes = middle_codes(p.spec.dtype, 7);
    w.name = state_.prepared->graph[p.weight].name;
    if (is_narrow(w)) w.codes = middle_codes(p.spec.dtype, settings_.weight_bits);
    weights_.push_back(std::move(w));
  }
  for (size_t i = 0; i < state_.biases.size(); ++i) {
    const quant::PlacedBias& p = state_.biases[i];
    const Tensor& integers = *graph().constant(p.integers);
    const std::vector<float> scales = graph().constant(p.scale)->floats();
    Tensor value(DType::kFloat32, integers.dims());
    for (size_t b = 0; b < static_cast<size_t>(value.size()); ++b)
      value.mutable_data<float>()[b] = static_cast<float>(integers.integer_at(static_cast<int64_t>(b))) *
                                       scales[scales.size() == 1 ? 0 : b];
    biases_.push_back({i, std::move(value), state_.prepared->graph[p.bias].name});
  }
}

// What operators read as floats.
void Learned::find_plain() {
  std::set<ValueId> seen;
  const GraphIndex prepared(state_.prepared->graph);
  for (const Node& n : graph().nodes) {
    int32_t node = -1;
    for (const ValueId v : n.outputs)
      if (v != kNoValue && static_cast<size_t>(v) < prepared.producer.size())
        node = prepared.producer[static_cast<size_t>(v)];
    for (const auto [at, is_bias] : parameter_inputs(find_op(n.domain, n.op_type))) {
      const ValueId v = n.input(static_cast<size_t>(at));
      const Tensor* t = graph().constant(v);
      if (t && t->dtype() == DType::kFloat32 && seen.insert(v).second)
        plain_.push_back({v, is_bias, graph()[v].name, node});
    }
  }
}

void Learned::find_activations() {
  std::vector<bool> follows(graph().values.size(), false);
  for (const Node& n : graph().nodes) {
    const bool trained = !parameter_inputs(find_op(n.domain, n.op_type)).empty() ||
                         std::any_of(n.inputs.begin(), n.inputs.end(), [&](ValueId v) {
                           return v != kNoValue && follows[static_cast<size_t>(v)];
                         });
    for (const ValueId v : n.outputs)
      if (v != kNoValue) follows[static_cast<size_t>(v)] = trained;
    if (!quant::is_quantize(n) || graph().constant(n.input(0))) continue;
    ValueId x = n.input(0), low = kNoValue, high = kNoValue;
    if (static_cast<size_t>(x) >= state_.plan.group.size()) {  // of the Clip that narrow() has put there
      for (const Node& clip : graph().nodes) {
        if (clip.output(0) != n.input(0) || clip.inputs.size() != 3) continue;
        x = clip.input(0);
        low = clip.input(1);
        high = clip.input(2);
      }
    }
    const int32_t group =
        static_cast<size_t>(x) < state_.plan.group.size() ? state_.plan.group[static_cast<size_t>(x)] : -1;
    if (group < 0) continue;
    activations_.push_back(
        {.x = x, .integers = n.output(0), .group = group, .follows = trained, .low = low, .high = high});
  }
  const GraphIndex index(graph());
  for (Activation& a : activations_) a.moved = only_moved(a, index);
}

// Made of nothing but activations of the same group, by an operator that only moves them.
bool Learned::only_moved(const Activation& a, const GraphIndex& index) const {
  const auto made_by = [&](ValueId v) -> const Node* {
    const int32_t n = v == kNoValue ? -1 : index.producer[static_cast<size_t>(v)];
    return n < 0 ? nullptr : &graph().nodes[static_cast<size_t>(n)];
  };
  const Node* maker = made_by(a.x);
  if (!maker) return false;
  const OpDef* def = find_op(maker->domain, maker->op_type);
  if (!def || def->quant.kind != QuantRule::Kind::kSameScale || def->quant.blends) return false;
  const auto same = [&](ValueId v) {
    const Node* from = made_by(v);
    return from && quant::is_dequantize(*from) &&
           std::any_of(activations_.begin(), activations_.end(), [&](const Activation& other) {
             return other.integers == from->input(0) && other.group == a.group;
           });
  };
  const QuantRule::Inputs& data = def->quant.data;
  for (size_t i = 0; i < maker->inputs.size(); ++i)
    if ((data.all() || data.has(static_cast<int>(i))) && !same(maker->inputs[i])) return false;
  return true;
}

void Learned::narrow() {
  for (Weight& w : weights_) {
    const quant::PlacedWeight& p = state_.weights[w.placed];
    if (!is_narrow(w)) continue;
    w.scales = best_scales(w.value, channels_of(w.value.dims(), p.spec.grouping.axis, w.scales.size()),
                           w.scales.size(), w.zero_points[0], w.codes);
  }
  std::vector<bool> narrowed(state_.params.size(), false);
  for (size_t g = 0; g < state_.params.size(); ++g) {
    QParams& p = state_.params[g];
    const IntegerRange codes = activation_codes(p.dtype), all = integer_range(p.dtype);
    if (codes.min == all.min && codes.max == all.max) continue;
    narrowed[g] = true;
    p = quant::choose_params(quant::covered(p), p.dtype, state_.config.symmetric_activations, codes);
  }
  for (Activation& a : activations_)
    if (narrowed[static_cast<size_t>(a.group)] && !a.moved) add_clip(a);
  sort_topologically(state_.result->graph);
  write();
}

// Saturation to fewer integers than the type has is a Clip before the Q, which every runtime knows.
void Learned::add_clip(Activation& a) {
  Graph& g = state_.result->graph;
  const std::string name = g[a.x].name;
  a.low = g.add_constant(name + "_low", Tensor::scalar(0.f));
  a.high = g.add_constant(name + "_high", Tensor::scalar(0.f));
  const ValueId clipped = g.add_value(name + "_clipped", DType::kFloat32, g[a.x].shape);
  for (Node& n : g.nodes)
    if (quant::is_quantize(n) && n.output(0) == a.integers) n.inputs[0] = clipped;
  g.nodes.push_back(node_of("Clip", "", name + "_clip", {a.x, a.low, a.high}, clipped));
}

// ---- the training graph

class Learned::Builder {
 public:
  Builder(const Learned& learned, const Block* block)
      : learned_(learned),
        block_(block),
        follow_(!block && learned.settings_.scales == "moving-average"),
        g_(p_.graph) {
    g_ = clone(learned.graph());
    replaced_.assign(g_.values.size(), kNoValue);
  }

  Problem build(const std::vector<Aim>& aims) {
    if (block_) {
      round_weights();
    } else {
      train_weights();
    }
    for (const Bias& b : learned_.biases_)
      if (const quant::PlacedBias& placed = state().biases[b.placed]; inside(placed.node))
        replace_dequantized(placed.integers, parameter(b.name, b.value, Parameter::Kind::kBias));
    for (const Plain& b : learned_.plain_) {
      if (!inside(b.node)) continue;
      const Tensor& value = *learned_.graph().constant(b.value);
      replaced_[static_cast<size_t>(b.value)] =
          parameter(b.name, value, b.is_bias ? Parameter::Kind::kBias : Parameter::Kind::kWeight);
    }
    quantize_activations();
    rewire();
    for (const Aim& aim : aims) p_.loss = sum(p_.loss, loss(aim));
    if (penalty_ != kNoValue) p_.loss = sum(p_.loss, penalty_);
    g_.outputs = {p_.loss};
    for (const Following& f : p_.following) g_.outputs.insert(g_.outputs.end(), {f.low, f.high});
    if (block_) cut();
    sort_topologically(g_);
    remove_unused(g_);
    if (block_) drop_unread_inputs();
    return std::move(p_);
  }

 private:
  const quant::JobState& state() const { return learned_.state_; }
  const quant::Training& settings() const { return learned_.settings_; }
  bool inside(int32_t node) const { return !block_ || (node >= block_->first && node < block_->last); }

  // ---- nodes and values

  ValueId add(std::string_view type, std::vector<ValueId> inputs, NewAttributes attributes = {}) {
    const ValueId y = g_.add_value("train/" + std::string(type));
    Node n = node_of(type, "", g_[y].name, std::move(inputs), y);
    for (auto& [key, value] : attributes) n.attributes.emplace(std::move(key), std::move(value));
    g_.nodes.push_back(std::move(n));
    return y;
  }
  ValueId reduce(std::string_view type, std::vector<ValueId> inputs) {
    return add(type, std::move(inputs), {{"keepdims", int64_t{0}}});
  }
  ValueId sum(ValueId a, ValueId b) { return a == kNoValue ? b : add("Add", {a, b}); }
  ValueId constant(std::string_view name, double v) {
    return g_.add_constant(std::string(name), Tensor::scalar(static_cast<float>(v)));
  }
  ValueId fake(const std::string& name, ValueId x, ValueId s, ValueId z, IntegerRange codes, int axis) {
    const ValueId y = g_.add_value(name + "/fake", DType::kFloat32, g_[x].shape);
    Node n = node_of("FakeQuantize", kOwn, g_[y].name, {x, s, z}, y);
    n.attributes["low"] = static_cast<float>(codes.min);
    n.attributes["high"] = static_cast<float>(codes.max);
    n.attributes["axis"] = static_cast<int64_t>(std::max(0, axis));
    front_.push_back(std::move(n));
    return y;
  }
  ValueId setting(const std::string& name) {
    const ValueId v = g_.add_value(name, DType::kFloat32, SymShape{});
    g_.inputs.push_back(v);
    return v;
  }
  ValueId parameter(const std::string& name, Tensor value, Parameter::Kind kind) {
    const ValueId v = g_.add_value(std::string(kPrefix) + name, DType::kFloat32, symbolic(value.dims()));
    g_.inputs.push_back(v);
    p_.parameters.push_back({g_[v].name, std::move(value), kind});
    return v;
  }
  ValueId scale(const std::string& name, Tensor value, bool moves = true) {
    return moves && settings().scales != "fixed"
               ? parameter(name + "/scale", std::move(value), Parameter::Kind::kScale)
               : g_.add_constant(name + "/scale", std::move(value));
  }
  ValueId zero_point(const std::string& name, const QParams& q, bool moves) {
    Tensor value = Tensor::scalar(static_cast<float>(q.zero_point));
    if (!moves || state().config.symmetric_activations || (!follow_ && !settings().learn_zero_points))
      return g_.add_constant(name + "/zero", std::move(value));
    const ValueId v = parameter(name + "/zero", std::move(value), Parameter::Kind::kZeroPoint);
    p_.parameters.back().codes = learned_.activation_codes(q.dtype);
    return v;
  }
  void replace_dequantized(ValueId integers, ValueId by) {
    replaced_[static_cast<size_t>(integers)] = by;
    for (const Node& n : learned_.graph().nodes)
      if (quant::is_dequantize(n) && n.input(0) == integers) replaced_[static_cast<size_t>(n.output(0))] = by;
  }
  ValueId now(ValueId v) const {
    for (auto at = static_cast<size_t>(v);
         v != kNoValue && at < replaced_.size() && replaced_[at] != kNoValue; at = static_cast<size_t>(v))
      v = replaced_[at];
    return v;
  }

  // ---- weights

  void train_weights() {
    for (const Weight& w : learned_.weights_) {
      const quant::PlacedWeight& placed = state().weights[w.placed];
      const Tensor& scales = *learned_.graph().constant(placed.scale);
      const ValueId x = parameter(w.name, learned_.latent(w), Parameter::Kind::kWeight);
      const ValueId s = scale(w.name, tensor_like(scales, w.scales));
      if (follow_) {
        std::vector<ValueId> inputs{x};
        if (w.scales.size() > 1) {
          std::vector<int64_t> axes;
          for (int64_t d = 0; d < std::ssize(w.value.dims()); ++d)
            if (d != placed.spec.grouping.axis) axes.push_back(d);
          inputs.push_back(g_.add_constant(w.name + "/axes", Tensor::of<int64_t>({std::ssize(axes)}, axes)));
        }
        p_.following.push_back({.low = reduce("ReduceMin", inputs),
                                .high = reduce("ReduceMax", inputs),
                                .scale = g_[s].name,
                                .zero_point = {},
                                .zero = static_cast<double>(w.zero_points[0]),
                                .dtype = placed.spec.dtype,
                                .codes = w.codes});
      }
      std::vector<float> zero(w.zero_points.begin(), w.zero_points.end());
      const ValueId z = g_.add_constant(w.name + "/zero", tensor_like(scales, zero));
      replace_dequantized(placed.integers, fake(w.name, x, s, z, w.codes, placed.spec.grouping.axis));
    }
  }

  // w = s (low + h(v)), h a stretched sigmoid, or where it is nearer to when all is decided. The penalty is
  // 1 - |2 h - 1|^exponent, on average.
  void round_weights() {
    p_.rounding = Rounding{
        .hard = "rounding/hard", .penalty = "rounding/penalty", .square_exponent = "rounding/exponent"};
    const ValueId hard = setting(p_.rounding->hard), exponent = setting(p_.rounding->square_exponent),
                  strength = setting(p_.rounding->penalty);
    const ValueId zero = constant("rounding/zero", 0), one = constant("rounding/one", 1);
    const ValueId stretch = constant("rounding/stretch", kStretch),
                  shift = constant("rounding/shift", kShift);
    double weights = 0;
    for (const Weight& w : learned_.weights_)
      if (inside(state().weights[w.placed].node)) weights += static_cast<double>(w.value.size());
    ValueId decided = kNoValue;  // from 0 to 1
    for (const Weight& w : learned_.weights_) {
      const quant::PlacedWeight& placed = state().weights[w.placed];
      if (!inside(placed.node)) continue;
      const std::string name = w.name + std::string(kRounding);
      const std::vector<float> codes = learned_.lower_codes(w);
      const ValueId v = parameter(name, learned_.rounding(w, codes), Parameter::Kind::kRounding);
      const ValueId soft =
          add("Clip", {add("Add", {add("Mul", {add("Sigmoid", {v}), stretch}), shift}), zero, one});
      const ValueId rounded = fake(name, soft, one, zero, {0, 1}, 0);
      const ValueId part = add("Add", {soft, add("Mul", {hard, add("Sub", {rounded, soft})})});
      const ValueId low = g_.add_constant(w.name + "/low", Tensor::of<float>(w.value.dims(), codes));
      Shape along(w.value.dims().size(), 1);
      if (w.scales.size() > 1) along[static_cast<size_t>(placed.spec.grouping.axis)] = std::ssize(w.scales);
      const ValueId s = scale(w.name, Tensor::of<float>(along, w.scales));
      replace_dequantized(placed.integers, add("Mul", {add("Add", {low, part}), s}));
      const ValueId off = add("Sub", {add("Add", {soft, soft}), one});
      const ValueId mean = reduce("ReduceMean", {add("Pow", {add("Mul", {off, off}), exponent})});
      const double share = static_cast<double>(w.value.size()) / weights;
      decided = sum(decided, add("Mul", {mean, constant("rounding/share", share)}));
    }
    if (decided == kNoValue) return p_.rounding.reset();
    penalty_ = add("Mul", {add("Sub", {one, decided}), strength});
  }

  // ---- activations

  void quantize_activations() {
    std::vector<ValueId> scales(state().params.size(), kNoValue), zeros = scales;  // of groups
    for (const Activation& a : learned_.activations_) {
      if (a.moved) {
        replace_dequantized(a.integers, a.x);
        continue;
      }
      const auto group = static_cast<size_t>(a.group);
      const QParams& q = state().params[group];
      const IntegerRange codes = learned_.activation_codes(q.dtype);
      if (scales[group] == kNoValue) {
        const std::string name = group_name(group);
        const std::vector<Activation>& all = learned_.activations_;
        // What the samples themselves are has the scale that it was calibrated to: to learn it would take the
        // gradient of the whole input.
        const bool moves = !block_ && std::any_of(all.begin(), all.end(), [&](const Activation& other) {
          return other.group == a.group && other.follows;
        });
        scales[group] = scale(name, Tensor::scalar(q.scale), moves);
        zeros[group] = zero_point(name, q, moves);
        if (follow_ && moves) follow(a.group, scales[group], zeros[group]);
      }
      replace_dequantized(a.integers, fake(g_[a.x].name, a.x, scales[group], zeros[group], codes, 0));
    }
  }

  void follow(int32_t group, ValueId scale, ValueId zero) {
    const QParams& q = state().params[static_cast<size_t>(group)];
    std::vector<ValueId> lows, highs;
    for (const Activation& a : learned_.activations_) {
      if (a.group != group || a.moved) continue;
      lows.push_back(reduce("ReduceMin", {a.x}));
      highs.push_back(reduce("ReduceMax", {a.x}));
    }
    const bool one = lows.size() == 1, moves_zero = !g_[zero].constant;
    p_.following.push_back({.low = one ? lows[0] : add("Min", lows),
                            .high = one ? highs[0] : add("Max", highs),
                            .scale = g_[scale].name,
                            .zero_point = moves_zero ? g_[zero].name : "",
                            .zero = static_cast<double>(q.zero_point),
                            .dtype = q.dtype,
                            .codes = learned_.activation_codes(q.dtype),
                            .memory = kRangeMemory});
  }

  // ---- the whole

  void rewire() {
    for (Node& n : g_.nodes) front_.push_back(std::move(n));
    g_.nodes = std::move(front_);
    std::erase_if(g_.nodes, [&](const Node& n) {
      return !n.outputs.empty() && n.domain != kOwn && now(n.output(0)) != n.output(0);
    });
    for (Node& n : g_.nodes)
      for (ValueId& v : n.inputs) v = now(v);
  }

  ValueId loss(const Aim& aim) {
    const auto scalar = [&](double v) { return constant("loss/scalar", v); };
    const ValueId y = now(aim.output);
    const ValueId target = g_.add_value(aim.feed, DType::kFloat32, g_[y].shape);
    g_.inputs.push_back(target);
    if (aim.kind == Aim::Kind::kProbabilities) {
      const ValueId logarithm = aim.is_probability ? add("Log", {add("Add", {y, scalar(1e-7)})})
                                                   : add("LogSoftmax", {y}, {{"axis", int64_t{-1}}});
      // The divergence: the target's own entropy comes off, so that a perfect match is 0 for any samples.
      const ValueId own = add("Log", {add("Add", {target, scalar(1e-30)})});
      const ValueId axis = g_.add_constant("loss/axis", Tensor::of<int64_t>({1}, {-1}));
      const ValueId terms = add("Mul", {target, add("Sub", {own, logarithm})});
      return reduce("ReduceMean", {reduce("ReduceSum", {terms, axis})});
    }
    const ValueId d = add("Sub", {y, target});
    return add("Mul", {reduce("ReduceMean", {add("Mul", {d, d})}), scalar(aim.factor)});
  }

  // What the blocks before make comes in from outside.
  void cut() {
    if (block_->start == kNoValue) return;
    std::erase_if(g_.nodes, [&](const Node& n) { return n.output(0) == block_->start; });
    g_.inputs.push_back(block_->start);
  }

  void drop_unread_inputs() {
    const GraphIndex index(g_);
    std::erase_if(g_.inputs, [&](ValueId v) { return index.consumers[static_cast<size_t>(v)].empty(); });
    std::erase_if(p_.parameters, [&](const Parameter& of) {
      return std::none_of(g_.inputs.begin(), g_.inputs.end(),
                          [&](ValueId v) { return g_[v].name == of.name; });
    });
  }

  const Learned& learned_;
  const Block* block_;
  bool follow_;  // scales follow ranges
  Problem p_;
  Graph& g_;
  std::vector<ValueId> replaced_;  // by value of the quantized graph: what is read instead
  std::vector<Node> front_;        // in front of the others
  ValueId penalty_ = kNoValue;
};

Problem Learned::problem(const std::vector<Aim>& aims, const Block* block) const {
  return Builder(*this, block).build(aims);
}

// ---- and back

void Learned::store(const std::vector<Parameter>& parameters) {
  const auto value_of = [&](const std::string& name) -> const Tensor* {
    for (const Parameter& p : parameters)
      if (std::string_view(p.name).substr(kPrefix.size()) == name) return &p.value;
    return nullptr;
  };
  for (Weight& w : weights_) {
    if (const Tensor* t = value_of(w.name + std::string(kRounding))) take_rounding(w, *t);
    if (const Tensor* t = value_of(w.name + "/scale")) w.scales = t->floats();
    const Tensor* value = value_of(w.name);
    w.value = value ? *value : latent(w);  // without training, the integers stay
  }
  for (Bias& b : biases_)
    if (const Tensor* t = value_of(b.name)) b.value = *t;
  for (const Plain& p : plain_)
    if (const Tensor* t = value_of(p.name)) state_.result->graph[p.value].constant = *t;
  for (size_t g = 0; g < state_.params.size(); ++g) {
    if (const Tensor* t = value_of(group_name(g) + "/scale")) state_.params[g].scale = t->floats()[0];
    if (const Tensor* t = value_of(group_name(g) + "/zero"))
      state_.params[g].zero_point = static_cast<int32_t>(std::nearbyint(t->floats()[0]));
  }
  write();
}

void Learned::take_rounding(const Weight& w, const Tensor& rounding) {
  const quant::PlacedWeight& placed = state_.weights[w.placed];
  const Channels channels = channels_of(w.value.dims(), placed.spec.grouping.axis, w.scales.size());
  const std::vector<float> low = lower_codes(w);
  const std::span<const float> v = rounding.data<float>();
  std::vector<int32_t> q(low.size());
  for (size_t i = 0; i < q.size(); ++i)
    q[i] = static_cast<int32_t>(low[i]) + (v[i] > 0 ? 1 : 0) +
           w.zero_points[channels.at(static_cast<int64_t>(i))];
  state_.result->graph[placed.integers].constant = quant::pack_integers(placed.spec.dtype, w.value.dims(), q);
}

void Learned::write() {
  Graph& g = state_.result->graph;
  for (const Weight& w : weights_) {
    quant::PlacedWeight& p = state_.weights[w.placed];
    const Channels channels = channels_of(w.value.dims(), p.spec.grouping.axis, w.scales.size());
    const std::span<const float> x = w.value.data<float>();
    std::vector<int32_t> q(x.size());
    double signal = 0, noise = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t c = channels.at(static_cast<int64_t>(i));
      const float r = rounded(x[i], w.scales[c], w.zero_points[c], w.codes);
      q[i] = static_cast<int32_t>(r) + w.zero_points[c];
      signal += double{x[i]} * x[i];
      noise += std::pow(double{x[i]} - double{r} * w.scales[c], 2);
    }
    g[p.integers].constant = quant::pack_integers(p.spec.dtype, w.value.dims(), q);
    g[p.scale].constant = tensor_like(*g.constant(p.scale), w.scales);
    p.range = quant::range_of(x);
    p.sqnr_db = noise > 0 ? 10 * std::log10(signal / noise) : std::numeric_limits<double>::infinity();
    for (quant::PlacedWeight& other : state_.weights) {
      if (other.integers != p.integers) continue;
      other.range = p.range;
      other.sqnr_db = p.sqnr_db;
    }
  }
  for (const Activation& a : activations_) {
    const QParams& q = state_.params[static_cast<size_t>(a.group)];
    const IntegerRange codes = activation_codes(q.dtype);
    const int32_t zero[] = {q.zero_point};
    for (const Node& n : g.nodes) {
      const bool mine = (quant::is_quantize(n) && n.output(0) == a.integers) ||
                        (quant::is_dequantize(n) && n.input(0) == a.integers);
      if (!mine) continue;
      g[n.input(1)].constant = Tensor::scalar(q.scale);
      if (n.input(2) != kNoValue) g[n.input(2)].constant = quant::pack_integers(q.dtype, {}, zero);
    }
    if (a.low == kNoValue) continue;
    g[a.low].constant = Tensor::scalar(static_cast<float>(codes.min - q.zero_point) * q.scale);
    g[a.high].constant = Tensor::scalar(static_cast<float>(codes.max - q.zero_point) * q.scale);
  }
  for (const Bias& b : biases_) {
    const quant::PlacedBias& p = state_.biases[b.placed];
    const quant::NodePlan& node = state_.plan.nodes[static_cast<size_t>(p.node)];
    float input_scale = 1;
    for (ValueId v : node.data) {
      const int32_t group = state_.plan.group[static_cast<size_t>(v)];
      if (group >= 0) input_scale = state_.params[static_cast<size_t>(group)].scale;
    }
    ValueId integers = kNoValue;
    for (const quant::PlacedWeight& w : state_.weights)
      if (w.node == p.node) integers = w.integers;
    const auto weight = std::find_if(weights_.begin(), weights_.end(), [&](const Weight& w) {
      return state_.weights[w.placed].integers == integers;
    });
    if (weight == weights_.end()) continue;
    const Tensor old = *g.constant(p.scale);
    std::vector<float> scales(static_cast<size_t>(old.size()));
    for (size_t c = 0; c < scales.size(); ++c)
      scales[c] = input_scale * weight->scales[c % weight->scales.size()];
    const std::span<const float> x = b.value.data<float>();
    std::vector<int32_t> q(x.size());
    for (size_t i = 0; i < q.size(); ++i) {
      const double v = std::nearbyint(double{x[i]} / scales[scales.size() == 1 ? 0 : i]);
      q[i] = static_cast<int32_t>(std::clamp(v, -2147483647.0, 2147483647.0));
    }
    g[p.integers].constant = Tensor::of<int32_t>(b.value.dims(), q);
    g[p.scale].constant = tensor_like(old, scales);
  }
}

}  // namespace zp::train
