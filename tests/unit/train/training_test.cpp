// Training as a whole: from scratch, with fewer bits, repeatable, stopped early.
#include <cstring>

#include "onnx/onnx.h"
#include "ops/gradient.h"
#include "train/trainer.h"
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
    const Outcome after = run(trained(), narrow(weights, activations, 15), samples);
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

// Rows of two sizes make no batch: they run one by one from then on.
TEST(Training, SamplesOfDifferentSizes) {
  GraphBuilder net;
  const ValueId x = net.input("x", {Dim::symbol("N"), 1, Dim::symbol("H"), 8});
  const ValueId c = net.add("Conv", "c", {x, net.constant("w", ramp({4, 1, 3, 3}))},
                            {{"pads", std::vector<int64_t>{1, 1, 1, 1}}});
  const ValueId p = net.add("GlobalAveragePool", "p", {net.add("Relu", "r", {c})});
  net.output(net.add("Flatten", "y", {p}));
  Samples samples;
  for (const int64_t height : {8, 8, 6, 9}) samples.push_back({{"x", ramp({5, 1, height, 8})}});
  quant::Config config = narrow(2, 8, 4);
  config.training.batch = 3;
  const Outcome after = run(net.build(), config, samples);
  EXPECT_EQ(after.progress.steps, 4u * (12 / 3));  // ten rows, and two samples of five rows
  EXPECT_LT(after.progress.best_loss, after.progress.first_loss);
}

TEST(Training, SgdAndSquaresAndFixedScales) {
  quant::Config config = narrow(3, 8, 3);
  config.training.optimizer = "sgd";
  config.training.schedule = "constant";
  config.training.loss = "mse";
  config.training.scales = "fixed";
  config.training.learning_rate = 0.05;
  config.training.weight_decay = 1e-4;
  const Outcome after = run(trained(), config, {digits(400, 1).feeds(false)});
  EXPECT_LT(after.progress.best_loss, 0.8 * after.progress.first_loss);
}

// Scales and zero points end where the ranges are: the weights' at their largest value, the activations'
// where the samples' values are, without gradients.
TEST(Training, ScalesFollowRanges) {
  quant::Config config = narrow(3, 4, 12);
  config.training.scales = "moving-average";
  const Samples samples{digits(400, 1).feeds(false)};
  const Outcome after = run(trained(), config, samples);
  EXPECT_LT(after.progress.best_loss, 0.8 * after.progress.first_loss);
  const Graph& g = after.quantized.graph();
  size_t weights = 0;
  for (const Node& n : g.nodes) {
    const Tensor* q = quant::is_dequantize(n) ? g.constant(n.input(0)) : nullptr;
    if (!q || q->dtype() != DType::kInt4) continue;
    ++weights;  // 3 bits: the largest weight of a channel is 3 steps from zero
    int64_t largest = 0;
    for (const int64_t code : q->integers()) largest = std::max(largest, std::abs(code));
    EXPECT_EQ(largest, 3);
  }
  EXPECT_EQ(weights, 4U);
}

// Numbers from -1 to 3 in 16 codes that at first reach from -2 to 2: the zero point moves to where none is
// cut off.
TEST(Training, ZeroPointsAreLearned) {
  GraphBuilder net;
  const ValueId x = net.input("x", {Dim::symbol("N"), 1});
  const ValueId s = net.constant("s", Tensor::scalar(4.f / 15)), z = net.input("z", {});
  const ValueId y = net.add("FakeQuantize", "y", {x, s, z}, {{"low", 0.f}, {"high", 15.f}}, kOwn);
  const ValueId d = net.add("Sub", "d", {y, x});
  net.output(net.add("ReduceMean", "loss", {net.add("Mul", "squares", {d, d})}, {{"keepdims", int64_t{0}}}));
  train::Problem problem;
  problem.graph = net.graph();
  problem.loss = problem.graph.outputs[0];
  problem.parameters.push_back({.name = "z",
                                .value = Tensor::scalar(8.f),
                                .kind = train::Parameter::Kind::kZeroPoint,
                                .codes = {0, 15}});
  train::Samples samples(true);
  Tensor rows(DType::kFloat32, {200, 1});
  for (size_t i = 0; i < 200; ++i) rows.mutable_data<float>()[i] = -1 + 0.02f * static_cast<float>(i);
  samples.add({{"x", rows}});
  quant::Training settings{.epochs = 40, .learning_rate = 5e-2, .batch = 32};
  train::Trainer trainer(std::move(problem), std::move(samples), settings, 1);
  while (!trainer.advance(1e9)) {
  }
  EXPECT_NEAR(trainer.best().at(0).value.floats()[0], 3.75, 0.8);
  EXPECT_LT(trainer.progress().best_loss, 0.1 * trainer.progress().first_loss);
}

