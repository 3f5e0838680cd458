// Training block by block: where a model is cut, and what that does for it.
#include "train/qat/blocks.h"

#include <cmath>

#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

using Ints = std::vector<int64_t>;

// Reproducible numbers between -1 and 1.
class Numbers {
 public:
  float next() {
    state_ = state_ * 1664525u + 1013904223u;
    return static_cast<float>(state_ >> 8) / static_cast<float>(1 << 23) - 1;
  }
  Tensor tensor(Shape dims, float scale) {
    Tensor t(DType::kFloat32, std::move(dims));
    for (float& v : t.mutable_data<float>()) v = scale * next();
    return t;
  }

 private:
  uint32_t state_ = 7;
};

// Residual blocks of three products, and two products behind them; what is added to each comes from an input
// without weights.
std::shared_ptr<const Model> residual_network(int blocks) {
  Numbers numbers;
  GraphBuilder net;
  const auto product = [&](const std::string& name, ValueId x, int64_t in, int64_t out) {
    const ValueId w =
        net.constant(name + "_w", numbers.tensor({in, out}, std::sqrt(3.f / static_cast<float>(in))));
    const ValueId b = net.constant(name + "_b", numbers.tensor({out}, 0.1f));
    return net.add("Gemm", name, {x, w, b});
  };
  ValueId x = net.input("x", {Dim::symbol("N"), 24});
  const ValueId mask = net.add(
      "Mul", "mask", {net.input("m", {Dim::symbol("N"), 24}), net.constant("part", Tensor::scalar(0.05f))});
  for (int i = 0; i < blocks; ++i) {
    const std::string name = "block" + std::to_string(i);
    ValueId y = net.add("Relu", name + "_r1", {product(name + "_1", x, 24, 32)});
    y = net.add("Relu", name + "_r2", {product(name + "_2", y, 32, 32)});
    y = net.add("Add", name + "_skip", {x, product(name + "_3", y, 32, 24)});
    x = net.add("Add", name, {y, mask});
  }
  x = net.add("Relu", "head", {product("head_1", x, 24, 32)});
  net.output(product("y", x, 32, 6));
  return net.build();
}

// Of few causes, as real ones are: then errors of weights can make up for each other.
Samples samples(int count) {
  Numbers numbers;
  const Tensor causes = numbers.tensor({4, 24}, 1);
  Samples list;
  for (int i = 0; i < count; ++i) {
    Tensor x(DType::kFloat32, {8, 24});
    for (size_t row = 0; row < 8; ++row)
      for (size_t cause = 0; cause < 4; ++cause) {
        const float part = numbers.next();
        for (size_t k = 0; k < 24; ++k)
          x.mutable_data<float>()[row * 24 + k] += part * causes.data<float>()[cause * 24 + k];
      }
    list.push_back({{"x", x}, {"m", numbers.tensor({8, 24}, 1)}});
  }
  return list;
}

quant::Config in_blocks(int epochs) {
  quant::Config c;
  c.mode = "qat";
  c.weights = DType::kInt4;
  c.training = {.epochs = epochs, .learning_rate = 4e-3, .batch = 32, .blocks = true};
  return c;
}

// Of the outputs, relative to their own power.
double error(const Model& model, const Quantized& quantized, const Samples& on) {
  double noise = 0, power = 0;
  runtime::Session whole(std::make_shared<Model>(Model{.graph = clone(model.graph), .opsets = model.opsets}),
                         {.threads = 1}),
      small(quantized.model, {.threads = 1});
  for (const auto& feeds : on) {
    const std::vector<float> y = whole.run(feeds)[0].floats(), q = small.run(feeds)[0].floats();
    for (size_t i = 0; i < y.size(); ++i) {
      power += double{y[i]} * y[i];
      noise += (double{y[i]} - q[i]) * (double{y[i]} - q[i]);
    }
  }
  return noise / power;
}

