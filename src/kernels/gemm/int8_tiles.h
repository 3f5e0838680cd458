// How 8-bit weights lie in their tiles: what packing writes and the kernels read.

#pragma once

#include "kernels/gemm/int8.h"

namespace zp::kernels {

inline constexpr int kDepthStep = 4;  // K is padded to this, whatever the group

// Neighbouring k that one lane of the instruction multiplies.
constexpr int group_of(Int8Method method) { return method == Int8Method::kDot16 ? 2 : 4; }

// The place of weight (n, k) in the tiles.
constexpr std::size_t tile_index(int n, int k, int padded_depth, int group) {
  const std::size_t tile = static_cast<std::size_t>(n / kColumnTile) * padded_depth * kColumnTile;
  return tile + static_cast<std::size_t>(k / group * group) * kColumnTile + n % kColumnTile * group +
         k % group;
}

}  // namespace zp::kernels
