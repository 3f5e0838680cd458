#include "core/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"

namespace zp {
namespace {

TEST(DTypeTest, BytesBeyondTheAddressSpaceAreAnError) {
  EXPECT_EQ(bytes_of(DType::kFloat32, 3), 12u);
  EXPECT_EQ(bytes_of(DType::kInt4, 3), 2u);
  EXPECT_EQ(bytes_of(DType::kFloat32, 0), 0u);
  // 600 MiB: more than 2^32 bits.
  EXPECT_EQ(bytes_of(DType::kFloat32, int64_t{150} << 20), size_t{600} << 20);
  EXPECT_THROW(bytes_of(DType::kFloat64, (int64_t{1} << 40) + 1), Error);
  if constexpr (sizeof(size_t) == 4) {
    EXPECT_THROW(bytes_of(DType::kFloat32, int64_t{1} << 30), Error);
    EXPECT_THROW(bytes_of(DType::kUint8, int64_t{1} << 32), Error);
  }
}

TEST(Tensor, ReadsEveryIntegerType) {
  EXPECT_EQ(Tensor::of<int8_t>({2}, {-3, 4}).integers(), (std::vector<int64_t>{-3, 4}));
  EXPECT_EQ(Tensor::of<uint16_t>({1}, {65535}).integer_at(0), 65535);
  Tensor nibbles(DType::kInt4, {3});
  nibbles.mutable_raw()[0] = std::byte{0x8f};  // low nibble first: -1, -8
  nibbles.mutable_raw()[1] = std::byte{0x07};
  EXPECT_EQ(nibbles.bytes(), 2u);
  EXPECT_EQ(nibbles.integers(), (std::vector<int64_t>{-1, -8, 7}));
}

TEST(Tensor, RefusesImpossibleSizes) {
  EXPECT_THROW(Tensor(DType::kFloat32, {-1}), Error);
  EXPECT_THROW(element_count(Shape{int64_t{1} << 40, 2}), Error);
  EXPECT_EQ(element_count(Shape{int64_t{1} << 40, 0}), 0);
  EXPECT_EQ(element_count(Shape{}), 1);
}

TEST(Tensor, SharesDataUnderOtherDimensions) {
  const Tensor t = Tensor::of<float>({2, 3}, {1, 2, 3, 4, 5, 6});
  const Tensor u = t.reshaped({3, 2});
  EXPECT_EQ(u.raw(), t.raw());
  EXPECT_THROW(t.reshaped({4}), Error);
  EXPECT_THROW(t.data<int32_t>(), Error);
}

TEST(Half, RoundsHalfToEvenAndKeepsSpecialValues) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float f = half_to_float(static_cast<uint16_t>(bits));
    if (std::isnan(f)) continue;
    ASSERT_EQ(float_to_half(f), bits);
  }
  EXPECT_EQ(float_to_half(1.0f + 0x1p-11f), 0x3c00);  // half way: to even
  EXPECT_EQ(float_to_half(1.0f + 3 * 0x1p-11f), 0x3c02);
  EXPECT_EQ(float_to_half(65504.0f), 0x7bff);
  EXPECT_EQ(float_to_half(65519.9f), 0x7bff);
  EXPECT_EQ(float_to_half(65520.0f), 0x7c00);
  EXPECT_TRUE(std::isnan(half_to_float(float_to_half(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_EQ(float_to_half(0x1p-25f), 0);  // half of the smallest: to even
  EXPECT_EQ(float_to_half(-0x1p-24f), 0x8001);
}

TEST(ThreadPool, RunsEveryTaskOnce) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 50; ++round) {
      std::vector<int> seen(97, 0);
      pool.run(97, [&](int64_t task, int thread) {
        seen[static_cast<size_t>(task)] += 1;
        ASSERT_LT(thread, pool.threads());
      });
      EXPECT_EQ(seen, std::vector<int>(97, 1));
    }
  }
}

// A worker that comes late to one job finds the next one open, or none.
TEST(ThreadPool, ShortJobsFollowEachOther) {
  ThreadPool pool(3);
  for (int job = 0; job < 5000; ++job) {
    const int64_t tasks = 2 + job % 5;
    std::vector<int> seen(8, 0);
    pool.run(tasks, [&](int64_t task, int) { seen[static_cast<size_t>(task)] += 1; });
    for (int64_t task = 0; task < 8; ++task) {
      ASSERT_EQ(seen[static_cast<size_t>(task)], task < tasks ? 1 : 0) << "job " << job << ", task " << task;
    }
  }
}

}  // namespace
}  // namespace zp
