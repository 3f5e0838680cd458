#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "kernels/gemm/int8_tiles.h"

namespace zp::kernels {
namespace {

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
  for (int y = 0; y < layout.lines(); ++y) {
    for (int x = 0; x < layout.kernel_width; ++x) {
      const std::uint8_t* from = columns + layout.line_offset(y) + x * layout.tap_x_stride;
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

#define ZP_INSTANTIATE(Isa) \
  template Int8Weights pack_int8_weights<Isa>(const Int8WeightSource&, void*, const MachineReport&);
ZP_FOR_EACH_ISA(ZP_INSTANTIATE)
#undef ZP_INSTANTIATE

}  // namespace zp::kernels
