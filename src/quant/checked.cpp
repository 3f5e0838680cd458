#include "quant/checked.h"

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstring>
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

bool same(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.dims() == b.dims() &&
         (a.raw() == b.raw() || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0);
}

// Whether a repair left its graph as it was: the nodes, what they read, and the constants.
bool same(const Graph& a, const Graph& b) {
  const auto same_value = [](const Value& x, const Value& y) {
    return x.constant.has_value() == y.constant.has_value() &&
           (!x.constant || same(*x.constant, *y.constant));
  };
  const auto same_attribute = [](const auto& x, const auto& y) {
    if (x.first != y.first || x.second.index() != y.second.index()) return false;
    if (const auto* t = std::get_if<Tensor>(&x.second)) return same(*t, std::get<Tensor>(y.second));
    if (const auto* sub = std::get_if<std::shared_ptr<Graph>>(&x.second))
      return same(**sub, *std::get<std::shared_ptr<Graph>>(y.second));
    return std::visit(
        [&]<class T>(const T& v) {
          if constexpr (std::equality_comparable<T>)
            return v == std::get<T>(y.second);
          else
            return false;
        },
        x.second);
  };
  const auto same_node = [&](const Node& x, const Node& y) {
    return x.op_type == y.op_type && x.domain == y.domain && x.inputs == y.inputs && x.outputs == y.outputs &&
           std::ranges::equal(x.attributes, y.attributes, same_attribute);
  };
  return std::ranges::equal(a.values, b.values, same_value) &&
         std::ranges::equal(a.nodes, b.nodes, same_node);
}

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
            if (same(before_->graph, state_.result->graph)) {  // nothing to prove, and nothing to take back
              state_.weights = std::move(weights_);
              state_.biases = std::move(biases_);
              if (state_.repaired.size() > said_) {
                state_.repaired.resize(said_);
                state_.repaired.push_back(std::string(def_.name) + " found nothing to change");
              }
              step_ = Step::kDone;
            }
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
    std::string& said = state_.repaired.emplace_back(def_.name);
    if (without > 0) {
      said += " did not help and was taken back: the outputs of " + judged + " have " + in_db(with_) +
              " dB with it and " + in_db(without) + " dB without";
    } else {
      said += " was taken back: no error shows in the outputs of " + judged + " without it";
    }
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
