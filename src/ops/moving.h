// What the operators that move elements share: how many there are and how large, and which reshapes leave a
// channels last value where it is.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/op.h"

namespace zp {

// Bytes of an element of an input. Throws kUnsupportedType for strings and for types packed below a byte.
size_t element_bytes(const PrepareContext& c, size_t input);
// Elements of the dimensions [from, to).
int64_t element_count(const Shape& dims, size_t from, size_t to);

// For operators that only change dimensions: kAny where the change leaves batch and channels alone, kReadsAny
// where the two orders are the same bytes, else kLogical.
LayoutRule reshaping_layout(const SymShape* in, const SymShape* out);

}  // namespace zp
