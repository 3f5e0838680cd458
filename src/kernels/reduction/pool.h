// Pooling in channels last order: every output pixel is the maximum or the mean of a window of input pixels,
// channel by channel.
//
// The mean of quantized values is computed on the integers, and is the same in every build:
//
//   y = clamp(round_half_even(float(sum of (x - z_x)) * (s_x / (s_y * count))) + z_y)
//
// where the sum is int32 and the multiplier is rounded to float twice (the product below the line, the
// quotient), as ONNX Runtime's QLinearGlobalAveragePool does it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "kernels/isa.h"
#include "kernels/requantize.h"

namespace zp::kernels {

// One to three spatial dimensions; those in front that are not used are 1.
struct PoolGeometry {
  int64_t batch = 1, channels = 1;
  std::array<int64_t, 3> in{1, 1, 1}, out{1, 1, 1};
  std::array<int64_t, 3> kernel{1, 1, 1}, stride{1, 1, 1}, dilation{1, 1, 1};
  std::array<int64_t, 3> pad_begin{0, 0, 0}, pad_end{0, 0, 0};
  bool count_pads = false;  // the mean is over the pads (as zeros) too

  int64_t pixels() const { return batch * out[0] * out[1] * out[2]; }
};

// Which part of the output a call makes.
struct PoolRange {
  int64_t pixel_begin = 0, pixel_end = 0, channel_begin = 0, channel_end = 0;
};

// T: float, uint8_t, int8_t. A window that sees nothing but pads gives the lowest value. NaNs are passed
// over.
template <class Isa, class T>
void max_pool(const T* in, T* out, const PoolGeometry& geometry, const PoolRange& range);
// The same, and where in the input each maximum stands (the first of equals), counted over spatial positions
// of an image in row-major order, or in column-major order; plus `image index * spatial positions`. One
// channel only.
void max_pool_indices(const float* in, float* out, int64_t* indices, bool column_major,
                      const PoolGeometry& geometry, const PoolRange& range);

// Sums are taken in lines of at most 64, then over the lines: the order, and so the bits, are the same in
// every build.
template <class Isa>
void average_pool(const float* in, float* out, const PoolGeometry& geometry, const PoolRange& range);

// (sum of |x|^p)^(1/p)
void lp_pool(const float* in, float* out, int64_t p, const PoolGeometry& geometry, const PoolRange& range);

// Gradients with respect to the input, for images and channels of a range. Windows overlap, so whole images
// are made.
struct PoolGradientRange {
  int64_t image_begin = 0, image_end = 0, channel_begin = 0, channel_end = 0;
};
// Each maximum's gradient goes to the first tap of its window that equals it.
void max_pool_gradient(const float* x, const float* y, const float* dy, float* dx,
                       const PoolGeometry& geometry, const PoolGradientRange& range);
void average_pool_gradient(const float* dy, float* dx, const PoolGeometry& geometry,
                           const PoolGradientRange& range);

struct PoolQuantization {
  float in_scale = 1;
  int32_t in_zero_point = 0;
  float out_scale = 1;    // 1 for float output
  QuantizedRange output;  // not used for float output
};

// Input: kUint8, kInt8; output: those or kFloat32. Windows have at most 2^22 taps.
template <class Isa>
void average_pool_quantized(const void* in, DType in_type, void* out, DType out_type,
                            const PoolGeometry& geometry, const PoolQuantization& quantization,
                            const PoolRange& range);

}  // namespace zp::kernels
