// Gradients of the weights of a convolution, as float matrix products.
//
//   dw[m, k] = sum over output pixels r of dy[r, m] * patch[r, k]          k = (tap, channel), channel
//   fastest
//
// The sum runs over pixels, a few hundred at a time: dy is turned, and patches are gathered straight into the
// tiles that the float product takes as packed weights.

#pragma once

#include <cstddef>

#include "kernels/conv_geometry.h"

namespace zp::kernels {

struct ConvWeightGradient {
  ConvGeometry conv;             // channels: of one group
  int columns = 0;               // output channels of the group
  std::ptrdiff_t dy_stride = 0;  // elements from one output pixel to the next

  int depth() const { return conv.taps() * conv.channels; }
};

// For a call that makes `count` columns of dw.
std::size_t conv_weight_gradient_scratch_bytes(const ConvWeightGradient& gradient, int count);

// Columns [k_begin, k_end) of dw[m * depth + k]; k_begin is a multiple of kColumnTile. The sums do not depend
// on how columns are split.
void conv_weight_gradient(const ConvWeightGradient& gradient, const float* x, const float* dy, float* dw,
                          int k_begin, int k_end, void* scratch);

}  // namespace zp::kernels
