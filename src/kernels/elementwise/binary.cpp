#include "kernels/elementwise/binary.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "kernels/elementwise/math.h"
#include "kernels/elementwise/unary.h"
#include "kernels/elementwise/wide.h"
#include "kernels/requantize.h"

namespace zp::kernels {

std::optional<Broadcast> Broadcast::of(std::span<const std::span<const int64_t>> inputs,
                                       std::span<const int64_t> output) {
  Broadcast b;
  // From the innermost dimension outwards; strides of each input grow by its own dimensions.
  std::array<int64_t, kMaxInputs> elements;
  elements.fill(1);
  std::array<int64_t, kMaxOuter + 1> extents = {};
  std::array<std::array<int64_t, kMaxInputs>, kMaxOuter + 1> strides = {};
  size_t dims = 0;
  for (size_t back = 0; back < output.size(); ++back) {
    const int64_t extent = output[output.size() - 1 - back];
    if (extent == 1) continue;
    std::array<int64_t, kMaxInputs> stride = {};
    for (size_t i = 0; i < inputs.size(); ++i) {
      const int64_t own = back < inputs[i].size() ? inputs[i][inputs[i].size() - 1 - back] : 1;
      stride[i] = own == 1 ? 0 : elements[i];
      elements[i] *= own;
    }
    bool merges = dims > 0;
    for (size_t i = 0; merges && i < inputs.size(); ++i) {
      merges = stride[i] == strides[dims - 1][i] * extents[dims - 1];
    }
    if (merges) {
      extents[dims - 1] *= extent;
      continue;
    }
    if (dims == extents.size()) return std::nullopt;
    extents[dims] = extent;
    strides[dims++] = stride;
  }
  if (dims > 0) {
    b.inner_ = extents[0];
    for (size_t i = 0; i < inputs.size(); ++i) b.inner_step_[i] = strides[0][i] ? 1 : 0;
    // An inner dimension along which nothing moves cannot be: some input has the output's extent.
    b.outer_dims_ = dims - 1;
    for (size_t d = 0; d + 1 < dims; ++d) {
      b.extent_[d] = extents[dims - 1 - d];
      b.stride_[d] = strides[dims - 1 - d];
      b.rows_ *= b.extent_[d];
    }
  }
  return b;
}

Broadcast Broadcast::flat(int64_t count) {
  Broadcast b;
  b.inner_ = count;
  b.inner_step_.fill(1);
  return b;
}

void Broadcast::walk(int64_t begin, int64_t end,
                     FunctionRef<void(const Offsets&, int64_t, int64_t)> run) const {
  if (begin >= end) return;
  std::array<int64_t, kMaxOuter> at = {};
  std::array<int64_t, kMaxInputs> base = {};
  int64_t row = begin / inner_, column = begin % inner_;
  for (size_t d = outer_dims_; d-- > 0;) {
    at[d] = row % extent_[d];
    row /= extent_[d];
    for (size_t i = 0; i < kMaxInputs; ++i) base[i] += at[d] * stride_[d][i];
  }
  while (begin < end) {
    const int64_t count = inner_ - column < end - begin ? inner_ - column : end - begin;
    std::array<int64_t, kMaxInputs> offsets = base;
    for (size_t i = 0; i < kMaxInputs; ++i) offsets[i] += column * inner_step_[i];
    run(offsets, begin, count);
    begin += count;
    column = 0;
    for (size_t d = outer_dims_; d-- > 0;) {
      for (size_t i = 0; i < kMaxInputs; ++i) base[i] += stride_[d][i];
      if (++at[d] < extent_[d]) break;
      for (size_t i = 0; i < kMaxInputs; ++i) base[i] -= extent_[d] * stride_[d][i];
      at[d] = 0;
    }
  }
}

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// ---- float32

template <class Isa, class Function>
void float_run(const float* a, bool a_moves, const float* b, bool b_moves, float* y, size_t count,
               Function f) {
  using L = Lanes<Isa>;
  const auto run = [&](auto load_a, auto load_b) {
    size_t i = 0;
    for (; i + L::kCount <= count; i += L::kCount)
      L::store(y + i, f(load_a(i, L::kCount), load_b(i, L::kCount)));
    if (i < count) L::store_some(y + i, f(load_a(i, count - i), load_b(i, count - i)), count - i);
  };
  const auto moving = [](const float* p) {
    return [p](size_t i, size_t n) { return n == L::kCount ? L::load(p + i) : L::load_some(p + i, n); };
  };
  const auto standing = [](const float* p) { return [v = L::splat(*p)](size_t, size_t) { return v; }; };
  if (!a_moves && count > 1) return run(standing(a), moving(b));
  if (!b_moves && count > 1) return run(moving(a), standing(b));
  run(moving(a), moving(b));
}

// With the sign of the divisor, as numpy's mod.
template <class T>
T modulus(T a, T b) {
  const T r = std::fmod(a, b);
  if (r == 0) return std::copysign(r, b);
  return (r < 0) != (b < 0) ? r + b : r;
}

template <class T>
struct Wrapping {
  using U = std::make_unsigned_t<T>;
  static T add(T a, T b) { return static_cast<T>(static_cast<U>(a) + static_cast<U>(b)); }
  static T sub(T a, T b) { return static_cast<T>(static_cast<U>(a) - static_cast<U>(b)); }
  static T mul(T a, T b) { return static_cast<T>(static_cast<U>(a) * static_cast<U>(b)); }
};

template <class T>
T integer_power(T base, T exponent) {
  if constexpr (std::is_signed_v<T>) {
    if (exponent < 0) return base == 1 ? T{1} : base == -1 ? static_cast<T>(exponent % 2 ? -1 : 1) : T{0};
  }
  T result = 1;
  for (; exponent > 0; exponent = static_cast<T>(exponent / 2)) {
    if (exponent % 2) result = Wrapping<T>::mul(result, base);
    base = Wrapping<T>::mul(base, base);
  }
  return result;
}

double apply_any(Binary f, double a, double b) {
  switch (f) {
    case Binary::kAdd:
      return a + b;
    case Binary::kSub:
      return a - b;
    case Binary::kMul:
      return a * b;
    case Binary::kDiv:
      return a / b;
    case Binary::kPow:
      return std::pow(a, b);
    case Binary::kMax:
      return a < b || std::isnan(b) ? b : a;
    case Binary::kMin:
      return b < a || std::isnan(b) ? b : a;
    case Binary::kFmod:
      return std::fmod(a, b);
    case Binary::kMod:
      return modulus(a, b);
    case Binary::kPRelu:
      return a < 0 ? a * b : a;
  }
  return 0;
}

template <class T>
T apply_any(Binary f, T a, T b) {
  using W = Wrapping<T>;
  constexpr bool kSigned = std::is_signed_v<T>;
  switch (f) {
    case Binary::kAdd:
      return W::add(a, b);
    case Binary::kSub:
      return W::sub(a, b);
    case Binary::kMul:
      return W::mul(a, b);
    case Binary::kDiv:
      if (b == 0) return 0;
      if constexpr (kSigned) {
        if (b == -1) return W::sub(0, a);
      }
      return static_cast<T>(a / b);
    case Binary::kPow:
      return integer_power(a, b);
    case Binary::kMax:
      return a < b ? b : a;
    case Binary::kMin:
      return b < a ? b : a;
    case Binary::kMod:
    case Binary::kFmod: {
      if (b == 0) return 0;
      if constexpr (kSigned) {
        if (b == -1) return 0;
      }
      const T r = static_cast<T>(a % b);
      return f == Binary::kMod && r != 0 && (r < 0) != (b < 0) ? static_cast<T>(r + b) : r;
    }
    case Binary::kPRelu:
      return a < 0 ? W::mul(a, b) : a;
  }
  return T{};
}

// The function is chosen for each element anew: these types are rare.
template <class T>
void apply_each(Binary f, const void* a, const void* b, void* y, int64_t count) {
  const T *pa = static_cast<const T*>(a), *pb = static_cast<const T*>(b);
#pragma clang loop vectorize(disable) unroll(disable)
  for (int64_t i = 0; i < count; ++i) static_cast<T*>(y)[i] = apply_any(f, pa[i], pb[i]);
}

template <class T>
void compare_each(Compare f, const void* a, const void* b, bool* y, int64_t count) {
  const T *pa = static_cast<const T*>(a), *pb = static_cast<const T*>(b);
  // Greater is less the other way.
  if (f == Compare::kGreater || f == Compare::kGreaterOrEqual) std::swap(pa, pb);
#pragma clang loop vectorize(disable) unroll(disable)
  for (int64_t i = 0; i < count; ++i) {
    y[i] = f == Compare::kEqual                            ? pa[i] == pb[i]
           : f == Compare::kLess || f == Compare::kGreater ? pa[i] < pb[i]
                                                           : pa[i] <= pb[i];
  }
}

}  // namespace

