// 128-bit vectors as WebAssembly defines them: <wasm_simd128.h> under Emscripten, SIMDe's imitation natively.
//
// On top of it: the relaxed instructions that SIMDe lacks, and the few loads and stores of part of a vector
// that every kernel needs at the end of a row.

#pragma once

#if defined(__wasm__)
#include <wasm_simd128.h>
#else
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/wasm/simd128.h>
#endif

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "kernels/isa.h"

namespace zp::kernels {

// What an engine makes of `i32x4.relaxed_dot_i8x16_i7x16_add(a, b, c)` where `b` does not fit seven bits.
enum class RelaxedDot {
  kAbsent,      // no relaxed SIMD in this build
  kUnsigned,    // b is unsigned, the sum is exact (x86 with VNNI)
  kSigned,      // b is signed, the sum is exact (ARM with dot product, and engines that follow the text)
  kSaturating,  // b is unsigned, sums of two products saturate to 16 bits (x86 without VNNI)
};

#if !defined(__wasm__)
// The meaning that the imitation below has; tests set it.
inline RelaxedDot native_relaxed_dot = RelaxedDot::kUnsigned;

inline v128_t imitated_relaxed_dot_add(v128_t a, v128_t b, v128_t c) {
  std::int8_t as[16];
  std::uint8_t bs[16];
  std::int32_t cs[4];
  std::memcpy(as, &a, 16);
  std::memcpy(bs, &b, 16);
  std::memcpy(cs, &c, 16);
  for (int lane = 0; lane < 4; ++lane) {
    std::int32_t pair[2];
    for (int p = 0; p < 2; ++p) {
      const int i = lane * 4 + p * 2;
      const bool is_signed = native_relaxed_dot == RelaxedDot::kSigned;
      const int b0 = is_signed ? static_cast<std::int8_t>(bs[i]) : bs[i];
      const int b1 = is_signed ? static_cast<std::int8_t>(bs[i + 1]) : bs[i + 1];
      pair[p] = as[i] * b0 + as[i + 1] * b1;
      if (native_relaxed_dot == RelaxedDot::kSaturating) {
        pair[p] = pair[p] < -32768 ? -32768 : pair[p] > 32767 ? 32767 : pair[p];
      }
    }
    cs[lane] = static_cast<std::int32_t>(static_cast<std::uint32_t>(cs[lane]) +
                                         static_cast<std::uint32_t>(pair[0] + pair[1]));
  }
  std::memcpy(&c, cs, 16);
  return c;
}

// The same without the last addition: `i16x8.relaxed_dot_i8x16_i7x16`, as x86 does it (b unsigned,
// saturating).
inline v128_t imitated_relaxed_dot_pairs(v128_t a, v128_t b) {
  std::int8_t as[16];
  std::uint8_t bs[16];
  std::int16_t cs[8];
  std::memcpy(as, &a, 16);
  std::memcpy(bs, &b, 16);
  for (int lane = 0; lane < 8; ++lane) {
    const int sum = as[lane * 2] * bs[lane * 2] + as[lane * 2 + 1] * bs[lane * 2 + 1];
    cs[lane] = static_cast<std::int16_t>(sum < -32768 ? -32768 : sum > 32767 ? 32767 : sum);
  }
  v128_t c;
  std::memcpy(&c, cs, 16);
  return c;
}

inline v128_t imitated_relaxed_madd(v128_t a, v128_t b, v128_t c) {
  float as[4], bs[4], cs[4];
  std::memcpy(as, &a, 16);
  std::memcpy(bs, &b, 16);
  std::memcpy(cs, &c, 16);
  for (int lane = 0; lane < 4; ++lane) cs[lane] = std::fma(as[lane], bs[lane], cs[lane]);
  std::memcpy(&c, cs, 16);
  return c;
}
#endif

// c + a * b in every lane, with one rounding in Relaxed (where the machine can) and two elsewhere.
template <class Isa>
inline v128_t madd(v128_t a, v128_t b, v128_t c) {
#if ZEROPOINT_HAS_RELAXED_KERNELS
  if constexpr (Isa::kFusedMultiplyAdd) {
#if defined(__wasm__)
    return wasm_f32x4_relaxed_madd(a, b, c);
#else
    return imitated_relaxed_madd(a, b, c);
#endif
  }
#endif
  return wasm_f32x4_add(c, wasm_f32x4_mul(a, b));
}

#if ZEROPOINT_HAS_RELAXED_KERNELS
// c + sums of four neighbouring products; `a` is signed, `b` is what RelaxedDot says.
inline v128_t relaxed_dot_add(v128_t a, v128_t b, v128_t c) {
#if defined(__wasm__)
  return wasm_i32x4_relaxed_dot_i8x16_i7x16_add(a, b, c);
#else
  return imitated_relaxed_dot_add(a, b, c);
#endif
}

// Sums of two neighbouring products, 16 bits each; on x86 `b` is unsigned and the sums saturate.
inline v128_t relaxed_dot_pairs(v128_t a, v128_t b) {
#if defined(__wasm__)
  return wasm_i16x8_relaxed_dot_i8x16_i7x16(a, b);
#else
  return imitated_relaxed_dot_pairs(a, b);
#endif
}
#endif

// c + sums of two neighbouring products of 16-bit integers. Exact while the sums fit 32 bits.
inline v128_t dot16_add(v128_t a, v128_t b, v128_t c) {
  return wasm_i32x4_add(c, wasm_i32x4_dot_i16x8(a, b));
}

// Calls f(0), f(1), ... f(kCount - 1) with constants, unrolled before anything else is compiled. Register
// tiles are written with it: arrays of vectors under ordinary loops become registers only after LLVM has
// reordered the products, and V8, which keeps the order it is given, then runs out of registers and spills.
template <int kCount, class Function>
[[gnu::always_inline]] inline void unroll(const Function& f) {
  [&]<int... kIndex>(std::integer_sequence<int, kIndex...>) __attribute__((always_inline)) {
    (f(std::integral_constant<int, kIndex>{}), ...);
  }(std::make_integer_sequence<int, kCount>{});
}

// Writes the first `bytes` (0 to 16) bytes of a vector.
inline void store_bytes(void* target, v128_t value, std::size_t bytes) {
  if (bytes >= 16) {
    wasm_v128_store(target, value);
    return;
  }
  unsigned char all[16];
  wasm_v128_store(all, value);
  std::memcpy(target, all, bytes);
}

// Reads `bytes` (0 to 16) bytes and zeroes the rest, for buffers without slack behind them.
inline v128_t load_bytes(const void* source, std::size_t bytes) {
  unsigned char all[16] = {};
  std::memcpy(all, source, bytes < 16 ? bytes : 16);
  return wasm_v128_load(all);
}

}  // namespace zp::kernels
