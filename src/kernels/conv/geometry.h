// Which input pixels an output pixel of a convolution sees.
//
// A convolution is a matrix product whose left matrix is never stored: row m holds the patch under output
// pixel m, tap after tap, and the GEMM kernels gather a few rows at a time (implicit im2col). These structs
// say how. Everything is NHWC (or NDHWC). A one-dimensional convolution has height 1, one of two dimensions
// has depth 1.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace zp::kernels {

struct ConvWindow {
  int batch = 1;
  int in_height = 1;
  int in_width = 1;
  int channels = 1;                 // of the input, of one group
  std::ptrdiff_t pixel_stride = 1;  // elements from one input pixel to the next: all channels of all groups
  int kernel_height = 1;
  int kernel_width = 1;
  int stride_height = 1;
  int stride_width = 1;
  int dilation_height = 1;
  int dilation_width = 1;
  int pad_top = 0;   // may be negative: then the first rows of the input are not seen
  int pad_left = 0;  // (the other two pads follow from the output's size)
  int out_height = 1;
  int out_width = 1;
  // The third dimension, in front of the others.
  int in_depth = 1;
  int kernel_depth = 1;
  int stride_depth = 1;
  int dilation_depth = 1;
  int pad_front = 0;
  int out_depth = 1;

  int taps() const { return kernel_depth * kernel_height * kernel_width; }
  bool is_flat() const { return in_depth == 1 && kernel_depth == 1 && out_depth == 1; }
};

struct ConvGeometry : ConvWindow {
  std::ptrdiff_t image_stride =
      0;  // elements from one image to the next; 0: in_depth * in_height * in_width * pixel_stride

  int rows() const { return batch * out_depth * out_height * out_width; }  // M of the product
  std::ptrdiff_t plane_elements() const { return in_height * (in_width * pixel_stride); }
  std::ptrdiff_t image_elements() const {
    return image_stride != 0 ? image_stride : in_depth * plane_elements();
  }

  // Every row is one whole pixel and rows follow each other: the input can be used as a plain matrix.
  bool is_pointwise() const {
    return is_flat() && kernel_height == 1 && kernel_width == 1 && stride_height == 1 && stride_width == 1 &&
           pad_top == 0 && pad_left == 0 && out_height == in_height && out_width == in_width &&
           (batch == 1 || image_elements() == plane_elements());
  }
};

// Taps [begin, end) of one dimension that fall inside the input. The rest is padding, which adds nothing:
// padding is zero for floats and the zero point for integers, which are multiplied less their zero point.
struct TapRange {
  int begin = 0;
  int end = 0;
};

inline TapRange taps_inside(int first, int dilation, int taps, int size) {
  // first + t * dilation is in [0, size)
  TapRange range;
  range.begin = first >= 0 ? 0 : std::min((-first + dilation - 1) / dilation, taps);
  range.end = first >= size ? 0 : std::min((size - first + dilation - 1) / dilation, taps);
  range.end = std::max(range.end, range.begin);
  return range;
}

// Where row m of an output lies. Plain by default: m * stride. With `width`, rows are pixels of images whose
// lines, planes and images lie apart (a phase of a transposed convolution). All in elements.
struct RowLayout {
  std::ptrdiff_t stride = 0;
  int width = 0;
  int height = 0;
  std::ptrdiff_t line_stride = 0;
  std::ptrdiff_t image_stride = 0;
  int depth = 1;
  std::ptrdiff_t plane_stride = 0;

  std::ptrdiff_t offset(int row) const {
    if (width == 0) return row * stride;
    const int line = row / width, plane = line / height;
    const std::ptrdiff_t in_plane = row % width * stride + line % height * line_stride;
    return depth == 1 ? in_plane + plane * image_stride
                      : in_plane + plane % depth * plane_stride + plane / depth * image_stride;
  }
};

// A transposed convolution. Output pixels whose coordinates have the same remainder by the stride see the
// same taps of the kernel, as in an ordinary convolution of stride one: that is a phase. Each phase runs as a
// GEMM of its own, with weights of its own, and writes every stride-th pixel; nothing is scattered or added
// up afterwards.
struct TransposedConvGeometry : ConvWindow {
  std::ptrdiff_t out_pixel_stride = 1;  // elements from one output pixel to the next

  int phases() const { return stride_depth * stride_height * stride_width; }
};

struct TransposedConvPhase {
  ConvGeometry conv;  // with 0 taps where no tap of the kernel reaches this phase: the output is the bias
  RowLayout rows;     // of the output, from `first_output` on
  std::ptrdiff_t first_output = 0;
  // Tap (z, y, x) of the phase is tap (first_z + z * step_z, first_y + y * step_y, first_x + x * step_x) of
  // the kernel.
  int first_z = 0;
  int first_y = 0;
  int first_x = 0;
  int step_z = 0;
  int step_y = 0;
  int step_x = 0;
};

// `index` from 0 to phases() - 1. A phase with no output pixels has conv.rows() == 0.
TransposedConvPhase transposed_conv_phase(const TransposedConvGeometry& geometry, int index);

}  // namespace zp::kernels
