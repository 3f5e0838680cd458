// Sorting in little code: std::sort has special cases for every size, two kilobytes of them for each type.
#pragma once

#include <algorithm>
#include <functional>

namespace zp {

// A heap sort. Not stable.
template <class Range, class Less = std::less<>>
void sort_small(Range& range, Less less = {}) {
  std::partial_sort(range.begin(), range.end(), range.end(), less);
}

}  // namespace zp
