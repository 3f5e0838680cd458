#include "quant/findings.h"

#include <algorithm>
#include <limits>

#include "core/sort.h"
#include "quant/report.h"

namespace zp::quant {
namespace {

// A scale for all channels leaves the median one 256 / ratio of its 256 steps: from 8 on, 5 bits or fewer,
// and a signal to noise ratio that is 18 dB less.
constexpr double kUnequalWeights = 8;
// Activations have no scale for each channel to fall back on, and most networks live with 5 bits there: 4 is
// where depthwise networks begin to fail (Nagel et al. 2019, figure 2).
constexpr double kUnequalValues = 16;
// Bell-shaped weights keep about 40 dB in 8 bits, 18 in 4 (a step of 1/64 or 1/4 of their deviation, whose
// rounding error is step / sqrt(12)), and 9 in 2 (Max 1960, "Quantizing for Minimum Distortion").
constexpr double kPoorWeights8 = 30, kPoorWeights4 = 18, kPoorWeights2 = 6;
// Observers that cut outliers off on purpose leave out less than a thousandth.
constexpr double kSaturated = 0.005;
// The middle half of a bell whose range is 5 deviations takes 34 of 256 steps; 8 are 3 bits for most values.
constexpr double kFewSteps = 8;
// Means that shift are noise that adds up from layer to layer, and that a bias removes for nothing. Below 30
// dB there is something to be won.
constexpr double kShifted = 0.3, kGood = 30;

double steps_of(DType dtype) {
  const IntegerRange r = integer_range(dtype);
  return static_cast<double>(r.max - r.min) + 1;
}

}  // namespace

ChannelSpread spread_of(std::vector<float> largest) {
  ChannelSpread s;
  const auto widest = std::max_element(largest.begin(), largest.end());
  if (widest == largest.end() || !(*widest > 0)) return s;
  s.channel = widest - largest.begin();
  const double most = *widest;
  std::erase_if(largest, [](float v) { return !(v > 0); });
  sort_small(largest);
  s.ratio = most / largest[largest.size() / 2];
  return s;
}

double Finding::operator[](std::string_view number) const {
  for (const auto& [name, value] : numbers)
    if (name == number) return value;
  return std::numeric_limits<double>::quiet_NaN();
}

std::vector<Finding> findings_of(const WeightReport& w, bool float_activations, bool depthwise) {
  const int bits = bits_of(w.dtype);
  if (bits > 8) return {};
  if (w.granularity == "tensor" && w.spread.ratio >= kUnequalWeights)
    return {{"unequal-weights",
             {{"channel", static_cast<double>(w.spread.channel)},
              {"ratio", w.spread.ratio},
              {"depthwise", depthwise}},
             {{"perChannel", "true"}, {"repairs", "equalization"}}}};
  if (!(w.sqnr_db < (bits == 8 ? kPoorWeights8 : bits == 4 ? kPoorWeights4 : kPoorWeights2))) return {};
  Finding poor{"poor-weights", {{"sqnr", w.sqnr_db}, {"bits", bits}}, {}};
  if (bits == 8)
    poor.remedies = {{"target", "sqnr=30"}, {"exclude", ""}};
  else if (float_activations)
    poor.remedies = {{"repairs", "gptq"}, {"repairs", "hqq"}, {"weights", "int8"}};
  else
    poor.remedies = {{"repairs", "equalization,gptq"}, {"weights", "int8"}};
  return {poor};
}

std::vector<Finding> findings_of(const LayerError& e) {
  std::vector<Finding> found;
  if (e.clip) {
    if (e.saturated >= kSaturated)
      found.push_back({"cut-off",
                       {{"share", e.saturated}, {"min", e.clip->min}, {"max", e.clip->max}},
                       {{"observer", "min-max"}}});
    const double steps = steps_of(e.dtype);
    // A range that a few values stretch hurts all others; unequal channels are one way in which it happens.
    if (e.spread.ratio >= kUnequalValues)
      found.push_back({"unequal-values",
                       {{"channel", static_cast<double>(e.spread.channel)},
                        {"ratio", e.spread.ratio},
                        {"left", steps / e.spread.ratio},
                        {"steps", steps}},
                       {{"repairs", "equalization"}, {"repairs", "smooth"}}});
    else if (e.half_steps > 0 && e.half_steps < kFewSteps && e.own_sqnr_db < kGood)
      found.push_back({"outliers",
                       {{"left", e.half_steps}, {"steps", steps}},
                       {{"observer", "percentile"}, {"observer", "mse"}, {"activations", "uint16"}}});
  }
  if (!e.clip && e.outside > 0)
    found.push_back({"beyond-float16", {{"count", static_cast<double>(e.outside)}}, {{"exclude", ""}}});
  if (e.shifted >= kShifted && e.sqnr_db < kGood)
    found.push_back({"shifted-means", {{"share", e.shifted}}, {{"repairs", "bias-correction"}}});
  return found;
}

}  // namespace zp::quant
