// Covers all but the outermost values: half of what the percentile leaves out on either side.
#include <algorithm>
#include <cmath>

#include "quant/observer.h"
#include "quant/observers/histogram.h"

namespace zp::quant {
namespace {

class Percentile : public Observer {
 public:
  explicit Percentile(double percent) : outside_((1 - percent / 100) / 2) {}

  void observe(std::span<const float> x, Range range) override { histogram_.add(x, range); }

  Range range() const override {
    const std::span<const uint64_t> counts = histogram_.counts();
    const double spare = outside_ * static_cast<double>(histogram_.total());
    Range r = histogram_.range();
    // From each end inwards, as long as what is passed fits into what may be left out. Zero is never passed.
    double passed = 0;
    for (size_t i = 0; i < counts.size() && histogram_.left(i) < 0; ++i) {
      passed += static_cast<double>(counts[i]);
      if (passed > spare) break;
      r.min = static_cast<float>(std::min(0.0, histogram_.left(i) + histogram_.width()));
    }
    passed = 0;
    for (size_t i = counts.size(); i-- > 0 && histogram_.left(i) >= 0;) {
      passed += static_cast<double>(counts[i]);
      if (passed > spare) break;
      r.max = static_cast<float>(histogram_.left(i));
    }
    return r;
  }

 private:
  double outside_;
  Histogram histogram_;
};

const RegisterObserver kPercentile({
    .name = "percentile",
    .title = "without the outermost values",
    .sentence =
        "The range without the outermost values: `percentile` says what share of the values it covers.",
    .options = {{.name = "percentile",
                 .owner = "percentile",
                 .fallback = 99.999,
                 .min = 50,
                 .max = 100,
                 .sentence = "The share of the values that the range covers, in percent."}},
    .make = [](const ObserverSettings& s) -> std::unique_ptr<Observer> {
      return std::make_unique<Percentile>(s.options["percentile"]);
    },
});

}  // namespace
}  // namespace zp::quant
