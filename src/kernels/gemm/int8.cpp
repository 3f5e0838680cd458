#include "kernels/gemm/int8.h"

#include <algorithm>
#include <type_traits>

#include "core/function.h"
#include "kernels/gemm/gather.h"
#include "kernels/gemm/int8_dot16.h"
#include "kernels/gemm/int8_dot8.h"
#include "kernels/gemm/int8_epilogue.h"
#include "kernels/gemm/int8_tiles.h"

namespace zp::kernels {
namespace {

// ---------------------------------------------------------------------------------------------------------------
// The specification

std::int32_t input_value(const Int8Input& input, int m, int k) {
  std::ptrdiff_t index = m * input.rows.row_stride + k;
  if (input.rows.conv != nullptr) {
    index = patch_element(*input.rows.conv, m, k);
    if (index < 0) return 0;
  }
  const std::uint8_t raw = input.rows.data[index];
  return (input.is_signed ? static_cast<std::int8_t>(raw) : raw) - input.zero_point;
}

// sum over k of (a - z_a)(w - z_w)
std::int32_t scalar_sum(const Int8Input& input, const Int8Weights& weights, int m, int n) {
  const std::int32_t zero_point = weights.zero_points != nullptr ? weights.zero_points[n] : 0;
  std::int32_t sum = 0;
  for (int k = 0; k < weights.depth; ++k) {
    // NOLINTNEXTLINE(bugprone-signed-char-misuse): a number
    const std::int32_t w = weights.tiles[tile_index(n, k, weights.padded_depth, group_of(weights.method))];
    sum = wrap_add(sum, wrap_mul(input_value(input, m, k), w - zero_point));
  }
  return sum;
}

template <class Output>
void scalar_gemm(const Int8Input& input, const Int8Weights& weights, const Output& output,
                 const OutputRange& range) {
  for (int m = range.row_begin; m < range.row_end; ++m) {
    for (int n = range.column_begin; n < range.column_end; ++n) {
      scalar_store(output, m, n, scalar_sum(input, weights, m, n));
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------
// Blocks of rows times strips of columns

// Strips of columns: their offsets as the first sums of every row; what zero points of weights take from the
// sums.
[[gnu::noinline]] void begin_sums(const std::int32_t* offsets, int rows, int strips, std::int32_t* sums) {
  for (; strips > 0; --strips, offsets += kColumnTile) {
    v128_t c[2];
    load_sums(offsets, c);
    for (int r = 0; r < rows; ++r, sums += kColumnTile) store_sums(sums, c);
  }
}
[[gnu::noinline]] void subtract_zero_points(const std::int32_t* zero_points, const std::int32_t* row_sums,
                                            int rows, int strips, std::int32_t* sums) {
  for (; strips > 0; --strips, zero_points += kColumnTile) {
    v128_t points[2];
    load_sums(zero_points, points);
    for (int r = 0; r < rows; ++r, sums += kColumnTile) {
      const v128_t row_sum = wasm_i32x4_splat(row_sums[r]);
      v128_t c[2];
      load_sums(sums, c);
      for (int h = 0; h < 2; ++h) c[h] = wasm_i32x4_sub(c[h], wasm_i32x4_mul(row_sum, points[h]));
      store_sums(sums, c);
    }
  }
}

// Takes the sums, [rows][8], of eight columns from n on.
using FinishTile = FunctionRef<void(int m, int rows, int n, const std::int32_t* sums)>;

template <class Block>
void multiply_blocks(const Int8Input& input, const Int8Weights& weights, const OutputRange& range,
                     const std::int32_t* offsets, const Workspace& work, FinishTile finish) {
  const int block_rows = even_block(range.row_end - range.row_begin, row_block(weights));
  for (int m = range.row_begin; m < range.row_end; m += block_rows) {
    const int rows = std::min(block_rows, range.row_end - m);
    const Block block(input, weights, work, m, rows);
    const int most = rows == 1 ? kStripsOfOneRow : 1;
    for (int n = range.column_begin, strips = 0; n < range.column_end; n += strips * kColumnTile) {
      strips = strips_at_once(most, range.column_end - n);
      begin_sums(offsets + n - range.column_begin, rows, strips, work.sums);
      block.multiply(weights.tiles + static_cast<std::size_t>(n) * weights.padded_depth, strips,
                     std::ptrdiff_t{weights.padded_depth} * kColumnTile);
      if (weights.zero_points != nullptr) {
        subtract_zero_points(weights.zero_points + n, work.row_sums, rows, strips, work.sums);
      }
      for (int t = 0; t < strips; ++t) {
        finish(m, rows, n + t * kColumnTile, work.sums + t * rows * kColumnTile);
      }
    }
  }
}

template <class Isa>
void vector_gemm(const Int8Input& input, const Int8Weights& weights, const OutputRange& range,
                 const ColumnTerms& terms, void* scratch, FinishTile finish) {
  const Workspace work(weights, scratch);
  // sum (a - z_a)(w - z_w) = sum a' w - (z_a + shift) sum (w - z_w) - z_w sum a', with a' = a + shift
  const std::int32_t zero_point = input.zero_point + activation_shift(input, weights.method);
  for (int n = range.column_begin; n < static_cast<int>(round_up(range.column_end, kColumnTile)); ++n) {
    std::int32_t& offset = terms.offsets[n - range.column_begin];
    offset = wrap_add(offset, wrap_mul(-zero_point, weights.column_sums[n]));
  }
#if ZEROPOINT_HAS_RELAXED_KERNELS
  if constexpr (std::is_same_v<Isa, Relaxed>) {
    if (weights.method != Int8Method::kDot16) {
      multiply_blocks<Dot8Block>(input, weights, range, terms.offsets, work, finish);
      return;
    }
  }
#endif
  multiply_blocks<Dot16Block>(input, weights, range, terms.offsets, work, finish);
}

template <class Isa, class Output>
void gemm(const Int8Input& input, const Int8Weights& weights, const Output& output, const OutputRange& range,
          void* scratch) {
  if (range.row_begin >= range.row_end || range.column_begin >= range.column_end) return;
  if constexpr (!Isa::kVector) {
    scalar_gemm(input, weights, output, range);
  } else {
    const int count = range.column_end - range.column_begin;
    const ColumnTerms terms = prepare_terms(output, range.column_begin, count, scratch);
    const auto finish = [&](int m, int rows, int n, const std::int32_t* sums) {
      const Epilogue<Output> epilogue(output, terms);
      const auto columns = epilogue.columns(n - range.column_begin);
      for (int r = 0; r < rows; ++r, sums += kColumnTile) {
        epilogue.store(output.rows.offset(m + r) + n, columns, std::min(kColumnTile, range.column_end - n),
                       wasm_v128_load(sums), wasm_v128_load(sums + 4));
      }
    };
    vector_gemm<Isa>(input, weights, range, terms,
                     static_cast<std::uint8_t*>(scratch) + column_terms_bytes(count), finish);
  }
}

}  // namespace

std::size_t int8_gemm_scratch_bytes(const Int8Weights& weights) {
  return column_terms_bytes(weights.columns) + Workspace(weights, nullptr).bytes;
}

template <class Isa>
void int8_gemm(const Int8Input& input, const Int8Weights& weights, const Int32Output& output,
               const OutputRange& range, void* scratch) {
  gemm<Isa>(input, weights, output, range, scratch);
}
template <class Isa>
void int8_gemm(const Int8Input& input, const Int8Weights& weights, const QuantizedOutput& output,
               const OutputRange& range, void* scratch) {
  gemm<Isa>(input, weights, output, range, scratch);
}
template <class Isa>
void int8_gemm(const Int8Input& input, const Int8Weights& weights, const FloatOutput& output,
               const OutputRange& range, void* scratch) {
  gemm<Isa>(input, weights, output, range, scratch);
}

#define ZP_INSTANTIATE(Isa)                                                                                  \
  template void int8_gemm<Isa>(const Int8Input&, const Int8Weights&, const Int32Output&, const OutputRange&, \
                               void*);                                                                       \
  template void int8_gemm<Isa>(const Int8Input&, const Int8Weights&, const QuantizedOutput&,                 \
                               const OutputRange&, void*);                                                   \
  template void int8_gemm<Isa>(const Int8Input&, const Int8Weights&, const FloatOutput&, const OutputRange&, \
                               void*);
ZP_FOR_EACH_ISA(ZP_INSTANTIATE)
#undef ZP_INSTANTIATE

}  // namespace zp::kernels
