// The time of a slice of work, or of a step.
#pragma once

#include <limits>

namespace zp {

// Milliseconds since some moment, never backwards. (What std::chrono throws when a clock fails brings all of
// printf.)
double monotonic_milliseconds();

class Stopwatch {
 public:
  explicit Stopwatch(double milliseconds = std::numeric_limits<double>::infinity())
      : start_(monotonic_milliseconds()), until_(milliseconds) {}
  double milliseconds() const { return monotonic_milliseconds() - start_; }
  bool over() const { return milliseconds() >= until_; }

 private:
  double start_;
  double until_;
};

}  // namespace zp
