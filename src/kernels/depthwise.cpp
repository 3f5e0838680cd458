#include "kernels/depthwise.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "kernels/gemm_int8_epilogue.h"
#include "kernels/simd.h"

namespace zp::kernels {
namespace {

constexpr int kFloatBlock = 4;  // channels of a packed block
constexpr int kInt8Block = 8;
constexpr int kPixels =
    4;  // output pixels of a register tile: eight channels of four pixels are eight accumulators

int tap_pairs(const ConvGeometry& g) { return (g.kernel_width + 1) / 2; }

// Taps [begin, end) of one dimension that fall inside the input. The rest is padding, which adds nothing:
// padding is zero for floats and the zero point for integers, which are multiplied less their zero point.
struct TapRange {
  int begin = 0;
  int end = 0;
};

TapRange taps_inside(int first, int dilation, int taps, int size) {
  // first + t * dilation is in [0, size)
  TapRange range;
  range.begin = first >= 0 ? 0 : std::min((-first + dilation - 1) / dilation, taps);
  range.end = first >= size ? 0 : std::min((size - first + dilation - 1) / dilation, taps);
  range.end = std::max(range.end, range.begin);
  return range;
}

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

// Calls `tile.operator()<pixels>(x, kx)` for all pixels of a line: one at a time at the edges, kPixels
// within.
template <class Tile>
void for_each_tile(const ConvGeometry& g, const Line& line, const Tile& tile) {
  for (int x = 0; x < line.inner_begin; ++x) tile.template operator()<1>(x, kx_of(g, x));
  const TapRange all{0, g.kernel_width};
  int x = line.inner_begin;
  for (; x + kPixels <= line.inner_end; x += kPixels) tile.template operator()<kPixels>(x, all);
  for (; x < line.inner_end; ++x) tile.template operator()<1>(x, all);
  for (; x < g.out_width; ++x) tile.template operator()<1>(x, kx_of(g, x));
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
    for (int i = kx.begin; i < kx.end; ++i) {
      for (int v = 0; v < kVectors; ++v) {
        const v128_t wv = wasm_v128_load(weight + v * taps * kFloatBlock);
        for (int p = 0; p < kTilePixels; ++p) {
          c[p][v] = madd<Isa>(wasm_v128_load(from + p * line.pixel_step + v * kFloatBlock), wv, c[p][v]);
        }
      }
      from += line.tap_pixel;
      weight += kFloatBlock;
    }
  }
}

template <class Isa, int kVectors>
void float_channels(const float* input, const ConvGeometry& g, const Line& line, const float* w,
                    const FloatGemmOutput& output, int first_pixel, int channel, int count) {
  const v128_t lo = wasm_f32x4_splat(output.lo);
  const v128_t hi = wasm_f32x4_splat(output.hi);
  v128_t bias[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const std::size_t left = static_cast<std::size_t>(std::min(count - v * kFloatBlock, kFloatBlock));
    bias[v] = output.bias == nullptr
                  ? wasm_f32x4_splat(0)
                  : load_bytes(output.bias + channel + v * kFloatBlock, left * sizeof(float));
  }
  for_each_tile(g, line, [&]<int kTilePixels>(int x, TapRange kx) {
    v128_t c[kTilePixels][kVectors];
    for (int p = 0; p < kTilePixels; ++p) {
      for (int v = 0; v < kVectors; ++v) c[p][v] = bias[v];
    }
    float_tile<Isa>(input + channel, line, x, kx, g.kernel_width, g.taps(), w, c);
    for (int p = 0; p < kTilePixels; ++p) {
      float* y = output.data + (first_pixel + x + p) * output.rows.stride + channel;
      for (int v = 0; v < kVectors; ++v) {
        const v128_t value = wasm_f32x4_pmin(wasm_f32x4_pmax(c[p][v], lo), hi);
        const int left = count - v * kFloatBlock;
        if (left >= kFloatBlock) {
          wasm_v128_store(y + v * kFloatBlock, value);
        } else {
          store_bytes(y + v * kFloatBlock, value, static_cast<std::size_t>(left) * sizeof(float));
        }
      }
    }
  });
}

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
// Integers: taps are multiplied in pairs, widened to 16 bits and interleaved as the packed weights are.

struct Widen {
  bool is_signed;
  v128_t zero_point;

