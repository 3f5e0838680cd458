// What the integer and the float matrix products share: how the left matrix is given, where weights come
// from, and which part of the output one call makes.
//
//   y[m, n] = epilogue(sum over k of a[m, k] * w[n, k])
//
// Weights are packed once into tiles of kColumnTile columns; activations are used in place or gathered, a
// block of rows at a time, into scratch memory of the caller's. To split a product over threads give each its
// own range of rows or columns and its own scratch: the result does not depend on the split.

#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/conv/geometry.h"
#include "kernels/isa.h"

namespace zp::kernels {

inline constexpr int kColumnTile = 8;  // columns of a packed tile; column ranges start at multiples of it
inline constexpr int kRowTile = 6;  // rows of a register tile; row ranges are best split at multiples of it

// One or two rows wait for memory and for each other's sums. Strips of columns side by side are read from
// several places at once, and share the loads of activations.
inline constexpr int kStripsOfOneRow = 4;
inline constexpr int kStripsOfTwoRows = 2;

// Strips that are multiplied at once, of the columns that are left.
inline int strips_at_once(int most, int columns) { return columns > (most - 1) * kColumnTile ? most : 1; }

// Any number of rows as tiles of kRows and fewer: multiply(std::integral_constant<int, count>, tiles). A rest
// of one or two rows has too few sums, which wait for each other: a tile before it gives it some of its own.
template <int kRows, class Multiply>
void for_row_tiles(int rows, Multiply&& multiply) {
  const int rest = rows % kRows;
  const int tiles = rows / kRows - (rows > kRows && (rest == 1 || rest == 2) ? 1 : 0);
  if (tiles > 0) multiply(std::integral_constant<int, kRows>{}, tiles);
  for (int left = rows - tiles * kRows, count; left > 0; left -= count) {
    count = left > kRows ? (left + 1) / 2 : left;  // 4 + 3 of 7
    const auto once = [&](auto rows_of_tile) {
      if constexpr (rows_of_tile <= kRows) multiply(rows_of_tile, 1);
    };
    switch (count) {
      case 1:
        once(std::integral_constant<int, 1>{});
        break;
      case 2:
        once(std::integral_constant<int, 2>{});
        break;
      case 3:
        once(std::integral_constant<int, 3>{});
        break;
      case 4:
        once(std::integral_constant<int, 4>{});
        break;
      default:
        once(std::integral_constant<int, 5>{});
    }
  }
}

// The part of the output that a call makes: rows [row_begin, row_end), columns [column_begin, column_end).
// column_begin is a multiple of kColumnTile, and so is column_end unless it is the last column.
struct OutputRange {
  int row_begin = 0;
  int row_end = 0;
  int column_begin = 0;
  int column_end = 0;
};

// The left matrix: either rows `row_stride` elements apart, or, with `conv`, the patches of an NHWC input
// (pointing at its first pixel, moved on by the group's first channel).
template <class T>
struct GemmInput {
  const T* data = nullptr;
  std::ptrdiff_t row_stride = 0;
  const ConvGeometry* conv = nullptr;
};

// Where weights come from, in any order that strides can say. Weight (n, z, y, x, c) is element
// n * column_stride + z * tap_z_stride + y * tap_y_stride + x * tap_x_stride + c * channel_stride.
// k runs over z, y, x, c with c fastest, as the patches of a convolution do.
struct WeightLayout {
  int columns = 0;        // N
  int kernel_height = 1;  // taps
  int kernel_width = 1;
  int channels = 0;  // K of a plain product
  std::ptrdiff_t column_stride = 0;
  std::ptrdiff_t channel_stride = 0;
  std::ptrdiff_t tap_y_stride = 0;
  std::ptrdiff_t tap_x_stride = 0;
  int kernel_depth = 1;
  std::ptrdiff_t tap_z_stride = 0;

  int lines() const { return kernel_depth * kernel_height; }
  int taps() const { return lines() * kernel_width; }
  int depth() const { return taps() * channels; }  // K

  // B[K, N], rows after rows: the second input of MatMul.
  static WeightLayout matrix(int depth, int columns) { return {columns, 1, 1, depth, 1, columns, 0, 0}; }
  // B[N, K]: Gemm with transB, a fully connected layer.
  static WeightLayout transposed_matrix(int depth, int columns) {
    return {columns, 1, 1, depth, depth, 1, 0, 0};
  }
  // The first tap of a line of the kernel, of all its planes.
  std::ptrdiff_t line_offset(int line) const {
    return line / kernel_height * tap_z_stride + line % kernel_height * tap_y_stride;
  }

  // Conv: W[N, C, height, width] (one group: move the pointer on by group * N * C * height * width). With a
  // depth, `height` counts the lines of all planes.
  static WeightLayout conv(int columns, int channels, int height, int width) {
    return {columns,
            height,
            width,
            channels,
            std::ptrdiff_t{channels} * height * width,
            std::ptrdiff_t{height} * width,
            width,
            1};
  }
  // A phase of ConvTranspose: W[C, N, depth, height, width]. The pointer stays at the first weight of the
  // group; add `phase_offset` elements to it.
  static WeightLayout transposed_conv(const TransposedConvGeometry& g, int columns,
                                      const TransposedConvPhase& phase) {
    const std::ptrdiff_t plane = std::ptrdiff_t{g.kernel_height} * g.kernel_width;
    return {columns,
            phase.conv.kernel_height,
            phase.conv.kernel_width,
            g.channels,
            g.kernel_depth * plane,
            columns * g.kernel_depth * plane,
            std::ptrdiff_t{phase.step_y} * g.kernel_width,
            phase.step_x,
            phase.conv.kernel_depth,
            phase.step_z * plane};
  }
  static std::ptrdiff_t phase_offset(const TransposedConvGeometry& g, const TransposedConvPhase& phase) {
    return (std::ptrdiff_t{phase.first_z} * g.kernel_height + phase.first_y) * g.kernel_width + phase.first_x;
  }
};

}  // namespace zp::kernels
