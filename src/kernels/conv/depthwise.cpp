#include "kernels/conv/depthwise.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <numeric>
#include <type_traits>

#include "core/function.h"
#include "kernels/conv/line_ring.h"
#include "kernels/gemm/int8_epilogue.h"
#include "kernels/simd.h"

namespace zp::kernels {
namespace {

constexpr int kFloatBlock = 4;  // channels of a packed block
constexpr int kInt8Block = 8;
// Output pixels of a register tile: eight channels of four pixels are eight accumulators.
constexpr int kPixels = 4;

int tap_pairs(const ConvGeometry& g) { return (g.kernel_width + 1) / 2; }

// One output line, and the part of it whose pixels see all taps of a line.
struct Line {
  std::ptrdiff_t input = 0;  // element of the input under tap (0, 0) of pixel 0; may lie outside
  std::ptrdiff_t tap_line = 0;
  std::ptrdiff_t tap_pixel = 0;
  std::ptrdiff_t pixel_step = 0;
  TapRange ky;
  int inner_begin = 0;
  int inner_end = 0;
};

Line line_of(const ConvGeometry& g, int index) {
  const int image = index / g.out_height;
  const int y = index % g.out_height * g.stride_height - g.pad_top;
  Line line;
  const std::ptrdiff_t line_elements = g.in_width * g.pixel_stride;
  line.input = image * g.image_elements() + y * line_elements - g.pad_left * g.pixel_stride;
  line.tap_line = g.dilation_height * line_elements;
  line.tap_pixel = g.dilation_width * g.pixel_stride;
  line.pixel_step = g.stride_width * g.pixel_stride;
  line.ky = taps_inside(y, g.dilation_height, g.kernel_height, g.in_height);
  const int last_first =
      g.in_width - 1 - (g.kernel_width - 1) * g.dilation_width;  // where all taps still fit
  line.inner_begin =
      std::clamp((std::max(g.pad_left, 0) + g.stride_width - 1) / g.stride_width, 0, g.out_width);
  line.inner_end = last_first + g.pad_left < 0 ? line.inner_begin
                                               : std::clamp((last_first + g.pad_left) / g.stride_width + 1,
                                                            line.inner_begin, g.out_width);
  return line;
}

TapRange kx_of(const ConvGeometry& g, int x) {
  return taps_inside(x * g.stride_width - g.pad_left, g.dilation_width, g.kernel_width, g.in_width);
}

// ---------------------------------------------------------------------------------------------------------------
// Float

template <class Isa, int kTilePixels, int kVectors>
inline void float_tile(const float* input, const Line& line, int x, TapRange kx, int kernel_width, int taps,
                       const float* w, v128_t (&c)[kTilePixels][kVectors]) {
  for (int ky = line.ky.begin; ky < line.ky.end; ++ky) {
    const float* from =
        input + (line.input + ky * line.tap_line + x * line.pixel_step + kx.begin * line.tap_pixel);
    const float* weight = w + (ky * kernel_width + kx.begin) * kFloatBlock;
#pragma clang loop unroll(disable)
    for (int i = kx.begin; i < kx.end; ++i) {
      unroll<kVectors>([&](auto v) {
        const v128_t wv = wasm_v128_load(weight + v * taps * kFloatBlock);
        unroll<kTilePixels>([&](auto p) {
          c[p][v] = madd<Isa>(wasm_v128_load(from + p * line.pixel_step + v * kFloatBlock), wv, c[p][v]);
        });
      });
      from += line.tap_pixel;
      weight += kFloatBlock;
    }
  }
}

// The bounds, the bias and the output of a depthwise convolution in floats.
struct FloatLine {
  const float* input;
  const ConvGeometry& g;
  const DepthwiseFloatWeights& weights;
  const FloatGemmOutput& output;
  Line line;
  std::ptrdiff_t first_output;

