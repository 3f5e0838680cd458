// Runs the float model over the samples and lets an observer watch each value that will be quantized. Samples
// are seen once and not kept.
//
// A range is observed or known, never assumed. NaN and infinity are left out, and so are the huge numbers of
// masks (kMask). A value stays float if nothing of it is left, and a masked value if a float operator would
// read it as integers: a mask that saturates masks no longer. Then the plan is made again
// without those values.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <set>

#include "core/error.h"
#include "core/text.h"
#include "quant/estimate.h"
#include "quant/runnable.h"
#include "quant/stage.h"

namespace zp::quant {
namespace {

constexpr std::string_view kPatience = "patience";
// A mask lies so many times as far out as all other numbers of its value. Activations without a mask, however
// few of them are large, have no such gap.
constexpr float kGap = 16;
// What a known range may cost: rounding leaves what the samples had at least so many dB. A long row of
// attention, or a vector of thousands normalized to 1, is so small everywhere that 8 bits of 0...1 lose it.
constexpr double kEnough = 20;
constexpr size_t kMostNamed = 3;  // values in one warning

// By value: whether a constant so large that it can only be a mask may have come into it.
std::vector<bool> may_be_masked(Graph& graph) {
  const GraphIndex index(graph);
  const KnownRanges known(graph, index);
  std::vector<bool> masked(graph.values.size(), false);
  for (const Node& n : graph.nodes) {
    const OpDef* def = find_op(n);
    if (!def || !(def->broadcasts || def->quant.kind == QuantRule::Kind::kSameScale)) continue;
    const bool any = std::any_of(n.inputs.begin(), n.inputs.end(), [&](ValueId v) {
      if (v == kNoValue || graph[v].dtype != DType::kFloat32) return false;
      const KnownRange r = known.of(v);
      return masked[static_cast<size_t>(v)] || (std::isfinite(r.lo) && r.lo <= -kMask) ||
             (std::isfinite(r.hi) && r.hi >= kMask);
    });
    for (const ValueId v : n.outputs)
      if (v != kNoValue) masked[static_cast<size_t>(v)] = any;
  }
  return masked;
}

// What was seen of one value.
class Observed {
 public:
  Observed(const ObserverDef& def, ObserverSettings settings, KnownRange bounds, float mask)
      : def_(def),
        settings_(std::move(settings)),
        bounds_(bounds),
        mask_(mask),
        ordinary_(def.make(settings_)) {}

  // A sample's elements. `sample` counts from 1.
  void observe(std::span<const float> x, size_t sample) {
    if (x.empty()) return;
    bool finite = true;
    const Range range = range_of(x, &finite);
    if (finite && !beyond(range, mask_)) return see(x, range);
    std::vector<float> ordinary, all;
    for (const float v : x) {
      if (!std::isfinite(v)) {
        infinite_ = infinite_ || std::isinf(v);
        ++odd_;
        if (first_odd_ == 0) first_odd_ = sample;
        continue;
      }
      all.push_back(v);
      if (std::fabs(v) < mask_) {
        ordinary.push_back(v);
      } else {
        least_mask_ = std::min(least_mask_, std::fabs(v));
      }
    }
    if (!ordinary.empty()) see(ordinary, range_of(ordinary));
    if (all.size() == ordinary.size()) return;
    // Should it turn out to be no mask.
    if (!with_masks_) with_masks_ = def_.make(settings_);
    with_masks_->observe(all, range_of(all));
  }

  // The operator says it all.
  bool certain() const { return bounds_.bounded() && bounds_.reached; }
  double odd() const { return odd_; }
  size_t first_odd() const { return first_odd_; }
  // Some elements are masks, which the range leaves out.
  bool masked() const {
    return infinite_ || (with_masks_ && seen_ && least_mask_ >= kGap * std::max(largest_, 1.0f));
  }
  // So far, of what is no mask.
  Range seen() const { return ordinary_->range(); }

  // nullopt: nobody knows it.
  std::optional<Range> range() const {
    std::optional<Range> r;
    if (seen_) r = ordinary_->range();
    if (with_masks_ && !masked()) {
      if (r) {
        r->include(with_masks_->range());
      } else {
        r = with_masks_->range();
      }
    }
    if (certain() && (!r || keeps_enough())) return Range{bounds_.lo, bounds_.hi};
    if (r) r = {std::clamp(r->min, bounds_.lo, bounds_.hi), std::clamp(r->max, bounds_.lo, bounds_.hi)};
    return r;
  }

