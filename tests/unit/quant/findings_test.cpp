// That the report says what is wrong with a layer, and nothing where nothing is.
#include "quant/findings.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "quant/report.h"
#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

using quant::ChannelSpread;
using quant::LayerError;
using quant::WeightReport;

TEST(Findings, TheSpreadOfChannelsLeavesDeadOnesOut) {
  EXPECT_EQ(quant::spread_of({}).channel, -1);
  EXPECT_EQ(quant::spread_of({0, 0}).channel, -1);
  const ChannelSpread s = quant::spread_of({1, 0, 2, 80, 2, 0, 0, 0});
  EXPECT_EQ(s.channel, 3);
  EXPECT_DOUBLE_EQ(s.ratio, 40);
}

TEST(Findings, OfWeights) {
  WeightReport w{.dtype = DType::kInt8, .granularity = "tensor", .sqnr_db = 30, .spread = {40, 17}};
  const auto said = [&](bool floats) { return quant::findings_of(w, "Conv", floats, true); };
  ASSERT_EQ(said(false).size(), 1u);
  EXPECT_EQ(said(false)[0],
            "channel 17 of this depthwise Conv spans 40 times the median range, and all channels share one "
            "scale: use a scale for each channel (leave out --per-tensor), or --repair equalization");
  w.granularity = "channel";  // each has its own
  EXPECT_TRUE(said(false).empty());
  w.sqnr_db = 22.46;
  ASSERT_EQ(said(false).size(), 1u);
  EXPECT_NE(said(false)[0].find("leaves the weights 22 dB"), std::string::npos);
  w.dtype = DType::kInt4;
  EXPECT_TRUE(said(false).empty());
  w.sqnr_db = 9.96;
  EXPECT_NE(said(false).at(0).find("--repair equalization,gptq"), std::string::npos);
  EXPECT_NE(said(true).at(0).find("--repair gptq"), std::string::npos);
  w.dtype = DType::kFloat16;
  EXPECT_TRUE(said(true).empty());
  w = {.dtype = DType::kInt8,
       .granularity = "channel",
       .sqnr_db = std::numeric_limits<double>::quiet_NaN(),
       .spread = {}};
  EXPECT_TRUE(said(false).empty());  // not measured
}

TEST(Findings, OfValues) {
  LayerError e{.sqnr_db = 40, .half_steps = 30, .dtype = DType::kUint8, .clip = quant::Range{-1.25f, 3.5f}};
  EXPECT_TRUE(quant::findings_of(e).empty());
  e.saturated = 0.008;
  EXPECT_EQ(quant::findings_of(e).at(0),
            "0.8 % of this value lies outside the calibrated range of -1.3 to 3.5 and is cut off: calibrate "
            "with more samples like these, or with --observer min-max");
  e.saturated = 0.0004;  // as an observer may do on purpose
  e.half_steps = 4.6;
  EXPECT_EQ(quant::findings_of(e).at(0),
            "a few outliers stretch the range: half of the values share 4.6 of 256 steps: --observer "
            "percentile or mse, or --activations uint16");
  e.spread = {64, 3};  // says why
  ASSERT_EQ(quant::findings_of(e).size(), 1u);
  EXPECT_NE(quant::findings_of(e)[0].find("channel 3 of this value spans 64 times the median channel, which "
                                          "is left 4 of 256 steps"),
            std::string::npos);
  e = {.sqnr_db = 12, .shifted = 0.62};
  EXPECT_NE(quant::findings_of(e).at(0).find("62 % of the error here is a shift"), std::string::npos);
  e.sqnr_db = 45;
  EXPECT_TRUE(quant::findings_of(e).empty());
}

std::vector<LayerError> errors_of(const std::shared_ptr<const Model>& model, const Quantized& q,
                                  const Samples& samples) {
  quant::LayerErrors errors(model, q.model);
  for (const auto& s : samples) {
    errors.begin(s);
    while (!errors.advance(0)) {
    }
  }
  return errors.result();
}

// A length that the quantized model chooses otherwise: what is as long as that has no error, all else has
// one.
TEST(LayerErrors, ValuesOfOtherLengthsAreLeftOut) {
  const auto model = [](bool rounded) {
    GraphBuilder b;
    const ValueId x = b.input("x", {100});
    const ValueId seen = rounded ? b.fake_quantize("seen", x, 0.5f, 0) : x;
    const ValueId largest = b.add("ReduceMax", "largest", {seen});
    const ValueId tenths = b.add("Mul", "tenths", {largest, b.constant("ten", Tensor::scalar(10.0f))});
    const ValueId length = b.add("Cast", "length", {tenths}, {{"to", static_cast<int64_t>(DType::kInt64)}});
    const ValueId begin = b.constant("begin", Tensor::of<int64_t>({1}, {0}));
    b.output(b.add("Relu", "part", {b.add("Slice", "slice", {x, begin, length})}));
    b.output(b.add("Neg", "all", {x}));
    return b.build();
  };
  Tensor x(DType::kFloat32, {100});
  x.mutable_data<float>()[3] = 0.75f;  // 7 elements, or 10 where 0.75 is rounded to 1
  quant::LayerErrors errors(model(false), model(true));
  errors.begin({{"x", x}});
  while (!errors.advance(0)) {
  }
  std::vector<std::string> outputs;
  for (const LayerError& e : errors.result()) outputs.push_back(e.output);
  EXPECT_THAT(outputs, testing::IsSupersetOf({"largest", "all"}));
  EXPECT_THAT(outputs, testing::Not(testing::Contains("part")));
}

