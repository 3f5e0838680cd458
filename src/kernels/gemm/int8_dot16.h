// The dot product of 16-bit integers, to which both operands are widened: exact in every engine.

#pragma once

#include "kernels/gemm/int8_rows.h"

namespace zp::kernels {

// kRows rows times kStrips strips of eight columns, a piece of K, added to `sums`,
// [kStrips][kRows][8].
//
// A product and its addition are two instructions, so the loop is bound by how many instructions the machine
// takes in, not by its multipliers: everything else is moved out of it. Rows are widened, less their zero
// point, once per block; the weights' tile once per block and piece, unless few rows use it; and rows lie a
// constant apart, so that one pointer serves them all.

inline constexpr int kDot16Rows = 4;

// `tiles` of them, one after another, `stride` elements apart.
template <int kRows, class Weight, int kStrips = 1>
void multiply_dot16(const std::int16_t* a, std::ptrdiff_t stride, const Weight* weights, std::ptrdiff_t strip,
                    int depth, int tiles, std::int32_t* sums) {
  constexpr int kPairs = kRows * kStrips <= 2 ? 2 : 1;  // of k in one round
  for (; tiles > 0; --tiles, a += stride, sums += kRows * kColumnTile) {
    v128_t c[kStrips][kRows][2];
    const Weight* strips[kStrips];
    unroll<kStrips>([&](auto t) {
      strips[t] = weights + t * strip;
      unroll<kRows>([&](auto r) { load_sums(sums + (t * kRows + r) * kColumnTile, c[t][r]); });
    });
    const std::int16_t* x = a;
#pragma clang loop unroll(disable)
    for (const std::int16_t* const end = a + depth; x != end; x += 2 * kPairs) {
      unroll<kPairs>([&](auto pair) {
        v128_t two[kRows];
        const auto load = [&](auto r) __attribute__((always_inline)) {
          two[r] = wasm_v128_load32_splat(x + r * kWideStride + pair * 2);
        };
        if constexpr (kStrips > 1) unroll<kRows>(load);
        unroll<kStrips>([&](auto t) {
          v128_t w0, w1;
          if constexpr (sizeof(Weight) == 1) {
            w0 = wasm_i16x8_load8x8(strips[t] + pair * 16);
            w1 = wasm_i16x8_load8x8(strips[t] + pair * 16 + 8);
          } else {
            w0 = wasm_v128_load(strips[t] + pair * 16);
            w1 = wasm_v128_load(strips[t] + pair * 16 + 8);
          }
          unroll<kRows>([&](auto r) {
            if constexpr (kStrips == 1) load(r);
            c[t][r][0] = dot16_add(two[r], w0, c[t][r][0]);
            c[t][r][1] = dot16_add(two[r], w1, c[t][r][1]);
          });
        });
      });
      unroll<kStrips>([&](auto t) { strips[t] += 16 * kPairs; });
    }
    unroll<kStrips>([&](auto t) {
      unroll<kRows>([&](auto r) { store_sums(sums + (t * kRows + r) * kColumnTile, c[t][r]); });
    });
  }
}

template <class Weight>
void multiply_dot16_rows(const std::int16_t* a, std::ptrdiff_t stride, const Weight* w, int depth, int rows,
                         std::int32_t* sums) {
  const int tiles = rows / kDot16Rows;
  multiply_dot16<kDot16Rows>(a, stride, w, 0, depth, tiles, sums);
  a += tiles * stride;
  sums += tiles * kDot16Rows * kColumnTile;
  switch (rows % kDot16Rows) {
    case 1:
      return multiply_dot16<1>(a, stride, w, 0, depth, 1, sums);
    case 2:
      return multiply_dot16<2>(a, stride, w, 0, depth, 1, sums);
    case 3:
      return multiply_dot16<3>(a, stride, w, 0, depth, 1, sums);
    default:
      return;
  }
}

// uint8 or int8 minus zero point, as int16. May read 7 bytes past the end and write 7 elements past it.
inline void widen(const std::uint8_t* source, bool is_signed, v128_t zero_point, std::ptrdiff_t count,
                  std::int16_t* target) {
  if (is_signed) {
    for (std::ptrdiff_t i = 0; i < count; i += 8) {
      wasm_v128_store(target + i, wasm_i16x8_sub(wasm_i16x8_load8x8(source + i), zero_point));
    }
  } else {
    for (std::ptrdiff_t i = 0; i < count; i += 8) {
      wasm_v128_store(target + i, wasm_i16x8_sub(wasm_u16x8_load8x8(source + i), zero_point));
    }
  }
}

// Where row r of a block has piece `piece` of K.
inline std::int16_t* wide_row(const Workspace& work, int pieces, int r, int piece) {
  const std::ptrdiff_t tile = static_cast<std::ptrdiff_t>(r / kDot16Rows) * pieces + piece;
  return work.wide_rows + (tile * kDot16Rows + r % kDot16Rows) * kWideStride;
}

// Multiplies the rows of a block, as prepared by its constructor, with strips of columns, `strip` bytes
// apart: one, or kStripsOfOneRow if there is one row.
class Dot16Block {
 public:
  Dot16Block(const Int8Input& input, const Int8Weights& weights, const Workspace& work, int begin, int rows)
      : weights_(weights), work_(work), rows_(rows), pieces_(depth_blocks(weights)) {
    const v128_t zero_point = wasm_i16x8_splat(static_cast<std::int16_t>(input.zero_point));
    RowGatherer gatherer(input, weights, begin);
    for (int r = 0; r < rows; ++r) {
      const std::uint8_t* row = work.rows;
      if (input.rows.conv != nullptr) {
        gatherer.next(work.rows);
      } else {
        row = input.rows.data + (begin + r) * input.rows.row_stride;
      }
      for (int piece = 0, k = 0; piece < pieces_; ++piece, k += kDepthBlock) {
        widen(row + k, input.is_signed, zero_point, std::min(kDepthBlock, weights.depth - k),
              wide_row(work, pieces_, r, piece));
      }
      if (weights.zero_points != nullptr) {
        work.row_sums[r] = sum_row(row, weights.depth, input.is_signed) - input.zero_point * weights.depth;
      }
    }
  }

  void multiply(const std::int8_t* w, int strips, std::ptrdiff_t strip) const {
    // Widening the weights costs about as much as multiplying a row with them.
    const bool wide = rows_ >= 2 * kDot16Rows;
    for (int piece = 0, k = 0; piece < pieces_; ++piece, k += kDepthBlock) {
      const int depth = std::min(kDepthBlock, weights_.padded_depth - k);
      const std::int8_t* w_piece = w + k * kColumnTile;
      if (wide)
        widen(reinterpret_cast<const std::uint8_t*>(w_piece), true, wasm_i32x4_splat(0), depth * kColumnTile,
              work_.wide_weights);
      const std::int16_t* a = wide_row(work_, pieces_, 0, piece);
      const std::ptrdiff_t stride = static_cast<std::ptrdiff_t>(pieces_) * kDot16Rows * kWideStride;
      if (strips > 1) {
        multiply_dot16<1, std::int8_t, kStripsOfOneRow>(a, stride, w_piece, strip, depth, 1, work_.sums);
      } else if (wide) {
        multiply_dot16_rows(a, stride, work_.wide_weights, depth, rows_, work_.sums);
      } else {
        multiply_dot16_rows(a, stride, w_piece, depth, rows_, work_.sums);
      }
    }
  }

 private:
  const Int8Weights& weights_;
  const Workspace& work_;
  int rows_;
  int pieces_;
};

}  // namespace zp::kernels
