#include "kernels/movement/transpose.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/tensor.h"
#include "kernels/simd.h"

namespace zp::kernels {
namespace {

// One matrix: element (row, column) is at in + (row * in_stride + column), and goes to out + (column *
// out_stride + row). Strides in elements.
template <class T>
void turn_scalar(const T* in, int64_t in_stride, T* out, int64_t out_stride, int64_t rows, int64_t columns) {
  for (int64_t c = 0; c < columns; ++c)
    for (int64_t r = 0; r < rows; ++r) out[c * out_stride + r] = in[r * in_stride + c];
}

template <size_t kBytes>
v128_t interleave_low(v128_t a, v128_t b) {
  if constexpr (kBytes == 1) {
    return wasm_i8x16_shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  } else if constexpr (kBytes == 2) {
    return wasm_i16x8_shuffle(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  } else if constexpr (kBytes == 4) {
    return wasm_i32x4_shuffle(a, b, 0, 4, 1, 5);
  } else {
    return wasm_i64x2_shuffle(a, b, 0, 2);
  }
}

template <size_t kBytes>
v128_t interleave_high(v128_t a, v128_t b) {
  if constexpr (kBytes == 1) {
    return wasm_i8x16_shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  } else if constexpr (kBytes == 2) {
    return wasm_i16x8_shuffle(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
  } else if constexpr (kBytes == 4) {
    return wasm_i32x4_shuffle(a, b, 2, 6, 3, 7);
  } else {
    return wasm_i64x2_shuffle(a, b, 1, 3);
  }
}

// A square of as many rows as a vector has lanes. Interleaving row i with row i + half rotates the bits of
// (row, column) by one place; after log2(lanes) rounds row and column have changed places.
template <class T>
void turn_tile(const T* in, int64_t in_stride, T* out, int64_t out_stride) {
  constexpr int kLanes = 16 / sizeof(T);
  v128_t a[kLanes], b[kLanes];
  for (int i = 0; i < kLanes; ++i) a[i] = wasm_v128_load(in + i * in_stride);
  for (int round = 1; round < kLanes; round *= 2) {
    for (int i = 0; i < kLanes / 2; ++i) {
      b[2 * i] = interleave_low<sizeof(T)>(a[i], a[i + kLanes / 2]);
      b[2 * i + 1] = interleave_high<sizeof(T)>(a[i], a[i + kLanes / 2]);
    }
    for (int i = 0; i < kLanes; ++i) a[i] = b[i];
  }
  for (int i = 0; i < kLanes; ++i) wasm_v128_store(out + i * out_stride, a[i]);
}

template <class Isa, class T>
void transpose_matrix(const std::byte* from, int64_t in_stride, std::byte* to, int64_t out_stride,
                      int64_t rows, int64_t columns) {
  const T* in = reinterpret_cast<const T*>(from);
  T* out = reinterpret_cast<T*>(to);
  if constexpr (Isa::kVector) {
    constexpr int64_t kLanes = 16 / sizeof(T);
    const int64_t whole_rows = rows / kLanes * kLanes;
    const int64_t whole_columns = columns / kLanes * kLanes;
    // A cache line's worth of columns at a time: each line that is read is used up, and the lines that are
    // written fit the first-level cache.
    constexpr int64_t kBlock = std::max<int64_t>(64 / sizeof(T), kLanes);
    for (int64_t block = 0; block < whole_columns; block += kBlock) {
      const int64_t end = std::min(block + kBlock, whole_columns);
      for (int64_t r = 0; r < whole_rows; r += kLanes)
        for (int64_t c = block; c < end; c += kLanes)
          turn_tile(in + (r * in_stride + c), in_stride, out + (c * out_stride + r), out_stride);
    }
    turn_scalar(in + whole_rows * in_stride, in_stride, out + whole_rows, out_stride, rows - whole_rows,
                whole_columns);
    turn_scalar(in + whole_columns, in_stride, out + whole_columns * out_stride, out_stride, rows,
                columns - whole_columns);
  } else {
    turn_scalar(in, in_stride, out, out_stride, rows, columns);
  }
}

}  // namespace

TransposePlan::TransposePlan(std::span<const int64_t> in_dims, std::span<const int> perm,
                             size_t element_bytes)
    : element_bytes_(element_bytes) {
  const size_t rank = in_dims.size();
  std::vector<char> seen(rank, 0);
  bool valid = perm.size() == rank;
  for (size_t i = 0; valid && i < rank; ++i) {
    valid = perm[i] >= 0 && static_cast<size_t>(perm[i]) < rank && !seen[static_cast<size_t>(perm[i])];
    if (valid) seen[static_cast<size_t>(perm[i])] = 1;
  }
  if (!valid) {
    const std::vector<int64_t> wide(perm.begin(), perm.end());
    throw_error(ErrorCode::kShapeMismatch,
                {"perm ", wide, " is not a permutation of the dimensions of ", in_dims});
  }
  std::vector<int64_t> strides(rank, 1);
  for (size_t i = rank; i-- > 1;) strides[i - 1] = strides[i] * in_dims[i];
  const int64_t total = rank ? strides[0] * in_dims[0] : 1;

  std::vector<Dimension> merged;
  for (size_t i = 0; i < rank; ++i) {
    const auto from = static_cast<size_t>(perm[i]);
    const int64_t size = in_dims[from], stride = strides[from];
    if (size == 1) continue;
    if (!merged.empty() && merged.back().in_stride == stride * size) {
      merged.back() = {merged.back().size * size, stride, 0};
    } else {
      merged.push_back({size, stride, 0});
    }
  }
  if (total == 0) return;  // nothing to move: outer() is 0
  if (merged.empty()) merged.push_back({1, 1, 0});
  if (merged.size() > static_cast<size_t>(kMaxRank)) {
    throw_error(ErrorCode::kUnsupportedType, {"a transposition of ", rank, " dimensions"});
  }
  rank_ = static_cast<int>(merged.size());
  int64_t out_stride = 1;
  for (int i = rank_; i-- > 0;) {
    Dimension& d = dims_[static_cast<size_t>(i)];
    d = merged[static_cast<size_t>(i)];
    d.out_stride = out_stride;
    out_stride *= d.size;
    if (d.in_stride == 1) contiguous_ = i;
  }
  outer_ = dims_[0].size;
  outer_bytes_ = dims_[0].out_stride * static_cast<int64_t>(element_bytes);
}

// The dimension that is contiguous in the input (its `columns` first entries) against the one that is in the
// output.
template <class Isa>
void TransposePlan::turn(const std::byte* in, std::byte* out, int64_t columns, int64_t rows) const {
  const int64_t in_stride = dims_[static_cast<size_t>(rank_ - 1)].in_stride;
  const int64_t out_stride = dims_[static_cast<size_t>(contiguous_)].out_stride;
  switch (element_bytes_) {
    case 1:
      return transpose_matrix<Isa, uint8_t>(in, in_stride, out, out_stride, rows, columns);
    case 2:
      return transpose_matrix<Isa, uint16_t>(in, in_stride, out, out_stride, rows, columns);
    case 4:
      return transpose_matrix<Isa, uint32_t>(in, in_stride, out, out_stride, rows, columns);
    case 8:
      return transpose_matrix<Isa, uint64_t>(in, in_stride, out, out_stride, rows, columns);
    default: {
      const auto bytes = static_cast<int64_t>(element_bytes_);
      for (int64_t c = 0; c < columns; ++c)
        for (int64_t r = 0; r < rows; ++r)
          std::memcpy(out + (c * out_stride + r) * bytes, in + (r * in_stride + c) * bytes, element_bytes_);
    }
  }
}

template <class Isa>
void TransposePlan::run(const std::byte* in, std::byte* out, int64_t begin, int64_t end) const {
  if (begin >= end || rank_ == 0) return;
  const auto bytes = static_cast<int64_t>(element_bytes_);
  const Dimension& outer = dims_[0];
  in += begin * outer.in_stride * bytes;
  out += begin * outer.out_stride * bytes;
  if (rank_ == 1) {
    std::memcpy(out, in, static_cast<size_t>((end - begin) * bytes));
    return;
  }
  const int last = rank_ - 1;
  const Dimension& inner = dims_[static_cast<size_t>(last)];
  const bool runs = contiguous_ == last;
  // All dimensions but the last and, when matrices are turned, the contiguous one: counted like an odometer.
  std::array<Dimension, kMaxRank> loop{};
  std::array<int64_t, kMaxRank> at{};
  int loops = 0;
  for (int i = 0; i < last; ++i) {
    if (!runs && i == contiguous_) continue;
    loop[static_cast<size_t>(loops)] = dims_[static_cast<size_t>(i)];
    if (i == 0) loop[static_cast<size_t>(loops)].size = end - begin;
    ++loops;
  }
  int64_t columns = dims_[static_cast<size_t>(contiguous_)].size;
  if (!runs && contiguous_ == 0) columns = end - begin;
  const auto run_bytes = static_cast<size_t>(inner.size * bytes);
  for (;;) {
    if (runs) {
      std::memcpy(out, in, run_bytes);
    } else {
      turn<Isa>(in, out, columns, inner.size);
    }
    int i = loops - 1;
    for (; i >= 0; --i) {
      const Dimension& d = loop[static_cast<size_t>(i)];
      int64_t& index = at[static_cast<size_t>(i)];
      in += d.in_stride * bytes;
      out += d.out_stride * bytes;
      if (++index < d.size) break;
      in -= d.size * d.in_stride * bytes;
      out -= d.size * d.out_stride * bytes;
      index = 0;
    }
    if (i < 0) return;
  }
}

#define ZP_INSTANTIATE(Isa) \
  template void TransposePlan::run<Isa>(const std::byte*, std::byte*, int64_t, int64_t) const;
ZP_FOR_EACH_ISA(ZP_INSTANTIATE)
#undef ZP_INSTANTIATE

void transpose(const std::byte* in, std::byte* out, std::span<const int64_t> in_dims,
               std::span<const int> perm, size_t element_bytes) {
  TransposePlan(in_dims, perm, element_bytes).run(in, out);
}

void transpose_floats(const float* from, int64_t in_stride, float* to, int64_t out_stride, int64_t rows,
                      int64_t columns) {
  transpose_matrix<Best, uint32_t>(reinterpret_cast<const std::byte*>(from), in_stride,
                                   reinterpret_cast<std::byte*>(to), out_stride, rows, columns);
}

}  // namespace zp::kernels
