// Functions of one float, over arrays. Layout does not matter: elements are independent.

#pragma once

#include <cstddef>

#include "kernels/elementwise/function.h"
#include "kernels/isa.h"

namespace zp::kernels {

// y[i] = f(x[i]). `y` may be `x`.
template <class Isa = Best>
void unary(Unary f, UnaryParameters parameters, const float* x, float* y, size_t count);

}  // namespace zp::kernels
