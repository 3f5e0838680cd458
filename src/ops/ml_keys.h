// What operators of ai.onnx.ml look up: the place of a key in a list.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <string>

#include "core/error.h"
#include "core/tensor.h"

namespace zp {

// Keys of one kind, of which some may be the same; numbers as doubles or integers, of which each float and
// integer is one.
struct Keys {
  std::map<std::string, int64_t, std::less<>> strings;
  std::map<int64_t, int64_t> numbers;

  static int64_t number(DType type, const std::byte* data, int64_t i) {
    const auto at = [&]<class T>(T) {
      T v;
      std::memcpy(&v, data + static_cast<size_t>(i) * sizeof(T), sizeof(T));
      return v;
    };
    const auto bits = [](double v) {
      if (std::isnan(v)) v = std::numeric_limits<double>::quiet_NaN();  // a NaN is as good as another
      return std::bit_cast<int64_t>(v == 0 ? 0.0 : v);
    };
    switch (type) {
      case DType::kInt64:
        return at(int64_t{});
      case DType::kInt32:
        return at(int32_t{});
      case DType::kInt16:
        return at(int16_t{});
      case DType::kFloat32:
        return bits(static_cast<double>(at(float{})));
      case DType::kFloat64:
        return bits(at(double{}));
      default:
        throw_error(ErrorCode::kUnsupportedType, {"keys are ", name_of(type)});
    }
  }

  // -1: there is none.
  int64_t find(DType type, const std::byte* data, int64_t i) const {
    if (type == DType::kString) {
      const auto found = strings.find(string_at(data, i));
      return found == strings.end() ? -1 : found->second;
    }
    const auto found = numbers.find(number(type, data, i));
    return found == numbers.end() ? -1 : found->second;
  }

  // Which of equal keys counts.
  enum class Counts : uint8_t { kFirst, kLast };
  Keys(const Tensor& keys, Counts which) {
    const auto put = [which](auto& map, const auto& key, int64_t i) {
      const auto [at, added] = map.emplace(key, i);
      if (!added && which == Counts::kLast) at->second = i;
    };
    for (int64_t i = 0; i < keys.size(); ++i) {
      if (keys.dtype() == DType::kString) {
        put(strings, string_at(keys.raw(), i), i);
      } else {
        put(numbers, number(keys.dtype(), keys.raw(), i), i);
      }
    }
  }
};

}  // namespace zp