TEST(Blocks, EndWhereOneValueIsLeft) {
  const auto model = residual_network(3);
  const Graph& g = model->graph;
  const std::vector<train::Block> blocks = train::find_blocks(g);
  ASSERT_EQ(blocks.size(), 4u);
  EXPECT_EQ(blocks[0].start, kNoValue);
  EXPECT_EQ(blocks[0].first, 0);
  for (size_t i = 0; i < 3; ++i) {
    ASSERT_EQ(blocks[i].ends.size(), 1u);
    EXPECT_EQ(g[blocks[i].ends[0]].name, "block" + std::to_string(i));
    EXPECT_EQ(blocks[i + 1].start, blocks[i].ends[0]);
    EXPECT_EQ(blocks[i + 1].first, blocks[i].last);
  }
  EXPECT_EQ(blocks[3].ends, g.outputs);
  EXPECT_EQ(blocks[3].last, std::ssize(g.nodes));
  EXPECT_EQ(train::find_blocks(g, 100).size(), 1u);
}

TEST(Blocks, BringTheModelNearerToTheFloatOne) {
  const auto model = residual_network(3);
  const Samples seen = samples(40);
  Samples unseen = samples(60);
  unseen.erase(unseen.begin(), unseen.begin() + 40);
  const Quantized before = quantize(model, in_blocks(0), seen, 1e9),
                  after = quantize(model, in_blocks(25), seen, 1e9);
  EXPECT_LT(error(*model, after, unseen), 0.8 * error(*model, before, unseen));
  ASSERT_EQ(after.report.repairs.size(), 1u);
  EXPECT_NE(after.report.repairs[0].find("training in blocks: 4 of 4"), std::string::npos);
  for (const Node& n : after.graph().nodes) EXPECT_TRUE(n.domain.empty()) << n.domain;
}

// Every weight becomes one of the two integers next to it.
TEST(Blocks, WeightsStayBesideTheirFloats) {
  const auto model = residual_network(2);
  quant::Config config = in_blocks(10);
  config.training.scales = "fixed";
  const Quantized after = quantize(model, config, samples(20), 1e9),
                  before = quantize(model, in_blocks(0), samples(20), 1e9);
  int others = 0;
  for (const char* name : {"block0_1", "block0_3", "block1_2", "y"}) {
    const Node *now = after.dq(name, 1), *was = before.dq(name, 1);
    ASSERT_TRUE(now && was) << name;
    const Tensor &q = *after.graph().constant(now->input(0)),
                 &nearest = *before.graph().constant(was->input(0));
    EXPECT_EQ(after.graph().constant(now->input(1))->floats(),
              before.graph().constant(was->input(1))->floats());
    for (int64_t i = 0; i < q.size(); ++i) {
      EXPECT_LE(std::abs(q.integer_at(i) - nearest.integer_at(i)), 1) << name;
      others += q.integer_at(i) != nearest.integer_at(i);
    }
  }
  EXPECT_GT(others, 20);
}

TEST(Blocks, OneSeedGivesOneModel) {
  const auto model = residual_network(2);
  const auto integers = [&](int threads) {
    const Quantized q = quantize(model, in_blocks(3), samples(20), threads == 1 ? 1e9 : 0.5, threads);
    std::vector<int64_t> all;
    for (const Value& v : q.graph().values)
      if (v.constant && v.constant->dtype() == DType::kInt4)
        for (const int64_t i : v.constant->integers()) all.push_back(i);
    return all;
  };
  const std::vector<int64_t> one = integers(1);
  EXPECT_GT(one.size(), 1000u);
  EXPECT_EQ(one, integers(2));
}

TEST(Blocks, MistakesAreNamed) {
  const auto model = residual_network(1);
  const auto message = [&](const quant::Config& config) {
    try {
      quantize(model, config, samples(2), 1e9);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  quant::Config config = in_blocks(1);
  config.training.loss = "cross-entropy";
  EXPECT_NE(message(config).find("at their ends"), std::string::npos);
  config = in_blocks(1);
  config.training.learn_zero_points = true;
  EXPECT_NE(message(config).find("nor zero points"), std::string::npos);
  config = in_blocks(1);
  config.training.checkpoints = true;
  EXPECT_NE(message(config).find("cannot be interrupted"), std::string::npos);
  config = in_blocks(1);
  config.training.memory_limit = 1000;
  EXPECT_NE(message(config).find("training keeps its samples"), std::string::npos);
}

}  // namespace
}  // namespace zp::test
