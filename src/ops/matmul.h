// What MatMul and its integer forms share: shapes by numpy's rules, batches as products.
#pragma once

#include "ops/op.h"
#include "ops/product/product.h"

namespace zp {

// Shape rule for the product of inputs `a` and `b`, output of `type`.
void infer_matmul(InferContext& c, size_t a, size_t b, DType type);
// Multiply-accumulates of inputs 0 and 1.
double matmul_macs(const InferContext& c);
// A product for each element of the batch; one for all where b has no batch of its own.
Product matmul_product(const Shape& a, const Shape& b);
// Columns of the product.
int64_t matmul_columns(const Shape& b);

}  // namespace zp
