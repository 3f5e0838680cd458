// The inner loop of float matrix products and what surrounds it, shared by gemm_float and weight_only.

#pragma once

#include <algorithm>
#include <cstddef>

#include "kernels/gemm_float.h"
#include "kernels/simd.h"

namespace zp::kernels {

// Rows of a register tile. Twelve accumulators, two weights and one activation fill the fifteen vector
// registers that V8 has on x86; without a fused multiply-add the product needs one more.
template <class Isa>
inline constexpr int kFloatRows = Isa::kFusedMultiplyAdd ? 6 : 4;

// kRows rows, `stride` elements apart, times eight columns, `depth` values of k, added to `sums`, [kRows][8];
// `tiles` times, row after row.
template <class Isa, int kRows>
void multiply_float_tiles(const float* a, std::ptrdiff_t stride, const float* weights, int depth, int tiles,
                          float* sums) {
  // Few rows have few accumulators, which would wait for each other: neighbouring k get their own.
  constexpr int kSplit = kRows == 1 ? 4 : kRows == 2 ? 2 : 1;
  for (; tiles > 0; --tiles, a += kRows * stride, sums += kRows * kColumnTile) {
    v128_t c[kRows][kSplit][2];
    const float* rows[kRows];
    unroll<kRows>([&](auto r) {
      unroll<kSplit>([&](auto s) { c[r][s][0] = c[r][s][1] = wasm_f32x4_splat(0); });
      c[r][0][0] = wasm_v128_load(sums + r * kColumnTile);
      c[r][0][1] = wasm_v128_load(sums + r * kColumnTile + 4);
      rows[r] = a + r * stride;
    });
    const float* w = weights;
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
}

// Any number of rows.
template <class Isa>
void multiply_float_rows(const float* a, std::ptrdiff_t stride, const float* w, int depth, int rows,
                         float* sums) {
  constexpr int kRows = kFloatRows<Isa>;
  const int tiles = rows / kRows;
  multiply_float_tiles<Isa, kRows>(a, stride, w, depth, tiles, sums);
  a += tiles * kRows * stride;
  sums += tiles * kRows * kColumnTile;
  const auto rest = [&](auto count) {
    if constexpr (count < kRows) multiply_float_tiles<Isa, count>(a, stride, w, depth, 1, sums);
  };
  switch (rows % kRows) {
    case 1:
      return rest(std::integral_constant<int, 1>{});
    case 2:
      return rest(std::integral_constant<int, 2>{});
    case 3:
      return rest(std::integral_constant<int, 3>{});
    case 4:
      return rest(std::integral_constant<int, 4>{});
    case 5:
      return rest(std::integral_constant<int, 5>{});
    default:
      return;
  }
}

// Begins and finishes eight columns, from n on, of which `count` exist.
struct FloatEpilogue {
  const FloatGemmOutput& output;
  v128_t lo_bound = wasm_f32x4_splat(output.lo);
  v128_t hi_bound = wasm_f32x4_splat(output.hi);

  void begin(int rows, int n, int count, float* sums) const {
    v128_t low = wasm_f32x4_splat(0);
    v128_t high = low;
    if (output.bias != nullptr && !output.accumulate) {
      low = load_bytes(output.bias + n, static_cast<std::size_t>(count) * sizeof(float));
      if (count > 4)
        high = load_bytes(output.bias + n + 4, static_cast<std::size_t>(count - 4) * sizeof(float));
    }
    for (int r = 0; r < rows; ++r) {
      wasm_v128_store(sums + r * kColumnTile, low);
      wasm_v128_store(sums + r * kColumnTile + 4, high);
    }
  }

  void finish(int m, int rows, int n, int count, const float* sums) const {
    for (int r = 0; r < rows; ++r, sums += kColumnTile) {
      float* y = output.data + output.rows.offset(m + r) + n;
      finish_half(y, wasm_v128_load(sums), std::min(count, 4));
      if (count > 4) finish_half(y + 4, wasm_v128_load(sums + 4), count - 4);
    }
  }

 private:
  void finish_half(float* y, v128_t sum, int count) const {
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(float);
    if (output.accumulate) sum = wasm_f32x4_add(sum, count == 4 ? wasm_v128_load(y) : load_bytes(y, bytes));
    sum = wasm_f32x4_pmin(wasm_f32x4_pmax(sum, lo_bound), hi_bound);
    if (count == 4) {
      wasm_v128_store(y, sum);
    } else {
      store_bytes(y, sum, bytes);
    }
  }
};

}  // namespace zp::kernels