template <class Isa>
void binary(Binary function, const Broadcast& shape, const float* a, const float* b, float* y, int64_t begin,
            int64_t end, float lo, float hi) {
  using L = Lanes<Isa>;
  using F = typename L::Float;
  const F low = L::splat(lo), high = L::splat(hi);
  const bool a_moves = shape.inner_moves(0), b_moves = shape.inner_moves(1);
  const auto apply = [&](auto f) {
    shape.walk(begin, end, [&](const auto& offsets, int64_t out, int64_t count) {
      float_run<Isa>(a + offsets[0], a_moves, b + offsets[1], b_moves, y + out, static_cast<size_t>(count),
                     [=](F u, F v) { return L::min(L::max(f(u, v), low), high); });
    });
  };
  // The clamp, which is rare here, comes after: it would take as long as the function.
  const auto extreme = [&](auto f) {
    shape.walk(begin, end, [&](const auto& offsets, int64_t out, int64_t count) {
      float_run<Isa>(a + offsets[0], a_moves, b + offsets[1], b_moves, y + out, static_cast<size_t>(count),
                     f);
    });
    if (lo == -kInfinity && hi == kInfinity) return;
    unary<Isa>(Unary::kClamp, {.a = lo, .b = hi}, y + begin, y + begin, static_cast<size_t>(end - begin));
  };
  // An exponent that stands still along the runs: a constant, in all models seen.
  const auto power = [&] {
    shape.walk(begin, end, [&](const auto& offsets, int64_t out, int64_t count) {
      const float exponent = b[offsets[1]];
      const float* from = a + offsets[0];
      const auto run = [&](auto f) {
        float_run<Isa>(from, true, from, true, y + out, static_cast<size_t>(count),
                       [=](F u, F) { return L::min(L::max(f(u), low), high); });
      };
      if (exponent == 2.0f) return run([](F u) { return L::mul(u, u); });
      if (exponent == 0.5f) {  // of -infinity the power is infinity, and there is no root
        const F infinity = L::splat(kInfinity), lowest = L::splat(-kInfinity);
        return run([=](F u) { return L::select(L::equal(u, lowest), infinity, L::sqrt(u)); });
      }
      for (int64_t i = 0; i < count; ++i)
        y[out + i] = std::min(std::max(std::pow(from[i], exponent), lo), hi);
    });
  };
  const auto by_library = [&](float (*f)(float, float)) {
    const int64_t step_a = a_moves, step_b = b_moves;
    shape.walk(begin, end, [&](const auto& offsets, int64_t out, int64_t count) {
      const float *pa = a + offsets[0], *pb = b + offsets[1];
      for (int64_t i = 0; i < count; ++i, pa += step_a, pb += step_b)
        y[out + i] = std::min(std::max(f(*pa, *pb), lo), hi);
    });
  };
  switch (function) {
    case Binary::kAdd:
      return apply([](F u, F v) { return L::add(u, v); });
    case Binary::kSub:
      return apply([](F u, F v) { return L::sub(u, v); });
    case Binary::kMul:
      return apply([](F u, F v) { return L::mul(u, v); });
    case Binary::kDiv:
      return apply([](F u, F v) { return L::div(u, v); });
    case Binary::kMax:
      return extreme([](F u, F v) { return L::maximum(u, v); });
    case Binary::kMin:
      return extreme([](F u, F v) { return L::minimum(u, v); });
    case Binary::kPRelu:
      return apply([](F u, F v) { return L::select(L::less(u, L::splat(0.0f)), L::mul(u, v), u); });
    case Binary::kPow:
      if (a_moves && !b_moves) return power();
      return by_library([](float u, float v) { return std::pow(u, v); });
    case Binary::kMod:
      return by_library(modulus<float>);
    case Binary::kFmod:
      return by_library([](float u, float v) { return std::fmod(u, v); });
  }
}

