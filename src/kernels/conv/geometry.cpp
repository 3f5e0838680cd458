#include "kernels/conv/geometry.h"

#include <algorithm>
#include <numeric>

namespace zp::kernels {
namespace {

// One dimension of a phase. Output o and kernel tap t meet input i where  o + pad = i * stride + t *
// dilation. For outputs o = phase, phase + stride, ... the taps that divide evenly are t = first, first +
// stride / g, ... with g = gcd(stride, dilation). Taps are listed backwards, so that the input moves forward
// as in a convolution.
struct PhaseAxis {
  int outputs = 0;
  int taps = 0;
  int first_tap = 0;
  int tap_step = 1;
  int dilation = 1;  // of the input, from one listed tap to the next
  int pad = 0;       // the first listed tap of the first output sees input -pad
};

PhaseAxis phase_axis(int phase, int out, int kernel, int stride, int dilation, int pad) {
  PhaseAxis axis;
  axis.outputs = phase < out ? (out - phase + stride - 1) / stride : 0;
  const int step = stride / std::gcd(stride, dilation);
  int smallest = -1;
  for (int t = 0; t < std::min(step, kernel); ++t) {
    if ((phase + pad - t * dilation) % stride == 0) {
      smallest = t;
      break;
    }
  }
  if (smallest < 0) return axis;
  axis.taps = (kernel - smallest + step - 1) / step;
  axis.first_tap = smallest + (axis.taps - 1) * step;
  axis.tap_step = -step;
  axis.dilation = step * dilation / stride;
  axis.pad = -(phase + pad - axis.first_tap * dilation) / stride;
  return axis;
}

}  // namespace

TransposedConvPhase transposed_conv_phase(const TransposedConvGeometry& g, int index) {
  const int phase_z = index / g.stride_width / g.stride_height;
  const int phase_y = index / g.stride_width % g.stride_height;
  const int phase_x = index % g.stride_width;
  const PhaseAxis z =
      phase_axis(phase_z, g.out_depth, g.kernel_depth, g.stride_depth, g.dilation_depth, g.pad_front);
  const PhaseAxis y =
      phase_axis(phase_y, g.out_height, g.kernel_height, g.stride_height, g.dilation_height, g.pad_top);
  const PhaseAxis x =
      phase_axis(phase_x, g.out_width, g.kernel_width, g.stride_width, g.dilation_width, g.pad_left);
  const bool any_tap = z.taps > 0 && y.taps > 0 && x.taps > 0;

  TransposedConvPhase phase;
  static_cast<ConvWindow&>(phase.conv) = g;
  phase.conv.stride_depth = phase.conv.stride_height = phase.conv.stride_width = 1;
  phase.conv.kernel_depth = any_tap ? z.taps : 0;
  phase.conv.kernel_height = any_tap ? y.taps : 0;
  phase.conv.kernel_width = any_tap ? x.taps : 0;
  phase.conv.dilation_depth = z.dilation;
  phase.conv.dilation_height = y.dilation;
  phase.conv.dilation_width = x.dilation;
  phase.conv.pad_front = z.pad;
  phase.conv.pad_top = y.pad;
  phase.conv.pad_left = x.pad;
  phase.conv.out_depth = z.outputs;
  phase.conv.out_height = y.outputs;
  phase.conv.out_width = x.outputs;

  const std::ptrdiff_t line = g.out_width * g.out_pixel_stride, plane = g.out_height * line;
  phase.rows.stride = g.stride_width * g.out_pixel_stride;
  phase.rows.width = x.outputs;
  phase.rows.height = y.outputs;
  phase.rows.line_stride = g.stride_height * line;
  phase.rows.depth = z.outputs;
  phase.rows.plane_stride = g.stride_depth * plane;
  phase.rows.image_stride = g.out_depth * plane;
  phase.first_output = phase_z * plane + phase_y * line + phase_x * g.out_pixel_stride;
  phase.first_z = z.first_tap;
  phase.first_y = y.first_tap;
  phase.first_x = x.first_tap;
  phase.step_z = z.tap_step;
  phase.step_y = y.tap_step;
  phase.step_x = x.tap_step;
  return phase;
}

}  // namespace zp::kernels
