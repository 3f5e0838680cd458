// Products of float32: what their kernels share with products whose weights alone are quantized.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "kernels/gemm/float.h"
#include "ops/product/frame.h"

namespace zp {

struct PackedFloat {
  std::shared_ptr<std::byte> storage;
  size_t bytes = 0;
  std::vector<kernels::FloatWeights> views;
};

std::shared_ptr<const PackedFloat> pack_float(const Product& product, const float* from);

struct FloatFrame : ProductFrame {
  FloatBias bias;
  Clamp clamp;
  std::shared_ptr<const PackedFloat> packed;  // null: packed in each run

  kernels::FloatGemmOutput output(const RunContext& r, const ProductPart& part) const {
    kernels::FloatGemmOutput y;
    y.data = r.out<float>(0) + part.output_offset;
    y.rows = part.output_rows;
    const float* b = bias.in(r);
    y.bias = b ? b + product.weights[static_cast<size_t>(part.weights)].first_column : nullptr;
    y.lo = clamp.lo;
    y.hi = clamp.hi;
    y.accumulate = static_cast<bool>(product.initialize);
    return y;
  }
};

// `packed`: null where weights are packed in each run.
Kernel float_kernel(PrepareContext& c, Product product, FloatBias bias,
                    std::shared_ptr<const PackedFloat> packed);

}  // namespace zp
