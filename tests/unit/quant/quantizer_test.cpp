// Whole jobs, run: calibration, results, reports, comparisons.
#include <cmath>
#include <limits>

#include "onnx/onnx.h"
#include "quant/format.h"
#include "quant/observer.h"
#include "quant/search/output_errors.h"
#include "quant/spread.h"
#include "runtime/prepare.h"
#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

using quant::Config;
using quant::Range;

// Conv -> Relu -> MaxPool -> Conv -> (+ skip) -> Relu -> GlobalAveragePool -> Flatten -> Gemm
std::shared_ptr<Model> small_net() {
  GraphBuilder net;
  const auto conv = [&](const std::string& name, ValueId x, int64_t out, int64_t in) {
    return net.add(
        "Conv", name,
        {x, net.constant(name + "_w", noise({out, in, 3, 3}, static_cast<uint32_t>(out), 0.4f)),
         net.constant(name + "_b", noise({out}, 7, 0.2f))},
        {{"kernel_shape", std::vector<int64_t>{3, 3}}, {"pads", std::vector<int64_t>{1, 1, 1, 1}}});
  };
  const ValueId x = net.input("x", {Dim::symbol("N"), 3, 12, 12});
  const ValueId r1 = net.add("Relu", "r1", {conv("c1", x, 8, 3)});
  const ValueId p1 =
      net.add("MaxPool", "p1", {r1},
              {{"kernel_shape", std::vector<int64_t>{2, 2}}, {"strides", std::vector<int64_t>{2, 2}}});
  const ValueId c2 = conv("c2", p1, 8, 8);
  const ValueId r2 = net.add("Relu", "r2", {net.add("Add", "sum", {c2, p1})});
  const ValueId flat = net.add("Flatten", "flat", {net.add("GlobalAveragePool", "gap", {r2})});
  net.output(
      net.add("Gemm", "y", {flat, net.constant("fw", noise({8, 5}, 3)), net.constant("fb", noise({5}, 4))}));
  return net.build();
}

Samples samples(int count, float scale = 1) {
  Samples s;
  for (int i = 0; i < count; ++i)
    s.push_back({{"x", noise({1, 3, 12, 12}, static_cast<uint32_t>(100 + i), scale)}});
  return s;
}

std::vector<float> run(const std::shared_ptr<const Model>& model, const std::vector<runtime::Feed>& feeds,
                       bool integer = true) {
  runtime::SessionOptions options;
  options.integer = integer;
  runtime::Session session(runtime::prepared(model), options);
  return session.run(feeds)[0].floats();
}

double sqnr(const std::vector<float>& x, const std::vector<float>& y) {
  quant::ErrorSums sums;
  sums.add(x.data(), y.data(), x.size());
  return sums.sqnr_db();
}

TEST(Quantizer, StaticStaysNearFloatAndNearItsOwnFloatForm) {
  const auto model = small_net();
  const Quantized q = quantize(model, {}, samples(8));
  EXPECT_EQ(q.report.samples, 8u);
  const auto held_out = samples(10)[9];
  const std::vector<float> expected = run(model, held_out), integers = run(q.model, held_out),
                           pairs = run(q.model, held_out, false);
  EXPECT_GT(sqnr(expected, integers), 30);
  // Integer kernels and Q/DQ run one by one may round a tie differently, which later layers carry on.
  EXPECT_GT(sqnr(pairs, integers), 40);
}

TEST(Quantizer, TheSamplesDecideTheRanges) {
  const auto model = small_net();
  const Samples two = samples(2);
  const Quantized q = quantize(model, {}, two);
  Range expected{};
  for (const auto& s : two) expected.include(quant::range_of(s[0].tensor.data<float>()));
  EXPECT_EQ(q.ranges.at("x"), expected);
  EXPECT_EQ(q.params("c1", 0), quant::choose_params(expected, DType::kUint8, false));
  EXPECT_GE(q.ranges.at("r1").min, 0);  // taken after the clamp
  EXPECT_FALSE(q.ranges.contains("c1"));
  EXPECT_FALSE(q.ranges.contains("p1"));  // it only moves values
}

TEST(Quantizer, RangesGoOutAndComeBackIn) {
  const auto model = small_net();
  const Quantized first = quantize(model, {}, samples(3));
  Config config;
  config.ranges = first.ranges;
  const Quantized second = quantize(model, config);  // no samples: nothing is left to observe
  const auto feed = samples(1)[0];
  EXPECT_EQ(run(first.model, feed), run(second.model, feed));
}

