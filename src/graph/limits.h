// What graphs may be at most, wherever they come from.
#pragma once

#include <cstddef>

namespace zp {

// Dimensions of a tensor. Real models have six or so.
inline constexpr size_t kMaxRank = 32;

}  // namespace zp
