// The discrete Fourier transform of any length, in double precision:
//
//   y[k] = sum over n of x[n] * exp(-2 pi i k n / length)
//
// Lengths with small prime factors are taken apart (Cooley, Tukey 1965). A length with a large one becomes a
// convolution, which is made with transforms of a power of two (Bluestein 1970). Both take O(n log n).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace zp::kernels {

struct Complex {
  double re, im;
};

class Fft {
 public:
  // `length`: from 1 to kLargestFft.
  explicit Fft(int64_t length);

  int64_t length() const { return length_; }
  // What run() needs besides its operands, in elements.
  size_t scratch_elements() const;
  // `x` and `y` have `length` elements and do not overlap.
  void run(const Complex* x, Complex* y, Complex* scratch) const;

  size_t bytes = 0;  // of the tables, as PrepareContext::cached wants to know them

 private:
  void transform(const Complex* x, int64_t stride, Complex* y, int64_t length, size_t factor) const;
  void convolve(const Complex* x, Complex* y, Complex* scratch) const;

  int64_t length_;
  std::vector<Complex> roots_;  // exp(-2 pi i k / length); of Bluestein's, exp(-pi i k^2 / length)
  std::vector<int> factors_;    // of the length; empty where it is made by a convolution
  std::unique_ptr<const Fft> inner_;
  std::vector<Complex> kernel_;  // the transform of what is convolved with
};

inline constexpr int64_t kLargestFft = int64_t{1} << 24;

}  // namespace zp::kernels
