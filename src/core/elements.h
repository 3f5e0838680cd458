// Elements of any type by way of a wider one: two small functions for each type, where a function for each
// pair of types, or for each type and operation, would be most of a WebAssembly module.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "core/small_float.h"

namespace zp {

// W: double or int64_t. Reads elements [begin, begin + count) of `x` as W. uint64 keeps its bits in an int64;
// floats are wanted as doubles.
template <class W>
void load_elements(const std::byte* x, DType type, int64_t begin, int64_t count, W* out);

// Writes elements [begin, begin + count) of `y`. Integers wrap, anything but 0 is true; a double that becomes
// an integer is cut. ONNX leaves some cases open; here they are as in ONNX Runtime on x86: NaN and doubles
// that the integer cannot hold become the lowest number of 32 bits (of 64 for types of 64 bits). Smaller
// types keep its low bits, and unsigned types all its bits. A number above the highest unsigned one becomes
// 0. Ranges of packed types start at an element that is the first of its byte.
template <class W>
void store_elements(const W* in, std::byte* y, DType type, int64_t begin, int64_t count, Fit fit = {});

}  // namespace zp
