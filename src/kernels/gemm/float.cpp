#include "kernels/gemm/float.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "kernels/gemm/float_tile.h"
#include "kernels/gemm/gather.h"
#include "kernels/simd.h"

namespace zp::kernels {
namespace {

// ---------------------------------------------------------------------------------------------------------------
// Packing

// Rows of B follow each other: a tile is a strip of eight columns, copied row by row.
void pack_strip(const float* b, std::ptrdiff_t row_stride, int depth, int count, float* tile) {
  if (count == kColumnTile) {
    for (int k = 0; k < depth; ++k, b += row_stride, tile += kColumnTile) {
      wasm_v128_store(tile, wasm_v128_load(b));
      wasm_v128_store(tile + 4, wasm_v128_load(b + 4));
    }
    return;
  }
  for (int k = 0; k < depth; ++k, b += row_stride, tile += kColumnTile) {
    for (int j = 0; j < kColumnTile; ++j) tile[j] = j < count ? b[j] : 0.0F;
  }
}

// Columns of B follow each other: four by four values are transposed in registers.
void pack_strip_transposed(const float* b, std::ptrdiff_t column_stride, int depth, int count, float* tile) {
  int k = 0;
  if (count == kColumnTile) {
    for (; k + 4 <= depth; k += 4) {
      for (int half = 0; half < 2; ++half) {
        const float* from = b + half * 4 * column_stride + k;
        const v128_t r0 = wasm_v128_load(from);
        const v128_t r1 = wasm_v128_load(from + column_stride);
        const v128_t r2 = wasm_v128_load(from + 2 * column_stride);
        const v128_t r3 = wasm_v128_load(from + 3 * column_stride);
        const v128_t lo01 = wasm_i32x4_shuffle(r0, r1, 0, 4, 1, 5);
        const v128_t hi01 = wasm_i32x4_shuffle(r0, r1, 2, 6, 3, 7);
        const v128_t lo23 = wasm_i32x4_shuffle(r2, r3, 0, 4, 1, 5);
        const v128_t hi23 = wasm_i32x4_shuffle(r2, r3, 2, 6, 3, 7);
        float* to = tile + k * kColumnTile + half * 4;
        wasm_v128_store(to, wasm_i64x2_shuffle(lo01, lo23, 0, 2));
        wasm_v128_store(to + kColumnTile, wasm_i64x2_shuffle(lo01, lo23, 1, 3));
        wasm_v128_store(to + 2 * kColumnTile, wasm_i64x2_shuffle(hi01, hi23, 0, 2));
        wasm_v128_store(to + 3 * kColumnTile, wasm_i64x2_shuffle(hi01, hi23, 1, 3));
      }
    }
  }
  for (; k < depth; ++k) {
    for (int j = 0; j < kColumnTile; ++j) {
      tile[k * kColumnTile + j] = j < count ? b[j * column_stride + k] : 0.0F;
    }
  }
}

void pack_strip_taps(const float* weights, const WeightLayout& layout, int first, int count, float* tile) {
  for (int y = 0; y < layout.lines(); ++y) {
    for (int x = 0; x < layout.kernel_width; ++x) {
      const float* tap =
          weights + first * layout.column_stride + layout.line_offset(y) + x * layout.tap_x_stride;
      for (int c = 0; c < layout.channels; ++c, tile += kColumnTile) {
        for (int j = 0; j < kColumnTile; ++j) {
          tile[j] = j < count ? tap[j * layout.column_stride + c * layout.channel_stride] : 0.0F;
        }
      }
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------
// Rows and blocks

constexpr int kRowBlockBytes = 128 * 1024;
constexpr int kMaxRowBlock = 192;  // of rows in place
constexpr int kMaxGathered = 96;

std::size_t gathered_row_elements(int depth) { return round_up(static_cast<std::size_t>(depth) + 4, 16) + 4; }

int row_block(int depth) {
  const std::size_t bytes = gathered_row_elements(depth) * sizeof(float);
  return std::clamp(static_cast<int>(kRowBlockBytes / bytes) / 12 * 12, 12, kMaxGathered);
}

void gather_rows(const GemmInput<float>& input, int begin, int end, float* target, std::ptrdiff_t stride) {
  const ConvGeometry& conv = *input.conv;
  PatchPosition at = PatchPosition::of_row(conv, begin);
  const v128_t zero = wasm_f32x4_splat(0);
  for (int m = begin; m < end; ++m, target += stride) {
    for_each_run(
        conv, at,
        [&](std::ptrdiff_t source, std::ptrdiff_t k, std::ptrdiff_t count) {
          const float* from = input.data + source;
          for (std::ptrdiff_t i = 0; i < count; i += 4)
            wasm_v128_store(target + k + i, wasm_v128_load(from + i));
        },
        [&](std::ptrdiff_t k, std::ptrdiff_t count) {
          for (std::ptrdiff_t i = 0; i < count; i += 4) wasm_v128_store(target + k + i, zero);
        });
    at.advance(conv);
  }
}

// Rows of strips of eight columns, from column n on: `begin` and `finish` take what belongs to each strip.
[[gnu::noinline]] void begin_strips(const FloatEpilogue& epilogue, int rows, int n, int end, int strips,
                                    float* sums) {
  for (; strips > 0; --strips, n += kColumnTile, sums += rows * kColumnTile) {
    epilogue.begin(rows, n, std::min(kColumnTile, end - n), sums);
  }
}
[[gnu::noinline]] void finish_strips(const FloatEpilogue& epilogue, int m, int rows, int n, int end,
                                     int strips, const float* sums) {
  for (; strips > 0; --strips, n += kColumnTile, sums += rows * kColumnTile) {
    epilogue.finish(m, rows, n, std::min(kColumnTile, end - n), sums);
  }
}

template <class Isa>
void vector_gemm(const GemmInput<float>& input, const FloatWeights& weights, const FloatGemmOutput& output,
                 const OutputRange& range, float* scratch) {
  const int block = even_block(range.row_end - range.row_begin,
                               input.conv == nullptr ? kMaxRowBlock : row_block(weights.depth));
  const FloatEpilogue epilogue{output};
  alignas(16) float sums[kMaxRowBlock * kColumnTile];

  for (int m = range.row_begin; m < range.row_end; m += block) {
    const int rows = std::min(block, range.row_end - m);
    const float* a = scratch;
    std::ptrdiff_t stride = static_cast<std::ptrdiff_t>(gathered_row_elements(weights.depth));
    if (input.conv == nullptr) {
      a = input.data + m * input.row_stride;
      stride = input.row_stride;
    } else {
      gather_rows(input, m, m + rows, scratch, stride);
    }
    const int most = rows == 1 ? kStripsOfOneRow : rows == 2 ? kStripsOfTwoRows : 1;
    for (int n = range.column_begin, strips = 0; n < range.column_end; n += strips * kColumnTile) {
      strips = strips_at_once(most, range.column_end - n);
      const float* w = weights.tiles + static_cast<std::size_t>(n) * weights.depth;
      begin_strips(epilogue, rows, n, range.column_end, strips, sums);
      if (strips == 1) {
        multiply_float_rows<Isa>(a, stride, w, weights.depth, rows, sums);
      } else if (rows == 1) {
        multiply_float_tiles<Isa, 1, kStripsOfOneRow>(a, stride, w, weights.depth, 1, sums);
      } else {
        multiply_float_tiles<Isa, 2, kStripsOfTwoRows>(a, stride, w, weights.depth, 1, sums);
      }
      finish_strips(epilogue, m, rows, n, range.column_end, strips, sums);
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------
// The specification

void scalar_gemm(const GemmInput<float>& input, const FloatWeights& weights, const FloatGemmOutput& output,
                 const OutputRange& range) {
  for (int m = range.row_begin; m < range.row_end; ++m) {
    float* y = output.data + output.rows.offset(m);
    for (int n = range.column_begin; n < range.column_end; ++n) {
      const float* w = weights.tiles +
                       static_cast<std::size_t>(n / kColumnTile * kColumnTile) * weights.depth +
                       n % kColumnTile;
      float sum = 0;
      for (int k = 0; k < weights.depth; ++k) {
        std::ptrdiff_t index = m * input.row_stride + k;
        if (input.conv != nullptr) index = patch_element(*input.conv, m, k);
        if (index >= 0) sum += input.data[index] * w[static_cast<std::ptrdiff_t>(k) * kColumnTile];
      }
      sum += output.accumulate ? y[n] : output.bias != nullptr ? output.bias[n] : 0.0F;
      sum = sum < output.lo ? output.lo : sum;
      y[n] = output.hi < sum ? output.hi : sum;
    }
  }
}

}  // namespace

std::size_t packed_float_weights_bytes(const WeightLayout& layout) {
  return round_up(layout.columns, kColumnTile) * layout.depth() * sizeof(float) + kReadSlack;
}

FloatWeights pack_float_weights(const float* weights, const WeightLayout& layout, void* storage) {
  auto* tile = static_cast<float*>(storage);
  const int depth = layout.depth();
  for (int n = 0; n < layout.columns; n += kColumnTile) {
    const int count = std::min(kColumnTile, layout.columns - n);
    if (layout.taps() == 1 && layout.column_stride == 1) {
      pack_strip(weights + n, layout.channel_stride, depth, count, tile);
    } else if (layout.taps() == 1 && layout.channel_stride == 1) {
      pack_strip_transposed(weights + n * layout.column_stride, layout.column_stride, depth, count, tile);
    } else {
      pack_strip_taps(weights, layout, n, count, tile);
    }
    tile += static_cast<std::size_t>(depth) * kColumnTile;
  }
  return {static_cast<const float*>(storage), layout.columns, depth};
}

std::size_t float_gemm_scratch_bytes(const GemmInput<float>& input, const FloatWeights& weights) {
  if (input.conv == nullptr) return 0;
  return static_cast<std::size_t>(row_block(weights.depth)) * gathered_row_elements(weights.depth) *
         sizeof(float);
}

template <class Isa>
void float_gemm(const GemmInput<float>& input, const FloatWeights& weights, const FloatGemmOutput& output,
                const OutputRange& range, void* scratch) {
  if constexpr (Isa::kVector) {
    vector_gemm<Isa>(input, weights, output, range, static_cast<float*>(scratch));
  } else {
    scalar_gemm(input, weights, output, range);
  }
}

#define ZP_INSTANTIATE(Isa)                                                                           \
  template void float_gemm<Isa>(const GemmInput<float>&, const FloatWeights&, const FloatGemmOutput&, \
                                const OutputRange&, void*);
ZP_FOR_EACH_ISA(ZP_INSTANTIATE)
#undef ZP_INSTANTIATE

}  // namespace zp::kernels
