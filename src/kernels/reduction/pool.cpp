#include "kernels/reduction/pool.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "kernels/elementwise/lanes.h"

namespace zp::kernels {
namespace {

// The taps of one output pixel that lie inside the input.
struct Window {
  int64_t first = 0;                      // element of the input
  std::array<int64_t, 3> count{1, 1, 1};  // of taps
  int64_t divisor = 1;                    // what a mean divides by
  std::array<int64_t, 3> at{0, 0, 0};     // position of the first tap

  int64_t taps() const { return count[0] * count[1] * count[2]; }
};

class Windows {
 public:
  explicit Windows(const PoolGeometry& g) : g_(g) {
    strides_ = {g.in[1] * g.in[2] * g.channels, g.in[2] * g.channels, g.channels};
    for (size_t d = 0; d < 3; ++d) steps_[d] = strides_[d] * g.dilation[d];
  }
  // Elements from one tap to the next.
  int64_t step(size_t d) const { return steps_[d]; }

  Window at(int64_t pixel) const {
    Window w;
    int64_t rest = pixel;
    int64_t counted = 1;
    for (size_t d = 3; d-- > 0;) {
      const int64_t start = rest % g_.out[d] * g_.stride[d] - g_.pad_begin[d];
      rest /= g_.out[d];
      const int64_t dilation = g_.dilation[d];
      const auto taps_before = [&](int64_t end) {  // taps at positions below `end`
        return std::clamp<int64_t>(end <= start ? 0 : (end - start - 1) / dilation + 1, 0, g_.kernel[d]);
      };
      const int64_t outside = taps_before(0);
      w.count[d] = std::max<int64_t>(0, taps_before(g_.in[d]) - outside);
      w.at[d] = start + outside * dilation;
      w.first += w.at[d] * strides_[d];
      counted *= g_.count_pads ? taps_before(g_.in[d] + g_.pad_end[d]) : w.count[d];
    }
    w.first += rest * g_.in[0] * strides_[0];  // the image
    w.divisor = std::max<int64_t>(1, counted);
    return w;
  }

