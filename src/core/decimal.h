// Numbers with a fraction, for messages: std::to_string of floating point brings all of printf.
#pragma once

#include <string>

namespace zp {

// Up to six digits behind the point.
std::string decimal(double value);

}  // namespace zp
