// Cross-layer equalisation: where two layers follow each other with nothing between them that knows one scale
// from another, a channel can be made smaller in the first and larger in the second without changing what
// they compute. Channels then fill the range that they share (Nagel et al. 2019, "Data-Free Quantization
// Through Weight Equalization and Bias Correction", section 4.1):
//
//   s_i = sqrt(r1_i / r2_i)        W1_i, b1_i / s_i        W2_i * s_i
//
// r1_i and r2_i are the largest weights that make and that read channel i. The pairs of a chain, depthwise
// layers among them, are gone through again and again until nothing moves.
//
// A ReLU does not mind the scale; the upper bound of a ReLU6 does. The paper drops the bound. Here samples
// show which channels come near it: those keep their scale, and the others stay below it, so that the network
// computes what it did.
#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>

#include "core/decimal.h"
#include "ops/infer.h"
#include "ops/op.h"
#include "quant/stage.h"

namespace zp::quant {
namespace {

constexpr std::string_view kName = "equalization";
constexpr int kMostRounds = 40;
constexpr double kStill = 1e-3;   // a round that moves no channel by more than this part is the last
constexpr double kMargin = 1.25;  // how far from a bound the samples' largest value has to stay
constexpr double kMostStep = 1e4;

struct Pair {
  int32_t first = -1, second = -1;
  int64_t channels = 0;
  int first_axis = 0, second_axis = 0;  // of the weights
  ValueId before_bound = kNoValue;      // of a clamp with an upper bound: its input
  double bound = 0;
  std::vector<double> most;  // by channel: the largest value seen before the bound
};

class Equalize : public Stage {
 public:
  Equalize(JobState& state, Options) : state_(state) {
    find_pairs();
    runtime::SessionOptions session;
    session.threads = state_.threads;
    for (const Pair& p : pairs_)
      if (p.before_bound != kNoValue) session.taps.push_back(p.before_bound);
    if (session.taps.empty()) return;
    session_ = std::make_unique<runtime::Session>(state_.prepared, std::move(session));
    session_->set_tap([this](ValueId v, const TensorView& view) { observe(v, view); });
  }

  bool wants_samples() const override { return session_ != nullptr; }
  void begin_sample(std::vector<runtime::Feed> feeds) override {
    session_->begin(std::move(feeds));
    running_ = true;
  }
  void end_samples() override { session_.reset(); }

  bool advance(double milliseconds) override {
    if (running_) {
      if (!session_->advance(milliseconds)) return false;
      running_ = false;
    }
    if (session_) return true;
    if (over_) return true;
    // A round over all pairs is a pass over the weights: short enough for one slice.
    double moved = 0;
    for (Pair& p : pairs_) moved = std::max(moved, equalize(p));
    over_ = moved < kStill || ++rounds_ == kMostRounds;
    if (over_ && !pairs_.empty())
      state_.repaired.push_back("equalisation: the channels between " + std::to_string(pairs_.size()) +
                                " pairs of layers were scaled, by up to " + factor() + " times");
    return over_;
  }
  size_t done() const override { return static_cast<size_t>(rounds_); }
  size_t total() const override { return kMostRounds; }

 private:
  Graph& graph() { return state_.prepared->graph; }
  const Node& node(int32_t i) const { return state_.prepared->graph.nodes[static_cast<size_t>(i)]; }

  std::string factor() const {
    double most = 1;
    for (const auto& [key, s] : total_) most = std::max({most, s, 1 / s});
    return decimal(std::round(10 * most) / 10);
  }

  // A product whose weight is a constant that we may scale: its axis, or nullopt.
  const Tensor* weight_of(const Node& n, const QuantRule& rule) const {
    if (rule.kind != QuantRule::Kind::kProduct || rule.weight < 0) return nullptr;
    const Tensor* w = state_.prepared->graph.constant(n.input(static_cast<size_t>(rule.weight)));
    return w && w->dtype() == DType::kFloat32 ? w : nullptr;
  }

