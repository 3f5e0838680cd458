// BitwiseAnd, BitwiseOr, BitwiseXor and BitShift, of integers.
#include <type_traits>

#include "core/element_types.h"
#include "core/grain.h"
#include "ops/binary.h"
#include "ops/unary.h"

namespace zp {
namespace {

using kernels::Broadcast;

enum class Bits : uint8_t { kAnd, kOr, kXor, kLeft, kRight };

// A shift by all bits of the type or more, or by a negative number, gives -1 for a negative number to the
// right, else 0.
template <class T>
T apply(Bits f, T a, T b) {
  using Unsigned = std::make_unsigned_t<T>;
  const bool fits = static_cast<Unsigned>(b) < 8 * sizeof(T);
  switch (f) {
    case Bits::kAnd:
      return a & b;
    case Bits::kOr:
      return a | b;
    case Bits::kXor:
      return a ^ b;
    case Bits::kLeft:
      return fits ? static_cast<T>(static_cast<Unsigned>(a) << b) : T{0};
    case Bits::kRight:
      return fits ? static_cast<T>(a >> b) : static_cast<T>(a < 0 ? -1 : 0);
  }
  return 0;
}

template <class T>
Kernel of_type(Bits f, const Broadcast& shape) {
  return [=](const RunContext& r) {
    r.parallel_range(shape.size(), grain_for({.work = 1}), [&](int64_t begin, int64_t end) {
      const int64_t step_a = shape.inner_moves(0), step_b = shape.inner_moves(1);
      shape.walk(begin, end, [&](const auto& offsets, int64_t out, int64_t count) {
        const T *a = r.in<T>(0) + offsets[0], *b = r.in<T>(1) + offsets[1];
        T* to = r.out<T>(0) + out;
        for (int64_t i = 0; i < count; ++i) to[i] = apply(f, a[i * step_a], b[i * step_b]);
      });
    });
  };
}

Kernel prepare(PrepareContext& c, Bits f) {
  require_same_type(c);
  const Broadcast shape = broadcast_of(c);
  Kernel kernel;
  if (!visit(c.dtype(0), IntegerTypes(), [&]<class T>(Element<T>) { kernel = of_type<T>(f, shape); }))
    fail_type(c);
  return kernel;
}

template <Bits kFunction>
Kernel prepare_bitwise(PrepareContext& c) {
  return prepare(c, kFunction);
}

Kernel prepare_shift(PrepareContext& c) {
  const std::string direction = c.node().string_attribute("direction", "");
  if (direction != "LEFT" && direction != "RIGHT")
    c.fail(ErrorCode::kInvalidModel, {"direction is '", direction, "', not LEFT or RIGHT"});
  return prepare(c, direction == "LEFT" ? Bits::kLeft : Bits::kRight);
}

constexpr std::string_view kWhyFloat = "works on bits, not on activations";

constexpr OpDef of_two(std::string_view name, std::string_view inputs, int since, std::string_view opsets,
                       Kernel (*prepare)(PrepareContext&)) {
  return {.name = name,
          .inputs = inputs,
          .opsets = opsets,
          .since = since,
          .infer = infer_broadcast,
          .prepare = prepare,
          .layout = any_layout,
          .broadcasts = true,
          .quant = {.why_float = kWhyFloat}};
}

constexpr OpDef kAnd = of_two("BitwiseAnd", "A B", 18, "18cCsSiIlL", prepare_bitwise<Bits::kAnd>);
constexpr OpDef kOr = of_two("BitwiseOr", "A B", 18, "18cCsSiIlL", prepare_bitwise<Bits::kOr>);
constexpr OpDef kXor = of_two("BitwiseXor", "A B", 18, "18cCsSiIlL", prepare_bitwise<Bits::kXor>);
constexpr OpDef kShift = of_two("BitShift", "X Y", 11, "11CSIL 28csil", prepare_shift);
const RegisterOps kRegistered({&kAnd, &kOr, &kXor, &kShift});

}  // namespace
}  // namespace zp