 private:
  void see(std::span<const float> x, Range range) {
    seen_ = true;
    largest_ = std::max({largest_, -range.min, range.max});
    ordinary_->observe(x, range);
    if (!certain()) return;
    for (const float v : x) squares_ += static_cast<double>(v) * static_cast<double>(v);
    count_ += static_cast<double>(x.size());
  }

  // Whether the known range is fine enough for what was seen.
  bool keeps_enough() const {
    const double step = static_cast<double>(
        choose_params({bounds_.lo, bounds_.hi}, settings_.dtype, settings_.symmetric).scale);
    const double noise = step * step / 12;
    return squares_ == 0 || squares_ / count_ >= noise * std::pow(10, kEnough / 10);
  }

  const ObserverDef& def_;
  ObserverSettings settings_;
  KnownRange bounds_;
  float mask_;
  std::unique_ptr<Observer> ordinary_, with_masks_;
  bool seen_ = false, infinite_ = false;
  float largest_ = 0, least_mask_ = std::numeric_limits<float>::infinity();
  double odd_ = 0;  // elements that are NaN or infinite
  size_t first_odd_ = 0;
  double squares_ = 0, count_ = 0;
};

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
    const std::vector<bool> masked = may_be_masked(state_.prepared->graph);
    for (const Group& group : state_.plan.groups) {
      for (ValueId v : group.observed) {
        settings.dtype = group.dtype;
        const auto bounds = state_.plan.bounds.find(v);
        observed_.try_emplace(v, def_, settings,
                              bounds == state_.plan.bounds.end() ? KnownRange{} : bounds->second,
                              masked[static_cast<size_t>(v)] ? kMask : kBeyondHalf);
        if (filled_.try_emplace(v, false).second) session.taps.push_back(v);
      }
    }
    if (observed_.empty()) return;
    const GraphIndex index(state_.prepared->graph);
    for (const auto& [v, o] : observed_) watch(v, index, session.taps);
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
  const std::string& name(ValueId v) const { return state_.prepared->graph[v].name; }

  // Of what moves values into those that are observed only that they had elements matters.
  void watch(ValueId v, const GraphIndex& index, std::vector<ValueId>& taps) {
    const Graph& graph = state_.prepared->graph;
    const int32_t made_by = index.producer[static_cast<size_t>(v)];
    if (made_by < 0) return;
    const Node& n = graph.nodes[static_cast<size_t>(made_by)];
    const OpDef* def = find_op(n);
    if (!def || def->quant.kind != QuantRule::Kind::kSameScale) return;
    for (const ValueId from : n.inputs) {
      if (from == kNoValue || graph.constant(from) || graph[from].dtype != DType::kFloat32 ||
          !filled_.try_emplace(from, false).second)
        continue;
      taps.push_back(from);
      watch(from, index, taps);
    }
  }

  void observe(ValueId v, const TensorView& view) {
    if (view.dtype != DType::kFloat32)
      throw_error(ErrorCode::kInternal, "a value to be quantized is not float32", {.tensor = name(v)});
    const auto count = static_cast<size_t>(element_count(view.dims));
    computed_.insert(v);
    if (count > 0) filled_[v] = true;
    if (state_.samples == 0) state_.fed[v].assign(view.dims.begin(), view.dims.end());
    const auto found = observed_.find(v);
    if (found == observed_.end()) return;
    Observed& o = found->second;
    o.observe({reinterpret_cast<const float*>(view.data), count}, state_.samples + 1);
    if (patience_ == 0 || count == 0) return;
    const Range now = o.seen();
    // A thousandth of the width moves no rounding that matters.
    const float width = std::max(now.max - now.min, 0.f) * 1e-3f;
    const auto [before, first] = before_.try_emplace(v, now);
    if (first || std::fabs(now.min - before->second.min) > width ||
        std::fabs(now.max - before->second.max) > width) {
      changed_ = true;
      before->second = now;  // what later ranges are measured against
    }
  }

