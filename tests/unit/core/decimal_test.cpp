#include "core/decimal.h"

#include <gtest/gtest.h>

namespace zp {
namespace {

TEST(Decimal, CountsInWords) {
  EXPECT_EQ(counted(0, "layer"), "0 layers");
  EXPECT_EQ(counted(1, "layer"), "1 layer");
  EXPECT_EQ(counted(2, "layer"), "2 layers");
}

TEST(Decimal, HasNoZerosAtItsEnd) {
  EXPECT_EQ(decimal(1), "1");
  EXPECT_EQ(decimal(-0.5), "-0.5");
  EXPECT_EQ(decimal(1.0 / 3), "0.333333");
  EXPECT_EQ(decimal(1e-9), "0");
  EXPECT_EQ(decimal(1e15), "more than 1e12");
}

}  // namespace
}  // namespace zp
