// The bounds of a clamp. Clip's default is the largest finite number, not infinity.
#pragma once

#include <limits>

#include "ops/op.h"

namespace zp {

inline bool bounded_below(const Clamp& c) { return c.lo > std::numeric_limits<float>::lowest(); }
inline bool bounded_above(const Clamp& c) { return c.hi < std::numeric_limits<float>::max(); }

}  // namespace zp
