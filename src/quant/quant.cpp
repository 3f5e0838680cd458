#include "quant/quant.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/decimal.h"
#include "core/error.h"
#include "ops/infer.h"
#include "quant/checked.h"
#include "quant/estimate.h"
#include "quant/quantization_job.h"
#include "quant/report_builder.h"
#include "quant/runtimes.h"
#include "quant/stage.h"

namespace zp::quant {
namespace {

[[noreturn]] void refuse(const std::string& message, const std::string& hint) {
  throw_error(ErrorCode::kInvalidArgument, message, {.hint = hint});
}

bool lists(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_activation_type(DType t) {
  return t == DType::kUint8 || t == DType::kInt8 || t == DType::kUint16 || t == DType::kInt16;
}
bool is_weight_type(DType t, const Scheme& scheme) {
  return t == DType::kUint8 || t == DType::kInt8 || t == DType::kUint4 || t == DType::kInt4 ||
         (scheme.blocks && (t == DType::kUint2 || t == DType::kInt2 || t == DType::kFloat16));
}

void check(const Config& c, const Scheme& scheme) {
  if (!is_activation_type(c.activations))
    refuse("activations cannot be " + std::string(name_of(c.activations)),
           "'uint8', 'int8', 'uint16' or 'int16'");
  if (!is_weight_type(c.weights, scheme))
    refuse("weights cannot be " + std::string(name_of(c.weights)) + " in mode '" + c.mode + "'",
           "'int8', 'uint8', 'int4' or 'uint4'; in mode 'weight-only' also 'int2', 'uint2' and 'float16'");
  require_format(c.format);
  observer_named(c.observer);
  for (const auto& [node, p] : c.precision) {
    const bool floats = p.activations == DType::kUndefined;
    if ((!floats && !is_activation_type(p.activations)) ||
        (p.weights != DType::kUndefined && !is_weight_type(p.weights, scheme) &&
         !(floats && p.weights == DType::kFloat16)))
      refuse("the precision of node '" + node + "' is not possible",
             "use 8 or 16 bits for activations and 4 or 8 bits (mode 'weight-only': also 2) for weights, or "
             "float "
             "for both; float16 weights need float activations");
  }
  for (const auto& [value, r] : c.ranges)
    if (!std::isfinite(r.min) || !std::isfinite(r.max) || r.min > r.max)
      refuse("the range of value '" + value + "' is not possible",
             "give two finite numbers, the smaller one first");
  const std::vector<OptionSpec> specs = option_specs();
  for (const auto& [name, value] : c.options) {
    const auto spec =
        std::find_if(specs.begin(), specs.end(), [&](const OptionSpec& s) { return s.name == name; });
    if (spec == specs.end()) refuse("unknown option '" + name + "'", "see the list of options");
    if (!(value >= spec->min && value <= spec->max))
      refuse("option '" + name + "' is outside its range", decimal(spec->min) + " to " + decimal(spec->max));
  }
  const std::vector<std::string_view> repairs = repair_names();
  for (const std::string& r : c.repairs)
    if (std::ranges::find(repairs, r) == repairs.end())
      refuse("unknown repair '" + r + "'", "docs/OPTIONS.md lists the repairs");
  if (scheme.check) scheme.check(c);
}

// Fitted to the files of seven networks (names of 20 to 60 letters), by mode.
double node_bytes_of(const Report& report) {
  constexpr double kRecord = 1000, kOfWeight = 250, kOfActivation = 400;
  double bytes = kRecord;
  for (const LayerReport& l : report.layers)
    if (l.quantized) {
      bytes += kOfActivation * static_cast<double>(l.activations.size());
      if (l.weight) bytes += kOfWeight;
    }
  return bytes;
}

class Pipeline : public Job {
 public:
  Pipeline(std::shared_ptr<const Model> model, Config config, int threads, std::vector<size_t> numbers = {}) {
    state_.numbers = std::move(numbers);
    state_.source = std::move(model);
    in_files_ = has_files(state_.source->graph);
    state_.config = std::move(config);
    state_.threads = threads;
    state_.scheme = &scheme_named(state_.config.mode);
    adapt_to_runtime(state_.config);
    const std::vector<std::string> named = state_.config.repairs;
    state_.config = with_default_repairs(std::move(state_.config));
    std::string& format = state_.config.format;
    if (format.empty()) {
      format = state_.config.only_prepares ? (state_.source->folded ? kQoperator : kQdq)
               : state_.scheme->form       ? state_.scheme->form(state_.config)
                                           : kQdq;
      if (!takes_form(runtime_named(state_.config.runtime), state_.config.mode, format)) format = kQdq;
    }
    check(state_.config, *state_.scheme);
    // Repairs look at what the model computes: all of it.
    const bool runs = unsupported_operators(state_.source->graph).empty();
    for (const StageDef* d : all_stages()) {
      if (d->repair && !lists(state_.config.repairs, d->name)) continue;
      if (d->runs && !d->runs(state_.config, *state_.scheme)) continue;
      // What runs by default has to prove itself, and so does what cannot do so by itself.
      const bool unproven = d->checkable && (!lists(named, d->name) || d->doubtful) && has_samples();
      const bool samples = d->needs_samples && d->needs_samples(state_.config, *state_.scheme);
      if (d->repair && (samples || unproven) && !runs) {
        left_out_ += (left_out_.empty() ? "'" : ", '") + std::string(d->name) + "'";
        std::erase(state_.config.repairs, d->name);
        continue;
      }
      defs_.push_back(d);
      checked_.push_back(d->repair && unproven);
    }
  }

  size_t sweeps() const override {
    size_t count = 0;
    for (size_t i = 0; i < defs_.size(); ++i) {
      const auto needs = defs_[i]->needs_samples;
      count += checked_[i] || (needs && needs(state_.config, *state_.scheme));
    }
    return count;
  }

  bool advance(double milliseconds) override {
    if (done()) return true;
    if (!stage_)
      stage_ = checked_[at_] ? checked(state_, def())
                             : def().make(state_, Options(def().options, state_.config.options));
    const bool idle = stage_->advance(milliseconds);
    forget_weights();
    if (!idle) return false;
    if (!left_out_.empty() && !state_.plan.nodes.empty()) {
      state_.plan.warnings.push_back(
          "the model cannot be run, because it has operators that are not known here, or not in this form: " +
          std::exchange(left_out_, {}) + " did not run");
    }
    running_ = false;
    if (stage_->wants_samples()) return true;
    stage_.reset();
    samples_ = 0;
    ++at_;
    return done();
  }

  bool wants_samples() const override { return stage_ && !running_ && stage_->wants_samples(); }
  void begin_sample(std::vector<runtime::Feed> feeds) override {
    if (!wants_samples()) throw_error(ErrorCode::kInvalidArgument, "no sample is wanted now");
    if (!def().takes_targets) std::erase_if(feeds, [](const runtime::Feed& f) { return is_target(f.name); });
    stage_->begin_sample(std::move(feeds));
    running_ = true;
    ++samples_;
  }
  bool wants_next() const override { return !stage_ || stage_->wants_next(); }
  void skip_sample() override {
    if (!wants_samples()) throw_error(ErrorCode::kInvalidArgument, "no sample is wanted now");
    stage_->skip_sample();
    ++samples_;
  }
  bool enough() const override { return stage_ && stage_->enough(); }
  void end_samples() override {
    if (!wants_samples()) throw_error(ErrorCode::kInvalidArgument, "no samples are wanted now");
    if (samples_ == 0)
      refuse("there was no sample", "give at least one; a few dozen samples make better ranges");
    if (!stage_->enough()) state_.series = samples_;
    stage_->end_samples();
    samples_ = 0;
  }
  void stop() override {
    if (stage_) stage_->stop();
  }
  bool done() const override { return at_ == defs_.size(); }

  Estimate estimate(const Expected& expected) override {
    plan(false);
    Workload w(state_, expected);
    w.streams = in_files_ && sweeps() == 0;
    Estimate e{.phases = {},
               .result_bytes = w.placed,
               .sample_bytes = w.sample_bytes,
               .run_macs = w.macs,
               .run_values = w.values,
               .layers = w.layers.size(),
               .whole = w.whole};
    double held = kept_samples_of(w, sweeps(), expected);
    for (size_t i = 0; i < defs_.size(); ++i) {
      const StageDef& d = *defs_[i];
      if (!d.cost || (d.needs_samples && !d.needs_samples(state_.config, *state_.scheme))) continue;
      StageCost cost;
      d.cost(w, Options(d.options, state_.config.options), cost);
      if (checked_[i]) cost = cost_of_checking(w, cost);
      held += cost.held;
      if (cost.bytes + cost.held + cost.macs + cost.touched == 0) continue;
      e.add(d.name, held, cost);
    }
    const Report report = build_report(state_);
    e.weight_bytes_before = report.weight_bytes_before;
    e.weight_bytes_after = report.weight_bytes_after;
    e.node_bytes = node_bytes_of(report);
    if (expected.layer_errors > 0 && has_samples())
      e.add("errors", held, cost_of_layer_errors(w, expected.layer_errors));
    return e;
  }

  Progress progress() const override {
    if (done()) return {.phase = "done", .training = state_.training};
    return {.phase = def().name,
            .done = stage_ ? stage_->done() : 0,
            .total = stage_ ? stage_->total() : 0,
            .samples = samples_,
            .training = state_.training};
  }

  // Up to and with the stage that decides.
  void plan(bool measure_weights) {
    while (!done() && state_.plan.nodes.empty()) {
      stage_ = def().make(state_, Options(def().options, state_.config.options));
      while (!stage_->advance(1e9)) {
      }
      stage_.reset();
      ++at_;
    }
    if (!measure_weights) return;
    Placement placement(state_.prepared->graph, state_.plan, state_.config, {});
    for (size_t i = 0; i < state_.plan.nodes.size(); ++i) {
      const NodePlan& n = state_.plan.nodes[i];
      if (n.weights == DType::kUndefined || bits_of(n.weights) > 8 || n.weight_slot < 0)
        continue;  // no integers
      placement.weight(static_cast<int32_t>(i), n.weight, kNoValue, 0);
    }
    state_.weights = std::move(placement.weights);
  }

  const JobState& state() const { return state_; }
  std::shared_ptr<const Model> result() const override { return finished().result; }
  const Report& report() const override { return finished().report; }
  const std::map<std::string, Range, std::less<>>& ranges() const override { return finished().found; }

 private:
  const StageDef& def() const { return *defs_[at_]; }

  // What lies in files is read again where it is needed. Sessions, which samples take, have it all in memory.
  void forget_weights() const {
    if (!in_files_ || sweeps() > 0) return;
    for (const auto& model : {state_.prepared, state_.result})
      if (model) forget_files(model->graph);
  }
  bool has_samples() const { return state_.config.has_samples || state_.scheme->needs_calibration; }
  const JobState& finished() const {
    if (!done()) throw_error(ErrorCode::kInvalidArgument, "the quantization is not done yet");
    return state_;
  }

  JobState state_;
  bool in_files_ = false;
  std::vector<const StageDef*> defs_;
  std::vector<bool> checked_;  // by stage of defs_
  size_t at_ = 0;
  std::string left_out_;  // repairs that cannot run
  std::unique_ptr<Stage> stage_;
  bool running_ = false;
  size_t samples_ = 0;
};

}  // namespace

Estimate estimate(std::shared_ptr<const Model> model, Config config, const Expected& expected, int threads) {
  return make_job(std::move(model), std::move(config), threads)->estimate(expected);
}

std::unique_ptr<Job> make_pipeline(std::shared_ptr<const Model> model, Config config, int threads,
                                   std::vector<size_t> numbers) {
  return std::make_unique<Pipeline>(std::move(model), std::move(config), threads, std::move(numbers));
}

Report plan_of(std::shared_ptr<const Model> model, const Config& config, bool measure_weights) {
  Config plain = config;
  if (plain.mode == kAuto) plain.mode = "static";  // what a search starts from
  Pipeline job(std::move(model), plain, 1);
  job.plan(measure_weights);
  return build_report(job.state());
}

}  // namespace zp::quant
