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
  for (const Node& n : graph().nodes) {
    for (const auto [at, is_bias] : parameter_inputs(find_op(n.domain, n.op_type))) {
      const ValueId v = n.input(static_cast<size_t>(at));
      const Tensor* t = graph().constant(v);
      if (t && t->dtype() == DType::kFloat32 && seen.insert(v).second)
        plain_.push_back({v, is_bias, graph()[v].name});
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

Problem Learned::problem(const std::vector<Aim>& aims) const {
  Problem p;
  p.graph = quant::clone(graph());
  Graph& g = p.graph;
  std::vector<ValueId> replaced(g.values.size(), kNoValue);
  std::vector<Node> nodes;  // in front of the others
  const auto parameter = [&](const std::string& name, Tensor value, Parameter::Kind kind) {
    const ValueId v = g.add_value(std::string(kPrefix) + name, DType::kFloat32, symbolic(value.dims()));
    g.inputs.push_back(v);
    p.parameters.push_back({g[v].name, std::move(value), kind});
    return v;
  };
  const bool follow = settings_.scales == "moving-average";
  const auto scale = [&](const std::string& name, Tensor value, bool moves = true) {
    return moves && settings_.scales != "fixed"
               ? parameter(name + "/scale", std::move(value), Parameter::Kind::kScale)
               : g.add_constant(name + "/scale", std::move(value));
  };
  const auto zero_point = [&](const std::string& name, const QParams& q, bool moves) {
    Tensor value = Tensor::scalar(static_cast<float>(q.zero_point));
    if (!moves || state_.config.symmetric_activations || (!follow && !settings_.learn_zero_points))
      return g.add_constant(name + "/zero", std::move(value));
    const ValueId v = parameter(name + "/zero", std::move(value), Parameter::Kind::kZeroPoint);
    p.parameters.back().codes = activation_codes(q.dtype);
    return v;
  };
  const auto add = [&](std::string_view type, std::vector<ValueId> inputs, NewAttributes attributes = {}) {
    const ValueId y = g.add_value("train/" + std::string(type));
    Node n = node_of(type, "", g[y].name, std::move(inputs), y);
    for (auto& [key, value] : attributes) n.attributes.emplace(std::move(key), std::move(value));
    g.nodes.push_back(std::move(n));
    return y;
  };
  const NewAttributes drop{{"keepdims", int64_t{0}}};
  const auto fake = [&](const std::string& name, ValueId x, ValueId s, ValueId z, IntegerRange codes,
                        int axis) {
    const ValueId y = g.add_value(name + "/fake", DType::kFloat32, g[x].shape);
    Node n = node_of("FakeQuantize", kOwn, g[y].name, {x, s, z}, y);
    n.attributes["low"] = static_cast<float>(codes.min);
    n.attributes["high"] = static_cast<float>(codes.max);
    n.attributes["axis"] = static_cast<int64_t>(std::max(0, axis));
    nodes.push_back(std::move(n));
    return y;
  };
  const auto replace_dequantized = [&](ValueId integers, ValueId by) {
    replaced[static_cast<size_t>(integers)] = by;
    for (const Node& n : graph().nodes)
      if (quant::is_dequantize(n) && n.input(0) == integers) replaced[static_cast<size_t>(n.output(0))] = by;
  };

  for (const Weight& w : weights_) {
    const quant::PlacedWeight& placed = state_.weights[w.placed];
    const Tensor& scales = *graph().constant(placed.scale);
    const ValueId x = parameter(w.name, latent(w), Parameter::Kind::kWeight);
    const ValueId s = scale(w.name, tensor_like(scales, w.scales));
    if (follow) {
      std::vector<ValueId> inputs{x};
      if (w.scales.size() > 1) {
        std::vector<int64_t> axes;
        for (int64_t d = 0; d < std::ssize(w.value.dims()); ++d)
          if (d != placed.spec.grouping.axis) axes.push_back(d);
        inputs.push_back(g.add_constant(w.name + "/axes", Tensor::of<int64_t>({std::ssize(axes)}, axes)));
      }
      p.following.push_back({.low = add("ReduceMin", inputs, drop),
                             .high = add("ReduceMax", inputs, drop),
                             .scale = g[s].name,
                             .zero_point = {},
                             .zero = static_cast<double>(w.zero_points[0]),
                             .dtype = placed.spec.dtype,
                             .codes = w.codes});
    }
    std::vector<float> zero(w.zero_points.begin(), w.zero_points.end());
    const ValueId z = g.add_constant(w.name + "/zero", tensor_like(scales, zero));
    replace_dequantized(placed.integers, fake(w.name, x, s, z, w.codes, placed.spec.grouping.axis));
  }
  for (const Bias& b : biases_)
    replace_dequantized(state_.biases[b.placed].integers, parameter(b.name, b.value, Parameter::Kind::kBias));
  for (const Plain& b : plain_) {
    replaced[static_cast<size_t>(b.value)] = parameter(
        b.name, *graph().constant(b.value), b.is_bias ? Parameter::Kind::kBias : Parameter::Kind::kWeight);
  }
  std::vector<ValueId> scales(state_.params.size(), kNoValue), zeros = scales;  // of groups
  for (const Activation& a : activations_) {
    if (a.moved) {
      replace_dequantized(a.integers, a.x);
      continue;
    }
    const auto group = static_cast<size_t>(a.group);
    const QParams& q = state_.params[group];
    if (scales[group] == kNoValue) {
      const std::string name = group_name(group);
      // What the samples themselves are has the scale that it was calibrated to: to learn it would take the
      // gradient of the whole input.
      const bool learned =
          std::any_of(activations_.begin(), activations_.end(),
                      [&](const Activation& other) { return other.group == a.group && other.follows; });
      scales[group] = scale(name, Tensor::scalar(q.scale), learned);
      zeros[group] = zero_point(name, q, learned);
      if (follow && learned) {
        std::vector<ValueId> lows, highs;
        for (const Activation& other : activations_) {
          if (other.group != a.group || other.moved) continue;
          lows.push_back(add("ReduceMin", {other.x}, drop));
          highs.push_back(add("ReduceMax", {other.x}, drop));
        }
        const bool one = lows.size() == 1, moves_zero = !g[zeros[group]].constant;
        p.following.push_back({.low = one ? lows[0] : add("Min", lows),
                               .high = one ? highs[0] : add("Max", highs),
                               .scale = g[scales[group]].name,
                               .zero_point = moves_zero ? g[zeros[group]].name : "",
                               .zero = static_cast<double>(q.zero_point),
                               .dtype = q.dtype,
                               .codes = activation_codes(q.dtype),
                               .memory = kRangeMemory});
      }
    }
    replace_dequantized(a.integers,
                        fake(g[a.x].name, a.x, scales[group], zeros[group], activation_codes(q.dtype), 0));
  }

  for (Node& n : g.nodes) nodes.push_back(std::move(n));
  g.nodes = std::move(nodes);
  const auto now = [&](ValueId v) {
    for (auto at = static_cast<size_t>(v); v != kNoValue && at < replaced.size() && replaced[at] != kNoValue;
         at = static_cast<size_t>(v))
      v = replaced[at];
    return v;
  };
  std::erase_if(g.nodes, [&](const Node& n) {
    return !n.outputs.empty() && n.domain != kOwn && now(n.output(0)) != n.output(0);
  });
  for (Node& n : g.nodes)
    for (ValueId& v : n.inputs) v = now(v);

  // Losses.
  const auto scalar = [&](double v) {
    return g.add_constant("loss/scalar", Tensor::scalar(static_cast<float>(v)));
  };
  for (const Aim& aim : aims) {
    const ValueId y = now(aim.output);
    const ValueId target = g.add_value(aim.feed, DType::kFloat32, g[y].shape);
    g.inputs.push_back(target);
    ValueId loss;
    if (aim.kind == Aim::Kind::kProbabilities) {
      const ValueId logarithm = aim.is_probability ? add("Log", {add("Add", {y, scalar(1e-7)})})
                                                   : add("LogSoftmax", {y}, {{"axis", int64_t{-1}}});
      // The divergence: the target's own entropy comes off, so that a perfect match is 0 for any samples.
      const ValueId own = add("Log", {add("Add", {target, scalar(1e-30)})});
      const ValueId axis = g.add_constant("loss/axis", Tensor::of<int64_t>({1}, {-1}));
      const ValueId terms = add("Mul", {target, add("Sub", {own, logarithm})});
      loss = add("ReduceMean", {add("ReduceSum", {terms, axis}, drop)}, drop);
    } else {
      const ValueId d = add("Sub", {y, target});
      loss = add("Mul", {add("ReduceMean", {add("Mul", {d, d})}, drop), scalar(aim.factor)});
    }
    p.loss = p.loss == kNoValue ? loss : add("Add", {p.loss, loss});
  }
  g.outputs = {p.loss};
  for (const Following& f : p.following) g.outputs.insert(g.outputs.end(), {f.low, f.high});
  sort_topologically(g);
  remove_unused(g);
  return p;
}

// ---- and back

void Learned::store(const std::vector<Parameter>& parameters) {
  const auto value_of = [&](const std::string& name) -> const Tensor* {
    for (const Parameter& p : parameters)
      if (std::string_view(p.name).substr(kPrefix.size()) == name) return &p.value;
    return nullptr;
  };
  for (Weight& w : weights_) {
    const Tensor* value = value_of(w.name);
    w.value = value ? *value : latent(w);  // without training, the integers stay
    if (const Tensor* t = value_of(w.name + "/scale")) w.scales = t->floats();
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
