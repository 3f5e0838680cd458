// What both ways to multiply 8-bit integers share: a block of rows as the inner loop wants them, and the
// scratch memory of a call.

#pragma once

#include <algorithm>

#include "kernels/gemm/gather.h"
#include "kernels/gemm/int8.h"
#include "kernels/simd.h"

namespace zp::kernels {

// How the inner loop sees the activations: a' = a + shift, with a + shift = a - z_a for the 16-bit method.
inline std::int32_t activation_shift(const Int8Input& input, Int8Method method) {
  switch (method) {
    case Int8Method::kDot16:
      return -input.zero_point;
    case Int8Method::kDot8Signed:
      return input.is_signed ? 0 : -128;
    case Int8Method::kDot8:
    case Int8Method::kDot8Narrow:
      return input.is_signed ? 128 : 0;
  }
  return 0;
}

// A block of rows stays in the L2 cache while the weights' tiles stream past, each used for all its rows.
inline constexpr int kMaxRowBlock = 120;
inline constexpr std::size_t kRowBlockBytes = 192 * 1024;

// The 16-bit method cuts K into pieces whose weights, widened, stay in the L1 cache.
inline constexpr int kDepthBlock = 512;
inline constexpr int kWideStride = kDepthBlock + 8;  // of widened rows; room for a copy that overshoots

inline std::size_t gathered_row_bytes(const Int8Weights& weights) {
  // Room for copies that overshoot, and a stride that is no power of two: rows that all fall on the same few
  // sets of the cache would evict each other.
  return round_up(static_cast<std::size_t>(weights.padded_depth) + 16, 64) + 16;
}

inline int depth_blocks(const Int8Weights& weights) {
  return (weights.padded_depth + kDepthBlock - 1) / kDepthBlock;
}

inline int row_block(const Int8Weights& weights) {
  const int step = weights.method == Int8Method::kDot8Narrow ? 30 : 24;  // whole register tiles
  const std::size_t row_bytes =
      std::max<std::size_t>(weights.padded_depth, 1) * (weights.method == Int8Method::kDot16 ? 2 : 1);
  const int rows = static_cast<int>(kRowBlockBytes / row_bytes) / step * step;
  return std::clamp(rows, step, kMaxRowBlock);
}

// What one call keeps in scratch memory, besides the column terms.
struct Workspace {
  std::int32_t* sums = nullptr;          // [rows of a block][8]
  std::int32_t* row_sums = nullptr;      // [rows of a block]
  std::int16_t* wide_weights = nullptr;  // [kDepthBlock][8], 16-bit method
  std::int16_t* wide_rows = nullptr;     // [rows / 4][pieces of K][4][kWideStride], 16-bit method
  std::uint8_t* rows = nullptr;          // gathered bytes: one row for the 16-bit method, else a block
  std::size_t bytes = 0;

  Workspace(const Int8Weights& weights, void* scratch) {
    const bool wide = weights.method == Int8Method::kDot16;
    const std::size_t block = static_cast<std::size_t>(row_block(weights));
    const auto take = [&](std::size_t size) {
      // NOLINTNEXTLINE(performance-no-int-to-ptr): there is no memory when only the size is asked for
      auto* part = reinterpret_cast<std::uint8_t*>(reinterpret_cast<std::uintptr_t>(scratch) + bytes);
      bytes += round_up(size, kAlignment);
      return part;
    };
    sums = reinterpret_cast<std::int32_t*>(take(block * kColumnTile * sizeof(std::int32_t)));
    row_sums = reinterpret_cast<std::int32_t*>(take(block * sizeof(std::int32_t)));
    if (wide) {
      wide_weights = reinterpret_cast<std::int16_t*>(take(kDepthBlock * kColumnTile * sizeof(std::int16_t)));
      wide_rows = reinterpret_cast<std::int16_t*>(
          take(block * depth_blocks(weights) * kWideStride * sizeof(std::int16_t)));
    }
    rows = take((wide ? 1 : block) * gathered_row_bytes(weights));
  }
};

inline void copy_flipped(const std::uint8_t* source, v128_t flip, std::ptrdiff_t count,
                         std::uint8_t* target) {
  for (std::ptrdiff_t i = 0; i < count; i += 16) {
    wasm_v128_store(target + i, wasm_v128_xor(wasm_v128_load(source + i), flip));
  }
}

inline void fill(std::uint8_t* target, v128_t value, std::ptrdiff_t count) {
  for (std::ptrdiff_t i = 0; i < count; i += 16) wasm_v128_store(target + i, value);
}

// Gathers row after row as the inner loop's bytes; without a convolution, row m of the matrix.
class RowGatherer {
 public:
  RowGatherer(const Int8Input& input, const Int8Weights& weights, int row)
      : input_(input), depth_(weights.depth), row_(row) {
    const bool flip = weights.method != Int8Method::kDot16 && activation_shift(input, weights.method) != 0;
    flip_ = wasm_i8x16_splat(static_cast<std::int8_t>(flip ? -128 : 0));
    padding_ = wasm_i8x16_splat(static_cast<std::int8_t>(input.zero_point ^ (flip ? 0x80 : 0)));
    if (input.rows.conv != nullptr) at_ = PatchPosition::of_row(*input.rows.conv, row);
  }

  void next(std::uint8_t* target) {
    const std::uint8_t* data = input_.rows.data;
    if (input_.rows.conv == nullptr) {
      copy_flipped(data + row_++ * input_.rows.row_stride, flip_, depth_, target);
      return;
    }
    for_each_run(
        *input_.rows.conv, at_,
        [&](std::ptrdiff_t source, std::ptrdiff_t k, std::ptrdiff_t count) {
          copy_flipped(data + source, flip_, count, target + k);
        },
        [&](std::ptrdiff_t k, std::ptrdiff_t count) { fill(target + k, padding_, count); });
    at_.advance(*input_.rows.conv);
  }

 private:
  const Int8Input& input_;
  int depth_;
  int row_;
  PatchPosition at_;
  v128_t flip_;
  v128_t padding_;
};

// Sum over k of a', needed where weights have zero points.
inline std::int32_t sum_row(const std::uint8_t* row, int depth, bool is_signed) {
  std::int32_t sum = 0;
  for (int k = 0; k < depth; ++k) sum += is_signed ? static_cast<std::int8_t>(row[k]) : row[k];
  return sum;
}

// Sums of eight columns.
inline void load_sums(const std::int32_t* sums, v128_t (&c)[2]) {
  c[0] = wasm_v128_load(sums);
  c[1] = wasm_v128_load(sums + 4);
}
inline void store_sums(std::int32_t* sums, const v128_t (&c)[2]) {
  wasm_v128_store(sums, c[0]);
  wasm_v128_store(sums + 4, c[1]);
}

}  // namespace zp::kernels
