// GRU and RNN beside their definitions, written down in double precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "onnx/onnx.h"
#include "runtime/session.h"
#include "unit/graph/graph_builder.h"
#include "unit/ops/lstm_case.h"

namespace zp::test {
namespace {

struct Case {
  const char* name;
  const char* op;
  std::string direction = "forward";
  bool bias = true, lengths = false, initial = true, before_reset = false;
  float clip = 0;  // 0: none
  std::vector<std::string> activations = {};
  bool constant = false;  // weights
  int64_t steps = 4, batch = 3, features = 3, hidden = 5;

  bool gru() const { return std::string_view{op} == "GRU"; }
  int64_t gates() const { return gru() ? 3 : 1; }
  int64_t directions() const { return direction == "bidirectional" ? 2 : 1; }
  Tensor lengths_of_batch() const { return zp::test::lengths_of_batch(batch, steps); }
  std::map<std::string, Tensor> values() const {
    const int64_t d = directions(), g = gates() * hidden;
    std::map<std::string, Tensor> v{{"x", ramp({steps, batch, features}, 1.5f)},
                                    {"w", ramp({d, g, features}, 0.7f)},
                                    {"r", ramp({d, g, hidden}, 0.6f)}};
    if (bias) v["bias"] = ramp({d, 2 * g}, 0.5f);
    if (initial) v["h"] = ramp({d, batch, hidden}, 0.8f);
    return v;
  }
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const char* op : {"GRU", "RNN"}) {
    all.push_back({.name = "plain", .op = op});
    all.push_back({.name = "reverse", .op = op, .direction = "reverse"});
    all.push_back({.name = "both directions", .op = op, .direction = "bidirectional"});
    all.push_back({.name = "without bias and state", .op = op, .bias = false, .initial = false});
    all.push_back({.name = "lengths", .op = op, .direction = "bidirectional", .lengths = true});
    all.push_back({.name = "clip", .op = op, .clip = 0.3f});
    all.push_back({.name = "constant weights", .op = op, .direction = "bidirectional", .constant = true});
    all.push_back({.name = "one element", .op = op, .batch = 1, .hidden = 1});
    all.push_back({.name = "no steps", .op = op, .steps = 0});
  }
  all.push_back({.name = "activations", .op = "GRU", .activations = {"Relu", "Softsign"}});
  all.push_back({.name = "activation", .op = "RNN", .activations = {"Relu"}});
  for (const bool lengths : {false, true}) {
    all.push_back({.name = "linear before reset",
                   .op = "GRU",
                   .direction = "bidirectional",
                   .lengths = lengths,
                   .before_reset = true});
  }
  all.push_back({.name = "linear before reset, no bias", .op = "GRU", .bias = false, .before_reset = true});
  return all;
}

std::shared_ptr<const Model> model_of(const Case& c) {
  GraphBuilder net;
  Graph& g = net.graph();
  const auto values = c.values();
  const auto input = [&](const std::string& name) {
    const auto at = values.find(name);
    if (at == values.end()) return kNoValue;
    if (c.constant && (name == "w" || name == "r")) return net.constant(name, at->second);
    return net.input(name, symbolic(at->second.dims()));
  };
  Node n;
  n.op_type = n.name = c.op;
  for (const char* name : {"x", "w", "r", "bias"}) n.inputs.push_back(input(name));
  n.inputs.push_back(c.lengths ? net.constant("lengths", c.lengths_of_batch()) : kNoValue);
  n.inputs.push_back(input("h"));
  for (const char* name : {"Y", "Y_h"}) n.outputs.push_back(g.add_value(name));
  n.attributes["direction"] = c.direction;
  n.attributes["hidden_size"] = c.hidden;
  if (c.before_reset) n.attributes["linear_before_reset"] = int64_t{1};
  if (c.clip > 0) n.attributes["clip"] = c.clip;
  if (!c.activations.empty()) n.attributes["activations"] = c.activations;
  g.nodes.push_back(n);
  for (const ValueId v : n.outputs) net.output(v);
  return net.build();
}

double activated(const std::string& name, double v) {
  if (name == "Sigmoid") return 1 / (1 + std::exp(-v));
  if (name == "Tanh") return std::tanh(v);
  if (name == "Relu") return std::max(v, 0.0);
  if (name == "Softsign") return v / (1 + std::abs(v));
  return std::numeric_limits<double>::quiet_NaN();
}

struct Outputs {
  std::vector<double> y, h;
};

Outputs by_definition(const Case& c) {
  const auto values = c.values();
  const auto at = [&](const std::string& name, int64_t i) {
    const auto found = values.find(name);
    return found == values.end() ? 0.0 : double{found->second.data<float>()[static_cast<size_t>(i)]};
  };
  const std::vector<std::string> standard =
      c.gru() ? std::vector<std::string>{"Sigmoid", "Tanh"} : std::vector<std::string>{"Tanh"};
  const auto names = c.activations.empty() ? standard : c.activations;
  const Tensor lengths = c.lengths_of_batch();
  const int64_t T = c.steps, B = c.batch, F = c.features, H = c.hidden, D = c.directions(), G = c.gates();
  const auto bounded = [&](double v) { return c.clip > 0 ? std::clamp<double>(v, -c.clip, c.clip) : v; };
  Outputs out;
  out.y.assign(static_cast<size_t>(T * D * B * H), 0);
  for (int64_t d = 0; d < D; ++d) {
    for (int64_t b = 0; b < B; ++b) {
      std::vector<double> h;
      for (int64_t k = 0; k < H; ++k) h.push_back(at("h", (d * B + b) * H + k));
      const int64_t length = c.lengths ? lengths.integer_at(b) : T;
      if (c.lengths && length == 0) std::fill(h.begin(), h.end(), 0.0);
      const bool reverse = c.direction == "reverse" || d == 1;
      for (int64_t s = 0; s < length; ++s) {
        const int64_t t = reverse ? length - 1 - s : s;
        const auto from_x = [&](int64_t gate, int64_t k) {
          double sum = at("bias", d * 2 * G * H + gate * H + k);
          for (int64_t i = 0; i < F; ++i)
            sum += at("x", (t * B + b) * F + i) * at("w", ((d * G + gate) * H + k) * F + i);
          return sum;
        };
        const auto from_h = [&](int64_t gate, int64_t k, const std::vector<double>& state) {
          double sum = at("bias", (d * 2 + 1) * G * H + gate * H + k);
          for (int64_t i = 0; i < H; ++i)
            sum += state[static_cast<size_t>(i)] * at("r", ((d * G + gate) * H + k) * H + i);
          return sum;
        };
        std::vector<double> next(h.size()), z(h.size()), r(h.size()), reset(h.size());
        for (int64_t k = 0; k < H; ++k) {
          const auto i = static_cast<size_t>(k);
          if (!c.gru()) {
            next[i] = activated(names[0], bounded(from_x(0, k) + from_h(0, k, h)));
            continue;
          }
          z[i] = activated(names[0], bounded(from_x(0, k) + from_h(0, k, h)));
          r[i] = activated(names[0], bounded(from_x(1, k) + from_h(1, k, h)));
          reset[i] = r[i] * h[i];
        }
        for (int64_t k = 0; c.gru() && k < H; ++k) {
          const auto i = static_cast<size_t>(k);
          const double product = c.before_reset ? r[i] * from_h(2, k, h) : from_h(2, k, reset);
          next[i] = (1 - z[i]) * activated(names[1], bounded(from_x(2, k) + product)) + z[i] * h[i];
        }
        h = next;
        for (int64_t k = 0; k < H; ++k)
          out.y[static_cast<size_t>(((t * D + d) * B + b) * H + k)] = h[static_cast<size_t>(k)];
      }
      out.h.insert(out.h.end(), h.begin(), h.end());
    }
  }
  return out;
}

std::vector<Tensor> run(const std::shared_ptr<const Model>& model, const Case& c, int threads) {
  std::vector<runtime::Feed> feeds;
  for (const auto& [name, value] : c.values())
    if (!c.constant || (name != "w" && name != "r")) feeds.push_back({name, value});
  return runtime::Session(model, {.threads = threads}).run(feeds);
}

TEST(Recurrent, AllForms) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(std::string(c.op) + ", " + c.name);
    const auto model = model_of(c);
    const std::vector<Tensor> found = run(model, c, 1), threaded = run(model, c, 3);
    const Outputs wanted = by_definition(c);
    const std::vector<double>* outputs[] = {&wanted.y, &wanted.h};
    for (size_t i = 0; i < 2; ++i) {
      ASSERT_EQ(found[i].size(), std::ssize(*outputs[i]));
      for (size_t k = 0; k < outputs[i]->size(); ++k)
        ASSERT_NEAR(found[i].floats()[k], (*outputs[i])[k], 1e-5 * std::max(1.0, std::abs((*outputs[i])[k])))
            << i << " [" << k << "]";
      EXPECT_EQ(found[i].floats(), threaded[i].floats());
    }
  }
}

TEST(Recurrent, ALengthThatTheInputDoesNotHave) {
  for (const char* op : {"GRU", "RNN"}) {
    GraphBuilder net;
    const Case c{.name = "", .op = op};
    Graph& g = net.graph();
    Node n;
    n.op_type = n.name = op;
    for (const char* name : {"x", "w", "r"}) n.inputs.push_back(net.constant(name, c.values().at(name)));
    n.inputs.push_back(kNoValue);
    n.inputs.push_back(net.input("lengths", symbolic(Shape{c.batch}), DType::kInt32));
    n.outputs = {g.add_value("Y")};
    n.attributes["hidden_size"] = c.hidden;
    g.nodes.push_back(n);
    net.output(n.outputs[0]);
    runtime::Session session(net.build(), {.threads = 1});
    EXPECT_NO_THROW(session.run({{"lengths", Tensor::of<int32_t>({3}, {4, 0, 1})}})) << op;
    EXPECT_THROW(session.run({{"lengths", Tensor::of<int32_t>({3}, {4, 5, 1})}}), Error) << op;
    EXPECT_THROW(session.run({{"lengths", Tensor::of<int32_t>({3}, {4, -1, 1})}}), Error) << op;
  }
}

}  // namespace
}  // namespace zp::test
