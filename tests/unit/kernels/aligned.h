// Memory for packed weights and scratch, aligned as kernels ask.
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/isa.h"

namespace zp::kernels {

struct alignas(kAlignment) Block {
  std::byte bytes[kAlignment];
};
inline std::vector<Block> aligned_bytes(std::size_t bytes) {
  return std::vector<Block>(bytes / sizeof(Block) + 1);
}

}  // namespace zp::kernels
