// Gradients of a depthwise convolution, channels last. `geometry` counts the channels of the whole image;
// weights and their gradient are [taps][channels].

#pragma once

#include "kernels/conv/geometry.h"

namespace zp::kernels {

// Lines [begin, end) of dx, of batch * in_height.
void depthwise_input_gradient(const ConvGeometry& geometry, const float* weights, const float* dy, float* dx,
                              int begin, int end);
// Channels [begin, end) of dw.
void depthwise_weight_gradient(const ConvGeometry& geometry, const float* x, const float* dy, float* dw,
                               int begin, int end);

}  // namespace zp::kernels