  // Whether the samples had elements of a value, and of all that are moved into it (a cache of keys and
  // values that was always empty).
  bool filled(const Planner& planner, ValueId v) const {
    if (const auto it = filled_.find(v); it != filled_.end() && !it->second) return false;
    const int32_t made_by = planner.producer(v);
    if (made_by < 0 || planner.kind(made_by) != QuantRule::Kind::kSameScale) return true;
    const auto& moved = planner.data(made_by);
    return std::all_of(moved.begin(), moved.end(), [&](ValueId from) { return filled(planner, from); });
  }

  // Of a value that a plan wants: what is known, or was seen of it, or of the values that are moved into it.
  std::optional<Range> range_of_value(const Planner& planner, ValueId v) const {
    const auto seen = observed_.find(v);
    if (seen != observed_.end() && (filled(planner, v) || seen->second.certain()))
      return seen->second.range();
    if (const Tensor* t = planner.graph.constant(v)) return range_of(*t);
    if (const auto it = state_.config.ranges.find(name(v)); it != state_.config.ranges.end())
      return it->second;
    const int32_t made_by = planner.producer(v);
    if (made_by < 0 || !filled(planner, v) || planner.kind(made_by) != QuantRule::Kind::kSameScale)
      return std::nullopt;
    std::optional<Range> all;
    const auto take = [&](ValueId from) {
      const std::optional<Range> r = range_of_value(planner, from);
      if (r && all) {
        all->include(*r);
      } else if (r) {
        all = r;
      }
      return r.has_value();
    };
    for (const ValueId from : planner.data(made_by))
      if (!take(from)) return std::nullopt;
    if (const int8_t inserts = planner.def(made_by)->quant.inserts; inserts >= 0)
      if (const ValueId put = planner.node(made_by).input(static_cast<size_t>(inserts));
          planner.graph.constant(put))
        take(put);
    return all;
  }

  // Masks saturate: only products may read such a value as integers, and it must share its scale with none.
  bool must_stay_whole(const Planner& planner, const Plan& plan, const Group& group, ValueId v) const {
    const auto it = observed_.find(v);
    if (it == observed_.end() || !it->second.masked()) return false;
    if (group.members.size() > 1) return true;
    const auto& readers = planner.consumers(v);
    return std::any_of(readers.begin(), readers.end(), [&](int32_t i) {
      const bool integers = planner.reads_integers(plan, i, v);
      return (integers || plan.integer[static_cast<size_t>(v)]) &&
             !(integers && planner.kind(i) == QuantRule::Kind::kProduct);
    });
  }

  void conclude() {
    over_ = true;
    std::set<ValueId> unranged, whole;
    Graph& graph = state_.prepared->graph;
    const std::vector<bool> can_run = computable(graph);
    auto planner = std::make_unique<Planner>(graph, state_.config, can_run);
    for (;;) {
      const size_t before = unranged.size();
      for (const Group& group : state_.plan.groups)
        for (const ValueId v : group.observed) {
          if (!range_of_value(*planner, v)) {
            unranged.insert(v);
          } else if (must_stay_whole(*planner, state_.plan, group, v)) {
            unranged.insert(v);
            whole.insert(v);
          }
        }
      if (unranged.size() == before) break;
      planner = std::make_unique<Planner>(graph, state_.config, can_run, unranged);
      state_.scheme->decide(*planner);
      std::vector<std::string> warnings = std::move(state_.plan.warnings);  // the same again
      state_.plan = planner->plan;
      state_.plan.warnings = std::move(warnings);
    }
    for (const Group& group : state_.plan.groups) {
      std::optional<Range> all = group.known;
      for (const ValueId v : group.observed) {
        const Range r = *range_of_value(*planner, v);
        state_.found[name(v)] = r;
        if (all) {
          all->include(r);
        } else {
          all = r;
        }
      }
      if (!all)
        throw_error(ErrorCode::kInternal, "a value without a range is to be quantized",
                    {.tensor = name(group.members.front())});
      state_.ranges.push_back(*all);
    }
    share_scales(*planner, state_.plan, state_.ranges);
    for (size_t g = 0; g < state_.ranges.size(); ++g) {
      state_.params.push_back(
          choose_params(state_.ranges[g], state_.plan.groups[g].dtype, state_.config.symmetric_activations));
    }
    warn(unranged, whole);
    session_.reset();
    observed_.clear();
  }

