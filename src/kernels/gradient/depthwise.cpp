#include "kernels/gradient/depthwise.h"

#include <algorithm>

namespace zp::kernels {
namespace {

// Calls f(output column, input column) for those that tap `kx` connects.
template <class F>
void for_columns(const ConvGeometry& g, int kx, F&& f) {
  for (int ox = 0; ox < g.out_width; ++ox) {
    const int ix = ox * g.stride_width - g.pad_left + kx * g.dilation_width;
    if (ix >= 0 && ix < g.in_width) f(ox, ix);
  }
}

}  // namespace

void depthwise_input_gradient(const ConvGeometry& g, const float* weights, const float* dy, float* dx,
                              int begin, int end) {
  const int channels = g.channels;
  for (int line = begin; line < end; ++line) {
    const int image = line / g.in_height, iy = line % g.in_height;
    float* to_line = dx + std::ptrdiff_t{line} * g.in_width * channels;
    std::fill_n(to_line, std::ptrdiff_t{g.in_width} * channels, 0.F);
    for (int ky = 0; ky < g.kernel_height; ++ky) {
      const int above = iy + g.pad_top - ky * g.dilation_height;
      if (above < 0 || above % g.stride_height != 0 || above / g.stride_height >= g.out_height) continue;
      const float* from_line =
          dy + (std::ptrdiff_t{image} * g.out_height + above / g.stride_height) * g.out_width * channels;
      for (int kx = 0; kx < g.kernel_width; ++kx) {
        const float* w = weights + std::ptrdiff_t{ky * g.kernel_width + kx} * channels;
        for_columns(g, kx, [&](int ox, int ix) {
          const float* from = from_line + std::ptrdiff_t{ox} * channels;
          float* __restrict to = to_line + std::ptrdiff_t{ix} * channels;
          for (int c = 0; c < channels; ++c) to[c] += from[c] * w[c];
        });
      }
    }
  }
}

void depthwise_weight_gradient(const ConvGeometry& g, const float* x, const float* dy, float* dw, int begin,
                               int end) {
  const int channels = g.channels;
  for (int tap = 0; tap < g.taps(); ++tap)
    std::fill(dw + std::ptrdiff_t{tap} * channels + begin, dw + std::ptrdiff_t{tap} * channels + end, 0.F);
  for (int line = 0; line < g.batch * g.out_height; ++line) {
    const int image = line / g.out_height, oy = line % g.out_height;
    for (int ky = 0; ky < g.kernel_height; ++ky) {
      const int iy = oy * g.stride_height - g.pad_top + ky * g.dilation_height;
      if (iy < 0 || iy >= g.in_height) continue;
      const float* x_line = x + (std::ptrdiff_t{image} * g.in_height + iy) * g.in_width * channels;
      const float* dy_line = dy + std::ptrdiff_t{line} * g.out_width * channels;
      for (int kx = 0; kx < g.kernel_width; ++kx) {
        float* __restrict w = dw + std::ptrdiff_t{ky * g.kernel_width + kx} * channels;
        for_columns(g, kx, [&](int ox, int ix) {
          const float* a = x_line + std::ptrdiff_t{ix} * channels;
          const float* b = dy_line + std::ptrdiff_t{ox} * channels;
          for (int c = begin; c < end; ++c) w[c] += a[c] * b[c];
        });
      }
    }
  }
}

}  // namespace zp::kernels
