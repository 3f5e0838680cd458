#include "quant/observers/histogram.h"

#include <algorithm>
#include <cmath>

namespace zp::quant {

void Histogram::cover(Range range) {
  range_.include(range);  // starts at [0, 0]
  const double extent = static_cast<double>(range_.max) - static_cast<double>(range_.min);
  if (extent == 0) return;
  int halvings = 0;
  if (width_ == 0) {
    // Half the bins, so that a somewhat wider next sample still fits. Not so narrow that indices lose
    // meaning.
    width_ = std::exp2(std::max(-115, std::ilogb(extent) + 2) - 11);
  }
  const auto bin = [&](double x) { return std::floor(x / width_); };
  while (bin(range_.max) - bin(range_.min) + 1 > kBins) {
    width_ *= 2;
    ++halvings;
  }
  const int first = static_cast<int>(bin(range_.min)), last = static_cast<int>(bin(range_.max));
  if (halvings == 0 && !counts_.empty() && first == first_ &&
      last == first_ + static_cast<int>(counts_.size()) - 1)
    return;
  std::vector<uint64_t> counts(static_cast<size_t>(last - first + 1), 0);
  for (size_t i = 0; i < counts_.size(); ++i) {
    const int old = first_ + static_cast<int>(i);
    counts[static_cast<size_t>((old >> halvings) - first)] += counts_[i];  // an arithmetic shift rounds down
  }
  counts_ = std::move(counts);
  first_ = first;
}

void Histogram::add(std::span<const float> x, Range range) {
  cover(range);
  total_ += x.size();
  if (counts_.empty()) {
    zeros_ += x.size();
    return;
  }
  const auto scale = static_cast<float>(1 / width_);  // a power of two: the product is exact
  const auto last = static_cast<int>(counts_.size()) - 1;
  for (const float v : x) {
    if (v == 0) {
      ++zeros_;
      continue;
    }
    const int bin = static_cast<int>(std::floor(v * scale)) - first_;
    ++counts_[static_cast<size_t>(std::clamp(bin, 0, last))];
  }
}

}  // namespace zp::quant