  void find_pairs() {
    const GraphIndex index(graph());
    const auto only_reader = [&](ValueId v) -> int32_t {
      const auto& readers = index.consumers[static_cast<size_t>(v)];
      return readers.size() == 1 && !graph().is_output(v) ? readers[0] : -1;
    };
    for (int32_t i = 0; i < static_cast<int32_t>(graph().nodes.size()); ++i) {
      const OpDef* def = find_op(node(i).domain, node(i).op_type);
      const Tensor* w = def ? weight_of(node(i), def->quant) : nullptr;
      if (!w || !def->quant.channel_axis) continue;
      Pair p{.first = i};
      p.first_axis = def->quant.channel_axis(node(i), static_cast<int>(w->dims().size()));
      if (p.first_axis < 0) continue;
      p.channels = w->dims()[static_cast<size_t>(p.first_axis)];
      if (def->quant.bias >= 0 && node(i).input(static_cast<size_t>(def->quant.bias)) != kNoValue) {
        const Tensor* b = graph().constant(node(i).input(static_cast<size_t>(def->quant.bias)));
        if (!b || b->dtype() != DType::kFloat32 || b->size() != p.channels) continue;
      }
      ValueId out = node(i).output(0);
      int32_t next = only_reader(out);
      for (; next >= 0; next = only_reader(out)) {
        const Node& n = node(next);
        const OpDef* d = find_op(n.domain, n.op_type);
        if (!d || n.input(0) != out) break;
        if (d->as_clamp) {
          const std::optional<Clamp> clamp = d->as_clamp(GraphInferContext(graph(), n));
          const bool lower = clamp && (clamp->lo == 0 || std::isinf(clamp->lo));
          if (!lower || p.before_bound != kNoValue) break;
          if (!std::isinf(clamp->hi)) {
            if (clamp->hi <= 0) break;
            p.before_bound = out;
            p.bound = static_cast<double>(clamp->hi);
          }
        } else if (!d->homogeneous) {
          break;
        }
        out = n.output(0);
      }
      if (next < 0 || node(next).input(0) != out) continue;
      const OpDef* d = find_op(node(next).domain, node(next).op_type);
      const Tensor* w2 = d ? weight_of(node(next), d->quant) : nullptr;
      if (!w2 || !d->quant.input_axis || d->quant.data.first() != 0) continue;
      p.second = next;
      p.second_axis = d->quant.input_axis(node(next), static_cast<int>(w2->dims().size()));
      if (p.second_axis < 0) continue;
      const int64_t in = w2->dims()[static_cast<size_t>(p.second_axis)];
      // Channels must be the same dimension for both: where one counts the second and one the last, a
      // reordering that we do not know lies between them.
      if (def->quant.channel_dim != d->quant.channel_dim || in == 0 || p.channels % in != 0) continue;
      const int64_t groups = p.channels / in;
      if (groups > 1 && (p.second_axis != 1 || w2->dims()[0] % groups != 0)) continue;
      // Without samples nothing is known about who reaches a bound.
      if (p.before_bound != kNoValue && !state_.scheme->needs_calibration) continue;
      if (p.before_bound != kNoValue) p.most.assign(static_cast<size_t>(p.channels), 0.0);
      pairs_.push_back(std::move(p));
    }
  }

  void observe(ValueId v, const TensorView& view) {
    for (Pair& p : pairs_) {
      if (p.before_bound != v || view.dtype != DType::kFloat32) continue;
      const int rank = static_cast<int>(view.dims.size());
      const OpDef* def = find_op(node(p.first).domain, node(p.first).op_type);
      const int at = def->quant.channel_dim < 0 ? def->quant.channel_dim + rank : def->quant.channel_dim;
      int64_t outer = 1, inner = 1;
      for (int d = 0; d < rank; ++d)
        if (d != at) (d < at ? outer : inner) *= view.dims[static_cast<size_t>(d)];
      const float* x = reinterpret_cast<const float*>(view.data);
      for (int64_t o = 0; o < outer; ++o)
        for (double& most : p.most)
          for (int64_t i = 0; i < inner; ++i, ++x) most = std::max(most, static_cast<double>(*x));
    }
  }

  // f(channel, element) for the elements of w that make (along its axis) channels, or read them.
  template <class F>
  static void for_made(const Tensor& w, int axis, F&& f) {
    int64_t inner = 1;
    for (size_t d = static_cast<size_t>(axis) + 1; d < w.dims().size(); ++d) inner *= w.dims()[d];
    const int64_t extent = w.dims()[static_cast<size_t>(axis)];
    for (int64_t e = 0; e < w.size(); ++e) f(static_cast<size_t>(e / inner % extent), static_cast<size_t>(e));
  }
  template <class F>
  static void for_read(const Tensor& w, int axis, int64_t channels, F&& f) {
    const int64_t in = w.dims()[static_cast<size_t>(axis)], groups = channels / in;
    const int64_t per_group = w.size() / groups;  // with groups, dimension 0 counts outputs, group by group
    for_made(w, axis, [&](size_t c, size_t e) {
      const int64_t group = groups > 1 ? static_cast<int64_t>(e) / per_group : 0;
      f(static_cast<size_t>(group * in) + c, e);
    });
  }

