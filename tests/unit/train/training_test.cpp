// Training as a whole: from scratch, with fewer bits, repeatable, stopped early.
#include <cstring>

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

// What training saw is what the integer runtime computes: the loss of the result, run in integers, is the
// loss that training found for the checkpoint it kept.
TEST(Training, TheResultIsWhatWasTrained) {
  const Digits seen = digits(600, 1);
  quant::Config config = narrow(4, 4, 2);
  config.training.validation = 0;  // then the loss is measured on the samples themselves
  const Outcome after = run(trained(), config, {seen.feeds(false)});
  const auto probabilities = [&](const std::shared_ptr<const Model>& model, bool integer) {
    runtime::Session session(model, {.threads = 1, .integer = integer});
    std::vector<float> y = session.run(seen.feeds(false))[0].floats();
    for (size_t row = 0; row < y.size(); row += 10) {
      double sum = 0;
      for (size_t i = row; i < row + 10; ++i) sum += std::exp(y[i]);
      for (size_t i = row; i < row + 10; ++i) y[i] = static_cast<float>(std::exp(y[i]) / sum);
    }
    return y;
  };
  const std::vector<float> teacher = probabilities(trained(), false);
  for (const bool integer : {false, true}) {
    const std::vector<float> student = probabilities(after.quantized.model, integer);
    double kl = 0;
    for (size_t i = 0; i < teacher.size(); ++i)
      if (teacher[i] > 0) kl += teacher[i] * std::log(double{teacher[i]} / student[i]);
    EXPECT_NEAR(kl / 600, after.progress.best_loss, 0.03 * after.progress.best_loss + 1e-4) << integer;
  }
}

TEST(Training, FourBitsStayFourBits) {
  const Outcome after = run(trained(), narrow(2, 4, 1), {digits(300, 1).feeds(false)});
  const Graph& graph = after.quantized.graph();
  std::vector<ValueId> taps;
  for (const Node& n : graph.nodes)
    if (quant::is_quantize(n)) taps.push_back(n.output(0));
  runtime::Session session(after.quantized.model, {.threads = 1, .integer = false, .taps = taps});
  size_t seen = 0;
  session.set_tap([&](ValueId v, const TensorView& view) {
    ++seen;
    ASSERT_EQ(view.dtype, DType::kUint8);
    const auto* q = reinterpret_cast<const uint8_t*>(view.data);
    EXPECT_LE(*std::max_element(q, q + element_count(view.dims)), 15) << graph[v].name;
  });
  session.run(digits(200, 3).feeds(false));
  EXPECT_EQ(seen, taps.size());
  EXPECT_GT(seen, 3u);
  size_t weights = 0;
  for (const Node& n : graph.nodes) {
    const Tensor* q = quant::is_dequantize(n) ? graph.constant(n.input(0)) : nullptr;
    if (!q || q->dtype() != DType::kInt4) continue;
    ++weights;
    for (int64_t i = 0; i < q->size(); ++i) {
      EXPECT_GE(q->integer_at(i), -2);
      EXPECT_LE(q->integer_at(i), 1);
    }
  }
  EXPECT_EQ(weights, 4u);
}

TEST(Training, IsRepeatableWithAnyNumberOfThreads) {
  const Samples samples{digits(200, 1).feeds(false)};
  quant::Config config = narrow(2, 4, 5);
  const auto bytes = [&](int threads) {
    return onnx::write(*run(trained(), config, samples, threads).quantized.model);
  };
  const auto once = bytes(1);
  EXPECT_TRUE(once == bytes(1));
  EXPECT_TRUE(once == bytes(3));
  config.training.seed = 2;
  EXPECT_FALSE(once == bytes(1));
}

TEST(Training, StopsEarlyAndKeepsTheBest) {
  const Outcome after = run(trained(), narrow(4, 4, 50), {digits(200, 1).feeds(false)}, 1, 40);
  EXPECT_LT(after.progress.step, after.progress.steps);
  EXPECT_GT(after.progress.step, 0u);
  EXPECT_LE(after.progress.best_loss, after.progress.first_loss);
  EXPECT_GT(accuracy(after.quantized.model, digits(300, 2)), 0.5);
}

// A model that the float model's own answers match has nothing to learn: the loss is 0 whatever the samples.
TEST(Training, TheLossOfAPerfectMatchIsZero) {
  quant::Config config = from_scratch(1);
  const Outcome after = run(trained(), config, {digits(100, 5).feeds(false)});
  EXPECT_NEAR(after.progress.first_loss, 0, 1e-5);
}

// Outputs that have been through a softmax already are taken as the probabilities that they are.
TEST(Training, OutputsThatAreProbabilities) {
  const auto model = std::make_shared<Model>(*trained());
  Graph& graph = model->graph;
  Node n;
  n.op_type = "Softmax";
  n.name = "probabilities";
  n.inputs = {graph.outputs[0]};
  n.outputs = {graph.add_value("probabilities")};
  graph.outputs = n.outputs;
  graph.nodes.push_back(n);
  infer_shapes(graph);
  const Samples samples{digits(300, 1).feeds(false)};
  const Outcome probabilities = run(model, narrow(2, 4, 2), samples),
                logits = run(trained(), narrow(2, 4, 2), samples);
  EXPECT_NEAR(probabilities.progress.first_loss, logits.progress.first_loss,
              1e-2 * logits.progress.first_loss);
  EXPECT_LT(probabilities.progress.best_loss, probabilities.progress.first_loss);
}

