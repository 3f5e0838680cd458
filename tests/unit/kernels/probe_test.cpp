#include "kernels/probe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>

namespace zp::kernels {
namespace {

TEST(Probe, NamesEveryMeaning) {
  EXPECT_STREQ(name_of(RelaxedDot::kAbsent), "absent");
  EXPECT_STREQ(name_of(RelaxedDot::kUnsigned), "unsigned");
  EXPECT_STREQ(name_of(RelaxedDot::kSigned), "signed");
  EXPECT_STREQ(name_of(RelaxedDot::kSaturating), "saturating");
}

#if ZEROPOINT_HAS_RELAXED_KERNELS
using Four = std::array<int32_t, 4>;

// Four products and what they are added to, by definition. `a` are bytes, 0...255; `w` -128...127.
int32_t by_definition(RelaxedDot meaning, const Four& w, const Four& a, int32_t c) {
  const auto pair = [&](size_t i) {
    int32_t sum = 0;
    for (size_t k = i; k < i + 2; ++k)
      sum += w[k] * (meaning == RelaxedDot::kSigned ? static_cast<int8_t>(a[k]) : a[k]);
    return meaning == RelaxedDot::kSaturating ? std::clamp(sum, -32768, 32767) : sum;
  };
  return c + pair(0) + pair(2);
}

// That the instruction does what was found, on bytes that the probe does not try.
void expect_to_mean(RelaxedDot meaning) {
  ASSERT_NE(meaning, RelaxedDot::kAbsent);
  std::mt19937 random(7);
  std::uniform_int_distribution<int32_t> byte(0, 255);
  for (int round = 0; round < 2000; ++round) {
    std::array<int8_t, 16> w{};
    std::array<uint8_t, 16> a{};
    for (int8_t& x : w)
      x = static_cast<int8_t>(round < 200 ? -128 + 255 * (byte(random) & 1) : byte(random) - 128);
    for (uint8_t& x : a) x = static_cast<uint8_t>(round < 200 ? 255 * (byte(random) & 1) : byte(random));
    const std::array<int32_t, 4> c = {0, round, -round, 1 << 20};
    std::array<int32_t, 4> y{};
    wasm_v128_store(y.data(), relaxed_dot_add(wasm_v128_load(w.data()), wasm_v128_load(a.data()),
                                              wasm_v128_load(c.data())));
    for (size_t lane = 0; lane < 4; ++lane) {
      Four four_w{}, four_a{};
      for (size_t k = 0; k < 4; ++k) four_w[k] = w[4 * lane + k], four_a[k] = a[4 * lane + k];
      ASSERT_EQ(y[lane], by_definition(meaning, four_w, four_a, c[lane])) << name_of(meaning) << ' ' << round;
    }
  }
}
#endif

#if !defined(__wasm__)
TEST(Probe, TellsTheMeaningsApart) {
  for (const RelaxedDot meaning : {RelaxedDot::kSigned, RelaxedDot::kSaturating, RelaxedDot::kUnsigned}) {
    native_relaxed_dot = meaning;
    EXPECT_EQ(probe_now().relaxed_dot, meaning);
    expect_to_mean(meaning);
  }
  EXPECT_TRUE(probe_now().fused_multiply_add);
}

TEST(Probe, KeepsItsFirstAnswer) {
  native_relaxed_dot = RelaxedDot::kUnsigned;
  const RelaxedDot first = probe().relaxed_dot;
  const RelaxedDot other = first == RelaxedDot::kSigned ? RelaxedDot::kUnsigned : RelaxedDot::kSigned;
  native_relaxed_dot = other;
  EXPECT_EQ(probe_now().relaxed_dot, other);
  EXPECT_EQ(probe().relaxed_dot, first);
  native_relaxed_dot = RelaxedDot::kUnsigned;
}
#elif ZEROPOINT_RELAXED
TEST(Probe, FindsWhatTheInstructionOfThisMachineMeans) { expect_to_mean(probe().relaxed_dot); }
#else
TEST(Probe, HasNoRelaxedSimdInThisBuild) { EXPECT_EQ(probe().relaxed_dot, RelaxedDot::kAbsent); }
#endif

}  // namespace
}  // namespace zp::kernels
