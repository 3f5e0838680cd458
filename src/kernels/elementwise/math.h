// Elementary functions on Lanes, to about one unit in the last place of a float (relative error below 3e-7).
//
// The polynomials are our own minimax fits (iteratively reweighted least squares in double precision).

#pragma once

#include <limits>

#include "kernels/elementwise/lanes.h"

namespace zp::kernels {

template <class Isa>
struct Math {
  using L = Lanes<Isa>;
  using F = typename L::Float;

  static F c(float v) { return L::splat(v); }

  // coefficients[0] + z * (coefficients[1] + z * ...)
  template <size_t N>
  static F polynomial(F z, const float (&coefficients)[N]) {
    F p = c(coefficients[N - 1]);
    for (size_t i = N - 1; i-- > 0;) p = L::madd(p, z, c(coefficients[i]));
    return p;
  }

  // e^x = 2^n e^r with |r| <= ln(2) / 2; 2^n in two factors, so that results beyond the normal range come out
  // right.
  static F exp(F x) {
    constexpr float kP[] = {4.999999344e-01f, 1.666652048e-01f, 4.166838990e-02f, 8.368735774e-03f,
                            1.381455768e-03f};
    x = L::max(L::min(x, c(89.0f)), c(-104.0f));
    const F n = L::nearest(L::mul(x, c(1.44269504f)));
    // ln 2 in two parts, the first short enough for an exact product.
    F r = L::sub(x, L::mul(n, c(0.693359375f)));
    r = L::sub(r, L::mul(n, c(-2.12194440e-4f)));
    const F p = L::add(L::madd(polynomial(r, kP), L::mul(r, r), r), c(1.0f));
    const F half = L::floor(L::mul(n, c(0.5f)));
    return L::mul(L::mul(p, L::power_of_two(half)), L::power_of_two(L::sub(n, half)));
  }

  // e^x - 1 without cancellation around 0.
  static F expm1(F x) {
    constexpr float kP[] = {4.999999344e-01f, 1.666652048e-01f, 4.166838990e-02f, 8.368735774e-03f,
                            1.381455768e-03f};
    const F near = L::madd(polynomial(x, kP), L::mul(x, x), x);
    return L::select(L::less(L::abs(x), c(0.34f)), near, L::sub(exp(x), c(1.0f)));
  }

  static F log(F x) {
    constexpr float kP[] = {3.333333171e-01f, -2.500082106e-01f, 2.000122667e-01f, -1.662335648e-01f,
                            1.420176247e-01f, -1.316019507e-01f, 1.276155034e-01f, -7.634429838e-02f};
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const auto tiny = L::less(x, c(std::numeric_limits<float>::min()));
    const F normal = L::select(tiny, L::mul(x, c(0x1p24f)), x);
    F exponent, mantissa;
    L::split(normal, exponent, mantissa);
    exponent = L::sub(exponent, L::select(tiny, c(24.0f), c(0.0f)));
    const F f = L::sub(mantissa, c(1.0f)), z = L::mul(f, f);
    F y = L::mul(polynomial(f, kP), L::mul(z, f));
    y = L::add(y, L::mul(exponent, c(-2.12194440e-4f)));
    y = L::sub(y, L::mul(z, c(0.5f)));
    y = L::add(L::add(f, y), L::mul(exponent, c(0.693359375f)));
    y = L::select(L::less(x, c(kInfinity)), y, x);  // infinity, and NaN
    y = L::select(L::equal(x, c(0.0f)), c(-kInfinity), y);
    return L::select(L::less(x, c(0.0f)), c(std::numeric_limits<float>::quiet_NaN()), y);
  }

  // log(1 + x) for x >= 0, exact in the sense of log() also for small x (Kahan's correction of the rounding
  // of 1 + x).
  static F log1p(F x) {
    const F u = L::add(x, c(1.0f));
    const F d = L::sub(u, c(1.0f));
    return L::select(L::equal(d, c(0.0f)), x, L::mul(log(u), L::div(x, d)));
  }

  static F sigmoid(F x) {
    const F e = exp(L::neg(L::abs(x)));
    const F s = L::div(c(1.0f), L::add(c(1.0f), e));
    return L::select(L::less(x, c(0.0f)), L::mul(e, s), s);
  }

  static F tanh(F x) {
    constexpr float kP[] = {-3.333325985e-01f, 1.333083037e-01f, -5.368802485e-02f, 2.046942444e-02f,
                            -5.515168051e-03f};
    const F magnitude = L::abs(x), z = L::mul(x, x);
    const F near = L::madd(L::mul(polynomial(z, kP), z), x, x);
    const F e = exp(L::mul(magnitude, c(2.0f)));
    const F far = L::sub(c(1.0f), L::div(c(2.0f), L::add(e, c(1.0f))));
    return L::select(L::less(magnitude, c(0.625f)), near, L::copy_sign(far, x));
  }

  // x P(x^2) below 1; above, 1 - e^-Q(x), where Q is -log erfc.
  static F erf(F x) {
    constexpr float kP[] = {1.128379166e+00f, -3.761262584e-01f, 1.128358526e-01f, -2.685381563e-02f,
                            5.188333780e-03f, -8.010241944e-04f, 7.854008904e-05f};
    constexpr float kQ[] = {3.415125758e-04f,  1.127089234e+00f, 6.381447581e-01f, 1.031068215e-01f,
                            -2.183809702e-02f, 2.947666809e-03f, -1.863800856e-04f};
    const F magnitude = L::abs(x);
    const F near = L::mul(polynomial(L::mul(x, x), kP), x);
    const F q = polynomial(L::min(magnitude, c(4.0f)), kQ);
    const F far = L::sub(c(1.0f), exp(L::neg(q)));
    return L::select(L::less(magnitude, c(1.0f)), near, L::copy_sign(far, x));
  }
};

}  // namespace zp::kernels
