// What operators of ai.onnx.ml look up: the place of a key in a list.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <type_traits>

#include "core/element_types.h"
#include "core/error.h"
#include "core/tensor.h"

namespace zp {

// Keys of one kind, some of which may be equal. Numbers are doubles or integers: each float and each integer
// is one of these.
struct Keys {
  std::map<std::string, int64_t, std::less<>> strings;
  std::map<int64_t, int64_t> numbers;

  static int64_t number(DType type, const std::byte* data, int64_t i) {
    int64_t key = 0;
    const auto of_type = [&]<class T>(Element<T>) {
      T v;
      std::memcpy(&v, data + static_cast<size_t>(i) * sizeof(T), sizeof(T));
      if constexpr (std::is_floating_point_v<T>) {
        double wide = v;
        if (std::isnan(wide)) wide = std::numeric_limits<double>::quiet_NaN();  // a NaN is as good as another
        key = std::bit_cast<int64_t>(wide == 0 ? 0.0 : wide);
      } else {
        key = v;
      }
    };
    if (!visit(type, ElementTypes<int64_t, int32_t, int16_t, float, double>(), of_type))
      throw_error(ErrorCode::kUnsupportedType, {"keys are ", name_of(type)});
    return key;
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
