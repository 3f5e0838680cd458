// Wanted values are those of numpy.fft.
#include <cmath>
#include <numbers>

#include "unit/ops/one_node.h"

namespace zp::test {
namespace {

using std::numbers::pi;

GraphBuilder::Attributes one_side() { return {{"onesided", int64_t{1}}}; }

std::vector<float> ramp_of(int64_t count) {
  std::vector<float> x;
  for (int64_t i = 0; i < count; ++i) x.push_back(static_cast<float>(i * i % 7) - 2);
  return x;
}

TEST(Dft, RealSignal) {
  // np.fft.fft([1, 2, 0, -1])
  const std::vector<Tensor> y = run({.op = "DFT", .inputs = {floats({1, 4, 1}, {1, 2, 0, -1})}});
  expect_floats(y[0], {1, 4, 2}, {2, 0, 1, -3, 0, 0, 1, 3}, 1e-6f);
  const std::vector<Tensor> side =
      run({.op = "DFT", .inputs = {floats({1, 4, 1}, {1, 2, 0, -1})}, .attributes = one_side()});
  expect_floats(side[0], {1, 3, 2}, {2, 0, 1, -3, 0, 0}, 1e-6f);
}

TEST(Dft, LengthCutsAndPads) {
  const Tensor x = floats({1, 4, 1}, {1, 2, 0, -1});
  expect_floats(run({.op = "DFT", .inputs = {x, longs({}, {2})}})[0], {1, 2, 2}, {3, 0, -1, 0}, 1e-6f);
  // np.fft.rfft([1, 2, 0, -1], 5)
  expect_floats(run({.op = "DFT", .inputs = {x, longs({}, {5})}, .attributes = one_side()})[0], {1, 3, 2},
                {2, 0, 2.4270510f, -2.4898983f, -0.9270510f, -0.2245140f}, 1e-6f);
}

TEST(Dft, AxisOfEveryOpset) {
  const Tensor x = floats({2, 3, 2, 1}, ramp_of(12));
  const Tensor last = run({.op = "DFT", .inputs = {x}})[0];                              // axis -2
  const Tensor second = run({.op = "DFT", .inputs = {x}, .version = 17})[0];             // axis 1
  const Tensor named = run({.op = "DFT", .inputs = {x, Tensor(), longs({}, {-3})}})[0];  // 1
  const Tensor named_before =
      run({.op = "DFT", .inputs = {x}, .attributes = {{"axis", int64_t{-2}}}, .version = 19})[0];
  EXPECT_TRUE(same_bits(second, named));
  EXPECT_TRUE(same_bits(last, named_before));
  // Pairs of neighbours: their sum and their difference.
  const auto v = x.data<float>(), y = last.data<float>();
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_NEAR(y[4 * i], v[2 * i] + v[2 * i + 1], 1e-6);
    EXPECT_NEAR(y[4 * i + 2], v[2 * i] - v[2 * i + 1], 1e-6);
  }
  EXPECT_NEAR(second.data<float>()[0], v[0] + v[2] + v[4], 1e-6);
}

TEST(Dft, InverseIsTheWayBack) {
  const Tensor x = floats({2, 5, 3, 2}, ramp_of(60));
  const Tensor axis = longs({}, {1});
  const Tensor there = run({.op = "DFT", .inputs = {x, Tensor(), axis}})[0];
  const Tensor back =
      run({.op = "DFT", .inputs = {there, Tensor(), axis}, .attributes = {{"inverse", int64_t{1}}}})[0];
  expect_floats(back, x.dims(), ramp_of(60), 1e-6f);
}

TEST(Dft, OneSideMakesARealSignalAgain) {
  const GraphBuilder::Attributes back{{"inverse", int64_t{1}}, {"onesided", int64_t{1}}};
  for (const int64_t n : {6, 7}) {
    const Tensor x = floats({2, n, 1}, ramp_of(2 * n));
    const Tensor side = run({.op = "DFT", .inputs = {x}, .attributes = one_side()})[0];
    EXPECT_EQ(side.dims(), (Shape{2, n / 2 + 1, 2}));
    const Tensor same = run({.op = "DFT", .inputs = {side, longs({}, {n})}, .attributes = back})[0];
    expect_floats(same, {2, n, 1}, ramp_of(2 * n), 1e-6f);
    // Without a length, an even one.
    EXPECT_EQ(run({.op = "DFT", .inputs = {side}, .attributes = back})[0].dims(), (Shape{2, 6, 1}));
  }
}

TEST(Dft, OfDoublesKeepsTheirPrecision) {
  std::vector<double> x(9);
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<double>(i));
  const std::vector<Tensor> y =
      run({.op = "DFT", .inputs = {Tensor::of<double>({1, 9, 1}, std::span<const double>(x))}});
  double re = 0;
  for (size_t i = 0; i < x.size(); ++i) re += x[i] * std::cos(2 * pi * static_cast<double>(i) / 9);
  EXPECT_NEAR(y[0].data<double>()[2], re, 1e-14);
}

