// Example of docs/contributing/observer.md: a range of the mean and four standard deviations. A real observer
// is a file of src/quant/observers/.
#include "quant/observer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace zp::quant {
namespace {

class FourSigma : public Observer {
 public:
  // Called for each sample, with finite elements. An observer keeps sums, and no elements.
  void observe(std::span<const float> x, Range range) override {
    if (count_ == 0) seen_ = range;
    seen_.include(range);
    for (const float v : x) {
      sum_ += static_cast<double>(v);
      squares_ += static_cast<double>(v) * static_cast<double>(v);
    }
    count_ += static_cast<double>(x.size());
  }

  // Never beyond the values that were seen.
  Range range() const override {
    if (count_ == 0) return seen_;
    const double mean = sum_ / count_;
    const double sigma = std::sqrt(std::max(0.0, squares_ / count_ - mean * mean));
    return {std::max(seen_.min, static_cast<float>(mean - 4 * sigma)),
            std::min(seen_.max, static_cast<float>(mean + 4 * sigma))};
  }

 private:
  Range seen_;
  double sum_ = 0, squares_ = 0, count_ = 0;
};

const RegisterObserver kRegistered({.name = "example-four-sigma",
                                    .title = "four standard deviations",
                                    .sentence = "The mean and four standard deviations around it.",
                                    .make = [](const ObserverSettings&) -> std::unique_ptr<Observer> {
                                      return std::make_unique<FourSigma>();
                                    }});

TEST(ContributingObserver, LeavesOutWhatIsFarFromTheMean) {
  const ObserverDef& def = observer_named("example-four-sigma");
  const auto observer = def.make({.dtype = DType::kUint8, .symmetric = false, .options = {}});
  std::vector<float> x(1000, 1.0f);
  for (size_t i = 0; i < x.size(); i += 2) x[i] = -1;
  x[0] = 1000;
  observer->observe(x, {-1, 1000});
  // By hand: mean 1.001, mean of squares 1000.999, so sigma is 31.623.
  EXPECT_NEAR(observer->range().max, 127.49f, 0.01f);
  EXPECT_EQ(observer->range().min, -1);
}

}  // namespace
}  // namespace zp::quant
