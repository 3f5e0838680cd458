// What the kernels of all products have: their tasks, and how a run's scratch memory is laid out.
#pragma once

#include <cstddef>
#include <vector>

#include "ops/product/product.h"
#include "ops/product/split.h"

namespace zp {

// Parts of memory that different threads write begin on cache lines of their own.
inline size_t cache_aligned(size_t bytes) { return kernels::round_up(bytes, 64); }

struct ProductFrame {
  Product product;
  std::vector<ProductTask> tasks;
  std::vector<size_t> packed_at;  // weights packed in each run: where, in scratch
  size_t transposed_at = 0, gather_at = 0, gather_bytes = 0;

  // Lays out scratch: [left matrix transposed][weights packed in each run][rows gathered by each thread].
  void lay_out(PrepareContext& c, size_t element, const std::vector<size_t>& packed_bytes, size_t per_thread);

  void* gather(const RunContext& r, int thread) const {
    return r.scratch<std::byte>(gather_at + gather_bytes * static_cast<size_t>(thread));
  }

  // The left matrix, transposed if it has to be.
  // The left matrix, transposed if it has to be.
  template <class T>
  const T* input(const RunContext& r) const {
    const T* from = r.in<T>(product.input);
    if (!product.transposed) return from;
    T* to = r.scratch<T>(transposed_at);
    const int64_t rows = product.transposed->from_rows, columns = product.transposed->from_columns;
    r.parallel_range(columns, 16, [&](int64_t begin, int64_t end) {
      for (int64_t k = 0; k < rows; ++k)
        for (int64_t m = begin; m < end; ++m) to[m * rows + k] = from[k * columns + m];
    });
    return to;
  }
};

template <class T>
kernels::GemmInput<T> part_input(const ProductPart& part, const T* input = nullptr) {
  kernels::GemmInput<T> in;
  if (input) in.data = input + part.input_offset;
  if (part.conv && !part.conv->is_pointwise()) {
    in.conv = &*part.conv;
  } else {
    in.row_stride = part.conv ? part.conv->pixel_stride : part.row_stride;
  }
  return in;
}

}  // namespace zp
