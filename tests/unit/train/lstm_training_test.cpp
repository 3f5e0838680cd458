// A recurrent network learns: from nothing, and as what is quantized around it.
#include <gmock/gmock.h>

#include <cmath>

#include "train/trainer.h"
#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

constexpr int64_t kSteps = 6, kFeatures = 2, kHidden = 8;

// Sequences of random numbers, and of each sequence whether the first feature's sum is above the second's.
struct Sequences {
  Tensor x, target;  // [count, steps, features], [count, 2]
  explicit Sequences(int64_t count)
      : x(ramp({count, kSteps, kFeatures})), target(DType::kFloat32, {count, 2}) {
    for (int64_t n = 0; n < count; ++n) {
      float sum = 0;
      for (int64_t i = 0; i < kSteps * kFeatures; ++i)
        sum += x.data<float>()[static_cast<size_t>(n * kSteps * kFeatures + i)] * (i % 2 ? -1.f : 1.f);
      target.mutable_data<float>()[static_cast<size_t>(n * 2 + (sum > 0))] = 1;
    }
  }
};

// Batch first, as networks are written: the last state of an LSTM in both directions through a layer.
// `weight` makes a constant or an input of a name and a value.
ValueId add_network(GraphBuilder& net, ValueId x,
                    FunctionRef<ValueId(const std::string& name, Tensor value)> weight) {
  const ValueId steps_first =
      net.add("Transpose", "steps first", {x}, {{"perm", std::vector<int64_t>{1, 0, 2}}});
  Node n;
  n.op_type = n.name = "LSTM";
  n.inputs = {steps_first, weight("W", ramp({2, 4 * kHidden, kFeatures}, 0.5f)),
              weight("R", ramp({2, 4 * kHidden, kHidden}, 0.3f)), weight("B", ramp({2, 8 * kHidden}, 0.1f))};
  n.outputs = {kNoValue, net.graph().add_value("Y_h")};
  n.attributes = {{"direction", std::string("bidirectional")}, {"hidden_size", kHidden}};
  net.graph().nodes.push_back(n);
  const ValueId batch_first =
      net.add("Transpose", "batch first", {n.outputs[1]}, {{"perm", std::vector<int64_t>{1, 0, 2}}});
  return net.add("Gemm", "logits",
                 {net.add("Flatten", "states", {batch_first}), weight("V", ramp({2, 2 * kHidden}, 0.3f)),
                  weight("b", ramp({2}, 0.1f))},
                 {{"transB", int64_t{1}}});
}

TEST(LstmTraining, FromScratch) {
  GraphBuilder net;
  const ValueId x = net.input("x", {Dim::symbol("N"), kSteps, kFeatures}),
                target = net.input("target", {Dim::symbol("N"), 2});
  train::Problem problem;
  const ValueId y = add_network(net, x, [&](const std::string& name, Tensor value) {
    const auto kind =
        value.dims().size() < 2 ? train::Parameter::Kind::kBias : train::Parameter::Kind::kWeight;
    const ValueId v = net.input(name, symbolic(value.dims()));
    problem.parameters.push_back({name, std::move(value), kind});
    return v;
  });
  const ValueId terms = net.add("Mul", "terms", {target, net.add("LogSoftmax", "log", {y})});
  problem.loss = net.add("Neg", "loss", {net.add("ReduceMean", "mean", {terms}, {{"keepdims", int64_t{0}}})});
  problem.graph = net.graph();
  const Sequences all(300);
  std::vector<std::vector<train::Parameter>> results;
  for (const int threads : {1, 3}) {
    train::Samples samples(true);
    samples.add({{"x", all.x}, {"target", all.target}});
    train::Problem copy = problem;
    for (train::Parameter& p : copy.parameters)
      p.value = Tensor::of<float>(p.value.dims(), p.value.data<float>());
    train::Trainer trainer(std::move(copy), std::move(samples),
                           {.epochs = 25, .learning_rate = 1e-2, .batch = 30}, threads);
    while (!trainer.advance(1e9)) {
    }
    // The mean is over two numbers a row: half of what guessing costs.
    EXPECT_NEAR(trainer.progress().first_loss, std::log(2.0) / 2, 0.1);
    EXPECT_LT(trainer.progress().best_loss, 0.1);
    ASSERT_EQ(trainer.best().size(), 5u);
    results.push_back(trainer.best());
  }
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_NE(results[0][i].value.floats(), problem.parameters[i].value.floats()) << results[0][i].name;
    EXPECT_EQ(results[0][i].value.floats(), results[1][i].value.floats()) << results[0][i].name;
  }
}

// Layers of few bits in front of an LSTM learn through it.
TEST(LstmTraining, ThroughAnLstm) {
  GraphBuilder net;
  const ValueId x = net.input("x", {Dim::symbol("N"), kSteps, kFeatures});
  const ValueId before = net.add("MatMul", "before", {x, net.constant("U", ramp({kFeatures, kFeatures}))});
  net.output(add_network(net, net.add("Tanh", "t", {before}), [&](const std::string& name, Tensor value) {
    return net.constant(name, std::move(value));
  }));
  quant::Config config;
  config.mode = "qat";
  config.weights = DType::kInt4;
  config.training = {.epochs = 12, .learning_rate = 1e-2, .batch = 30, .loss = "mse"};
  config.training.weight_bits = 2;
  const std::shared_ptr<Model> model = net.build();
  quant::Quantizer job(model, config, 1);
  std::optional<quant::TrainingProgress> progress;
  for (;;) {
    while (!job.advance(1e9)) {
    }
    if (job.done()) break;
    job.begin_sample({{"x", Sequences(200).x}});
    while (!job.advance(1e9)) {
    }
    job.end_samples();
  }
  progress = job.progress().training;
  ASSERT_TRUE(progress);
  EXPECT_LT(progress->best_loss, 0.7 * progress->first_loss);
  EXPECT_GT(progress->first_loss, 0);
  ASSERT_EQ(job.report().repairs.size(), 1u);
  EXPECT_THAT(job.report().repairs[0],
              testing::MatchesRegex("training: [0-9]+ steps, the loss fell by [0-9]+ %"));
  // The LSTM itself, which stays float, learned with them.
  const Graph made = job.result().graph;
  int lstms = 0;
  for (const Node& n : made.nodes) {
    if (n.op_type != "LSTM") continue;
    ++lstms;
    for (const int at : {1, 2, 3}) {
      const ValueId before = model->graph.find(std::array{"W", "R", "B"}[static_cast<size_t>(at) - 1]);
      EXPECT_NE(made.constant(n.input(static_cast<size_t>(at)))->floats(),
                model->graph.constant(before)->floats())
          << at;
    }
  }
  EXPECT_EQ(lstms, 1);
}

}  // namespace
}  // namespace zp::test
