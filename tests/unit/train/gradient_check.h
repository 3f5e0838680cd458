// Gradients beside finite differences of the same graph: as it is, and with everything that goes in and comes
// out fake-quantized.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "ops/gradient.h"
#include "runtime/session.h"
#include "train/backward.h"
#include "unit/graph/graph_builder.h"

namespace zp::test {

using Values = std::map<std::string, Tensor>;

inline std::vector<runtime::Feed> feeds_of(const Graph& graph, const Values& values) {
  std::vector<runtime::Feed> feeds;
  for (ValueId v : graph.inputs) feeds.push_back({graph[v].name, values.at(graph[v].name)});
  return feeds;
}

inline Tensor copy_of(const Tensor& t) { return Tensor::of<float>(t.dims(), t.data<float>()); }

struct GradientCheck {
  float step = 1e-2f;
  // Of each gradient by itself, beside what rounding makes of a difference in float32.
  double tolerance = 2e-3;
  int threads = 2;
  // Of the fake-quantized check: codes on each side of zero that the largest value would need. Enough of them
  // that rounding brings no two values of a maximum together, and none across a corner.
  float codes = 1000;
  float scale_step = 2e-2f;  // of the scales of inputs, relative to them
};

inline std::shared_ptr<const Model> model_of(const Graph& graph, const std::vector<ValueId>& outputs) {
  const auto model = std::make_shared<Model>();
  model->graph = graph;
  model->graph.outputs = outputs;
  infer_shapes(model->graph);
  return model;
}

inline std::vector<Tensor> values_of(const Graph& graph, const std::vector<ValueId>& outputs,
                                     const Values& values) {
  return runtime::Session(model_of(graph, outputs), {.threads = 1, .integer = false})
      .run(feeds_of(graph, values));
}

// The gradients of `graph` beside the differences of `definition`, which has the same inputs. The loss is the
// sum of y times numbers that differ.
inline void compare_gradients(Graph graph, const Graph& definition, ValueId y, const Values& values,
                              const Values& steps, GradientCheck how) {
  const std::vector<ValueId> inputs = graph.inputs;
  runtime::Session differences(model_of(definition, {y}), {.threads = 1, .integer = false});
  const Tensor out = differences.run(feeds_of(definition, values))[0];
  const Tensor factors = ramp(out.dims());
  const auto add = [&](std::string_view op, std::vector<ValueId> from,
                       decltype(Node::attributes) attributes = {}) {
    Node n;
    n.op_type = n.name = op;
    n.inputs = std::move(from);
    n.outputs = {graph.add_value("loss/" + n.name)};
    n.attributes = std::move(attributes);
    graph.nodes.push_back(n);
    return n.outputs[0];
  };
  const ValueId loss =
      add("ReduceSum", {add("Mul", {y, graph.add_constant("factors", factors)})}, {{"keepdims", int64_t{0}}});
  infer_shapes(graph);
  graph.outputs = {y};
  for (ValueId d : train::add_gradients(graph, loss, inputs)) {
    ASSERT_NE(d, kNoValue);
    graph.outputs.push_back(d);
  }
  runtime::Session session(model_of(graph, graph.outputs), {.threads = how.threads, .integer = false});
  const std::vector<Tensor> found = session.run(feeds_of(graph, values));
  for (int64_t e = 0; e < out.size(); ++e) {
    const auto at = static_cast<size_t>(e);
    ASSERT_NEAR(found[0].floats()[at], out.floats()[at], 1e-4 * (1 + std::fabs(out.floats()[at]))) << e;
  }
  // What the rounding of the outputs, and of what comes before them, makes of the loss.
  double squares = 0;
  for (int64_t e = 0; e < out.size(); ++e) {
    const auto at = static_cast<size_t>(e);
    squares += std::pow(double{out.floats()[at]} * factors.data<float>()[at], 2);
  }
  const double rounding = 8 * 0x1p-24 * std::sqrt(squares);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::string& name = graph[inputs[i]].name;
    const Tensor& x = values.at(name);
    ASSERT_EQ(found[i + 1].dims(), x.dims()) << name;
    const std::vector<float> gradient = found[i + 1].floats();
    const auto given = steps.find(name);
    const int64_t stride = std::max<int64_t>(1, x.size() / 40);  // some of them
    const float step = given == steps.end() ? how.step : given->second.floats()[0];
    for (int64_t e = 0; e < x.size(); e += stride) {
      const auto at = static_cast<size_t>(e);
      const auto difference = [&](float h) {
        std::vector<float> sides[2];
        for (int side = 0; side < 2; ++side) {
          auto moved = values;
          moved[name] = copy_of(x);
          moved[name].mutable_data<float>()[at] += side ? h : -h;
          sides[side] = differences.run(feeds_of(definition, moved))[0].floats();
        }
        double sum = 0;
        for (size_t k = 0; k < sides[0].size(); ++k)
          sum += (double{sides[1][k]} - sides[0][k]) * factors.data<float>()[k];
        return sum / (2 * double{h});
      };
      const auto tolerance = [&](double wanted, float h) {
        return how.tolerance * std::fabs(wanted) + rounding / double{h};
      };
      double wanted = difference(step), allowed = tolerance(wanted, step);
      const auto fits = [&] { return std::fabs(gradient[at] - wanted) <= allowed; };
      if (!fits()) {  // without the third derivative (Richardson's extrapolation)
        wanted = (4 * difference(step / 2) - wanted) / 3;
        allowed = tolerance(wanted, step / 3);
      }
      if (!fits()) {  // a function may have a corner that near; a smaller step is less exact
        wanted = difference(step / 8);
        allowed = tolerance(wanted, step / 8);
      }
      EXPECT_NEAR(gradient[at], wanted, allowed) << name << "[" << e << "]";
    }
  }
}