  // Gives the largest step |log s| that a channel made.
  double equalize(Pair& p) {
    const QuantRule& rule = find_op(node(p.first).domain, node(p.first).op_type)->quant;
    const QuantRule& rule2 = find_op(node(p.second).domain, node(p.second).op_type)->quant;
    const auto slot = static_cast<size_t>(rule.weight), slot2 = static_cast<size_t>(rule2.weight);
    Tensor w1 = Tensor::of<float>(graph().constant(node(p.first).input(slot))->dims(),
                                  graph().constant(node(p.first).input(slot))->data<float>());
    Tensor w2 = Tensor::of<float>(graph().constant(node(p.second).input(slot2))->dims(),
                                  graph().constant(node(p.second).input(slot2))->data<float>());
    const auto channels = static_cast<size_t>(p.channels);
    std::vector<double> r1(channels, 0), r2(channels, 0), s(channels, 1);
    const std::span<float> x1 = w1.mutable_data<float>(), x2 = w2.mutable_data<float>();
    for_made(w1, p.first_axis,
             [&](size_t c, size_t e) { r1[c] = std::max(r1[c], std::fabs(static_cast<double>(x1[e]))); });
    for_read(w2, p.second_axis, p.channels,
             [&](size_t c, size_t e) { r2[c] = std::max(r2[c], std::fabs(static_cast<double>(x2[e]))); });
    double moved = 0;
    for (size_t c = 0; c < channels; ++c) {
      if (!(r1[c] > 0) || !(r2[c] > 0)) continue;
      double step = std::clamp(std::sqrt(r1[c] / r2[c]), 1 / kMostStep, kMostStep);
      if (p.before_bound != kNoValue) {
        const double least = p.most[c] * kMargin / p.bound;  // of what divides the channel
        step = least >= 1 ? 1 : std::max(step, least);
        p.most[c] /= step;
      }
      s[c] = step;
      moved = std::max(moved, std::fabs(std::log(step)));
      double& all = total_.try_emplace({p.first, c}, 1.0).first->second;
      all *= step;
    }
    if (moved == 0) return 0;
    for_made(w1, p.first_axis,
             [&](size_t c, size_t e) { x1[e] = static_cast<float>(static_cast<double>(x1[e]) / s[c]); });
    for_read(w2, p.second_axis, p.channels,
             [&](size_t c, size_t e) { x2[e] = static_cast<float>(static_cast<double>(x2[e]) * s[c]); });
    replace(p.first, slot, std::move(w1));
    replace(p.second, slot2, std::move(w2));
    if (rule.bias >= 0 && node(p.first).input(static_cast<size_t>(rule.bias)) != kNoValue) {
      const Tensor& old = *graph().constant(node(p.first).input(static_cast<size_t>(rule.bias)));
      std::vector<float> b = old.floats();
      for (size_t c = 0; c < channels; ++c) b[c] = static_cast<float>(static_cast<double>(b[c]) / s[c]);
      replace(p.first, static_cast<size_t>(rule.bias), Tensor::of<float>(old.dims(), b));
    }
    return moved;
  }

  // A constant of one's own from the first change on: others may read the old one.
  void replace(int32_t i, size_t slot, Tensor t) {
    ValueId& v = graph().nodes[static_cast<size_t>(i)].inputs[slot];
    if (const auto [it, first] = own_.try_emplace({i, slot}, kNoValue); first) {
      v = it->second = graph().add_constant(graph()[v].name + "_equalized", std::move(t));
    } else {
      graph()[v].constant = std::move(t);
    }
  }

  JobState& state_;
  std::vector<Pair> pairs_;
  std::map<std::pair<int32_t, size_t>, ValueId> own_;
  std::map<std::pair<int32_t, size_t>, double> total_;  // by layer and channel
  std::unique_ptr<runtime::Session> session_;
  bool running_ = false, over_ = false;
  int rounds_ = 0;
};

const RegisterStage kEqualize({
    .name = kName,
    .order = 100,
    .repair = true,
    .needs_samples = [](const Config&, const Scheme& scheme) { return scheme.needs_calibration; },
    .make = [](JobState& s, Options o) -> std::unique_ptr<Stage> {
      return std::make_unique<Equalize>(s, std::move(o));
    },
});

}  // namespace
}  // namespace zp::quant
