// Convolutions that go line by line keep the input lines that an output line sees in a ring, in a form of
// their own, each made once.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/conv/geometry.h"
#include "kernels/isa.h"

namespace zp::kernels {

// Lines of the ring: all that one output line sees.
inline int ring_lines(const ConvGeometry& g) { return (g.kernel_height - 1) * g.dilation_height + 1; }

// Room for where the lines are that an output line sees, one per line of taps.
inline std::size_t tap_lines_bytes(const ConvGeometry& g) {
  return round_up(static_cast<std::size_t>(g.kernel_height) * sizeof(void*), kAlignment);
}

// For the output lines [begin, end), counted over all images: make(first element, to) writes the input line
// that begins with that element of the input, then use(line, lines of taps inside the image) finds the lines
// under these taps in `tap_lines`, from its first entry on. `ring`: ring_lines(g) times `line_elements`.
template <class T, class Make, class Use>
void for_each_line(const ConvGeometry& g, int begin, int end, T* ring, std::size_t line_elements,
                   const T** tap_lines, const Make& make, const Use& use) {
  const int lines = ring_lines(g);
  const auto ring_line = [&](int y) { return ring + y % lines * line_elements; };
  int image = -1;
  int made = 0;  // input lines of this image below it are in the ring, or no longer needed
  for (int index = begin; index < end; ++index) {
    if (index / g.out_height != image) {
      image = index / g.out_height;
      made = 0;
    }
    const int first = index % g.out_height * g.stride_height - g.pad_top;
    const TapRange ky = taps_inside(first, g.dilation_height, g.kernel_height, g.in_height);
    const int last = ky.begin < ky.end ? first + (ky.end - 1) * g.dilation_height : -1;
    for (made = std::max(made, first); made <= last; ++made) {
      make(image * g.image_elements() + made * (g.in_width * g.pixel_stride), ring_line(made));
    }
    for (int i = ky.begin; i < ky.end; ++i)
      tap_lines[i - ky.begin] = ring_line(first + i * g.dilation_height);
    use(index, ky);
  }
}

}  // namespace zp::kernels