void binary_any(Binary f, const Broadcast& shape, DType type, const void* a, const void* b, void* y,
                int64_t begin, int64_t end) {
  through_wide(
      shape, type, a, b, y, begin, end, [f](Wide wide, const void* u, const void* v, void* out, int64_t n) {
        switch (wide) {
          case Wide::kFloat:
            return binary(f, Broadcast::flat(n), static_cast<const float*>(u), static_cast<const float*>(v),
                          static_cast<float*>(out), 0, n, -kInfinity, kInfinity);
          case Wide::kDouble:
            return apply_each<double>(f, u, v, out, n);
          case Wide::kUint:
            return apply_each<uint64_t>(f, u, v, out, n);
          default:
            return apply_each<int64_t>(f, u, v, out, n);
        }
      });
}

void compare(Compare f, const Broadcast& shape, DType type, const void* a, const void* b, bool* y,
             int64_t begin, int64_t end) {
  test_wide(shape, type, a, b, y, begin, end,
            [f](Wide wide, const void* u, const void* v, void* out, int64_t n) {
              bool* to = static_cast<bool*>(out);
              switch (wide) {
                case Wide::kFloat:
                  return compare_each<float>(f, u, v, to, n);
                case Wide::kDouble:
                  return compare_each<double>(f, u, v, to, n);
                case Wide::kUint:
                  return compare_each<uint64_t>(f, u, v, to, n);
                default:
                  return compare_each<int64_t>(f, u, v, to, n);
              }
            });
}

