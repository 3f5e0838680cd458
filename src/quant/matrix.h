// Products of plain matrices for the passes that solve small problems of linear algebra: on the runtime's own
// kernels and threads.
#pragma once

#include <memory>
#include <vector>

#include "core/parallel.h"

namespace zp::quant {

// A right matrix [depth, columns], packed once.
class RightMatrix {
 public:
  // Rows after rows; or, `transposed`, columns after columns.
  RightMatrix(const float* values, int64_t depth, int64_t columns, bool transposed = false);

  // out [rows, columns] = left [rows, depth] * this. `pool` may be null.
  void multiply(const float* left, int64_t rows, float* out, ThreadPool* pool) const;

 private:
  int64_t depth_, columns_;
  std::shared_ptr<std::byte> storage_;
};

// x [rows, columns] transposed times itself: [columns, columns], some rows of it at a time.
class Gram {
 public:
  Gram(const std::vector<float>& x, int64_t rows, int64_t columns);
  // Makes the next rows of out; false: all are made.
  bool advance(float* out, ThreadPool* pool);

 private:
  int64_t rows_, columns_, at_ = 0;
  std::vector<float> transposed_;
  RightMatrix right_;
};

}  // namespace zp::quant
