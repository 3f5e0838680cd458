// Dimensions that may be a number, a name ("batch") or unknown, and arithmetic over them, so that one shape
// rule serves both a model with dynamic dimensions and a plan in which every dimension is a number.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace zp {

// No dimension is larger: sums and differences of a few of them stay in 64 bits.
inline constexpr int64_t kLargestDim = int64_t{1} << 40;
// Dimensions of a tensor. Real models have six or so.
inline constexpr size_t kMaxRank = 32;

class Dim {
 public:
  Dim() = default;                       // unknown
  Dim(int64_t value) : value_(value) {}  // NOLINT(google-explicit-constructor): numbers are dimensions
  static Dim symbol(std::string name) {
    Dim d;
    d.symbol_ = std::move(name);
    return d;
  }

  bool known() const { return value_ >= 0; }
  int64_t value() const { return value_; }               // -1 when not known
  const std::string& symbol() const { return symbol_; }  // empty for numbers and unknowns
  bool operator==(const Dim&) const = default;

  // Certainly different: two different numbers.
  friend bool contradicts(const Dim& a, const Dim& b) {
    return a.known() && b.known() && a.value_ != b.value_;
  }

 private:
  int64_t value_ = -1;
  std::string symbol_;
};

// Arithmetic gives unknown where an operand is not a number; adding or subtracting 0 and multiplying or
// dividing by 1 keep a symbol. Division rounds down (floor_div) or up (ceil_div). Negative results are
// unknown: check first.
Dim operator+(const Dim& a, const Dim& b);
Dim operator-(const Dim& a, const Dim& b);
Dim operator*(const Dim& a, const Dim& b);
Dim floor_div(const Dim& a, int64_t b);
Dim ceil_div(const Dim& a, int64_t b);

using SymShape = std::vector<Dim>;

SymShape symbolic(std::span<const int64_t> dims);
// nullopt when a dimension is not a number.
std::optional<Shape> concrete(const SymShape& shape);
std::string to_string(const SymShape& shape);  // "[1, 3, H, ?]"

// As many dimensions, none of which contradicts the other.
bool fits(const SymShape& a, const SymShape& b);
// Takes from `hint`, which fits, what `shape` does not know.
void refine(SymShape& shape, const SymShape& hint);

// Numpy broadcasting. Throws kShapeMismatch when the shapes certainly do not broadcast.
SymShape broadcast(const SymShape& a, const SymShape& b);
Shape broadcast(const Shape& a, const Shape& b);

}  // namespace zp
