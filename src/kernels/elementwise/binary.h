// Functions of two elements with numpy broadcasting, and Where.
//
// A Broadcast says once how the inputs of given shapes run along the output: dimensions that behave alike are
// merged, so that what remains is a few outer dimensions and an inner run along which each input either moves
// by one element or stands still. Any part of the output can then be computed by itself.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "core/dtype.h"
#include "core/function.h"
#include "kernels/isa.h"

namespace zp::kernels {

class Broadcast {
 public:
  static constexpr size_t kMaxInputs = 3;
  static constexpr size_t kMaxOuter = 8;

  // nullopt when more than kMaxOuter dimensions remain after merging. `inputs` have at most the rank of
  // `output` and broadcast to it; dimensions are aligned at the last.
  static std::optional<Broadcast> of(std::span<const std::span<const int64_t>> inputs,
                                     std::span<const int64_t> output);

  // `count` elements of each input, one after the other.
  static Broadcast flat(int64_t count);

  int64_t size() const { return rows_ * inner_; }  // elements of the output
  int64_t inner() const { return inner_; }
  bool inner_moves(size_t input) const { return inner_step_[input] != 0; }

  // Calls run(offsets, output_offset, count) for each piece of an inner run in [begin, end) of the output;
  // offsets are where each input starts.
  using Offsets = std::array<int64_t, kMaxInputs>;
  void walk(int64_t begin, int64_t end,
            FunctionRef<void(const Offsets& offsets, int64_t output_offset, int64_t count)> run) const;

 private:
  size_t outer_dims_ = 0;
  std::array<int64_t, kMaxOuter> extent_ = {};                          // outermost first
  std::array<std::array<int64_t, kMaxInputs>, kMaxOuter> stride_ = {};  // 0: broadcast
  int64_t rows_ = 1, inner_ = 1;
  std::array<int64_t, kMaxInputs> inner_step_ = {};  // 0 or 1
};

enum class Binary : uint8_t { kAdd, kSub, kMul, kDiv, kPow, kMax, kMin, kMod, kFmod, kPRelu };
enum class Compare : uint8_t { kEqual, kLess, kLessOrEqual, kGreater, kGreaterOrEqual };
enum class Logical : uint8_t { kAnd, kOr, kXor };

// y = clamp(f(a, b), lo, hi) over elements [begin, end) of the output, in float32. `y` may be an input that
// has the output's shape. Pow has its own paths for the exponents 2 and 0.5. PRelu: a < 0 ? a b : a. Max and
// Min are NaN where either operand is.
template <class Isa = Best>
void binary(Binary f, const Broadcast& shape, const float* a, const float* b, float* y, int64_t begin,
            int64_t end, float lo, float hi);

// The same for other types (float16, float64 and all integers), by way of wider ones
// (kernels/elementwise/wide.h). Integers wrap, division rounds toward zero, division by zero gives 0. Mod has
// the sign of the divisor, Fmod of the dividend.
void binary_any(Binary f, const Broadcast& shape, DType type, const void* a, const void* b, void* y,
                int64_t begin, int64_t end);

// Of any type of number, or bools.
void compare(Compare f, const Broadcast& shape, DType type, const void* a, const void* b, bool* y,
             int64_t begin, int64_t end);

void logical(Logical f, const Broadcast& shape, const bool* a, const bool* b, bool* y, int64_t begin,
             int64_t end);

// y = condition ? a : b for elements of `bytes` (1, 2, 4 or 8) bytes; inputs in the order condition, a, b.
void where(const Broadcast& shape, const bool* condition, const void* a, const void* b, void* y, size_t bytes,
           int64_t begin, int64_t end);

// ---- 8-bit integers

// One operand: 8-bit integers, x = (q - zero_point) * scale, or, with type kFloat, floats as they are.
enum class ByteType : uint8_t { kUnsigned, kSigned, kFloat };
struct ByteOperand {
  const void* data = nullptr;
  ByteType type = ByteType::kUnsigned;
  float scale = 1;
  int32_t zero_point = 0;
};
struct ByteResult {
  uint8_t* data = nullptr;  // or int8_t, by bits
  bool is_signed = false;
  float scale = 1;
  int32_t zero_point = 0;
  float lo = 0, hi = 0;  // a clamp of the float result
};
enum class ByteBinary : uint8_t { kAdd, kSub, kMul };

// q = saturate(round_half_even(clamp(f(a, b), lo, hi) / scale) + zero_point), in float32 operation by
// operation as DequantizeLinear, f and QuantizeLinear would compute it, so equal to them bit for bit. At most
// one operand is kFloat.
template <class Isa = Best>
void binary_bytes(ByteBinary f, const Broadcast& shape, const ByteOperand& a, const ByteOperand& b,
                  const ByteResult& y, int64_t begin, int64_t end);

}  // namespace zp::kernels
