// Example of docs/contributing/kernel.md: sums of bytes that saturate. A real kernel is a header and a source
// of src/kernels/, with its test in tests/unit/kernels/.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "kernels/isa.h"
#include "kernels/simd.h"

namespace zp::kernels {
namespace {

// to[i] = min(255, a[i] + b[i]). `to` may be `a` or `b`.
template <class Isa>
void add_saturated(const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* to, std::size_t count) {
  std::size_t i = 0;
  if constexpr (Isa::kVector) {
    for (; i + 16 <= count; i += 16) {
      const v128_t sum = wasm_u8x16_add_sat(wasm_v128_load(a + i), wasm_v128_load(b + i));
      wasm_v128_store(to + i, sum);
    }
  }
  for (; i < count; ++i) to[i] = static_cast<std::uint8_t>(std::min(255, a[i] + b[i]));
}

// The scalar version is the specification: all lengths around a vector, and a byte behind the end that must
// stay.
template <class Isa>
void compare_with_scalar() {
  std::mt19937 random(1);
  for (std::size_t count = 0; count <= 50; ++count) {
    std::vector<std::uint8_t> a(count), b(count), want(count + 1, 7), found(count + 1, 7);
    for (auto& x : a) x = static_cast<std::uint8_t>(random());
    for (auto& x : b) x = static_cast<std::uint8_t>(random());
    add_saturated<Scalar>(a.data(), b.data(), want.data(), count);
    add_saturated<Isa>(a.data(), b.data(), found.data(), count);
    EXPECT_EQ(found, want) << Isa::kName << ", " << count;
  }
}

TEST(ContributingKernel, SaturatesAtTheEnds) {
  const std::uint8_t a[] = {0, 255, 255, 100}, b[] = {0, 0, 255, 155};
  std::uint8_t to[4];
  add_saturated<Scalar>(a, b, to, 4);
  EXPECT_EQ(std::vector<std::uint8_t>(to, to + 4), (std::vector<std::uint8_t>{0, 255, 255, 255}));
}

TEST(ContributingKernel, GivesTheSameBytesInEveryInstructionSet) {
  VectorIsas::for_each([]<class Isa>(Isa) { compare_with_scalar<Isa>(); });
}

}  // namespace
}  // namespace zp::kernels
