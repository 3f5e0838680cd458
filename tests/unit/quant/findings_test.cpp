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
using quant::Finding;
using quant::LayerError;
using quant::WeightReport;
using testing::ElementsAre;

TEST(Findings, TheSpreadOfChannelsLeavesDeadOnesOut) {
  EXPECT_EQ(quant::spread_of({}).channel, -1);
  EXPECT_EQ(quant::spread_of({0, 0}).channel, -1);
  const ChannelSpread s = quant::spread_of({1, 0, 2, 80, 2, 0, 0, 0});
  EXPECT_EQ(s.channel, 3);
  EXPECT_DOUBLE_EQ(s.ratio, 40);
}

// What a remedy is on the command line.
std::vector<std::string> remedies_of(const Finding& finding) {
  std::vector<std::string> all;
  for (const quant::Remedy& r : finding.remedies)
    all.push_back(std::string(r.option) + " " + std::string(r.value));
  return all;
}

TEST(Findings, OfWeights) {
  WeightReport w{.dtype = DType::kInt8, .granularity = "tensor", .sqnr_db = 30, .spread = {40, 17}};
  const auto said = [&](bool floats) { return quant::findings_of(w, floats, true); };
  ASSERT_EQ(said(false).size(), 1u);
  EXPECT_EQ(said(false)[0].code, "unequal-weights");
  EXPECT_EQ(said(false)[0]["channel"], 17);
  EXPECT_EQ(said(false)[0]["ratio"], 40);
  EXPECT_EQ(said(false)[0]["depthwise"], 1);
  EXPECT_THAT(remedies_of(said(false)[0]), ElementsAre("perChannel true", "repairs equalization"));
  w.granularity = "channel";  // each has its own
  EXPECT_TRUE(said(false).empty());
  w.sqnr_db = 22.46;
  ASSERT_EQ(said(false).size(), 1u);
  EXPECT_EQ(said(false)[0].code, "poor-weights");
  EXPECT_EQ(said(false)[0]["sqnr"], 22.46);
  EXPECT_EQ(said(false)[0]["bits"], 8);
  EXPECT_THAT(remedies_of(said(false)[0]), ElementsAre("target sqnr=30", "exclude "));
  w.dtype = DType::kInt4;
  EXPECT_TRUE(said(false).empty());
  w.sqnr_db = 9.96;
  EXPECT_THAT(remedies_of(said(false).at(0)), ElementsAre("repairs equalization,gptq", "weights int8"));
  EXPECT_THAT(remedies_of(said(true).at(0)), ElementsAre("repairs gptq", "repairs hqq", "weights int8"));
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
  const Finding cut = quant::findings_of(e).at(0);
  EXPECT_EQ(cut.code, "cut-off");
  EXPECT_EQ(cut["share"], 0.008);
  EXPECT_EQ(cut["min"], -1.25);
  EXPECT_EQ(cut["max"], 3.5);
  EXPECT_TRUE(std::isnan(cut["steps"]));
  EXPECT_THAT(remedies_of(cut), ElementsAre("observer min-max"));
  e.saturated = 0.0004;  // as an observer may do on purpose
  e.half_steps = 4.6;
  const Finding outliers = quant::findings_of(e).at(0);
  EXPECT_EQ(outliers.code, "outliers");
  EXPECT_EQ(outliers["left"], 4.6);
  EXPECT_EQ(outliers["steps"], 256);
  EXPECT_THAT(remedies_of(outliers),
              ElementsAre("observer percentile", "observer mse", "activations uint16"));
  e.spread = {64, 3};  // says why
  ASSERT_EQ(quant::findings_of(e).size(), 1u);
  const Finding unequal = quant::findings_of(e)[0];
  EXPECT_EQ(unequal.code, "unequal-values");
  EXPECT_EQ(unequal["channel"], 3);
  EXPECT_EQ(unequal["ratio"], 64);
  EXPECT_EQ(unequal["left"], 4);
  EXPECT_EQ(unequal["steps"], 256);
  e = {.sqnr_db = 12, .shifted = 0.62};
  EXPECT_EQ(quant::findings_of(e).at(0).code, "shifted-means");
  EXPECT_EQ(quant::findings_of(e).at(0)["share"], 0.62);
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
  EXPECT_EQ(layer.findings[0].code, "unequal-weights");
  EXPECT_EQ(layer.findings[0]["channel"], 2);
  EXPECT_EQ(layer.findings[0]["depthwise"], 0);
  EXPECT_TRUE(q.layer("next").findings.empty());

  const std::vector<LayerError> errors = errors_of(model, q, samples);
  const auto relu =
      std::find_if(errors.begin(), errors.end(), [](const LayerError& e) { return e.output == "relu"; });
  ASSERT_NE(relu, errors.end());
  EXPECT_EQ(relu->spread.channel, 2);
  EXPECT_EQ(relu->outside, 0);
  ASSERT_TRUE(relu->clip);
  ASSERT_FALSE(relu->findings.empty());
  EXPECT_EQ(relu->findings[0].code, "unequal-values");
  EXPECT_EQ(relu->findings[0]["channel"], 2);

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
  config.runtime = "zeropoint";  // leaves the output in float, which cuts nothing off
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
  EXPECT_THAT(remedies_of(e.findings.back()), ElementsAre("repairs bias-correction"));
}

}  // namespace
}  // namespace zp::test
