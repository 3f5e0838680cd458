#include "kernels/gemm_gradient.h"

#include <algorithm>
#include <cstring>

#include "kernels/gemm_float.h"

namespace zp::kernels {
namespace {

constexpr int kPixels = 256;  // of one partial product

std::size_t turned_bytes(int columns) {
  return round_up(static_cast<std::size_t>(columns) * kPixels * sizeof(float) + kReadSlack, 64);
}

// Where tap (ky, kx) of output pixel `row` reads; null in the pads.
struct Pixels {
  const ConvGeometry& g;
  const float* x;

  const float* at(int row, int ky, int kx) const {
    const int ox = row % g.out_width, line = row / g.out_width;
    const int oy = line % g.out_height, image = line / g.out_height;
    const int iy = oy * g.stride_height - g.pad_top + ky * g.dilation_height;
    const int ix = ox * g.stride_width - g.pad_left + kx * g.dilation_width;
    if (iy < 0 || iy >= g.in_height || ix < 0 || ix >= g.in_width) return nullptr;
    return x + image * g.image_elements() + (std::ptrdiff_t{iy} * g.in_width + ix) * g.pixel_stride;
  }
};

// Columns [k_begin, k_end) of the patches of `count` pixels from `row` on, as tiles [columns / 8][count][8].
void gather(const Pixels& pixels, int row, int count, int k_begin, int k_end, float* tiles) {
  const ConvGeometry& g = pixels.g;
  if ((k_end - k_begin) % kColumnTile != 0) {
    const int last = (k_end - k_begin) / kColumnTile;
    std::fill_n(tiles + std::ptrdiff_t{last} * count * kColumnTile, std::ptrdiff_t{count} * kColumnTile, 0.F);
  }
  for (int tap = k_begin / g.channels; tap * g.channels < k_end; ++tap) {
    const int from = std::max(k_begin, tap * g.channels), to = std::min(k_end, (tap + 1) * g.channels);
    for (int r = 0; r < count; ++r) {
      const float* pixel = pixels.at(row + r, tap / g.kernel_width, tap % g.kernel_width);
      for (int k = from; k < to;) {
        const int column = k - k_begin, lane = column % kColumnTile;
        const int n = std::min(to - k, kColumnTile - lane);
        float* tile = tiles + (std::ptrdiff_t{column / kColumnTile} * count + r) * kColumnTile + lane;
        if (!pixel) {
          std::fill_n(tile, n, 0.F);
        } else if (n == kColumnTile) {
          std::memcpy(tile, pixel + (k - tap * g.channels), kColumnTile * sizeof(float));
        } else {
          for (int i = 0; i < n; ++i) tile[i] = pixel[k - tap * g.channels + i];
        }
        k += n;
      }
    }
  }
}

}  // namespace

std::size_t conv_weight_gradient_scratch_bytes(const ConvWeightGradient& gradient, int count) {
  const std::size_t tiles = round_up(static_cast<std::size_t>(count), kColumnTile);
  return turned_bytes(gradient.columns) + round_up(tiles * kPixels * sizeof(float) + kReadSlack, 64);
}

void conv_weight_gradient(const ConvWeightGradient& gradient, const float* x, const float* dy, float* dw,
                          int k_begin, int k_end, void* scratch) {
  auto* turned = static_cast<float*>(scratch);
  auto* tiles = reinterpret_cast<float*>(static_cast<std::byte*>(scratch) + turned_bytes(gradient.columns));
  const int rows = gradient.conv.rows(), depth = gradient.depth();
  if (rows == 0) {
    for (int m = 0; m < gradient.columns; ++m)
      std::fill(dw + std::ptrdiff_t{m} * depth + k_begin, dw + std::ptrdiff_t{m} * depth + k_end, 0.F);
    return;
  }
  const Pixels pixels{gradient.conv, x};
  for (int row = 0; row < rows; row += kPixels) {
    const int count = std::min(kPixels, rows - row);
    for (int r = 0; r < count; ++r) {
      const float* from = dy + (std::ptrdiff_t{row} + r) * gradient.dy_stride;
      for (int m = 0; m < gradient.columns; ++m) turned[std::ptrdiff_t{m} * count + r] = from[m];
    }
    gather(pixels, row, count, k_begin, k_end, tiles);
    FloatGemmOutput out;
    out.data = dw + k_begin;
    out.rows.stride = depth;
    out.accumulate = row > 0;
    float_gemm(GemmInput<float>{turned, count, nullptr}, FloatWeights{tiles, k_end - k_begin, count}, out,
               {0, gradient.columns, 0, k_end - k_begin}, nullptr);
  }
}

}  // namespace zp::kernels
