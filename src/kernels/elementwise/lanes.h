// Floats in lanes: one float in Scalar, four in the vector instruction sets, under the same names, so that a
// function of elements is written once. Min and max return their first argument where one is NaN: a NaN input
// stays NaN when it comes first, a NaN bound that comes second is none. Minimum and maximum, which take more
// instructions, are NaN where either argument is.

#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kernels/simd.h"

namespace zp::kernels {

template <class Isa>
struct Lanes;

template <>
struct Lanes<Scalar> {
  using Float = float;
  using Mask = bool;
  static constexpr size_t kCount = 1;

  static Float load(const float* p) { return *p; }
  static Float load_some(const float* p, size_t) { return *p; }
  static void store(float* p, Float v) { *p = v; }
  static void store_some(float* p, Float v, size_t) { *p = v; }
  static Float splat(float v) { return v; }
  static Float add(Float a, Float b) { return a + b; }
  static Float sub(Float a, Float b) { return a - b; }
  static Float mul(Float a, Float b) { return a * b; }
  static Float div(Float a, Float b) { return a / b; }
  static Float madd(Float a, Float b, Float c) { return c + a * b; }
  static Float min(Float a, Float b) { return b < a ? b : a; }
  static Float max(Float a, Float b) { return a < b ? b : a; }
  static Float minimum(Float a, Float b) { return b < a || b != b ? b : a; }
  static Float maximum(Float a, Float b) { return a < b || b != b ? b : a; }
  static Float abs(Float a) { return std::fabs(a); }
  static Float neg(Float a) { return -a; }
  static Float sqrt(Float a) { return std::sqrt(a); }
  static Float floor(Float a) { return std::floor(a); }
  static Float ceil(Float a) { return std::ceil(a); }
  static Float trunc(Float a) { return std::trunc(a); }
  static Float nearest(Float a) {
    return std::nearbyint(a);
  }  // half to even: nobody changes the rounding mode
  static Mask less(Float a, Float b) { return a < b; }
  static Mask equal(Float a, Float b) { return a == b; }
  static Float select(Mask m, Float yes, Float no) { return m ? yes : no; }
  static Float copy_sign(Float magnitude, Float sign) { return std::copysign(magnitude, sign); }
  // 2^n for an integer n in [-126, 127], given as a float; 1 for NaN.
  static Float power_of_two(Float n) {
    return std::bit_cast<float>(((n == n ? static_cast<int32_t>(n) : 0) + 127) << 23);
  }
  // The exponent and the mantissa of a positive normal number, with the mantissa in [sqrt(1/2), sqrt(2)).
  static void split(Float x, Float& exponent, Float& mantissa) {
    const int32_t bits = std::bit_cast<int32_t>(x) - kSqrtHalfBits;
    exponent = static_cast<float>(bits >> 23);
    mantissa = std::bit_cast<float>((bits & 0x7fffff) + kSqrtHalfBits);
  }
  static float sum(Float a) { return a; }
  static float highest(Float a) { return a; }
  static float lowest(Float a) { return a; }

  static constexpr int32_t kSqrtHalfBits = 0x3f3504f3;
};

// NaN is carried by the select-like forms of min and max as in Scalar: pmin(a, b) is b < a ? b : a.
template <class Isa>
  requires Isa::kVector
struct Lanes<Isa> {
  using Float = v128_t;
  using Mask = v128_t;
  static constexpr size_t kCount = 4;

