// What an LSTM's forward pass and its gradient share.
#pragma once

#include "ops/recurrent.h"

namespace zp {

struct Lstm : Recurrent {
  // Behind the inputs of all recurrent operators; gates are in the order i, o, f, g.
  enum More : size_t {
    kInitialC = kInitialH + 1,  // [directions, batch, hidden]
    kPeepholes,                 // [directions, 3 hidden], in the order i, o, f
    kInputs
  };
  static const RecurrentForm kForm;

  bool input_forget = false;
  // The state becomes uint8 before each step: ops/lstm_quantized.cpp. An attribute that no file has.
  static constexpr std::string_view kRoundsState = "rounds_state";
  bool rounds_state = false;

  static Lstm of(const PrepareContext& c);
  static Activations activations_of(const Node& node) { return Recurrent::activations_of(node, kForm); }

  // The results of one direction's pass.
  struct Pass {
    float* gates;        // [steps, batch, 4 hidden], as the activations leave them
    float *h, *c;        // [batch, hidden]: the states, at last those after the last step
    float* scratch;      // likewise
    float* y = nullptr;  // Y of all directions
    float *h_before = nullptr, *c_before = nullptr;  // [steps, batch, hidden]: the states before each step
    float* rounded = nullptr;  // [batch, hidden]: the state that products read; null: the state itself
  };
  void run(const RunContext& run, int64_t direction, const kernels::FloatWeights& w,
           const kernels::FloatWeights& r, const Pass& pass) const;

  const float* peepholes(const RunContext& run, int64_t direction) const {
    return has[kPeepholes] ? run.in<float>(kPeepholes) + direction * 3 * hidden : nullptr;
  }

 private:
  void step(const RecurrentActivation* act, const float* peephole, float* gate, float* h, float* c,
            float* scratch) const;
  void round_states(const RunContext& run, int64_t direction, int64_t s, const float* h, float* to) const;
};

void lstm_gradient(Gradient& g);
// To DynamicQuantizeLSTM.
bool fold_lstm(Fold& f);

}  // namespace zp
