// ConstantOfShape: one value in every element of a tensor of a given shape.
#include <algorithm>
#include <cstring>

#include "ops/cast.h"
#include "ops/known_range.h"
#include "ops/moving.h"
#include "ops/shape_arguments.h"

namespace zp {
namespace {

Tensor value_of(const Node& n) {
  const Attribute* a = n.attribute("value");
  if (!a) return Tensor::of<float>({1}, {0.0f});
  const Tensor* t = std::get_if<Tensor>(a);
  if (!t || t->size() != 1 || bits_of(t->dtype()) < 8) {
    throw_error(ErrorCode::kInvalidModel, "attribute 'value' is not a tensor of one element",
                {.node = n.name, .op = qualified_name(n)});
  }
  return *t;
}

void infer(InferContext& c) {
  const DType dtype = value_of(c.node()).dtype();
  const auto shape = shape_integers(c, 0);
  if (!shape) {
    const auto rank = shape_length(c, 0);
    return rank ? c.output(0, dtype, SymShape(*rank)) : c.output(0, dtype);
  }
  c.require(std::all_of(shape->begin(), shape->end(), [](int64_t d) { return d >= 0; }),
            {"there is no tensor of shape ", *shape});
  c.output(0, dtype, symbolic(*shape));
}

Kernel prepare(PrepareContext& c) {
  const Tensor value = value_of(c.node());
  const size_t bytes = value.bytes();
  const int64_t count = element_count(c.out_dims(0));
  return [value, bytes, count](const RunContext& r) {
    std::byte* y = r.outputs[0];
    if (std::all_of(value.raw(), value.raw() + bytes, [](std::byte b) { return b == std::byte{0}; })) {
      std::memset(y, 0, bytes * static_cast<size_t>(count));
      return;
    }
    for (int64_t i = 0; i < count; ++i, y += bytes) std::memcpy(y, value.raw(), bytes);
  };
}

void canonicalize(Canonicalize& c) {
  // Half precision (quant/half.h) goes by the attribute.
  const auto value = c.node.attributes.try_emplace("value", Tensor::of<float>({1}, {0.0f})).first;
  const auto* t = std::get_if<Tensor>(&value->second);
  const DType type = t ? t->dtype() : DType::kFloat32, bytes = unpacked(type);
  if (bytes == type) return c.keep();
  value->second = cast(*t, bytes);
  keep_cast_to(c, type);
}

KnownRange range(const RangeContext& c) {
  const Tensor value = value_of(c.node);
  if (value.dtype() != DType::kFloat32) return {};
  return {.lo = value.floats()[0], .hi = value.floats()[0], .reached = true};
}

constexpr OpDef kConstantOfShape = {.name = "ConstantOfShape",
                                    .opsets = "@o 9No 20bG 21qQ 23m 24e 25pP",
                                    .since = 9,
                                    .types = "i",
                                    .infer = infer,
                                    .prepare = prepare,
                                    .quant = {.why_float = "makes constants", .range = range},
                                    .canonicalize = canonicalize};
const RegisterOps kRegistered({&kConstantOfShape});

}  // namespace
}  // namespace zp
