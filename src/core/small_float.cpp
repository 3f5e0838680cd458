#include "core/small_float.h"

#include <bit>
#include <cmath>
#include <limits>

namespace zp {
namespace {

// A sign, an exponent, a mantissa. Types without infinities and a negative 0 ("fnuz") have their one NaN in
// the code of the negative 0; `nan` and `beyond` are without the sign otherwise.
struct Format {
  DType type;
  int8_t mantissa;               // bits
  int8_t bias;                   // of the exponent
  uint8_t sign;                  // its bit
  uint8_t largest, nan, beyond;  // codes: of the largest number, a NaN, what is too large without saturating
};

constexpr Format kFormats[] = {
    {DType::kFloat8E4M3FN, 3, 7, 0x80, 0x7e, 0x7f, 0x7f},
    {DType::kFloat8E4M3FNUZ, 3, 8, 0x80, 0x7f, 0x80, 0x80},
    {DType::kFloat8E5M2, 2, 15, 0x80, 0x7b, 0x7e, 0x7c},
    {DType::kFloat8E5M2FNUZ, 2, 16, 0x80, 0x7f, 0x80, 0x80},
    {DType::kFloat4E2M1, 1, 1, 0x08, 0x07, 0x00, 0x07},
};

const Format& format_of(DType type) {
  size_t i = 0;
  while (kFormats[i].type != type && i + 1 < std::size(kFormats)) ++i;
  return kFormats[i];
}

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// float8e8m0: the exponent of a float32, alone.
constexpr int kNoPower = 255;

float power(int code) {
  if (code == kNoPower) return kNaN;
  // The lowest power of two is a number below the normal ones.
  return code == 0 ? 0x1p-127f : std::bit_cast<float>(static_cast<uint32_t>(code) << 23);
}

int power_code(float value, Fit fit) {
  const uint32_t bits = std::bit_cast<uint32_t>(value) & 0x7fffffffu;
  const uint32_t fraction = bits & 0x7fffffu;
  int code = static_cast<int>(bits >> 23);
  if (code == kNoPower) return fraction == 0 && fit.saturate ? kNoPower - 1 : kNoPower;
  if (!fit.saturate && bits < 0x400000u) return kNoPower;
  const bool half = fraction > 0x400000u || (fraction == 0x400000u && code > 0);
  if (fit.round == Fit::Round::kUp ? fraction > 0 : fit.round == Fit::Round::kNearest && half) ++code;
  return fit.saturate && code == kNoPower ? kNoPower - 1 : code;
}

// 2^n, of normal numbers.
double power_of_two(int n) { return std::bit_cast<double>(static_cast<uint64_t>(1023 + n) << 52); }

}  // namespace

float decoded(DType type, int code) {
  if (type == DType::kFloat8E8M0) return power(code);
  const Format& f = format_of(type);
  const int magnitude = code & (f.sign - 1);
  const bool negative = (code & f.sign) != 0;
  if (magnitude > f.largest || (negative && magnitude == 0 && f.nan == f.sign)) {
    if (magnitude != f.beyond || f.beyond == f.nan) return kNaN;
    return negative ? -std::numeric_limits<float>::infinity() : std::numeric_limits<float>::infinity();
  }
  // The exponent and mantissa in their places of a float32, whose bias is 127: exact below the normal numbers
  // too.
  const float shifted = std::bit_cast<float>(static_cast<uint32_t>(magnitude) << (23 - f.mantissa));
  const float value = shifted * static_cast<float>(power_of_two(127 - f.bias));
  return negative ? -value : value;
}

int encoded(DType type, double value, Fit fit) {
  if (type == DType::kFloat8E8M0) return power_code(static_cast<float>(value), fit);
  const Format& f = format_of(type);
  const int sign = std::signbit(value) ? f.sign : 0;
  if (value != value) return f.nan | sign;
  const auto bits = std::bit_cast<uint64_t>(std::fabs(value));
  int magnitude = f.largest + 1;
  if (const int exponent = static_cast<int>(bits >> 52) - 1023; exponent < 1024) {
    const int e = exponent > 1 - f.bias ? exponent : 1 - f.bias;  // below, mantissas count the same steps
    const auto steps = static_cast<int>(std::nearbyint(std::fabs(value) * power_of_two(f.mantissa - e)));
    magnitude = ((e + f.bias - 1) << f.mantissa) + steps;
  }
  if (magnitude > f.largest) magnitude = fit.saturate ? f.largest : f.beyond;
  if (magnitude == 0 && f.nan == f.sign) return 0;
  return magnitude | sign;
}

}  // namespace zp
