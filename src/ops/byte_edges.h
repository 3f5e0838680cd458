// Quantized edges of 8 bits, between which operators move or look up bytes as they are.
#pragma once

#include "ops/op.h"

namespace zp {

// A Q or DQ of 8-bit integers with one scale, known before the run.
bool is_byte_edge(const EdgeQuant* edge);
// One scale for all elements, known before the run, and the same numbers.
bool same_quantization(const EdgeQuant& a, const EdgeQuant& b);

}  // namespace zp
