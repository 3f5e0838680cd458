// SmoothQuant: a few channels of a transformer's activations are many times larger than the others, in every
// token, and one scale for all of them leaves the others no steps. Part of their size is moved into the
// weights that read them, where each output channel sums over all of them (Xiao et al. 2023, "SmoothQuant:
// Accurate and Efficient Post-Training Quantization for Large Language Models"):
//
//   s_j = max|x_j|^a / max|w_j|^(1 - a)        x_j / s_j        w_j * s_j
//
// The division goes into the gain of the normalization that makes x where nobody else reads it; elsewhere it
// becomes a node of its own, which is worth it only where channels differ much.
#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "ops/op.h"
#include "quant/stage.h"

namespace zp::quant {
namespace {

constexpr std::string_view kName = "smooth";
constexpr std::string_view kStrength = "smooth-strength";
constexpr std::string_view kSamples = "smooth-samples";
// How many times the median channel the largest one must be for a node of its own.
constexpr double kWorthANode = 4;

struct Reader {
  int32_t node;
  size_t weight_slot;
  int axis;  // of the weight: input channels
};

// A value that products read, and all of them.
struct Smoothed {
  std::vector<Reader> readers;
  int64_t channels = 0;
  std::vector<double> most;  // by channel: the largest |x| seen
};

class Smooth : public Stage {
 public:
  Smooth(JobState& state, const Options& options)
      : state_(state), strength_(options[kStrength]), most_(static_cast<size_t>(options[kSamples])) {
    find();
    if (values_.empty()) return;
    runtime::SessionOptions session;
    session.threads = state_.threads;
    for (const auto& [v, s] : values_) session.taps.push_back(v);
    session_ = std::make_unique<runtime::Session>(state_.prepared, std::move(session));
    session_->set_tap([this](ValueId v, const TensorView& view) { observe(v, view); });
  }

  bool wants_samples() const override { return session_ != nullptr; }
  void begin_sample(std::vector<runtime::Feed> feeds) override {
    session_->begin(std::move(feeds));
    running_ = true;
    ++seen_;
  }
  // Which channels are large is soon known.
  bool enough() const override { return seen_ >= most_; }
  void end_samples() override { session_.reset(); }

  bool advance(double milliseconds) override {
    if (running_) {
      if (!session_->advance(milliseconds)) return false;
      running_ = false;
    }
    if (session_ || over_) return true;
    over_ = true;
    for (const auto& [v, s] : values_) apply(v, s);
    insert_nodes();
    if (absorbed_ + nodes_ > 0)
      state_.repaired.push_back("SmoothQuant: " + std::to_string(absorbed_ + nodes_) +
                                " activations were smoothed, " + std::to_string(absorbed_) +
                                " of them by the normalization that makes them");
    return true;
  }
  size_t done() const override { return running_ ? session_->done() : 0; }
  size_t total() const override { return running_ ? session_->total() : 0; }

 private:
  Graph& graph() { return state_.prepared->graph; }

  void find() {
    Graph& g = graph();
    for (size_t i = 0; i < g.nodes.size(); ++i) {
      const Node& n = g.nodes[i];
      const OpDef* def = find_op(n.domain, n.op_type);
      if (!def || def->quant.kind != QuantRule::Kind::kProduct || def->quant.weight < 0 ||
          def->quant.channel_dim != -1 || !def->quant.input_axis || def->quant.data.first() != 0)
        continue;
      const Tensor* w = g.constant(n.input(static_cast<size_t>(def->quant.weight)));
      const ValueId x = n.input(0);
      if (!w || w->dtype() != DType::kFloat32 || w->dims().size() != 2 || g.constant(x) ||
          g[x].dtype != DType::kFloat32)
        continue;
      const int axis = def->quant.input_axis(n, 2);
      if (axis < 0) continue;
      Smoothed& s = values_[x];
      s.channels = w->dims()[static_cast<size_t>(axis)];
      s.most.assign(static_cast<size_t>(s.channels), 0.0);
      s.readers.push_back({static_cast<int32_t>(i), static_cast<size_t>(def->quant.weight), axis});
    }
  }

  void observe(ValueId v, const TensorView& view) {
    Smoothed& s = values_.at(v);
    if (view.dtype != DType::kFloat32 || view.dims.empty() || view.dims.back() != s.channels) return;
    const float* x = reinterpret_cast<const float*>(view.data);
    const int64_t count = element_count(view.dims);
    for (int64_t i = 0; i < count; i += s.channels)
      for (double& most : s.most) most = std::max(most, std::fabs(static_cast<double>(*x++)));
  }

