// com.microsoft's MatMulNBits: MatMul with weights of 4 bits (or 2, or 8) in blocks along K.
#pragma once

#include "ops/op.h"

namespace zp {

// Weights of N columns with K numbers each, which are codes of so many bits (2, 4 or 8), in blocks along K.
struct NBits {
  int64_t k, n, block, blocks;  // blocks: of a column
  int bits;
};
// Such weights as floats [K, N], made by a DequantizeLinear where possible. codes: uint8 [N, blocks, bytes],
// the first in the lowest bits; scales [N, blocks]; points: zero points in bytes, a row for each column, or
// floats [N, blocks], or null; groups: the block of each of the K numbers, or null: in their order. Throws
// where shapes do not fit.
ValueId add_nbits(Canonicalize& c, const NBits& layout, const std::string& base, const Tensor& codes,
                  const Tensor& scales, const Tensor* points, const Tensor* groups);

// Folds MatMul or Gemm with a constant B of 4 or 8 bits, in blocks along K (8 bits: or with a scale for each
// column), into MatMulNBits: with 2 bits where B has only four neighbouring integers. `transposed`: B is [N,
// K]. False: not such a B.
bool fold_to_nbits(Fold& f, const QuantizedEdge& b, bool transposed, ValueId bias);

}  // namespace zp
