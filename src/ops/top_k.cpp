// TopK: the largest or smallest values along an axis, and where they were. Of equal values the one with the
// lower index comes first; NaNs count as the smallest.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/shape_arguments.h"

namespace zp {
namespace {

void infer_top_k(InferContext& c) {
  const SymShape* in = c.shape(0);
  if (!in) {
    c.output(0, c.dtype(0));
    return c.output(1, DType::kInt64);
  }
  const auto axis = static_cast<size_t>(c.axis(c.ints("axis", -1), static_cast<int>(in->size())));
  SymShape out = *in;
  out[axis] = Dim();
  if (const auto k = shape_integers(c, 1)) {
    c.require(k->size() == 1 && (*k)[0] >= 0, "k is not one number of values");
    c.require(!(*in)[axis].known() || (*k)[0] <= (*in)[axis].value(),
              std::to_string((*k)[0]) + " values of an axis of " + std::to_string((*in)[axis].value()));
    out[axis] = (*k)[0];
  }
  c.output(0, c.dtype(0), out);
  c.output(1, DType::kInt64, std::move(out));
}

template <class T>
bool before(T a, T b) {  // a is smaller than b
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a)) return !std::isnan(b);
    if (std::isnan(b)) return false;
  }
  return a < b;
}

template <class T>
Kernel top_k(PrepareContext& c) {
  const Shape& dims = c.dims(0);
  const auto axis =
      static_cast<size_t>(c.axis(c.node().int_attribute("axis", -1), static_cast<int>(dims.size())));
  const int64_t size = dims[axis], k = c.out_dims(c.has_output(0) ? 0 : 1)[axis];
  const int64_t outer = product(dims, 0, axis), inner = product(dims, axis + 1, dims.size());
  const bool largest = c.node().int_attribute("largest", 1) != 0;
  const bool values_wanted = c.has_output(0), indices_wanted = c.has_output(1);
  const auto threads = static_cast<size_t>(std::max(1, c.threads()));
  const size_t per_thread = (static_cast<size_t>(size) * sizeof(int32_t) + 63) / 64 * 64;
  if (size > int64_t{1} << 30)
    c.fail(ErrorCode::kShapeMismatch, "an axis of " + std::to_string(size) + " elements");
  c.scratch(per_thread * threads);
  return [=](const RunContext& run) {
    run.parallel(outer * inner, [&](int64_t task, int thread) {
      const T* in = run.in<T>(0) + task / inner * size * inner + task % inner;
      int32_t* order = run.scratch<int32_t>(per_thread * static_cast<size_t>(thread));
      std::iota(order, order + size, 0);
      const auto first = [&](int32_t a, int32_t b) {
        const T x = in[a * inner], y = in[b * inner];
        if (before(x, y)) return !largest;
        if (before(y, x)) return largest;
        return a < b;
      };
      std::partial_sort(order, order + k, order + size,
                        first);  // unsorted results may be in any order: in this one
      for (int64_t i = 0; i < k; ++i) {
        const int64_t to = (task / inner * k + i) * inner + task % inner;
        if (values_wanted) run.out<T>(0)[to] = in[order[i] * inner];
        if (indices_wanted) run.out<int64_t>(1)[to] = order[i];
      }
    });
  };
}

Kernel prepare_top_k(PrepareContext& c) {
  switch (c.dtype(0)) {
    case DType::kFloat32:
      return top_k<float>(c);
    case DType::kInt64:
      return top_k<int64_t>(c);
    case DType::kInt32:
      return top_k<int32_t>(c);
    case DType::kUint8:
      return top_k<uint8_t>(c);
    case DType::kInt8:
      return top_k<int8_t>(c);
    default:
      c.fail(ErrorCode::kUnsupportedType, "the largest of " + std::string(name_of(c.dtype(0))));
  }
}

void k_to_input(Canonicalize& c) {  // an attribute before opset 10
  if (c.node.attribute("k") && c.node.inputs.size() < 2) {
    const int64_t k = c.node.int_attribute("k", 1);
    c.node.attributes.erase("k");
    c.node.inputs.push_back(c.constant_value(c.node.name + "_k", Tensor::of<int64_t>({1}, {k})));
  }
  if (c.node.input(1) == kNoValue) c.fail(ErrorCode::kInvalidModel, "there is no k");
  c.keep();
}

const RegisterOp kTopK({.name = "TopK",
                        .infer = infer_top_k,
                        .prepare = prepare_top_k,
                        .quant = {.kind = QuantRule::Kind::kSameScale},
                        .canonicalize = k_to_input});

}  // namespace
}  // namespace zp