TEST(Dft, NothingOfNoSignals) {
  EXPECT_EQ(run({.op = "DFT", .inputs = {floats({0, 4, 1}, {})}})[0].dims(), (Shape{0, 4, 2}));
}

TEST(Dft, RefusesWhatIsNoTransform) {
  const Tensor x = floats({1, 4, 1}, {1, 2, 3, 4}), z = floats({1, 2, 2}, {1, 2, 3, 4});
  const auto refused = [](const OneNode& n) { return error_of(n, Given::kConstant).has_value(); };
  EXPECT_TRUE(refused({.op = "DFT", .inputs = {x, longs({}, {0})}}));
  EXPECT_TRUE(refused({.op = "DFT", .inputs = {x, longs({}, {-4})}}));
  EXPECT_TRUE(refused({.op = "DFT", .inputs = {x, longs({2}, {4, 4})}}));
  EXPECT_TRUE(refused({.op = "DFT", .inputs = {x, longs({}, {int64_t{1} << 40})}}));
  EXPECT_TRUE(refused({.op = "DFT", .inputs = {x, Tensor(), longs({}, {-1})}}));
  EXPECT_TRUE(refused({.op = "DFT", .inputs = {x, Tensor(), longs({}, {3})}}));
  EXPECT_TRUE(refused({.op = "DFT", .inputs = {floats({4}, {1, 2, 3, 4})}}));
  EXPECT_TRUE(refused({.op = "DFT", .inputs = {floats({1, 1, 4}, {1, 2, 3, 4})}}));
  EXPECT_TRUE(refused({.op = "DFT", .inputs = {z}, .attributes = one_side()}));
  EXPECT_FALSE(refused({.op = "DFT", .inputs = {z}}));
  const GraphBuilder::Attributes back{{"inverse", int64_t{1}}, {"onesided", int64_t{1}}};
  EXPECT_TRUE(refused({.op = "DFT", .inputs = {x}, .attributes = back}));
}

// ---- STFT

TEST(Stft, FramesOfASignal) {
  // Frames [1 2 3 4] and [3 4 5 6], times the window.
  const Tensor x = floats({1, 6, 1}, {1, 2, 3, 4, 5, 6});
  const Tensor window = floats({4}, {1, 1, 1, 0});
  const std::vector<Tensor> y = run({.op = "STFT", .inputs = {x, longs({}, {2}), window}});
  expect_floats(y[0], {1, 2, 3, 2}, {6, 0, -2, -2, 2, 0, 12, 0, -2, -4, 4, 0}, 1e-6f);
}

TEST(Stft, LengthInsteadOfAWindow) {
  const Tensor x = floats({2, 5, 1}, ramp_of(10));
  const Tensor ones = floats({3}, {1, 1, 1});
  const Tensor windowed = run({.op = "STFT", .inputs = {x, longs({}, {1}), ones}})[0];
  const Tensor plain = run({.op = "STFT", .inputs = {x, longs({}, {1}), Tensor(), longs({}, {3})}})[0];
  EXPECT_EQ(plain.dims(), (Shape{2, 3, 2, 2}));
  EXPECT_TRUE(same_bits(windowed, plain));
  EXPECT_EQ(run({.op = "STFT", .inputs = {x, longs({}, {1})}})[0].dims(), (Shape{2, 1, 3, 2}));
}

TEST(Stft, SignalsWithoutADimensionOfParts) {
  const Tensor x = floats({2, 5}, ramp_of(10)), length = longs({}, {3}), step = longs({}, {2});
  const Tensor y = run({.op = "STFT", .inputs = {x, step, Tensor(), length}})[0];
  EXPECT_TRUE(
      same_bits(y, run({.op = "STFT", .inputs = {x.reshaped({2, 5, 1}), step, Tensor(), length}})[0]));
}

TEST(Stft, ComplexSignalsHaveTwoSides) {
  const Tensor x = floats({1, 2, 2}, {1, 2, 3, 5});
  const GraphBuilder::Attributes both{{"onesided", int64_t{0}}};
  const std::vector<Tensor> y =
      run({.op = "STFT", .inputs = {x, longs({}, {1}), Tensor(), longs({}, {2})}, .attributes = both});
  expect_floats(y[0], {1, 1, 2, 2}, {4, 7, -2, -3}, 1e-6f);
  // One side, which is what an STFT gives unless it is told: as many bins, of a complex signal too (as ONNX
  // Runtime).
  expect_floats(run({.op = "STFT", .inputs = {x, longs({}, {1}), Tensor(), longs({}, {2})}})[0], {1, 1, 2, 2},
                {4, 7, -2, -3}, 1e-6f);
}

