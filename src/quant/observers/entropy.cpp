// Covers the range whose integers keep the distribution's shape best: least Kullback-Leibler divergence of
// the quantized distribution from the clipped one (Migacz 2017, "8-bit Inference with TensorRT"). Exact
// zeros, of which a ReLU makes many, lose nothing and are left out of both.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "quant/observer.h"
#include "quant/observers/histogram.h"

namespace zp::quant {
namespace {

// `p`: the bins inside, the clipped mass added at either end. `q`: what remains of the bins inside when
// `levels` integers hold them: each level's mass spread over those of its bins that have any.
double divergence(std::span<const uint64_t> bins, double below, double above, size_t levels) {
  const size_t n = bins.size();
  double p_sum = below + above, q_sum = 0;
  for (const uint64_t c : bins) p_sum += static_cast<double>(c);
  q_sum = p_sum - below - above;
  if (p_sum == 0 || q_sum == 0) return std::numeric_limits<double>::infinity();
  constexpr double kSmall = 1e-6;  // where q has no mass and p has
  double kl = 0;
  for (size_t level = 0; level < levels; ++level) {
    const size_t begin = n * level / levels, end = n * (level + 1) / levels;
    double mass = 0, used = 0;
    for (size_t i = begin; i < end; ++i) {
      mass += static_cast<double>(bins[i]);
      used += bins[i] > 0;
    }
    for (size_t i = begin; i < end; ++i) {
      double p = static_cast<double>(bins[i]) + (i == 0 ? below : 0) + (i + 1 == n ? above : 0);
      if (p == 0) continue;
      p /= p_sum;
      const double q = bins[i] > 0 ? mass / used / q_sum : kSmall;
      kl += p * std::log(p / q);
    }
  }
  return kl;
}

class Entropy : public Observer {
 public:
  explicit Entropy(DType dtype)
      : levels_(std::min<size_t>(
            256, static_cast<size_t>(integer_range(dtype).max - integer_range(dtype).min + 1))) {}

  void observe(std::span<const float> x, Range range) override { histogram_.add(x, range); }

  Range range() const override {
    const Range all = histogram_.range();
    const std::span<const uint64_t> counts = histogram_.counts();
    if (counts.size() <= levels_) return all;
    const double most = std::max(-static_cast<double>(all.min), static_cast<double>(all.max));
    constexpr int kSteps = 100;
    Range best = all;
    double least = std::numeric_limits<double>::infinity();
    for (int i = kSteps; i > 0; --i) {
      const double bound = most * i / kSteps;
      const double lo = std::max<double>(all.min, -bound), hi = std::min<double>(all.max, bound);
      const auto bin = [&](double x) {
        const double at = (x - histogram_.left(0)) / histogram_.width();
        return static_cast<size_t>(std::clamp(at, 0.0, static_cast<double>(counts.size())));
      };
      const size_t a = bin(lo), b = std::min(counts.size(), bin(hi) + 1);
      if (b < a + levels_) break;  // fewer bins than integers: nothing more to be seen
      double below = 0, above = 0;
      for (size_t k = 0; k < a; ++k) below += static_cast<double>(counts[k]);
      for (size_t k = b; k < counts.size(); ++k) above += static_cast<double>(counts[k]);
      const double kl = divergence(counts.subspan(a, b - a), below, above, levels_);
      if (kl < least) {
        least = kl;
        best = {static_cast<float>(lo), static_cast<float>(hi)};
      }
    }
    return best;
  }

 private:
  size_t levels_;
  Histogram histogram_;
};

const RegisterObserver kEntropy(
    {.name = "entropy",
     .title = "the least loss of information",
     .sentence = "The range whose integers lose the least information (Kullback-Leibler divergence).",
     .make = [](const ObserverSettings& s) -> std::unique_ptr<Observer> {
       return std::make_unique<Entropy>(s.dtype);
     }});

}  // namespace
}  // namespace zp::quant
