#include "kernels/reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "kernels/elementwise_math.h"

namespace zp::kernels {

std::optional<ReduceShape> ReduceShape::of(std::span<const int64_t> dims, std::span<const bool> reduced) {
  ReduceShape s;
  int64_t stride = 1;
  int last = -1;  // kind of the dimension before (further in): 0 kept, 1 reduced
  const auto push = [](Dims& d, int64_t extent, int64_t step, bool merge) {
    if (merge) {
      d.extent[d.count - 1] *= extent;
      return true;
    }
    if (d.count == kMaxDims) return false;
    d.extent[d.count] = extent;
    d.stride[d.count++] = step;
    return true;
  };
  for (size_t i = dims.size(); i-- > 0;) {
    if (dims[i] == 1) continue;
    const int kind = reduced[i] ? 1 : 0;
    if (!push(kind ? s.reduced : s.kept, dims[i], stride, kind == last)) return std::nullopt;
    last = kind;
    stride *= dims[i];
  }
  for (Dims* d : {&s.kept, &s.reduced}) {
    std::reverse(d->extent.begin(), d->extent.begin() + static_cast<std::ptrdiff_t>(d->count));
    std::reverse(d->stride.begin(), d->stride.begin() + static_cast<std::ptrdiff_t>(d->count));
  }
  return s;
}

namespace {

// Calls f(offset) for each index of the first `count` dimensions.
template <class F>
void for_each_offset(const ReduceShape::Dims& d, size_t count, F&& f) {
  std::array<int64_t, ReduceShape::kMaxDims> at = {};
  int64_t offset = 0;
  for (size_t i = 0; i < count; ++i)
    if (d.extent[i] == 0) return;
  for (;;) {
    f(offset);
    size_t i = count;
    for (; i-- > 0;) {
      offset += d.stride[i];
      if (++at[i] < d.extent[i]) break;
      offset -= d.extent[i] * d.stride[i];
      at[i] = 0;
    }
    if (i == static_cast<size_t>(-1)) return;
  }
}

int64_t kept_offset(const ReduceShape::Dims& kept, int64_t index) {
  int64_t offset = 0;
  for (size_t d = kept.count; d-- > 0;) {
    offset += index % kept.extent[d] * kept.stride[d];
    index /= kept.extent[d];
  }
  return offset;
}

// y = finish(fold of map(x)) for output elements [begin, end). `map` and `fold` take lanes of Isa and of
// Scalar alike.
template <class Isa, class Map, class Fold, class Finish>
void reduce_with(const ReduceShape& s, const float* x, float* y, int64_t begin, int64_t end, float start,
                 Map map, Fold fold, Finish finish) {
  using L = Lanes<Isa>;
  using One = Lanes<Scalar>;
  const ReduceShape::Dims &kept = s.kept, &reduced = s.reduced;
  if (kept.count > 0 && kept.stride[kept.count - 1] == 1) {
    // The innermost dimension is kept: a few vectors of neighbouring outputs at a time.
    constexpr size_t kVectors = 8;
    constexpr auto kBlock = static_cast<int64_t>(kVectors * L::kCount);
    const int64_t inner = kept.extent[kept.count - 1];
    while (begin < end) {
      const int64_t count = std::min({kBlock, end - begin, inner - begin % inner});
      const float* from = x + kept_offset(kept, begin);
      typename L::Float acc[kVectors];
      for (auto& a : acc) a = L::splat(start);
      const size_t full = static_cast<size_t>(count) / L::kCount,
                   rest = static_cast<size_t>(count) % L::kCount;
      for_each_offset(reduced, reduced.count, [&](int64_t offset) {
        const float* p = from + offset;
        for (size_t v = 0; v < full; ++v, p += L::kCount) acc[v] = fold(L(), acc[v], map(L(), L::load(p)));
        if (rest) acc[full] = fold(L(), acc[full], map(L(), L::load_some(p, rest)));
      });
      float results[static_cast<size_t>(kBlock)];
      for (size_t v = 0; v < kVectors; ++v) L::store(results + v * L::kCount, acc[v]);
      for (int64_t i = 0; i < count; ++i) y[begin + i] = finish(results[i]);
      begin += count;
    }
    return;
  }
  const bool rows = reduced.count > 0 && reduced.stride[reduced.count - 1] == 1;
  const auto length = static_cast<size_t>(rows ? reduced.extent[reduced.count - 1] : 1);
  for (; begin < end; ++begin) {
    const float* from = x + kept_offset(kept, begin);
    typename L::Float even = L::splat(start), odd = even;
    float total = start;
    for_each_offset(reduced, rows ? reduced.count - 1 : reduced.count, [&](int64_t offset) {
      const float* p = from + offset;
      size_t i = 0;
      for (; i + 2 * L::kCount <= length; i += 2 * L::kCount) {
        even = fold(L(), even, map(L(), L::load(p + i)));
        odd = fold(L(), odd, map(L(), L::load(p + i + L::kCount)));
      }
      for (; i < length; ++i) total = fold(One(), total, map(One(), p[i]));
    });
    float lanes[L::kCount];
    L::store(lanes, fold(L(), even, odd));
    for (float v : lanes) total = fold(One(), total, v);
    y[begin] = finish(total);
  }
}

// The logarithm of the sum of exponentials, shifted by the maximum.
void log_sum_exp(const ReduceShape& s, const float* x, float* y, int64_t begin, int64_t end) {
  for (; begin < end; ++begin) {
    const float* from = x + kept_offset(s.kept, begin);
    float max = -std::numeric_limits<float>::infinity(), sum = 0;
    for_each_offset(s.reduced, s.reduced.count, [&](int64_t o) { max = std::max(max, from[o]); });
    const float shift = std::isfinite(max) ? max : 0.0f;
    for_each_offset(s.reduced, s.reduced.count,
                    [&](int64_t o) { sum += Math<Scalar>::exp(from[o] - shift); });
    y[begin] = shift + std::log(sum);
  }
}

}  // namespace

template <class Isa>
void reduce(Reduce f, const ReduceShape& shape, const float* x, float* y, int64_t begin, int64_t end) {
  const auto same = [](auto, auto v) { return v; };
  const auto absolute = [](auto l, auto v) { return decltype(l)::abs(v); };
  const auto square = [](auto l, auto v) { return decltype(l)::mul(v, v); };
  const auto plus = [](auto l, auto a, auto b) { return decltype(l)::add(a, b); };
  const auto as_is = [](float v) { return v; };
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const auto go = [&](float start, auto map, auto fold, auto finish) {
    reduce_with<Isa>(shape, x, y, begin, end, start, map, fold, finish);
  };
  switch (f) {
    case Reduce::kSum:
      return go(0, same, plus, as_is);
    case Reduce::kMean: {
      const auto count = static_cast<float>(shape.reduced.size());
      return go(0, same, plus, [count](float v) { return v / count; });
    }
    case Reduce::kMax:
      return go(-kInfinity, same, [](auto l, auto a, auto b) { return decltype(l)::max(b, a); }, as_is);
    case Reduce::kMin:
      return go(kInfinity, same, [](auto l, auto a, auto b) { return decltype(l)::min(b, a); }, as_is);
    case Reduce::kProd:
      return go(1, same, [](auto l, auto a, auto b) { return decltype(l)::mul(a, b); }, as_is);
    case Reduce::kL1:
      return go(0, absolute, plus, as_is);
    case Reduce::kL2:
      return go(0, square, plus, [](float v) { return std::sqrt(v); });
    case Reduce::kSumSquare:
      return go(0, square, plus, as_is);
    case Reduce::kLogSum:
      return go(0, same, plus, [](float v) { return std::log(v); });
    case Reduce::kLogSumExp:
      return log_sum_exp(shape, x, y, begin, end);
  }
}

template <class T>
void reduce_any(Reduce f, const ReduceShape& s, const T* x, T* y, int64_t begin, int64_t end) {
  // Integers are summed in 64 unsigned bits, where wrapping is defined.
  using A = std::conditional_t<std::is_floating_point_v<T>, T, uint64_t>;
  using Limits = std::numeric_limits<T>;
  constexpr bool kFloat = std::is_floating_point_v<T>;
  for (; begin < end; ++begin) {
    const T* from = x + kept_offset(s.kept, begin);
    const auto each = [&](auto body) {
      for_each_offset(s.reduced, s.reduced.count, [&](int64_t o) { body(from[o]); });
    };
    A sum = f == Reduce::kProd ? 1 : 0;
    T extreme = f == Reduce::kMax ? (kFloat ? -Limits::infinity() : Limits::lowest())
                                  : (kFloat ? Limits::infinity() : Limits::max());
    const auto signed_sum = [&] {
      if constexpr (kFloat || std::is_unsigned_v<T>) {
        return sum;
      } else {
        return static_cast<int64_t>(sum);
      }
    };
    const auto magnitude = [](T v) { return v < 0 ? A{} - static_cast<A>(v) : static_cast<A>(v); };
    switch (f) {
      case Reduce::kSum:
        each([&](T v) { sum += static_cast<A>(v); });
        y[begin] = static_cast<T>(sum);
        break;
      case Reduce::kMean: {
        each([&](T v) { sum += static_cast<A>(v); });
        const int64_t count = s.reduced.size();
        using S = decltype(signed_sum());
        y[begin] = kFloat || count > 0 ? static_cast<T>(signed_sum() / static_cast<S>(count)) : T{0};
        break;
      }
      case Reduce::kMax:
        each([&](T v) { extreme = std::max(extreme, v); });
        y[begin] = extreme;
        break;
      case Reduce::kMin:
        each([&](T v) { extreme = std::min(extreme, v); });
        y[begin] = extreme;
        break;
      case Reduce::kProd:
        each([&](T v) { sum *= static_cast<A>(v); });
        y[begin] = static_cast<T>(sum);
        break;
      case Reduce::kL1:
        each([&](T v) { sum += magnitude(v); });
        y[begin] = static_cast<T>(sum);
        break;
      case Reduce::kSumSquare:
        each([&](T v) { sum += magnitude(v) * magnitude(v); });
        y[begin] = static_cast<T>(sum);
        break;
      case Reduce::kL2:
        each([&](T v) { sum += magnitude(v) * magnitude(v); });
        y[begin] = static_cast<T>(std::sqrt(static_cast<double>(sum)));
        break;
      case Reduce::kLogSum:
        each([&](T v) { sum += static_cast<A>(v); });
        y[begin] = static_cast<T>(std::log(static_cast<double>(signed_sum())));
        break;
      case Reduce::kLogSumExp: {
        double max = -std::numeric_limits<double>::infinity(), total = 0;
        each([&](T v) { max = std::max(max, static_cast<double>(v)); });
        if (!std::isfinite(max)) max = 0;
        each([&](T v) { total += std::exp(static_cast<double>(v) - max); });
        y[begin] = static_cast<T>(max + std::log(total));
        break;
      }
    }
  }
}

template <class T>
void arg_extreme(const ArgExtreme& a, const T* x, int64_t* y, int64_t begin, int64_t end) {
  for (; begin < end; ++begin) {
    const T* p = x + begin / a.inner * a.inner * a.length + begin % a.inner;
    T best = p[0];
    int64_t at = 0;
    for (int64_t k = 1; k < a.length; ++k) {
      const T v = p[k * a.inner];
      if (a.smallest ? v < best : best < v) {
        best = v;
        at = k;
      } else if (a.last && v == best) {
        at = k;
      }
    }
    y[begin] = at;
  }
}

template <class T>
void cumulative_sum(const CumulativeSum& c, const T* x, T* y, int64_t begin, int64_t end) {
  using A = std::conditional_t<std::is_floating_point_v<T>, T, uint64_t>;  // wrapping is defined
  for (; begin < end; ++begin) {
    const int64_t start = begin / c.inner * c.inner * c.length + begin % c.inner;
    A sum = 0;
    for (int64_t k = 0; k < c.length; ++k) {
      const int64_t i = start + (c.reverse ? c.length - 1 - k : k) * c.inner;
      const A before = sum;
      sum += static_cast<A>(x[i]);
      y[i] = static_cast<T>(c.exclusive ? before : sum);
    }
  }
}

template void reduce<Scalar>(Reduce, const ReduceShape&, const float*, float*, int64_t, int64_t);
template void reduce<Simd128>(Reduce, const ReduceShape&, const float*, float*, int64_t, int64_t);
#if ZEROPOINT_HAS_RELAXED_KERNELS
template void reduce<Relaxed>(Reduce, const ReduceShape&, const float*, float*, int64_t, int64_t);
#endif

template void reduce_any<double>(Reduce, const ReduceShape&, const double*, double*, int64_t, int64_t);
template void reduce_any<int8_t>(Reduce, const ReduceShape&, const int8_t*, int8_t*, int64_t, int64_t);
template void reduce_any<uint8_t>(Reduce, const ReduceShape&, const uint8_t*, uint8_t*, int64_t, int64_t);
template void reduce_any<int32_t>(Reduce, const ReduceShape&, const int32_t*, int32_t*, int64_t, int64_t);
template void reduce_any<uint32_t>(Reduce, const ReduceShape&, const uint32_t*, uint32_t*, int64_t, int64_t);
template void reduce_any<int64_t>(Reduce, const ReduceShape&, const int64_t*, int64_t*, int64_t, int64_t);
template void reduce_any<uint64_t>(Reduce, const ReduceShape&, const uint64_t*, uint64_t*, int64_t, int64_t);
template void arg_extreme<float>(const ArgExtreme&, const float*, int64_t*, int64_t, int64_t);
template void arg_extreme<double>(const ArgExtreme&, const double*, int64_t*, int64_t, int64_t);
template void arg_extreme<int8_t>(const ArgExtreme&, const int8_t*, int64_t*, int64_t, int64_t);
template void arg_extreme<uint8_t>(const ArgExtreme&, const uint8_t*, int64_t*, int64_t, int64_t);
template void arg_extreme<int16_t>(const ArgExtreme&, const int16_t*, int64_t*, int64_t, int64_t);
template void arg_extreme<uint16_t>(const ArgExtreme&, const uint16_t*, int64_t*, int64_t, int64_t);
template void arg_extreme<int32_t>(const ArgExtreme&, const int32_t*, int64_t*, int64_t, int64_t);
template void arg_extreme<uint32_t>(const ArgExtreme&, const uint32_t*, int64_t*, int64_t, int64_t);
template void arg_extreme<int64_t>(const ArgExtreme&, const int64_t*, int64_t*, int64_t, int64_t);
template void arg_extreme<uint64_t>(const ArgExtreme&, const uint64_t*, int64_t*, int64_t, int64_t);
template void cumulative_sum<float>(const CumulativeSum&, const float*, float*, int64_t, int64_t);
template void cumulative_sum<double>(const CumulativeSum&, const double*, double*, int64_t, int64_t);
template void cumulative_sum<int32_t>(const CumulativeSum&, const int32_t*, int32_t*, int64_t, int64_t);
template void cumulative_sum<uint32_t>(const CumulativeSum&, const uint32_t*, uint32_t*, int64_t, int64_t);
template void cumulative_sum<int64_t>(const CumulativeSum&, const int64_t*, int64_t*, int64_t, int64_t);
template void cumulative_sum<uint64_t>(const CumulativeSum&, const uint64_t*, uint64_t*, int64_t, int64_t);

}  // namespace zp::kernels
