// How loops are cut into pieces of work for the threads.
#pragma once

#include <cstdint>

namespace zp {

// What one of many equal items costs: bytes that it moves, simple operations that it takes; 0: they do not
// count.
struct ItemCost {
  int64_t bytes = 0, work = 0;
};
// How many items make a piece that is worth handing to a thread: they move 64 KiB, or take some ten
// microseconds.
constexpr int64_t grain_for(ItemCost item) {
  constexpr int64_t kBytes = 65536, kWork = 16384;
  int64_t items = item.work > 0 || item.bytes <= 0 ? kWork / (item.work > 0 ? item.work : 1) : kBytes;
  if (item.bytes > 0 && kBytes / item.bytes < items) items = kBytes / item.bytes;
  return items > 0 ? items : 1;
}

}  // namespace zp
