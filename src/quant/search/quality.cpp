#include <algorithm>
#include <cmath>
#include <utility>

#include "core/sort.h"
#include "quant/runtimes.h"
#include "quant/search/search.h"

namespace zp::quant {
namespace {

constexpr double kWideEnough = 0.1;  // share of a layer's noise that 16 bits may leave, where no sum is known

}  // namespace

Candidate Search::leaving(const std::vector<std::string>& nodes) const {
  // Nodes that the repairs of the graph removed or renamed do not occur: names come from their report.
  Candidate c = best_->candidate;
  for (const std::string& n : nodes)
    c.config.left_float.emplace(n, "left in float by the search, which measured the cost of rounding it");
  c.what += " + " + std::to_string(nodes.size()) + (nodes.size() == 1 ? " layer" : " layers") + " in float";
  c.float_layers = nodes.size();
  return c;
}

bool Search::reaches(const Outcome& o) const {
  return for_answers() ? o.drop <= config_.target_drop : o.sqnr_db >= config_.target_sqnr;
}

void Search::for_quality() {
  if (reaches(*best_) || effects_.empty()) return;
  low_ = 0, high_ = effects_.size();
  try_worst();
}

void Search::try_worst() {
  const size_t all = effects_.size();
  const size_t count = reached_ ? (low_ + high_) / 2 : std::min(all, std::max<size_t>(1, 2 * low_));
  steps_.push_back([this, count, all]() -> std::optional<Candidate> {
    on_outcome_ = [this, count, all](std::unique_ptr<Outcome> o) {
      note(*o, false);
      if (reaches(*o)) {
        high_ = count;
        reached_ = std::move(o);
      } else {
        low_ = count;
        if (!nearest_ || o->sqnr_db > nearest_->sqnr_db) nearest_ = std::move(o);
      }
      if (reached_ ? high_ - low_ > 1 : low_ < all) {
        try_worst();
      } else if (reached_) {
        const DType wider = is_signed_integer(config_.activations) ? DType::kInt16 : DType::kUint16;
        if (runtime_named(config_.runtime).activations.has(wider)) {
          try_wide();
        } else {
          take_mixed();
        }
      } else {
        try_all_float();
      }
    };
    return sparing(worst(count), false);
  });
  ++expected_;
}

void Search::try_wide() {
  for (size_t i = 0; i < high_; ++i) {
    steps_.push_back([this, i]() -> std::optional<Candidate> {
      Candidate c = alone(effects_[i].node);
      const DType wider = is_signed_integer(c.config.activations) ? DType::kInt16 : DType::kUint16;
      c.config.precision[effects_[i].node] = {wider, c.config.weights};
      on_outcome_ = [this, i](std::unique_ptr<Outcome> o) { effects_[i].wide_noise = o->noise; };
      return c;
    });
  }
  steps_.push_back([this]() -> std::optional<Candidate> {
    choose_wide();
    Candidate c = sparing(worst(high_), true);
    if (c.wide_layers == 0) {
      take_mixed();
      return std::nullopt;
    }
    on_outcome_ = [this](std::unique_ptr<Outcome> o) {
      note(*o, false);
      if (reaches(*o)) reached_ = std::move(o);
      take_mixed();
    };
    return c;
  });
  expected_ += high_ + 1;
}

void Search::choose_wide() {
  std::vector<Effect*> layers;
  for (size_t i = 0; i < high_; ++i) layers.push_back(&effects_[i]);
  sort_small(layers, [](const Effect* a, const Effect* b) { return a->wide_noise < b->wide_noise; });
  double room = std::pow(10, -config_.target_sqnr / 10) - reached_->noise;
  for (Effect* e : layers) {
    e->wide = for_answers() ? e->wide_noise <= kWideEnough * e->noise : e->wide_noise <= room;
    if (e->wide) room -= e->wide_noise;
  }
}

void Search::try_all_float() {
  steps_.push_back([this]() -> std::optional<Candidate> {
    on_outcome_ = [this](std::unique_ptr<Outcome> o) {
      note(*o, false);
      if (reaches(*o)) reached_ = std::move(o);
      take_mixed();
    };
    std::vector<std::string> nodes;
    for (const Effect& e : effects_) nodes.push_back(e.node);
    return leaving(nodes);
  });
  ++expected_;
}

void Search::take_mixed() {
  if (!reached_ && nearest_ && nearest_->sqnr_db > best_->sqnr_db) reached_ = std::move(nearest_);
  if (!reached_) return;
  best_ = std::move(reached_);
  for (Trial& t : trials_) t.kept = t.what == best_->candidate.what;
  if (!reaches(*best_))
    warnings_.push_back("the target was not reached, even with float for all layers that have weights");
}

}  // namespace zp::quant
