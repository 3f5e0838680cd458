#include "kernels/gemm_float.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "kernels/gemm_gather.h"
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
  for (int y = 0; y < layout.kernel_height; ++y) {
    for (int x = 0; x < layout.kernel_width; ++x) {
      const float* tap =
          weights + first * layout.column_stride + y * layout.tap_y_stride + x * layout.tap_x_stride;
      for (int c = 0; c < layout.channels; ++c, tile += kColumnTile) {
        for (int j = 0; j < kColumnTile; ++j) {
          tile[j] = j < count ? tap[j * layout.column_stride + c * layout.channel_stride] : 0.0F;
        }
      }
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------
// The inner loop: kRows rows times eight columns, all of K, sums left in `sums` as [kRows][8].

// Rows of a register tile. Twelve accumulators, two weights and one activation fill the fifteen vector
// registers that V8 has on x86; without a fused multiply-add the product needs one more.
template <class Isa>
constexpr int kFloatRows = Isa::kFusedMultiplyAdd ? 6 : 4;

template <class Isa, int kRows>
void multiply_tile(const float* a, std::size_t stride, const float* w, int depth, float* sums) {
  // Few rows have few accumulators, which would wait for each other: neighbouring k get their own.
  constexpr int kSplit = kRows == 1 ? 4 : kRows == 2 ? 2 : 1;
  v128_t c[kRows][kSplit][2];
  const float* rows[kRows];
  unroll<kRows>([&](auto r) {
    unroll<kSplit>([&](auto s) { c[r][s][0] = c[r][s][1] = wasm_f32x4_splat(0); });
    rows[r] = a + r * stride;
  });
  const auto step = [&](auto split) __attribute__((always_inline)) {
    const v128_t w0 = wasm_v128_load(w + split * kColumnTile);
    const v128_t w1 = wasm_v128_load(w + split * kColumnTile + 4);
    unroll<kRows>([&](auto r) {
      const v128_t x = wasm_v128_load32_splat(rows[r] + split);
      c[r][split][0] = madd<Isa>(x, w0, c[r][split][0]);
      c[r][split][1] = madd<Isa>(x, w1, c[r][split][1]);
    });
  };
  int k = depth;
#pragma clang loop unroll(disable)
  for (; k >= kSplit; k -= kSplit) {
    unroll<kSplit>(step);
    w += kSplit * kColumnTile;
    unroll<kRows>([&](auto r) { rows[r] += kSplit; });
  }
  for (; kSplit > 1 && k > 0; --k) {
    step(std::integral_constant<int, 0>{});
    w += kColumnTile;
    unroll<kRows>([&](auto r) { ++rows[r]; });
  }
  unroll<kRows>([&](auto r) {
    unroll<2>([&](auto h) {
      v128_t sum = c[r][0][h];
      unroll<kSplit - 1>([&](auto s) { sum = wasm_f32x4_add(sum, c[r][s + 1][h]); });
      wasm_v128_store(sums + r * kColumnTile + h * 4, sum);
    });
  });
}

using TileFunction = void (*)(const float* a, std::size_t stride, const float* w, int depth, float* sums);

template <class Isa>
constexpr TileFunction kTiles[6] = {multiply_tile<Isa, 1>,
                                    multiply_tile<Isa, 2>,
                                    multiply_tile<Isa, 3>,
                                    multiply_tile<Isa, 4>,
                                    multiply_tile<Isa, kFloatRows<Isa> >= 5 ? 5 : 1>,
                                    multiply_tile<Isa, kFloatRows<Isa> >= 6 ? 6 : 1>};

// ---------------------------------------------------------------------------------------------------------------
// Rows and blocks

constexpr int kRowBlockBytes = 128 * 1024;
constexpr int kMaxRowBlock = 96;

std::size_t gathered_row_elements(int depth) { return round_up(static_cast<std::size_t>(depth) + 4, 16) + 4; }

int row_block(int depth) {
  const std::size_t bytes = gathered_row_elements(depth) * sizeof(float);
  return std::clamp(static_cast<int>(kRowBlockBytes / bytes) / 12 * 12, 12, kMaxRowBlock);
}

void gather_rows(const GemmInput<float>& input, int begin, int end, float* target, std::size_t stride) {
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

void finish_row(const FloatGemmOutput& output, int m, int n, int count, v128_t lo, v128_t hi, v128_t bias_lo,
                v128_t bias_hi, v128_t min, v128_t max) {
  float* y = output.data + output.rows.offset(m) + n;
  const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(float);
  const bool whole = count == kColumnTile;
  if (output.accumulate) {
    bias_lo = whole ? wasm_v128_load(y) : load_bytes(y, bytes);
    bias_hi = whole ? wasm_v128_load(y + 4) : count > 4 ? load_bytes(y + 4, bytes - 16) : bias_hi;
  }
  lo = wasm_f32x4_pmin(wasm_f32x4_pmax(wasm_f32x4_add(lo, bias_lo), min), max);
  hi = wasm_f32x4_pmin(wasm_f32x4_pmax(wasm_f32x4_add(hi, bias_hi), min), max);
  if (whole) {
    wasm_v128_store(y, lo);
    wasm_v128_store(y + 4, hi);
  } else {
    store_bytes(y, lo, bytes);
    if (count > 4) store_bytes(y + 4, hi, bytes - 16);
  }
}

template <class Isa>
void vector_gemm(const GemmInput<float>& input, const FloatWeights& weights, const FloatGemmOutput& output,
                 const OutputRange& range, float* scratch) {
  constexpr int kRows = kFloatRows<Isa>;
  const int block = row_block(weights.depth);
  const v128_t min = wasm_f32x4_splat(output.lo);
  const v128_t max = wasm_f32x4_splat(output.hi);
  const bool has_bias = output.bias != nullptr && !output.accumulate;
  alignas(16) float sums[kRows * kColumnTile];

  for (int m = range.row_begin; m < range.row_end; m += block) {
    const int rows = std::min(block, range.row_end - m);
    const float* a = scratch;
    std::size_t stride = gathered_row_elements(weights.depth);
    if (input.conv == nullptr) {
      a = input.data + m * input.row_stride;
      stride = static_cast<std::size_t>(input.row_stride);
    } else {
      gather_rows(input, m, m + rows, scratch, stride);
    }
    for (int n = range.column_begin; n < range.column_end; n += kColumnTile) {
      const int count = std::min(kColumnTile, range.column_end - n);
      const float* w = weights.tiles + static_cast<std::size_t>(n) * weights.depth;
      v128_t bias_lo = wasm_f32x4_splat(0);
      v128_t bias_hi = bias_lo;
      if (has_bias) {
        bias_lo = load_bytes(output.bias + n, static_cast<std::size_t>(count) * sizeof(float));
        if (count > 4)
          bias_hi = load_bytes(output.bias + n + 4, static_cast<std::size_t>(count - 4) * sizeof(float));
      }
      for (int r = 0; r < rows; r += kRows) {
        const int tile_rows = std::min(kRows, rows - r);
        kTiles<Isa>[tile_rows - 1](a + r * stride, stride, w, weights.depth, sums);
        for (int i = 0; i < tile_rows; ++i) {
          finish_row(output, m + r + i, n, count, wasm_v128_load(sums + i * kColumnTile),
                     wasm_v128_load(sums + i * kColumnTile + 4), bias_lo, bias_hi, min, max);
        }
      }
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

template void float_gemm<Scalar>(const GemmInput<float>&, const FloatWeights&, const FloatGemmOutput&,
                                 const OutputRange&, void*);
template void float_gemm<Simd128>(const GemmInput<float>&, const FloatWeights&, const FloatGemmOutput&,
                                  const OutputRange&, void*);
#if ZEROPOINT_HAS_RELAXED_KERNELS
template void float_gemm<Relaxed>(const GemmInput<float>&, const FloatWeights&, const FloatGemmOutput&,
                                  const OutputRange&, void*);
#endif

}  // namespace zp::kernels
