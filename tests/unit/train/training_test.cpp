// Training as a whole: from scratch, with fewer bits, repeatable, stopped early.
#include "onnx/onnx.h"
#include "ops/gradient.h"
#include "unit/train/digits.h"
#include "unit/train/gradient_check.h"

namespace zp::test {
namespace {

// Trained once for all tests.
const std::shared_ptr<const Model>& trained() {
  static const std::shared_ptr<const Model> model =
      quantize(digits_network(), from_scratch(), {digits(1000, 1).feeds(true)}, 1e9).model;
  return model;
}

struct Outcome {
  Quantized quantized;
  quant::TrainingProgress progress;
};

Outcome run(const std::shared_ptr<const Model>& model, const quant::Config& config, const Samples& samples,
            int threads = 1, int stop_after = -1) {
  quant::Quantizer job(model, config, threads);
  int slices = 0;
  for (;;) {
    while (!job.advance(stop_after < 0 ? 1e9 : 0.01)) {
      const auto p = job.progress();
      if (p.training && p.training->step > 0 && ++slices == stop_after) job.stop();
    }
    if (job.done()) break;
    for (const auto& sample : samples) {
      job.begin_sample(sample);
      while (!job.advance(1e9)) {
      }
    }
    job.end_samples();
  }
  return {{std::make_shared<Model>(job.result()), job.report(), job.ranges()}, *job.progress().training};
}

TEST(Training, FromScratch) {
  const Digits unseen = digits(1000, 2);
  EXPECT_LT(accuracy(digits_network(), unseen), 0.3);
  EXPECT_GT(accuracy(trained(), unseen), 0.9);
  for (const Node& n : trained()->graph.nodes) EXPECT_TRUE(n.domain.empty()) << n.domain;
}

TEST(Training, FewBitsLoseLessThanWithoutTraining) {
  const Digits unseen = digits(1000, 2);
  const Samples samples{digits(1000, 1).feeds(false)};
  const double whole = accuracy(trained(), unseen);
  for (const auto& [weights, activations, lost] : {std::tuple{4, 4, 0.06}, std::tuple{2, 4, 0.2}}) {
    SCOPED_TRACE("W" + std::to_string(weights) + "A" + std::to_string(activations));
    const Quantized before = quantize(trained(), narrow(weights, activations, 0), samples, 1e9);
    const Outcome after = run(trained(), narrow(weights, activations, 10), samples);
    EXPECT_LT(after.progress.best_loss, after.progress.first_loss);
    EXPECT_GT(accuracy(after.quantized.model, unseen), accuracy(before.model, unseen));
    EXPECT_GT(accuracy(after.quantized.model, unseen), whole - lost);
  }
}

TEST(Training, OneSeedGivesTheSameBitsWithAnyNumberOfThreads) {
  const Samples samples{digits(200, 1).feeds(false)};
  const auto bytes = [&](int threads, uint64_t seed) {
    quant::Config config = narrow(4, 8, 2);
    config.training.seed = seed;
    return onnx::write(*run(trained(), config, samples, threads).quantized.model);
  };
  const std::vector<std::byte> once = bytes(1, 1);
  EXPECT_EQ(once, bytes(1, 1));
  EXPECT_EQ(once, bytes(3, 1));
  EXPECT_NE(once, bytes(1, 2));
}

TEST(Training, StoppedEarlyKeepsTheBestSoFar) {
  const Samples samples{digits(200, 1).feeds(false)};
  const Outcome stopped = run(trained(), narrow(4, 4, 1000), samples, 1, 2);
  EXPECT_GT(stopped.progress.step, 0U);
  EXPECT_LT(stopped.progress.step, stopped.progress.steps);
  EXPECT_LE(stopped.progress.best_loss, stopped.progress.first_loss);
  EXPECT_GT(accuracy(stopped.quantized.model, digits(1000, 2)), 0.3);
  for (const Node& n : stopped.quantized.graph().nodes) EXPECT_NE(n.domain, kOwn) << n.op_type;
}

// A layer's own effect is that of its integers: found without training, on samples without their targets.
TEST(Training, SensitivitiesAreMeasuredWithoutTraining) {
  Samples samples;
  for (uint32_t s = 1; s <= 4; ++s) samples.push_back(digits(50, s).feeds(true));
  quant::Config config = narrow(4, 8, 1);
  config.sensitivity = true;
  const Quantized q = quantize(trained(), config, samples, 1e9);
  config.training.epochs = 0;
  const Quantized untrained = quantize(trained(), config, samples, 1e9);
  size_t layers = 0;
  for (const quant::LayerReport& l : q.report.layers) {
    if (!l.weight) continue;
    ++layers;
    ASSERT_TRUE(l.sensitivity) << l.node;
    EXPECT_EQ(l.sensitivity->sqnr_db, untrained.layer(l.node).sensitivity->sqnr_db) << l.node;
  }
  EXPECT_EQ(layers, 4U);
}

TEST(Training, RepairsThatWouldUndoItAreRefused) {
  for (const char* repair : {"adaround", "gptq", "hqq"}) {
    quant::Config config = narrow(4, 8, 1);
    config.repairs = {repair};
    EXPECT_THROW(quant::Quantizer(trained(), config, 1), Error) << repair;
  }
  quant::Config config = narrow(4, 8, 1);
  config.repairs = {"bias-correction"};
  EXPECT_NO_THROW(quantize(trained(), config, {digits(100, 1).feeds(true)}, 1e9));
}

}  // namespace
}  // namespace zp::test
