// A histogram of everything seen so far, in constant memory. Bins are as wide as a power of two and begin at
// multiples of that, so that when values come that do not fit, neighbouring bins merge in pairs and nothing
// is lost but resolution.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quant/numbers.h"

namespace zp::quant {

class Histogram {
 public:
  static constexpr int kBins = 2048;

  // Finite values, whose range is `range`.
  void add(std::span<const float> x, Range range);

  bool empty() const { return total_ == 0; }
  Range range() const { return range_; }   // of all values and 0
  double width() const { return width_; }  // of a bin
  double left(size_t bin) const { return static_cast<double>(first_ + static_cast<int>(bin)) * width_; }
  double center(size_t bin) const { return left(bin) + width_ / 2; }
  std::span<const uint64_t> counts() const { return counts_; }  // without values that are exactly 0
  uint64_t zeros() const { return zeros_; }
  uint64_t total() const { return total_; }  // zeros included

 private:
  void cover(Range range);

  std::vector<uint64_t> counts_;
  int first_ = 0;  // bin i holds [first_ + i, first_ + i + 1) * width_
  double width_ = 0;
  uint64_t zeros_ = 0, total_ = 0;
  Range range_;
};

}  // namespace zp::quant
