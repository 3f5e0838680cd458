// Gradients beside finite differences of the same graph.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "runtime/session.h"
#include "train/backward.h"
#include "unit/graph/graph_builder.h"

namespace zp::test {

inline std::vector<runtime::Feed> feeds_of(const Graph& graph, const std::map<std::string, Tensor>& values) {
  std::vector<runtime::Feed> feeds;
  for (ValueId v : graph.inputs) feeds.push_back({graph[v].name, values.at(graph[v].name)});
  return feeds;
}

inline Tensor copy_of(const Tensor& t) { return Tensor::of<float>(t.dims(), t.data<float>()); }

struct GradientCheck {
  float step = 1e-2f;
  double tolerance = 2e-2;  // of the largest gradient: float32 differences are not better than this
  int threads = 2;
};

// `net` has inputs (all of them float) and one output, y. The loss is the sum of y times numbers that differ.
inline void check_gradients(GraphBuilder& net, ValueId y, const std::map<std::string, Tensor>& values,
                            GradientCheck how = {}) {
  Graph& graph = net.graph();
  infer_shapes(graph);
  const std::vector<ValueId> inputs = graph.inputs;
  // The loss's own factors: one for each element of y, found from a run.
  net.output(y);
  const auto forward = std::make_shared<Model>();
  forward->graph = graph;
  const Tensor out = runtime::Session(forward).run(feeds_of(graph, values))[0];
  graph.outputs.clear();
  const ValueId factors = net.constant("factors", ramp(out.dims()));
  const ValueId loss =
      net.add("ReduceSum", "loss", {net.add("Mul", "weighted", {y, factors})}, {{"keepdims", int64_t{0}}});
  infer_shapes(graph);
  graph.outputs = {loss};
  const auto plain = std::make_shared<Model>();
  plain->graph = graph;
  const std::vector<ValueId> gradients = train::add_gradients(graph, loss, inputs);
  for (ValueId d : gradients) {
    ASSERT_NE(d, kNoValue);
    graph.outputs.push_back(d);
  }
  const std::shared_ptr<Model> model = net.build();

  runtime::Session session(model, {.threads = how.threads, .integer = false});
  const std::vector<Tensor> found = session.run(feeds_of(model->graph, values));
  runtime::Session differences(plain, {.threads = 1, .integer = false});
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::string& name = model->graph[inputs[i]].name;
    const Tensor& x = values.at(name);
    ASSERT_EQ(found[i + 1].dims(), x.dims()) << name;
    const std::vector<float> gradient = found[i + 1].floats();
    double largest = 1e-3;
    for (float d : gradient) largest = std::max(largest, std::fabs(double{d}));
    const int64_t stride = std::max<int64_t>(1, x.size() / 40);  // some of them
    for (int64_t e = 0; e < x.size(); e += stride) {
      const auto at = static_cast<size_t>(e);
      double sides[2];
      for (int side = 0; side < 2; ++side) {
        auto moved = values;
        moved[name] = copy_of(x);
        moved[name].mutable_data<float>()[at] += side ? how.step : -how.step;
        sides[side] = differences.run(feeds_of(plain->graph, moved))[0].floats()[0];
      }
      const double wanted = (sides[1] - sides[0]) / (2 * double{how.step});
      EXPECT_NEAR(gradient[at], wanted, how.tolerance * std::max(largest, std::fabs(wanted)))
          << name << "[" << e << "]";
    }
  }
}

}  // namespace zp::test