  v128_t operator()(const std::uint8_t* from) const {
    const v128_t wide = is_signed ? wasm_i16x8_load8x8(from) : wasm_u16x8_load8x8(from);
    return wasm_i16x8_sub(wide, zero_point);
  }
};

inline v128_t interleave_low(v128_t a, v128_t b) {
  return wasm_i16x8_shuffle(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}
inline v128_t interleave_high(v128_t a, v128_t b) {
  return wasm_i16x8_shuffle(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}

template <int kTilePixels>
inline void int8_tile(const std::uint8_t* input, Widen widen, const Line& line, int x, TapRange kx, int pairs,
                      const std::int16_t* w, v128_t (&c)[kTilePixels][2]) {
  const v128_t zero = wasm_i32x4_splat(0);
  for (int ky = line.ky.begin; ky < line.ky.end; ++ky) {
    const std::ptrdiff_t start = line.input + ky * line.tap_line + x * line.pixel_step;
    const std::int16_t* weight = w + (ky * pairs + kx.begin / 2) * 2 * kInt8Block;
    for (int i = kx.begin & ~1; i < kx.end; i += 2, weight += 2 * kInt8Block) {
      const v128_t w_low = wasm_v128_load(weight);
      const v128_t w_high = wasm_v128_load(weight + 8);
      const bool first = i >= kx.begin;
      const bool second = i + 1 < kx.end;
      for (int p = 0; p < kTilePixels; ++p) {
        const std::uint8_t* from = input + (start + i * line.tap_pixel + p * line.pixel_step);
        const v128_t a = first ? widen(from) : zero;
        const v128_t b = second ? widen(from + line.tap_pixel) : zero;
        c[p][0] = dot16_add(interleave_low(a, b), w_low, c[p][0]);
        c[p][1] = dot16_add(interleave_high(a, b), w_high, c[p][1]);
      }
    }
  }
}

template <class Output>
void int8_line(const Int8Input& input, const ConvGeometry& g, const DepthwiseInt8Weights& weights,
               const ColumnTerms& terms, const Epilogue<Output>& epilogue, int index) {
  const Line line = line_of(g, index);
  const Widen widen{input.is_signed, wasm_i16x8_splat(static_cast<std::int16_t>(input.zero_point))};
  const int pairs = tap_pairs(g);
  const int first_pixel = index * g.out_width;
  for (int channel = 0; channel < g.channels; channel += kInt8Block) {
    const int count = std::min(kInt8Block, g.channels - channel);
    const std::int16_t* w = weights.taps + static_cast<std::ptrdiff_t>(channel) * g.kernel_height * pairs * 2;
    const v128_t offset_low = wasm_v128_load(terms.offsets + channel);
    const v128_t offset_high = wasm_v128_load(terms.offsets + channel + 4);
    for_each_tile(g, line, [&]<int kTilePixels>(int x, TapRange kx) {
      v128_t c[kTilePixels][2];
      for (int p = 0; p < kTilePixels; ++p) {
        c[p][0] = offset_low;
        c[p][1] = offset_high;
      }
      int8_tile(input.rows.data + channel, widen, line, x, kx, pairs, w, c);
      for (int p = 0; p < kTilePixels; ++p) {
        epilogue.row(first_pixel + x + p, channel, channel, count, c[p][0], c[p][1]);
      }
    });
  }
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
    const ColumnTerms terms = prepare_terms(output, 0, g.channels, scratch);
    const Epilogue<Output> epilogue{output, terms};
    for (int i = line_begin; i < line_end; ++i) int8_line(input, g, weights, terms, epilogue, i);
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

DepthwiseInt8Weights pack_depthwise_int8(const DepthwiseInt8Source& source, const ConvGeometry& g,
                                         void* storage) {
  auto* packed = static_cast<std::int16_t*>(storage);
  const auto* weights = static_cast<const std::uint8_t*>(source.weights);
  const auto* points = static_cast<const std::uint8_t*>(source.zero_points);
  const auto value = [&](std::uint8_t raw) {
    return source.is_unsigned ? raw : static_cast<std::int8_t>(raw);
  };
  const int pairs = tap_pairs(g);
  std::memset(packed, 0, packed_depthwise_int8_bytes(g));
  for (int c = 0; c < g.channels; ++c) {
    std::int16_t* block =
        packed + static_cast<std::ptrdiff_t>(c / kInt8Block) * kInt8Block * g.kernel_height * pairs * 2 +
        c % kInt8Block * 2;
    const int point = source.zero_point_count == 0 ? 0 : value(points[source.zero_point_count == 1 ? 0 : c]);
    for (int y = 0; y < g.kernel_height; ++y) {
      for (int x = 0; x < g.kernel_width; ++x) {
        block[(y * pairs + x / 2) * 2 * kInt8Block + x % 2] =
            static_cast<std::int16_t>(value(*weights++) - point);
      }
    }
  }
  return {packed};
}

std::size_t depthwise_int8_scratch_bytes(const ConvGeometry& g) { return column_terms_bytes(g.channels); }

template <class Isa>
void depthwise_float(const float* input, const ConvGeometry& g, const DepthwiseFloatWeights& weights,
                     const FloatGemmOutput& output, int line_begin, int line_end) {
  for (int i = line_begin; i < line_end; ++i) {
    if constexpr (!Isa::kVector) {
      scalar_float(input, g, weights, output, i);
    } else {
      const Line line = line_of(g, i);
      const int first_pixel = i * g.out_width;
      int c = 0;
      for (; c + 2 * kFloatBlock <= g.channels; c += 2 * kFloatBlock) {
        float_channels<Isa, 2>(input, g, line, weights.taps + std::ptrdiff_t{c} * g.taps(), output,
                               first_pixel, c, 2 * kFloatBlock);
      }
      for (; c < g.channels; c += kFloatBlock) {
        float_channels<Isa, 1>(input, g, line, weights.taps + std::ptrdiff_t{c} * g.taps(), output,
                               first_pixel, c, std::min(kFloatBlock, g.channels - c));
      }
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

template void depthwise_float<Scalar>(const float*, const ConvGeometry&, const DepthwiseFloatWeights&,
                                      const FloatGemmOutput&, int, int);
template void depthwise_int8<Scalar>(const Int8Input&, const ConvGeometry&, const DepthwiseInt8Weights&,
                                     const QuantizedOutput&, int, int, void*);
template void depthwise_int8<Scalar>(const Int8Input&, const ConvGeometry&, const DepthwiseInt8Weights&,
                                     const FloatOutput&, int, int, void*);
template void depthwise_int8<Scalar>(const Int8Input&, const ConvGeometry&, const DepthwiseInt8Weights&,
                                     const Int32Output&, int, int, void*);
template void depthwise_float<Simd128>(const float*, const ConvGeometry&, const DepthwiseFloatWeights&,
                                       const FloatGemmOutput&, int, int);
template void depthwise_int8<Simd128>(const Int8Input&, const ConvGeometry&, const DepthwiseInt8Weights&,
                                      const QuantizedOutput&, int, int, void*);
template void depthwise_int8<Simd128>(const Int8Input&, const ConvGeometry&, const DepthwiseInt8Weights&,
                                      const FloatOutput&, int, int, void*);
template void depthwise_int8<Simd128>(const Int8Input&, const ConvGeometry&, const DepthwiseInt8Weights&,
                                      const Int32Output&, int, int, void*);
#if ZEROPOINT_HAS_RELAXED_KERNELS
template void depthwise_float<Relaxed>(const float*, const ConvGeometry&, const DepthwiseFloatWeights&,
                                       const FloatGemmOutput&, int, int);
template void depthwise_int8<Relaxed>(const Int8Input&, const ConvGeometry&, const DepthwiseInt8Weights&,
                                      const QuantizedOutput&, int, int, void*);
template void depthwise_int8<Relaxed>(const Int8Input&, const ConvGeometry&, const DepthwiseInt8Weights&,
                                      const FloatOutput&, int, int, void*);
template void depthwise_int8<Relaxed>(const Int8Input&, const ConvGeometry&, const DepthwiseInt8Weights&,
                                      const Int32Output&, int, int, void*);
#endif

}  // namespace zp::kernels
