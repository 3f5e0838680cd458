// BatchNormalization in training mode: statistics of the batch, in every door that a model goes through.
#include <gtest/gtest.h>

#include <cmath>

#include "onnx/onnx.h"
#include "ops/rewrite.h"
#include "runtime/session.h"
#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

constexpr float kEpsilon = 1e-3f, kMomentum = 0.8f;

struct Wanted {
  std::vector<double> y, mean, variance;
};

// x: [images, channels, length]
Wanted by_definition(const Tensor& x, int64_t images, int64_t channels, int64_t length, const Tensor& scale,
                     const Tensor& bias, const Tensor& mean, const Tensor& variance) {
  const auto at = [](const Tensor& t, int64_t i) { return double{t.data<float>()[static_cast<size_t>(i)]}; };
  Wanted w;
  w.y.resize(static_cast<size_t>(x.size()));
  for (int64_t c = 0; c < channels; ++c) {
    const auto each = [&](auto f) {
      for (int64_t n = 0; n < images; ++n)
        for (int64_t i = 0; i < length; ++i) f((n * channels + c) * length + i);
    };
    double sum = 0, squares = 0;
    const auto count = static_cast<double>(images * length);
    each([&](int64_t i) { sum += at(x, i); });
    each([&](int64_t i) { squares += (at(x, i) - sum / count) * (at(x, i) - sum / count); });
    each([&](int64_t i) {
      w.y[static_cast<size_t>(i)] =
          (at(x, i) - sum / count) / std::sqrt(squares / count + kEpsilon) * at(scale, c) + at(bias, c);
    });
    w.mean.push_back(at(mean, c) * kMomentum + sum / count * (1 - kMomentum));
    w.variance.push_back(at(variance, c) * kMomentum + squares / count * (1 - kMomentum));
  }
  return w;
}

Node batch_norm(Graph& g, ValueId x, size_t outputs) {
  const auto constant = [&](const char* name, float scale, float shift) {
    Tensor t = ramp({3}, scale);
    for (float& v : t.mutable_data<float>()) v += shift;
    return g.add_constant(name, std::move(t));
  };
  Node n;
  n.op_type = "BatchNormalization";
  n.name = "norm";
  n.inputs = {x, constant("scale", 1, 1.5f), constant("bias", 1, 0), constant("mean", 2, 1),
              constant("variance", 0.5f, 1)};
  for (const char* name : {"y", "running_mean", "running_variance"})
    if (n.outputs.size() < outputs) n.outputs.push_back(g.add_value(name));
  n.attributes = {{"training_mode", int64_t{1}}, {"epsilon", kEpsilon}, {"momentum", kMomentum}};
  return n;
}

void expect_near(const Tensor& found, const std::vector<double>& wanted, double tolerance) {
  ASSERT_EQ(found.size(), std::ssize(wanted));
  for (size_t i = 0; i < wanted.size(); ++i) ASSERT_NEAR(found.floats()[i], wanted[i], tolerance) << i;
}

TEST(BatchNormalization, StatisticsOfTheBatch) {
  for (const Shape& dims : {Shape{4, 3}, Shape{2, 3, 7}, Shape{5, 3, 4, 6}, Shape{1, 3, 70, 90}}) {
    SCOPED_TRACE(to_string(dims));
    GraphBuilder net;
    const ValueId x = net.input("x", symbolic(dims));
    Graph& g = net.graph();
    const Node n = batch_norm(g, x, 3);
    g.nodes.push_back(n);
    for (ValueId v : n.outputs) net.output(v);
    // Far from zero, where a one-pass variance loses everything.
    Tensor values = ramp(dims, 3);
    for (float& v : values.mutable_data<float>()) v += 50;
    const int64_t length = element_count(dims) / dims[0] / 3;
    const auto wanted =
        by_definition(values, dims[0], 3, length, *g.constant(n.inputs[1]), *g.constant(n.inputs[2]),
                      *g.constant(n.inputs[3]), *g.constant(n.inputs[4]));
    const auto model = net.build();
    std::vector<float> y;
    for (const int threads : {1, 3}) {
      const std::vector<Tensor> out = runtime::Session(model, {.threads = threads}).run({{"x", values}});
      expect_near(out[0], wanted.y, 1e-4);
      expect_near(out[1], wanted.mean, 1e-5);
      expect_near(out[2], wanted.variance, 1e-4);
      if (threads == 1) y = out[0].floats();
      EXPECT_EQ(out[0].floats(), y);
    }
  }
}

// An export that forgot to leave training mode computes what ONNX says that it does: in a session, through a
// file, simplified, and quantized.
TEST(BatchNormalization, TrainingModeIsNotFolded) {
  for (const size_t outputs : {1, 3}) {
    GraphBuilder net;
    const ValueId x = net.input("x", {4, 2, 6, 6});
    Graph& g = net.graph();
    const ValueId conv = net.add("Conv", "conv", {x, net.constant("w", ramp({3, 2, 3, 3}))});
    const Node n = batch_norm(g, conv, outputs);
    g.nodes.push_back(n);
    net.output(net.add("Relu", "r", {n.outputs[0]}));
    const auto plain = net.build();
    const Tensor values = ramp({4, 2, 6, 6});
    const auto run = [&](const std::shared_ptr<const Model>& model) {
      return runtime::Session(model, {.threads = 1}).run({{"x", values}})[0];
    };
    const Tensor convolved = [&] {
      const auto only = std::make_shared<Model>(*plain);
      only->graph.outputs = {conv};
      return run(only);
    }();
    const Graph& p = plain->graph;
    Wanted wanted = by_definition(convolved, 4, 3, 16, *p.constant(n.inputs[1]), *p.constant(n.inputs[2]),
                                  *p.constant(n.inputs[3]), *p.constant(n.inputs[4]));
    for (double& v : wanted.y) v = std::max(v, 0.0);
    expect_near(run(plain), wanted.y, 1e-4);

    const std::vector<std::byte> bytes = onnx::write(*plain);
    auto storage = allocate_bytes(bytes.size());
    std::copy(bytes.begin(), bytes.end(), storage.get());
    const auto read = std::make_shared<Model>(onnx::read(std::move(storage), bytes.size()));
    expect_near(run(read), wanted.y, 1e-4);
    simplify(read->graph);
    expect_near(run(read), wanted.y, 1e-4);

    const Quantized q = quantize(plain, {.mode = "static"}, {{{"x", values}}});
    EXPECT_TRUE(q.node("norm").attribute("training_mode"));
    expect_near(run(q.model), wanted.y, 0.1);
  }
}

}  // namespace
}  // namespace zp::test