void logical(Logical f, const Broadcast& shape, const bool* a, const bool* b, bool* y, int64_t begin,
             int64_t end) {
  const int64_t step_a = shape.inner_moves(0), step_b = shape.inner_moves(1);
  shape.walk(begin, end, [&](const auto& offsets, int64_t out, int64_t count) {
    const bool *pa = a + offsets[0], *pb = b + offsets[1];
    for (int64_t i = 0; i < count; ++i, pa += step_a, pb += step_b)
      y[out + i] = f == Logical::kAnd ? *pa && *pb : f == Logical::kOr ? *pa || *pb : *pa != *pb;
  });
}

void where(const Broadcast& shape, const bool* condition, const void* a, const void* b, void* y, size_t bytes,
           int64_t begin, int64_t end) {
  const auto run = [&]<class T>(T) {
    const int64_t step_c = shape.inner_moves(0), step_a = shape.inner_moves(1), step_b = shape.inner_moves(2);
    shape.walk(begin, end, [&](const auto& offsets, int64_t out, int64_t count) {
      const bool* pc = condition + offsets[0];
      const T* pa = static_cast<const T*>(a) + offsets[1];
      const T* pb = static_cast<const T*>(b) + offsets[2];
      T* py = static_cast<T*>(y) + out;
      for (int64_t i = 0; i < count; ++i, pc += step_c, pa += step_a, pb += step_b) py[i] = *pc ? *pa : *pb;
    });
  };
  if (bytes == 1) return run(uint8_t{});
  if (bytes == 2) return run(uint16_t{});
  if (bytes == 4) return run(uint32_t{});
  run(uint64_t{});
}

// ---- 8-bit integers

namespace {

// The operands brought to one form. Signed bytes are read as unsigned ones, 128 higher, like their zero
// point; a subtraction is an addition with the sign in the scale (which changes no bit of the result); the
// float operand, if any, is the second.
struct Operand {
  const uint8_t* bytes;
  const float* floats;
  uint8_t flip;  // 0x80 for signed bytes
  float scale;   // of floats: 1 or -1
  int32_t zero_point;
  size_t index;  // in the Broadcast

  Operand(const ByteOperand& o, float sign, size_t at)
      : bytes(static_cast<const uint8_t*>(o.data)),
        floats(static_cast<const float*>(o.data)),
        flip(o.type == ByteType::kSigned ? 0x80 : 0),
        scale(o.type == ByteType::kFloat ? sign : o.scale * sign),
        zero_point(o.zero_point + flip),
        index(at) {}

