// The instruction sets a kernel can be compiled for, as tags for template parameters.
//
// `Scalar` is the specification: plain C++, compiled into every build, what the tests compare the others
// with. Integer kernels give the same bits in every instruction set; float kernels agree up to the rounding
// of a multiply-add (one rounding in Relaxed, two elsewhere) and, where a sum is split, up to its order.

#pragma once

#include <cstddef>

#include "core/memory.h"

#ifndef ZEROPOINT_RELAXED
#error "ZEROPOINT_RELAXED is 0 or 1 (cmake/variants.cmake): configure again"
#endif

// Relaxed SIMD kernels exist in the relaxed WebAssembly build and in native builds, where simd.h imitates the
// relaxed instructions so that tests can try every meaning an engine may give them.
#if ZEROPOINT_RELAXED || !defined(__wasm__)
#define ZEROPOINT_HAS_RELAXED_KERNELS 1
#else
#define ZEROPOINT_HAS_RELAXED_KERNELS 0
#endif

namespace zp::kernels {

struct Scalar {
  static constexpr const char* kName = "scalar";
  static constexpr bool kVector = false;
  static constexpr bool kFusedMultiplyAdd = false;  // a * b + c rounds once
};

struct Simd128 {
  static constexpr const char* kName = "simd128";
  static constexpr bool kVector = true;
  static constexpr bool kFusedMultiplyAdd = false;
};

struct Relaxed {
  static constexpr const char* kName = "relaxed";
  static constexpr bool kVector = true;
  static constexpr bool kFusedMultiplyAdd = true;  // where the machine has it
};

// The instruction sets of this build: as a list of types, and as a macro that gives each to another macro,
// which instantiates the kernels of a file.
template <class... Isas>
struct IsaList {
  template <template <class...> class List>
  using in = List<Isas...>;
  // Calls f with an instance of each.
  template <class F>
  static void for_each(F&& f) {
    (f(Isas()), ...);
  }
};
#if ZEROPOINT_HAS_RELAXED_KERNELS
using VectorIsas = IsaList<Simd128, Relaxed>;
using AllIsas = IsaList<Scalar, Simd128, Relaxed>;
#define ZP_FOR_EACH_ISA(INSTANTIATE) INSTANTIATE(Scalar) INSTANTIATE(Simd128) INSTANTIATE(Relaxed)
#else
using VectorIsas = IsaList<Simd128>;
using AllIsas = IsaList<Scalar, Simd128>;
#define ZP_FOR_EACH_ISA(INSTANTIATE) INSTANTIATE(Scalar) INSTANTIATE(Simd128)
#endif

// What this build runs.
#if ZEROPOINT_RELAXED
using Best = Relaxed;
#else
using Best = Simd128;
#endif

constexpr std::size_t round_up(std::size_t value, std::size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace zp::kernels
