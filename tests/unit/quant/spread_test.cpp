// Which samples of a series are kept, and which of them are held out.
#include "quant/spread.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace zp::quant {
namespace {

std::vector<runtime::Feed> sample(size_t i, int64_t elements = 1) {
  Tensor t(DType::kFloat32, {elements});
  t.mutable_data<float>()[0] = static_cast<float>(i);
  return {{"x", std::move(t)}};
}

std::vector<size_t> indices(const std::vector<SampleKeeper::Kept>& kept) {
  std::vector<size_t> all;
  for (const auto& k : kept) {
    EXPECT_EQ(k.feeds.at(0).tensor.data<float>()[0], static_cast<float>(k.index));
    all.push_back(k.index);
  }
  return all;
}

std::vector<size_t> kept_of(size_t series, size_t most, bool known) {
  SampleKeeper keeper(most, known ? series : 0);
  for (size_t i = 0; i < series; ++i) keeper.take(sample(i));
  return indices(keeper.release());
}

// In no stretch of the series are more than three times as many or as few as there should be.
TEST(SampleKeeper, SpreadsOverASeriesOfAnyLength) {
  for (const size_t series : {33u, 64u, 100u, 1000u, 4096u}) {
    const std::vector<size_t> kept = kept_of(series, 32, false);
    ASSERT_EQ(kept.size(), 32u);
    const double step = static_cast<double>(series) / 32;
    size_t before = 0;
    for (const size_t i : kept) {
      EXPECT_LE(static_cast<double>(i - before), 3 * step) << series;
      before = i;
    }
    EXPECT_LE(static_cast<double>(series - before), 3 * step) << series;
    // Neither do they fall in step with a period.
    for (const size_t period : {2u, 4u, 5u, 8u}) {
      if (series < 4 * 32) continue;
      std::vector<size_t> at(period, 0);
      for (const size_t i : kept) ++at[i % period];
      for (const size_t n : at) EXPECT_GE(n, 32 / period / 3) << series << " in steps of " << period;
    }
  }
}

TEST(SampleKeeper, KeepsAllWhereThereIsRoom) {
  EXPECT_EQ(kept_of(5, 8, false), (std::vector<size_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(kept_of(5, 8, true), (std::vector<size_t>{0, 1, 2, 3, 4}));
}

TEST(SampleKeeper, OfAKnownSeriesTheSameOnesAndNoMoreThanItHasToRead) {
  for (const size_t series : {33u, 100u, 1000u})
    EXPECT_EQ(kept_of(series, 32, true), kept_of(series, 32, false));
  SampleKeeper keeper(8, 100);
  size_t read = 0;
  for (; !keeper.enough(); ++read) keeper.take(sample(read));
  EXPECT_EQ(keeper.size(), 8u);
  const std::vector<size_t> kept = indices(keeper.release());
  EXPECT_EQ(read, kept.back() + 1);
  SampleKeeper open(8);
  for (size_t i = 0; i < 1000; ++i) open.take(sample(i));
  EXPECT_FALSE(open.enough());
}

TEST(SampleKeeper, LargeSamplesAreFewerAndSpreadTheSame) {
  SampleKeeper keeper(32, 0, 10 * 400);
  for (size_t i = 0; i < 320; ++i) keeper.take(sample(i, 100));
  const std::vector<size_t> kept = indices(keeper.release());
  EXPECT_EQ(kept, kept_of(320, 10, false));
  SampleKeeper one(32, 0, 1);  // one is kept whatever it takes
  for (size_t i = 0; i < 3; ++i) one.take(sample(i, 100));
  EXPECT_EQ(one.size(), 1u);
}

TEST(HeldOut, IsAQuarterSpreadOverTheSeries) {
  EXPECT_EQ(held_out_of(0), 0u);
  EXPECT_EQ(held_out_of(1), 0u);
  EXPECT_EQ(held_out_of(2), 1u);
  EXPECT_EQ(held_out_of(40), 10u);
  SampleKeeper keeper(40);
  for (size_t i = 0; i < 400; ++i) keeper.take(sample(i));
  const HeldOut split = hold_out(keeper.release(), 10);
  const std::vector<size_t> out = indices(split.out), rest = indices(split.rest);
  ASSERT_EQ(out.size(), 10u);
  ASSERT_EQ(rest.size(), 30u);
  for (size_t quarter = 0; quarter < 4; ++quarter) {
    const auto in = [&](size_t i) { return i / 100 == quarter; };
    EXPECT_GE(std::ranges::count_if(out, in), 1);
    EXPECT_GE(std::ranges::count_if(rest, in), 4);
  }
}

TEST(HeldOut, AlwaysLeavesOne) {
  for (const size_t all : {1u, 2u, 3u}) {
    SampleKeeper keeper(8);
    for (size_t i = 0; i < all; ++i) keeper.take(sample(i));
    const HeldOut split = hold_out(keeper.release(), 8);
    EXPECT_EQ(split.out.size(), all - 1);
    EXPECT_EQ(split.rest.size(), 1u);
  }
}

}  // namespace
}  // namespace zp::quant
