#include "quant/observer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "core/error.h"
#include "quant/observers/histogram.h"

namespace zp::quant {
namespace {

std::unique_ptr<Observer> make(std::string_view name, std::map<std::string, double, std::less<>> options = {},
                               DType dtype = DType::kUint8, bool symmetric = false) {
  const ObserverDef& def = observer_named(name);
  return def.make({.dtype = dtype, .symmetric = symmetric, .options = Options(def.options, options)});
}

void show(Observer& o, const std::vector<float>& x) { o.observe(x, range_of(x)); }

std::vector<float> normal(size_t n, float deviation, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> x(n);
  for (float& v : x) {  // by hand: std::normal_distribution differs between libraries
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(random()) / 4294967296.0;
    v = static_cast<float>(sum) * deviation;
  }
  return x;
}

TEST(MinMax, CoversEverything) {
  const auto o = make("min-max");
  show(*o, {1, 2});
  EXPECT_EQ(o->range(), (Range{1, 2}));
  show(*o, {-3, 0});
  show(*o, {0.5f});
  EXPECT_EQ(o->range(), (Range{-3, 2}));
}

TEST(MovingAverage, OneOddSampleDoesNotStay) {
  const auto o = make("moving-average", {{"momentum", 0.5}});
  show(*o, {-1, 1});
  EXPECT_EQ(o->range(), (Range{-1, 1}));
  show(*o, {-1, 9});
  EXPECT_EQ(o->range(), (Range{-1, 5}));
  show(*o, {-1, 1});
  EXPECT_EQ(o->range(), (Range{-1, 3}));
}

TEST(HistogramTest, LosesNothingWhenItWidens) {
  Histogram h;
  uint64_t seen = 0;
  for (const float scale : {1e-3f, 1.f, 0.5f, 700.f, 1e6f}) {
    std::vector<float> x = normal(1000, scale, 3);
    x.push_back(0);
    h.add(x, range_of(x));
    seen += x.size();
    EXPECT_LE(h.counts().size(), static_cast<size_t>(Histogram::kBins));
  }
  uint64_t counted = h.zeros();
  for (const uint64_t c : h.counts()) counted += c;
  EXPECT_EQ(counted, seen);
  EXPECT_EQ(h.total(), seen);
  EXPECT_EQ(h.zeros(), 5u);
  // At least a thousand bins over the range.
  EXPECT_LE(h.width(), (static_cast<double>(h.range().max) - static_cast<double>(h.range().min)) / 1000);
}

TEST(HistogramTest, PutsValuesIntoTheirBins) {
  Histogram h;
  h.add(std::vector<float>{-1, 1}, {-1, 1});
  h.add(std::vector<float>{0.25f, 0.25f, -0.75f}, {-0.75f, 0.25f});
  h.add(std::vector<float>{3}, {3, 3});
  uint64_t found = 0;
  for (size_t i = 0; i < h.counts().size(); ++i) {
    const double l = h.left(i), r = l + h.width();
    uint64_t expected = 0;
    for (const double v : {-1.0, 1.0, 0.25, 0.25, -0.75, 3.0}) expected += l <= v && v < r;
    EXPECT_EQ(h.counts()[i], expected) << l;
    found += expected;
  }
  EXPECT_EQ(found, 6u);
}

TEST(PercentileTest, LeavesOutliersOut) {
  std::vector<float> x = normal(100000, 1, 5);
  x.push_back(1000);
  const auto o = make("percentile", {{"percentile", 99.9}});
  show(*o, x);
  EXPECT_LE(o->range().max, 4);
  EXPECT_GT(o->range().max, 2.5f);
  EXPECT_LT(o->range().min, -2.5f);
  const auto all = make("percentile", {{"percentile", 100}});
  show(*all, x);
  EXPECT_EQ(all->range().max, 1000);
}

// What an observer is for: less squared error than covering everything when there are outliers.
double error(const std::vector<float>& x, Range range, bool symmetric = false) {
  const QParams p = choose_params(range, DType::kUint8, symmetric);
  double sum = 0;
  for (const float v : x) {
    const double d = static_cast<double>(v) -
                     static_cast<double>(static_cast<float>(quantize_one(v, p) - p.zero_point) * p.scale);
    sum += d * d;
  }
  return sum;
}

TEST(Mse, BeatsMinMaxWhereThereAreOutliersAndEqualsItWhereThereAreNone) {
  for (const bool symmetric : {false, true}) {
    std::vector<float> x = normal(100000, 1, 7);
    x.push_back(60);
    const auto o = make("mse", {}, DType::kUint8, symmetric);
    show(*o, x);
    EXPECT_LT(error(x, o->range(), symmetric), error(x, range_of(x), symmetric) * 0.9);
    std::vector<float> flat(10000);
    for (size_t i = 0; i < flat.size(); ++i) flat[i] = static_cast<float>(i) / 10000 * 3 - 1;
    const auto even = make("mse", {}, DType::kUint8, symmetric);
    show(*even, flat);
    EXPECT_NEAR(even->range().max, 2, 0.05);
    EXPECT_LE(error(flat, even->range(), symmetric), error(flat, range_of(flat), symmetric) * 1.05);
  }
}

TEST(EntropyTest, CutsALongThinTail) {
  std::vector<float> x = normal(200000, 1, 11);
  for (float& v : x) v = std::fabs(v);
  for (int i = 1; i <= 20; ++i) x.push_back(3.f * static_cast<float>(i));
  const auto o = make("entropy");
  show(*o, x);
  EXPECT_LT(o->range().max, 40);
  EXPECT_GT(o->range().max, 2.5f);
  EXPECT_GE(o->range().min, 0);
}

TEST(Observers, TakeConstantsAndNothingButZeros) {
  for (const ObserverDef& def : all_observers()) {
    const auto zeros = make(def.name);
    show(*zeros, std::vector<float>(100, 0.f));
    EXPECT_EQ(zeros->range(), (Range{0, 0})) << def.name;
    const auto constant = make(def.name);
    show(*constant, std::vector<float>(100, 2.5f));
    EXPECT_NEAR(constant->range().max, 2.5f, 0.01f) << def.name;
    const auto tiny = make(def.name);
    show(*tiny, {1e-44f, -1e-44f});
    EXPECT_GE(tiny->range().max, 0) << def.name;
    const auto huge = make(def.name);
    show(*huge, {3e38f, -3e38f, 1});
    EXPECT_TRUE(std::isfinite(huge->range().max) && std::isfinite(huge->range().min)) << def.name;
    EXPECT_GT(huge->range().max, 1e38f) << def.name;
  }
}

TEST(Observers, UnknownOnesAreNamedWithThoseThereAre) {
  try {
    observer_named("magic");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(e.details().hint.find("min-max"), std::string::npos);
  }
}

}  // namespace
}  // namespace zp::quant
