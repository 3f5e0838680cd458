// How memory is laid out that kernels read.
#pragma once

#include <cstddef>

namespace zp {

// A kernel may read, never write, this many bytes past the end of any buffer that it is given, and does not
// use what it finds there. Every allocation of ours has this much room behind it: a line of a cache.
inline constexpr std::size_t kReadSlack = 64;

// Tensors, packed weights and scratch memory start at multiples of this.
inline constexpr std::size_t kAlignment = 64;

}  // namespace zp