TEST(Quantizer, EverySchemeStaysNearFloat) {
  const auto model = small_net();
  const auto feed = samples(12)[11];
  const std::vector<float> expected = run(model, feed);
  for (std::string_view mode : quant::scheme_names()) {
    for (const bool per_channel : {true, false}) {
      Config config;
      config.mode = mode;
      config.per_channel = per_channel;
      const Quantized q = quantize(model, config, samples(8));
      EXPECT_GT(sqnr(expected, run(q.model, feed)), 28)
          << mode << (per_channel ? " per channel" : " per tensor");
      EXPECT_LT(q.report.weight_bytes_after, q.report.weight_bytes_before * 2 / 3) << mode;
    }
  }
}

// Without a copy of the weights.
TEST(Quantizer, SizesOfFilesAreKnownBeforeTheyAreWritten) {
  const auto model = small_net();
  for (const quant::Named& mode : quant::modes()) {
    for (const DType weights : {DType::kInt8, DType::kUint8, DType::kInt4, DType::kInt2, DType::kFloat16}) {
      Config config;
      config.mode = mode.name;
      config.weights = weights;
      if (weights == DType::kInt2) config.format = quant::kQoperator;
      const bool takes = weights == DType::kInt8 || weights == DType::kUint8 || mode.name == "weight-only" ||
                         (weights == DType::kInt4 && (mode.name == "static" || mode.name == "qat"));
      if (!takes) continue;
      const Quantized q = quantize(model, config, samples(2));
      for (const std::string_view form : {quant::kQdq, quant::kQoperator}) {
        if (weights == DType::kInt2 && form == quant::kQdq) continue;  // it has no such type
        const Model file = quant::in_format(*q.model, form);
        for (const int64_t opset : {int64_t{0}, int64_t{24}}) {
          SCOPED_TRACE(testing::Message() << mode.name << ' ' << name_of(weights) << ' ' << form << opset);
          EXPECT_EQ(onnx::size_of(file, opset), onnx::write(file, opset).size());
        }
      }
    }
  }
}

TEST(Quantizer, EveryKindOfActivationStaysNearFloat) {
  const auto model = small_net();
  const auto feed = samples(12)[11];
  const std::vector<float> expected = run(model, feed);
  for (const DType type : {DType::kUint8, DType::kInt8, DType::kUint16, DType::kInt16}) {
    for (const bool symmetric : {true, false}) {
      Config config;
      config.activations = type;
      config.symmetric_activations = symmetric;
      const Quantized q = quantize(model, config, samples(8));
      EXPECT_GT(sqnr(expected, run(q.model, feed)), 25) << name_of(type) << symmetric;
    }
  }
}

TEST(Quantizer, EveryObserverGivesAUsableModel) {
  const auto model = small_net();
  const auto feed = samples(12)[11];
  const std::vector<float> expected = run(model, feed);
  for (std::string_view name : quant::observer_names()) {
    Config config;
    config.observer = name;
    const Quantized q = quantize(model, config, samples(8));
    EXPECT_GT(sqnr(expected, run(q.model, feed)), 20) << name;
  }
}

TEST(Quantizer, TheResultDoesNotDependOnTheSlices) {
  const auto model = small_net();
  const Quantized whole = quantize(model, {}, samples(3), 1e9), sliced = quantize(model, {}, samples(3), 0);
  ASSERT_EQ(whole.graph().values.size(), sliced.graph().values.size());
  const auto feed = samples(1)[0];
  EXPECT_EQ(run(whole.model, feed), run(sliced.model, feed));
}

TEST(Quantizer, WaitsForSamplesAndSaysWhereItStands) {
  quant::Quantizer job(small_net(), {});
  EXPECT_EQ(job.sweeps(), 1u);
  EXPECT_FALSE(job.wants_samples());
  EXPECT_THROW(job.result(), Error);
  while (!job.advance(0)) {
  }
  ASSERT_TRUE(job.wants_samples());
  EXPECT_FALSE(job.done());
  EXPECT_EQ(job.progress().phase, "calibrate");
  EXPECT_TRUE(job.advance(5));             // nothing to do but wait
  EXPECT_THROW(job.end_samples(), Error);  // not one sample
  job.begin_sample(samples(1)[0]);
  EXPECT_FALSE(job.wants_samples());
  EXPECT_THROW(job.end_samples(), Error);
  EXPECT_FALSE(job.advance(0));
  EXPECT_GT(job.progress().total, 0u);
  while (!job.advance(0)) {
  }
  EXPECT_EQ(job.progress().samples, 1u);
  job.end_samples();
  bool placing = false;
  while (!job.advance(0)) placing = placing || job.progress().phase == "place";
  EXPECT_TRUE(placing);
  EXPECT_TRUE(job.done());
  EXPECT_EQ(job.progress().phase, "done");
}

