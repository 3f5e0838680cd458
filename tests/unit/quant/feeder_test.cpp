// The road of samples: each is asked for once, kept within bounds, and handed to every stage.
#include "onnx/onnx.h"
#include "quant/spread.h"
#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

using quant::Config;
using quant::Feeding;

// Conv -> Relu -> Conv -> GlobalAveragePool -> Flatten -> Gemm
std::shared_ptr<Model> net() {
  GraphBuilder net;
  const auto conv = [&](const std::string& name, ValueId x, int64_t out, int64_t in) {
    return net.add("Conv", name,
                   {x, net.constant(name + "_w", noise({out, in, 3, 3}, static_cast<uint32_t>(out), 0.4f)),
                    net.constant(name + "_b", noise({out}, 7, 0.2f))},
                   {{"kernel_shape", std::vector<int64_t>{3, 3}}});
  };
  const ValueId x = net.input("x", {Dim::symbol("N"), 2, 6, 6});
  const ValueId c2 = conv("c2", net.add("Relu", "r1", {conv("c1", x, 4, 2)}), 3, 4);
  const ValueId flat = net.add("Flatten", "flat", {net.add("GlobalAveragePool", "gap", {c2})});
  net.output(
      net.add("Gemm", "y", {flat, net.constant("fw", noise({3, 5}, 3)), net.constant("fb", noise({5}, 4))}));
  return net.build();
}

Samples samples(size_t count) {
  Samples s;
  for (size_t i = 0; i < count; ++i)
    s.push_back({{"x", noise({1, 2, 6, 6}, static_cast<uint32_t>(100 + i), i % 7 == 6 ? 2 : 1)}});
  return s;
}

struct Fed {
  Quantized quantized;
  std::vector<size_t> asked;  // numbers, in order
};

Fed feed(const std::shared_ptr<const Model>& model, const Config& config, const Samples& samples,
         Feeding feeding) {
  feeding.keep = true;
  quant::Quantizer job(model, config, 1, feeding);
  Fed fed;
  for (;;) {
    while (!job.advance(5)) {
    }
    if (job.done()) break;
    if (job.measures()) {
      job.measure();
      continue;
    }
    EXPECT_TRUE(job.wants_samples());
    fed.asked.push_back(job.wanted());
    if (job.wanted() < samples.size())
      job.begin_sample(samples[job.wanted()]);
    else
      job.end_samples();
  }
  fed.quantized = {std::make_shared<Model>(job.result()), job.report(), job.ranges()};
  return fed;
}

std::vector<std::byte> bytes(const Quantized& q) { return onnx::write(*q.model); }

// 0, 1, 2, ..., so many, and the one that there is not.
std::vector<size_t> each_once(size_t count) {
  std::vector<size_t> all;
  for (size_t i = 0; i <= count; ++i) all.push_back(i);
  return all;
}

TEST(Feeder, SeveralSweepsAskForEachSampleOnce) {
  const Samples some = samples(12);
  const std::vector<std::vector<std::string>> choices = {
      {}, {"smooth"}, {"equalization", "bias-correction"}, {"adaround"}};
  for (const std::vector<std::string>& repairs : choices) {
    SCOPED_TRACE(repairs.empty() ? "" : repairs[0]);
    Config config;
    config.repairs = repairs;
    for (const bool once : {false, true}) {
      const Fed fed = feed(net(), config, some, {.once = once});
      EXPECT_EQ(fed.asked, each_once(12));
      EXPECT_EQ(bytes(fed.quantized), bytes(quantize(net(), config, some)));
      EXPECT_EQ(fed.quantized.report.samples, 12u);
    }
  }
}

TEST(Feeder, DefaultRepairsAndSearchesToo) {
  const Samples some = samples(12);
  Config checked;
  checked.default_repairs = true;
  Config search;
  search.mode = "auto";
  for (const Config& config : {checked, search}) {
    const Fed fed = feed(net(), config, some, {});
    EXPECT_EQ(fed.asked, each_once(12));
    EXPECT_EQ(bytes(fed.quantized), bytes(quantize(net(), config, some)));
  }
}

// What a stage that looks at a few wants is among what is kept. What looks at all asks for the others again.
TEST(Feeder, WhatIsKeptIsBounded) {
  constexpr size_t kCount = 300, kKept = 256;
  const Samples many = samples(kCount);
  Config few;
  few.repairs = {"bias-correction"};
  Fed fed = feed(net(), few, many, {});
  EXPECT_EQ(fed.asked, each_once(kCount));
  EXPECT_EQ(bytes(fed.quantized), bytes(quantize(net(), few, many)));

  Config all;
  all.repairs = {"equalization"};
  fed = feed(net(), all, many, {});
  ASSERT_EQ(fed.asked.size(), kCount + 1 + kCount - kKept);
  const std::vector<size_t> again(fed.asked.begin() + kCount + 1, fed.asked.end());
  EXPECT_TRUE(std::is_sorted(again.begin(), again.end()));
  for (const size_t i : again)
    EXPECT_GT(quant::rank_in_series(i), static_cast<double>(kKept) / kCount - 0.02) << i;
  EXPECT_EQ(bytes(fed.quantized), bytes(quantize(net(), all, many)));

  // What cannot be given again is kept, however many those are.
  fed = feed(net(), all, many, {.once = true});
  EXPECT_EQ(fed.asked, each_once(kCount));
  EXPECT_EQ(bytes(fed.quantized), bytes(quantize(net(), all, many)));
}

