// FNV-1a (Fowler, Noll, Vo): a quick hash, for keys that no attacker chooses.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zp {

struct Fnv1a {
  uint64_t value = 0xcbf29ce484222325u;
  void add(const void* data, size_t count) {
    for (size_t i = 0; i < count; ++i)
      value = (value ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001b3u;
  }
};

}  // namespace zp
