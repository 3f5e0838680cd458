// com.microsoft's MatMulNBits: MatMul with weights of 4 bits (or 2, or 8) in blocks along K.
#pragma once

#include "ops/op.h"

namespace zp {

// Folds MatMul or Gemm with a constant B of 4 or 8 bits, in blocks along K (8 bits: or with a scale for each
// column), into MatMulNBits: with 2 bits where B makes use of four neighbouring integers alone. `transposed`:
// B is [N, K]. False: not such a B.
bool fold_to_nbits(Fold& f, const QuantizedEdge& b, bool transposed, ValueId bias);

}  // namespace zp