TEST(Quantizer, ABadSampleIsAnErrorAndTheJobCanBeDropped) {
  quant::Quantizer job(small_net(), {});
  while (!job.advance(5)) {
  }
  EXPECT_THROW(job.begin_sample({{"nobody", Tensor(DType::kFloat32, {1})}}), Error);
  job.begin_sample(samples(1)[0]);
  EXPECT_FALSE(job.wants_samples());
}

// Mode auto holds samples out, the sixth for one, and makes what it chose from all of them.
TEST(Quantizer, WarningsNameTheSampleThatTheyMean) {
  for (const char* mode : {"static", "auto"}) {
    Samples s = samples(7);
    const bool searches = std::string_view(mode) == "auto";
    for (const size_t odd : {6, 5})
      if (odd == 6 || searches)
        s[odd][0].tensor.mutable_data<float>()[17] = std::numeric_limits<float>::quiet_NaN();
    Config config;
    config.mode = mode;
    const Quantized q = quantize(small_net(), config, s);
    const std::string first = "NaN or infinite, first in 'x' in sample " + std::to_string(searches ? 6 : 7);
    EXPECT_TRUE(std::any_of(q.report.warnings.begin(), q.report.warnings.end(), [&](const std::string& w) {
      return w.find(first) != std::string::npos;
    })) << mode;
    const auto unseen = samples(20)[19];
    EXPECT_GT(sqnr(run(small_net(), unseen), run(q.model, unseen)), 30) << mode;
  }
}

// The form of MNIST in the ONNX model zoo, the first model that most people try: biases are added behind
// convolutions, the last weight comes out of a Reshape, inputs are 0...255.
TEST(Quantizer, MnistOfTheModelZooKeepsWhatItKnows) {
  GraphBuilder net;
  const ValueId x = net.input("x", {1, 1, 28, 28});
  const auto layer = [&](const std::string& name, ValueId in, int64_t to, int64_t from, float scale,
                         int64_t pool) {
    const ValueId c =
        net.add("Conv", name + "_conv",
                {in, net.constant(name + "_w", noise({to, from, 5, 5}, static_cast<uint32_t>(to), scale))},
                {{"kernel_shape", std::vector<int64_t>{5, 5}}, {"pads", std::vector<int64_t>{2, 2, 2, 2}}});
    const ValueId sum =
        net.add("Add", name + "_add", {c, net.constant(name + "_b", noise({to, 1, 1}, 7, 0.3f))});
    return net.add(
        "MaxPool", name, {net.add("Relu", name + "_relu", {sum})},
        {{"kernel_shape", std::vector<int64_t>{pool, pool}}, {"strides", std::vector<int64_t>{pool, pool}}});
  };
  const ValueId pooled = layer("second", layer("first", x, 8, 1, 0.3f, 2), 16, 8, 0.1f, 3);
  const ValueId flat =
      net.add("Reshape", "flat", {pooled, net.constant("shape", Tensor::of<int64_t>({2}, {1, 256}))});
  const ValueId w = net.add("Reshape", "w",
                            {net.constant("parameter", noise({16, 4, 4, 10}, 3, 0.1f)),
                             net.constant("w_shape", Tensor::of<int64_t>({2}, {256, 10}))});
  net.output(net.add("Add", "y",
                     {net.add("MatMul", "product", {flat, w}), net.constant("b", noise({1, 10}, 4, 0.1f))}));
  const auto model = net.build();
  const auto image = [](uint32_t seed) {
    Tensor t = noise({1, 1, 28, 28}, seed, 510);
    for (float& v : t.mutable_data<float>()) v = std::clamp(v, 0.f, 255.f);  // half of it is black
    return std::vector<runtime::Feed>{{"x", t}};
  };
  Samples seen;
  for (uint32_t i = 0; i < 8; ++i) seen.push_back(image(i));
  for (const char* mode : {"static", "dynamic", "weight-only", "auto"}) {
    Config config;
    config.mode = mode;
    config.default_repairs = true;
    const Quantized q = quantize(model, config, seen);
    EXPECT_GT(sqnr(run(model, image(99)), run(q.model, image(99))), 30) << mode;
    EXPECT_TRUE(q.layer("first_conv").quantized) << mode;
  }
}

