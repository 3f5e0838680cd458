#include "quant/checked.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "core/decimal.h"
#include "core/stopwatch.h"
#include "core/text.h"
#include "quant/qdq.h"
#include "quant/search.h"
#include "quant/spread.h"

namespace zp::quant {
namespace {

// As many as a repair may look at, and those that judge it.
constexpr size_t kMostSamples = 64, kMostHeldOut = 8;
// What a repair must leave of the noise at most to be worth having.
constexpr double kWorthIt = 0.98;

class Checked : public Stage {
 public:
  Checked(JobState& state, const StageDef& def)
      : state_(state), def_(def), keeper_(kMostSamples, state.series) {}

  bool wants_samples() const override { return step_ == Step::kCollect; }
  void begin_sample(std::vector<runtime::Feed> feeds) override { keeper_.take(std::move(feeds)); }
  bool enough() const override { return keeper_.enough(); }
  void end_samples() override {
    const size_t count = std::min(kMostHeldOut, held_out_of(keeper_.size()));
    HeldOut split = hold_out(keeper_.release(), count);
    if (split.out.empty()) {
      state_.repaired.push_back(std::string(def_.name) +
                                " was left out: one sample cannot show whether it helps");
      step_ = Step::kDone;
      return;
    }
    std::shared_ptr<Model> before = std::make_shared<Model>(*state_.result);
    before->graph = clone(state_.result->graph);
    before_ = std::move(before);
    weights_ = state_.weights;
    biases_ = state_.biases;
    said_ = state_.repaired.size();
    const size_t series = std::exchange(state_.series, split.rest.size());
    inner_ = def_.make(state_, Options(def_.options, state_.config.options));
    state_.series = series;
    rest_ = std::move(split.rest);
    OutputErrors::Samples held_out;
    for (auto& s : split.out) held_out.push_back(std::move(s.feeds));
    errors_ = std::make_unique<OutputErrors>(state_.prepared, std::move(held_out), std::vector<int32_t>(),
                                             state_.threads);
    step_ = Step::kRepair;
  }
  void stop() override {
    if (inner_) inner_->stop();
  }

  bool advance(double milliseconds) override {
    const Stopwatch watch(milliseconds);
    const auto left = [&] { return std::max(0.0, milliseconds - watch.milliseconds()); };
    while (step_ != Step::kCollect && step_ != Step::kDone) {
      switch (step_) {
        case Step::kRepair:
          if (!inner_->advance(left())) return false;
          if (inner_->wants_samples()) {
            feed();
          } else {
            inner_.reset();
            step_ = Step::kReference;
          }
          break;
        case Step::kReference:
          if (!errors_->advance(left())) return false;
          errors_->begin(state_.result, kMostHeldOut);
          step_ = Step::kWith;
          break;
        case Step::kWith:
          if (!errors_->advance(left())) return false;
          with_ = errors_->noise();
          errors_->begin(before_, kMostHeldOut);
          step_ = Step::kWithout;
          break;
        default:
          if (!errors_->advance(left())) return false;
          decide(errors_->noise());
          step_ = Step::kDone;
      }
      if (step_ != Step::kDone && watch.over()) return false;
    }
    return true;
  }
  size_t done() const override { return inner_ ? inner_->done() : 0; }
  size_t total() const override { return inner_ ? inner_->total() : 0; }

 private:
  enum class Step : uint8_t { kCollect, kRepair, kReference, kWith, kWithout, kDone };

  void feed() {
    if (fed_ < rest_.size() && !(fed_ > 0 && inner_->enough())) {
      inner_->begin_sample(std::move(rest_[fed_++].feeds));
    } else {
      inner_->end_samples();
      rest_.clear();
    }
  }

  void decide(double without) {
    const auto in_db = [](double noise) {
      return noise > 0 ? decimal(std::round(-100 * std::log10(noise)) / 10) : "∞";
    };
    const std::string judged =
        Text({errors_->samples(), errors_->samples() == 1 ? " sample" : " samples", " held out"}).str();
    errors_.reset();
    if (with_ < kWorthIt * without) {
      if (state_.repaired.size() > said_)
        state_.repaired.back() += "; the outputs of " + judged + " have " + in_db(with_) +
                                  " dB with it and " + in_db(without) + " dB without";
      return;
    }
    *state_.result = *before_;
    state_.result->graph = clone(before_->graph);
    state_.weights = std::move(weights_);
    state_.biases = std::move(biases_);
    state_.repaired.resize(said_);
    state_.repaired.push_back(std::string(def_.name) + " did not help and was taken back: the outputs of " +
                              judged + " have " + in_db(with_) + " dB with it and " + in_db(without) +
                              " dB without");
  }

  JobState& state_;
  const StageDef& def_;
  SampleKeeper keeper_;
  Step step_ = Step::kCollect;
  std::unique_ptr<Stage> inner_;
  std::vector<SampleKeeper::Kept> rest_;
  size_t fed_ = 0;
  std::unique_ptr<OutputErrors> errors_;
  std::shared_ptr<const Model> before_;
  std::vector<PlacedWeight> weights_;
  std::vector<PlacedBias> biases_;
  size_t said_ = 0;
  double with_ = 0;
};

}  // namespace

std::unique_ptr<Stage> checked(JobState& state, const StageDef& def) {
  return std::make_unique<Checked>(state, def);
}

}  // namespace zp::quant
