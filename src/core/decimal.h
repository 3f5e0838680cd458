// Numbers in messages.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace zp {

// Up to six digits behind the point. (std::to_string of floating point brings all of printf.)
std::string decimal(double value);

// "1 layer", "2 layers".
std::string counted(uint64_t count, std::string_view what);

}  // namespace zp
