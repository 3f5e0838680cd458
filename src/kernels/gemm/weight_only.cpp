// Packed layout, tiles of eight columns one after another. K is padded to a multiple of kChunk (or of the
// block, if that is 16), with codes that mean zero.
//
//   8 bits:  [K / 2][8 columns][2], int8.
//   4 bits:  [K / 8][2 halves][16 bytes]. Bits 4p to 4p + 3 of 16-bit lane 2c + i of half h are the code, 0
//   to 15, of
//            column 4h + c and k = 2p + i: masking a vector leaves pairs of k that i32x4.dot_i16x8_s can
//            multiply, times 16^p, without a shift.
//   2 bits:  stored as 4 bits.
//
// Then the scales, [columns / 8][blocks][8] float, and, unless all are equal, the zero points, int32,
// likewise.
//
// Unsigned 8-bit codes become signed by flipping the top bit, signed 4- and 2-bit ones unsigned likewise; the
// zero points move along.
//
// Few rows are bound by memory and by unpacking, so they take the short way: activations are rounded, chunk
// by chunk, to 16 bits (an error below 2^-16 of the chunk's largest), multiplied as integers with the codes
// as they are, and the sums of a chunk scaled once. Many rows share the unpacking: a piece of a tile becomes
// floats in scratch memory, and the float kernel multiplies it.

#include "kernels/gemm/weight_only.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include "kernels/gemm/float_tile.h"
#include "kernels/probe.h"
#include "kernels/requantize.h"
#include "kernels/simd.h"

namespace zp::kernels {
namespace {

constexpr int kChunk = 32;        // of K with one activation scale; 8 rounds of 4-bit sums still fit 32 bits
constexpr int kDepthPiece = 512;  // of K as floats in scratch memory: 16 KB, within the L1 cache
constexpr int kMaxRowBlock = 96;

int chunk_of(const BlockWeights& weights) { return weights.block_size % kChunk == 0 ? kChunk : 16; }

struct Layout {
  int block_size;  // a multiple of 16
  int padded_depth;
  int blocks;
  int bits;  // as stored
  std::size_t tiles;
  std::size_t tile_bytes;