TEST(Quantizer, SamplesMayHaveDifferentShapes) {
  Samples s = samples(1);
  s.push_back({{"x", noise({4, 3, 12, 12}, 5)}});
  const Quantized q = quantize(small_net(), {}, s);
  EXPECT_EQ(q.report.samples, 2u);
  EXPECT_GT(q.layer("c1").macs, 0);  // the batch is open in the model, and known from the first sample
}

TEST(Quantizer, SamplesOfZerosGiveAModelThatRuns) {
  Samples zeros{{{"x", Tensor(DType::kFloat32, {1, 3, 12, 12})}}};
  const auto model = small_net();
  const Quantized q = quantize(model, {}, zeros);
  const std::vector<float> y = run(q.model, zeros[0]);
  EXPECT_GT(sqnr(run(model, zeros[0]), y), 25);
}

TEST(Quantizer, StopsEarlyWhenRangesHaveConverged) {
  Config config;
  config.options["patience"] = 2;
  Samples same;
  for (int i = 0; i < 10; ++i) same.push_back(samples(1)[0]);
  EXPECT_EQ(quantize(small_net(), config, same).report.samples, 3u);
  config.options["patience"] = 0;
  EXPECT_EQ(quantize(small_net(), config, same).report.samples, 10u);
}

TEST(LayerErrors, FindsTheLayerThatWasHurt) {
  const auto model = small_net();
  const Quantized q = quantize(model, {}, samples(4));
  // A range of a twentieth: the value after the first layer saturates.
  Config narrow;
  narrow.ranges = q.ranges;
  narrow.ranges["r1"].max /= 20;
  const Quantized hurt = quantize(model, narrow);
  const auto errors_of = [&](const Quantized& candidate) {
    quant::LayerErrors errors(model, candidate.model);
    for (const auto& s : samples(3)) {
      errors.begin(s);
      while (!errors.advance(0)) {
      }
      EXPECT_EQ(errors.done(), errors.total());
    }
    std::map<std::string, quant::LayerError> by_output;
    for (const quant::LayerError& e : errors.result()) by_output[e.output] = e;
    return by_output;
  };
  const auto good = errors_of(q), bad = errors_of(hurt);
  ASSERT_TRUE(good.contains("r1") && good.contains("y") && good.contains("r2"));
  EXPECT_FALSE(good.contains("c1"));  // the clamp finishes it
  EXPECT_TRUE(good.at("r1").quantized);
  EXPECT_FALSE(good.at("y").quantized);
  for (const auto& [name, e] : good) {
    EXPECT_GT(e.sqnr_db, 25) << name;
    EXPECT_GE(e.own_sqnr_db, 25) << name;
    EXPECT_GT(e.cosine, 0.99) << name;
    EXPECT_LT(e.saturated, 0.01) << name;
  }
  EXPECT_LT(bad.at("r1").sqnr_db, 10);
  EXPECT_LT(bad.at("r1").own_sqnr_db, 10);
  EXPECT_GT(bad.at("r1").saturated, 0.1);
  EXPECT_LT(bad.at("y").sqnr_db, good.at("y").sqnr_db - 10);
}

TEST(Agreement, OfAModelWithItselfAndWithItsQuantizedForm) {
  const auto model = small_net();
  const Quantized q = quantize(model, {}, samples(6));
  const auto compare = [&](std::shared_ptr<const Model> candidate) {
    quant::Agreement agreement(model, std::move(candidate));
    for (const auto& s : samples(6)) {
      agreement.begin(s);
      while (!agreement.advance(0)) {
      }
    }
    return agreement.result();
  };
  const quant::AgreementResult same = compare(model);
  ASSERT_EQ(same.outputs.size(), 1u);
  EXPECT_EQ(same.samples, 6u);
  EXPECT_EQ(same.outputs[0].output, "y");
  EXPECT_TRUE(std::isinf(same.outputs[0].sqnr_db));
  EXPECT_EQ(same.outputs[0].top1, 1);
  EXPECT_EQ(same.outputs[0].rows, 6);
  const quant::AgreementResult near = compare(q.model);
  EXPECT_GT(near.outputs[0].sqnr_db, 25);
  EXPECT_LT(near.outputs[0].sqnr_db, 70);
  EXPECT_GT(near.outputs[0].max_abs, 0);
  EXPECT_GT(near.outputs[0].cosine, 0.99);
}

