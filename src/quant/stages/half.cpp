// Mode float16: what samples say of values in float16, and the graph with them.
#include "quant/half.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "core/decimal.h"
#include "core/text.h"
#include "ops/infer.h"
#include "quant/estimate.h"
#include "quant/report.h"
#include "quant/runnable.h"
#include "quant/spread.h"
#include "quant/stage.h"

namespace zp::quant {
namespace {

HalfPlans plans_of(const JobState& state) {
  HalfPlans plans;
  add_plans(plans, state.prepared->graph, state.plan);
  for (const auto& [graph, plan] : state.branches) add_plans(plans, *graph, plan);
  return plans;
}

// Ranges come from all samples. Then the graph in float16 runs beside the float one over a few of them, and
// if rounding a layer's inputs makes a large error of its outputs, the inputs stay float32. This repeats
// until the outputs are good or no layer of this kind is left. A change that gains nothing is taken back.
class MeasureHalf : public Stage {
 public:
  explicit MeasureHalf(JobState& state) : state_(state), keeper_(kKept, 0, kKeptBytes) {
    Graph& graph = state_.prepared->graph;
    facts_.largest.assign(graph.values.size(), 0);
    facts_.kept_db.assign(graph.values.size(), std::numeric_limits<double>::quiet_NaN());
    facts_.count.assign(graph.values.size(), 0);
    signal_.assign(graph.values.size(), 0);
    noise_.assign(graph.values.size(), 0);
    runtime::SessionOptions options;
    options.threads = state_.threads;
    options.integer = false;
    const std::vector<bool> computed = computable(graph);
    whole_ = computed.empty();
    for (const Node& node : graph.nodes)
      for (const ValueId v : node.outputs)
        if (v != kNoValue && graph[v].dtype == DType::kFloat32 && !graph.constant(v) &&
            (whole_ || computed[static_cast<size_t>(v)]))
          options.taps.push_back(v);
    session_ = std::make_unique<runtime::Session>(runnable(state_.prepared), std::move(options));
    session_->set_tap([this](ValueId v, const TensorView& view) {
      if (view.dtype == DType::kFloat32)
        see(v, {reinterpret_cast<const float*>(view.data), static_cast<size_t>(element_count(view.dims))},
            view.dims);
    });
  }

  static void cost(const Workload& w, const Options&, StageCost& cost) {
    const auto samples = static_cast<double>(w.expected.samples);
    cost = cost_of_layer_errors(w, kKept);
    cost.bytes += w.kept_samples(kKept, kKeptBytes);
    cost.macs = kRounds * cost.macs + samples * w.macs;
    cost.touched = kRounds * cost.touched + 4 * samples * w.values;
  }

  bool wants_samples() const override { return step_ == Step::kCollect; }
  void begin_sample(std::vector<runtime::Feed> feeds) override {
    for (const runtime::Feed& f : feeds) {
      const ValueId v = state_.prepared->graph.find(f.name);
      if (v == kNoValue) continue;
      if (state_.samples == 0) state_.fed[v] = f.tensor.dims();
      if (f.tensor.dtype() == DType::kFloat32) see(v, f.tensor.data<float>(), f.tensor.dims());
    }
    session_->begin(feeds);
    keeper_.take(std::move(feeds));
    running_ = true;
  }
  void skip_sample() override { keeper_.skip(); }
  void end_samples() override {
    session_.reset();
    for (size_t v = 0; v < signal_.size(); ++v)
      if (signal_[v] > 0)
        facts_.kept_db[v] =
            noise_[v] > 0 ? 10 * std::log10(signal_[v] / noise_[v]) : std::numeric_limits<double>::infinity();
    samples_ = keeper_.release();
    decide();
    step_ = whole_ ? Step::kCompare : Step::kDone;
  }

  bool advance(double milliseconds) override {
    if (running_) {
      if (!session_->advance(milliseconds)) return false;
      running_ = false;
      ++state_.samples;
    }
    if (step_ != Step::kCompare) return true;
    if (!errors_) compare();
    if (!errors_->advance(milliseconds)) return false;
    if (++at_ < samples_.size()) {
      errors_->begin(samples_[at_].feeds);
      return false;
    }
    const std::vector<LayerError> errors = errors_->result();
    errors_.reset();
    const double now = outputs_of(errors);
    if (round_ == 0) first_ = now;
    if (++round_ < kRounds && find_costly(errors, now)) {
      decide();
      return false;
    }
    if (!facts_.wide.empty() && now < first_ + kWorth) {
      facts_.wide.clear();
      decide();
    }
    step_ = Step::kDone;
    return true;
  }
  size_t done() const override {
    return session_ ? (running_ ? session_->done() : 0) : round_ * samples_.size() + at_;
  }
  size_t total() const override {
    return session_ ? (running_ ? session_->total() : 0) : kRounds * samples_.size();
  }

 private:
  enum class Step : uint8_t { kCollect, kCompare, kDone };
  static constexpr size_t kKept = 4, kRounds = 5;
  static constexpr double kKeptBytes = 64.0 * 1024 * 1024;
  // dB: outputs better than this need no help; a layer is costly whose result is worse than that, and by so
  // much worse than what it reads; what float32 there has to gain.
  static constexpr double kGood = 40, kCostly = 9, kWorth = 3;

  void see(ValueId v, std::span<const float> x, std::span<const int64_t> dims) {
    const auto at = static_cast<size_t>(v);
    float most = facts_.largest[at];
    double signal = 0, noise = 0;
    for (const float value : x) {
      if (!std::isfinite(value)) continue;
      most = std::max(most, std::fabs(value));
      const double error =
          static_cast<double>(half_to_float(float_to_half(value))) - static_cast<double>(value);
      signal += static_cast<double>(value) * static_cast<double>(value);
      noise += error * error;
    }
    facts_.largest[at] = most;
    signal_[at] += signal;
    noise_[at] += noise;
    if (state_.samples > 0) return;
    facts_.count[at] = static_cast<int64_t>(x.size());
    state_.fed[v].assign(dims.begin(), dims.end());
  }