  float byte_at(int64_t i) const { return static_cast<float>((bytes[i] ^ flip) - zero_point) * scale; }
  float float_at(int64_t i) const { return floats[i] * scale; }
};

// The specification.
void bytes_scalar(ByteBinary f, const Broadcast& shape, const Operand& a, const Operand& b, bool b_float,
                  const ByteResult& y, int64_t begin, int64_t end, const QuantizedRange& range) {
  const int64_t step_a = shape.inner_moves(a.index), step_b = shape.inner_moves(b.index);
  shape.walk(begin, end, [&](const auto& offsets, int64_t out, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at_b = offsets[b.index] + i * step_b;
      const float u = a.byte_at(offsets[a.index] + i * step_a),
                  v = b_float ? b.float_at(at_b) : b.byte_at(at_b);
      float x = f == ByteBinary::kMul ? u * v : u + v;
      x = std::min(std::max(x, y.lo), y.hi) / y.scale;
      x = range.lo_offset() < x ? x : range.lo_offset();
      x = range.hi_offset() < x ? range.hi_offset() : x;
      y.data[out + i] = static_cast<uint8_t>(std::bit_cast<int32_t>(x + kRoundingMagic) -
                                             (kRoundingMagicBits - range.zero_point));
    }
  });
}

constexpr size_t kByteLanes = 8;  // elements of one step

// Eight elements as two vectors of floats.
struct Floats8 {
  v128_t low, high;
};

struct LoadBytes8 {
  const uint8_t* from;
  v128_t flip, zero_point, scale;
  LoadBytes8(const Operand& o, int64_t offset)
      : from(o.bytes + offset),
        flip(wasm_i8x16_splat(static_cast<int8_t>(o.flip))),
        zero_point(wasm_i16x8_splat(static_cast<int16_t>(o.zero_point))),
        scale(wasm_f32x4_splat(o.scale)) {}
  Floats8 operator()(size_t i) const {
    const v128_t bytes = wasm_v128_xor(wasm_v128_load64_zero(from + i), flip);
    const v128_t centred = wasm_i16x8_sub(wasm_u16x8_extend_low_u8x16(bytes), zero_point);
    return {wasm_f32x4_mul(wasm_f32x4_convert_i32x4(wasm_i32x4_extend_low_i16x8(centred)), scale),
            wasm_f32x4_mul(wasm_f32x4_convert_i32x4(wasm_i32x4_extend_high_i16x8(centred)), scale)};
  }
  Floats8 some(size_t i, size_t) const { return (*this)(i); }  // reads seven bytes too many: kReadSlack
};

struct LoadFloats8 {
  const float* from;
  v128_t scale;
  LoadFloats8(const Operand& o, int64_t offset) : from(o.floats + offset), scale(wasm_f32x4_splat(o.scale)) {}
  Floats8 operator()(size_t i) const {
    return {wasm_f32x4_mul(wasm_v128_load(from + i), scale),
            wasm_f32x4_mul(wasm_v128_load(from + i + 4), scale)};
  }
  Floats8 some(size_t i, size_t n) const {
    const size_t low = n < 4 ? n : 4;
    return {wasm_f32x4_mul(load_bytes(from + i, low * sizeof(float)), scale),
            wasm_f32x4_mul(load_bytes(from + i + low, (n - low) * sizeof(float)), scale)};
  }
};

struct Standing8 {
  v128_t value;
  Floats8 operator()(size_t) const { return {value, value}; }
  Floats8 some(size_t, size_t) const { return {value, value}; }
};

