#include "kernels/gemm_int8.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "kernels/gemm_gather.h"
#include "kernels/gemm_int8_epilogue.h"

namespace zp::kernels {
namespace {

constexpr int kDepthStep = 4;  // K is padded to this, whatever the group

constexpr int group_of(Int8Method method) { return method == Int8Method::kDot16 ? 2 : 4; }

// ---------------------------------------------------------------------------------------------------------------
// Packing

// The place of weight (n, k) in the tiles.
std::size_t tile_index(int n, int k, int padded_depth, int group) {
  const std::size_t tile = static_cast<std::size_t>(n / kColumnTile) * padded_depth * kColumnTile;
  return tile + static_cast<std::size_t>(k / group * group) * kColumnTile + n % kColumnTile * group +
         k % group;
}

// True if no sum of two neighbouring products with activations of 0 to 255 leaves 16 bits.
bool pairs_fit_16_bits(const std::int8_t* tiles, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; i += 2) {
    // Opposite signs only help; 255 * 128 = 32640 fits and 255 * 129 does not.
    if (std::abs(tiles[i]) + std::abs(tiles[i + 1]) > 128) return false;
  }
  return true;
}

void fill_tiles(const Int8WeightSource& source, int padded_depth, int group, std::int8_t* tiles) {
  const WeightLayout& layout = source.layout;
  std::memset(tiles, 0, round_up(layout.columns, kColumnTile) * padded_depth);
  const auto* data = static_cast<const std::uint8_t*>(source.data);
  const std::uint8_t flip = source.is_unsigned ? 0x80 : 0;
  for (int n = 0; n < layout.columns; ++n) {
    int k = 0;
    for (int y = 0; y < layout.kernel_height; ++y) {
      for (int x = 0; x < layout.kernel_width; ++x) {
        const std::uint8_t* tap =
            data + n * layout.column_stride + y * layout.tap_y_stride + x * layout.tap_x_stride;
        for (int c = 0; c < layout.channels; ++c, ++k) {
          tiles[tile_index(n, k, padded_depth, group)] =
              static_cast<std::int8_t>(tap[c * layout.channel_stride] ^ flip);
        }
      }
    }
  }
}

Int8Weights pack(const Int8WeightSource& source, void* storage, RelaxedDot relaxed_dot) {
  const WeightLayout& layout = source.layout;
  const int depth = layout.depth();
  const int padded_depth = static_cast<int>(round_up(depth, kDepthStep));
  const std::size_t padded_columns = round_up(layout.columns, kColumnTile);
  const std::size_t tile_bytes = padded_columns * padded_depth;

  auto* sums = static_cast<std::int32_t*>(storage);
  auto* zero_points = sums + padded_columns;
  auto* tiles = reinterpret_cast<std::int8_t*>(zero_points + padded_columns);

  Int8Weights weights;
  weights.tiles = tiles;
  weights.column_sums = sums;
  weights.columns = layout.columns;
  weights.depth = depth;
  weights.padded_depth = padded_depth;

  switch (relaxed_dot) {
    case RelaxedDot::kUnsigned:
      weights.method = Int8Method::kDot8;
      break;
    case RelaxedDot::kSigned:
      weights.method = Int8Method::kDot8Signed;
      break;
    case RelaxedDot::kSaturating:
      weights.method = Int8Method::kDot8Narrow;
      break;
    case RelaxedDot::kAbsent:
      weights.method = Int8Method::kDot16;
      break;
  }
  fill_tiles(source, padded_depth, group_of(weights.method), tiles);
  if (weights.method == Int8Method::kDot8Narrow && !pairs_fit_16_bits(tiles, tile_bytes)) {
    weights.method = Int8Method::kDot16;
    fill_tiles(source, padded_depth, group_of(weights.method), tiles);
  }

  const int group = group_of(weights.method);
  const auto* points = static_cast<const std::uint8_t*>(source.zero_points);
  const std::uint8_t flip = source.is_unsigned ? 0x80 : 0;
  bool any_zero_point = false;
  for (std::size_t column = 0; column < padded_columns; ++column) {
    const int n = static_cast<int>(column);
    std::int32_t point = 0;
    if (n < layout.columns) {
      // No zero point given means 0, which for uint8 weights is -128 after the flip.
      const std::uint8_t raw = source.zero_point_count == 0   ? 0
                               : source.zero_point_count == 1 ? points[0]
                                                              : points[n];
      point = static_cast<std::int8_t>(raw ^ flip);
    }
    std::int32_t sum = 0;
    for (int k = 0; k < depth; ++k) sum += tiles[tile_index(n, k, padded_depth, group)];
    sums[n] = sum - point * depth;
    zero_points[n] = point;
    any_zero_point |= point != 0;
  }
  weights.zero_points = any_zero_point ? zero_points : nullptr;
  return weights;
}

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
// Rows as the inner loop wants them

// How the inner loop sees the activations: a' = a + shift, with a + shift = a - z_a for the 16-bit method.
std::int32_t activation_shift(const Int8Input& input, Int8Method method) {
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

constexpr int kRowBlockBytes =
    96 * 1024;  // of gathered rows: most of a small L2 cache, beside the weights' tile
constexpr int kMaxRowBlock = 96;

std::size_t gathered_row_bytes(const Int8Weights& weights) {
  const std::size_t element = weights.method == Int8Method::kDot16 ? 2 : 1;
  // Room behind the row for copies that overshoot, and a stride that is no power of two: rows that all fall
  // on the same few sets of the cache would evict each other.
  return round_up(weights.padded_depth * element + 16, 64) + 16;
}

int row_block(const Int8Weights& weights) {
  const int rows = static_cast<int>(kRowBlockBytes / gathered_row_bytes(weights)) / kRowTile * kRowTile;
  return std::clamp(rows, kRowTile, kMaxRowBlock);
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

inline void fill16(std::int16_t* target, std::ptrdiff_t count) {
  const v128_t zero = wasm_i32x4_splat(0);
  for (std::ptrdiff_t i = 0; i < count; i += 8) wasm_v128_store(target + i, zero);
}

inline void copy_flipped(const std::uint8_t* source, v128_t flip, std::ptrdiff_t count,
                         std::uint8_t* target) {
  for (std::ptrdiff_t i = 0; i < count; i += 16) {
    wasm_v128_store(target + i, wasm_v128_xor(wasm_v128_load(source + i), flip));
  }
}

inline void fill8(std::uint8_t* target, v128_t value, std::ptrdiff_t count) {
  for (std::ptrdiff_t i = 0; i < count; i += 16) wasm_v128_store(target + i, value);
}

// Gathers rows [begin, end) into `target`, `stride` bytes apart.
void gather_rows(const Int8Input& input, const Int8Weights& weights, int begin, int end, std::uint8_t* target,
                 std::size_t stride) {
  const ConvGeometry* conv = input.rows.conv;
  const std::uint8_t* data = input.rows.data;
  PatchPosition at;
  if (conv != nullptr) at = PatchPosition::of_row(*conv, begin);

  if (weights.method == Int8Method::kDot16) {
    const v128_t zero_point = wasm_i16x8_splat(static_cast<std::int16_t>(input.zero_point));
    for (int m = begin; m < end; ++m, target += stride) {
      auto* row = reinterpret_cast<std::int16_t*>(target);
      if (conv == nullptr) {
        widen(data + m * input.rows.row_stride, input.is_signed, zero_point, weights.depth, row);
        continue;
      }
      for_each_run(
          *conv, at,
          [&](std::ptrdiff_t source, std::ptrdiff_t k, std::ptrdiff_t count) {
            widen(data + source, input.is_signed, zero_point, count, row + k);
          },
          [&](std::ptrdiff_t k, std::ptrdiff_t count) { fill16(row + k, count); });
      at.advance(*conv);
    }
    return;
  }

  const std::int32_t shift = activation_shift(input, weights.method);
  const v128_t flip = wasm_i8x16_splat(static_cast<std::int8_t>(shift != 0 ? -128 : 0));
  const v128_t padding = wasm_i8x16_splat(static_cast<std::int8_t>(input.zero_point + shift));
  for (int m = begin; m < end; ++m, target += stride) {
    if (conv == nullptr) {
      copy_flipped(data + m * input.rows.row_stride, flip, weights.depth, target);
      continue;
    }
    for_each_run(
        *conv, at,
        [&](std::ptrdiff_t source, std::ptrdiff_t k, std::ptrdiff_t count) {
          copy_flipped(data + source, flip, count, target + k);
        },
        [&](std::ptrdiff_t k, std::ptrdiff_t count) { fill8(target + k, padding, count); });
    at.advance(*conv);
  }
}

// Sums over k of a', needed where weights have zero points.
void sum_rows(const std::uint8_t* rows, std::size_t stride, int count, const Int8Weights& weights,
              std::int32_t* sums) {
  for (int r = 0; r < count; ++r, rows += stride) {
    std::int32_t sum = 0;
    switch (weights.method) {
      case Int8Method::kDot16:
        for (int k = 0; k < weights.depth; ++k) sum += reinterpret_cast<const std::int16_t*>(rows)[k];
        break;
      case Int8Method::kDot8Signed:
        for (int k = 0; k < weights.depth; ++k) sum += static_cast<std::int8_t>(rows[k]);
        break;
      case Int8Method::kDot8:
      case Int8Method::kDot8Narrow:
        for (int k = 0; k < weights.depth; ++k) sum += rows[k];
        break;
    }
    sums[r] = sum;
  }
}

// ---------------------------------------------------------------------------------------------------------------
// The inner loop: kRows rows times eight columns, all of K, sums left in `sums` as [kRows][8].
//
// A pair of vectors holds a group of g weights for each of the eight columns; a group of one row is broadcast
// by the load itself, which costs no shuffle.

template <Int8Method kMethod, int kRows>
void multiply_tile(const std::uint8_t* a, std::size_t stride, const std::int8_t* w, int padded_depth,
                   std::int32_t* sums) {
  v128_t c[kRows][2];
  const std::uint8_t* rows[kRows];
  for (int r = 0; r < kRows; ++r) {
    c[r][0] = c[r][1] = wasm_i32x4_splat(0);
    rows[r] = a + r * stride;
  }
  if constexpr (kMethod == Int8Method::kDot16) {
    for (int k = 0; k < padded_depth; k += 4) {
      for (int half = 0; half < 2; ++half) {
        const v128_t w0 = wasm_i16x8_load8x8(w + half * 16);
        const v128_t w1 = wasm_i16x8_load8x8(w + half * 16 + 8);
        for (int r = 0; r < kRows; ++r) {
          const v128_t x = wasm_v128_load32_splat(rows[r] + half * 4);
          c[r][0] = dot16_add(x, w0, c[r][0]);
          c[r][1] = dot16_add(x, w1, c[r][1]);
        }
      }
      w += 32;
      for (int r = 0; r < kRows; ++r) rows[r] += 8;
    }
  } else {
#if ZEROPOINT_HAS_RELAXED_KERNELS
    const v128_t ones = wasm_i16x8_splat(1);
    for (int k = 0; k < padded_depth; k += 4) {
      const v128_t w0 = wasm_v128_load(w);
      const v128_t w1 = wasm_v128_load(w + 16);
      for (int r = 0; r < kRows; ++r) {
        const v128_t x = wasm_v128_load32_splat(rows[r]);
        if constexpr (kMethod == Int8Method::kDot8Narrow) {
          // V8's relaxed_dot_add makes its vector of ones anew each time; here it stays in a register.
          c[r][0] = dot16_add(relaxed_dot_pairs(w0, x), ones, c[r][0]);
          c[r][1] = dot16_add(relaxed_dot_pairs(w1, x), ones, c[r][1]);
        } else {
          c[r][0] = relaxed_dot_add(w0, x, c[r][0]);
          c[r][1] = relaxed_dot_add(w1, x, c[r][1]);
        }
      }
      w += 32;
      for (int r = 0; r < kRows; ++r) rows[r] += 4;
    }
#endif
  }
  for (int r = 0; r < kRows; ++r) {
    wasm_v128_store(sums + r * kColumnTile, c[r][0]);
    wasm_v128_store(sums + r * kColumnTile + 4, c[r][1]);
  }
}

using TileFunction = void (*)(const std::uint8_t* a, std::size_t stride, const std::int8_t* w,
                              int padded_depth, std::int32_t* sums);

template <Int8Method kMethod>
constexpr TileFunction kTiles[kRowTile] = {multiply_tile<kMethod, 1>, multiply_tile<kMethod, 2>,
                                           multiply_tile<kMethod, 3>, multiply_tile<kMethod, 4>,
                                           multiply_tile<kMethod, 5>, multiply_tile<kMethod, 6>};

template <class Isa>
const TileFunction* tiles_for(Int8Method method) {
#if ZEROPOINT_HAS_RELAXED_KERNELS
  if constexpr (std::is_same_v<Isa, Relaxed>) {
    switch (method) {
      case Int8Method::kDot8:
      case Int8Method::kDot8Signed:
        return kTiles<Int8Method::kDot8>;
      case Int8Method::kDot8Narrow:
        return kTiles<Int8Method::kDot8Narrow>;
      case Int8Method::kDot16:
        break;
    }
  }
#endif
  (void)method;
  return kTiles<Int8Method::kDot16>;
}

// ---------------------------------------------------------------------------------------------------------------
// Blocking: a block of rows stays in the L2 cache while the weights' tiles stream past, each used for all its
// rows.

template <class Output>
void vector_gemm(const TileFunction* tiles, const Int8Input& input, const Int8Weights& weights,
                 const OutputRange& range, const ColumnTerms& terms, const Epilogue<Output>& epilogue,
                 std::uint8_t* scratch) {
  const int block = row_block(weights);
  auto* row_sums = reinterpret_cast<std::int32_t*>(scratch);
  std::uint8_t* gathered = scratch + kMaxRowBlock * sizeof(std::int32_t);
  const std::size_t gathered_stride = gathered_row_bytes(weights);
  const bool in_place = weights.method != Int8Method::kDot16 && input.rows.conv == nullptr &&
                        activation_shift(input, weights.method) == 0;

  alignas(16) std::int32_t sums[kRowTile * kColumnTile];
  for (int m = range.row_begin; m < range.row_end; m += block) {
    const int rows = std::min(block, range.row_end - m);
    const std::uint8_t* a = gathered;
    std::size_t stride = gathered_stride;
    if (in_place) {
      a = input.rows.data + m * input.rows.row_stride;
      stride = static_cast<std::size_t>(input.rows.row_stride);
    } else {
      gather_rows(input, weights, m, m + rows, gathered, gathered_stride);
    }
    if (weights.zero_points != nullptr) sum_rows(a, stride, rows, weights, row_sums);

    for (int n = range.column_begin; n < range.column_end; n += kColumnTile) {
      const int column = n - range.column_begin;
      const int count = std::min(kColumnTile, range.column_end - n);
      const std::int8_t* w = weights.tiles + static_cast<std::size_t>(n) * weights.padded_depth;
      const v128_t offset_lo = wasm_v128_load(terms.offsets + column);
      const v128_t offset_hi = wasm_v128_load(terms.offsets + column + 4);
      for (int r = 0; r < rows; r += kRowTile) {
        const int tile_rows = std::min(kRowTile, rows - r);
        tiles[tile_rows - 1](a + r * stride, stride, w, weights.padded_depth, sums);
        for (int i = 0; i < tile_rows; ++i) {
          v128_t lo = wasm_i32x4_add(wasm_v128_load(sums + i * kColumnTile), offset_lo);
          v128_t hi = wasm_i32x4_add(wasm_v128_load(sums + i * kColumnTile + 4), offset_hi);
          if (weights.zero_points != nullptr) {
            const v128_t row_sum = wasm_i32x4_splat(row_sums[r + i]);
            lo = wasm_i32x4_sub(lo, wasm_i32x4_mul(row_sum, wasm_v128_load(weights.zero_points + n)));
            hi = wasm_i32x4_sub(hi, wasm_i32x4_mul(row_sum, wasm_v128_load(weights.zero_points + n + 4)));
          }
          epilogue.row(m + r + i, n, column, count, lo, hi);
        }
      }
    }
  }
}

template <class Isa, class Output>
void gemm(const Int8Input& input, const Int8Weights& weights, const Output& output, const OutputRange& range,
          void* scratch) {
  if (range.row_begin >= range.row_end || range.column_begin >= range.column_end) return;
  if constexpr (!Isa::kVector) {
    scalar_gemm(input, weights, output, range);
  } else {
    const int count = range.column_end - range.column_begin;
    const int padded = static_cast<int>(round_up(count, kColumnTile));
    const ColumnTerms terms = prepare_terms(output, range.column_begin, count, scratch);
    auto* rest = static_cast<std::uint8_t*>(scratch) + column_terms_bytes(padded);

    // sum (a - z_a)(w - z_w) = sum a' w - (z_a + shift) sum (w - z_w) - z_w sum a', with a' = a + shift
    const std::int32_t zero_point = input.zero_point + activation_shift(input, weights.method);
    for (int i = 0; i < padded; ++i) {
      terms.offsets[i] =
          wrap_add(terms.offsets[i], wrap_mul(-zero_point, weights.column_sums[range.column_begin + i]));
    }
    vector_gemm(tiles_for<Isa>(weights.method), input, weights, range, terms, Epilogue<Output>{output, terms},
                rest);
  }
}

}  // namespace

std::size_t packed_int8_weights_bytes(const WeightLayout& layout) {
  const std::size_t padded_columns = round_up(layout.columns, kColumnTile);
  const std::size_t padded_depth = round_up(layout.depth(), kDepthStep);
  return padded_columns * (padded_depth + 2 * sizeof(std::int32_t)) + kReadSlack;
}

template <class Isa>
Int8Weights pack_int8_weights(const Int8WeightSource& source, void* storage, const MachineReport& machine) {
  return pack(source, storage, std::is_same_v<Isa, Relaxed> ? machine.relaxed_dot : RelaxedDot::kAbsent);
}

std::size_t int8_gemm_scratch_bytes(const Int8Weights& weights) {
  return column_terms_bytes(weights.columns) + kMaxRowBlock * sizeof(std::int32_t) +
         static_cast<std::size_t>(row_block(weights)) * gathered_row_bytes(weights) + 64;
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

template Int8Weights pack_int8_weights<Scalar>(const Int8WeightSource&, void*, const MachineReport&);
template void int8_gemm<Scalar>(const Int8Input&, const Int8Weights&, const Int32Output&, const OutputRange&,
                                void*);
template void int8_gemm<Scalar>(const Int8Input&, const Int8Weights&, const QuantizedOutput&,
                                const OutputRange&, void*);
template void int8_gemm<Scalar>(const Int8Input&, const Int8Weights&, const FloatOutput&, const OutputRange&,
                                void*);
template Int8Weights pack_int8_weights<Simd128>(const Int8WeightSource&, void*, const MachineReport&);
template void int8_gemm<Simd128>(const Int8Input&, const Int8Weights&, const Int32Output&, const OutputRange&,
                                 void*);
template void int8_gemm<Simd128>(const Int8Input&, const Int8Weights&, const QuantizedOutput&,
                                 const OutputRange&, void*);
template void int8_gemm<Simd128>(const Int8Input&, const Int8Weights&, const FloatOutput&, const OutputRange&,
                                 void*);
#if ZEROPOINT_HAS_RELAXED_KERNELS
template Int8Weights pack_int8_weights<Relaxed>(const Int8WeightSource&, void*, const MachineReport&);
template void int8_gemm<Relaxed>(const Int8Input&, const Int8Weights&, const Int32Output&, const OutputRange&,
                                 void*);
template void int8_gemm<Relaxed>(const Int8Input&, const Int8Weights&, const QuantizedOutput&,
                                 const OutputRange&, void*);
template void int8_gemm<Relaxed>(const Int8Input&, const Int8Weights&, const FloatOutput&, const OutputRange&,
                                 void*);
#endif

}  // namespace zp::kernels
