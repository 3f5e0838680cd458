#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "quant/qdq.h"
#include "train/qat/codes.h"
#include "train/qat/learned.h"

namespace zp::train {
namespace {

using quant::QParams;

constexpr double kRangeMemory = 0.98;  // of a moving average of ranges, from step to step

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

}  // namespace

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
        // Activations that no trained parameter changes keep their calibrated scale: to learn it would take
        // the gradient of the whole input.
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

}  // namespace zp::train
