// What operators of ai.onnx.ml make of the scores of a row: their attribute `post_transform`.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <span>
#include <string_view>

namespace zp {

inline constexpr std::string_view kTransforms[] = {"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"};
enum class Transform : uint8_t { kNone, kSoftmax, kLogistic, kSoftmaxZero, kProbit };

template <class T>
T logistic(T x) {
  const T v = 1 / (1 + std::exp(-std::abs(x)));
  return x < 0 ? 1 - v : v;
}

// The approximation of ONNX Runtime.
template <class T>
T probit(T x) {
  constexpr T kA = T(0.147);
  const T y = 2 * x - 1, log = std::log((1 - y) * (1 + y));
  const T half = 2 / (std::numbers::pi_v<T> * kA) + log / 2;
  return std::copysign(std::numbers::sqrt2_v<T> * std::sqrt(std::sqrt(half * half - log / kA) - half), y);
}

// SOFTMAX_ZERO leaves out scores of 0.
template <class T>
void softmax(std::span<T> scores, bool skips_zero) {
  const T most = *std::max_element(scores.begin(), scores.end());
  T sum = 0;
  for (T& v : scores) {
    if (skips_zero && std::abs(v) <= T(1e-7)) {
      v *= std::exp(-most);
    } else {
      sum += v = std::exp(v - most);
    }
  }
  for (T& v : scores) v /= sum;
}

template <class T>
void transform(Transform how, std::span<T> scores) {
  if (how == Transform::kSoftmax || how == Transform::kSoftmaxZero)
    return softmax(scores, how == Transform::kSoftmaxZero);
  if (how == Transform::kNone) return;
  for (T& v : scores) v = how == Transform::kLogistic ? logistic(v) : probit(v);
}

}  // namespace zp