template <class Function>
void bytes_vector(const Broadcast& shape, const Operand& a, const Operand& b, bool b_float,
                  const ByteResult& y, int64_t begin, int64_t end, const QuantizedRange& range, Function f) {
  const v128_t low = wasm_f32x4_splat(y.lo), high = wasm_f32x4_splat(y.hi), scale = wasm_f32x4_splat(y.scale);
  const v128_t range_low = wasm_f32x4_splat(range.lo_offset()),
               range_high = wasm_f32x4_splat(range.hi_offset());
  const v128_t magic = wasm_f32x4_splat(kRoundingMagic);
  const v128_t unmagic = wasm_i32x4_splat(kRoundingMagicBits - range.zero_point);
  const auto quantize = [&](v128_t x) {
    x = wasm_f32x4_div(wasm_f32x4_pmin(wasm_f32x4_pmax(x, low), high), scale);
    x = wasm_f32x4_pmin(wasm_f32x4_pmax(range_low, x), range_high);
    return wasm_i32x4_sub(wasm_f32x4_add(x, magic), unmagic);
  };
  // Values fit their bytes already, so that taking the low byte of each is all there is to do.
  const auto narrow = [](v128_t p, v128_t q) {
    return wasm_i8x16_shuffle(p, q, 0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
  };
  const bool a_moves = shape.inner_moves(a.index), b_moves = shape.inner_moves(b.index);
  shape.walk(begin, end, [&](const auto& offsets, int64_t out, int64_t count) {
    const auto n = static_cast<size_t>(count);
    const int64_t at_a = offsets[a.index], at_b = offsets[b.index];
    uint8_t* to = y.data + out;
    const auto run = [&](auto left, auto right) {
      size_t i = 0;
      for (; i + kByteLanes <= n; i += kByteLanes) {
        const Floats8 u = left(i), v = right(i);
        wasm_v128_store64_lane(to + i, narrow(quantize(f(u.low, v.low)), quantize(f(u.high, v.high))), 0);
      }
      if (i < n) {
        const Floats8 u = left.some(i, n - i), v = right.some(i, n - i);
        store_bytes(to + i, narrow(quantize(f(u.low, v.low)), quantize(f(u.high, v.high))), n - i);
      }
    };
    // An inner run of one element may be taken as moving.
    const bool moving_a = a_moves || n == 1, moving_b = b_moves || n == 1;
    if (b_float) {
      if (moving_a && moving_b) return run(LoadBytes8(a, at_a), LoadFloats8(b, at_b));
      if (moving_a) return run(LoadBytes8(a, at_a), Standing8{wasm_f32x4_splat(b.float_at(at_b))});
      return run(Standing8{wasm_f32x4_splat(a.byte_at(at_a))}, LoadFloats8(b, at_b));
    }
    if (moving_a && moving_b) return run(LoadBytes8(a, at_a), LoadBytes8(b, at_b));
    if (moving_a) return run(LoadBytes8(a, at_a), Standing8{wasm_f32x4_splat(b.byte_at(at_b))});
    run(LoadBytes8(b, at_b), Standing8{wasm_f32x4_splat(a.byte_at(at_a))});  // both functions commute
  });
}

}  // namespace

template <class Isa>
void binary_bytes(ByteBinary f, const Broadcast& shape, const ByteOperand& left, const ByteOperand& right,
                  const ByteResult& y, int64_t begin, int64_t end) {
  const QuantizedRange range{
      .zero_point = y.zero_point, .lo = y.is_signed ? -128 : 0, .hi = y.is_signed ? 127 : 255};
  Operand a(left, 1.0f, 0), b(right, f == ByteBinary::kSub ? -1.0f : 1.0f, 1);
  const bool b_float = left.type == ByteType::kFloat || right.type == ByteType::kFloat;
  if (left.type == ByteType::kFloat) std::swap(a, b);
  if constexpr (!Isa::kVector) {
    bytes_scalar(f, shape, a, b, b_float, y, begin, end, range);
  } else if (f == ByteBinary::kMul) {
    bytes_vector(shape, a, b, b_float, y, begin, end, range,
                 [](v128_t u, v128_t v) { return wasm_f32x4_mul(u, v); });
  } else {
    bytes_vector(shape, a, b, b_float, y, begin, end, range,
                 [](v128_t u, v128_t v) { return wasm_f32x4_add(u, v); });
  }
}

#define ZP_INSTANTIATE(Isa)                                                                                 \
  template void binary<Isa>(Binary, const Broadcast&, const float*, const float*, float*, int64_t, int64_t, \
                            float, float);                                                                  \
  template void binary_bytes<Isa>(ByteBinary, const Broadcast&, const ByteOperand&, const ByteOperand&,     \
                                  const ByteResult&, int64_t, int64_t);
ZP_FOR_EACH_ISA(ZP_INSTANTIATE)
#undef ZP_INSTANTIATE

}  // namespace zp::kernels
