#include "kernels/movement/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels/simd.h"

namespace zp::kernels {
namespace {

template <size_t kBytes>
void copy_blocks(const std::byte* in, std::byte* out, const int64_t* from, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    std::memcpy(out + i * static_cast<int64_t>(kBytes), in + from[i], kBytes);
}

}  // namespace

NearestPlan::NearestPlan(std::span<const NearestAxis> axes, size_t element_bytes) {
  block_bytes_ = element_bytes;
  size_t last = axes.size();
  while (last > 0 && axes[last - 1].from.empty()) block_bytes_ *= static_cast<size_t>(axes[--last].in);
  auto in_stride = static_cast<int64_t>(block_bytes_), out_stride = in_stride;
  std::vector<Axis> innermost_first;
  for (size_t i = last; i-- > 0;) {
    const NearestAxis& axis = axes[i];
    Axis a{axis.from, out_stride, axis.from.empty()};
    if (a.kept) {
      a.from.resize(static_cast<size_t>(axis.in));
      for (size_t j = 0; j < a.from.size(); ++j) a.from[j] = static_cast<int64_t>(j);
    }
    for (int64_t& f : a.from) f *= in_stride;
    in_stride *= axis.in;
    out_stride *= static_cast<int64_t>(a.from.size());
    // An axis of one element that stays one is nothing; the innermost is kept as something to run over.
    if (a.from.size() != 1 || a.from[0] != 0 || innermost_first.empty())
      innermost_first.push_back(std::move(a));
  }
  if (innermost_first.empty()) innermost_first.push_back({{0}, static_cast<int64_t>(block_bytes_), true});
  axes_.assign(std::make_move_iterator(innermost_first.rbegin()),
               std::make_move_iterator(innermost_first.rend()));
  outer_ = static_cast<int64_t>(axes_[0].from.size());
  outer_bytes_ = axes_[0].out_stride;
}

void NearestPlan::level(size_t at, const std::byte* in, std::byte* out, int64_t begin, int64_t end) const {
  const Axis& axis = axes_[at];
  const int64_t* from = axis.from.data();
  if (at + 1 == axes_.size()) {
    out += begin * axis.out_stride;
    from += begin;
    switch (block_bytes_) {
      case 1:
        return copy_blocks<1>(in, out, from, end - begin);
      case 2:
        return copy_blocks<2>(in, out, from, end - begin);
      case 4:
        return copy_blocks<4>(in, out, from, end - begin);
      case 8:
        return copy_blocks<8>(in, out, from, end - begin);
      case 16:
        return copy_blocks<16>(in, out, from, end - begin);
      case 32:
        return copy_blocks<32>(in, out, from, end - begin);
      default:
        for (int64_t i = 0; i < end - begin; ++i)
          std::memcpy(out + i * axis.out_stride, in + from[i], block_bytes_);
        return;
    }
  }
  const auto next = static_cast<int64_t>(axes_[at + 1].from.size());
  for (int64_t i = begin; i < end; ++i) {
    std::byte* to = out + i * axis.out_stride;
    if (i > begin && from[i] == from[i - 1]) {
      std::memcpy(to, to - axis.out_stride, static_cast<size_t>(axis.out_stride));  // the same line again
    } else {
      level(at + 1, in + from[i], to, 0, next);
    }
  }
}

void NearestPlan::run(const std::byte* in, std::byte* out, int64_t begin, int64_t end) const {
  if (begin < end) level(0, in, out, begin, end);
}

// ---- weighted sums

namespace {

template <class Out>
Out to_output(float x, bool cut) {
  if constexpr (std::is_same_v<Out, float>) {
    return x;
  } else {
    constexpr auto kLow = static_cast<float>(std::numeric_limits<Out>::min());
    constexpr auto kHigh = static_cast<float>(std::numeric_limits<Out>::max());
    const float bounded = x > kLow ? std::min(x, kHigh) : kLow;
    return static_cast<Out>(cut ? bounded : std::nearbyint(bounded));
  }
}

// The part of a row that vectors can do; how many elements that was.
template <int kTaps>
int64_t weigh_vectors(const float* in, float* out, const int64_t* from, const float* weights, int64_t taps,
                      int64_t inner) {
  const int64_t count = kTaps ? kTaps : taps;
  int64_t i = 0;
  for (; i + 4 <= inner; i += 4) {
    v128_t sum = wasm_f32x4_mul(wasm_v128_load(in + from[0] * inner + i), wasm_f32x4_splat(weights[0]));
    for (int64_t k = 1; k < count; ++k) {
      sum = wasm_f32x4_add(
          sum, wasm_f32x4_mul(wasm_v128_load(in + from[k] * inner + i), wasm_f32x4_splat(weights[k])));
    }
    wasm_v128_store(out + i, sum);
  }
  return i;
}

}  // namespace

template <class Isa, class In, class Out>
void weigh_along(const In* in, Out* out, const WeightedAxis& axis, int64_t inner, int64_t begin,
                 int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t at = row % axis.out;
    const In* source = in + row / axis.out * axis.in * inner;
    Out* to = out + row * inner;
    const int64_t* from = axis.from.data() + at * axis.taps;
    const float* weights = axis.weights.data() + at * axis.taps;
    int64_t i = 0;
    if constexpr (Isa::kVector && std::is_same_v<In, float> && std::is_same_v<Out, float>) {
      i = axis.taps == 2 ? weigh_vectors<2>(source, to, from, weights, 2, inner)
                         : weigh_vectors<0>(source, to, from, weights, axis.taps, inner);
    }
    for (; i < inner; ++i) {
      float sum = static_cast<float>(source[from[0] * inner + i]) * weights[0];
      for (int64_t k = 1; k < axis.taps; ++k)
        sum += static_cast<float>(source[from[k] * inner + i]) * weights[k];
      to[i] = to_output<Out>(sum, axis.cut);
    }
  }
}

#define ZP_INSTANTIATE(Isa)                                                                                 \
  template void weigh_along<Isa>(const float*, float*, const WeightedAxis&, int64_t, int64_t, int64_t);     \
  template void weigh_along<Isa>(const uint8_t*, float*, const WeightedAxis&, int64_t, int64_t, int64_t);   \
  template void weigh_along<Isa>(const int8_t*, float*, const WeightedAxis&, int64_t, int64_t, int64_t);    \
  template void weigh_along<Isa>(const float*, uint8_t*, const WeightedAxis&, int64_t, int64_t, int64_t);   \
  template void weigh_along<Isa>(const float*, int8_t*, const WeightedAxis&, int64_t, int64_t, int64_t);    \
  template void weigh_along<Isa>(const uint8_t*, uint8_t*, const WeightedAxis&, int64_t, int64_t, int64_t); \
  template void weigh_along<Isa>(const int8_t*, int8_t*, const WeightedAxis&, int64_t, int64_t, int64_t);
ZP_FOR_EACH_ISA(ZP_INSTANTIATE)
#undef ZP_INSTANTIATE

}  // namespace zp::kernels
