// Covers the average of the samples' ranges, later samples counting more: one odd sample does not widen the
// range for good. Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
// Integer-Arithmetic-Only Inference".
#include <algorithm>

#include "quant/observer.h"

namespace zp::quant {
namespace {

class MovingAverage : public Observer {
 public:
  explicit MovingAverage(double momentum) : momentum_(momentum) {}

  void observe(std::span<const float>, Range range) override {
    // The plain average until there are enough samples for the exponential one, so that the first one is not
    // favoured.
    const double weight = std::max(1.0 / static_cast<double>(++seen_), 1.0 - momentum_);
    min_ += (static_cast<double>(range.min) - min_) * weight;
    max_ += (static_cast<double>(range.max) - max_) * weight;
  }
  Range range() const override { return {static_cast<float>(min_), static_cast<float>(max_)}; }

 private:
  double momentum_, min_ = 0, max_ = 0;
  int64_t seen_ = 0;
};

const RegisterObserver kMovingAverage({
    .name = "moving-average",
    .title = "a moving average",
    .sentence = "A moving average of each sample's smallest and largest value.",
    .options = {{.name = "momentum",
                 .owner = "moving-average",
                 .fallback = 0.99,
                 .min = 0,
                 .max = 0.9999,
                 .sentence = "The weight of earlier samples against a new one."}},
    .make = [](const ObserverSettings& s) -> std::unique_ptr<Observer> {
      return std::make_unique<MovingAverage>(s.options["momentum"]);
    },
});

}  // namespace
}  // namespace zp::quant
