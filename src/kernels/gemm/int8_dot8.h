// The relaxed dot product of 8-bit integers.

#pragma once

#include "kernels/gemm/int8_rows.h"

#if ZEROPOINT_HAS_RELAXED_KERNELS

namespace zp::kernels {

// kRows rows times kStrips strips of eight columns, `strip` weights apart, all of K,
// added to `sums`, [kStrips][kRows][8].
//
// Two vectors hold a group of four weights for each of the eight columns; four activations of one row are
// broadcast by the load itself, which costs no shuffle.

inline const volatile std::int16_t not_a_literal_one = 1;

// `tiles` of them, row after row.
template <Int8Method kMethod, int kRows, int kStrips = 1>
void multiply_dot8(const std::uint8_t* a, std::ptrdiff_t stride, const std::int8_t* weights,
                   std::ptrdiff_t strip, int depth, int tiles, std::int32_t* sums) {
  // Not a literal: V8 would make it anew for every use, with three instructions. (It does so inside
  // relaxed_dot_add where there is no VNNI, which is why three instructions are faster here than that one.)
  const v128_t ones = wasm_i16x8_splat(not_a_literal_one);
  for (; tiles > 0; --tiles, a += kRows * stride, sums += kRows * kColumnTile) {
    v128_t c[kStrips][kRows][2];
    const std::uint8_t* rows[kRows];
    const std::int8_t* strips[kStrips];
    unroll<kStrips>([&](auto t) {
      strips[t] = weights + t * strip;
      unroll<kRows>([&](auto r) { load_sums(sums + (t * kRows + r) * kColumnTile, c[t][r]); });
    });
    unroll<kRows>([&](auto r) { rows[r] = a + r * stride; });
#pragma clang loop unroll(disable)
    for (int groups = depth / 4; groups > 0; --groups) {
      v128_t x[kRows];
      const auto load = [&](auto r) __attribute__((always_inline)) {
        x[r] = wasm_v128_load32_splat(rows[r]);
        rows[r] += 4;
      };
      if constexpr (kStrips > 1) unroll<kRows>(load);
      unroll<kStrips>([&](auto t) {
        const v128_t w0 = wasm_v128_load(strips[t]);
        const v128_t w1 = wasm_v128_load(strips[t] + 16);
        strips[t] += 32;
        unroll<kRows>([&](auto r) {
          if constexpr (kStrips == 1) load(r);
          if constexpr (kMethod == Int8Method::kDot8Narrow) {
            c[t][r][0] = dot16_add(relaxed_dot_pairs(w0, x[r]), ones, c[t][r][0]);
            c[t][r][1] = dot16_add(relaxed_dot_pairs(w1, x[r]), ones, c[t][r][1]);
          } else {
            c[t][r][0] = relaxed_dot_add(w0, x[r], c[t][r][0]);
            c[t][r][1] = relaxed_dot_add(w1, x[r], c[t][r][1]);
          }
        });
      });
    }
    unroll<kStrips>([&](auto t) {
      unroll<kRows>([&](auto r) { store_sums(sums + (t * kRows + r) * kColumnTile, c[t][r]); });
    });
  }
}

// Any number of rows. V8 has fifteen vector registers on x86. Twelve accumulators leave three, enough for two
// vectors of weights and one of activations where one instruction multiplies and adds; the narrow form also
// needs its ones and a product.
template <Int8Method kMethod>
void multiply_dot8_rows(const std::uint8_t* a, std::ptrdiff_t stride, const std::int8_t* w, int depth,
                        int rows, std::int32_t* sums) {
  constexpr int kRows = kMethod == Int8Method::kDot8Narrow ? 5 : 6;
  for_row_tiles<kRows>(rows, [&](auto count, int tiles) {
    multiply_dot8<kMethod, count>(a, stride, w, 0, depth, tiles, sums);
    a += tiles * count * stride;
    sums += tiles * count * kColumnTile;
  });
}

// Multiplies the rows of a block, as prepared by its constructor, with strips of columns, `strip` bytes
// apart: one, or kStripsOfOneRow if there is one row.
class Dot8Block {
 public:
  Dot8Block(const Int8Input& input, const Int8Weights& weights, const Workspace& work, int begin, int rows)
      : weights_(weights), work_(work), rows_(rows) {
    if (input.rows.conv == nullptr && activation_shift(input, weights.method) == 0) {
      a_ = input.rows.data + begin * input.rows.row_stride;
      stride_ = input.rows.row_stride;
    } else {
      a_ = work.rows;
      stride_ = static_cast<std::ptrdiff_t>(gathered_row_bytes(weights));
      RowGatherer gatherer(input, weights, begin);
      for (int r = 0; r < rows; ++r) gatherer.next(work.rows + r * stride_);
    }
    for (int r = 0; weights.zero_points != nullptr && r < rows; ++r) {
      work.row_sums[r] = sum_row(a_ + r * stride_, weights.depth, weights.method == Int8Method::kDot8Signed);
    }
  }

  void multiply(const std::int8_t* w, int strips, std::ptrdiff_t strip) const {
    if (weights_.method == Int8Method::kDot8Narrow) {
      multiply<Int8Method::kDot8Narrow>(w, strips, strip);
    } else {
      multiply<Int8Method::kDot8>(w, strips, strip);
    }
  }

 private:
  template <Int8Method kMethod>
  void multiply(const std::int8_t* w, int strips, std::ptrdiff_t strip) const {
    const int depth = weights_.padded_depth;
    if (strips > 1) {
      multiply_dot8<kMethod, 1, kStripsOfOneRow>(a_, stride_, w, strip, depth, 1, work_.sums);
    } else {
      multiply_dot8_rows<kMethod>(a_, stride_, w, depth, rows_, work_.sums);
    }
  }

  const Int8Weights& weights_;
  const Workspace& work_;
  int rows_;
  const std::uint8_t* a_;
  std::ptrdiff_t stride_;
};

}  // namespace zp::kernels

#endif
