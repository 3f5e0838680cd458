#include "kernels/elementwise/unary.h"

#include <algorithm>
#include <cmath>

#include "kernels/elementwise/math.h"

namespace zp::kernels {
namespace {

template <class Isa, class Function>
void each(const float* x, float* y, size_t count, Function f) {
  using L = Lanes<Isa>;
  for (size_t i = 0; i < count; i += L::kCount) L::store(y + i, f(L::load(x + i)));
}

void each_by_library(float (*f)(float), const float* x, float* y, size_t count) {
  for (size_t i = 0; i < count; ++i) y[i] = f(x[i]);
}

// Of whole vectors.
template <class Isa>
void whole(Unary function, UnaryParameters parameters, const float* x, float* y, size_t count) {
  using L = Lanes<Isa>;
  using M = Math<Isa>;
  using F = typename L::Float;
  const F a = L::splat(parameters.a), b = L::splat(parameters.b), zero = L::splat(0.0f), one = L::splat(1.0f);
  const auto apply = [&](auto f) { each<Isa>(x, y, count, f); };
  switch (function) {
    case Unary::kClamp:
      return apply([=](F v) { return L::min(L::max(v, a), b); });
    case Unary::kLeakyRelu:
      return apply([=](F v) { return L::select(L::less(v, zero), L::mul(v, a), v); });
    case Unary::kElu:
      return apply([=](F v) { return L::select(L::less(v, zero), L::mul(a, M::expm1(v)), v); });
    case Unary::kSelu:
      return apply([=](F v) { return L::mul(b, L::select(L::less(zero, v), v, L::mul(a, M::expm1(v)))); });
    case Unary::kCelu:
      return apply(
          [=](F v) { return L::add(L::max(v, zero), L::min(L::mul(a, M::expm1(L::div(v, a))), zero)); });
    case Unary::kThresholdedRelu:
      return apply([=](F v) { return L::select(L::less(a, v), v, zero); });
    case Unary::kSigmoid:
      return apply([](F v) { return M::sigmoid(v); });
    case Unary::kHardSigmoid:
      return apply([=](F v) { return L::min(L::max(L::add(L::mul(a, v), b), zero), one); });
    case Unary::kHardSwish: {
      const F sixth = L::splat(1.0f / 6.0f), half = L::splat(0.5f);
      return apply([=](F v) { return L::mul(v, L::min(L::max(L::add(L::mul(sixth, v), half), zero), one)); });
    }
    case Unary::kTanh:
      return apply([](F v) { return M::tanh(v); });
    case Unary::kErf:
      return apply([](F v) { return M::erf(v); });
    case Unary::kGelu: {
      const F scale = L::splat(0.70710678f), half = L::splat(0.5f);
      return apply([=](F v) { return L::mul(L::mul(half, v), L::add(one, M::erf(L::mul(v, scale)))); });
    }
    case Unary::kGeluTanh: {
      const F scale = L::splat(0.79788456f), cubic = L::splat(0.044715f), half = L::splat(0.5f);
      return apply([=](F v) {
        const F inner = L::mul(scale, L::madd(L::mul(cubic, v), L::mul(v, v), v));
        return L::mul(L::mul(half, v), L::add(one, M::tanh(inner)));
      });
    }
    case Unary::kSoftplus:
      return apply([=](F v) { return L::add(L::max(v, zero), M::log1p(M::exp(L::neg(L::abs(v))))); });
    case Unary::kSoftsign:
      return apply([=](F v) { return L::div(v, L::add(one, L::abs(v))); });
    case Unary::kMish: {
      // tanh(log(1 + e^x)) = n / (n + 2) with n = e^x (e^x + 2); 1 as a float beyond x = 20.
      const F two = L::splat(2.0f), limit = L::splat(20.0f);
      return apply([=](F v) {
        const F e = M::exp(L::min(v, limit)), n = L::mul(e, L::add(e, two));
        return L::mul(v, L::div(n, L::add(n, two)));
      });
    }
    case Unary::kSwish:
      return apply([=](F v) { return L::mul(v, M::sigmoid(L::mul(a, v))); });
    case Unary::kAffine:
      return apply([=](F v) { return L::add(L::mul(a, v), b); });
    case Unary::kScaledTanh:
      return apply([=](F v) { return L::mul(a, M::tanh(L::mul(b, v))); });
    case Unary::kShrink: {
      const F low = L::neg(a);
      return apply([=](F v) {
        return L::select(L::less(v, low), L::add(v, b), L::select(L::less(a, v), L::sub(v, b), zero));
      });
    }
    case Unary::kExp:
      return apply([](F v) { return M::exp(v); });
    case Unary::kLog:
      return apply([](F v) { return M::log(v); });
    case Unary::kSqrt:
      return apply([](F v) { return L::sqrt(v); });
    case Unary::kReciprocal:
      return apply([=](F v) { return L::div(one, v); });
    case Unary::kAbs:
      return apply([](F v) { return L::abs(v); });
    case Unary::kNeg:
      return apply([](F v) { return L::neg(v); });
    case Unary::kFloor:
      return apply([](F v) { return L::floor(v); });
    case Unary::kCeil:
      return apply([](F v) { return L::ceil(v); });
    case Unary::kRound:
      return apply([](F v) { return L::nearest(v); });
    case Unary::kSign:
      return apply([=](F v) {
        const F minus_one = L::splat(-1.0f);
        // What is left is a zero or NaN.
        return L::select(L::less(zero, v), one, L::select(L::less(v, zero), minus_one, L::add(v, zero)));
      });
    case Unary::kSin:
      return each_by_library([](float v) { return std::sin(v); }, x, y, count);
    case Unary::kCos:
      return each_by_library([](float v) { return std::cos(v); }, x, y, count);
    case Unary::kTan:
      return each_by_library([](float v) { return std::tan(v); }, x, y, count);
    case Unary::kAsin:
      return each_by_library([](float v) { return std::asin(v); }, x, y, count);
    case Unary::kAcos:
      return each_by_library([](float v) { return std::acos(v); }, x, y, count);
    case Unary::kAtan:
      return each_by_library([](float v) { return std::atan(v); }, x, y, count);
    case Unary::kSinh:
      return each_by_library([](float v) { return std::sinh(v); }, x, y, count);
    case Unary::kCosh:
      return each_by_library([](float v) { return std::cosh(v); }, x, y, count);
    case Unary::kAsinh:
      return each_by_library([](float v) { return std::asinh(v); }, x, y, count);
    case Unary::kAcosh:
      return each_by_library([](float v) { return std::acosh(v); }, x, y, count);
    case Unary::kAtanh:
      return each_by_library([](float v) { return std::atanh(v); }, x, y, count);
  }
}

}  // namespace

template <class Isa>
void unary(Unary function, UnaryParameters parameters, const float* x, float* y, size_t count) {
  constexpr size_t kCount = Lanes<Isa>::kCount;
  const size_t rest = count % kCount;
  whole<Isa>(function, parameters, x, y, count - rest);
  if (rest == 0) return;
  float some[kCount] = {};
  std::copy_n(x + count - rest, rest, some);
  whole<Isa>(function, parameters, some, some, kCount);
  std::copy_n(some, rest, y + count - rest);
}

#define ZP_INSTANTIATE(Isa) template void unary<Isa>(Unary, UnaryParameters, const float*, float*, size_t);
ZP_FOR_EACH_ISA(ZP_INSTANTIATE)
#undef ZP_INSTANTIATE

}  // namespace zp::kernels
