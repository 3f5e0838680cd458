// Compress: the slices along an axis (or the elements, in row-major order) for which a condition holds. How
// many there are decides the shape of the output, so the condition is a shape argument.
#include <cstring>

#include "ops/moving.h"

namespace zp {
namespace {

std::vector<int64_t> chosen(const Tensor& condition) {
  std::vector<int64_t> found;
  for (int64_t i = 0; i < condition.size(); ++i)
    if (condition.data<bool>()[static_cast<size_t>(i)]) found.push_back(i);
  return found;
}

void infer(InferContext& c) {
  const SymShape* x = c.shape(0);
  const Tensor* condition = c.shape_argument(1);
  if (condition) {
    c.require(condition->dtype() == DType::kBool && condition->dims().size() == 1,
              "the condition should be a list of bools");
  }
  const Dim count = condition ? Dim(std::ssize(chosen(*condition))) : Dim();
  if (!c.node().attribute("axis")) return c.output(0, c.dtype(0), SymShape{count});
  if (!x) return c.output(0, c.dtype(0));
  SymShape out = *x;
  out[static_cast<size_t>(c.axis(c.ints("axis", 0), static_cast<int>(x->size())))] = count;
  c.output(0, c.dtype(0), std::move(out));
}

Kernel prepare(PrepareContext& c) {
  const Tensor* condition = c.constant(1);
  if (!condition) c.fail(ErrorCode::kUnsupportedOperator, "the condition is only known while the model runs");
  const Shape& x = c.dims(0);
  size_t axis = 0;
  int64_t outer = 1, length = element_count(x), inner = 1;
  if (c.node().attribute("axis")) {
    const int64_t given = c.node().int_attribute("axis", 0), rank = std::ssize(x);
    axis = static_cast<size_t>(given < 0 ? given + rank : given);
    outer = element_count(x, 0, axis);
    length = x[axis];
    inner = element_count(x, axis + 1, x.size());
  }
  std::vector<int64_t> from = chosen(*condition);
  if (!from.empty() && from.back() >= length) {
    c.fail_input(1, ErrorCode::kIndexOutOfRange,
                 {"element ", from.back(), " is chosen, and there are ", length});
  }
  const size_t bytes = element_bytes(c, 0) * static_cast<size_t>(inner);
  return [=, from = std::move(from)](const RunContext& run) {
    std::byte* to = run.outputs[0];
    for (int64_t o = 0; o < outer; ++o) {
      for (const int64_t i : from) {
        std::memcpy(to, run.inputs[0] + static_cast<size_t>(o * length + i) * bytes, bytes);
        to += bytes;
      }
    }
  };
}

constexpr OpDef kCompress = {.name = "Compress",
                             .inputs = "input condition",
                             .opsets = "9A 28b axis<0:11",
                             .since = 9,
                             .types = "Tb",
                             .infer = infer,
                             .prepare = prepare,
                             .quant = {.why_float = "has no form for integers here"}};
const RegisterOps kRegistered({&kCompress});

}  // namespace
}  // namespace zp
