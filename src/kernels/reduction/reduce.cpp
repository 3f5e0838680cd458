#include "kernels/reduction/reduce.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "core/elements.h"
#include "core/grain.h"
#include "kernels/elementwise/math.h"

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

constexpr int64_t kBlock = 32;  // of neighbouring outputs that are made together

int64_t kept_offset(const ReduceShape::Dims& kept, int64_t index) {
  int64_t offset = 0;
  for (size_t d = kept.count; d-- > 0;) {
    offset += index % kept.extent[d] * kept.stride[d];
    index /= kept.extent[d];
  }
  return offset;
}

// y = fold of map(x) for output elements [begin, end). `map` and `fold` take lanes of Isa and of Scalar
// alike. kFromFirst: the fold starts with the first element (if there is one), which it then meets again.
template <class Isa, bool kFromFirst, class Map, class Fold>
void reduce_with(const ReduceShape& s, const float* x, float* y, int64_t begin, int64_t end, float start,
                 Map map, Fold fold) {
  using L = Lanes<Isa>;
  using One = Lanes<Scalar>;
  const ReduceShape::Dims &kept = s.kept, &reduced = s.reduced;
  const bool from_first = kFromFirst && reduced.size() > 0;
  if (kept.count > 0 && kept.stride[kept.count - 1] == 1) {
    // The innermost dimension is kept: a few vectors of neighbouring outputs at a time.
    constexpr size_t kVectors = static_cast<size_t>(kBlock) / L::kCount;
    const int64_t inner = kept.extent[kept.count - 1];
    while (begin < end) {
      const int64_t count = std::min({kBlock, end - begin, inner - begin % inner});
      const float* from = x + kept_offset(kept, begin);
      typename L::Float acc[kVectors];
      for (auto& a : acc) a = L::splat(start);
      const size_t full = static_cast<size_t>(count) / L::kCount,
                   rest = static_cast<size_t>(count) % L::kCount;
      if (from_first) {
        for (size_t v = 0; v < full; ++v) acc[v] = L::load(from + v * L::kCount);
        if (rest) acc[full] = L::load_some(from + full * L::kCount, rest);
      }
      for_each_offset(reduced, reduced.count, [&](int64_t offset) {
        const float* p = from + offset;
        for (size_t v = 0; v < full; ++v, p += L::kCount) acc[v] = fold(L(), acc[v], map(L(), L::load(p)));
        if (rest) acc[full] = fold(L(), acc[full], map(L(), L::load_some(p, rest)));
      });
      float results[static_cast<size_t>(kBlock)];
      for (size_t v = 0; v < kVectors; ++v) L::store(results + v * L::kCount, acc[v]);
      for (int64_t i = 0; i < count; ++i) y[begin + i] = results[i];
      begin += count;
    }
    return;
  }
  const bool rows = reduced.count > 0 && reduced.stride[reduced.count - 1] == 1;
  const auto length = static_cast<size_t>(rows ? reduced.extent[reduced.count - 1] : 1);
  for (; begin < end; ++begin) {
    const float* from = x + kept_offset(kept, begin);
    float total = from_first ? *from : start;
    typename L::Float even = L::splat(total), odd = even;
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
    y[begin] = total;
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

int64_t ReduceShape::grain() const {
  const int64_t least = grain_for({.work = reduced.size()});
  if (kept.count == 0 || kept.stride[kept.count - 1] != 1) return least;
  return (least + kBlock - 1) / kBlock * kBlock;
}

template <class Isa>
void reduce(Reduce f, const ReduceShape& shape, const float* x, float* y, int64_t begin, int64_t end) {
  const auto same = [](auto, auto v) { return v; };
  const auto plus = [](auto l, auto a, auto b) { return decltype(l)::add(a, b); };
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const auto go = [&](float start, auto map, auto fold) {
    reduce_with<Isa, false>(shape, x, y, begin, end, start, map, fold);
  };
  const auto extreme = [&](float start, auto fold) {
    reduce_with<Isa, true>(shape, x, y, begin, end, start, same, fold);
  };
  switch (f) {
    case Reduce::kSum:
    case Reduce::kMean:
    case Reduce::kLogSum:
      go(0, same, plus);
      break;
    case Reduce::kMax:
      return extreme(-kInfinity, [](auto l, auto a, auto b) { return decltype(l)::max(a, b); });
    case Reduce::kMin:
      return extreme(kInfinity, [](auto l, auto a, auto b) { return decltype(l)::min(a, b); });
    case Reduce::kProd:
      return go(1, same, [](auto l, auto a, auto b) { return decltype(l)::mul(a, b); });
    case Reduce::kL1:
      return go(0, [](auto l, auto v) { return decltype(l)::abs(v); }, plus);
    case Reduce::kL2:
    case Reduce::kSumSquare:
      go(0, [](auto l, auto v) { return decltype(l)::mul(v, v); }, plus);
      break;
    case Reduce::kLogSumExp:
      return log_sum_exp(shape, x, y, begin, end);
  }
  const auto count = static_cast<float>(shape.reduced.size());
  for (int64_t i = begin; i < end; ++i) {
    if (f == Reduce::kMean && count > 0) y[i] /= count;
    if (f == Reduce::kL2) y[i] = std::sqrt(y[i]);
    if (f == Reduce::kLogSum) y[i] = std::log(y[i]);
  }
}

namespace {

// Numbers of 64 bits whose order is that of the elements.
int64_t ordered(DType type, int64_t v) { return type == DType::kUint64 ? v ^ INT64_MIN : v; }
double ordered(DType, double v) { return v; }

template <class W>
W element(const void* x, DType type, int64_t at) {
  W v;
  load_elements(static_cast<const std::byte*>(x), type, at, 1, &v);
  return v;
}

template <class W>
void put(W v, void* y, DType type, int64_t at) {
  store_elements(&v, static_cast<std::byte*>(y), type, at, 1);
}

// The lowest or highest value of a type.
double extreme_of(DType, bool highest, double) {
  return highest ? std::numeric_limits<double>::infinity() : -std::numeric_limits<double>::infinity();
}
int64_t extreme_of(DType type, bool highest, int64_t) {
  const int bits = bits_of(type);
  if (type == DType::kUint64) return highest ? -1 : 0;
  if (!is_signed_integer(type)) return highest ? (int64_t{1} << bits) - 1 : 0;
  const int64_t high = INT64_MAX >> (64 - bits);
  return highest ? high : -high - 1;
}

// W: double, or int64_t for integers, which are summed as unsigned numbers, where wrapping is defined.
template <class W>
void reduce_wide(Reduce f, const ReduceShape& s, DType type, const void* x, void* y, int64_t begin,
                 int64_t end) {
  using A = std::conditional_t<std::is_floating_point_v<W>, W, uint64_t>;
  const int64_t count = s.reduced.size();
  const auto real = [&](A sum) {
    return type == DType::kUint64 ? static_cast<double>(sum) : static_cast<double>(static_cast<W>(sum));
  };
  for (; begin < end; ++begin) {
    const int64_t from = kept_offset(s.kept, begin);
    A sum = f == Reduce::kProd ? 1 : 0;
    W extreme = count > 0 ? element<W>(x, type, from) : extreme_of(type, f == Reduce::kMin, W{});
    double largest = -std::numeric_limits<double>::infinity(), exponentials = 0;
    for_each_offset(s.reduced, s.reduced.count, [&](int64_t o) {
      const W v = element<W>(x, type, from + o);
      const A a = static_cast<A>(v), magnitude = type != DType::kUint64 && v < 0 ? A{} - a : a;
      switch (f) {
        case Reduce::kMax:
          if (ordered(type, extreme) < ordered(type, v)) extreme = v;
          break;
        case Reduce::kMin:
          if (ordered(type, v) < ordered(type, extreme)) extreme = v;
          break;
        case Reduce::kProd:
          sum *= a;
          break;
        case Reduce::kL1:
          sum += magnitude;
          break;
        case Reduce::kL2:
        case Reduce::kSumSquare:
          sum += magnitude * magnitude;
          break;
        case Reduce::kLogSumExp:
          largest = std::max(largest, real(a));
          break;
        default:
          sum += a;
      }
    });
    switch (f) {
      case Reduce::kMax:
      case Reduce::kMin:
        put(extreme, y, type, begin);
        break;
      case Reduce::kMean:
        if (count == 0) {
          sum = 0;
        } else if constexpr (std::is_floating_point_v<W>) {
          sum /= static_cast<W>(count);
        } else if (type == DType::kUint64) {
          sum /= static_cast<A>(count);
        } else {
          sum = static_cast<A>(static_cast<W>(sum) / count);
        }
        put(static_cast<W>(sum), y, type, begin);
        break;
      case Reduce::kL2:
        put(std::sqrt(static_cast<double>(sum)), y, type, begin);
        break;
      case Reduce::kLogSum:
        put(std::log(real(sum)), y, type, begin);
        break;
      case Reduce::kLogSumExp:
        if (!std::isfinite(largest)) largest = 0;
        for_each_offset(s.reduced, s.reduced.count, [&](int64_t o) {
          exponentials += std::exp(real(static_cast<A>(element<W>(x, type, from + o))) - largest);
        });
        put(largest + std::log(exponentials), y, type, begin);
        break;
      default:
        put(static_cast<W>(sum), y, type, begin);
    }
  }
}

template <class Read>
void arg_extreme_of(const ArgExtreme& a, int64_t* y, int64_t begin, int64_t end, Read read) {
  for (; begin < end; ++begin) {
    const int64_t first = begin / a.inner * a.inner * a.length + begin % a.inner;
    auto best = read(first);
    int64_t at = 0;
    for (int64_t k = 1; k < a.length; ++k) {
      const auto v = read(first + k * a.inner);
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
void cumulative_sum_of(const CumulativeSum& c, const void* x, void* y, int64_t begin, int64_t end) {
  const T* from = static_cast<const T*>(x);
  T* to = static_cast<T*>(y);
  for (; begin < end; ++begin) {
    const int64_t start = begin / c.inner * c.inner * c.length + begin % c.inner;
    T all = c.product ? 1 : 0;
    for (int64_t k = 0; k < c.length; ++k) {
      const int64_t i = start + (c.reverse ? c.length - 1 - k : k) * c.inner;
      const T before = all;
      all = c.product ? all * from[i] : all + from[i];
      to[i] = c.exclusive ? before : all;
    }
  }
}

}  // namespace

void reduce_any(Reduce f, const ReduceShape& s, DType type, const void* x, void* y, int64_t begin,
                int64_t end) {
  if (type == DType::kFloat64) return reduce_wide<double>(f, s, type, x, y, begin, end);
  reduce_wide<int64_t>(f, s, type, x, y, begin, end);
}

void arg_extreme(const ArgExtreme& a, DType type, const void* x, int64_t* y, int64_t begin, int64_t end) {
  if (type == DType::kFloat32)
    return arg_extreme_of(a, y, begin, end, [p = static_cast<const float*>(x)](int64_t i) { return p[i]; });
  if (type == DType::kFloat64)
    return arg_extreme_of(a, y, begin, end, [p = static_cast<const double*>(x)](int64_t i) { return p[i]; });
  arg_extreme_of(a, y, begin, end, [=](int64_t i) { return ordered(type, element<int64_t>(x, type, i)); });
}

void cumulative_sum(const CumulativeSum& c, DType type, const void* x, void* y, int64_t begin, int64_t end) {
  if (type == DType::kFloat32) return cumulative_sum_of<float>(c, x, y, begin, end);
  if (type == DType::kFloat64) return cumulative_sum_of<double>(c, x, y, begin, end);
  // Signed numbers as unsigned ones, where wrapping is defined.
  if (bits_of(type) == 32) return cumulative_sum_of<uint32_t>(c, x, y, begin, end);
  cumulative_sum_of<uint64_t>(c, x, y, begin, end);
}

#define ZP_INSTANTIATE(Isa) \
  template void reduce<Isa>(Reduce, const ReduceShape&, const float*, float*, int64_t, int64_t);
ZP_FOR_EACH_ISA(ZP_INSTANTIATE)
#undef ZP_INSTANTIATE

}  // namespace zp::kernels
