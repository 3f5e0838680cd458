// Covers the range whose quantization has the least expected squared error: rounding inside it against
// clipping outside.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "quant/observer.h"
#include "quant/observers/histogram.h"

namespace zp::quant {
namespace {

class MeanSquaredError : public Observer {
 public:
  MeanSquaredError(DType dtype, bool symmetric)
      : levels_(static_cast<double>(integer_range(dtype).max) - integer_range(dtype).min),
        symmetric_(symmetric) {}

  void observe(std::span<const float> x, Range range) override { histogram_.add(x, range); }

  Range range() const override {
    const Range all = histogram_.range();
    const std::span<const uint64_t> counts = histogram_.counts();
    if (counts.empty()) return all;
    // Moments of the bins from the left, so that what a bound clips is known at once.
    const size_t n = counts.size();
    std::vector<std::array<double, 3>> moments(n + 1);
    for (size_t i = 0; i < n; ++i) {
      const double c = static_cast<double>(counts[i]), x = histogram_.center(i);
      moments[i + 1] = {moments[i][0] + c, moments[i][1] + c * x, moments[i][2] + c * x * x};
    }
    const auto clipped = [&](size_t begin, size_t end, double bound) {
      const double s0 = moments[end][0] - moments[begin][0], s1 = moments[end][1] - moments[begin][1],
                   s2 = moments[end][2] - moments[begin][2];
      return std::max(0.0, s2 - 2 * bound * s1 + bound * bound * s0);
    };
    const auto bin_of = [&](double x) {
      return static_cast<size_t>(
          std::clamp((x - histogram_.left(0)) / histogram_.width(), 0.0, static_cast<double>(n)));
    };
    const auto error = [&](double lo, double hi) {
      const size_t a = lo < 0 ? bin_of(lo) : 0, b = hi > 0 ? bin_of(hi) : n;
      const double step = (symmetric_ ? 2 * std::max(-lo, hi) : hi - lo) / levels_;
      const double inside = moments[b][0] - moments[std::min(a, b)][0];  // exact zeros stay exact
      return inside * step * step / 12 + clipped(0, a, lo) + clipped(b, n, hi);
    };
    constexpr int kSteps = 100;
    Range best = all;
    double least = std::numeric_limits<double>::infinity();
    const auto attempt = [&](double lo, double hi) {
      if (hi <= lo) return;
      const double e = error(lo, hi);
      if (e < least) {
        least = e;
        best = {static_cast<float>(lo), static_cast<float>(hi)};
      }
    };
    const double lo = all.min, hi = all.max, most = std::max(-lo, hi);
    for (int i = kSteps; i > 0; --i) {
      const double f = static_cast<double>(i) / kSteps;
      if (symmetric_) {
        attempt(std::max(lo, -most * f), std::min(hi, most * f));
        continue;
      }
      for (int j = kSteps; j > 0; --j) {
        const double g = static_cast<double>(j) / kSteps;
        attempt(lo * f, hi * g);
        if (hi <= 0) break;
      }
      if (lo >= 0) break;
    }
    return best;
  }

 private:
  double levels_;
  bool symmetric_;
  Histogram histogram_;
};

const RegisterObserver kMse({.name = "mse",
                             .title = "the least squared error",
                             .sentence = "The range whose integers leave the least squared error.",
                             .make = [](const ObserverSettings& s) -> std::unique_ptr<Observer> {
                               return std::make_unique<MeanSquaredError>(s.dtype, s.symmetric);
                             }});

}  // namespace
}  // namespace zp::quant