  std::string named(const std::vector<ValueId>& values) const {
    std::string s;
    for (size_t i = 0; i < std::min(values.size(), kMostNamed); ++i)
      s += (i > 0 ? ", '" : "'") + name(values[i]) + "'";
    if (values.size() > kMostNamed) s += " and " + std::to_string(values.size() - kMostNamed) + " more";
    return s;
  }

  void warn(const std::set<ValueId>& unranged, const std::set<ValueId>& whole) {
    std::vector<ValueId> never, empty, nowhere, masked_float, masked, odd;
    double elements = 0;
    for (const auto& [v, had_elements] : filled_) {
      const auto seen = observed_.find(v);
      if (had_elements || (seen != observed_.end() && seen->second.certain())) continue;
      (computed_.contains(v) ? empty : never).push_back(v);
    }
    for (const auto& [v, o] : observed_) {
      const bool gone = unranged.contains(v);
      if (!filled_.at(v)) continue;
      if (whole.contains(v)) {
        masked_float.push_back(v);
      } else if (gone && !o.range()) {
        nowhere.push_back(v);
      } else if (o.masked()) {
        masked.push_back(v);
      }
      if (o.odd() == 0) continue;
      odd.push_back(v);
      elements += o.odd();
    }
    const auto say = [&](const std::vector<ValueId>& values, const std::string& what) {
      if (!values.empty()) state_.plan.warnings.push_back(what + ": " + named(values));
    };
    say(never, "values that no sample computed, so that their readers stay float");
    say(empty, "values without elements in every sample, so that their readers stay float");
    say(nowhere, "values that are nowhere finite in the samples, so that their readers stay float");
    say(masked_float,
        "values with a mask of huge numbers or infinity, which stay float: no scale covers a mask and other "
        "numbers");
    say(masked, "values with a mask of huge numbers or infinity, which their range leaves out");
    if (odd.empty()) return;
    const auto first = std::min_element(odd.begin(), odd.end(), [&](ValueId a, ValueId b) {
      return observed_.at(a).first_odd() < observed_.at(b).first_odd();
    });
    state_.plan.warnings.push_back(
        Text({static_cast<int64_t>(elements), elements == 1 ? " element" : " elements", " of ",
              static_cast<int64_t>(odd.size()), odd.size() == 1 ? " value " : " values ",
              elements == 1 ? "was" : "were", " NaN or infinite, first in '", name(*first), "' in sample ",
              static_cast<int64_t>(state_.number_of(observed_.at(*first).first_odd())),
              ": the ranges leave them out"})
            .str());
  }

  JobState& state_;
  size_t patience_;
  const ObserverDef& def_;
  std::map<ValueId, Observed> observed_;
  std::map<ValueId, bool> filled_;   // by value that is looked at: whether a sample had elements of it
  std::set<ValueId> computed_;       // in some sample
  std::map<ValueId, Range> before_;  // by value, where patience is asked for
  std::unique_ptr<runtime::Session> session_;
  bool running_ = false, ended_ = false, over_ = false, changed_ = false;
  size_t calm_ = 0;
};

const RegisterStage kCalibrate({
    .name = "calibrate",
    .order = 300,
    .needs_samples = [](const Config&, const Scheme& scheme) { return scheme.needs_calibration; },
    .cost =
        [](const Workload& w, const Options&, StageCost& cost) {
          if (w.layers.empty() && w.quantized == 0) return;
          const auto samples = static_cast<double>(w.expected.samples);
          cost.bytes = w.session();
          cost.macs = samples * w.macs;
          cost.touched = 3 * samples * w.values;  // ranges, masks, and what an observer counts
        },
    .options = {{.name = kPatience,
                 .owner = "calibrate",
                 .fallback = 0,
                 .min = 0,
                 .max = 1e6,
                 .sentence = "Calibration ends after this many samples in a row that change no range; 0: it "
                             "reads all samples."}},
    .make = make_stage<Calibrate>,
});

}  // namespace
}  // namespace zp::quant
