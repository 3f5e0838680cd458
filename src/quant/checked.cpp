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
#include "quant/search/output_errors.h"
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
  bool wants_next() const override { return keeper_.wants_next(); }
  void skip_sample() override { keeper_.skip(); }
  bool enough() const override { return keeper_.enough(); }
  void end_samples() override {
    samples_ = keeper_.release();
    HeldOut split = hold_out(samples_, std::min(kMostHeldOut, held_out_of(samples_.size())));
    if (split.out.empty()) {
      state_.repaired.push_back(std::string(def_.name) +
                                " did not run: one sample cannot show whether it helps");
      step_ = Step::kDone;
      return;
    }
    before_ = here();
    OutputErrors::Samples held_out;
    for (auto& s : split.out) held_out.push_back(std::move(s.feeds));
    errors_ = std::make_unique<OutputErrors>(state_.prepared, std::move(held_out), std::vector<int32_t>(),
                                             state_.threads);
    start(std::move(split.rest));
    per_pass_ = inner_->total();
    passes_ = inner_->wants_samples() ? 2 : 1;
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
        case Step::kAgain:
          if (!inner_->advance(left())) return false;
          if (inner_->wants_samples()) {
            feed();
            break;
          }
          inner_.reset();
          ++pass_;
          if (step_ == Step::kRepair && same(before_.model->graph, state_.result->graph)) {
            // Nothing to prove, and nothing to take back.
            const bool spoke = state_.repaired.size() > before_.repaired.size();
            go_back_to(std::move(before_));
            if (spoke) state_.repaired.push_back(std::string(def_.name) + " found nothing to change");
            step_ = Step::kDone;
            break;
          }
          if (step_ == Step::kAgain) errors_->begin(state_.result, kMostHeldOut);
          step_ = step_ == Step::kAgain ? Step::kWithAll : Step::kReference;
          break;
        case Step::kReference:
          if (!errors_->advance(left())) return false;
          errors_->begin(state_.result, kMostHeldOut);
          step_ = Step::kWith;
          break;
        case Step::kWith:
          if (!errors_->advance(left())) return false;
          with_ = errors_->noise();
          errors_->begin(before_.model, kMostHeldOut);
          step_ = Step::kWithout;
          break;
        case Step::kWithout:
          if (!errors_->advance(left())) return false;
          step_ = decide(errors_->noise());
          break;
        default:
          if (!errors_->advance(left())) return false;
          choose(errors_->noise());
          step_ = Step::kDone;
      }
      if (step_ != Step::kDone && watch.over()) return false;
    }
    return true;
  }
  size_t done() const override { return pass_ * per_pass_ + (inner_ ? inner_->done() : 0); }
  size_t total() const override { return passes_ > 1 ? passes_ * per_pass_ : inner_ ? inner_->total() : 0; }

 private:
  enum class Step : uint8_t {
    kCollect,
    kRepair,
    kReference,
    kWith,
    kWithout,
    kAgain,
    kWithAll,
    kDone,
  };
  // What a repair changes.
  struct Stand {
    std::shared_ptr<const Model> model;
    std::vector<PlacedWeight> weights;
    std::vector<PlacedBias> biases;
    std::vector<std::string> repaired;
  };
  Stand here() const {
    auto model = std::make_shared<Model>(*state_.result);
    model->graph = clone(state_.result->graph);
    return {std::move(model), state_.weights, state_.biases, state_.repaired};
  }
  void go_back_to(Stand stand) {
    *state_.result = *stand.model;
    state_.result->graph = clone(stand.model->graph);
    state_.weights = std::move(stand.weights);
    state_.biases = std::move(stand.biases);
    state_.repaired = std::move(stand.repaired);
  }

  // The repair, from these samples.
  void start(std::vector<SampleKeeper::Kept> samples) {
    const size_t series = std::exchange(state_.series, samples.size());
    inner_ = def_.make(state_, Options(def_.options, state_.config.options));
    state_.series = series;
    given_ = std::move(samples);
    fed_ = 0;
  }
  void feed() {
    if (fed_ < given_.size() && !(fed_ > 0 && inner_->enough())) {
      inner_->begin_sample(std::move(given_[fed_++].feeds));
    } else {
      inner_->end_samples();
      given_.clear();
    }
  }

  Step decide(double without) {
    const auto in_db = [](double noise) {
      return noise > 0 ? decimal(std::round(-100 * std::log10(noise)) / 10) : "∞";
    };
    const std::string judges = Text({"the outputs of ", errors_->samples(),
                                     errors_->samples() == 1 ? " sample" : " samples", " held out"})
                                   .str();
    const std::string outputs =
        judges + " have " + in_db(with_) + " dB with it and " + in_db(without) + " dB without";
    if (!(with_ < kWorthIt * without)) {
      go_back_to(std::move(before_));
      state_.repaired.push_back(std::string(def_.name) +
                                (without > 0
                                     ? " did not help and was taken back: " + outputs
                                     : " was taken back: no error shows in " + judges + " without it"));
      return Step::kDone;
    }
    if (state_.repaired.size() == before_.repaired.size()) return Step::kDone;  // it says nothing
    proof_ = "; " + outputs;
    if (passes_ == 1) {
      state_.repaired.back() += proof_;
      return Step::kDone;
    }
    // It has proven itself: the held-out samples now help more as its input than as its judge.
    proven_ = here();
    go_back_to(std::move(before_));
    start(std::move(samples_));
    return Step::kAgain;
  }

  // Once it has seen those samples too, it should not do worse on them.
  void choose(double with_all) {
    const bool better = with_all <= with_ && state_.repaired.size() == proven_.repaired.size();
    if (!better) go_back_to(std::move(proven_));
    state_.repaired.back() += proof_;
    if (better) state_.repaired.back() += "; it then ran again on all samples, the held-out ones too";
  }

  JobState& state_;
  const StageDef& def_;
  SampleKeeper keeper_;
  Step step_ = Step::kCollect;
  std::unique_ptr<Stage> inner_;
  std::vector<SampleKeeper::Kept> samples_, given_;  // all; those that `inner_` gets
  size_t fed_ = 0;
  size_t per_pass_ = 0, pass_ = 0, passes_ = 1;
  std::unique_ptr<OutputErrors> errors_;
  Stand before_, proven_;
  std::string proof_;
  double with_ = 0;  // noise on the samples held out
};

}  // namespace

std::unique_ptr<Stage> checked(JobState& state, const StageDef& def) {
  return std::make_unique<Checked>(state, def);
}

}  // namespace zp::quant
