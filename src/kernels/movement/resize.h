// Resizing along axes, one table for each: nearest neighbours move bytes, everything else (linear, cubic,
// antialiased) is a weighted sum of a few elements along one axis at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/isa.h"

namespace zp::kernels {

// Output element i along an axis is input element from[i].
struct NearestAxis {
  int64_t in = 1;
  std::vector<int64_t> from;
};

class NearestPlan {
 public:
  NearestPlan() = default;
  // Outermost axis first. An axis whose `from` is empty keeps its elements. `element_bytes` is 1, 2, 4, 8 or
  // any other.
  NearestPlan(std::span<const NearestAxis> axes, size_t element_bytes);

  // Work can be split along the output's outermost axis with more than one element.
  int64_t outer() const { return outer_; }
  int64_t outer_bytes() const { return outer_bytes_; }
  void run(const std::byte* in, std::byte* out, int64_t begin, int64_t end) const;

 private:
  struct Axis {
    std::vector<int64_t> from;  // in bytes
    int64_t out_stride;         // bytes
    bool kept;                  // from[i] = i * stride
  };
  void level(size_t at, const std::byte* in, std::byte* out, int64_t begin, int64_t end) const;

  std::vector<Axis> axes_;
  size_t block_bytes_ = 0;  // what the innermost axis moves at once
  int64_t outer_ = 0, outer_bytes_ = 0;
};

// Output element i along the axis is the sum over k of weights[i * taps + k] * input[from[i * taps + k]].
struct WeightedAxis {
  int64_t in = 1, out = 1, taps = 1;
  std::vector<int64_t> from;
  std::vector<float> weights;
  bool cut = false;  // integers are cut toward zero, not rounded
};

// Of [outer, axis.in, inner] makes [outer, axis.out, inner]: rows [begin, end) of outer * axis.out. In and
// Out: float, uint8_t, int8_t; integers are rounded half to even (or cut) and clamped. Sums run in the order
// of the taps: the bits are the same in every build.
template <class Isa, class In, class Out>
void weigh_along(const In* in, Out* out, const WeightedAxis& axis, int64_t inner, int64_t begin, int64_t end);

}  // namespace zp::kernels
