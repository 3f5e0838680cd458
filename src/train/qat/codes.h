// The integers of a weight or an activation, and where its elements find their scale.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/dtype.h"
#include "core/tensor.h"

namespace zp::train {

// Where an element of a weight finds its scale.
struct Channels {
  int64_t length = 1, inner = 1;
  size_t at(int64_t element) const { return static_cast<size_t>(element / inner % length); }
};

inline Channels channels_of(const Shape& dims, int axis, size_t scales) {
  Channels c;
  if (scales == 1) {
    c.inner = std::max<int64_t>(1, element_count(dims));
    return c;
  }
  c.length = dims[static_cast<size_t>(axis)];
  for (size_t d = static_cast<size_t>(axis) + 1; d < dims.size(); ++d) c.inner *= dims[d];
  return c;
}

inline float rounded(float x, float scale, int32_t zero_point, IntegerRange codes) {
  return std::clamp(std::nearbyint(x / scale), static_cast<float>(codes.min - zero_point),
                    static_cast<float>(codes.max - zero_point));
}

// The integers in the middle of a type that `bits` can tell apart.
inline IntegerRange middle_codes(DType dtype, int bits) {
  const IntegerRange all = integer_range(dtype);
  const int32_t middle = all.min < 0 ? 0 : (all.max + 1) / 2, half = 1 << (bits - 1);
  return {middle - half, middle + half - 1};
}

inline Tensor tensor_like(const Tensor& like, const std::vector<float>& values) {
  return Tensor::of<float>(like.dims(), values);
}

}  // namespace zp::train