TEST(Agreement, FeedsAndReadsIntegersWhereTheModelHasThem) {
  const auto model = small_net();
  Config config;
  config.quantized_inputs = config.quantized_outputs = true;
  const Quantized q = quantize(model, config, samples(4));
  ASSERT_EQ(q.graph()[q.graph().inputs[0]].dtype, DType::kUint8);
  ASSERT_EQ(q.graph()[q.graph().outputs[0]].dtype, DType::kUint8);
  quant::Agreement agreement(model, q.model);
  quant::LayerErrors errors(model, q.model);
  agreement.begin(samples(1)[0]);
  errors.begin(samples(1)[0]);
  while (!agreement.advance(5)) {
  }
  while (!errors.advance(5)) {
  }
  EXPECT_GT(agreement.result().outputs[0].sqnr_db, 25);
  const auto layers = errors.result();
  ASSERT_FALSE(layers.empty());
  EXPECT_EQ(layers.back().output, "y");
  EXPECT_GT(layers.back().sqnr_db, 25);
}

// "places" has as many columns as x has values above the threshold.
TEST(Agreement, GoesOnWhereAnOutputHasAnotherShape) {
  const auto above = [](float threshold) {
    GraphBuilder net;
    const ValueId x = net.input("x", {4});
    const ValueId limit = net.constant("limit", Tensor::of<float>({1}, {threshold}));
    net.output(net.add("NonZero", "places", {net.add("Greater", "above", {x, limit})}));
    net.output(net.add("Neg", "y", {x}));
    return net.build();
  };
  const Samples two{{{"x", Tensor::of<float>({4}, {1, 2, 3, 4})}},
                    {{"x", Tensor::of<float>({4}, {0, 9, 0, 9})}}};
  quant::Agreement agreement(above(2.5f), above(1.5f));
  for (const auto& s : two) {
    agreement.begin(s);
    while (!agreement.advance(5)) {
    }
  }
  const quant::AgreementResult r = agreement.result();
  EXPECT_EQ(r.samples, 2u);
  ASSERT_EQ(r.outputs.size(), 2u);
  EXPECT_EQ(r.outputs[0].other_shapes, 1);
  EXPECT_EQ(r.outputs[0].rows, 2);  // of the other sample
  EXPECT_EQ(r.outputs[0].top1, 1);
  EXPECT_EQ(r.outputs[1].other_shapes, 0);
  EXPECT_EQ(r.outputs[1].sqnr_db, std::numeric_limits<double>::infinity());
}

// A search does not take it for agreement.
TEST(OutputErrors, AnOutputOfAnotherShapeIsAllWrong) {
  const auto first = [](int64_t count) {
    GraphBuilder net;
    const ValueId x = net.input("x", {4});
    net.output(net.add("Slice", "y",
                       {x, net.constant("from", Tensor::of<int64_t>({1}, {0})),
                        net.constant("to", Tensor::of<int64_t>({1}, {count}))}));
    return net.build();
  };
  quant::OutputErrors errors(first(4), {{{"x", Tensor::of<float>({4}, {1, 2, 3, 4})}}}, {}, 1);
  while (!errors.advance(5)) {
  }
  errors.begin(first(3), 1);
  while (!errors.advance(5)) {
  }
  EXPECT_EQ(errors.sqnr_db(), 0);
  EXPECT_EQ(errors.cosine(), 0);
}

// As a file has them: one memory under two shapes is written twice, and what nobody reads is not.
TEST(StoredConstants, AreWhatAFileHas) {
  GraphBuilder net;
  const Tensor eight = noise({2, 4}, 1);
  const ValueId x = net.input("x", {2, 4});
  const ValueId y = net.add("Add", "sum", {x, net.constant("eight", eight)});
  const ValueId z = net.add("Mul", "product", {y, net.constant("same", eight)});
  net.constant("unused", noise({100}, 2));
  net.output(net.add("Reshape", "flat", {z, net.constant("to", Tensor::of<int64_t>({1}, {8}))}));
  net.output(net.add("Neg", "transposed", {net.constant("view", eight.reshaped({8}))}));
  EXPECT_EQ(quant::stored_constants(net.graph()).size(), 3u);
  EXPECT_EQ(quant::constant_bytes(net.graph()), 32u + 32u + 8u);
}

TEST(Agreement, NeedsAnOutputInCommon) {
  GraphBuilder other;
  other.output(other.add("Sqrt", "z", {other.input("x", {1, 3, 12, 12})}));
  EXPECT_THROW(quant::Agreement(small_net(), other.build()), Error);
}