  explicit Layout(const BlockWeightSource& source) {
    block_size = source.block_size >= source.depth
                     ? static_cast<int>(round_up(std::max(source.depth, 1), kChunk))
                     : source.block_size;
    padded_depth = static_cast<int>(round_up(source.depth, block_size % kChunk == 0 ? kChunk : 16));
    blocks = (padded_depth + block_size - 1) / block_size;
    bits = source.bits == 8 ? 8 : 4;
    tiles = round_up(source.columns, kColumnTile) / kColumnTile;
    tile_bytes = static_cast<std::size_t>(padded_depth) * kColumnTile * bits / 8;
  }
};

// Code number `index`, as the unsigned number that stands there. 2^per_byte_log codes share a byte.
inline unsigned code_at(const std::uint8_t* codes, std::ptrdiff_t index, int per_byte_log) {
  const int bits = 8 >> per_byte_log;
  const std::ptrdiff_t within = index & ((1 << per_byte_log) - 1);
  return codes[index >> per_byte_log] >> (within * bits) & ((1U << bits) - 1);
}

// How far stored codes are from the source's values: stored = value + shift.
int stored_shift(const BlockWeightSource& source) {
  if (source.bits == 8) return source.is_signed ? 0 : -128;
  return source.is_signed ? 1 << (source.bits - 1) : 0;
}

int source_zero_point(const BlockWeightSource& source, int n, int block) {
  if (source.zero_points == nullptr) return source.is_signed ? 0 : 1 << (source.bits - 1);
  const std::ptrdiff_t index = n * source.scale_column_stride + block * source.scale_block_stride;
  const std::uint8_t raw = static_cast<const std::uint8_t*>(source.zero_points)[index];
  return source.is_signed ? static_cast<std::int8_t>(raw) : raw;
}

// Where the code of column j (0 to 7) and k stands in a tile.
struct CodePlace {
  std::size_t byte;
  int shift;
};
CodePlace place_of(int bits, int j, int k) {
  if (bits == 8) return {static_cast<std::size_t>(k / 2) * 16 + j * 2 + k % 2, 0};
  const int position = k % 8 / 2;  // 0 to 3: which four bits of the 16-bit lane
  const int lane = j % 4 * 2 + k % 2;
  return {static_cast<std::size_t>(k / 8) * 32 + j / 4 * 16 + lane * 2 + position / 2, position % 2 * 4};
}

// ---------------------------------------------------------------------------------------------------------------
// The specification

float weight_value(const BlockWeights& weights, int n, int k) {
  const std::size_t tile_bytes =
      static_cast<std::size_t>(weights.padded_depth) * kColumnTile * weights.bits / 8;
  const std::uint8_t* tile = weights.codes + n / kColumnTile * tile_bytes;
  const CodePlace place = place_of(weights.bits, n % kColumnTile, k);
  const int code =
      weights.bits == 8 ? static_cast<std::int8_t>(tile[place.byte]) : tile[place.byte] >> place.shift & 15;
  const std::size_t term =
      static_cast<std::size_t>(n / kColumnTile * weights.blocks + k / weights.block_size) * kColumnTile +
      n % kColumnTile;
  const float zero_point =
      weights.zero_points != nullptr ? weights.zero_points[term] : weights.common_zero_point;
  return (static_cast<float>(code) - zero_point) * weights.scales[term];
}

void scalar_gemm(const GemmInput<float>& input, const BlockWeights& weights, const FloatGemmOutput& output,
                 const OutputRange& range) {
  for (int m = range.row_begin; m < range.row_end; ++m) {
    const float* a = input.data + m * input.row_stride;
    float* y = output.data + output.rows.offset(m);
    for (int n = range.column_begin; n < range.column_end; ++n) {
      float sum = output.bias != nullptr ? output.bias[n] : 0.0F;
      for (int k = 0; k < weights.depth; ++k) sum += a[k] * weight_value(weights, n, k);
      sum = sum < output.lo ? output.lo : sum;
      y[n] = output.hi < sum ? output.hi : sum;
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------
// Few rows

// The four places of 4-bit codes. Not literals: V8 would make them anew for every use, with three
// instructions.
const volatile std::int16_t kMasks[3] = {0x000F, 0x00F0, 0x0F00};
const volatile std::int16_t kByteMask = 0x0F0F;

// Of rounded activations: the largest whose upper byte, after rounding, still fits.
constexpr float kLargestRounded = 32512.0F;

// The row, rounded to 16 bits, chunk by chunk: a = q * scale.
struct RoundedRow {
  std::int16_t* q;
  float* scales;               // per chunk
  std::int32_t* negated_sums;  // of q, per chunk
};

std::size_t rounded_row_bytes(const BlockWeights& weights) {
  const std::size_t chunks = static_cast<std::size_t>(weights.padded_depth / chunk_of(weights));
  return round_up(weights.padded_depth * sizeof(std::int16_t) + chunks * 8, kAlignment) + kReadSlack;
}

// With `bytes_apart`, q is stored in groups of eight as the upper bytes, signed, of numbers 0 4 1 5 2 6 3 7,
// then the lower ones, signed: as the codes in the lower and upper halves of packed bytes follow each other.
void round_row(const float* a, int depth, int padded_depth, int chunk, bool bytes_apart,
               const RoundedRow& row) {
  for (int k = 0, i = 0; k < padded_depth; k += chunk, ++i) {
    const int count = std::clamp(depth - k, 0, chunk);
    alignas(16) float x[kChunk] = {};
    std::memcpy(x, a + k, static_cast<std::size_t>(count) * sizeof(float));
    v128_t largest = wasm_f32x4_splat(0);
    for (int j = 0; j < chunk; j += 4)
      largest = wasm_f32x4_max(largest, wasm_f32x4_abs(wasm_v128_load(x + j)));
    largest = wasm_f32x4_max(largest, wasm_i32x4_shuffle(largest, largest, 2, 3, 0, 1));
    largest = wasm_f32x4_max(largest, wasm_i32x4_shuffle(largest, largest, 1, 0, 3, 2));
    const float max = wasm_f32x4_extract_lane(largest, 0);
    // Below 2^-100 the reciprocal could overflow; such a chunk counts as zero. NaN and infinity go through
    // the scale.
    const bool is_zero = max < 0x1p-100F;
    row.scales[i] = is_zero ? 0.0F : max / kLargestRounded;
    const v128_t reciprocal = wasm_f32x4_splat(is_zero ? 0.0F : kLargestRounded / max);
    const v128_t magic = wasm_f32x4_splat(kRoundingMagic);
    const v128_t magic_bits = wasm_i32x4_splat(kRoundingMagicBits);
    v128_t sum = wasm_i32x4_splat(0);
    for (int j = 0; j < chunk; j += 8) {
      const v128_t low = wasm_i32x4_sub(
          wasm_f32x4_add(wasm_f32x4_mul(wasm_v128_load(x + j), reciprocal), magic), magic_bits);
      const v128_t high = wasm_i32x4_sub(
          wasm_f32x4_add(wasm_f32x4_mul(wasm_v128_load(x + j + 4), reciprocal), magic), magic_bits);
      const v128_t both = wasm_i16x8_narrow_i32x4(low, high);
      v128_t stored = both;
      if (bytes_apart) {
        const v128_t upper = wasm_i16x8_shr(wasm_i16x8_add(both, wasm_i16x8_splat(128)), 8);
        stored = wasm_i8x16_shuffle(upper, both, 0, 8, 2, 10, 4, 12, 6, 14, 16, 24, 18, 26, 20, 28, 22, 30);
      }
      wasm_v128_store(row.q + k + j, stored);
      sum = wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(both, wasm_i16x8_splat(1)));
    }
    sum = wasm_i32x4_add(sum, wasm_i32x4_shuffle(sum, sum, 2, 3, 0, 1));
    sum = wasm_i32x4_add(sum, wasm_i32x4_shuffle(sum, sum, 1, 0, 3, 2));
    row.negated_sums[i] = -wasm_i32x4_extract_lane(sum, 0);
  }
}

// Adds the sums of one chunk, of four columns each, as integers.
template <int kBits>
inline void multiply_chunk(const std::uint8_t* codes, const std::int16_t* q, int chunk,
                           const v128_t (&masks)[3], v128_t& low, v128_t& high) {
  if constexpr (kBits == 8) {
    for (int k = 0; k < chunk; k += 2, codes += 16) {
      const v128_t x = wasm_v128_load32_splat(q + k);
      low = dot16_add(x, wasm_i16x8_load8x8(codes), low);
      high = dot16_add(x, wasm_i16x8_load8x8(codes + 8), high);
    }
  } else {
    v128_t c[2][3];  // sums times 1, 16 and 256
    unroll<2>([&](auto h) { unroll<2>([&](auto p) { c[h][p + 1] = wasm_i32x4_splat(0); }); });
    c[0][0] = low;
    c[1][0] = high;
#pragma clang loop unroll(disable)
    for (const std::int16_t* const end = q + chunk; q != end; q += 8, codes += 32) {
      const v128_t w[2] = {wasm_v128_load(codes), wasm_v128_load(codes + 16)};
      unroll<3>([&](auto p) {
        const v128_t x = wasm_v128_load32_splat(q + 2 * p);
        unroll<2>([&](auto h) { c[h][p] = dot16_add(x, wasm_v128_and(w[h], masks[p]), c[h][p]); });
      });
      const v128_t x = wasm_v128_load32_splat(q + 6);
      unroll<2>([&](auto h) { c[h][0] = dot16_add(x, wasm_u16x8_shr(w[h], 12), c[h][0]); });
    }
    const auto together = [&](auto h) {
      return wasm_i32x4_add(c[h][0], wasm_i32x4_add(wasm_i32x4_shr(c[h][1], 4), wasm_i32x4_shr(c[h][2], 8)));
    };
    low = together(std::integral_constant<int, 0>{});
    high = together(std::integral_constant<int, 1>{});
  }
}

#if ZEROPOINT_HAS_RELAXED_KERNELS
// The same for 4-bit codes and activations whose bytes stand apart.
inline void multiply_chunk_of_bytes(const std::uint8_t* codes, const std::int16_t* q, int chunk, v128_t mask,
                                    v128_t& low, v128_t& high) {
  v128_t upper[2] = {wasm_i32x4_splat(0), wasm_i32x4_splat(0)};
  v128_t lower[2] = {low, high};
#pragma clang loop unroll(disable)
  for (const std::int16_t* const end = q + chunk; q != end; q += 8, codes += 32) {
    unroll<2>([&](auto h) {
      const v128_t w = wasm_v128_load(codes + h * 16);
      const v128_t first = wasm_v128_and(w, mask);
      const v128_t second = wasm_v128_and(wasm_u16x8_shr(w, 4), mask);
      upper[h] = relaxed_dot_add(wasm_v128_load32_splat(q), first, upper[h]);
      lower[h] = relaxed_dot_add(wasm_v128_load32_splat(q + 4), first, lower[h]);
      upper[h] = relaxed_dot_add(wasm_v128_load32_splat(q + 2), second, upper[h]);
      lower[h] = relaxed_dot_add(wasm_v128_load32_splat(q + 6), second, lower[h]);
    });
  }
  low = wasm_i32x4_add(lower[0], wasm_i32x4_shl(upper[0], 8));
  high = wasm_i32x4_add(lower[1], wasm_i32x4_shl(upper[1], 8));
}
#endif

template <class Isa, int kBits, bool kBytesApart>
void multiply_row(const RoundedRow& row, const BlockWeights& weights, int tile, float* sums) {
  const int chunk = chunk_of(weights);
  const std::uint8_t* codes =
      weights.codes + static_cast<std::size_t>(tile) * weights.padded_depth * kColumnTile * kBits / 8;
  const std::size_t first_term = static_cast<std::size_t>(tile) * weights.blocks * kColumnTile;
  const float* scales = weights.scales + first_term;
  const std::int32_t* zero_points =
      weights.zero_points != nullptr ? weights.zero_points + first_term : nullptr;
  [[maybe_unused]] const v128_t byte_mask = wasm_i16x8_splat(kByteMask);
  [[maybe_unused]] const v128_t masks[3] = {wasm_i16x8_splat(kMasks[0]), wasm_i16x8_splat(kMasks[1]),
                                            wasm_i16x8_splat(kMasks[2])};
  v128_t y_low = wasm_v128_load(sums);
  v128_t y_high = wasm_v128_load(sums + 4);
  const int chunks_of_block = weights.block_size / chunk;
  int left = chunks_of_block;
  v128_t z_low = wasm_i32x4_splat(weights.common_zero_point);
  v128_t z_high = z_low;
  for (int k = 0, i = 0; k < weights.padded_depth; k += chunk, ++i) {
    if (zero_points != nullptr) {
      z_low = wasm_v128_load(zero_points);
      z_high = wasm_v128_load(zero_points + 4);
    }
    // sum of q (code - z) = sum of q code - z sum of q
    const v128_t negated_sum = wasm_v128_load32_splat(row.negated_sums + i);
    v128_t low = wasm_i32x4_mul(negated_sum, z_low);
    v128_t high = wasm_i32x4_mul(negated_sum, z_high);
    if constexpr (kBytesApart) {
#if ZEROPOINT_HAS_RELAXED_KERNELS
      multiply_chunk_of_bytes(codes, row.q + k, chunk, byte_mask, low, high);
#endif
    } else {
      multiply_chunk<kBits>(codes, row.q + k, chunk, masks, low, high);
    }
    const v128_t scale = wasm_v128_load32_splat(row.scales + i);
    y_low = madd<Isa>(wasm_f32x4_convert_i32x4(low), wasm_f32x4_mul(scale, wasm_v128_load(scales)), y_low);
    y_high =
        madd<Isa>(wasm_f32x4_convert_i32x4(high), wasm_f32x4_mul(scale, wasm_v128_load(scales + 4)), y_high);
    codes += static_cast<std::size_t>(chunk) * kColumnTile * kBits / 8;
    if (--left == 0) {
      left = chunks_of_block;
      scales += kColumnTile;
      if (zero_points != nullptr) zero_points += kColumnTile;
    }
  }
  wasm_v128_store(sums, y_low);
  wasm_v128_store(sums + 4, y_high);
}

// ---------------------------------------------------------------------------------------------------------------
// Many rows

// Codes of two neighbouring k in the halves of each 32-bit lane become two rows of four floats.
inline void store_pair(v128_t pairs, v128_t zero_point, v128_t scale, float* target) {
  const v128_t even = wasm_i32x4_shr(wasm_i32x4_shl(pairs, 16), 16);
  const v128_t odd = wasm_i32x4_shr(pairs, 16);
  const auto value = [&](v128_t code) {
    return wasm_f32x4_mul(wasm_f32x4_convert_i32x4(wasm_i32x4_sub(code, zero_point)), scale);
  };
  wasm_v128_store(target, value(even));
  wasm_v128_store(target + kColumnTile, value(odd));
}

// Values k of [begin, end) of a tile, as [k][8] floats.
template <int kBits>
void dequantize(const BlockWeights& weights, int tile, int begin, int end, float* target) {
  const std::uint8_t* codes =
      weights.codes +
      (static_cast<std::size_t>(tile) * weights.padded_depth + begin) * kColumnTile * kBits / 8;
  constexpr int kStep = 8;
  v128_t zero_point[2], scale[2];
  for (int k = begin; k < end; k += kStep, target += kStep * kColumnTile) {
    if (k == begin || k % weights.block_size == 0) {
      const std::size_t term =
          static_cast<std::size_t>(tile * weights.blocks + k / weights.block_size) * kColumnTile;
      for (int h = 0; h < 2; ++h) {
        scale[h] = wasm_v128_load(weights.scales + term + h * 4);
        zero_point[h] = weights.zero_points != nullptr ? wasm_v128_load(weights.zero_points + term + h * 4)
                                                       : wasm_i32x4_splat(weights.common_zero_point);
      }
    }
    for (int h = 0; h < 2; ++h) {
      if constexpr (kBits == 8) {
        for (int pair = 0; pair < 4; ++pair) {
          store_pair(wasm_i16x8_load8x8(codes + pair * 16 + h * 8), zero_point[h], scale[h],
                     target + pair * 2 * kColumnTile + h * 4);
        }
      } else {
        const v128_t w = wasm_v128_load(codes + h * 16);
        const v128_t nibble = wasm_i16x8_splat(0x000F);
        store_pair(wasm_v128_and(w, nibble), zero_point[h], scale[h], target + h * 4);
        store_pair(wasm_v128_and(wasm_u16x8_shr(w, 4), nibble), zero_point[h], scale[h],
                   target + 2 * kColumnTile + h * 4);
        store_pair(wasm_v128_and(wasm_u16x8_shr(w, 8), nibble), zero_point[h], scale[h],
                   target + 4 * kColumnTile + h * 4);
        store_pair(wasm_u16x8_shr(w, 12), zero_point[h], scale[h], target + 6 * kColumnTile + h * 4);
      }
    }
    codes += kStep * kColumnTile * kBits / 8;
  }
}

template <class Isa, int kBits>
void vector_gemm(const GemmInput<float>& input, const BlockWeights& weights, const FloatGemmOutput& output,
                 const OutputRange& range, void* scratch) {
  const FloatEpilogue epilogue{output};
  alignas(16) float sums[kMaxRowBlock * kColumnTile];
  const int few = range.row_end - range.row_begin;
  if (few < kFewRows) {
    const int chunk = chunk_of(weights);
    const std::size_t chunks = static_cast<std::size_t>(weights.padded_depth / chunk);
    bool bytes_apart = false;
    if constexpr (std::is_same_v<Isa, Relaxed> && kBits == 4) {
      const RelaxedDot meaning = probe().relaxed_dot;
      bytes_apart = meaning == RelaxedDot::kUnsigned || meaning == RelaxedDot::kSigned;
    }
    RoundedRow rows[kFewRows];
    for (int r = 0; r < few; ++r) {
      auto* memory = static_cast<std::byte*>(scratch) + r * rounded_row_bytes(weights);
      rows[r].q = reinterpret_cast<std::int16_t*>(memory);
      rows[r].scales = reinterpret_cast<float*>(rows[r].q + weights.padded_depth);
      rows[r].negated_sums = reinterpret_cast<std::int32_t*>(rows[r].scales + chunks);
      round_row(input.data + (range.row_begin + r) * input.row_stride, weights.depth, weights.padded_depth,
                chunk, bytes_apart, rows[r]);
    }
    for (int n = range.column_begin; n < range.column_end; n += kColumnTile) {
      const int count = std::min(kColumnTile, range.column_end - n);
      epilogue.begin(few, n, count, sums);
      for (int r = 0; r < few; ++r) {
        float* row_sums = sums + r * kColumnTile;
        if constexpr (std::is_same_v<Isa, Relaxed> && kBits == 4) {
          if (bytes_apart) {
            multiply_row<Isa, 4, true>(rows[r], weights, n / kColumnTile, row_sums);
            continue;
          }
        }
        multiply_row<Isa, kBits, false>(rows[r], weights, n / kColumnTile, row_sums);
      }
      epilogue.finish(range.row_begin, few, n, count, sums);
    }
    return;
  }
  auto* floats = static_cast<float*>(scratch);
  for (int m = range.row_begin; m < range.row_end; m += kMaxRowBlock) {
    const int rows = std::min(kMaxRowBlock, range.row_end - m);
    const float* a = input.data + m * input.row_stride;
    for (int n = range.column_begin; n < range.column_end; n += kColumnTile) {
      const int count = std::min(kColumnTile, range.column_end - n);
      epilogue.begin(rows, n, count, sums);
      for (int k = 0; k < weights.depth; k += kDepthPiece) {
        dequantize<kBits>(weights, n / kColumnTile, k, std::min(k + kDepthPiece, weights.padded_depth),
                          floats);
        multiply_float_rows<Isa>(a + k, input.row_stride, floats, std::min(kDepthPiece, weights.depth - k),
                                 rows, sums);
      }
      epilogue.finish(m, rows, n, count, sums);
    }
  }
}

}  // namespace

std::size_t packed_block_weights_bytes(const BlockWeightSource& source) {
  const Layout layout(source);
  return layout.tiles * (layout.tile_bytes + 2 * layout.blocks * kColumnTile * sizeof(float)) + kReadSlack;
}

BlockWeights pack_block_weights(const BlockWeightSource& source, void* storage) {
  const Layout layout(source);
  const std::size_t terms = layout.tiles * layout.blocks * kColumnTile;
  auto* codes = static_cast<std::uint8_t*>(storage);
  auto* scales = reinterpret_cast<float*>(codes + layout.tiles * layout.tile_bytes);
  auto* zero_points = reinterpret_cast<std::int32_t*>(scales + terms);

  BlockWeights weights;
  weights.codes = codes;
  weights.scales = scales;
  weights.columns = source.columns;
  weights.depth = source.depth;
  weights.padded_depth = layout.padded_depth;
  weights.block_size = layout.block_size;
  weights.blocks = layout.blocks;
  weights.bits = layout.bits;

  const int shift = stored_shift(source);
  std::memset(storage, 0, layout.tiles * layout.tile_bytes);
  bool equal = true;
  for (std::size_t tile = 0; tile < layout.tiles; ++tile) {
    for (int j = 0; j < kColumnTile; ++j) {
      const int n = static_cast<int>(tile) * kColumnTile + j;
      for (int b = 0; b < layout.blocks; ++b) {
        const std::size_t term = (tile * layout.blocks + b) * kColumnTile + j;
        // Columns that do not exist have scale zero; blocks beyond the last come from rounding up.
        const bool exists = n < source.columns && b * layout.block_size < source.depth;
        const std::ptrdiff_t index = n * source.scale_column_stride + b * source.scale_block_stride;
        scales[term] = exists ? source.scales[index] : 0.0F;
        zero_points[term] = exists ? source_zero_point(source, n, b) + shift : zero_points[0];
        equal &= zero_points[term] == zero_points[0];
      }
      if (n >= source.columns) continue;
      // Places repeat after eight k. Modulo the code's width, flipping the top bit is adding the shift.
      CodePlace places[8];
      for (int k = 0; k < 8; ++k) places[k] = place_of(layout.bits, j, k);
      const int per_byte_log = std::countr_zero(8U / static_cast<unsigned>(source.bits));
      const unsigned width_mask = (1U << source.bits) - 1;
      const auto* from = static_cast<const std::uint8_t*>(source.codes);
      std::uint8_t* target = codes + tile * layout.tile_bytes;
      std::ptrdiff_t index = n * source.column_stride;
      for (int k = 0; k < source.depth; ++k, index += source.depth_stride) {
        const CodePlace place = places[k % 8];
        const unsigned code =
            (code_at(from, index, per_byte_log) + static_cast<unsigned>(shift)) & width_mask;
        std::uint8_t& byte = target[static_cast<std::size_t>(k / 8) * layout.bits * 8 + place.byte];
        byte = static_cast<std::uint8_t>(byte | code << place.shift);
      }
    }
  }
  weights.zero_points = equal ? nullptr : zero_points;
  weights.common_zero_point = terms > 0 ? zero_points[0] : 0;
  return weights;
}

std::size_t weight_only_gemm_scratch_bytes(const BlockWeights& weights) {
  return std::max(kFewRows * rounded_row_bytes(weights),
                  std::size_t{kDepthPiece} * kColumnTile * sizeof(float));
}

template <class Isa>
void weight_only_gemm(const GemmInput<float>& input, const BlockWeights& weights,
                      const FloatGemmOutput& output, const OutputRange& range, void* scratch) {
  if (range.row_begin >= range.row_end) return;
  if constexpr (!Isa::kVector) {
    scalar_gemm(input, weights, output, range);
  } else if (weights.bits == 8) {
    vector_gemm<Isa, 8>(input, weights, output, range, scratch);
  } else {
    vector_gemm<Isa, 4>(input, weights, output, range, scratch);
  }
}

#define ZP_INSTANTIATE(Isa)                                                                                 \
  template void weight_only_gemm<Isa>(const GemmInput<float>&, const BlockWeights&, const FloatGemmOutput&, \
                                      const OutputRange&, void*);
ZP_FOR_EACH_ISA(ZP_INSTANTIATE)
#undef ZP_INSTANTIATE

}  // namespace zp::kernels