 private:
  const PoolGeometry& g_;
  std::array<int64_t, 3> strides_{}, steps_{};
};

// Calls line(first tap, taps) for every line of a window, in pieces of at most `most` taps.
template <class T, class F>
void for_each_line(const T* in, const Windows& windows, const Window& w, int64_t most, F&& line) {
  for (int64_t d = 0; d < w.count[0]; ++d) {
    for (int64_t h = 0; h < w.count[1]; ++h) {
      const T* from = in + (w.first + d * windows.step(0) + h * windows.step(1));
      for (int64_t x = 0; x < w.count[2]; x += most)
        line(from + x * windows.step(2), std::min(most, w.count[2] - x));
    }
  }
}

constexpr int64_t kWholeLine = std::numeric_limits<int64_t>::max() / 2;

// ---- maximum

template <class T>
T lowest() {
  if constexpr (std::is_floating_point_v<T>) return -std::numeric_limits<T>::infinity();
  return std::numeric_limits<T>::min();
}

template <class T>
v128_t vector_max(v128_t a, v128_t x) {
  if constexpr (std::is_same_v<T, float>) {
    return wasm_f32x4_pmax(a, x);  // a < x ? x : a
  } else if constexpr (std::is_same_v<T, uint8_t>) {
    return wasm_u8x16_max(a, x);
  } else {
    return wasm_i8x16_max(a, x);
  }
}

template <class T>
v128_t splat(T value) {
  if constexpr (std::is_same_v<T, float>) {
    return wasm_f32x4_splat(value);
  } else {
    return wasm_i8x16_splat(static_cast<int8_t>(value));
  }
}

// Starts with the first tap, and goes over to one that is larger: so a NaN counts if it is the first.
template <class T, int kVectors>
void max_vectors(const T* in, const Windows& windows, const Window& w, v128_t* best) {
  constexpr int kLanes = 16 / sizeof(T);
  if (w.taps() == 0) {
    for (int i = 0; i < kVectors; ++i) best[i] = splat<T>(lowest<T>());
    return;
  }
  for (int i = 0; i < kVectors; ++i) best[i] = wasm_v128_load(in + w.first + i * kLanes);
  const int64_t step = windows.step(2);
  int64_t done = 1;  // taps of the first line
  for_each_line(in, windows, w, kWholeLine, [&](const T* from, int64_t taps) {
    from += done * step;
    for (int64_t x = done; x < taps; ++x, from += step)
      for (int i = 0; i < kVectors; ++i) best[i] = vector_max<T>(best[i], wasm_v128_load(from + i * kLanes));
    done = 0;
  });
}

}  // namespace

template <class Isa, class T>
void max_pool(const T* in, T* out, const PoolGeometry& g, const PoolRange& range) {
  const Windows windows(g);
  for (int64_t pixel = range.pixel_begin; pixel < range.pixel_end; ++pixel) {
    const Window w = windows.at(pixel);
    T* to = out + pixel * g.channels;
    int64_t c = range.channel_begin;
    if constexpr (Isa::kVector) {
      constexpr int64_t kLanes = 16 / sizeof(T);
      v128_t best[4];
      for (; c + 4 * kLanes <= range.channel_end; c += 4 * kLanes) {
        max_vectors<T, 4>(in + c, windows, w, best);
        for (int i = 0; i < 4; ++i) wasm_v128_store(to + c + i * kLanes, best[i]);
      }
      for (; c < range.channel_end; c += kLanes) {
        max_vectors<T, 1>(in + c, windows, w, best);
        store_bytes(to + c, best[0],
                    static_cast<size_t>(std::min(kLanes, range.channel_end - c)) * sizeof(T));
      }
    } else {
      for (; c < range.channel_end; ++c) {
        T best = w.taps() > 0 ? in[w.first + c] : lowest<T>();
        for_each_line(in + c, windows, w, kWholeLine, [&](const T* from, int64_t taps) {
          for (int64_t x = 0; x < taps; ++x)
            best = best < from[x * windows.step(2)] ? from[x * windows.step(2)] : best;
        });
        to[c] = best;
      }
    }
  }
}

void max_pool_indices(const float* in, float* out, int64_t* indices, bool column_major, const PoolGeometry& g,
                      const PoolRange& range) {
  const Windows windows(g);
  const int64_t image = g.in[0] * g.in[1] * g.in[2];
  for (int64_t pixel = range.pixel_begin; pixel < range.pixel_end; ++pixel) {
    const Window w = windows.at(pixel);
    float best = lowest<float>();
    int64_t where = -1;
    for (int64_t d = 0; d < w.count[0]; ++d) {
      for (int64_t h = 0; h < w.count[1]; ++h) {
        for (int64_t x = 0; x < w.count[2]; ++x) {
          const float value = in[w.first + d * windows.step(0) + h * windows.step(1) + x * windows.step(2)];
          if (where >= 0 && !(best < value)) continue;
          best = value;
          const int64_t pd = w.at[0] + d * g.dilation[0], ph = w.at[1] + h * g.dilation[1],
                        px = w.at[2] + x * g.dilation[2];
          where = column_major ? (px * g.in[1] + ph) * g.in[0] + pd : (pd * g.in[1] + ph) * g.in[2] + px;
        }
      }
    }
    out[pixel] = best;
    indices[pixel] = std::max<int64_t>(0, where) + pixel / (g.out[0] * g.out[1] * g.out[2]) * image;
  }
}

// ---- mean of floats

namespace {

constexpr int64_t kFloatLine = 64;

template <int kVectors>
void sum_vectors(const float* in, const Windows& windows, const Window& w, v128_t* total) {
  for (int i = 0; i < kVectors; ++i) total[i] = wasm_f32x4_splat(0);
  const int64_t step = windows.step(2);
  for_each_line(in, windows, w, kFloatLine, [&](const float* from, int64_t taps) {
    v128_t line[kVectors];
    for (int i = 0; i < kVectors; ++i) line[i] = wasm_v128_load(from + i * 4);
    for (int64_t x = 1; x < taps; ++x) {
      from += step;
      for (int i = 0; i < kVectors; ++i) line[i] = wasm_f32x4_add(line[i], wasm_v128_load(from + i * 4));
    }
    for (int i = 0; i < kVectors; ++i) total[i] = wasm_f32x4_add(total[i], line[i]);
  });
}

}  // namespace

template <class Isa>
void average_pool(const float* in, float* out, const PoolGeometry& g, const PoolRange& range) {
  const Windows windows(g);
  for (int64_t pixel = range.pixel_begin; pixel < range.pixel_end; ++pixel) {
    const Window w = windows.at(pixel);
    const auto divisor = static_cast<float>(w.divisor);
    float* to = out + pixel * g.channels;
    int64_t c = range.channel_begin;
    if constexpr (Isa::kVector) {
      v128_t total[4];
      const v128_t divisors = wasm_f32x4_splat(divisor);
      for (; c + 16 <= range.channel_end; c += 16) {
        sum_vectors<4>(in + c, windows, w, total);
        for (int i = 0; i < 4; ++i) wasm_v128_store(to + c + i * 4, wasm_f32x4_div(total[i], divisors));
      }
      for (; c < range.channel_end; c += 4) {
        sum_vectors<1>(in + c, windows, w, total);
        store_bytes(to + c, wasm_f32x4_div(total[0], divisors),
                    static_cast<size_t>(std::min<int64_t>(4, range.channel_end - c)) * sizeof(float));
      }
    } else {
      for (; c < range.channel_end; ++c) {
        float total = 0;
        for_each_line(in + c, windows, w, kFloatLine, [&](const float* from, int64_t taps) {
          float line = from[0];
          for (int64_t x = 1; x < taps; ++x) line += from[x * windows.step(2)];
          total += line;
        });
        to[c] = total / divisor;
      }
    }
  }
}

void lp_pool(const float* in, float* out, int64_t p, const PoolGeometry& g, const PoolRange& range) {
  const Windows windows(g);
  const auto power = static_cast<float>(p);
  for (int64_t pixel = range.pixel_begin; pixel < range.pixel_end; ++pixel) {
    const Window w = windows.at(pixel);
    for (int64_t c = range.channel_begin; c < range.channel_end; ++c) {
      float total = 0;
      for_each_line(in + c, windows, w, kWholeLine, [&](const float* from, int64_t taps) {
        for (int64_t x = 0; x < taps; ++x) {
          const float value = from[x * windows.step(2)];
          total += p == 1 ? std::fabs(value) : p == 2 ? value * value : std::pow(std::fabs(value), power);
        }
      });
      out[pixel * g.channels + c] = p == 1 ? total : p == 2 ? std::sqrt(total) : std::pow(total, 1 / power);
    }
  }
}

// ---- mean of quantized values

namespace {

// 128 values of 8 bits fit a sum of 16.
constexpr int64_t kByteLine = 128;

// Sums of 16 channels in four vectors of int32, starting from `start`, of bytes with some bits flipped.
void sum_bytes(const uint8_t* in, uint8_t flip, const Windows& windows, const Window& w, int32_t start,
               v128_t* total) {
  for (int i = 0; i < 4; ++i) total[i] = wasm_i32x4_splat(start);
  const int64_t step = windows.step(2);
  const v128_t flips = wasm_i8x16_splat(static_cast<int8_t>(flip));
  for_each_line(in, windows, w, kByteLine, [&](const uint8_t* from, int64_t taps) {
    v128_t low = wasm_i16x8_splat(0), high = low;
    for (int64_t x = 0; x < taps; ++x, from += step) {
      const v128_t values = wasm_v128_xor(wasm_v128_load(from), flips);
      low = wasm_i16x8_add(low, wasm_u16x8_extend_low_u8x16(values));
      high = wasm_i16x8_add(high, wasm_u16x8_extend_high_u8x16(values));
    }
    total[0] = wasm_i32x4_add(total[0], wasm_u32x4_extend_low_u16x8(low));
    total[1] = wasm_i32x4_add(total[1], wasm_u32x4_extend_high_u16x8(low));
    total[2] = wasm_i32x4_add(total[2], wasm_u32x4_extend_low_u16x8(high));
    total[3] = wasm_i32x4_add(total[3], wasm_u32x4_extend_high_u16x8(high));
  });
}

}  // namespace

template <class Isa>
void average_pool_quantized(const void* input, DType in_type, void* output, DType out_type,
                            const PoolGeometry& g, const PoolQuantization& q, const PoolRange& range) {
  const auto* in = static_cast<const uint8_t*>(input);
  const bool floats = out_type == DType::kFloat32;
  // Signed bytes are read as unsigned ones, 128 higher, like their zero point.
  const uint8_t flip = in_type == DType::kInt8 ? 0x80 : 0;
  const Windows windows(g);
  const VectorRequantizer requantizer(q.output);
  for (int64_t pixel = range.pixel_begin; pixel < range.pixel_end; ++pixel) {
    const Window w = windows.at(pixel);
    const float multiplier = q.in_scale / (q.out_scale * static_cast<float>(w.divisor));
    // The pads are zero, not the zero point: only taps inside the input bring it in.
    const auto start = -static_cast<int32_t>(w.taps() * (q.in_zero_point + flip));
    uint8_t* bytes_to = static_cast<uint8_t*>(output) + pixel * g.channels;
    float* floats_to = static_cast<float*>(output) + pixel * g.channels;
    int64_t c = range.channel_begin;
    if constexpr (Isa::kVector) {
      const v128_t multipliers = wasm_f32x4_splat(multiplier);
      for (; c < range.channel_end; c += 16) {
        v128_t total[4];
        sum_bytes(in + c, flip, windows, w, start, total);
        const int64_t left = std::min<int64_t>(16, range.channel_end - c);
        if (floats) {
          for (int64_t i = 0; i * 4 < left; ++i) {
            store_bytes(floats_to + c + i * 4,
                        wasm_f32x4_mul(wasm_f32x4_convert_i32x4(total[i]), multipliers),
                        static_cast<size_t>(std::min<int64_t>(4, left - i * 4)) * sizeof(float));
          }
        } else {
          for (v128_t& t : total) t = requantizer(t, multipliers);
          const v128_t low = wasm_i16x8_narrow_i32x4(total[0], total[1]);
          const v128_t high = wasm_i16x8_narrow_i32x4(total[2], total[3]);
          const v128_t bytes = out_type == DType::kUint8 ? wasm_u8x16_narrow_i16x8(low, high)
                                                         : wasm_i8x16_narrow_i16x8(low, high);
          store_bytes(bytes_to + c, bytes, static_cast<size_t>(left));
        }
      }
    } else {
      for (; c < range.channel_end; ++c) {
        int32_t total = start;
        for_each_line(in + c, windows, w, kByteLine, [&](const uint8_t* from, int64_t taps) {
          for (int64_t x = 0; x < taps; ++x) total += from[x * windows.step(2)] ^ flip;
        });
        if (floats) {
          floats_to[c] = static_cast<float>(total) * multiplier;
        } else {
          bytes_to[c] = static_cast<uint8_t>(requantize(total, multiplier, q.output));
        }
      }
    }
  }
}

// ---- for every instruction set

#define ZP_INSTANTIATE(Isa)                                                                        \
  template void max_pool<Isa>(const float*, float*, const PoolGeometry&, const PoolRange&);        \
  template void max_pool<Isa>(const uint8_t*, uint8_t*, const PoolGeometry&, const PoolRange&);    \
  template void max_pool<Isa>(const int8_t*, int8_t*, const PoolGeometry&, const PoolRange&);      \
  template void average_pool<Isa>(const float*, float*, const PoolGeometry&, const PoolRange&);    \
  template void average_pool_quantized<Isa>(const void*, DType, void*, DType, const PoolGeometry&, \
                                            const PoolQuantization&, const PoolRange&);
ZP_FOR_EACH_ISA(ZP_INSTANTIATE)
#undef ZP_INSTANTIATE

// ---- gradients

namespace {

// Calls f(output pixel, window, first elements of its taps one by one) with dx zeroed before.
template <class F>
void for_windows(const PoolGeometry& g, float* dx, const PoolGradientRange& range, F&& f) {
  const int64_t in = g.in[0] * g.in[1] * g.in[2], out = g.out[0] * g.out[1] * g.out[2];
  const int64_t channels = range.channel_end - range.channel_begin;
  for (int64_t p = range.image_begin * in; p < range.image_end * in; ++p)
    std::fill_n(dx + p * g.channels + range.channel_begin, channels, 0.0f);
  const Windows windows(g);
  for (int64_t p = range.image_begin * out; p < range.image_end * out; ++p) {
    const Window w = windows.at(p);
    f(p, w, [&](auto&& tap) {
      for (int64_t i = 0; i < w.count[0]; ++i)
        for (int64_t j = 0; j < w.count[1]; ++j)
          for (int64_t k = 0; k < w.count[2]; ++k)
            tap(w.first + i * windows.step(0) + j * windows.step(1) + k * windows.step(2));
    });
  }
}

}  // namespace

void max_pool_gradient(const float* x, const float* y, const float* dy, float* dx, const PoolGeometry& g,
                       const PoolGradientRange& range) {
  using L = Lanes<Best>;
  const L::Float zero = L::splat(0.0f);
  for_windows(g, dx, range, [&](int64_t pixel, const Window&, auto&& taps) {
    for (int64_t c = range.channel_begin; c < range.channel_end; c += static_cast<int64_t>(L::kCount)) {
      const size_t n = std::min(static_cast<size_t>(range.channel_end - c), L::kCount);
      const L::Float top = L::load(y + pixel * g.channels + c);
      L::Float open = L::load(dy + pixel * g.channels + c);  // what has not found its tap yet
      taps([&](int64_t at) {
        const auto here = L::equal(L::load(x + at + c), top);
        float* to = dx + at + c;
        // Behind the last channel may be one of another thread's.
        const L::Float before = n < L::kCount ? L::load_some(to, n) : L::load(to);
        L::store_some(to, L::add(before, L::select(here, open, zero)), n);
        open = L::select(here, zero, open);
      });
    }
  });
}

void average_pool_gradient(const float* dy, float* dx, const PoolGeometry& g,
                           const PoolGradientRange& range) {
  for_windows(g, dx, range, [&](int64_t pixel, const Window& w, auto&& taps) {
    const float* from = dy + pixel * g.channels;
    const float factor = 1.0f / static_cast<float>(w.divisor);
    taps([&](int64_t at) {
      for (int64_t c = range.channel_begin; c < range.channel_end; ++c) dx[at + c] += from[c] * factor;
    });
  });
}

}  // namespace zp::kernels
