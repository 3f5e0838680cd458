#include "graph/dim.h"

#include <algorithm>

#include "core/error.h"

namespace zp {
namespace {

bool is(const Dim& d, int64_t v) { return d.known() && d.value() == v; }

Dim broadcast_dim(const Dim& a, const Dim& b) {
  if (is(a, 1)) return b;
  if (is(b, 1) || a == b) return a;
  if (a.known() && b.known()) {
    throw_error(ErrorCode::kShapeMismatch,
                {"dimensions ", a.value(), " and ", b.value(), " do not broadcast"});
  }
  // One is a number other than 1: a valid model has the other equal to it or 1.
  if (a.known()) return a;
  if (b.known()) return b;
  return {};
}

}  // namespace

Dim operator+(const Dim& a, const Dim& b) {
  if (a.known() && b.known()) return a.value() + b.value();
  if (is(a, 0)) return b;
  if (is(b, 0)) return a;
  return {};
}

Dim operator-(const Dim& a, const Dim& b) {
  if (a.known() && b.known()) return a.value() >= b.value() ? Dim(a.value() - b.value()) : Dim();
  if (is(b, 0)) return a;
  return {};
}

Dim operator*(const Dim& a, const Dim& b) {
  if (a.known() && b.known()) {
    const int64_t both[] = {a.value(), b.value()};
    return element_count(both);
  }
  if (is(a, 1)) return b;
  if (is(b, 1)) return a;
  return {};
}

Dim floor_div(const Dim& a, int64_t b) {
  if (b == 1) return a;
  return a.known() && b > 0 ? Dim(a.value() / b) : Dim();
}

Dim ceil_div(const Dim& a, int64_t b) {
  if (b == 1) return a;
  return a.known() && b > 0 ? Dim(a.value() / b + (a.value() % b != 0)) : Dim();
}

SymShape symbolic(std::span<const int64_t> dims) { return {dims.begin(), dims.end()}; }

std::optional<Shape> concrete(const SymShape& shape) {
  Shape dims;
  dims.reserve(shape.size());
  for (const Dim& d : shape) {
    if (!d.known()) return std::nullopt;
    dims.push_back(d.value());
  }
  return dims;
}

std::string to_string(const SymShape& shape) {
  std::string s = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    s += i ? ", " : "";
    s += shape[i].known()            ? std::to_string(shape[i].value())
         : shape[i].symbol().empty() ? "?"
                                     : shape[i].symbol();
  }
  return s + "]";
}

bool fits(const SymShape& a, const SymShape& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Dim& x, const Dim& y) { return !contradicts(x, y); });
}

void refine(SymShape& shape, const SymShape& hint) {
  for (size_t i = 0; i < shape.size() && i < hint.size(); ++i)
    if (!shape[i].known() && shape[i].symbol().empty()) shape[i] = hint[i];
}

SymShape broadcast(const SymShape& a, const SymShape& b) {
  SymShape out(std::max(a.size(), b.size()));
  for (size_t i = 0; i < out.size(); ++i) {  // from the last dimension backwards
    const Dim da = i < a.size() ? a[a.size() - 1 - i] : Dim(1);
    const Dim db = i < b.size() ? b[b.size() - 1 - i] : Dim(1);
    out[out.size() - 1 - i] = broadcast_dim(da, db);
  }
  return out;
}

Shape broadcast(const Shape& a, const Shape& b) { return *concrete(broadcast(symbolic(a), symbolic(b))); }

}  // namespace zp
