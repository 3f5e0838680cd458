// Floats of 8 and 4 bits: what their bits mean, and which of them a number becomes. By the table of ONNX's
// Cast, and the papers that it names (arxiv.org/abs/2209.05433, arxiv.org/abs/2206.02915, OCP's MX formats).
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace zp {

constexpr bool is_small_float(DType type) {
  return (type >= DType::kFloat8E4M3FN && type <= DType::kFloat8E5M2FNUZ) || type == DType::kFloat4E2M1 ||
         type == DType::kFloat8E8M0;
}

// Cast's `saturate` and `round_mode`. A number that is too large for the type becomes the largest number of
// the type. Without `saturate` it becomes infinity or NaN, as the type has it; float4e2m1 always saturates.
struct Fit {
  enum class Round : uint8_t { kUp, kDown, kNearest };
  bool saturate = true;
  Round round = Round::kUp;  // of float8e8m0, which has powers of two alone; others round to the nearest even
};

// `type`: a small float. `code`: the bits of an element, unsigned.
float decoded(DType type, int code);
int encoded(DType type, double value, Fit fit);

}  // namespace zp
