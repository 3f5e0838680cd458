#include "kernels/gradient/gemm.h"

#include <algorithm>

#include "kernels/gemm/float.h"
#include "kernels/gemm/gather.h"
#include "kernels/movement/transpose.h"

namespace zp::kernels {
namespace {

// Of one partial product: patches that stay in the cache.
int pixels_at_once(int depth) { return std::clamp(32768 / depth, 16, 256); }

WeightLayout packed(const ConvWeightGradientRange& range, int count, std::ptrdiff_t row_stride) {
  WeightLayout layout = WeightLayout::matrix(count, range.k_end - range.k_begin);
  layout.channel_stride = row_stride;
  return layout;
}

// Room for transposed pixels, patches, and packed patches, behind each other.
struct Scratch {
  std::size_t transposed, patches, tiles;

  Scratch(const ConvWeightGradient& gradient, const ConvWeightGradientRange& range) {
    const int depth = gradient.depth(), most = pixels_at_once(depth);
    const auto room = [&](std::size_t rows, std::size_t columns) {
      return round_up(rows * columns * sizeof(float) + kReadSlack, kAlignment);
    };
    transposed = room(static_cast<std::size_t>(gradient.columns), static_cast<std::size_t>(most));
    patches = gradient.conv.is_pointwise()
                  ? 0
                  : room(static_cast<std::size_t>(most), static_cast<std::size_t>(depth));
    tiles = round_up(packed_float_weights_bytes(packed(range, most, depth)), kAlignment);
  }
};

void gather(const ConvGeometry& conv, PatchPosition at, const float* x, int count, int depth, float* to) {
  for (int r = 0; r < count; ++r, to += depth) {
    for_each_run(
        conv, at,
        [&](std::ptrdiff_t source, std::ptrdiff_t k, std::ptrdiff_t n) {
          std::copy_n(x + source, n, to + k);
        },
        [&](std::ptrdiff_t k, std::ptrdiff_t n) { std::fill_n(to + k, n, 0.0f); });
    at.advance(conv);
  }
}

}  // namespace

std::size_t conv_weight_gradient_scratch_bytes(const ConvWeightGradient& gradient,
                                               const ConvWeightGradientRange& range) {
  const Scratch s(gradient, range);
  return s.transposed + s.patches + s.tiles;
}

void conv_weight_gradient(const ConvWeightGradient& gradient, const float* x, const float* dy, float* dw,
                          const ConvWeightGradientRange& range, void* scratch) {
  const Scratch parts(gradient, range);
  auto* bytes = static_cast<std::byte*>(scratch);
  auto* transposed = reinterpret_cast<float*>(bytes);
  auto* gathered = reinterpret_cast<float*>(bytes + parts.transposed);
  const ConvGeometry& conv = gradient.conv;
  const int depth = gradient.depth(), columns = gradient.columns;
  if (range.row_begin == range.row_end) {
    for (std::ptrdiff_t m = 0; m < columns; ++m)
      std::fill(dw + m * depth + range.k_begin, dw + m * depth + range.k_end, 0.0f);
  }
  const int most = pixels_at_once(depth);
  for (int row = range.row_begin; row < range.row_end; row += most) {
    const int count = std::min(most, range.row_end - row);
    transpose_floats(dy + row * gradient.dy_stride, gradient.dy_stride, transposed, count, count, columns);
    const float* patches = gathered;
    std::ptrdiff_t stride = depth;
    if (conv.is_pointwise()) {
      patches = x + row * conv.pixel_stride;
      stride = conv.pixel_stride;
    } else {
      gather(conv, PatchPosition::of_row(conv, row), x, count, depth, gathered);
    }
    FloatGemmOutput out;
    out.data = dw + range.k_begin;
    out.rows.stride = depth;
    out.accumulate = row > range.row_begin;
    const FloatWeights weights = pack_float_weights(patches + range.k_begin, packed(range, count, stride),
                                                    bytes + parts.transposed + parts.patches);
    float_gemm(GemmInput<float>{transposed, count, nullptr}, weights, out,
               {0, columns, 0, range.k_end - range.k_begin}, nullptr);
  }
}

}  // namespace zp::kernels
