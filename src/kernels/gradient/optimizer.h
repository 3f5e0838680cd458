// Steps of gradient descent, in place: Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov &
// Hutter 2019), and momentum.
#pragma once

#include <cstddef>

namespace zp::kernels {

double squared_length(const float* d, std::size_t count);

struct AdamStep {
  float factor = 1;  // of the gradient
  float rate = 0, decay = 0;
  float first = 0, second = 0;            // what moments keep from step to step
  float first_bias = 1, second_bias = 1;  // what moments have had of their weight so far
  float epsilon = 0;
};
void adam_step(const AdamStep& s, const float* d, float* values, float* first, float* second,
               std::size_t count);

// m = momentum m + factor d;   values -= rate (m + decay values)
struct MomentumStep {
  float factor = 1, rate = 0, decay = 0, momentum = 0;
};
void momentum_step(const MomentumStep& s, const float* d, float* values, float* m, std::size_t count);

}  // namespace zp::kernels
