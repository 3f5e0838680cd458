// Rows of the left matrix, gathered from the image of a convolution (implicit im2col).

#pragma once

#include <algorithm>

#include "kernels/gemm/gemm.h"

namespace zp::kernels {

// Rows of a block, of at most `largest` and in whole register tiles, such that `rows` make blocks of about
// equal size: a short last block would read all the weights for little.
inline int even_block(int rows, int largest) {
  const int blocks = std::max((rows + largest - 1) / largest, 1);
  return std::min(static_cast<int>(round_up((rows + blocks - 1) / blocks, 12)), largest);
}

// The output pixel that a row of the product belongs to.
struct PatchPosition {
  int image = 0;
  int z = 0;
  int y = 0;
  int x = 0;

  static PatchPosition of_row(const ConvGeometry& conv, int row) {
    const int line = row / conv.out_width, plane = line / conv.out_height;
    return {plane / conv.out_depth, plane % conv.out_depth, line % conv.out_height, row % conv.out_width};
  }
  void advance(const ConvGeometry& conv) {
    if (++x < conv.out_width) return;
    x = 0;
    if (++y < conv.out_height) return;
    y = 0;
    if (++z < conv.out_depth) return;
    z = 0;
    ++image;
  }
};

// Cuts the patch under an output pixel into runs of neighbouring elements: calls `copy(source, k, count)`
// where k to k + count - 1 lie in the image, from element `source` on, and `fill(k, count)` where they lie in
// the padding. In ascending order of k, so that a copy may write past its end if the row has room behind it.
template <class Copy, class Fill>
inline void for_each_run(const ConvGeometry& conv, const PatchPosition& at, const Copy& copy,
                         const Fill& fill) {
  const std::ptrdiff_t channels = conv.channels;
  const std::ptrdiff_t line_elements = conv.in_width * conv.pixel_stride;
  const int first_x = at.x * conv.stride_width - conv.pad_left;
  const bool taps_touch = conv.dilation_width == 1 && conv.pixel_stride == channels;
  std::ptrdiff_t k = 0;
  // Planes and their lines in one loop, so that `copy` and `fill` are compiled once.
  const std::ptrdiff_t image = at.image * conv.image_elements();
  int z = at.z * conv.stride_depth - conv.pad_front;
  const int first_y = at.y * conv.stride_height - conv.pad_top;
  for (int line_taps = conv.kernel_depth * conv.kernel_height, ky = 0; line_taps > 0; --line_taps, ++ky) {
    if (ky == conv.kernel_height) {
      ky = 0;
      z += conv.dilation_depth;
    }
    const int y = first_y + ky * conv.dilation_height;
    if (y < 0 || y >= conv.in_height || z < 0 || z >= conv.in_depth) {
      fill(k, conv.kernel_width * channels);
      k += conv.kernel_width * channels;
      continue;
    }
    const std::ptrdiff_t line = image + (std::ptrdiff_t{z} * conv.in_height + y) * line_elements;
    if (taps_touch) {
      const int begin = std::clamp(-first_x, 0, conv.kernel_width);
      const int end = std::clamp(conv.in_width - first_x, begin, conv.kernel_width);
      if (begin > 0) fill(k, begin * channels);
      if (begin < end) {
        copy(line + (first_x + begin) * channels, k + begin * channels, (end - begin) * channels);
      }
      if (end < conv.kernel_width) fill(k + end * channels, (conv.kernel_width - end) * channels);
      k += conv.kernel_width * channels;
      continue;
    }
    for (int kx = 0; kx < conv.kernel_width; ++kx, k += channels) {
      const int x = first_x + kx * conv.dilation_width;
      if (x < 0 || x >= conv.in_width) {
        fill(k, channels);
      } else {
        copy(line + x * conv.pixel_stride, k, channels);
      }
    }
  }
}

// Where element k of row m is, or -1 in the padding: the specification of the above.
inline std::ptrdiff_t patch_element(const ConvGeometry& conv, int m, int k) {
  const PatchPosition at = PatchPosition::of_row(conv, m);
  const int tap = k / conv.channels;
  const int line = tap / conv.kernel_width;
  const int z = at.z * conv.stride_depth - conv.pad_front + line / conv.kernel_height * conv.dilation_depth;
  const int y = at.y * conv.stride_height - conv.pad_top + line % conv.kernel_height * conv.dilation_height;
  const int x = at.x * conv.stride_width - conv.pad_left + tap % conv.kernel_width * conv.dilation_width;
  if (z < 0 || z >= conv.in_depth || y < 0 || y >= conv.in_height || x < 0 || x >= conv.in_width) return -1;
  const std::ptrdiff_t pixel = (std::ptrdiff_t{z} * conv.in_height + y) * conv.in_width + x;
  return at.image * conv.image_elements() + pixel * conv.pixel_stride + k % conv.channels;
}

}  // namespace zp::kernels
