// LSTMs of all forms: nodes, the values of their inputs, and what they compute, written down in double
// precision.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "unit/graph/graph_builder.h"

namespace zp::test {

// Lengths of sequences: from nothing to all steps.
inline Tensor lengths_of_batch(int64_t batch, int64_t steps) {
  Tensor t(DType::kInt32, {batch});
  for (int64_t b = 0; b < batch; ++b)
    t.mutable_data<int32_t>()[static_cast<size_t>(b)] = static_cast<int32_t>((b + steps) % (steps + 1));
  return t;
}

struct LstmCase {
  const char* name;
  std::string direction = "forward";
  bool bias = true, lengths = false, initial = true, peepholes = false, input_forget = false;
  float clip = 0;  // 0: none
  std::vector<std::string> activations = {};
  std::vector<float> alpha = {}, beta = {};
  int64_t steps = 4, batch = 3, features = 3, hidden = 5;

  int64_t directions() const { return direction == "bidirectional" ? 2 : 1; }
  Tensor lengths_of_batch() const { return zp::test::lengths_of_batch(batch, steps); }
  // x, w, r, and those of bias, h, c and p that there are.
  std::map<std::string, Tensor> values() const {
    const int64_t d = directions();
    std::map<std::string, Tensor> v{{"x", ramp({steps, batch, features}, 1.5f)},
                                    {"w", ramp({d, 4 * hidden, features}, 0.7f)},
                                    {"r", ramp({d, 4 * hidden, hidden}, 0.6f)}};
    if (bias) v["bias"] = ramp({d, 8 * hidden}, 0.5f);
    if (initial) {
      v["h"] = ramp({d, batch, hidden}, 0.8f);
      v["c"] = ramp({d, batch, hidden}, 0.9f);
    }
    if (peepholes) v["p"] = ramp({d, 3 * hidden}, 0.75f);
    return v;
  }
};

// Its outputs: Y, Y_h, Y_c.
inline std::vector<ValueId> add_lstm(GraphBuilder& net, const LstmCase& c) {
  Graph& g = net.graph();
  const auto values = c.values();
  const auto input = [&](const std::string& name) {
    const auto at = values.find(name);
    return at == values.end() ? kNoValue : net.input(name, symbolic(at->second.dims()));
  };
  Node n;
  n.op_type = n.name = "LSTM";
  for (const char* name : {"x", "w", "r", "bias"}) n.inputs.push_back(input(name));
  n.inputs.push_back(c.lengths ? net.constant("lengths", c.lengths_of_batch()) : kNoValue);
  for (const char* name : {"h", "c", "p"}) n.inputs.push_back(input(name));
  for (const char* name : {"Y", "Y_h", "Y_c"}) n.outputs.push_back(g.add_value(name));
  n.attributes["direction"] = c.direction;
  n.attributes["hidden_size"] = c.hidden;
  n.attributes["input_forget"] = int64_t{c.input_forget};
  if (c.clip > 0) n.attributes["clip"] = c.clip;
  if (!c.activations.empty()) n.attributes["activations"] = c.activations;
  if (!c.alpha.empty()) n.attributes["activation_alpha"] = c.alpha;
  if (!c.beta.empty()) n.attributes["activation_beta"] = c.beta;
  g.nodes.push_back(n);
  return n.outputs;
}

struct LstmOutputs {
  std::vector<double> y, h, c;
};

inline LstmOutputs lstm_by_definition(const LstmCase& c) {
  const auto values = c.values();
  const auto at = [&](const std::string& name, int64_t i) {
    const auto found = values.find(name);
    return found == values.end() ? 0.0 : double{found->second.data<float>()[static_cast<size_t>(i)]};
  };
  const Tensor lengths = c.lengths_of_batch();
  const int64_t T = c.steps, B = c.batch, F = c.features, H = c.hidden, D = c.directions();
  const auto activate = [&](int64_t which, double v) {
    const std::string name = c.activations.empty() ? which % 3 == 0 ? "Sigmoid" : "Tanh"
                                                   : c.activations[static_cast<size_t>(which)];
    // Each activation that takes a parameter takes the next one.
    const auto parameter = [&](const std::vector<float>& list, double otherwise) {
      const auto takes = [&](const std::string& other) {
        return other == "HardSigmoid" || other == "Affine" || other == "ScaledTanh" ||
               (&list == &c.alpha && other == "LeakyRelu");
      };
      const auto before =
          static_cast<size_t>(std::count_if(c.activations.begin(), c.activations.begin() + which, takes));
      return before < list.size() ? double{list[before]} : otherwise;
    };
    if (name == "Sigmoid") return 1 / (1 + std::exp(-v));
    if (name == "Tanh") return std::tanh(v);
    if (name == "Relu") return std::max(v, 0.0);
    if (name == "LeakyRelu") return v < 0 ? v * parameter(c.alpha, 0.01) : v;
    if (name == "Affine") return parameter(c.alpha, 1) * v + parameter(c.beta, 0);
    if (name == "ScaledTanh") return parameter(c.alpha, 0) * std::tanh(parameter(c.beta, 0) * v);
    if (name == "HardSigmoid")
      return std::clamp(parameter(c.alpha, 0.2) * v + parameter(c.beta, 0.5), 0.0, 1.0);
    return std::numeric_limits<double>::quiet_NaN();
  };
  LstmOutputs out;
  out.y.assign(static_cast<size_t>(T * D * B * H), 0);
  out.h.resize(static_cast<size_t>(D * B * H));
  out.c.resize(out.h.size());
  for (int64_t d = 0; d < D; ++d)
    for (int64_t b = 0; b < B; ++b) {
      std::vector<double> h, cell;
      for (int64_t k = 0; k < H; ++k) {
        h.push_back(at("h", (d * B + b) * H + k));
        cell.push_back(at("c", (d * B + b) * H + k));
      }
      const int64_t length = c.lengths ? lengths.integer_at(b) : T;
      if (length == 0) {  // as ONNX Runtime: not the initial states
        h.assign(h.size(), 0);
        cell.assign(cell.size(), 0);
      }
      for (int64_t s = 0; s < length; ++s) {
        const int64_t t = c.direction == "reverse" || d == 1 ? length - 1 - s : s;
        const auto product = [&](int64_t gate, int64_t k) {
          const int64_t row = d * 4 * H + gate * H + k;
          double sum = at("bias", d * 8 * H + gate * H + k) + at("bias", d * 8 * H + 4 * H + gate * H + k);
          for (int64_t f = 0; f < F; ++f) sum += at("w", row * F + f) * at("x", (t * B + b) * F + f);
          for (int64_t j = 0; j < H; ++j) sum += at("r", row * H + j) * h[static_cast<size_t>(j)];
          return sum;
        };
        const auto clipped = [&](double v) {
          return c.clip > 0 ? std::clamp<double>(v, -c.clip, c.clip) : v;
        };
        std::vector<double> next_h, next_c;
        for (int64_t k = 0; k < H; ++k) {
          const double before = cell[static_cast<size_t>(k)];
          const auto peephole = [&](int64_t gate) { return at("p", d * 3 * H + gate * H + k); };
          const double i = activate(d * 3, clipped(product(0, k) + peephole(0) * before));
          const double f =
              c.input_forget ? 1 - i : activate(d * 3, clipped(product(2, k) + peephole(2) * before));
          const double now = f * before + i * activate(d * 3 + 1, clipped(product(3, k)));
          const double o = activate(d * 3, clipped(product(1, k) + peephole(1) * now));
          next_c.push_back(now);
          next_h.push_back(o * activate(d * 3 + 2, now));
        }
        h = next_h;
        cell = next_c;
        std::copy(h.begin(), h.end(), out.y.begin() + ((t * D + d) * B + b) * H);
      }
      std::copy(h.begin(), h.end(), out.h.begin() + (d * B + b) * H);
      std::copy(cell.begin(), cell.end(), out.c.begin() + (d * B + b) * H);
    }
  return out;
}

// Forms that the kernels tell apart, all of them with a gradient.
inline const std::vector<LstmCase>& lstm_cases() {
  static const std::vector<LstmCase> cases{
      {.name = "plain", .bias = false, .initial = false},
      {.name = "bias and states"},
      {.name = "reverse", .direction = "reverse"},
      {.name = "bidirectional", .direction = "bidirectional"},
      {.name = "lengths", .lengths = true, .batch = 6},
      {.name = "reverse lengths", .direction = "reverse", .lengths = true, .batch = 6},
      {.name = "bidirectional lengths", .direction = "bidirectional", .lengths = true, .batch = 6},
      {.name = "peepholes", .direction = "bidirectional", .peepholes = true},
      {.name = "peepholes and lengths", .lengths = true, .peepholes = true, .batch = 6},
      {.name = "input forget", .input_forget = true},
      {.name = "input forget and peepholes", .peepholes = true, .input_forget = true},
      {.name = "clip", .peepholes = true, .clip = 0.4f},
      {.name = "clip and input forget", .input_forget = true, .clip = 0.6f},
      {.name = "activations",
       .direction = "bidirectional",
       .activations = {"HardSigmoid", "Relu", "Tanh", "Sigmoid", "LeakyRelu", "HardSigmoid"},
       .alpha = {0.25f, 0.2f, 0.3f},
       .beta = {0.4f, 0.5f}},
      {.name = "affine activations",
       .clip = 3.0f,
       .activations = {"Affine", "Tanh", "ScaledTanh"},
       .alpha = {0.3f, 0.7f},
       .beta = {0.1f, 0.5f}},
      {.name = "clipped activations",
       .clip = 0.5f,
       .activations = {"HardSigmoid", "Relu", "Relu"},
       .alpha = {0.3f},
       .beta = {0.45f}},
      {.name = "wide", .direction = "bidirectional", .batch = 25, .features = 7, .hidden = 8},
  };
  return cases;
}

}  // namespace zp::test
