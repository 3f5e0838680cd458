#include "kernels/reduction/fft.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <random>

namespace zp::kernels {
namespace {

std::vector<Complex> numbers(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> in(-1, 1);
  std::vector<Complex> x(static_cast<size_t>(count));
  for (Complex& v : x) v = {in(random), in(random)};
  return x;
}

std::vector<Complex> transformed(const std::vector<Complex>& x) {
  const Fft fft(std::ssize(x));
  std::vector<Complex> y(x.size()), scratch(fft.scratch_elements());
  fft.run(x.data(), y.data(), scratch.data());
  return y;
}

// Element k, by the definition.
Complex element(const std::vector<Complex>& x, int64_t k) {
  const int64_t n = std::ssize(x);
  Complex sum{0, 0};
  for (int64_t i = 0; i < n; ++i) {
    const double angle = -2 * std::numbers::pi * static_cast<double>(k * i % n) / static_cast<double>(n);
    const Complex v = x[static_cast<size_t>(i)];
    sum.re += v.re * std::cos(angle) - v.im * std::sin(angle);
    sum.im += v.re * std::sin(angle) + v.im * std::cos(angle);
  }
  return sum;
}

void expect_element(const std::vector<Complex>& x, const std::vector<Complex>& y, int64_t k) {
  const Complex wanted = element(x, k);
  const double tolerance = 1e-13 * std::sqrt(static_cast<double>(x.size())) * 4;
  EXPECT_NEAR(y[static_cast<size_t>(k)].re, wanted.re, tolerance) << x.size() << ": " << k;
  EXPECT_NEAR(y[static_cast<size_t>(k)].im, wanted.im, tolerance) << x.size() << ": " << k;
}

TEST(Fft, EveryShortLength) {
  for (int64_t n = 1; n <= 140; ++n) {
    const std::vector<Complex> x = numbers(n, static_cast<unsigned>(n)), y = transformed(x);
    for (int64_t k = 0; k < n; ++k) expect_element(x, y, k);
  }
}

TEST(Fft, LongLengths) {
  // A power of two, frames of speech, a product of many primes, primes, and a square of one.
  for (const int64_t n : {4096, 400, 480, 30030, 4099, 7919, 67 * 67}) {
    const std::vector<Complex> x = numbers(n, 1), y = transformed(x);
    for (const int64_t k : {int64_t{0}, int64_t{1}, n / 2, n / 3, n - 1}) expect_element(x, y, k);
  }
}

// A transform by the definition would take an hour.
TEST(Fft, OfALongSignalTakesNoTime) {
  const int64_t n = 1000003;  // a prime
  const std::vector<Complex> x = numbers(n, 1), y = transformed(x);
  for (const int64_t k : {int64_t{0}, n - 1}) {
    const Complex wanted = element(x, k);
    EXPECT_NEAR(y[static_cast<size_t>(k)].re, wanted.re, 1e-8);
    EXPECT_NEAR(y[static_cast<size_t>(k)].im, wanted.im, 1e-8);
  }
}

TEST(Fft, CountsTheBytesOfItsTables) {
  EXPECT_EQ(Fft(12).bytes, 12 * sizeof(Complex));
  EXPECT_EQ(Fft(67).bytes, (67 + 256 + 256) * sizeof(Complex));
}

}  // namespace
}  // namespace zp::kernels
