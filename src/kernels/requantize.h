// From int32 sums to quantized values, the one place that says how:
//
//   q = clamp(round_half_even(float(sum) * multiplier) + zero_point, lo, hi)
//
// as ONNX Runtime computes QLinearConv and QLinearMatMul. `sum` is converted to float (rounding half to even
// above 2^24), the product rounds once, and the clamp is done before rounding, on floats: lo and hi are
// integers and rounding is monotone, so the order does not matter, and the value then fits the rounding
// trick.
//
// The trick: a float of magnitude below 2^22 plus 1.5 * 2^23 has its unit in the last place equal to one, so
// the addition itself rounds half to even, and the integer stands in the low bits of the sum.

#pragma once

#include <bit>
#include <cstdint>

#include "kernels/simd.h"

namespace zp::kernels {

inline constexpr float kRoundingMagic = 12582912.0f;  // 1.5 * 2^23
inline constexpr std::int32_t kRoundingMagicBits = 0x4B400000;

// Where a quantized value lies: its zero point and the range it is clamped to, which is the type's own or,
// with a fused ReLU or Clip, a part of it. -128 <= lo <= hi <= 255.
struct QuantizedRange {
  std::int32_t zero_point = 0;
  std::int32_t lo = 0;
  std::int32_t hi = 255;

  float lo_offset() const { return static_cast<float>(lo - zero_point); }
  float hi_offset() const { return static_cast<float>(hi - zero_point); }
};

// The specification. A NaN (from a scale that is not finite) becomes lo.
inline std::int32_t requantize(std::int32_t sum, float multiplier, const QuantizedRange& range) {
  float x = static_cast<float>(sum) * multiplier;
  x = range.lo_offset() < x ? x : range.lo_offset();
  x = range.hi_offset() < x ? range.hi_offset() : x;
  return std::bit_cast<std::int32_t>(x + kRoundingMagic) - (kRoundingMagicBits - range.zero_point);
}

// The same for four sums. Gives int32 lanes within [lo, hi].
struct VectorRequantizer {
  v128_t lo, hi, magic, unmagic;

  explicit VectorRequantizer(const QuantizedRange& range)
      : lo(wasm_f32x4_splat(range.lo_offset())),
        hi(wasm_f32x4_splat(range.hi_offset())),
        magic(wasm_f32x4_splat(kRoundingMagic)),
        unmagic(wasm_i32x4_splat(kRoundingMagicBits - range.zero_point)) {}

  v128_t operator()(v128_t sums, v128_t multipliers) const {
    v128_t x = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(sums), multipliers);
    x = wasm_f32x4_pmax(lo, x);
    x = wasm_f32x4_pmin(x, hi);
    return wasm_i32x4_sub(wasm_f32x4_add(x, magic), unmagic);
  }
};

}  // namespace zp::kernels
