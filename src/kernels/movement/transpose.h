// Reorders dimensions, as fast as memory allows: dimensions that stay together are merged first, then either
// runs of bytes are copied or square tiles are turned over in registers. Every value moves as bytes, so any
// element type will do.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/isa.h"

namespace zp::kernels {

// output dimension i is input dimension perm[i], as in ONNX's Transpose. Made once, run as often as wanted.
class TransposePlan {
 public:
  static constexpr int kMaxRank = 16;  // after merging; nothing real has more

  TransposePlan() = default;
  // `element_bytes` is 1, 2, 4, 8 or 16. Throws kShapeMismatch when perm is no permutation of the dimensions
  // and kUnsupportedType for more than kMaxRank dimensions that do not merge.
  TransposePlan(std::span<const int64_t> in_dims, std::span<const int> perm, size_t element_bytes);

  // Nothing moves: input and output are the same bytes.
  bool is_copy() const { return rank_ <= 1; }
  // Work can be split along the output's (merged) outermost dimension, which has this size.
  int64_t outer() const { return outer_; }
  // Bytes that one step of outer() writes.
  int64_t outer_bytes() const { return outer_bytes_; }

  // Writes steps [begin, end) of the output's outermost dimension. `in` and `out` are the whole arrays.
  template <class Isa = Best>
  void run(const std::byte* in, std::byte* out, int64_t begin, int64_t end) const;
  template <class Isa = Best>
  void run(const std::byte* in, std::byte* out) const {
    run<Isa>(in, out, 0, outer_);
  }

 private:
  struct Dimension {
    int64_t size, in_stride, out_stride;  // strides in elements
  };
  template <class Isa>
  void turn(const std::byte* in, std::byte* out, int64_t columns, int64_t rows) const;

  std::array<Dimension, kMaxRank> dims_{};  // of the output, outermost first
  int rank_ = 0;
  int contiguous_ = 0;  // the dimension whose neighbours are neighbours in the input
  size_t element_bytes_ = 0;
  int64_t outer_ = 0, outer_bytes_ = 0;
};

// Both at once, for one use.
void transpose(const std::byte* in, std::byte* out, std::span<const int64_t> in_dims,
               std::span<const int> perm, size_t element_bytes);

// `to` becomes the transpose of rows that lie in_stride apart; its own lie out_stride apart. In elements.
void transpose_floats(const float* from, int64_t in_stride, float* to, int64_t out_stride, int64_t rows,
                      int64_t columns);

}  // namespace zp::kernels
