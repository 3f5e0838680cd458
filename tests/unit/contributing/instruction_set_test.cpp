// Example of docs/contributing/instruction-set.md: a set that adds bytes in pairs of vectors. A real set is a
// tag of src/kernels/isa.h.
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "kernels/isa.h"
#include "kernels/simd.h"

namespace zp::kernels {
namespace {

// A tag: a name, and the constants that kernels ask for. All others come from Simd128.
struct Pairs : Simd128 {
  static constexpr const char* kName = "pairs";
  static constexpr bool kTwoVectors = true;
};

// Kernels ask for a constant, and never for a set by its name. Sets without the constant do not have the
// feature.
template <class Isa>
constexpr bool kHasTwoVectors = requires { requires Isa::kTwoVectors; };

// The largest element; 0 without elements.
template <class Isa>
std::uint8_t largest(const std::uint8_t* x, std::size_t count) {
  std::size_t i = 0;
  std::uint8_t most = 0;
  if constexpr (Isa::kVector) {
    v128_t a = wasm_i8x16_splat(0);
    if constexpr (kHasTwoVectors<Isa>) {
      v128_t b = a;
      for (; i + 32 <= count; i += 32) {
        a = wasm_u8x16_max(a, wasm_v128_load(x + i));
        b = wasm_u8x16_max(b, wasm_v128_load(x + i + 16));
      }
      a = wasm_u8x16_max(a, b);
    }
    for (; i + 16 <= count; i += 16) a = wasm_u8x16_max(a, wasm_v128_load(x + i));
    std::uint8_t lanes[16];
    wasm_v128_store(lanes, a);
    for (const std::uint8_t lane : lanes) most = lane > most ? lane : most;
  }
  for (; i < count; ++i) most = x[i] > most ? x[i] : most;
  return most;
}

TEST(ContributingInstructionSet, AgreesWithScalarWhereverTheLargestIs) {
  for (std::size_t count = 1; count <= 70; ++count) {
    std::vector<std::uint8_t> x(count);
    for (std::size_t at = 0; at < count; ++at) {
      std::iota(x.begin(), x.end(), std::uint8_t{1});
      x[at] = 200;
      ASSERT_EQ(largest<Scalar>(x.data(), count), 200);
      ASSERT_EQ(largest<Simd128>(x.data(), count), 200) << Simd128::kName << ", " << count << ", " << at;
      ASSERT_EQ(largest<Pairs>(x.data(), count), 200) << Pairs::kName << ", " << count << ", " << at;
    }
  }
}

}  // namespace
}  // namespace zp::kernels
