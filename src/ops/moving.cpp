#include "ops/moving.h"

#include <algorithm>

#include "core/grain.h"

namespace zp {

size_t element_bytes(const PrepareContext& c, size_t input) {
  const int bits = bits_of(c.dtype(input));
  if (bits < 8) {
    c.fail(ErrorCode::kUnsupportedType, {"elements of type ", name_of(c.dtype(input)), " cannot be moved"});
  }
  return static_cast<size_t>(bits) / 8;
}

Kernel box_copy(std::span<const kernels::BoxDimension> box, size_t element_bytes, int64_t first) {
  const kernels::BoxCopy copy(box, element_bytes);
  const int64_t offset = first * static_cast<int64_t>(element_bytes);
  return [copy, offset](const RunContext& run) {
    const std::byte* in = run.inputs[0] + offset;
    std::byte* to = run.outputs[0];
    const int64_t grain = grain_for({.bytes = copy.outer_bytes()});
    run.parallel_range(copy.outer(), grain,
                       [&](int64_t begin, int64_t end) { copy.run(in, to, begin, end); });
  };
}

DType unpacked(DType type) {
  if (bits_of(type) == 0 || bits_of(type) >= 8) return type;
  return is_float(type) ? DType::kFloat32 : is_signed_integer(type) ? DType::kInt8 : DType::kUint8;
}

void keep_cast_to(Canonicalize& c, DType type) {
  const ValueId end = c.node.outputs[0], before = c.graph.add_value(c.graph[end].name + "_unpacked");
  c.node.outputs[0] = before;
  c.keep();
  c.node.outputs[0] = end;
  c.finish("Cast", {before}, {{"to", static_cast<int64_t>(type)}});
}

void keep_unpacked(Canonicalize& c, std::initializer_list<size_t> inputs) {
  const DType type = c.graph[c.node.inputs[0]].dtype, bytes = unpacked(type);
  if (bytes == type) return c.keep();
  for (const size_t i : inputs)
    if (c.node.input(i) != kNoValue)
      c.node.inputs[i] = c.add("Cast", {c.node.inputs[i]}, {{"to", static_cast<int64_t>(bytes)}});
  keep_cast_to(c, type);
}

int64_t element_count(const Shape& dims, size_t from, size_t to) {
  int64_t count = 1;
  for (size_t i = from; i < to; ++i) count *= dims[i];
  return count;
}

LayoutRule reshaping_layout(const SymShape* in, const SymShape* out) {
  if (!in || in->size() < 3) return LayoutRule::kLogical;
  const Dim one(1);
  if ((*in)[1] == one || std::all_of(in->begin() + 2, in->end(), [&](const Dim& d) { return d == one; })) {
    return LayoutRule::kReadsAny;
  }
  const auto same = [&](size_t i) {
    return (*in)[i] == (*out)[i] && ((*in)[i].known() || !(*in)[i].symbol().empty());
  };
  return out && out->size() >= 3 && same(0) && same(1) ? LayoutRule::kAny : LayoutRule::kLogical;
}

}  // namespace zp