TEST(Stft, RefusesFramesThatAreNotThere) {
  const Tensor x = floats({1, 4, 1}, {1, 2, 3, 4});
  const auto refused = [&](Tensor step, Tensor window, Tensor length) {
    return error_of({.op = "STFT", .inputs = {x, std::move(step), std::move(window), std::move(length)}},
                    Given::kConstant)
        .has_value();
  };
  EXPECT_TRUE(refused(longs({}, {0}), Tensor(), longs({}, {2})));
  EXPECT_TRUE(refused(longs({}, {-1}), Tensor(), longs({}, {2})));
  EXPECT_TRUE(refused(longs({}, {1}), Tensor(), longs({}, {0})));
  EXPECT_TRUE(refused(longs({}, {1}), Tensor(), longs({}, {5})));
  EXPECT_TRUE(refused(longs({}, {1}), floats({3}, {1, 1, 1}), longs({}, {2})));
  EXPECT_TRUE(refused(longs({}, {1}), floats({1, 2}, {1, 1}), Tensor()));
  EXPECT_FALSE(refused(longs({}, {1}), floats({2}, {1, 1}), longs({}, {2})));
}

// ---- windows

TEST(Windows, PeriodicAndSymmetric) {
  const auto window = [](const char* op, int64_t periodic) {
    return run({.op = op, .inputs = {longs({}, {4})}, .attributes = {{"periodic", periodic}}})[0];
  };
  expect_floats(window("HannWindow", 1), {4}, {0, 0.5f, 1, 0.5f}, 1e-7f);
  expect_floats(window("HannWindow", 0), {4}, {0, 0.75f, 0.75f, 0}, 1e-7f);
  expect_floats(window("HammingWindow", 1), {4}, {4.0f / 46, 25.0f / 46, 1, 25.0f / 46}, 1e-7f);
  expect_floats(window("BlackmanWindow", 1), {4}, {0, 0.34f, 1, 0.34f}, 1e-7f);
}

TEST(Windows, OfAnyLength) {
  const auto window = [](int64_t size, int64_t periodic) {
    return OneNode{.op = "HannWindow", .inputs = {longs({}, {size})}, .attributes = {{"periodic", periodic}}};
  };
  EXPECT_EQ(run(window(0, 1))[0].dims(), Shape{0});
  expect_floats(run(window(1, 1))[0], {1}, {0});
  expect_floats(run(window(1, 0))[0], {1}, {std::nanf("")});  // as in ONNX Runtime
  EXPECT_TRUE(error_of(window(-1, 1), Given::kConstant));
}

TEST(Windows, OfTheTypeThatIsAskedFor) {
  const std::vector<Tensor> y =
      run({.op = "HannWindow",
           .inputs = {longs({}, {4})},
           .attributes = {{"output_datatype", static_cast<int64_t>(DType::kFloat64)}}});
  EXPECT_EQ(y[0].dtype(), DType::kFloat64);
  EXPECT_NEAR(y[0].data<double>()[1], 0.5, 1e-16);
}

TEST(MelWeightMatrix, Triangles) {
  const std::vector<Tensor> y = run({.op = "MelWeightMatrix",
                                     .inputs = {longs({}, {2}), longs({}, {8}), longs({}, {8000}),
                                                Tensor::scalar(0.0f), Tensor::scalar(4000.0f)}});
  // Bins 0, 0, 1, 2 (of 0, 458.6, 1217.7, 2474 Hz): onnx.reference.
  expect_floats(y[0], {5, 2}, {1, 0, 0, 1, 0, 0, 0, 0, 0, 0});
}

TEST(MelWeightMatrix, RefusesEdgesOutsideTheSpectrum) {
  const auto refused = [](int64_t bins, int64_t length, int64_t rate, float low, float high) {
    return error_of({.op = "MelWeightMatrix",
                     .inputs = {longs({}, {bins}), longs({}, {length}), longs({}, {rate}),
                                Tensor::scalar(low), Tensor::scalar(high)}},
                    Given::kConstant)
        .has_value();
  };
  EXPECT_FALSE(refused(8, 16, 8192, 0, 4096));
  EXPECT_FALSE(refused(0, 16, 8192, 0, 4096));
  EXPECT_TRUE(refused(-1, 16, 8192, 0, 4096));
  EXPECT_TRUE(refused(8, -1, 8192, 0, 4096));
  EXPECT_TRUE(refused(8, 16, 0, 0, 4096));
  EXPECT_TRUE(refused(8, 16, 8192, -1, 4096));
  EXPECT_TRUE(refused(8, 16, 8192, 0, 40960));
  EXPECT_TRUE(refused(8, 16, 8192, 0, std::numeric_limits<float>::quiet_NaN()));
}

}  // namespace
}  // namespace zp::test
