// Time that has passed. (std::chrono::steady_clock may throw, which brings the texts of all system errors.)
#pragma once

namespace zp {

class Stopwatch {
 public:
  explicit Stopwatch(double limit = 0) : start_(now()), limit_(limit) {}  // milliseconds, as all of these
  double milliseconds() const { return now() - start_; }
  bool over() const { return milliseconds() >= limit_; }

 private:
  static double now();
  double start_, limit_;
};

}  // namespace zp
