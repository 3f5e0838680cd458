// Range: start, start + delta, ... below limit.
#include <algorithm>
#include <cmath>

#include "core/element_types.h"
#include "ops/op.h"

namespace zp {
namespace {

// How many; the specification's max(ceil((limit - start) / delta), 0).
int64_t count_of(const InferContext& c, const Tensor& start, const Tensor& limit, const Tensor& delta) {
  c.require(start.size() == 1 && limit.size() == 1 && delta.size() == 1,
            "start, limit and delta are not scalars");
  double count = 0;
  if (start.dtype() == DType::kFloat32) {
    count = std::ceil((static_cast<double>(limit.floats()[0]) - static_cast<double>(start.floats()[0])) /
                      static_cast<double>(delta.floats()[0]));
  } else if (start.dtype() == DType::kFloat64) {
    count = std::ceil((limit.data<double>()[0] - start.data<double>()[0]) / delta.data<double>()[0]);
  } else {
    const int64_t step = delta.integer_at(0);
    c.require(step != 0, "delta is 0");
    count = std::ceil((static_cast<double>(limit.integer_at(0)) - static_cast<double>(start.integer_at(0))) /
                      static_cast<double>(step));
  }
  c.require(!std::isnan(count) && count < 1e12, "delta is too small");
  return static_cast<int64_t>(std::max(0.0, count));
}

void infer_range(InferContext& c) {
  for (size_t i : {size_t{1}, size_t{2}}) {
    if (c.dtype(i) != c.dtype(0) && c.dtype(i) != DType::kUndefined && c.dtype(0) != DType::kUndefined)
      c.fail(ErrorCode::kUnsupportedType, "start, limit and delta have different types");
  }
  const Tensor* start = c.shape_argument(0);
  const Tensor* limit = c.shape_argument(1);
  const Tensor* delta = c.shape_argument(2);
  if (!start || !limit || !delta) return c.output(0, c.dtype(0), {Dim()});
  c.output(0, c.dtype(0), {Dim(count_of(c, *start, *limit, *delta))});
}

template <class T>
Kernel range(int64_t count) {
  return [count](const RunContext& run) {
    const T start = *run.in<T>(0), delta = *run.in<T>(2);
    T* out = run.out<T>(0);
    // start + i * delta; unsigned, so that nothing overflows that is not used.
    for (int64_t i = 0; i < count; ++i) {
      if constexpr (std::is_floating_point_v<T>) {
        out[i] = start + static_cast<T>(i) * delta;
      } else {
        out[i] = static_cast<T>(static_cast<uint64_t>(start) +
                                static_cast<uint64_t>(i) * static_cast<uint64_t>(delta));
      }
    }
  };
}

Kernel prepare_range(PrepareContext& c) {
  const int64_t count = c.out_dims(0)[0];
  Kernel kernel;
  if (!visit(c.dtype(0), ElementTypes<float, double, int64_t, int32_t, int16_t>(),
             [&]<class T>(Element<T>) { kernel = range<T>(count); })) {
    c.fail(ErrorCode::kUnsupportedType, {"a range of ", name_of(c.dtype(0)), " is not supported"});
  }
  return kernel;
}

// Half precision came with opset 27, and is computed in float32 there unless `stash_type` says otherwise;
// earlier opsets have neither.
void canonicalize_range(Canonicalize& c) {
  const int64_t stash = c.node.int_attribute("stash_type", 1);
  c.node.attributes.erase("stash_type");
  const DType type = c.graph[c.node.input(0)].dtype;
  if (type != DType::kFloat16 && type != DType::kBfloat16) return c.keep();
  if (stash != static_cast<int64_t>(DType::kFloat32))
    c.fail(ErrorCode::kUnsupportedOperator, {"stash_type is ", stash, ": only 1 (float32) is supported"});
  std::vector<ValueId> wide;
  for (ValueId v : c.node.inputs)
    wide.push_back(c.add("Cast", {v}, {{"to", static_cast<int64_t>(DType::kFloat32)}}));
  c.finish("Cast", {c.add("Range", wide)}, {{"to", static_cast<int64_t>(type)}});
}

constexpr OpDef kRange = {.name = "Range",
                          .inputs = "start limit delta",
                          .opsets = "11fdsil 27hb",
                          .since = 11,
                          .infer = infer_range,
                          .prepare = prepare_range,
                          .quant = {.why_float = "gives positions, not activations"},
                          .canonicalize = canonicalize_range};
const RegisterOps kRegistered({&kRange});

}  // namespace
}  // namespace zp