  void apply(ValueId v, const Smoothed& s) {
    Graph& g = graph();
    const auto channels = static_cast<size_t>(s.channels);
    const double largest = *std::max_element(s.most.begin(), s.most.end());
    if (!(largest > 0) || !std::isfinite(largest)) return;
    std::vector<double> weights(channels, 0);
    for (const Reader& r : s.readers) {
      const Tensor& w = *g.constant(g.nodes[static_cast<size_t>(r.node)].input(r.weight_slot));
      for_weights(w, r.axis, [&](size_t c, size_t e) {
        weights[c] = std::max(weights[c], std::fabs(static_cast<double>(w.data<float>()[e])));
      });
    }
    std::vector<double> factor(channels, 1);
    for (size_t c = 0; c < channels; ++c) {
      const double x = std::max(s.most[c], 1e-4 * largest), w = weights[c];
      if (w > 0) factor[c] = std::clamp(std::pow(x, strength_) / std::pow(w, 1 - strength_), 1e-4, 1e4);
    }
    // Only differences between channels count: the whole tensor keeps its size.
    double mean = 0;
    for (double f : factor) mean += std::log(f);
    for (double& f : factor) f /= std::exp(mean / static_cast<double>(channels));

    if (!absorb(v, s, factor)) {
      std::vector<double> sorted = s.most;
      std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(channels / 2),
                       sorted.end());
      if (largest < kWorthANode * std::max(sorted[channels / 2], 1e-30)) return;
      std::vector<float> inverse(channels);
      for (size_t c = 0; c < channels; ++c) inverse[c] = static_cast<float>(1 / factor[c]);
      const std::string name = g[v].name;
      Node n;
      n.name = name + "_smooth";
      n.op_type = "Mul";
      n.inputs = {v, g.add_constant(name + "_smoothing", Tensor::of<float>({s.channels}, inverse))};
      n.outputs = {g.add_value(n.name, DType::kFloat32, g[v].shape)};
      for (const Reader& r : s.readers) g.nodes[static_cast<size_t>(r.node)].inputs[0] = n.outputs[0];
      // Rounding before it is smooth would undo it.
      state_.config.exclude_nodes.push_back(n.name);
      added_.emplace(s.readers[0].node, std::move(n));
    }
    for (const Reader& r : s.readers) {
      ValueId& slot = g.nodes[static_cast<size_t>(r.node)].inputs[r.weight_slot];
      const Tensor& old = *g.constant(slot);
      std::vector<float> w = old.floats();
      for_weights(old, r.axis, [&](size_t c, size_t e) {
        w[e] = static_cast<float>(static_cast<double>(w[e]) * factor[c]);
      });
      Tensor scaled = Tensor::of<float>(old.dims(), w);
      const std::string name = g[slot].name + "_smoothed";
      slot = g.add_constant(name, std::move(scaled));
    }
  }

  bool absorb(ValueId v, const Smoothed& s, const std::vector<double>& factor) {
    Graph& g = graph();
    const GraphIndex index(g);
    const int32_t maker = index.producer[static_cast<size_t>(v)];
    if (maker < 0 || g.is_output(v) || index.consumers[static_cast<size_t>(v)].size() != s.readers.size())
      return false;
    Node& n = g.nodes[static_cast<size_t>(maker)];
    const OpDef* def = find_op(n.domain, n.op_type);
    if (!def || def->gain < 0 || n.output(0) != v) return false;
    std::vector<size_t> slots{static_cast<size_t>(def->gain)};
    if (def->shift >= 0 && n.input(static_cast<size_t>(def->shift)) != kNoValue)
      slots.push_back(static_cast<size_t>(def->shift));
    for (size_t slot : slots) {
      const Tensor* t = g.constant(n.input(slot));
      if (!t || t->dtype() != DType::kFloat32 || t->size() != s.channels) return false;
    }
    for (size_t slot : slots) {
      const Tensor& old = *g.constant(n.inputs[slot]);
      std::vector<float> x = old.floats();
      for (size_t c = 0; c < x.size(); ++c) x[c] = static_cast<float>(static_cast<double>(x[c]) / factor[c]);
      Tensor divided = Tensor::of<float>(old.dims(), x);
      const std::string name = g[n.inputs[slot]].name + "_smoothed";
      n.inputs[slot] = g.add_constant(name, std::move(divided));
    }
    g.rename(v, g[v].name + "_smoothed");  // it is not what the model that came in calls so
    ++absorbed_;
    return true;
  }

  void insert_nodes() {
    nodes_ = added_.size();
    for (auto it = added_.rbegin(); it != added_.rend(); ++it)
      graph().nodes.insert(graph().nodes.begin() + it->first, std::move(it->second));
    added_.clear();
  }

  template <class F>
  static void for_weights(const Tensor& w, int axis, F&& f) {
    const auto columns = static_cast<size_t>(w.dims()[1]);
    for (size_t e = 0; e < static_cast<size_t>(w.size()); ++e) f(axis == 0 ? e / columns : e % columns, e);
  }

  JobState& state_;
  double strength_;
  size_t most_, seen_ = 0;
  std::map<ValueId, Smoothed> values_;
  std::unique_ptr<runtime::Session> session_;
  std::map<int32_t, Node> added_;  // by the first node that reads them: readers come in order
  bool running_ = false, over_ = false;
  size_t absorbed_ = 0, nodes_ = 0;
};

const RegisterStage kSmooth({
    .name = kName,
    .order = 120,
    .repair = true,
    .by_default = [](const Config&, const Scheme& scheme) { return scheme.needs_calibration; },
    .needs_samples = [](const Config&, const Scheme&) { return true; },
    .options = {{.name = kStrength, .owner = kName, .otherwise = 0.5, .min = 0, .max = 1},
                {.name = kSamples, .owner = kName, .otherwise = 32, .min = 1, .max = 1e6}},
    .make = [](JobState& s, Options o) -> std::unique_ptr<Stage> { return std::make_unique<Smooth>(s, o); },
});

}  // namespace
}  // namespace zp::quant