  void decide() {
    Planner planner(state_.prepared->graph, state_.config);
    decide_halves(planner, facts_);
    std::vector<std::string> warnings = std::move(state_.plan.warnings);  // the same again
    state_.plan = std::move(planner.plan);
    state_.plan.warnings = std::move(warnings);
  }

  void compare() {
    auto candidate = std::make_shared<Model>(*state_.prepared);
    candidate->graph = clone(state_.prepared->graph);
    halve(candidate->graph, plans_of(state_), false, false);
    errors_ = std::make_unique<LayerErrors>(state_.prepared, std::move(candidate), state_.threads);
    at_ = 0;
    errors_->begin(samples_[0].feeds);
  }

  // dB, of the output that lost most; -infinity: none was compared.
  double outputs_of(const std::vector<LayerError>& errors) const {
    const Graph& graph = state_.prepared->graph;
    double least = std::numeric_limits<double>::infinity();
    bool any = false;
    for (const LayerError& e : errors) {
      if (std::isnan(e.sqnr_db) || !graph.is_output(graph.find(e.output))) continue;
      least = std::min(least, e.sqnr_db);
      any = true;
    }
    return any ? least : -std::numeric_limits<double>::infinity();
  }

  // True: there are more values to stay float32.
  bool find_costly(const std::vector<LayerError>& errors, double outputs) {
    if (outputs >= kGood) return false;
    const Graph& graph = state_.prepared->graph;
    std::map<ValueId, double> left;  // dB
    for (const LayerError& e : errors)
      if (const ValueId v = graph.find(e.output); v != kNoValue && !std::isnan(e.sqnr_db))
        left[v] = e.sqnr_db;
    const auto poor = [&](ValueId v) {
      const auto it = left.find(v);
      return it != left.end() && it->second < kGood;
    };
    bool any = false;
    for (const Node& node : graph.nodes) {
      const ValueId out = node.output(0);
      if (out == kNoValue || !poor(out)) continue;
      double before = kRounded;
      for (const ValueId v : node.inputs)
        if (const auto it = left.find(v); it != left.end()) before = std::min(before, it->second);
      if (before - left[out] < kCostly) continue;
      const std::string why = Text({"with rounded inputs, '", node.name, "' keeps ",
                                    decimal(std::round(left[out])), " dB of its result"})
                                  .str();
      for (const ValueId v : node.inputs)
        if (v != kNoValue && graph[v].dtype == DType::kFloat32 && !graph.constant(v))
          any = facts_.wide.try_emplace(v, why).second || any;
      any = facts_.wide.try_emplace(out, why).second || any;
    }
    return any;
  }
  static constexpr double kRounded = 73;  // dB that rounding to float16 leaves

  JobState& state_;
  HalfFacts facts_;
  std::vector<double> signal_, noise_;
  SampleKeeper keeper_;
  std::vector<SampleKeeper::Kept> samples_;
  std::unique_ptr<runtime::Session> session_;
  std::unique_ptr<LayerErrors> errors_;
  bool running_ = false, whole_ = false;
  Step step_ = Step::kCollect;
  size_t at_ = 0, round_ = 0;
  double first_ = 0;  // dB of the outputs before any value stayed float32 for its errors
};

bool has_samples(const Config& c, const Scheme& scheme) { return scheme.halves && c.has_samples; }

const RegisterStage kMeasure({.name = "measure",
                              .order = 350,
                              .runs = has_samples,
                              .needs_samples = has_samples,
                              .cost = MeasureHalf::cost,
                              .make = make_stage<MeasureHalf>});

class Halve : public PiecewiseStage {
 public:
  explicit Halve(JobState& state) : state_(state) {}

 private:
  size_t start() override { return 1; }
  void piece(size_t) override {
    const Config& c = state_.config;
    for (std::string& w :
         halve(state_.result->graph, plans_of(state_), c.quantized_inputs, c.quantized_outputs))
      state_.plan.warnings.push_back(std::move(w));
    count(state_.prepared->graph, state_.plan);
    for (const auto& [graph, plan] : state_.branches) count(*graph, plan);
    if (kept_ > 0 && kept_ < all_)
      state_.plan.warnings.push_back(
          Text({kept_, " of ", all_, " layers that compute with floats ", kept_ == 1 ? "stays" : "stay",
                " float32; the report gives the reason for each"})
              .str());
  }

  // Layers with float values: all, and those that nobody asked to leave alone and that stay float32.
  void count(const Graph& graph, const Plan& plan) {
    for (size_t i = 0; i < plan.nodes.size(); ++i) {
      const Node& node = graph.nodes[i];
      const auto is_float = [&](ValueId v) { return v != kNoValue && graph[v].dtype == DType::kFloat32; };
      if (std::none_of(node.inputs.begin(), node.inputs.end(), is_float) &&
          std::none_of(node.outputs.begin(), node.outputs.end(), is_float))
        continue;
      ++all_;
      kept_ += !plan.nodes[i].half;
    }
  }

  JobState& state_;
  size_t all_ = 0, kept_ = 0;
};

const RegisterStage kHalve({.name = "halve",
                            .order = 850,
                            .runs = [](const Config&, const Scheme& scheme) { return scheme.halves; },
                            .make = make_stage<Halve>});

}  // namespace
}  // namespace zp::quant
