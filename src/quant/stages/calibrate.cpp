// Runs the float model over the samples and lets an observer watch each value that will be quantized. Samples
// are seen once and not kept.
#include <algorithm>
#include <cmath>
#include <map>

#include "core/error.h"
#include "quant/runnable.h"
#include "quant/stage.h"

namespace zp::quant {
namespace {

constexpr std::string_view kPatience = "patience";

class Calibrate : public Stage {
 public:
  Calibrate(JobState& state, Options options)
      : state_(state),
        patience_(static_cast<size_t>(options[kPatience])),
        def_(observer_named(state.config.observer)) {
    ObserverSettings settings{.dtype = DType::kUndefined,
                              .symmetric = state.config.symmetric_activations,
                              .options = Options(def_.options, state.config.options)};
    runtime::SessionOptions session;
    session.threads = state.threads;
    session.integer = false;
    for (const Group& group : state_.plan.groups) {
      for (ValueId v : group.observed) {
        settings.dtype = group.dtype;
        observed_.emplace(v, Observed{.observer = def_.make(settings)});
        session.taps.push_back(v);
      }
    }
    if (observed_.empty()) return;
    session_ = std::make_unique<runtime::Session>(runnable(state_.prepared), std::move(session));
    session_->set_tap([this](ValueId v, const TensorView& view) { observe(v, view); });
  }

  bool wants_samples() const override { return !observed_.empty() && !ended_; }

  void begin_sample(std::vector<runtime::Feed> feeds) override {
    if (state_.samples == 0) {
      for (const runtime::Feed& f : feeds) {
        const ValueId v = state_.prepared->graph.find(f.name);
        if (v != kNoValue) state_.fed[v] = f.tensor.dims();
      }
    }
    session_->begin(std::move(feeds));
    changed_ = false;
    running_ = true;
  }

  bool advance(double milliseconds) override {
    if (running_) {
      if (!session_->advance(milliseconds)) return false;
      running_ = false;
      ++state_.samples;
      calm_ = changed_ ? 0 : calm_ + 1;
    }
    if (!wants_samples() && !over_) conclude();
    return true;
  }

  bool enough() const override { return patience_ > 0 && calm_ >= patience_; }
  void end_samples() override { ended_ = true; }
  size_t done() const override { return running_ ? session_->done() : 0; }
  size_t total() const override { return running_ ? session_->total() : 0; }

 private:
  struct Observed {
    std::unique_ptr<Observer> observer;
    Range before = {};
    bool seen = false;
  };

  void observe(ValueId v, const TensorView& view) {
    const int64_t count = element_count(view.dims);
    if (count == 0) return;
    const std::string& name = state_.prepared->graph[v].name;
    if (view.dtype != DType::kFloat32)
      throw_error(ErrorCode::kInternal, "a value to be quantized is not float32", {.tensor = name});
    const std::span<const float> x{reinterpret_cast<const float*>(view.data), static_cast<size_t>(count)};
    bool finite = true;
    const Range range = range_of(x, &finite);
    if (!finite) {
      throw_error(ErrorCode::kInvalidFeed,
                  {"value '", name, "' became NaN or infinite in sample ", state_.samples + 1},
                  {.tensor = name,
                   .hint = "check the sample (its scaling, its layout), or exclude the nodes around it"});
    }
    if (state_.samples == 0) state_.fed[v].assign(view.dims.begin(), view.dims.end());
    Observed& o = observed_.at(v);
    o.observer->observe(x, range);
    if (patience_ > 0) {
      const Range now = o.observer->range();
      // A thousandth of the width moves no rounding that matters.
      const float width = std::max(now.max - now.min, 0.f) * 1e-3f;
      if (!o.seen || std::fabs(now.min - o.before.min) > width || std::fabs(now.max - o.before.max) > width) {
        changed_ = true;
        o.before = now;  // what later ranges are measured against
      }
    }
    o.seen = true;
  }

  void conclude() {
    over_ = true;
    for (const Group& group : state_.plan.groups) {
      Range range = group.known.value_or(Range{});
      for (ValueId v : group.observed) {
        const std::string& name = state_.prepared->graph[v].name;
        const Observed& o = observed_.at(v);
        if (!o.seen) {
          state_.plan.warnings.push_back("value '" + name +
                                         "' was never computed in the samples: its range is a guess");
          continue;
        }
        range.include(o.observer->range());
        state_.found[name] = o.observer->range();
      }
      state_.ranges.push_back(range);
      state_.params.push_back(choose_params(range, group.dtype, state_.config.symmetric_activations));
    }
    session_.reset();
    observed_.clear();
  }

  JobState& state_;
  size_t patience_;
  const ObserverDef& def_;
  std::map<ValueId, Observed> observed_;
  std::unique_ptr<runtime::Session> session_;
  bool running_ = false, ended_ = false, over_ = false, changed_ = false;
  size_t calm_ = 0;
};

const RegisterStage kCalibrate({
    .name = "calibrate",
    .order = 300,
    .needs_samples = [](const Config&, const Scheme& scheme) { return scheme.needs_calibration; },
    .options = {{.name = kPatience, .owner = "calibrate", .otherwise = 0, .min = 0, .max = 1e6}},
    .make = [](JobState& s, Options o) -> std::unique_ptr<Stage> {
      return std::make_unique<Calibrate>(s, std::move(o));
    },
});

}  // namespace
}  // namespace zp::quant
