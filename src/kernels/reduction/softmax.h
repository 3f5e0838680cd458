// Softmax and LogSoftmax.

#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/isa.h"

namespace zp::kernels {

// Over `length` neighbouring elements: y = e^(x - max) / sum, or, with `logarithm`, x - max - log(sum). `y`
// may be `x`. An all -infinity row gives NaN, as the formula does.
template <class Isa = Best>
void softmax_row(const float* x, float* y, size_t length, bool logarithm);

// Over `length` elements `stride` apart, for each of `stride` neighbouring positions. `scratch`: 2 * stride
// floats.
template <class Isa = Best>
void softmax_strided(const float* x, float* y, size_t length, size_t stride, bool logarithm, float* scratch);

}  // namespace zp::kernels