TEST(ErrorSums, FollowTheirDefinitions) {
  quant::ErrorSums sums;
  EXPECT_TRUE(std::isnan(sums.sqnr_db()));
  const float x[] = {3, 4}, y[] = {3, 3.5f};
  sums.add(x, y, 2);
  EXPECT_DOUBLE_EQ(sums.sqnr_db(), 10 * std::log10(25 / 0.25));
  EXPECT_DOUBLE_EQ(sums.cosine(), 23 / std::sqrt(25 * 21.25));
  EXPECT_EQ(sums.max_abs, 0.5);
  quant::ErrorSums twice = sums;
  twice.merge(sums);
  EXPECT_EQ(twice.count, 4);
  EXPECT_DOUBLE_EQ(twice.sqnr_db(), sums.sqnr_db());
}

TEST(Format, OperatorFormHasNoPairsLeftWhereOperatorsHaveOne) {
  const auto model = small_net();
  const Quantized q = quantize(model, {}, samples(4));
  const Model folded = quant::in_format(*q.model, "qoperator");
  std::map<std::string, int> ops;
  for (const Node& n : folded.graph.nodes) ++ops[n.op_type];
  EXPECT_EQ(ops["Conv"], 0);
  EXPECT_EQ(ops["QLinearConv"], 2);
  EXPECT_EQ(ops["Relu"], 0);  // the range begins at its bound: saturation does its work
  EXPECT_LT(ops["DequantizeLinear"], 4);
  EXPECT_THROW(quant::in_format(*q.model, "magic"), Error);
  // As pairs it is the same, without the two ReLUs.
  const Model pairs = quant::in_format(*q.model, "qdq");
  EXPECT_EQ(pairs.graph.nodes.size(), q.graph().nodes.size() - 2);
  for (const Node& n : pairs.graph.nodes) EXPECT_NE(n.op_type, "Relu");
}

TEST(Format, AClampThatTheRangeDoesNotCoverStays) {
  Config config;
  config.activations = DType::kInt8;
  config.symmetric_activations = true;  // the range has a negative half, which Relu must cut off
  const Quantized q = quantize(small_net(), config, samples(4));
  const Model folded = quant::in_format(*q.model, "qoperator");
  EXPECT_EQ(std::count_if(folded.graph.nodes.begin(), folded.graph.nodes.end(),
                          [](const Node& n) { return n.op_type == "Relu"; }),
            2);
}

// The one sample with the widest values is not among those that a search keeps.
TEST(Search, WhatItChoseHasSeenAllSamples) {
  GraphBuilder net;
  const ValueId x = net.input("x", {2, 4});
  net.output(net.add("MatMul", "y", {x, net.constant("w", noise({4, 4}, 1))}));
  Samples samples;
  size_t last = 0;
  for (size_t i = 0; i < 200; ++i) {
    samples.push_back({{"x", noise({2, 4}, static_cast<uint32_t>(i))}});
    if (quant::rank_in_series(i) > quant::rank_in_series(last)) last = i;
  }
  samples[last] = {{"x", noise({2, 4}, 7, 1.5f)}};
  quant::Config config;
  config.mode = "auto";
  const Quantized q = quantize(net.build(), config, samples);
  EXPECT_EQ(q.report.samples, 200U);
  EXPECT_GT(q.ranges.at("x").max - q.ranges.at("x").min, 2.1f);
}

// Those held out judge what is tried. The widest values may be in one of them, wherever it stands.
TEST(Search, WhatItChoseHasSeenTheSamplesHeldOut) {
  GraphBuilder net;
  const ValueId x = net.input("x", {2, 4});
  net.output(net.add("MatMul", "y", {x, net.constant("w", noise({4, 4}, 1))}));
  const auto model = net.build();
  quant::Config config;
  config.mode = "auto";
  for (size_t wide = 0; wide < 8; ++wide) {
    Samples samples;
    for (size_t i = 0; i < 8; ++i) samples.push_back({{"x", noise({2, 4}, static_cast<uint32_t>(i))}});
    samples[wide][0].tensor.mutable_data<float>()[3] = 1.1f;
    const Quantized q = quantize(model, config, samples);
    EXPECT_EQ(q.report.samples, 8U) << wide;
    EXPECT_NEAR(q.ranges.at("x").max, 1.1f, 1e-2f) << wide;
  }
}
}  // namespace
}  // namespace zp::test
