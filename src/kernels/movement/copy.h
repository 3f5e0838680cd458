// Copies boxes of elements between arrays: what Slice, Expand, Tile and Pad are made of.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace zp::kernels {

// One dimension of a box. Strides in elements: 0 repeats (Expand), negative runs backwards (Slice).
struct BoxDimension {
  int64_t size = 1, in_stride = 0, out_stride = 0;
};

// Element (i, j, ...) goes from in[i * in_stride + ...] to out[i * out_stride + ...]. Made once, run as often
// as wanted.
class BoxCopy {
 public:
  static constexpr size_t kMaxRank = 16;

  BoxCopy() = default;
  // Outermost dimension first. `element_bytes` is any size. Throws kUnsupportedType for more than kMaxRank
  // dimensions that do not merge.
  BoxCopy(std::span<const BoxDimension> dims, size_t element_bytes);

  // Work can be split along the outermost dimension that was left.
  int64_t outer() const { return outer_; }
  int64_t outer_bytes() const { return outer_bytes_; }  // that one step of it writes
  void run(const std::byte* in, std::byte* out, int64_t begin, int64_t end) const;
  void run(const std::byte* in, std::byte* out) const { run(in, out, 0, outer_); }

 private:
  std::array<BoxDimension, kMaxRank> dims_{};
  size_t rank_ = 0;
  size_t element_bytes_ = 1;
  int64_t outer_ = 0, outer_bytes_ = 0;
};

// Writes `count` copies of the element at `value`.
void fill(std::byte* out, int64_t count, const std::byte* value, size_t element_bytes);

// Float32 numbers below the smallest normal one become 0: x86 processors multiply them a hundred times more
// slowly, and no sum of a network notices them.
void flush_denormals(std::byte* floats, size_t bytes);

}  // namespace zp::kernels
