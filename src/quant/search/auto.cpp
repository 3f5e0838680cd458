#include <algorithm>
#include <cmath>
#include <utility>

#include "core/decimal.h"
#include "core/sort.h"
#include "core/text.h"
#include "quant/runtimes.h"
#include "quant/scheme.h"
#include "quant/search/search.h"
#include "quant/stage.h"

namespace zp::quant {
namespace {

constexpr double kPoor = 25;  // dB below which other schemes are tried too

}  // namespace

void Search::plan_settings() {
  for (const char* observer : {"mse", "percentile"})
    if (scheme_named(config_.mode).needs_calibration && config_.observer != observer)
      steps_.push_back([this, observer] {
        Candidate c = changed("observer '" + std::string(observer) + "'");
        c.config.observer = observer;
        return c;
      });
  // Each value is smoothed as much as serves the layers that read it; sometimes one strength for all
  // serves the outputs better.
  for (const double strength : {0.75, 0.95})
    steps_.push_back([this, strength]() -> std::optional<Candidate> {
      if (!smooths_ || config_.options.contains("smooth-strength")) return std::nullopt;
      Candidate c = changed("smooth-strength " + decimal(strength));
      auto& repairs = c.config.repairs;
      if (std::ranges::find(repairs, kSmooth) == repairs.end()) repairs.emplace_back(kSmooth);
      c.config.options["smooth-strength"] = strength;
      return c;
    });
  steps_.push_back([this] { return without_attention(); });
}

void Search::plan_repairs() {
  for (const StageDef* d : all_stages()) {
    if (!d->repair || !d->worth_trying || !d->worth_trying(config_)) continue;
    const std::string_view repair = d->name;
    steps_.push_back([this, repair]() -> std::optional<Candidate> {
      const auto& has = best_->candidate.config.repairs;
      if (std::find(has.begin(), has.end(), repair) != has.end()) return std::nullopt;
      if (std::ranges::find(by_default_, repair) != by_default_.end()) return std::nullopt;  // see above
      Candidate c = changed(Text({"repair '", repair, "'"}).str());
      c.config.repairs.emplace_back(repair);
      // With 8 bits the single steps that end it find nearly all of what learning does, in a fraction of
      // the time.
      if (bits_of(config_.weights) == 8)
        for (const auto& [name, value] :
             {std::pair{"adaround-iterations", 0}, {"adaround-samples", 8}, {"adaround-patches", 1024}})
          c.config.options.emplace(name, value);
      return c;
    });
  }
}

void Search::plan_modes() {
  for (const char* mode : {"dynamic", "weight-only"})
    steps_.push_back([this, mode]() -> std::optional<Candidate> {
      const bool nothing = best_->report.layers_quantized == 0;
      if ((!nothing && (best_->sqnr_db > kPoor || mode != std::string_view("dynamic"))) ||
          bits_of(config_.weights) != 8 || config_.activations != DType::kUint8 || config_.quantized_inputs ||
          config_.quantized_outputs || !takes_mode(runtime_named(config_.runtime), mode))
        return std::nullopt;
      Candidate c{.what = "mode '" + std::string(mode) + "'", .config = plain()};
      c.config.mode = mode;
      c.config.ranges.clear();
      return c;
    });
}

std::optional<Candidate> Search::without_attention() const {
  Candidate c = changed("products of two computed factors in float");
  for (const LayerReport& l : best_->report.layers) {
    if (!l.quantized || l.weight || macs_of(l) == 0) continue;
    if (c.config.precision.try_emplace(l.node, Precision{DType::kUndefined, DType::kUndefined}).second)
      ++c.float_layers;
  }
  return c.float_layers > 0 ? std::optional(std::move(c)) : std::nullopt;
}

void Search::a_few() {
  double all = 0, sum = 0;
  for (const LayerReport& l : best_->report.layers) all += l.quantized ? macs_of(l) : 0;
  for (const Effect& e : effects_) sum += e.noise;
  if (!(sum > 0)) return;
  const auto cost = [&](const Effect& e) {
    const double time = first_time_ > 0 ? (kFloatTime - 1) * e.macs / first_time_ : 0;
    return kOfBytes * e.bytes / first_bytes_ + kOfTime * time;
  };
  std::vector<const Effect*> by_worth = worst(effects_.size());
  sort_small(by_worth, [&](const Effect* a, const Effect* b) {
    const double x = a->noise * (cost(*b) + 1e-6), y = b->noise * (cost(*a) + 1e-6);
    return x != y ? x > y : a->node < b->node;
  });
  double macs = 0, bytes = 0, noise = 0, costs = 0, best = 0;
  std::vector<const Effect*> layers;
  size_t count = 0;
  for (const Effect* e : by_worth) {
    if (macs + e->macs > kFewFloat * all || bytes + e->bytes > most_bytes() || e->noise < 0.01 * sum)
      continue;
    macs += e->macs, bytes += e->bytes, noise += e->noise, costs += cost(*e);
    layers.push_back(e);
    const double gain = -10 * std::log10(std::max(1 - noise / sum, 1e-9)) - costs;
    if (gain > best) best = gain, count = layers.size();
  }
  layers.resize(count);
  if (best >= kWorthFloat) try_once(sparing(layers, false), kWorthFloat);
}

}  // namespace zp::quant
