// Arithmetic on types that models rarely have. Their elements are brought to a wider type a piece at a time,
// and back: float16 to float32, integers to 64 bits, where arithmetic wraps to the same low bits. Types that
// are wide already are worked on where they are.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "core/function.h"
#include "kernels/elementwise/binary.h"

namespace zp::kernels {

enum class Wide : uint8_t { kNone, kFloat, kDouble, kInt, kUint };  // float, double, int64_t, uint64_t

// In what elements of `type` are computed; kNone: not at all (strings, bfloat16, 4 bits).
Wide wide_of(DType type);

// y[i] = f(a[i], b[i]) for `count` elements of `type`, wherever they are; of a function of one input, b is
// null.
using WideFunction = FunctionRef<void(Wide type, const void* a, const void* b, void* y, int64_t count)>;

// Elements [begin, end) of the output, which have the inputs' type. `y` may be an input that has the output's
// shape.
void through_wide(const Broadcast& shape, DType type, const void* a, const void* b, void* y, int64_t begin,
                  int64_t end, WideFunction f);
// The same for functions that answer with bools: f writes those to its `y`.
void test_wide(const Broadcast& shape, DType type, const void* a, const void* b, bool* y, int64_t begin,
               int64_t end, WideFunction f);

}  // namespace zp::kernels
