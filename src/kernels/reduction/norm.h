// Normalizations along rows of neighbouring elements.

#pragma once

#include <cstddef>

#include "kernels/isa.h"

namespace zp::kernels {

struct Moments {
  float mean, variance;  // of the population
};
template <class Isa = Best>
Moments moments(const float* x, size_t length);

// LayerNormalization of one row: y = (x - mean) / sqrt(variance + epsilon) * scale + bias, with
// `root_mean_square` without the mean: y = x / sqrt(mean(x^2) + epsilon) * scale + bias. `bias` may be null;
// so may `scale` (1). `y` may be `x`. Gives the mean and 1 / sqrt(...), which LayerNormalization has as
// further outputs.
struct RowStatistics {
  float mean, inverse_deviation;
};
template <class Isa = Best>
RowStatistics normalize_row(const float* x, float* y, size_t length, const float* scale, const float* bias,
                            float epsilon, bool root_mean_square);

// y = x * factor + term.
template <class Isa = Best>
void scale_row(const float* x, float* y, size_t length, float factor, float term);

}  // namespace zp::kernels
