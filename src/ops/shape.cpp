// Shape and Size: known as soon as the dimensions are, which in a plan is before it runs.
#include <algorithm>

#include "ops/op.h"

namespace zp {
namespace {

struct Part {
  size_t begin, end;
};

Part part_of(const Node& node, size_t rank) {
  const auto bounded = [&](int64_t i) {
    const auto r = static_cast<int64_t>(rank);
    return static_cast<size_t>(std::clamp<int64_t>(i < 0 ? i + r : i, 0, r));
  };
  const size_t begin = bounded(node.int_attribute("start", 0));
  const size_t end = node.attribute("end") ? bounded(node.int_attribute("end", 0)) : rank;
  return {begin, std::max(begin, end)};
}

void infer_shape(InferContext& c) {
  const SymShape* in = c.shape(0);
  if (!in) return c.output(0, DType::kInt64, {Dim()});
  const Part part = part_of(c.node(), in->size());
  const auto dims = concrete(SymShape(in->begin() + static_cast<ptrdiff_t>(part.begin),
                                      in->begin() + static_cast<ptrdiff_t>(part.end)));
  const auto count = static_cast<int64_t>(part.end - part.begin);
  if (!dims) return c.output(0, DType::kInt64, {Dim(count)});
  c.output(0, Tensor::of<int64_t>({count}, *dims));
}

void infer_size(InferContext& c) {
  const auto dims = c.shape(0) ? concrete(*c.shape(0)) : std::nullopt;
  if (!dims) return c.output(0, DType::kInt64, SymShape{});
  c.output(0, Tensor::scalar<int64_t>(element_count(*dims)));
}

Kernel write(std::vector<int64_t> values) {
  return [values = std::move(values)](const RunContext& run) {
    std::copy(values.begin(), values.end(), run.out<int64_t>(0));
  };
}

Kernel prepare_shape(PrepareContext& c) {
  const Shape dims = c.layout(0) == Layout::kChannelsLast ? to_logical(c.dims(0)) : c.dims(0);
  const Part part = part_of(c.node(), dims.size());
  return write(
      {dims.begin() + static_cast<ptrdiff_t>(part.begin), dims.begin() + static_cast<ptrdiff_t>(part.end)});
}

Kernel prepare_size(PrepareContext& c) { return write({element_count(c.dims(0))}); }

LayoutRule reads_any(const InferContext&) { return LayoutRule::kReadsAny; }

constexpr OpDef kShape = {.name = "Shape",
                          .opsets = "7A 13b 19G 21qQ 23m 24e 25pP end=:15 start:15",
                          .infer = infer_shape,
                          .prepare = prepare_shape,
                          .layout = reads_any,
                          .quant = {.why_float = "gives dimensions, not activations"}};
constexpr OpDef kSize = {.name = "Size",
                         .opsets = "7A 13b 19G 21qQ 23m 24e 25pP",
                         .infer = infer_size,
                         .prepare = prepare_size,
                         .layout = reads_any,
                         .quant = {.why_float = "gives dimensions, not activations"}};
const RegisterOps kRegistered({&kShape, &kSize});

}  // namespace
}  // namespace zp