TEST(Feeder, ASweepThatWasEnoughAsksForNoMore) {
  Config config;
  config.repairs = {"bias-correction"};
  config.options["patience"] = 3;
  const Fed fed = feed(net(), config, Samples(50, samples(1)[0]), {});
  EXPECT_EQ(fed.quantized.report.samples, 4u);
  EXPECT_EQ(fed.asked, each_once(50));  // calibration had four; the repair looks for the end of the series
  EXPECT_EQ(bytes(fed.quantized), bytes(quantize(net(), config, Samples(50, samples(1)[0]))));
}

// Between samples, and while a stage works on what it saw, no sample is under way.
TEST(Feeder, ProgressCountsTheSamplesOfASweep) {
  const Samples some = samples(5);
  Config config;
  config.repairs = {"bias-correction"};
  quant::Quantizer job(net(), config, 1, {.keep = true});
  bool ran = false, repaired = false;
  while (!job.done()) {
    const bool idle = job.advance(0);
    const quant::Progress p = job.progress();
    if (p.running) {
      ran = true;
      EXPECT_GE(p.samples, 1u);
      EXPECT_LE(p.samples, 5u);
      EXPECT_LE(p.done, p.total);
    } else if (!job.wants_samples() && p.phase == "bias-correction") {
      repaired = true;
      EXPECT_EQ(p.samples, 0u);
    }
    EXPECT_EQ(p.expected, job.sweep() > 0 ? 5u : 0u);
    if (!idle || job.done()) continue;
    ASSERT_TRUE(job.wants_samples());
    if (job.wanted() < some.size())
      job.begin_sample(some[job.wanted()]);
    else
      job.end_samples();
  }
  EXPECT_TRUE(ran);
  EXPECT_TRUE(repaired);
}

TEST(Feeder, NoSampleAtAllIsAnError) { EXPECT_THROW(feed(net(), {}, {}, {}), Error); }

TEST(Feeder, ErrorsOfLayersAreMeasuredOnTheFirstSamples) {
  const Samples some = samples(6);
  const auto model = net();
  const auto expect_measured = [&](const Quantized& q, size_t count) {
    quant::LayerErrors errors(model, q.model);
    for (size_t i = 0; i < count; ++i) {
      errors.begin(some[i]);
      while (!errors.advance(5)) {
      }
    }
    size_t found = 0;
    for (const quant::LayerError& e : errors.result()) {
      for (const quant::LayerReport& l : q.report.layers) {
        if (l.output != e.output) continue;
        ASSERT_TRUE(l.error) << l.node;
        EXPECT_EQ(l.error->sqnr_db, e.sqnr_db) << l.node;
        EXPECT_EQ(l.error->values.counts, e.values.counts) << l.node;
        ++found;
      }
    }
    EXPECT_GE(found, 3u);
  };
  for (const bool once : {false, true}) {
    const Fed fed = feed(model, {}, some, {.once = once, .layer_errors = 4});
    EXPECT_EQ(fed.asked, each_once(6));
    expect_measured(fed.quantized, 4);
  }
  // Where the job needs no samples, only those that are measured are asked for.
  Config dynamic;
  dynamic.mode = "dynamic";
  EXPECT_TRUE(feed(model, dynamic, some, {.layer_errors = 2}).asked.empty());
  dynamic.has_samples = true;
  const Fed fed = feed(model, dynamic, some, {.layer_errors = 2});
  EXPECT_EQ(fed.asked, (std::vector<size_t>{0, 1}));
  expect_measured(fed.quantized, 2);
  EXPECT_EQ(feed(model, dynamic, {}, {.layer_errors = 2}).asked, (std::vector<size_t>{0}));
}

TEST(Feeder, TargetsAreNoInputsOfTheModelThatIsMeasured) {
  Samples some = samples(2);
  for (auto& feeds : some) feeds.push_back({quant::target_name("y"), Tensor::of<int64_t>({1}, {2})});
  const Fed fed = feed(net(), {}, some, {.layer_errors = 2});
  EXPECT_TRUE(fed.quantized.layer("y").error);
}

TEST(Feeder, WhetherThereMustBeSamplesIsKnownFromTheStart) {
  const auto needs = [](const char* mode, std::vector<std::string> repairs = {}, bool sensitivity = false) {
    Config config;
    config.mode = mode;
    config.repairs = std::move(repairs);
    config.sensitivity = sensitivity;
    return quant::needs_samples(net(), config);
  };
  EXPECT_TRUE(needs("static"));
  EXPECT_TRUE(needs("auto"));
  EXPECT_FALSE(needs("dynamic"));
  EXPECT_TRUE(needs("dynamic", {}, true));
  EXPECT_FALSE(needs("weight-only", {"hqq"}));
  EXPECT_TRUE(needs("weight-only", {"gptq"}));
}

}  // namespace
}  // namespace zp::test