// A convolution whose channel 2 is far larger than the others, and one that reads it.
TEST(Findings, OfANetworkThatNeedsThem) {
  GraphBuilder net;
  const ValueId x = net.input("x", {1, 4, 8, 8});
  Tensor w = noise({4, 4, 1, 1}, 1);
  for (size_t i = 8; i < 12; ++i) w.mutable_data<float>()[i] *= 60;
  const ValueId c = net.add("Conv", "wide", {x, net.constant("w", w)});
  const ValueId r = net.add("Relu", "relu", {c});
  net.output(net.add("Conv", "next", {r, net.constant("v", noise({4, 4, 1, 1}, 2))}));
  const auto model = net.build();
  Samples samples;
  for (uint32_t i = 0; i < 4; ++i) samples.push_back({{"x", noise({1, 4, 8, 8}, 10 + i)}});

  quant::Config config;
  config.per_channel = false;
  const Quantized q = quantize(model, config, samples);
  const quant::LayerReport& layer = q.layer("wide");
  EXPECT_EQ(layer.weight->spread.channel, 2);
  EXPECT_GT(layer.weight->spread.ratio, 20);
  ASSERT_EQ(layer.findings.size(), 1u);
  EXPECT_EQ(layer.findings[0].rfind("channel 2 of this Conv spans", 0), 0u);
  EXPECT_TRUE(q.layer("next").findings.empty());

  const std::vector<LayerError> errors = errors_of(model, q, samples);
  const auto relu =
      std::find_if(errors.begin(), errors.end(), [](const LayerError& e) { return e.output == "relu"; });
  ASSERT_NE(relu, errors.end());
  EXPECT_EQ(relu->spread.channel, 2);
  EXPECT_EQ(relu->outside, 0);
  ASSERT_TRUE(relu->clip);
  ASSERT_FALSE(relu->findings.empty());
  EXPECT_EQ(relu->findings[0].rfind("channel 2 of this value spans", 0), 0u);

  // Every value is in the picture, and nothing lies outside it.
  const quant::Distribution& d = relu->values;
  uint64_t values = d.zeros;
  for (const uint64_t n : d.counts) values += n;
  EXPECT_EQ(values, 4u * 4 * 8 * 8);
  EXPECT_GT(d.zeros, 100u);
  EXPECT_LE(d.counts.size(), 64u);
  EXPECT_GT(d.counts.size(), 16u);
  EXPECT_LE(d.left, 0);
  EXPECT_GE(d.left + d.width * static_cast<double>(d.counts.size()), relu->clip->max * 0.99);

  // Memory for it does not grow with the samples: the same bins hold twice as many.
  Samples twice = samples;
  twice.insert(twice.end(), samples.begin(), samples.end());
  const std::vector<LayerError> more = errors_of(model, q, twice);
  const quant::Distribution& again = more[static_cast<size_t>(relu - errors.begin())].values;
  ASSERT_EQ(again.counts.size(), d.counts.size());
  EXPECT_EQ(again.zeros, 2 * d.zeros);
}

TEST(Findings, AShiftOfMeansIsToldFromNoise) {
  GraphBuilder net;
  const ValueId x = net.input("x", {1, 4, 8, 8});
  const ValueId c = net.add(
      "Conv", "c",
      {x, net.constant("w", noise({4, 4, 1, 1}, 1)), net.constant("b", Tensor(DType::kFloat32, {4}))});
  net.output(c);
  const auto model = net.build();
  Samples samples;
  for (uint32_t i = 0; i < 3; ++i) samples.push_back({{"x", noise({1, 4, 8, 8}, 10 + i)}});
  quant::Config config;
  config.weights = DType::kInt4;
  Quantized q = quantize(model, config, samples);
  EXPECT_LT(errors_of(model, q, samples).at(0).shifted, 0.3);
  // A bias that is off by as much as the values are large.
  auto moved = std::make_shared<Model>(*q.model);
  moved->graph = clone(q.graph());
  Graph& g = moved->graph;
  const ValueId bias = q.dq("c", 2)->input(0);
  std::vector<int32_t> off;
  for (const int64_t v : g.constant(bias)->integers()) off.push_back(static_cast<int32_t>(v) + 20000);
  g[bias].constant = Tensor::of<int32_t>({4}, off);
  q.model = moved;
  const LayerError e = errors_of(model, q, samples).at(0);
  EXPECT_GT(e.shifted, 0.9);
  ASSERT_FALSE(e.findings.empty());
  EXPECT_NE(e.findings.back().find("--repair bias-correction"), std::string::npos);
}

}  // namespace
}  // namespace zp::test
