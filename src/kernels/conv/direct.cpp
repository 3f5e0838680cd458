#include "kernels/conv/direct.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "core/function.h"
#include "kernels/conv/line_ring.h"
#include "kernels/gemm/gather.h"
#include "kernels/gemm/int8_epilogue.h"
#include "kernels/simd.h"

namespace zp::kernels {
namespace {

constexpr int kPixels = 4;  // output pixels of a register tile: eight columns of them are eight accumulators
constexpr int kUnit = 4;    // bytes

// Elements that a unit holds: floats, or pairs of int16.
template <class T>
constexpr int kPerUnit = kUnit / static_cast<int>(sizeof(T));

// A line of taps: so many runs of elements that follow each other in memory.
struct TapRuns {
  int count;
  int elements;  // of a run

  explicit TapRuns(const DirectGeometry& g) : count(g.conv.kernel_width), elements(g.conv.channels) {
    if (g.conv.pixel_stride != g.conv.channels || g.conv.dilation_width > 1) return;
    elements *= count;
    count = 1;
  }
  template <class T>
  int units() const {
    return (elements + kPerUnit<T> - 1) / kPerUnit<T>;
  }
};

template <class T>
std::size_t packed_bytes(const DirectGeometry& g) {
  const TapRuns runs(g);
  return round_up(static_cast<std::size_t>(g.all_columns()), kColumnTile) * g.conv.kernel_height *
         runs.count * runs.units<T>() * kUnit;
}

// Calls copy(element of the packed weights, element of ONNX's, output channel) for every weight.
template <class T, class Copy>
void for_each_weight(const DirectGeometry& g, const Copy& copy) {
  const TapRuns runs(g);
  const int channels = g.conv.channels;
  const int taps = g.conv.taps();
  const int units = runs.units<T>();
  std::ptrdiff_t unit = 0;  // of eight columns
  for (int block = 0; block < g.all_columns(); block += kColumnTile) {
    for (int ky = 0; ky < g.conv.kernel_height; ++ky) {
      for (int run = 0; run < runs.count; ++run, unit += units) {
        int kx = run;
        int c = 0;
        for (int e = 0; e < runs.elements; ++e) {
          const std::ptrdiff_t at = (unit + e / kPerUnit<T>)*kColumnTile * kPerUnit<T> + e % kPerUnit<T>;
          const std::ptrdiff_t from = std::ptrdiff_t{c} * taps + ky * g.conv.kernel_width + kx;
          for (int n = block; n < std::min(block + kColumnTile, g.all_columns()); ++n) {
            copy(at + (n - block) * kPerUnit<T>, from + std::ptrdiff_t{n} * channels * taps, n);
          }
          if (++c == channels) {
            c = 0;
            ++kx;
          }
        }
      }
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------
// Lines
//
// All channels of the input lines that an output line sees, as floats or as int16 less the zero point, with
// zeros for the padding to the left and right. Lines stay in the ring until no output sees them.

struct PaddedLine {
  int pixels = 0;  // of a line, with padding
  std::size_t elements = 0;

  explicit PaddedLine(const ConvGeometry& g) {
    // Of numbers that suits_direct() has seen.
    pixels = (static_cast<int>(round_up(g.out_width, kPixels)) - 1) * g.stride_width +
             (g.kernel_width - 1) * g.dilation_width + 1;
    // A line is filled eight elements at a time, and its last pair may reach past it.
    elements = round_up(pixels * g.pixel_stride + 8, 16);
  }
};

template <bool kSigned>
void widen_elements(const std::uint8_t* from, std::int32_t zero_point, std::ptrdiff_t count,
                    std::int16_t* to) {
  const v128_t point = wasm_i16x8_splat(static_cast<std::int16_t>(zero_point));
  for (std::ptrdiff_t i = 0; i < count; i += 8) {
    const v128_t wide = kSigned ? wasm_i16x8_load8x8(from + i) : wasm_u16x8_load8x8(from + i);
    wasm_v128_store(to + i, wasm_i16x8_sub(wide, point));
  }
}

// ---------------------------------------------------------------------------------------------------------------
// Tiles

template <class T>
struct Tile {
  const T* const* lines;  // under tap (ky, 0) of the tile's first pixel, one for each line of taps
  int tap_lines;
  int runs;                   // of a line
  int units;                  // of a run
  std::ptrdiff_t run_step;    // bytes from one run of a line to the next
  std::ptrdiff_t pixel_step;  // bytes from one output pixel to the next
  std::ptrdiff_t group[2];    // bytes from a pixel's start to the channels that each four columns see
  const std::byte* weights;
  std::ptrdiff_t weight_line;  // bytes from one line of taps to the next
};

template <class Isa>
struct FloatUnits {
  using Element = float;
  static v128_t add(v128_t x, v128_t w, v128_t sum) { return madd<Isa>(x, w, sum); }
};
struct Int8Units {
  using Element = std::int16_t;
  static v128_t add(v128_t x, v128_t w, v128_t sum) {
    return wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(x, w));
  }
};

// Adds the products of some pixels and eight columns to `sums`, [kTilePixels][8]. kShared: all eight columns
// belong to one group.
template <class Units, int kTilePixels, bool kShared>
[[gnu::noinline]] void multiply_tile(const Tile<typename Units::Element>& tile, std::ptrdiff_t at,
                                     v128_t* sums) {
  v128_t c[kTilePixels][2];
  unroll<kTilePixels>([&](auto p) {
    c[p][0] = wasm_v128_load(sums + p * 2);
    c[p][1] = wasm_v128_load(sums + p * 2 + 1);
  });
  const std::ptrdiff_t other = tile.group[1] - tile.group[0];
  for (int ky = 0; ky < tile.tap_lines; ++ky) {
    const std::byte* line = reinterpret_cast<const std::byte*>(tile.lines[ky]) + at + tile.group[0];
    const std::byte* w = tile.weights + ky * tile.weight_line;
    for (int i = 0; i < tile.runs; ++i, line += tile.run_step) {
      const std::byte* pixel[kTilePixels];
      unroll<kTilePixels>([&](auto p) { pixel[p] = line + p * tile.pixel_step; });
#pragma clang loop unroll(disable)
      for (int u = tile.units; u > 0; --u, w += 2 * sizeof(v128_t)) {
        const v128_t w0 = wasm_v128_load(w);
        const v128_t w1 = wasm_v128_load(w + sizeof(v128_t));
        unroll<kTilePixels>([&](auto p) {
          const v128_t x = wasm_v128_load32_splat(pixel[p]);
          c[p][0] = Units::add(x, w0, c[p][0]);
          c[p][1] = Units::add(kShared ? x : wasm_v128_load32_splat(pixel[p] + other), w1, c[p][1]);
          pixel[p] += kUnit;
        });
      }
    }
  }
  unroll<kTilePixels>([&](auto p) {
    wasm_v128_store(sums + p * 2, c[p][0]);
    wasm_v128_store(sums + p * 2 + 1, c[p][1]);
  });
}

struct Sums {
  v128_t low;
  v128_t high;
};

// Output lines [begin, end). fill(from element, count, to) copies neighbouring elements of the input into a
// line; first_sums(column) gives the eight sums to begin with; finish(row, pixels, column, columns, sums).
template <class Units, class Finish>
void direct_lines(const DirectGeometry& direct, const void* weights, int begin, int end, void* memory,
                  FunctionRef<void(std::ptrdiff_t, std::ptrdiff_t, typename Units::Element*)> fill,
                  FunctionRef<Sums(int)> first_sums, const Finish& finish) {
  using T = typename Units::Element;
  const ConvGeometry& g = direct.conv;
  if (g.out_width <= 0) return;
  const TapRuns runs(direct);
  const PaddedLine line(g);
  auto* const tap_lines = static_cast<const T**>(memory);
  auto* const elements = reinterpret_cast<T*>(static_cast<std::byte*>(memory) + tap_lines_bytes(g));
  const int pad_begin = std::clamp(g.pad_left, 0, line.pixels);
  const int pad_end = std::clamp(g.in_width + g.pad_left, pad_begin, line.pixels);

  Tile<T> tile;
  tile.lines = tap_lines;
  tile.runs = runs.count;
  tile.units = runs.units<T>();
  tile.run_step = g.dilation_width * g.pixel_stride * static_cast<std::ptrdiff_t>(sizeof(T));
  tile.pixel_step = g.stride_width * g.pixel_stride * static_cast<std::ptrdiff_t>(sizeof(T));
  tile.weight_line = std::ptrdiff_t{tile.runs} * tile.units * kColumnTile * kUnit;
  const std::ptrdiff_t block_bytes = tile.weight_line * g.kernel_height;
  const auto group_at = [&](int column) {
    return column / direct.columns * g.channels * static_cast<std::ptrdiff_t>(sizeof(T));
  };

  const auto make = [&](std::ptrdiff_t first, T* to) {
    const std::ptrdiff_t inside = (pad_end - pad_begin) * g.pixel_stride;
    std::fill_n(to, pad_begin * g.pixel_stride, T{});
    fill(first + (pad_begin - g.pad_left) * g.pixel_stride, inside, to + pad_begin * g.pixel_stride);
    std::fill_n(to + pad_end * g.pixel_stride, (line.pixels - pad_end) * g.pixel_stride, T{});
  };
  for_each_line(g, begin, end, elements, line.elements, tap_lines, make, [&](int index, TapRange ky) {
    tile.tap_lines = ky.end - ky.begin;
    for (int column = 0; column < direct.all_columns(); column += kColumnTile) {
      const int count = std::min(kColumnTile, direct.all_columns() - column);
      tile.group[0] = group_at(column);
      tile.group[1] = count > 4 ? group_at(column + 4) : tile.group[0];
      tile.weights = static_cast<const std::byte*>(weights) + column / kColumnTile * block_bytes +
                     ky.begin * tile.weight_line;
      const bool shared = tile.group[0] == tile.group[1];
      const auto multiply =
          shared ? multiply_tile<Units, kPixels, true> : multiply_tile<Units, kPixels, false>;
      const auto multiply_half =
          shared ? multiply_tile<Units, kPixels / 2, true> : multiply_tile<Units, kPixels / 2, false>;
      const auto start = first_sums(column);
      for (int x = 0; x < g.out_width; x += kPixels) {
        v128_t sums[kPixels * 2];
        for (int p = 0; p < kPixels; ++p) {
          sums[p * 2] = start.low;
          sums[p * 2 + 1] = start.high;
        }
        const int pixels = std::min(kPixels, g.out_width - x);
        (pixels > kPixels / 2 ? multiply : multiply_half)(tile, x * tile.pixel_step, sums);
        finish(index * g.out_width + x, pixels, column, count, sums);
      }
    }
  });
}

template <class T>
std::size_t lines_bytes(const DirectGeometry& g) {
  return tap_lines_bytes(g.conv) + PaddedLine(g.conv).elements * ring_lines(g.conv) * sizeof(T);
}

// ---------------------------------------------------------------------------------------------------------------
// The specification

// Calls add(column, element of the input, packed weight) for all products of an output pixel.
template <class T, class Add>
void for_each_product(const DirectGeometry& g, int row, const Add& add) {
  for_each_weight<T>(g, [&](std::ptrdiff_t at, std::ptrdiff_t from, int n) {
    const int channel = static_cast<int>(from / g.conv.taps() % g.conv.channels);
    const int tap = static_cast<int>(from % g.conv.taps());
    const std::ptrdiff_t x = patch_element(g.conv, row, tap * g.conv.channels + channel);
    if (x >= 0) add(n, x + n / g.columns * std::ptrdiff_t{g.conv.channels}, at);
  });
}

// Channels up to which a convolution of three by three taps is faster than a product: the weights of eight
// columns then stay in the first-level cache.
constexpr int kMostChannels = 96;

// Few channels, of whole vectors of columns, with taps that share lines which stay in the second-level cache;
// and several output lines, for the threads to share.
bool suits(const DirectGeometry& g, int most_channels) {
  constexpr double kMostBytes = 1024 * 1024;
  constexpr int kFewestLines = 4;
  const ConvGeometry& c = g.conv;
  const double pixels = (c.out_width + 3.0) * c.stride_width + 1.0 * c.kernel_width * c.dilation_width;
  const double lines = 1.0 * c.kernel_height * c.dilation_height;
  if (c.out_width % kPixels != 0) most_channels = std::min(most_channels, kMostChannels / 3);
  return g.columns > 0 && g.columns % 4 == 0 && c.channels <= most_channels && c.taps() > 1 &&
         c.batch * c.out_height >= kFewestLines &&
         pixels * lines * static_cast<double>(c.pixel_stride) * sizeof(float) < kMostBytes;
}

}  // namespace

bool suits_direct_float(const DirectGeometry& g) { return suits(g, kMostChannels); }

// The 16-bit instruction of this kernel is the fastest exact one except where products have one of 8 bits:
// they then multiply more than twice as fast, and have caught up with fewer channels.
bool suits_direct_int8(const DirectGeometry& g, const MachineReport& machine) {
  const bool exact =
      machine.relaxed_dot == RelaxedDot::kUnsigned || machine.relaxed_dot == RelaxedDot::kSigned;
  return suits(g, exact ? kMostChannels / 6 : kMostChannels);
}

std::size_t packed_direct_float_bytes(const DirectGeometry& g) { return packed_bytes<float>(g); }
std::size_t packed_direct_int8_bytes(const DirectGeometry& g) { return packed_bytes<std::int16_t>(g); }

DirectWeights pack_direct_float(const float* weights, const DirectGeometry& g, void* storage) {
  auto* packed = static_cast<float*>(storage);
  std::memset(storage, 0, packed_direct_float_bytes(g));
  for_each_weight<float>(g, [&](std::ptrdiff_t at, std::ptrdiff_t from, int) { packed[at] = weights[from]; });
  return {storage};
}

DirectWeights pack_direct_int8(const ConvInt8Source& source, const DirectGeometry& g, void* storage) {
  auto* packed = static_cast<std::int16_t*>(storage);
  std::memset(storage, 0, packed_direct_int8_bytes(g));
  for_each_weight<std::int16_t>(g, [&](std::ptrdiff_t at, std::ptrdiff_t from, int channel) {
    packed[at] = source.centred(from, channel);
  });
  return {storage};
}

std::size_t direct_float_scratch_bytes(const DirectGeometry& g) { return lines_bytes<float>(g); }
std::size_t direct_int8_scratch_bytes(const DirectGeometry& g) {
  return column_terms_bytes(g.all_columns()) + lines_bytes<std::int16_t>(g);
}

template <class Isa>
void direct_float(const float* input, const DirectGeometry& g, const DirectWeights& weights,
                  const FloatGemmOutput& output, int line_begin, int line_end, void* scratch) {
  if constexpr (!Isa::kVector) {
    for (int m = line_begin * g.conv.out_width; m < line_end * g.conv.out_width; ++m) {
      float* y = output.data + m * output.rows.stride;
      for (int n = 0; n < g.all_columns(); ++n) y[n] = output.bias != nullptr ? output.bias[n] : 0.0F;
      for_each_product<float>(g, m, [&](int n, std::ptrdiff_t x, std::ptrdiff_t w) {
        y[n] += input[x] * static_cast<const float*>(weights.units)[w];
      });
      for (int n = 0; n < g.all_columns(); ++n) {
        y[n] = y[n] < output.lo ? output.lo : y[n];
        y[n] = output.hi < y[n] ? output.hi : y[n];
      }
    }
  } else {
    const v128_t lo = wasm_f32x4_splat(output.lo);
    const v128_t hi = wasm_f32x4_splat(output.hi);
    direct_lines<FloatUnits<Isa>>(
        g, weights.units, line_begin, line_end, scratch,
        [&](std::ptrdiff_t from, std::ptrdiff_t count, float* to) {
          std::memcpy(to, input + from, static_cast<std::size_t>(count) * sizeof(float));
        },
        [&](int column) {
          Sums sums{wasm_f32x4_splat(0), wasm_f32x4_splat(0)};
          if (output.bias != nullptr) {
            sums.low = wasm_v128_load(output.bias + column);
            if (column + 4 < g.all_columns()) sums.high = wasm_v128_load(output.bias + column + 4);
          }
          return sums;
        },
        [&](int row, int pixels, int column, int count, const v128_t* sums) {
          float* y = output.data + row * output.rows.stride + column;
          for (int p = 0; p < pixels; ++p, y += output.rows.stride, sums += 2) {
            wasm_v128_store(y, wasm_f32x4_pmin(wasm_f32x4_pmax(sums[0], lo), hi));
            if (count > 4) wasm_v128_store(y + 4, wasm_f32x4_pmin(wasm_f32x4_pmax(sums[1], lo), hi));
          }
        });
  }
}

template <class Isa, class Output>
void direct_int8(const Int8Input& input, const DirectGeometry& g, const DirectWeights& weights,
                 const Output& output, int line_begin, int line_end, void* scratch) {
  if constexpr (!Isa::kVector) {
    auto* sums = static_cast<std::int32_t*>(scratch);
    for (int m = line_begin * g.conv.out_width; m < line_end * g.conv.out_width; ++m) {
      std::fill_n(sums, g.all_columns(), 0);
      for_each_product<std::int16_t>(g, m, [&](int n, std::ptrdiff_t x, std::ptrdiff_t w) {
        const std::uint8_t raw = input.rows.data[x];
        const std::int32_t a = (input.is_signed ? static_cast<std::int8_t>(raw) : raw) - input.zero_point;
        sums[n] = wrap_add(sums[n], a * static_cast<const std::int16_t*>(weights.units)[w]);
      });
      for (int n = 0; n < g.all_columns(); ++n) scalar_store(output, m, n, sums[n]);
    }
  } else {
    const ColumnTerms terms = prepare_terms(output, 0, g.all_columns(), scratch);
    const Epilogue<Output> epilogue(output, terms);
    direct_lines<Int8Units>(
        g, weights.units, line_begin, line_end,
        static_cast<std::byte*>(scratch) + column_terms_bytes(g.all_columns()),
        [&](std::ptrdiff_t from, std::ptrdiff_t count, std::int16_t* to) {
          const auto widen = input.is_signed ? widen_elements<true> : widen_elements<false>;
          widen(input.rows.data + from, input.zero_point, count, to);
        },
        [&](int column) {
          return Sums{wasm_v128_load(terms.offsets + column), wasm_v128_load(terms.offsets + column + 4)};
        },
        [&](int row, int pixels, int column, int count, const v128_t* sums) {
          const auto columns = epilogue.columns(column);
          std::ptrdiff_t at = row * output.rows.stride + column;
          for (int p = 0; p < pixels; ++p, at += output.rows.stride, sums += 2)
            epilogue.store(at, columns, count, sums[0], sums[1]);
        });
  }
}

#define ZP_INSTANTIATE(Isa)                                                                     \
  template void direct_float<Isa>(const float*, const DirectGeometry&, const DirectWeights&,    \
                                  const FloatGemmOutput&, int, int, void*);                     \
  template void direct_int8<Isa>(const Int8Input&, const DirectGeometry&, const DirectWeights&, \
                                 const QuantizedOutput&, int, int, void*);                      \
  template void direct_int8<Isa>(const Int8Input&, const DirectGeometry&, const DirectWeights&, \
                                 const FloatOutput&, int, int, void*);                          \
  template void direct_int8<Isa>(const Int8Input&, const DirectGeometry&, const DirectWeights&, \
                                 const Int32Output&, int, int, void*);
ZP_FOR_EACH_ISA(ZP_INSTANTIATE)
#undef ZP_INSTANTIATE

}  // namespace zp::kernels
