// EyeLike: a matrix of the input's shape with ones on a diagonal.
#include <cstring>

#include "ops/cast.h"
#include "ops/moving.h"

namespace zp {
namespace {

DType type_of(const InferContext& c) {
  const Attribute* dtype = c.node().attribute("dtype");
  if (!dtype) return c.dtype(0);
  const int64_t number = c.ints("dtype", 0);
  const auto type = static_cast<DType>(number);
  if (number != static_cast<uint8_t>(number) || bits_of(type) < 8 || type == DType::kString)
    c.fail(ErrorCode::kUnsupportedType, {"dtype ", number, " is not supported"});
  return type;
}

void infer(InferContext& c) {
  const SymShape* x = c.shape(0);
  c.require(!x || x->size() == 2, "the input should be a matrix");
  if (!x) return c.output(0, type_of(c), {Dim(), Dim()});
  c.output(0, type_of(c), *x);
}

Kernel prepare(PrepareContext& c) {
  const Shape& y = c.out_dims(0);
  const DType type = c.out_dtype(0);
  if (bits_of(type) < 8 || type == DType::kString)
    c.fail(ErrorCode::kUnsupportedType, {"a matrix of ", name_of(type), " is not supported"});
  const Tensor one = cast(Tensor::scalar(1.0f), type);
  return [one, bytes = one.bytes(), rows = y[0], columns = y[1],
          k = c.node().int_attribute("k", 0)](const RunContext& run) {
    std::memset(run.outputs[0], 0, static_cast<size_t>(rows * columns) * bytes);
    if (k >= columns || k <= -rows) return;
    for (int64_t i = k < 0 ? -k : 0; i < rows && i + k < columns; ++i)
      std::memcpy(run.outputs[0] + static_cast<size_t>(i * columns + i + k) * bytes, one.raw(), bytes);
  };
}

constexpr OpDef kEyeLike = {.name = "EyeLike",
                            .inputs = "input",
                            .opsets = "@o 9No 22b",
                            .since = 9,
                            .infer = infer,
                            .prepare = prepare,
                            .quant = {.why_float = "makes a constant, which needs no scale"}};
const RegisterOps kRegistered({&kEyeLike});

}  // namespace
}  // namespace zp
