#include "kernels/gemm/int8.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/function.h"
#include "kernels/gemm/gather.h"
#include "kernels/gemm/int8_epilogue.h"

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

// True if no sum of two neighbouring products with activations of 0 to 255 leaves 16 bits: 255 * 128 = 32640
// fits, 255 * 129 does not, and weights of opposite signs cannot add up.
bool pairs_fit_16_bits(const std::int8_t* tile, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; i += 2) {
    if (std::abs(tile[i] + tile[i + 1]) > 128) return false;
  }
  return true;
}

// Fills the tile of columns from n on, and adds up each column.
template <int kGroup>
void fill_tile(const Int8WeightSource& source, int n, int padded_depth, std::int8_t* tile,
               std::int32_t* sums) {
  const WeightLayout& layout = source.layout;
  const int count = std::min(kColumnTile, layout.columns - n);
  const std::uint8_t flip = source.is_unsigned ? 0x80 : 0;
  const auto* columns = static_cast<const std::uint8_t*>(source.data) + n * layout.column_stride;
  std::memset(tile, 0, static_cast<std::size_t>(padded_depth) * kColumnTile);
  std::fill_n(sums, kColumnTile, 0);
  int k = 0;
  for (int y = 0; y < layout.kernel_height; ++y) {
    for (int x = 0; x < layout.kernel_width; ++x) {
      const std::uint8_t* from = columns + y * layout.tap_y_stride + x * layout.tap_x_stride;
      for (int c = 0; c < layout.channels; ++c, ++k, from += layout.channel_stride) {
        std::int8_t* to = tile + k / kGroup * kGroup * kColumnTile + k % kGroup;
        for (int j = 0; j < count; ++j) {
          const auto value = static_cast<std::int8_t>(from[j * layout.column_stride] ^ flip);
          to[j * kGroup] = value;
          sums[j] += value;
        }
      }
    }
  }
}

// Fills all tiles; stops and returns false at one that a saturating dot product could get wrong.
bool fill_tiles(const Int8WeightSource& source, int padded_depth, Int8Method method, std::int8_t* tiles,
                std::int32_t* sums) {
  const std::size_t tile_bytes = static_cast<std::size_t>(padded_depth) * kColumnTile;
  for (int n = 0; n < source.layout.columns; n += kColumnTile, tiles += tile_bytes, sums += kColumnTile) {
    if (group_of(method) == 2) {
      fill_tile<2>(source, n, padded_depth, tiles, sums);
    } else {
      fill_tile<4>(source, n, padded_depth, tiles, sums);
    }
    if (method == Int8Method::kDot8Narrow && !pairs_fit_16_bits(tiles, tile_bytes)) return false;
  }
  return true;
}

Int8Weights pack(const Int8WeightSource& source, void* storage, RelaxedDot relaxed_dot) {
  const WeightLayout& layout = source.layout;
  const int depth = layout.depth();
  const int padded_depth = static_cast<int>(round_up(depth, kDepthStep));
  const std::size_t padded_columns = round_up(layout.columns, kColumnTile);

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
  if (!fill_tiles(source, padded_depth, weights.method, tiles, sums)) {
    weights.method = Int8Method::kDot16;
    fill_tiles(source, padded_depth, weights.method, tiles, sums);
  }

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
      point = static_cast<std::int8_t>(raw ^ flip);  // NOLINT(bugprone-signed-char-misuse): a number
    }
    sums[n] -= point * depth;
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

// A block of rows stays in the L2 cache while the weights' tiles stream past, each used for all its rows.
constexpr int kMaxRowBlock = 120;
constexpr std::size_t kRowBlockBytes = 192 * 1024;

// The 16-bit method cuts K into pieces whose weights, widened, stay in the L1 cache.
constexpr int kDepthBlock = 512;
constexpr int kWideStride = kDepthBlock + 8;  // of widened rows; room for a copy that overshoots

std::size_t gathered_row_bytes(const Int8Weights& weights) {
  // Room for copies that overshoot, and a stride that is no power of two: rows that all fall on the same few
  // sets of the cache would evict each other.
  return round_up(static_cast<std::size_t>(weights.padded_depth) + 16, 64) + 16;
}

int depth_blocks(const Int8Weights& weights) {
  return (weights.padded_depth + kDepthBlock - 1) / kDepthBlock;
}

int row_block(const Int8Weights& weights) {
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
std::int32_t sum_row(const std::uint8_t* row, int depth, bool is_signed) {
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

// ---------------------------------------------------------------------------------------------------------------
// The relaxed dot product: kRows rows times kStrips strips of eight columns, `strip` weights apart, all of K,
// added to `sums`, [kStrips][kRows][8].
//
// Two vectors hold a group of four weights for each of the eight columns; four activations of one row are
// broadcast by the load itself, which costs no shuffle.

#if ZEROPOINT_HAS_RELAXED_KERNELS

const volatile std::int16_t not_a_literal_one = 1;

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

#endif

// ---------------------------------------------------------------------------------------------------------------
// The 16-bit dot product: kRows rows times kStrips strips of eight columns, a piece of K, added to `sums`,
// [kStrips][kRows][8].
//
// A product and its addition are two instructions, so the loop is bound by how many instructions the machine
// takes in, not by its multipliers: everything else is moved out of it. Rows are widened, less their zero
// point, once per block; the weights' tile once per block and piece, unless few rows use it; and rows lie a
// constant apart, so that one pointer serves them all.

constexpr int kDot16Rows = 4;

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

// ---------------------------------------------------------------------------------------------------------------
// Blocks of rows

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

#if ZEROPOINT_HAS_RELAXED_KERNELS
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
#endif

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
