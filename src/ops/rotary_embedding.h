// The rotation of pairs of numbers by angles of their positions, for operators that have it inside.
#pragma once

#include "ops/expansion.h"

namespace zp {

struct Rotation {
  ValueId cosines,
      sines;           // tables [positions, size / 2], or with kNoValue positions [batch, steps, size / 2]
  ValueId positions;   // [batch or 1, steps]
  int64_t heads_axis;  // 1: x is [batch, heads, steps, ...]; 2: [batch, steps, heads, ...]
  // How many numbers of a head are rotated, an even number; nullopt: twice as many as a row of the tables
  // has.
  std::optional<int64_t> size;
  bool whole;       // a head has no other numbers
  bool neighbours;  // pairs are neighbours; otherwise the first half pairs with the second
};
// As a vector of one element.
ValueId add_rotated_size(Canonicalize& c, const Rotation& r);
// The parts of the rotated x, one behind the other in the last dimension.
std::vector<ValueId> rotated_parts(Canonicalize& c, ValueId x, const Rotation& r);

}  // namespace zp