// A graph with a FakeQuantize behind each input and behind y, whose scales are inputs too; and what its
// gradients are by definition those of (Bengio et al. 2013, Esser et al. 2020): of (x / s + rest) s, where
// rest = round(x / s) - x / s does not change, and of code s where a code was clamped,
//
//   y = inside x + rest s
struct FakeQuantized {
  Graph graph, definition;
  Values values, steps;
  ValueId y = kNoValue;
};

inline FakeQuantized fake_quantized(const Graph& plain, ValueId y, const Values& values, GradientCheck how) {
  FakeQuantized f;
  f.values = values;
  f.graph = plain;
  const float high = std::floor(0.95f * how.codes), low = -std::floor(0.9f * how.codes);
  struct Place {
    ValueId x, scale, out;
    bool channels;  // one scale for each index of dimension 0
  };
  std::vector<Place> places;
  Graph& g = f.graph;
  // `step`, of a scale, relative to it.
  const auto fake = [&](ValueId x, const Tensor& value, bool channels, float step) {
    const std::string name = g[x].name;
    const auto count = channels ? static_cast<size_t>(value.dims()[0]) : 1;
    std::vector<float> scales(count, 0.f);
    const std::span<const float> data = value.data<float>();
    for (size_t i = 0; i < data.size(); ++i) {
      float& s = scales[i / (data.size() / count)];
      s = std::max(s, std::fabs(data[i]) / how.codes);
    }
    for (float& s : scales) s = s > 0 ? s : 1;
    const Shape dims = channels ? Shape{value.dims()[0]} : Shape{};
    const ValueId scale = g.add_value(name + "/scale", DType::kFloat32, symbolic(dims));
    g.inputs.push_back(scale);
    f.values[name + "/scale"] = Tensor::of<float>(dims, scales);
    f.steps[name + "/scale"] = Tensor::scalar(*std::min_element(scales.begin(), scales.end()) * step);
    Node n;
    n.domain = kOwn;
    n.op_type = "FakeQuantize";
    n.name = name + "/fake";
    n.inputs = {x, scale, g.add_constant(name + "/zero", Tensor(DType::kFloat32, dims))};
    n.outputs = {g.add_value(n.name)};
    n.attributes = {{"low", low}, {"high", high}, {"axis", int64_t{0}}};
    places.push_back({x, scale, n.outputs[0], channels});
    return n;
  };
  const Tensor out = values_of(plain, {y}, values)[0];
  std::vector<Node> nodes;
  for (size_t i = 0; i < plain.inputs.size(); ++i) {
    const ValueId x = plain.inputs[i];
    const Tensor& value = values.at(plain[x].name);
    nodes.push_back(fake(x, value, i > 0 && value.dims().size() > 1, how.scale_step));
    for (Node& n : g.nodes)
      for (ValueId& v : n.inputs)
        if (v == x) v = nodes.back().outputs[0];
  }
  nodes.insert(nodes.end(), g.nodes.begin(), g.nodes.end());
  nodes.push_back(fake(y, out, false, 0.5f));  // of which y is a linear function
  f.y = nodes.back().outputs[0];
  g.nodes = std::move(nodes);

  std::vector<ValueId> xs;
  for (const Place& p : places) xs.push_back(p.x);
  const std::vector<Tensor> at = values_of(g, xs, f.values);
  f.definition = g;
  Graph& d = f.definition;
  std::vector<Node> defined;
  for (const Node& n : g.nodes) {
    const auto place =
        std::find_if(places.begin(), places.end(), [&](const Place& p) { return p.out == n.outputs[0]; });
    if (place == places.end()) {
      defined.push_back(n);
      continue;
    }
    const Tensor& x = at[static_cast<size_t>(place - places.begin())];
    const Tensor& scales = f.values.at(g[place->scale].name);
    Tensor inside(DType::kFloat32, x.dims()), rest(DType::kFloat32, x.dims());
    const size_t each = static_cast<size_t>(x.size()) / static_cast<size_t>(scales.size());
    for (size_t i = 0; i < static_cast<size_t>(x.size()); ++i) {
      const float code = x.data<float>()[i] / scales.data<float>()[i / each], rounded = std::nearbyint(code);
      const bool clamped = rounded < low || rounded > high;
      inside.mutable_data<float>()[i] = clamped ? 0.f : 1.f;
      rest.mutable_data<float>()[i] = clamped ? std::clamp(rounded, low, high) : rounded - code;
    }
    const auto add = [&](std::string_view op, std::vector<ValueId> from, ValueId to = kNoValue) {
      Node m;
      m.op_type = op;
      m.name = n.name + "/" + std::string(op) + std::to_string(defined.size());
      m.inputs = std::move(from);
      m.outputs = {to == kNoValue ? d.add_value(m.name) : to};
      defined.push_back(m);
      return m.outputs[0];
    };
    ValueId scale = place->scale;
    if (place->channels) {
      std::vector<int64_t> dims(x.dims().size(), 1);
      dims[0] = -1;
      const ValueId shape =
          d.add_constant(n.name + "/dims", Tensor::of<int64_t>({static_cast<int64_t>(dims.size())}, dims));
      scale = add("Reshape", {scale, shape});
    }
    const ValueId kept = add("Mul", {place->x, d.add_constant(n.name + "/inside", inside)});
    add("Add", {kept, add("Mul", {scale, d.add_constant(n.name + "/rest", rest)})}, place->out);
  }
  d.nodes = std::move(defined);
  return f;
}

// `net` has inputs (all of them float) and one output, y.
inline void check_gradients(GraphBuilder& net, ValueId y, const Values& values, GradientCheck how = {}) {
  infer_shapes(net.graph());
  {
    SCOPED_TRACE("float");
    compare_gradients(net.graph(), net.graph(), y, values, {}, how);
  }
  SCOPED_TRACE("fake-quantized");
  const FakeQuantized f = fake_quantized(net.graph(), y, values, how);
  compare_gradients(f.graph, f.definition, f.y, f.values, f.steps, how);
}

}  // namespace zp::test
