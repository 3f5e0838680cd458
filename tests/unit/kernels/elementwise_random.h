// Inputs for tests of the elementwise kernels, and every instruction set that they are compiled for.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "kernels/isa.h"

namespace zp::kernels {

// Vectors with the room behind them that kernels may read.
template <class T>
struct Padded {
  explicit Padded(size_t count) : storage(count + 16 / sizeof(T) + 1), count(count) {}
  T* data() { return storage.data(); }
  const T* data() const { return storage.data(); }
  T& operator[](size_t i) { return storage[i]; }
  const T& operator[](size_t i) const { return storage[i]; }
  std::vector<T> values() const {
    return {storage.begin(), storage.begin() + static_cast<std::ptrdiff_t>(count)};
  }

  std::vector<T> storage;
  size_t count;
};

inline Padded<float> random_floats(size_t count, float lo, float hi, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(lo, hi);
  Padded<float> x(count);
  for (size_t i = 0; i < count; ++i) x[i] = uniform(random);
  return x;
}

inline Padded<uint8_t> random_bytes(size_t count, uint32_t seed = 1) {
  std::mt19937 random(seed);
  Padded<uint8_t> x(count);
  for (size_t i = 0; i < count; ++i) x[i] = static_cast<uint8_t>(random());
  return x;
}

using VectorSets = VectorIsas::in<::testing::Types>;
using AllSets = AllIsas::in<::testing::Types>;

struct SetName {
  template <class Isa>
  static std::string GetName(int) {
    return Isa::kName;
  }
};

}  // namespace zp::kernels
