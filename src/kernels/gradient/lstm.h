// One step of an LSTM backwards, for one element of the batch: from the gradients of the states after it to
// those of what its gates took and of the cell before it (Hochreiter, Schmidhuber 1997; peepholes: Gers et
// al. 2002).

#pragma once

#include <cstddef>

#include "kernels/isa.h"

namespace zp::kernels {

// The derivative of an activation, by its output y: a + b y + c y^2 where lo < y < hi, else `outside`.
struct LstmDerivative {
  float a = 0, b = 0, c = 0, lo = 0, hi = 0, outside = 0;
};

struct LstmStep {
  size_t hidden = 0;
  const LstmDerivative* derivatives = nullptr;  // of f, g, h
  bool input_forget = false;                    // the forget gate was 1 - input gate
  float* gates = nullptr;            // i, o, f, g, each [hidden]; at last the gradients of what they took
  const float* c_before = nullptr;   // [hidden]
  const float* h_of_c = nullptr;     // [hidden]: h(c) after the step
  const float* dh = nullptr;         // [hidden]: the gradient of h after the step
  float* dc = nullptr;               // [hidden]: of c after the step; at last of c before it
  const float* peepholes = nullptr;  // i, o, f, each [hidden], or null
  float* dpeepholes = nullptr;       // added to; null if nobody asks
};

template <class Isa = Best>
void lstm_step_gradient(const LstmStep& step);

}  // namespace zp::kernels
