// Float matrix products and convolutions.
//
//   y[m, n] = clamp(sum over k of a[m, k] * w[n, k] + bias[n], lo, hi)
//
// Packed layout: [columns / 8][K][8 columns], float, zeros behind the last column.

#pragma once

#include <limits>

#include "kernels/gemm/gemm.h"

namespace zp::kernels {

struct FloatWeights {
  const float* tiles = nullptr;
  int columns = 0;
  int depth = 0;  // K
};

std::size_t packed_float_weights_bytes(const WeightLayout& layout);

// Fast enough to be done for every product where both matrices are known only at run time: copies for
// WeightLayout::matrix, 4 x 4 transposes for transposed_matrix.
FloatWeights pack_float_weights(const float* weights, const WeightLayout& layout, void* storage);

struct FloatGemmOutput {
  float* data = nullptr;
  RowLayout rows;
  const float* bias = nullptr;  // per column, or null
  float lo = -std::numeric_limits<float>::infinity();
  float hi = std::numeric_limits<float>::infinity();
  bool accumulate = false;  // adds to what is there, before the clamp; then without bias
};

// Scratch that one call needs (0 for plain rows).
std::size_t float_gemm_scratch_bytes(const GemmInput<float>& input, const FloatWeights& weights);

template <class Isa = Best>
void float_gemm(const GemmInput<float>& input, const FloatWeights& weights, const FloatGemmOutput& output,
                const OutputRange& range, void* scratch);

}  // namespace zp::kernels