  // kTilePixels pixels from x on, of kVectors times four channels from `channel` on, of which `count` exist.
  template <class Isa, int kTilePixels, int kVectors>
  void tile(int x, TapRange kx, int channel, int count) const {
    const v128_t lo = wasm_f32x4_splat(output.lo);
    const v128_t hi = wasm_f32x4_splat(output.hi);
    v128_t c[kTilePixels][kVectors];
    unroll<kVectors>([&](auto v) {
      v128_t bias = wasm_f32x4_splat(0);
      if (output.bias != nullptr) {
        const int left = std::min(count - v * kFloatBlock, kFloatBlock);
        bias = load_bytes(output.bias + channel + v * kFloatBlock,
                          static_cast<std::size_t>(left) * sizeof(float));
      }
      unroll<kTilePixels>([&](auto p) { c[p][v] = bias; });
    });
    float_tile<Isa>(input + channel, line, x, kx, g.kernel_width, g.taps(),
                    weights.taps + std::ptrdiff_t{channel} * g.taps(), c);
    unroll<kTilePixels>([&](auto p) {
      float* y = output.data + first_output + (x + p) * output.rows.stride + channel;
      unroll<kVectors>([&](auto v) {
        const v128_t value = wasm_f32x4_pmin(wasm_f32x4_pmax(c[p][v], lo), hi);
        const int left = count - v * kFloatBlock;
        if (left >= kFloatBlock) {
          wasm_v128_store(y + v * kFloatBlock, value);
        } else {
          store_bytes(y + v * kFloatBlock, value, static_cast<std::size_t>(left) * sizeof(float));
        }
      });
    });
  }

  // All channels of kTilePixels pixels from x on. A single pixel takes sixteen channels at a time, for enough
  // sums that do not wait for each other.
  template <class Isa, int kTilePixels>
  void pixels(int x, TapRange kx) const {
    int c = 0;
    if constexpr (kTilePixels == 1) {
      for (; c + 4 * kFloatBlock <= g.channels; c += 4 * kFloatBlock)
        tile<Isa, 1, 4>(x, kx, c, 4 * kFloatBlock);
    }
    for (; c + 2 * kFloatBlock <= g.channels; c += 2 * kFloatBlock) {
      tile<Isa, kTilePixels, 2>(x, kx, c, 2 * kFloatBlock);
    }
    for (; c < g.channels; c += kFloatBlock) {
      tile<Isa, kTilePixels, 1>(x, kx, c, std::min(kFloatBlock, g.channels - c));
    }
  }

