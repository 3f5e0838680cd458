#include "core/decimal.h"

#include <cmath>
#include <cstdint>

namespace zp {

std::string decimal(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::fabs(value) > 1e12) return value < 0 ? "less than -1e12" : "more than 1e12";
  const auto millionths = static_cast<int64_t>(std::llround(std::fabs(value) * 1e6));
  std::string text = (value < 0 && millionths ? "-" : "") + std::to_string(millionths / 1000000);
  std::string fraction = std::to_string(1000000 + millionths % 1000000);
  fraction.resize(fraction.find_last_not_of('0') + 1);
  if (fraction.size() > 1) text += "." + fraction.substr(1);
  return text;
}

std::string counted(uint64_t count, std::string_view what) {
  return std::to_string(count) + ' ' + std::string(what) + (count == 1 ? "" : "s");
}

}  // namespace zp
