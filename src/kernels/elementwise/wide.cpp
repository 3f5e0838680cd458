#include "kernels/elementwise/wide.h"

#include <algorithm>
#include <cstring>

#include "core/element_types.h"
#include "core/elements.h"
#include "core/tensor.h"

namespace zp::kernels {
namespace {

constexpr int64_t kPiece = 128;

struct Piece {
  alignas(16) std::byte bytes[kPiece * 8];
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(bytes);
  }
};

size_t size_of(Wide wide) { return wide == Wide::kFloat ? 4 : 8; }

bool is_wide(DType type) {
  return type == DType::kFloat32 || type == DType::kFloat64 || type == DType::kInt64 ||
         type == DType::kUint64;
}

template <class T>
void repeat(T* values, int64_t count) {
  std::fill(values + 1, values + count, values[0]);
}

// `count` elements from `at` on, or element `at` as many times.
const void* widened(const void* x, DType type, Wide wide, int64_t at, bool moves, int64_t count,
                    Piece& piece) {
  const auto* bytes = static_cast<const std::byte*>(x);
  if (moves && is_wide(type)) return bytes + static_cast<size_t>(at) * size_of(wide);
  const int64_t n = moves ? count : 1;
  if (wide == Wide::kFloat) {
    if (type == DType::kFloat32) {
      piece.as<float>()[0] = static_cast<const float*>(x)[at];
    } else {
      for (int64_t i = 0; i < n; ++i)
        piece.as<float>()[i] = half_to_float(static_cast<const uint16_t*>(x)[at + i]);
    }
    if (!moves) repeat(piece.as<float>(), count);
    return piece.bytes;
  }
  if (wide == Wide::kDouble) {
    load_elements(bytes, type, at, n, piece.as<double>());
  } else {
    load_elements(bytes, type, at, n, piece.as<int64_t>());
  }
  if (!moves) repeat(piece.as<int64_t>(), count);
  return piece.bytes;
}

void narrow(Piece& piece, DType type, void* y, int64_t at, int64_t count) {
  if (type == DType::kFloat16) {
    for (int64_t i = 0; i < count; ++i)
      static_cast<uint16_t*>(y)[at + i] = float_to_half(piece.as<float>()[i]);
  } else {
    store_elements(piece.as<int64_t>(), static_cast<std::byte*>(y), type, at, count);
  }
}

void run(const Broadcast& shape, DType type, bool tests, const void* a, const void* b, void* y, int64_t begin,
         int64_t end, WideFunction f) {
  const Wide wide = wide_of(type);
  const bool in_place = tests || is_wide(type);  // results go where they belong
  const size_t size = tests ? sizeof(bool) : size_of(wide);
  const bool a_moves = shape.inner_moves(0), b_moves = shape.inner_moves(1);
  shape.walk(begin, end, [&](const auto& offsets, int64_t out, int64_t count) {
    Piece piece_a, piece_b, piece_y;
    for (int64_t i = 0; i < count; i += kPiece) {
      const int64_t n = std::min(kPiece, count - i), at = out + i;
      const void* u = widened(a, type, wide, offsets[0] + (a_moves ? i : 0), a_moves, n, piece_a);
      const void* v =
          b ? widened(b, type, wide, offsets[1] + (b_moves ? i : 0), b_moves, n, piece_b) : nullptr;
      if (in_place) {
        f(wide, u, v, static_cast<std::byte*>(y) + static_cast<size_t>(at) * size, n);
      } else {
        f(wide, u, v, piece_y.bytes, n);
        narrow(piece_y, type, y, at, n);
      }
    }
  });
}

}  // namespace

Wide wide_of(DType type) {
  if (type == DType::kFloat16 || type == DType::kFloat32) return Wide::kFloat;
  if (type == DType::kFloat64) return Wide::kDouble;
  if (type == DType::kUint64) return Wide::kUint;
  return type == DType::kBool || is_one_of(type, IntegerTypes()) ? Wide::kInt : Wide::kNone;
}

void through_wide(const Broadcast& shape, DType type, const void* a, const void* b, void* y, int64_t begin,
                  int64_t end, WideFunction f) {
  run(shape, type, false, a, b, y, begin, end, f);
}

void test_wide(const Broadcast& shape, DType type, const void* a, const void* b, bool* y, int64_t begin,
               int64_t end, WideFunction f) {
  run(shape, type, true, a, b, y, begin, end, f);
}

}  // namespace zp::kernels
