// What the operators that move elements share: how many there are and how large, and which reshapes leave a
// channels last value where it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>

#include "kernels/movement/copy.h"
#include "ops/op.h"

namespace zp {

// Bytes of an element of an input. Throws kUnsupportedType for strings and for types packed below a byte.
size_t element_bytes(const PrepareContext& c, size_t input);
// A type of whole bytes with the numbers of a type that is packed below a byte; other types are their own.
DType unpacked(DType type);
// Canonical form of operators that move elements: `c.node`, between casts of these inputs and of its output
// where they are packed.
void keep_unpacked(Canonicalize& c, std::initializer_list<size_t> inputs);
// `c.node`, whose output is cast to `type`.
void keep_cast_to(Canonicalize& c, DType type);
// Copies elements of input 0 into output 0, in parallel. `first`: the element of the input that is first.
Kernel box_copy(std::span<const kernels::BoxDimension> box, size_t element_bytes, int64_t first = 0);
// Elements of the dimensions [from, to).
int64_t element_count(const Shape& dims, size_t from, size_t to);

// For operators that only change dimensions: kAny where the change leaves batch and channels alone, kReadsAny
// where the two orders are the same bytes, else kLogical.
LayoutRule reshaping_layout(const SymShape* in, const SymShape* out);

}  // namespace zp
