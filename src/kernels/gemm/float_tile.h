// The inner loop of float matrix products and what surrounds it, shared by gemm_float and weight_only.

#pragma once

#include <algorithm>
#include <cstddef>

#include "kernels/gemm/float.h"
#include "kernels/simd.h"

namespace zp::kernels {

// Rows of a register tile. Twelve accumulators, two weights and one activation fill the fifteen vector
// registers that V8 has on x86; without a fused multiply-add the product needs one more.
template <class Isa>
inline constexpr int kFloatRows = Isa::kFusedMultiplyAdd ? 6 : 4;

// kRows rows, `stride` elements apart, times kStrips strips of eight columns, `depth` values of k, added to
// `sums`, [kStrips][kRows][8]; `tiles` times, row after row. The products of an element are added up in the
// order of k, whatever the numbers of rows and strips.
template <class Isa, int kRows, int kStrips = 1>
void multiply_float_tiles(const float* a, std::ptrdiff_t stride, const float* weights, int depth, int tiles,
                          float* sums) {
  const std::ptrdiff_t strip = std::ptrdiff_t{depth} * kColumnTile;
  for (; tiles > 0; --tiles, a += kRows * stride, sums += kRows * kColumnTile) {
    v128_t c[kStrips][kRows][2];
    const float* rows[kRows];
    const float* strips[kStrips];
    unroll<kStrips>([&](auto t) {
      strips[t] = weights + t * strip;
      unroll<kRows>([&](auto r) {
        c[t][r][0] = wasm_v128_load(sums + (t * kRows + r) * kColumnTile);
        c[t][r][1] = wasm_v128_load(sums + (t * kRows + r) * kColumnTile + 4);
      });
    });
    unroll<kRows>([&](auto r) { rows[r] = a + r * stride; });
#pragma clang loop unroll(disable)
    for (int k = depth; k > 0; --k) {
      v128_t x[kRows];
      if constexpr (kStrips > 1) {
        unroll<kRows>([&](auto r) { x[r] = wasm_v128_load32_splat(rows[r]++); });
      }
      unroll<kStrips>([&](auto t) {
        const v128_t w0 = wasm_v128_load(strips[t]);
        const v128_t w1 = wasm_v128_load(strips[t] + 4);
        strips[t] += kColumnTile;
        unroll<kRows>([&](auto r) {
          if constexpr (kStrips == 1) x[r] = wasm_v128_load32_splat(rows[r]++);
          c[t][r][0] = madd<Isa>(x[r], w0, c[t][r][0]);
          c[t][r][1] = madd<Isa>(x[r], w1, c[t][r][1]);
        });
      });
    }
    unroll<kStrips>([&](auto t) {
      unroll<kRows>([&](auto r) {
        wasm_v128_store(sums + (t * kRows + r) * kColumnTile, c[t][r][0]);
        wasm_v128_store(sums + (t * kRows + r) * kColumnTile + 4, c[t][r][1]);
      });
    });
  }
}

// Any number of rows. One copy of it serves all products.
template <class Isa>
[[gnu::noinline]] void multiply_float_rows(const float* a, std::ptrdiff_t stride, const float* w, int depth,
                                           int rows, float* sums) {
  for_row_tiles<kFloatRows<Isa>>(rows, [&](auto count, int tiles) {
    multiply_float_tiles<Isa, count>(a, stride, w, depth, tiles, sums);
    a += tiles * count * stride;
    sums += tiles * count * kColumnTile;
  });
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