  static Float load(const float* p) { return wasm_v128_load(p); }
  static Float load_some(const float* p, size_t n) { return load_bytes(p, n * sizeof(float)); }
  static void store(float* p, Float v) { wasm_v128_store(p, v); }
  static void store_some(float* p, Float v, size_t n) { store_bytes(p, v, n * sizeof(float)); }
  static Float splat(float v) { return wasm_f32x4_splat(v); }
  static Float add(Float a, Float b) { return wasm_f32x4_add(a, b); }
  static Float sub(Float a, Float b) { return wasm_f32x4_sub(a, b); }
  static Float mul(Float a, Float b) { return wasm_f32x4_mul(a, b); }
  static Float div(Float a, Float b) { return wasm_f32x4_div(a, b); }
  static Float madd(Float a, Float b, Float c) { return kernels::madd<Isa>(a, b, c); }
  static Float min(Float a, Float b) { return wasm_f32x4_pmin(a, b); }
  static Float max(Float a, Float b) { return wasm_f32x4_pmax(a, b); }
  // Both orders give the same but for NaNs, of which each passes over another one (and zeros, of which the or
  // is -0). A NaN with more bits is one still. The instructions that do all of it take twice as long on x86.
  static Float minimum(Float a, Float b) { return wasm_v128_or(min(a, b), min(b, a)); }
  static Float maximum(Float a, Float b) { return wasm_v128_or(max(a, b), max(b, a)); }
  static Float abs(Float a) { return wasm_f32x4_abs(a); }
  static Float neg(Float a) { return wasm_f32x4_neg(a); }
  static Float sqrt(Float a) { return wasm_f32x4_sqrt(a); }
  static Float floor(Float a) { return wasm_f32x4_floor(a); }
  static Float ceil(Float a) { return wasm_f32x4_ceil(a); }
  static Float trunc(Float a) { return wasm_f32x4_trunc(a); }
  static Float nearest(Float a) { return wasm_f32x4_nearest(a); }
  static Mask less(Float a, Float b) { return wasm_f32x4_lt(a, b); }
  static Mask equal(Float a, Float b) { return wasm_f32x4_eq(a, b); }
  static Float select(Mask m, Float yes, Float no) { return wasm_v128_bitselect(yes, no, m); }
  static Float copy_sign(Float magnitude, Float sign) {
    return wasm_v128_bitselect(sign, magnitude, wasm_i32x4_splat(INT32_MIN));
  }
  static Float power_of_two(Float n) {
    const v128_t biased = wasm_i32x4_add(wasm_i32x4_trunc_sat_f32x4(n), wasm_i32x4_splat(127));
    return wasm_i32x4_shl(biased, 23);
  }
  static void split(Float x, Float& exponent, Float& mantissa) {
    const v128_t half = wasm_i32x4_splat(Lanes<Scalar>::kSqrtHalfBits);
    const v128_t bits = wasm_i32x4_sub(x, half);
    exponent = wasm_f32x4_convert_i32x4(wasm_i32x4_shr(bits, 23));
    mantissa = wasm_i32x4_add(wasm_v128_and(bits, wasm_i32x4_splat(0x7fffff)), half);
  }
  static float sum(Float a) {
    return (wasm_f32x4_extract_lane(a, 0) + wasm_f32x4_extract_lane(a, 1)) +
           (wasm_f32x4_extract_lane(a, 2) + wasm_f32x4_extract_lane(a, 3));
  }
  static float highest(Float a) {
    const v128_t b = max(a, wasm_i32x4_shuffle(a, a, 2, 3, 0, 1));
    return wasm_f32x4_extract_lane(max(b, wasm_i32x4_shuffle(b, b, 1, 0, 3, 2)), 0);
  }
  static float lowest(Float a) {
    const v128_t b = min(a, wasm_i32x4_shuffle(a, a, 2, 3, 0, 1));
    return wasm_f32x4_extract_lane(min(b, wasm_i32x4_shuffle(b, b, 1, 0, 3, 2)), 0);
  }
};

// step(first element, how many) for whole vectors, and a last part of one.
template <class L, class Step>
[[gnu::always_inline]] inline void in_vectors(size_t begin, size_t end, const Step& step) {
  for (; begin + L::kCount <= end; begin += L::kCount) step(begin, L::kCount);
  if (begin < end) step(begin, end - begin);
}

}  // namespace zp::kernels
