// The time of one slice.
#pragma once

#include <chrono>

namespace zp::quant {

class Stopwatch {
 public:
  explicit Stopwatch(double milliseconds)
      : start_(Clock::now()), until_(std::chrono::duration<double, std::milli>(milliseconds)) {}
  bool over() const { return Clock::now() - start_ >= until_; }
  double milliseconds() const {
    return std::chrono::duration<double, std::milli>(Clock::now() - start_).count();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_;
  std::chrono::duration<double, std::milli> until_;
};

}  // namespace zp::quant
