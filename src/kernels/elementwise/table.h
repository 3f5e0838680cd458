// Functions of one byte, as tables of their 256 values.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/isa.h"

namespace zp::kernels {

inline constexpr std::size_t kTableSize = 256;

// to[i] = table[from[i]]. `to` may be `from`.
template <class Isa = Best>
void look_up(const std::uint8_t* table, const std::uint8_t* from, std::uint8_t* to, std::size_t count);

}  // namespace zp::kernels
