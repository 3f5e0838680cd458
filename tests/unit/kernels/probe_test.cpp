#include "kernels/probe.h"

#include <gtest/gtest.h>

namespace zp::kernels {
namespace {

TEST(Probe, AnswersTheSameTwice) { EXPECT_EQ(&probe(), &probe()); }

TEST(Probe, NamesEveryMeaning) {
  EXPECT_STREQ(name_of(RelaxedDot::kAbsent), "absent");
  EXPECT_STREQ(name_of(RelaxedDot::kUnsigned), "unsigned");
  EXPECT_STREQ(name_of(RelaxedDot::kSigned), "signed");
  EXPECT_STREQ(name_of(RelaxedDot::kSaturating), "saturating");
}

#if !defined(__wasm__)
TEST(Probe, TellsTheMeaningsApart) {
  for (const RelaxedDot meaning : {RelaxedDot::kSigned, RelaxedDot::kSaturating, RelaxedDot::kUnsigned}) {
    native_relaxed_dot = meaning;
    EXPECT_EQ(probe_now().relaxed_dot, meaning);
  }
  EXPECT_TRUE(probe_now().fused_multiply_add);
}
#elif ZEROPOINT_RELAXED
TEST(Probe, FindsAMeaning) { EXPECT_NE(probe().relaxed_dot, RelaxedDot::kAbsent); }
#else
TEST(Probe, HasNoRelaxedSimdInThisBuild) { EXPECT_EQ(probe().relaxed_dot, RelaxedDot::kAbsent); }
#endif

}  // namespace
}  // namespace zp::kernels
