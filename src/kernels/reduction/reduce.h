// Reductions over any set of dimensions, the index of an extreme, and running sums.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "core/dtype.h"
#include "kernels/isa.h"

namespace zp::kernels {

// How the dimensions of a tensor fall into kept and reduced ones; neighbours of the same kind are merged.
struct ReduceShape {
  static constexpr size_t kMaxDims = 6;
  struct Dims {
    size_t count = 0;
    std::array<int64_t, kMaxDims> extent = {},
                                  stride = {};  // outermost first; stride in elements of the input
    int64_t size() const {
      int64_t n = 1;
      for (size_t d = 0; d < count; ++d) n *= extent[d];
      return n;
    }
  };
  Dims kept, reduced;

  // reduced[d] says whether dimension d goes. nullopt when more than kMaxDims remain of a kind.
  static std::optional<ReduceShape> of(std::span<const int64_t> dims, std::span<const bool> reduced);

  // Fewest outputs that are worth a thread; whole vectors where neighbouring outputs are made together.
  int64_t grain() const;
};

enum class Reduce : uint8_t { kSum, kMean, kMax, kMin, kProd, kL1, kL2, kSumSquare, kLogSum, kLogSumExp };

// Elements [begin, end) of the output (in row-major order of the kept dimensions). Of no elements, a sum is
// 0, a product 1, a maximum -infinity, a mean 0 (as in ONNX Runtime).
//
// Extremes are those of a walk that starts with the first element and goes over to one that is larger: they
// are NaN if the first element is, and pass over NaNs behind it. (So does ONNX Runtime where it has no
// vectors, and arg_extreme, and pooling. The text of the operators says nothing.)
template <class Isa = Best>
void reduce(Reduce f, const ReduceShape& shape, const float* x, float* y, int64_t begin, int64_t end);

// Other types: float64 and integers, which wrap. Integer means round toward zero, as ONNX Runtime's do.
void reduce_any(Reduce f, const ReduceShape& shape, DType type, const void* x, void* y, int64_t begin,
                int64_t end);

// Index of the largest (or smallest) of `length` elements, the first (or last) of equals, at each position of
// x[outer][length][inner], for output elements [begin, end) of [outer][inner]. Of float32, float64 or
// integers.
struct ArgExtreme {
  int64_t length = 1, inner = 1;
  bool smallest = false, last = false;
};
void arg_extreme(const ArgExtreme& a, DType type, const void* x, int64_t* y, int64_t begin, int64_t end);

// Running sums (or products) along `length` of x[outer][length][inner], for positions [begin, end) of
// [outer][inner]. Of float32, float64 or integers of 32 or 64 bits.
struct CumulativeSum {
  int64_t length = 1, inner = 1;
  bool exclusive = false, reverse = false, product = false;
};
void cumulative_sum(const CumulativeSum& c, DType type, const void* x, void* y, int64_t begin, int64_t end);

}  // namespace zp::kernels
