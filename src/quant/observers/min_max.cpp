// Covers everything that was seen.
#include "quant/observer.h"

namespace zp::quant {
namespace {

class MinMax : public Observer {
 public:
  void observe(std::span<const float>, Range range) override {
    if (!seen_) range_ = range;
    range_.include(range);
    seen_ = true;
  }
  Range range() const override { return range_; }

 private:
  Range range_;
  bool seen_ = false;
};

const RegisterObserver kMinMax({.name = "min-max",
                                .title = "all that occurred",
                                .sentence = "From the smallest to the largest value that occurred.",
                                .make = [](const ObserverSettings&) -> std::unique_ptr<Observer> {
                                  return std::make_unique<MinMax>();
                                }});

}  // namespace
}  // namespace zp::quant
