#include "quant/matrix.h"

#include <algorithm>

#include "core/tensor.h"
#include "kernels/gemm/float.h"

namespace zp::quant {
namespace {

kernels::WeightLayout layout_of(int64_t depth, int64_t columns, bool transposed) {
  const int k = static_cast<int>(depth), n = static_cast<int>(columns);
  return transposed ? kernels::WeightLayout::transposed_matrix(k, n) : kernels::WeightLayout::matrix(k, n);
}

std::vector<float> transposed(const std::vector<float>& x, int64_t rows, int64_t columns) {
  std::vector<float> out(x.size() + kReadSlack);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      out[static_cast<size_t>(c * rows + r)] = x[static_cast<size_t>(r * columns + c)];
  return out;
}

}  // namespace

RightMatrix::RightMatrix(const float* values, int64_t depth, int64_t columns, bool transposed)
    : depth_(depth), columns_(columns) {
  const kernels::WeightLayout layout = layout_of(depth, columns, transposed);
  storage_ = allocate_bytes(kernels::packed_float_weights_bytes(layout));
  kernels::pack_float_weights(values, layout, storage_.get());
}

void RightMatrix::multiply(const float* left, int64_t rows, float* out, ThreadPool* pool) const {
  const kernels::FloatWeights weights{reinterpret_cast<const float*>(storage_.get()),
                                      static_cast<int>(columns_), static_cast<int>(depth_)};
  const kernels::GemmInput<float> input{
      .data = left, .row_stride = static_cast<std::ptrdiff_t>(depth_), .conv = nullptr};
  kernels::FloatGemmOutput output;
  output.data = out;
  output.rows.stride = static_cast<std::ptrdiff_t>(columns_);
  constexpr int64_t kBlock = 4 * kernels::kRowTile;
  const int64_t blocks = (rows + kBlock - 1) / kBlock;
  const auto block = [&](int64_t b, int) {
    const kernels::OutputRange range{.row_begin = static_cast<int>(b * kBlock),
                                     .row_end = static_cast<int>(std::min(rows, (b + 1) * kBlock)),
                                     .column_begin = 0,
                                     .column_end = static_cast<int>(columns_)};
    kernels::float_gemm(input, weights, output, range, nullptr);
  };
  if (pool && blocks > 1) {
    pool->run(blocks, block);
  } else {
    for (int64_t b = 0; b < blocks; ++b) block(b, 0);
  }
}

Gram::Gram(const std::vector<float>& x, int64_t rows, int64_t columns)
    : rows_(rows),
      columns_(columns),
      transposed_(transposed(x, rows, columns)),
      right_(transposed_.data(), rows, columns, true) {}

bool Gram::advance(float* out, ThreadPool* pool) {
  if (at_ == columns_) return false;
  // Some ten million multiplications.
  constexpr int64_t kWork = 10'000'000;
  const int64_t most = std::max<int64_t>(8, kWork / std::max<int64_t>(1, rows_ * columns_));
  const int64_t count = std::min(most, columns_ - at_);
  right_.multiply(transposed_.data() + at_ * rows_, count, out + at_ * columns_, pool);
  at_ += count;
  return true;
}

}  // namespace zp::quant