  template <class Isa>
  void run() const {
    const TapRange all{0, g.kernel_width};
    int x = 0;
    for (; x < line.inner_begin; ++x) pixels<Isa, 1>(x, kx_of(g, x));
    for (; x + kPixels <= line.inner_end; x += kPixels) pixels<Isa, kPixels>(x, all);
    for (; x < g.out_width; ++x) pixels<Isa, 1>(x, kx_of(g, x));
  }
};

void scalar_float(const float* input, const ConvGeometry& g, const DepthwiseFloatWeights& weights,
                  const FloatGemmOutput& output, int index) {
  const Line line = line_of(g, index);
  for (int x = 0; x < g.out_width; ++x) {
    const TapRange kx = kx_of(g, x);
    for (int c = 0; c < g.channels; ++c) {
      const float* w =
          weights.taps + (c / kFloatBlock) * std::ptrdiff_t{kFloatBlock} * g.taps() + c % kFloatBlock;
      float sum = output.bias != nullptr ? output.bias[c] : 0.0F;
      for (int ky = line.ky.begin; ky < line.ky.end; ++ky) {
        for (int i = kx.begin; i < kx.end; ++i) {
          sum += input[line.input + ky * line.tap_line + x * line.pixel_step + i * line.tap_pixel + c] *
                 w[(ky * g.kernel_width + i) * kFloatBlock];
        }
      }
      sum = sum < output.lo ? output.lo : sum;
      output.data[(std::ptrdiff_t{index} * g.out_width + x) * output.rows.stride + c] =
          output.hi < sum ? output.hi : sum;
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------
// Integers
//
// Taps are multiplied in pairs along a line. The pairs are made once: each input line becomes, for eight
// channels, a line of pairs, in which every pixel stands interleaved with the one a dilation further on,
// widened to 16 bits, less the zero point, with the padding as zeros. All output lines and taps that see the
// pixel read it from there, and the inner loop has neither edges nor widening. The last tap of an odd kernel
// is paired with a weight of zero.

struct PairLines {
  int step = 1;    // in pixels, between the pairs that are kept: no output sees the others
  int pixels = 0;  // of a line, with padding
  int pairs = 0;   // of a line

  explicit PairLines(const ConvGeometry& g) {
    step = std::gcd(g.stride_width, 2 * g.dilation_width);
    pixels = (g.out_width - 1) * g.stride_width + 2 * tap_pairs(g) * g.dilation_width;
    pairs = (pixels - g.dilation_width + step - 1) / step;
  }
  std::size_t line_elements() const { return std::size_t{2} * kInt8Block * pairs; }
  std::uint64_t bytes(int lines) const {
    const std::uint64_t elements = std::uint64_t{2} * kInt8Block * pairs;
    return (lines * elements + std::uint64_t{kInt8Block} * pixels) * sizeof(std::int16_t);
  }
};

inline v128_t interleave_low(v128_t a, v128_t b) {
  return wasm_i16x8_shuffle(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}
inline v128_t interleave_high(v128_t a, v128_t b) {
  return wasm_i16x8_shuffle(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}

// Makes a line of pairs from an input line; `pixels` is room for the widened line.
template <bool kSigned>
void make_pairs(const std::uint8_t* line, std::int32_t zero_point, const ConvGeometry& g,
                const PairLines& shape, std::int16_t* pixels, std::int16_t* pairs) {
  const v128_t zero = wasm_i32x4_splat(0);
  const v128_t point = wasm_i16x8_splat(static_cast<std::int16_t>(zero_point));
  const auto widen = [&](const std::uint8_t* from) {
    return wasm_i16x8_sub(kSigned ? wasm_i16x8_load8x8(from) : wasm_u16x8_load8x8(from), point);
  };
  const auto store = [&](v128_t a, v128_t b) {
    wasm_v128_store(pairs, interleave_low(a, b));
    wasm_v128_store(pairs + 8, interleave_high(a, b));
    pairs += 2 * kInt8Block;
  };
  const int begin = std::clamp(g.pad_left, 0, shape.pixels);
  const int end = std::clamp(g.in_width + g.pad_left, begin, shape.pixels);
  const std::uint8_t* from = line + (begin - g.pad_left) * g.pixel_stride;

  if (shape.step == 1 && g.dilation_width == 1) {
    // The second of a pair is the first of the next.
    v128_t last = zero;
    for (int x = 0; x < shape.pixels; ++x) {
      v128_t pixel = zero;
      if (x >= begin && x < end) {
        pixel = widen(from);
        from += g.pixel_stride;
      }
      if (x > 0) store(last, pixel);
      last = pixel;
    }
    return;
  }
  std::int16_t* to = pixels;
  for (int x = 0; x < begin; ++x, to += kInt8Block) wasm_v128_store(to, zero);
  for (int x = begin; x < end; ++x, to += kInt8Block, from += g.pixel_stride)
    wasm_v128_store(to, widen(from));
  for (int x = end; x < shape.pixels; ++x, to += kInt8Block) wasm_v128_store(to, zero);
  const std::ptrdiff_t step = static_cast<std::ptrdiff_t>(shape.step) * kInt8Block;
  const std::ptrdiff_t partner = static_cast<std::ptrdiff_t>(g.dilation_width) * kInt8Block;
  for (int i = 0; i < shape.pairs; ++i, pixels += step)
    store(wasm_v128_load(pixels), wasm_v128_load(pixels + partner));
}

// Adds the products of a line of taps for kTilePixels output pixels of eight channels; `pixel` is the
// distance of neighbouring outputs, `tap` that of neighbouring pairs of taps.
template <int kTaps, int kTilePixels>
inline void multiply_pairs(const std::int16_t* x, std::ptrdiff_t pixel, std::ptrdiff_t tap, int taps,
                           const std::int16_t* w, v128_t (&c)[kTilePixels][2]) {
  const auto step = [&](const std::int16_t* from, const std::int16_t* weight) __attribute__((always_inline)) {
    const v128_t w_low = wasm_v128_load(weight);
    const v128_t w_high = wasm_v128_load(weight + 8);
    unroll<kTilePixels>([&](auto p) {
      c[p][0] = dot16_add(wasm_v128_load(from + p * pixel), w_low, c[p][0]);
      c[p][1] = dot16_add(wasm_v128_load(from + p * pixel + 8), w_high, c[p][1]);
    });
  };
  if constexpr (kTaps > 0) {
    unroll<kTaps>([&](auto i) { step(x + i * tap, w + i * 2 * kInt8Block); });
  } else {
#pragma clang loop unroll(disable)
    for (int i = 0; i < taps; ++i) step(x + i * tap, w + i * 2 * kInt8Block);
  }
}

// Output lines [begin, end) of eight channels. kTaps: pairs of taps in a line, where known. `store` takes the
// sums of an output pixel.
template <int kTaps, class Store>
void int8_channels(const Int8Input& input, const ConvGeometry& g, const std::int16_t* weights, int channel,
                   const std::int32_t* offsets, const RowLayout& rows, int begin, int end,
                   const PairLines& shape, const std::int16_t** tap_lines, std::int16_t* memory,
                   const Store& store) {
  const int taps = tap_pairs(g);
  const v128_t offset_low = wasm_v128_load(offsets + channel);
  const v128_t offset_high = wasm_v128_load(offsets + channel + 4);
  const std::ptrdiff_t pixel = static_cast<std::ptrdiff_t>(g.stride_width / shape.step) * 2 * kInt8Block;
  const std::ptrdiff_t tap = static_cast<std::ptrdiff_t>(2 * g.dilation_width / shape.step) * 2 * kInt8Block;
  std::int16_t* widened = memory;
  std::int16_t* ring = memory + static_cast<std::ptrdiff_t>(shape.pixels) * kInt8Block;
  const auto make = input.is_signed ? make_pairs<true> : make_pairs<false>;
  const auto make_line = [&](std::ptrdiff_t line, std::int16_t* to) {
    make(input.rows.data + line + channel, input.zero_point, g, shape, widened, to);
  };
  for_each_line(
      g, begin, end, ring, shape.line_elements(), tap_lines, make_line, [&](int index, TapRange ky) {
        const int lines_of_taps = ky.end - ky.begin;
        const std::int16_t* w = weights + ky.begin * taps * 2 * kInt8Block;
        const std::ptrdiff_t first_output = std::ptrdiff_t{index} * g.out_width * rows.stride + channel;
        const auto tile = [&](auto pixels, int x) {
          v128_t c[pixels][2];
          unroll<pixels>([&](auto p) {
            c[p][0] = offset_low;
            c[p][1] = offset_high;
          });
          for (int i = 0; i < lines_of_taps; ++i) {
            multiply_pairs<kTaps>(tap_lines[i] + x * pixel, pixel, tap, taps, w + i * taps * 2 * kInt8Block,
                                  c);
          }
          unroll<pixels>([&](auto p) { store(first_output + (x + p) * rows.stride, c[p][0], c[p][1]); });
        };
        int x = 0;
        for (; x + kPixels <= g.out_width; x += kPixels) tile(std::integral_constant<int, kPixels>{}, x);
        for (; x + 2 <= g.out_width; x += 2) tile(std::integral_constant<int, 2>{}, x);
        for (; x < g.out_width; ++x) tile(std::integral_constant<int, 1>{}, x);
      });
}

template <class Output>
void scalar_int8_line(const Int8Input& input, const ConvGeometry& g, const DepthwiseInt8Weights& weights,
                      const Output& output, int index) {
  const Line line = line_of(g, index);
  const int pairs = tap_pairs(g);
  for (int x = 0; x < g.out_width; ++x) {
    const TapRange kx = kx_of(g, x);
    for (int c = 0; c < g.channels; ++c) {
      const std::int16_t* w =
          weights.taps +
          static_cast<std::ptrdiff_t>(c / kInt8Block) * kInt8Block * g.kernel_height * pairs * 2 +
          c % kInt8Block * 2;
      std::int32_t sum = 0;
      for (int ky = line.ky.begin; ky < line.ky.end; ++ky) {
        for (int i = kx.begin; i < kx.end; ++i) {
          const std::uint8_t raw =
              input.rows.data[line.input + ky * line.tap_line + x * line.pixel_step + i * line.tap_pixel + c];
          const std::int32_t a = (input.is_signed ? static_cast<std::int8_t>(raw) : raw) - input.zero_point;
          sum = wrap_add(sum, a * w[(ky * pairs + i / 2) * 2 * kInt8Block + i % 2]);
        }
      }
      scalar_store(output, index * g.out_width + x, c, sum);
    }
  }
}

template <class Isa, class Output>
void int8_lines(const Int8Input& input, const ConvGeometry& g, const DepthwiseInt8Weights& weights,
                const Output& output, int line_begin, int line_end, void* scratch) {
  if constexpr (!Isa::kVector) {
    for (int i = line_begin; i < line_end; ++i) scalar_int8_line(input, g, weights, output, i);
  } else {
    if (g.out_width <= 0) return;
    const ColumnTerms terms = prepare_terms(output, 0, g.channels, scratch);
    const PairLines shape(g);
    auto* memory = static_cast<std::byte*>(scratch) + column_terms_bytes(g.channels);
    auto* tap_lines = reinterpret_cast<const std::int16_t**>(memory);
    memory += tap_lines_bytes(g);
    for (int channel = 0; channel < g.channels; channel += kInt8Block) {
      const std::int16_t* w =
          weights.taps + static_cast<std::ptrdiff_t>(channel) * g.kernel_height * tap_pairs(g) * 2;
      const Epilogue<Output> epilogue(output, terms);
      const auto columns = epilogue.columns(channel);
      const int count = std::min(kInt8Block, g.channels - channel);
      const auto store = [&](std::ptrdiff_t at, v128_t low, v128_t high) {
        epilogue.store(at, columns, count, low, high);
      };
      const auto run = [&](auto taps, const auto& store_sums) {
        int8_channels<taps>(input, g, w, channel, terms.offsets, output.rows, line_begin, line_end, shape,
                            tap_lines, reinterpret_cast<std::int16_t*>(memory), store_sums);
      };
      // Kernels of 3 and 5 between quantized edges are what networks have; all others share one loop.
      if constexpr (std::is_same_v<Output, QuantizedOutput>) {
        if (tap_pairs(g) == 2) {
          run(std::integral_constant<int, 2>{}, store);
          continue;
        }
        if (tap_pairs(g) == 3) {
          run(std::integral_constant<int, 3>{}, store);
          continue;
        }
      }
      run(std::integral_constant<int, 0>{}, FunctionRef<void(std::ptrdiff_t, v128_t, v128_t)>(store));
    }
  }
}

}  // namespace

std::size_t packed_depthwise_float_bytes(const ConvGeometry& g) {
  return round_up(g.channels, kFloatBlock) * g.taps() * sizeof(float) + kReadSlack;
}

DepthwiseFloatWeights pack_depthwise_float(const float* weights, const ConvGeometry& g, void* storage) {
  auto* packed = static_cast<float*>(storage);
  const int taps = g.taps();
  std::memset(packed, 0, packed_depthwise_float_bytes(g));
  for (int c = 0; c < g.channels; ++c) {
    float* block =
        packed + static_cast<std::ptrdiff_t>(c / kFloatBlock) * taps * kFloatBlock + c % kFloatBlock;
    for (int t = 0; t < taps; ++t)
      block[t * kFloatBlock] = weights[static_cast<std::ptrdiff_t>(c) * taps + t];
  }
  return {packed};
}

std::size_t packed_depthwise_int8_bytes(const ConvGeometry& g) {
  return round_up(g.channels, kInt8Block) * g.kernel_height * tap_pairs(g) * 2 * sizeof(std::int16_t);
}

DepthwiseInt8Weights pack_depthwise_int8(const ConvInt8Source& source, const ConvGeometry& g, void* storage) {
  auto* packed = static_cast<std::int16_t*>(storage);
  const int pairs = tap_pairs(g);
  std::memset(packed, 0, packed_depthwise_int8_bytes(g));
  std::ptrdiff_t index = 0;
  for (int c = 0; c < g.channels; ++c) {
    std::int16_t* block =
        packed + static_cast<std::ptrdiff_t>(c / kInt8Block) * kInt8Block * g.kernel_height * pairs * 2 +
        c % kInt8Block * 2;
    for (int y = 0; y < g.kernel_height; ++y) {
      for (int x = 0; x < g.kernel_width; ++x) {
        block[(y * pairs + x / 2) * 2 * kInt8Block + x % 2] = source.centred(index++, c);
      }
    }
  }
  return {packed};
}

std::uint64_t depthwise_int8_scratch_bytes(const ConvGeometry& g) {
  return column_terms_bytes(g.channels) + tap_lines_bytes(g) + PairLines(g).bytes(ring_lines(g));
}

template <class Isa>
void depthwise_float(const float* input, const ConvGeometry& g, const DepthwiseFloatWeights& weights,
                     const FloatGemmOutput& output, int line_begin, int line_end) {
  for (int i = line_begin; i < line_end; ++i) {
    if constexpr (!Isa::kVector) {
      scalar_float(input, g, weights, output, i);
    } else {
      const FloatLine line{
          input, g, weights, output, line_of(g, i), std::ptrdiff_t{i} * g.out_width * output.rows.stride};
      line.template run<Isa>();
    }
  }
}

template <class Isa>
void depthwise_int8(const Int8Input& input, const ConvGeometry& g, const DepthwiseInt8Weights& weights,
                    const QuantizedOutput& output, int line_begin, int line_end, void* scratch) {
  int8_lines<Isa>(input, g, weights, output, line_begin, line_end, scratch);
}
template <class Isa>
void depthwise_int8(const Int8Input& input, const ConvGeometry& g, const DepthwiseInt8Weights& weights,
                    const FloatOutput& output, int line_begin, int line_end, void* scratch) {
  int8_lines<Isa>(input, g, weights, output, line_begin, line_end, scratch);
}
template <class Isa>
void depthwise_int8(const Int8Input& input, const ConvGeometry& g, const DepthwiseInt8Weights& weights,
                    const Int32Output& output, int line_begin, int line_end, void* scratch) {
  int8_lines<Isa>(input, g, weights, output, line_begin, line_end, scratch);
}

#define ZP_INSTANTIATE(Isa)                                                                             \
  template void depthwise_float<Isa>(const float*, const ConvGeometry&, const DepthwiseFloatWeights&,   \
                                     const FloatGemmOutput&, int, int);                                 \
  template void depthwise_int8<Isa>(const Int8Input&, const ConvGeometry&, const DepthwiseInt8Weights&, \
                                    const QuantizedOutput&, int, int, void*);                           \
  template void depthwise_int8<Isa>(const Int8Input&, const ConvGeometry&, const DepthwiseInt8Weights&, \
                                    const FloatOutput&, int, int, void*);                               \
  template void depthwise_int8<Isa>(const Int8Input&, const ConvGeometry&, const DepthwiseInt8Weights&, \
                                    const Int32Output&, int, int, void*);
ZP_FOR_EACH_ISA(ZP_INSTANTIATE)
#undef ZP_INSTANTIATE

}  // namespace zp::kernels
