#include "kernels/elementwise/table.h"

#include "kernels/simd.h"

namespace zp::kernels {
namespace {

// table[index] for indices below 16.
template <class Isa>
inline v128_t look_up_16(v128_t table, v128_t index) {
#if ZEROPOINT_HAS_RELAXED_KERNELS && defined(__wasm__)
  if constexpr (Isa::kFusedMultiplyAdd) return wasm_i8x16_relaxed_swizzle(table, index);
#endif
  return wasm_i8x16_swizzle(table, index);
}

// Bytes of `a` where the mask is all ones, of `b` where it is zero.
template <class Isa>
inline v128_t choose(v128_t a, v128_t b, v128_t mask) {
#if ZEROPOINT_HAS_RELAXED_KERNELS && defined(__wasm__)
  if constexpr (Isa::kFusedMultiplyAdd) return wasm_i8x16_relaxed_laneselect(a, b, mask);
#endif
  return wasm_v128_bitselect(a, b, mask);
}

// Among 2^kBits parts of 16 values: the low half of a byte looks up all of them, and the bits of its high
// half choose.
template <class Isa, int kBits>
[[gnu::always_inline]] inline v128_t look_up_parts(const std::uint8_t* table, v128_t low,
                                                   const v128_t* bits) {
  if constexpr (kBits == 0) {
    return look_up_16<Isa>(wasm_v128_load(table), low);
  } else {
    constexpr int kHalf = 16 << (kBits - 1);
    const v128_t clear = look_up_parts<Isa, kBits - 1>(table, low, bits);
    const v128_t set = look_up_parts<Isa, kBits - 1>(table + kHalf, low, bits);
    return choose<Isa>(set, clear, bits[kBits - 1]);
  }
}

}  // namespace

template <class Isa>
void look_up(const std::uint8_t* table, const std::uint8_t* from, std::uint8_t* to, std::size_t count) {
  std::size_t i = 0;
  if constexpr (Isa::kVector) {
    const v128_t zero = wasm_i32x4_splat(0);
    for (; i + 16 <= count; i += 16) {
      v128_t x = wasm_v128_load(from + i);
      const v128_t low = wasm_v128_and(x, wasm_i8x16_splat(15));
      v128_t bits[4];
      for (int b = 3; b >= 0; --b) {
        bits[b] = wasm_i8x16_lt(x, zero);
        x = wasm_i8x16_add(x, x);
      }
      const v128_t found = look_up_parts<Isa, 4>(table, low, bits);
      wasm_v128_store(to + i, found);  // a macro in native builds
    }
  }
  for (; i < count; ++i) to[i] = table[from[i]];
}

#define ZP_INSTANTIATE(Isa) \
  template void look_up<Isa>(const std::uint8_t*, const std::uint8_t*, std::uint8_t*, std::size_t);
ZP_FOR_EACH_ISA(ZP_INSTANTIATE)
#undef ZP_INSTANTIATE

}  // namespace zp::kernels