// A model whose batch is fixed takes its samples one by one; their gradients are added up.
TEST(Training, SamplesThatCannotBeStacked) {
  const auto fixed = std::make_shared<Model>(*trained());
  (*fixed).graph[fixed->graph.inputs[0]].shape = SymShape{20, 1, 8, 8};
  for (Value& v : fixed->graph.values)
    if (v.name != "x" && !v.constant) v.shape.reset();
  infer_shapes(fixed->graph);
  Samples samples;
  for (uint32_t i = 0; i < 12; ++i) samples.push_back(digits(20, i + 1).feeds(false));
  quant::Config config = narrow(3, 4, 3);
  config.training.batch = 2;
  const Outcome after = run(fixed, config, samples);
  EXPECT_EQ(after.progress.steps, 18u);
  EXPECT_LT(after.progress.best_loss, after.progress.first_loss);
}

TEST(Training, SgdAndSquaresAndFixedScales) {
  quant::Config config = narrow(3, 8, 3);
  config.training.optimizer = "sgd";
  config.training.schedule = "constant";
  config.training.loss = "mse";
  config.training.learn_scales = false;
  config.training.learning_rate = 0.05;
  config.training.weight_decay = 1e-4;
  const Outcome after = run(trained(), config, {digits(400, 1).feeds(false)});
  EXPECT_LT(after.progress.best_loss, 0.8 * after.progress.first_loss);
}

TEST(Training, MistakesAreErrors) {
  const auto code = [&](quant::Config config, const std::vector<runtime::Feed>& feeds) {
    try {
      run(trained(), config, {feeds});
    } catch (const Error& e) {
      return std::string(name_of(e.code())) + ": " + e.what();
    }
    return std::string();
  };
  const auto plain = digits(40, 1).feeds(false);
  quant::Config config = narrow(4, 4, 1);
  config.training.loss = "cross-entropy";
  EXPECT_EQ(code(config, plain), "invalid-feed: cross-entropy needs labels, and a sample has none");
  Digits wrong = digits(40, 1);
  wrong.labels.mutable_data<int64_t>()[7] = 10;
  EXPECT_EQ(code(config, wrong.feeds(true)), "invalid-feed: class 10 is not one of 10");
  config.training.loss = "hinge";
  EXPECT_EQ(code(config, plain), "invalid-argument: unknown loss 'hinge'");
  config = narrow(4, 4, 1);
  config.training.activation_bits = 1;
  EXPECT_EQ(code(config, plain), "invalid-argument: bits are out of range");
  config = from_scratch(20);
  config.training.optimizer = "sgd";
  config.training.clip_norm = 0;
  config.training.learning_rate = 10;
  try {
    run(digits_network(), config, {digits(100, 1).feeds(true)});
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("training diverged"));
  }
}

TEST(Training, FakeQuantizeStraightThrough) {
  GraphBuilder net;
  const ValueId x = net.input("x", {2, 4}), s = net.input("s", {2}), dy = net.input("dy", {2, 4});
  const ValueId z = net.constant("z", Tensor::of<float>({2}, {0, 3}));
  Node n;
  n.op_type = "FakeQuantizeGradient";
  n.domain = kOwn;
  n.inputs = {x, s, z, dy};
  n.outputs = {net.graph().add_value("dx"), net.graph().add_value("ds")};
  n.attributes = {{"low", 0.f}, {"high", 15.f}, {"axis", int64_t{0}}};
  net.graph().nodes.push_back(n);
  const ValueId y =
      net.add("FakeQuantize", "y", {x, s, z}, {{"low", 0.f}, {"high", 15.f}, {"axis", int64_t{0}}}, kOwn);
  for (ValueId v : {y, n.outputs[0], n.outputs[1]}) net.output(v);
  const auto model = net.build();
  runtime::Session session(model, {.threads = 1, .integer = false});
  const auto out =
      session.run({{"x", Tensor::of<float>({2, 4}, {0.26f, 8.f, -1.f, 7.5f, -3.f, -4.f, 5.f, 13.f})},
                   {"s", Tensor::of<float>({2}, {0.5f, 1.f})},
                   {"dy", Tensor::of<float>({2, 4}, {1, 2, 3, 4, 5, 6, 7, 8})}});
  // Row 0: codes 0...15 of 0.5, so up to 7.5. Row 1: codes 0...15 around 3, so -3...12.
  EXPECT_THAT(out[0].floats(), testing::ElementsAre(0.5f, 7.5f, 0.f, 7.5f, -3.f, -3.f, 5.f, 12.f));
  EXPECT_THAT(out[1].floats(), testing::ElementsAre(1, 0, 0, 4, 5, 0, 7, 0));
  // 1 (1 - 0.52) + 2 * 15 + 3 * 0 + 4 * 0, and 0 + 6 * -3 + 0 + 8 * 12.
  EXPECT_THAT(out[2].floats(),
              testing::ElementsAre(testing::FloatNear(30.48f, 1e-4f), testing::FloatNear(78.f, 1e-4f)));
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
