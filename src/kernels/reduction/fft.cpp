#include "kernels/reduction/fft.h"

#include <bit>
#include <cmath>
#include <numbers>

namespace zp::kernels {
namespace {

// A transform of p elements takes p * p products, so a larger factor is not worth its name.
constexpr int kLargestFactor = 61;

Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
Complex operator*(Complex a, Complex b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }
Complex conjugate(Complex a) { return {a.re, -a.im}; }
Complex times_minus_i(Complex a) { return {a.im, -a.re}; }

// exp(-2 pi i k / n)
Complex root(int64_t k, int64_t n) {
  const double angle = -2 * std::numbers::pi * static_cast<double>(k) / static_cast<double>(n);
  return {std::cos(angle), std::sin(angle)};
}

// Fours first, then primes in order. Empty: one of them is too large.
std::vector<int> factors_of(int64_t n) {
  std::vector<int> factors;
  for (int p = 4; n > 1; p = p == 4 ? 2 : p == 2 ? 3 : p + 2) {
    if (p > kLargestFactor) return {};
    for (; n % p == 0; n /= p) factors.push_back(p);
  }
  return factors;
}

}  // namespace

Fft::Fft(int64_t length) : length_(length), factors_(factors_of(length)) {
  const auto count = static_cast<size_t>(length);
  roots_.resize(count);
  if (!factors_.empty() || length == 1) {
    for (int64_t k = 0; k < length; ++k) roots_[static_cast<size_t>(k)] = root(k, length);
  } else {
    // k n = (k^2 + n^2 - (k - n)^2) / 2: with c[k] = exp(-pi i k^2 / length), y[k] is c[k] times the sum of
    // (x[n] c[n]) / c[k - n], a convolution.
    for (int64_t k = 0; k < length; ++k)
      roots_[static_cast<size_t>(k)] = root(k * k % (2 * length), 2 * length);
    inner_ = std::make_unique<const Fft>(
        static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(2 * length - 1))));
    const auto size = static_cast<size_t>(inner_->length());
    std::vector<Complex> chirp(size), scratch(inner_->scratch_elements());
    for (size_t k = 0; k < count; ++k) chirp[k] = conjugate(roots_[k]);
    for (size_t k = 1; k < count; ++k) chirp[size - k] = chirp[k];
    kernel_.resize(size);
    inner_->run(chirp.data(), kernel_.data(), scratch.data());
  }
  bytes = (roots_.size() + kernel_.size()) * sizeof(Complex) + (inner_ ? inner_->bytes : 0);
}

size_t Fft::scratch_elements() const { return inner_ ? 2 * static_cast<size_t>(inner_->length()) : 0; }

void Fft::run(const Complex* x, Complex* y, Complex* scratch) const {
  if (inner_) {
    convolve(x, y, scratch);
  } else {
    transform(x, 1, y, length_, 0);
  }
}

// Elements `stride` apart: p transforms of every p-th element, then one of p elements across them.
void Fft::transform(const Complex* x, int64_t stride, Complex* y, int64_t length, size_t factor) const {
  if (length == 1) {
    y[0] = x[0];
    return;
  }
  const int p = factors_[factor];
  const int64_t part = length / p;
  if (part == 1) {
    for (int r = 0; r < p; ++r) y[r] = x[r * stride];
  } else {
    for (int r = 0; r < p; ++r) transform(x + r * stride, stride * p, y + r * part, part, factor + 1);
  }
  // roots_[step * k] is exp(-2 pi i k / length).
  const int64_t step = length_ / length, turn = length_ / p;
  for (int64_t k = 0; k < part; ++k) {
    Complex t[kLargestFactor];
    t[0] = y[k];
    for (int r = 1; r < p; ++r) t[r] = y[r * part + k] * roots_[static_cast<size_t>(step * k * r)];
    if (p == 4) {
      const Complex even = t[0] + t[2], odd = t[1] + t[3], even_turned = t[0] - t[2],
                    odd_turned = times_minus_i(t[1] - t[3]);
      y[k] = even + odd;
      y[part + k] = even_turned + odd_turned;
      y[2 * part + k] = even - odd;
      y[3 * part + k] = even_turned - odd_turned;
      continue;
    }
    for (int q = 0; q < p; ++q) {
      Complex sum = t[0];
      for (int r = 1, at = q; r < p; ++r, at = (at + q) % p)
        sum = sum + t[r] * roots_[static_cast<size_t>(turn * at)];
      y[q * part + k] = sum;
    }
  }
}

void Fft::convolve(const Complex* x, Complex* y, Complex* scratch) const {
  const auto count = static_cast<size_t>(length_), size = static_cast<size_t>(inner_->length());
  Complex *a = scratch, *b = scratch + size;
  for (size_t k = 0; k < count; ++k) a[k] = x[k] * roots_[k];
  for (size_t k = count; k < size; ++k) a[k] = {};
  inner_->run(a, b, nullptr);
  // The way back is a transform of the conjugates.
  for (size_t k = 0; k < size; ++k) b[k] = conjugate(b[k] * kernel_[k]);
  inner_->run(b, a, nullptr);
  const double scale = 1 / static_cast<double>(size);
  for (size_t k = 0; k < count; ++k) {
    const Complex v = conjugate(a[k]) * roots_[k];
    y[k] = {v.re * scale, v.im * scale};
  }
}

}  // namespace zp::kernels
