#include "quant/findings.h"

#include <algorithm>
#include <cmath>

#include "core/decimal.h"
#include "core/sort.h"
#include "core/text.h"
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

// Two or three digits that matter.
std::string few_digits(double x) {
  const double size = std::fabs(x);
  const int decimals = size >= 10 || size == 0 ? 0 : size >= 1 ? 1 : size >= 0.1 ? 2 : 3;
  const double unit = std::pow(10, decimals);
  return decimal(std::round(x * unit) / unit);
}
std::string percent(double share) { return few_digits(100 * share) + " %"; }

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

std::vector<std::string> findings_of(const WeightReport& w, const std::string& op, bool float_activations,
                                     bool depthwise) {
  std::vector<std::string> found;
  const int bits = bits_of(w.dtype);
  if (bits > 8) return found;
  if (w.granularity == "tensor" && w.spread.ratio >= kUnequalWeights) {
    found.push_back(
        Text({"channel ", w.spread.channel, " of this ", depthwise ? "depthwise " : "", op, " spans ",
              few_digits(w.spread.ratio), " times the median range, and all channels share one scale: ",
              "use a scale for each channel (leave out --per-tensor), or --repair equalization"})
            .str());
  } else if (w.sqnr_db < (bits == 8 ? kPoorWeights8 : bits == 4 ? kPoorWeights4 : kPoorWeights2)) {
    const std::string_view remedy =
        bits == 8 ? "--target sqnr=30 leaves such layers in float where they matter, --exclude this one alone"
        : float_activations ? "--repair gptq, or --repair hqq if there are no samples, or --weights int8"
                            : "--repair equalization,gptq, or --weights int8";
    found.push_back(Text({"rounding leaves the weights ", few_digits(w.sqnr_db), " dB, ", bits,
                          " bits usually more: a few large weights set the scale of all: ", remedy})
                        .str());
  }
  return found;
}

std::vector<std::string> findings_of(const LayerError& e) {
  std::vector<std::string> found;
  const auto say = [&](const Text& text) { found.push_back(text.str()); };
  if (e.clip) {
    if (e.saturated >= kSaturated)
      say({percent(e.saturated), " of this value lies outside the calibrated range of ",
           few_digits(e.clip->min), " to ", few_digits(e.clip->max),
           " and is cut off: calibrate with more samples like these, or with --observer min-max"});
    const double steps = steps_of(e.dtype);
    // A range that a few values stretch hurts all others; unequal channels are one way in which it happens.
    if (e.spread.ratio >= kUnequalValues) {
      say({"channel ", e.spread.channel, " of this value spans ", few_digits(e.spread.ratio),
           " times the median channel, which is left ", few_digits(steps / e.spread.ratio), " of ",
           few_digits(steps), " steps: --repair equalization, or --repair smooth in a transformer"});
    } else if (e.half_steps > 0 && e.half_steps < kFewSteps && e.own_sqnr_db < kGood) {
      say({"a few outliers stretch the range: half of the values share ", few_digits(e.half_steps), " of ",
           few_digits(steps), " steps: --observer percentile or mse, or --activations uint16"});
    }
  }
  if (!e.clip && e.outside > 0)
    say({e.outside, e.outside == 1 ? " element" : " elements",
         " of this value are beyond what float16 holds (65504): give such samples, or --exclude this layer"});
  if (e.shifted >= kShifted && e.sqnr_db < kGood)
    say({percent(e.shifted),
         " of the error here is a shift of channel means, which a bias can take back: "
         "--repair bias-correction"});
  return found;
}

}  // namespace zp::quant
