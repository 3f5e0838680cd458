#include <cmath>
#include <limits>

#include "quant/report.h"

namespace zp::quant {

double ErrorSums::sqnr_db() const {
  if (count == 0) return std::numeric_limits<double>::quiet_NaN();
  if (noise == 0) return std::numeric_limits<double>::infinity();
  return 10 * std::log10(signal / noise);
}

double ErrorSums::cosine() const {
  if (count == 0) return std::numeric_limits<double>::quiet_NaN();
  if (signal == 0 && other == 0) return 1;
  return signal == 0 || other == 0 ? 0 : dot / std::sqrt(signal * other);
}

void ErrorSums::add(const float* x, const float* y, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    const double a = x[i], b = y[i], d = a - b;
    if (!std::isfinite(a)) continue;
    ++count;
    signal += a * a;
    other += b * b;
    dot += a * b;
    noise += d * d;
    const double size = std::fabs(d);
    if (size > max_abs) max_abs = size;
  }
}

void ErrorSums::merge(const ErrorSums& o) {
  signal += o.signal, noise += o.noise, dot += o.dot, other += o.other;
  max_abs = std::max(max_abs, o.max_abs);
  count += o.count;
}

}  // namespace zp::quant