TEST(Training, LearnedZeroPointsStayCodes) {
  quant::Config config = narrow(8, 3, 3);
  config.training.learn_zero_points = true;
  config.training.learning_rate = 0.1;
  const Outcome after = run(trained(), config, {digits(200, 1).feeds(false)});
  for (const Node& n : after.quantized.graph().nodes) {
    if (!quant::is_quantize(n)) continue;
    const int64_t zero = after.quantized.graph().constant(n.input(2))->integer_at(0);
    EXPECT_TRUE(zero >= 0 && zero <= 7) << n.name << ": " << zero;
  }
}

// The loss has a term for each value inside the model, which the weights before it alone can make small.
TEST(Training, ValuesInsideTheModelAreTargetsToo) {
  quant::Config config = narrow(3, 8, 6);
  const Samples samples{digits(400, 1).feeds(false)};
  const auto distance = [&](const std::shared_ptr<const Model>& model) {
    double sum = 0;
    std::vector<std::vector<float>> seen;
    for (const auto& m : {trained(), model}) {
      const ValueId v = m->graph.find("r2");
      runtime::Session session(m, {.threads = 1, .integer = false, .taps = {v}});
      session.set_tap([&](ValueId, const TensorView& t) {
        const auto* data = reinterpret_cast<const float*>(t.data);
        seen.emplace_back(data, data + element_count(t.dims));
      });
      session.run(samples[0]);
    }
    for (size_t i = 0; i < seen[0].size(); ++i) sum += std::pow(double{seen[0][i]} - seen[1][i], 2);
    return sum;
  };
  const Outcome without = run(trained(), config, samples);
  config.training.intermediate = {"r2"};
  const Outcome with = run(trained(), config, samples);
  EXPECT_LT(distance(with.quantized.model), 0.9 * distance(without.quantized.model));
  config.training.intermediate = {"nowhere"};
  EXPECT_THROW(run(trained(), config, samples), Error);
}

// Training begins at the integers that a repair has chosen, not at those nearest to the weights.
TEST(Training, GoesOnFromRoundedWeights) {
  quant::Config config = narrow(4, 8, 0);
  config.training.weight_bits = config.training.activation_bits = 0;
  const Samples samples{digits(400, 1).feeds(false), digits(400, 3).feeds(false)};
  config.repairs = {"adaround"};
  const Quantized rounded = quantize(trained(), config, samples, 1e9);
  config.training.epochs = 1;
  config.training.learning_rate = 1e-9;  // nothing moves
  const Outcome after = run(trained(), config, samples);
  config.repairs = {};
  config.training.epochs = 0;
  const Quantized nearest = quantize(trained(), config, samples, 1e9);
  size_t moved = 0, weights = 0;
  for (size_t v = 0; v < rounded.graph().values.size(); ++v) {
    const Tensor* t = rounded.graph().constant(static_cast<ValueId>(v));
    if (!t || t->dtype() != DType::kInt4 || t->dims().size() < 2) continue;  // weights
    ++weights;
    EXPECT_EQ(after.quantized.graph().constant(static_cast<ValueId>(v))->integers(), t->integers());
    moved += nearest.graph().constant(static_cast<ValueId>(v))->integers() != t->integers();
  }
  EXPECT_EQ(weights, 4U);
  EXPECT_GT(moved, 0U);
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
  EXPECT_EQ(code(config, wrong.feeds(true)),
            "invalid-feed: class 10 is not one of the 10 classes of output 'logits'");
  config.training.scales = "moving-average";
  config.symmetric_weights = false;
  EXPECT_EQ(code(config, plain),
            "invalid-argument: scales that follow the ranges of weights need symmetric weights");
  config.training.scales = "learned";
  config.symmetric_weights = true;
  config.training.loss = "hinge";
  EXPECT_EQ(code(config, plain), "invalid-argument: unknown loss 'hinge'");
  config = narrow(4, 4, 1);
  config.training.activation_bits = 1;
  EXPECT_EQ(code(config, plain), "invalid-argument: activation bits: 1 is out of range");
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

// The whole job, told of every slice's progress.
Outcome watch(const std::shared_ptr<const Model>& model, const quant::Config& config, const Samples& samples,
              FunctionRef<void(const quant::TrainingProgress&)> seen) {
  quant::Quantizer job(model, config, 1);
  while (!job.done()) {
    while (!job.advance(0))
      if (const auto p = job.progress().training) seen(*p);
    if (job.done()) break;
    for (const auto& sample : samples) {
      job.begin_sample(sample);
      while (!job.advance(1e9)) {
      }
    }
    job.end_samples();
  }
  seen(*job.progress().training);
  return {{std::make_shared<Model>(job.result()), job.report(), job.ranges()}, *job.progress().training};
}

TEST(Training, GoesOnFromACheckpointToTheSameBits) {
  const Samples samples{digits(200, 1).feeds(false)};
  quant::Config config = narrow(4, 4, 4);
  config.training.checkpoints = true;
  std::shared_ptr<const std::vector<std::byte>> middle;
  const Outcome whole = watch(trained(), config, samples, [&](const quant::TrainingProgress& p) {
    if (p.epoch == 2 && p.checkpoint) middle = p.checkpoint;
  });
  ASSERT_TRUE(middle);
  config.training.resume = middle;
  size_t first = 1000;
  const Outcome resumed = watch(trained(), config, samples,
                                [&](const quant::TrainingProgress& p) { first = std::min(first, p.step); });
  EXPECT_GE(first, whole.progress.steps / 4);
  EXPECT_EQ(onnx::write(*resumed.quantized.model), onnx::write(*whole.quantized.model));

  const auto refused = [&](quant::Config changed, size_t bytes) {
    changed.training.resume = std::make_shared<std::vector<std::byte>>(
        middle->begin(), middle->begin() + static_cast<std::ptrdiff_t>(bytes));
    try {
      run(trained(), changed, samples);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  const std::string message = "the checkpoint belongs to another training";
  for (const size_t bytes : {size_t{0}, size_t{5}, middle->size() / 2, middle->size() - 1})
    EXPECT_EQ(refused(config, bytes), message) << bytes;
  quant::Config other = config;
  other.training.seed = 2;
  EXPECT_EQ(refused(other, middle->size()), message);
}

TEST(Training, ABatchThatDoesNotFitGoesInParts) {
  const Samples samples{digits(200, 1).feeds(false)};
  quant::Config config = narrow(4, 4, 2);
  const Outcome whole = run(trained(), config, samples);
  ASSERT_GT(whole.progress.memory_bytes, 1e5);
  config.training.memory_limit = 0.6 * whole.progress.memory_bytes;
  const Outcome parts = run(trained(), config, samples);
  EXPECT_LE(parts.progress.memory_bytes, config.training.memory_limit);
  EXPECT_EQ(parts.progress.steps, whole.progress.steps);
  EXPECT_NEAR(parts.progress.best_loss, whole.progress.best_loss, 0.05 * whole.progress.best_loss);

  for (const double limit : {1e4, 1.2 * 200 * 74 * 4}) {  // less than the samples; hardly more
    config.training.memory_limit = limit;
    try {
      run(trained(), config, samples);
      FAIL();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kOutOfMemory);
    }
  }
}

// Two layers, fake-quantized, as written in the papers: plain loops in double precision, by themselves.
struct Reference {
  struct Fake {
    double scale, momentum = 0, gradient = 0;
    int zero, low, high;
    double operator()(double x) const { return (code(x) - zero) * scale; }
    double code(double x) const { return std::clamp<double>(std::nearbyint(x / scale) + zero, low, high); }
    // Straight through where nothing was clamped; LSQ for the scale.
    double back(double x, double dy) {
      const double q = std::nearbyint(x / scale) + zero;
      const bool inside = q >= low && q <= high;
      gradient += dy * (inside ? q - zero - x / scale : code(x) - zero);
      return inside ? dy : 0;
    }
  };
  struct Layer {
    std::vector<double> w, b, corrected, dw, db, mw, mb;
    std::vector<Fake> scales;  // of each output
    size_t in, out;
  };
  static constexpr double kRate = 0.02, kMomentum = 0.9;
  std::vector<Layer> layers;
  std::vector<Fake> edges;  // in front of each layer
  std::vector<double> x, teacher;
  size_t rows;

  static std::vector<double> product(const Layer& l, const std::vector<double>& x, bool fake) {
    std::vector<double> y;
    for (size_t r = 0; r < x.size() / l.in; ++r)
      for (size_t o = 0; o < l.out; ++o) {
        double sum = l.b[o];
        for (size_t i = 0; i < l.in; ++i) {
          const double w = l.w[o * l.in + i];
          sum += x[r * l.in + i] * (fake ? l.scales[o](w) : w);
        }
        y.push_back(sum);
      }
    return y;
  }
  static std::vector<double> map(std::vector<double> x, FunctionRef<double(double)> f) {
    for (double& v : x) v = f(v);
    return x;
  }
  static constexpr auto relu = [](double v) { return std::max(v, 0.0); };
  std::vector<double> softmax(const std::vector<double>& y) const {
    std::vector<double> p = map(y, [](double v) { return std::exp(v); });
    const size_t classes = y.size() / rows;
    for (size_t r = 0; r < rows; ++r) {
      double sum = 0;
      for (size_t c = 0; c < classes; ++c) sum += p[r * classes + c];
      for (size_t c = 0; c < classes; ++c) p[r * classes + c] /= sum;
    }
    return p;
  }
  void teach() { teacher = softmax(product(layers[1], map(product(layers[0], x, false), relu), false)); }

  // Kullback-Leibler; with `learn`, also a step of all parameters.
  double loss(bool learn) {
    Layer &one = layers[0], &two = layers[1];
    const auto f0 = map(x, edges[0]);
    const auto h = product(one, f0, true), a = map(h, relu), f1 = map(a, edges[1]);
    const auto p = softmax(product(two, f1, true));
    double kl = 0;
    for (size_t i = 0; i < p.size(); ++i)
      kl += teacher[i] * std::log(teacher[i] / p[i]) / static_cast<double>(rows);
    if (!learn) return kl;
    std::vector<double> d(p.size());
    for (size_t i = 0; i < p.size(); ++i) d[i] = (p[i] - teacher[i]) / static_cast<double>(rows);
    d = back(two, f1, d);
    for (size_t i = 0; i < d.size(); ++i) {
      d[i] = edges[1].back(a[i], d[i]);
      if (h[i] <= 0) d[i] = 0;
    }
    back(one, f0, d);
    for (Layer& l : layers) {
      for (size_t o = 0; o < l.out; ++o)
        for (size_t i = 0; i < l.in; ++i) {
          const size_t at = o * l.in + i;
          l.dw[at] = l.scales[o].back(l.w[at], l.dw[at]);
        }
      descend(l.w, l.dw, l.mw);
      descend(l.b, l.db, l.mb);
      for (Fake& s : l.scales) descend(s);
    }
    descend(edges[1]);  // that of the samples themselves stays as calibrated
    return kl;
  }
  static std::vector<double> back(Layer& l, const std::vector<double>& x, const std::vector<double>& dy) {
    std::vector<double> dx(x.size(), 0);
    l.dw.assign(l.w.size(), 0);
    l.db.assign(l.out, 0);
    for (size_t r = 0; r < x.size() / l.in; ++r)
      for (size_t o = 0; o < l.out; ++o) {
        const double d = dy[r * l.out + o];
        l.db[o] += d;
        for (size_t i = 0; i < l.in; ++i) {
          l.dw[o * l.in + i] += d * x[r * l.in + i];
          dx[r * l.in + i] += d * l.scales[o](l.w[o * l.in + i]);
        }
      }
    return dx;
  }
  static void descend(std::vector<double>& v, const std::vector<double>& d, std::vector<double>& m) {
    m.resize(v.size(), 0);
    for (size_t i = 0; i < v.size(); ++i) v[i] -= kRate * (m[i] = kMomentum * m[i] + d[i]);
  }
  static void descend(Fake& f) {  // of the scale's logarithm
    f.momentum = kMomentum * f.momentum + f.gradient * f.scale;
    f.scale *= std::exp(std::clamp(-kRate * f.momentum, -0.1, 0.1));
    f.gradient = 0;
  }
};

TEST(Training, TheLossFallsAsInAnImplementationOfItsOwn) {
  constexpr int64_t kRows = 40, kIn = 6, kHidden = 9, kOut = 4;
  GraphBuilder net;
  const ValueId x = net.input("x", {Dim::symbol("N"), kIn});
  const auto layer = [&](const std::string& n, ValueId from, int64_t in, int64_t out) {
    Tensor w = ramp({out, in}), b = ramp({out});
    for (float& v : w.mutable_data<float>()) v *= 0.7f;
    return net.add("Gemm", n, {from, net.constant("w" + n, w), net.constant("b" + n, b)},
                   {{"transB", int64_t{1}}});
  };
  const ValueId h = layer("h", x, kIn, kHidden);
  net.output(layer("y", net.add("Relu", "a", {h}), kHidden, kOut));
  const std::shared_ptr<const Model> model = net.build();
  Tensor rows(DType::kFloat32, {kRows, kIn});
  uint32_t state = 5;
  for (float& v : rows.mutable_data<float>()) {
    state = state * 1664525u + 1013904223u;
    v = static_cast<float>(state >> 8) / static_cast<float>(1 << 23) - 1;
  }

  quant::Config config = narrow(3, 4, 0);
  config.weights = DType::kInt8;
  const Quantized start = quantize(model, config, {{{"x", rows}}}, 1e9);
  Reference reference;
  reference.rows = kRows;
  for (float v : rows.data<float>()) reference.x.push_back(v);
  const Graph& placed = start.graph();
  const auto scalar = [&](ValueId v) { return static_cast<double>(placed.constant(v)->floats()[0]); };
  for (const Node& n : placed.nodes) {
    if (quant::is_quantize(n) && !placed.constant(n.input(0))) {
      const auto zero = static_cast<int>(placed.constant(n.input(2))->integer_at(0));
      reference.edges.push_back({.scale = scalar(n.input(1)), .zero = zero, .low = 0, .high = 15});
    }
  }
  ASSERT_EQ(reference.edges.size(), 2u);  // the output stays float
  for (const char* name : {"h", "y"}) {
    const Tensor& w = *model->graph.constant(model->graph.find(std::string("w") + name));
    const Tensor& b = *model->graph.constant(model->graph.find(std::string("b") + name));
    Reference::Layer l;
    l.in = static_cast<size_t>(w.dims()[1]);
    l.out = static_cast<size_t>(w.dims()[0]);
    l.w.assign(w.data<float>().begin(), w.data<float>().end());
    l.b.assign(b.data<float>().begin(), b.data<float>().end());
    for (const Node& n : placed.nodes) {
      const Tensor* q = quant::is_dequantize(n) ? placed.constant(n.input(0)) : nullptr;
      if (q && q->dims() == b.dims()) {  // corrected already
        const std::vector<float> scales = placed.constant(n.input(1))->floats();
        for (size_t o = 0; o < l.out; ++o)
          l.corrected.push_back(static_cast<double>(q->integer_at(static_cast<int64_t>(o))) *
                                scales[scales.size() == 1 ? 0 : o]);
      }
      if (!q || q->dims() != w.dims()) continue;
      for (float s : placed.constant(n.input(1))->floats())
        l.scales.push_back({.scale = s, .zero = 0, .low = -4, .high = 3});
    }
    ASSERT_EQ(l.scales.size(), l.out);
    ASSERT_EQ(l.corrected.size(), l.out);
    reference.layers.push_back(std::move(l));
  }
  reference.teach();
  for (Reference::Layer& l : reference.layers) l.b = l.corrected;

  constexpr int kSteps = 40;
  config.training.epochs = kSteps;
  config.training.batch = kRows;
  config.training.optimizer = "sgd";
  config.training.schedule = "constant";
  config.training.learning_rate = Reference::kRate;
  config.training.warm_up = config.training.clip_norm = config.training.validation = 0;
  std::map<size_t, double> losses;
  watch(model, config, {{{"x", rows}}},
        [&](const quant::TrainingProgress& p) { losses[p.step] = p.validation_loss; });
  ASSERT_EQ(losses.size(), kSteps + 1u);
  const double first = reference.loss(false);
  for (size_t step = 0; step <= kSteps; ++step) {
    const double wanted = reference.loss(step < kSteps);
    EXPECT_NEAR(losses[step], wanted, 0.02 * first) << step;
  }
  EXPECT_LT(losses[kSteps], 0.7 * first);
}

}  // namespace
}  // namespace zp::test
