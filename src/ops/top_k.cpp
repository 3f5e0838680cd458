// TopK: the largest or smallest values along an axis, and where they were. Of equal values the one with the
// lower index comes first; NaNs count as the largest.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/elements.h"
#include "ops/moving.h"
#include "ops/respell.h"
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
              {(*k)[0], " values of an axis of ", (*in)[axis].value()});
    out[axis] = (*k)[0];
  }
  c.output(0, c.dtype(0), out);
  c.output(1, DType::kInt64, std::move(out));
}

// Integers in the order of the elements, whatever their type; equal for equal ones.
template <class Key>
void keys_of(const void* x, DType type, int64_t at, int64_t step, int64_t count, Key key) {
  for (int64_t i = 0; i < count; ++i, at += step) {
    if (type == DType::kFloat32) {
      const float v = static_cast<const float*>(x)[at];
      // The bits of positive floats are in order already, those of negative ones in reverse.
      const auto bits = std::bit_cast<int32_t>(v);
      key(i, std::isnan(v) ? INT64_MAX : bits < 0 ? -int64_t{bits & INT32_MAX} : int64_t{bits});
    } else if (type == DType::kFloat64 || type == DType::kFloat16 || type == DType::kBfloat16) {
      double v;
      load_elements(static_cast<const std::byte*>(x), type, at, 1, &v);
      const auto bits = std::bit_cast<int64_t>(v);
      key(i, std::isnan(v) ? INT64_MAX : bits < 0 ? -(bits & INT64_MAX) : bits);
    } else {
      int64_t v;
      load_elements(static_cast<const std::byte*>(x), type, at, 1, &v);
      key(i, type == DType::kUint64 ? v ^ INT64_MIN : v);
    }
  }
}

Kernel prepare_top_k(PrepareContext& c) {
  const DType type = c.dtype(0);
  if (type == DType::kString || type == DType::kBool || bits_of(type) < 8)
    c.fail(ErrorCode::kUnsupportedType, {"the largest of ", name_of(type), " are not supported"});
  const Shape& dims = c.dims(0);
  const auto axis =
      static_cast<size_t>(c.axis(c.node().int_attribute("axis", -1), static_cast<int>(dims.size())));
  const int64_t size = dims[axis], k = c.out_dims(c.has_output(0) ? 0 : 1)[axis];
  const int64_t outer = element_count(dims, 0, axis), inner = element_count(dims, axis + 1, dims.size());
  const bool largest = c.node().int_attribute("largest", 1) != 0;
  const bool values_wanted = c.has_output(0), indices_wanted = c.has_output(1);
  const auto threads = static_cast<size_t>(std::max(1, c.threads()));
  struct Item {
    int64_t key, index;
  };
  const size_t per_thread = (static_cast<size_t>(size) * sizeof(Item) + 63) / 64 * 64;
  if (size > int64_t{1} << 26)
    c.fail(ErrorCode::kShapeMismatch, {"an axis of ", size, " elements is too long"});
  c.scratch(per_thread * threads);
  const auto element = static_cast<size_t>(bits_of(type) / 8);
  return [=](const RunContext& run) {
    run.parallel(outer * inner, [&](int64_t task, int thread) {
      const int64_t first = task / inner * size * inner + task % inner;
      Item* items = run.scratch<Item>(per_thread * static_cast<size_t>(thread));
      // The largest come first when keys are turned around; no key but INT64_MIN lacks a negative, and ~ has
      // it.
      keys_of(run.inputs[0], type, first, inner, size,
              [&](int64_t i, int64_t key) { items[i] = {largest ? ~key : key, i}; });
      std::partial_sort(items, items + k, items + size, [](const Item& a, const Item& b) {
        return a.key != b.key ? a.key < b.key : a.index < b.index;
      });  // unsorted results may be in any order: in this one
      for (int64_t i = 0; i < k; ++i) {
        const int64_t to = (task / inner * k + i) * inner + task % inner;
        const auto at = static_cast<size_t>(first + items[i].index * inner);
        if (values_wanted)
          std::memcpy(run.outputs[0] + static_cast<size_t>(to) * element, run.inputs[0] + at * element,
                      element);
        if (indices_wanted) run.out<int64_t>(1)[to] = items[i].index;
      }
    });
  };
}

void k_to_input(Canonicalize& c) {  // an attribute before opset 10
  if (c.node.attribute("k") && c.node.inputs.size() < 2) {
    const int64_t k = c.node.int_attribute("k", 1);
    c.node.attributes.erase("k");
    c.node.inputs.push_back(c.constant_value(c.node.name + "_k", Tensor::of<int64_t>({1}, {k})));
  }
  if (c.node.input(1) == kNoValue) c.fail(ErrorCode::kInvalidModel, "k is missing");
  c.keep();
}

void respell(Respell& r) {
  if (!r.before(10)) return;
  const auto k = r.integers(1);
  if (!k || k->size() != 1) return r.need(10);
  r.node.attributes.insert_or_assign("k", k->front());
  r.node.inputs[1] = kNoValue;
}

constexpr OpDef kTopK = {.name = "TopK",
                         .inputs = "X K:10",
                         .opsets = "7F 11cCsSiIlL 24b largest=1:11 sorted=1:11",
                         .types = "Ti",
                         .infer = infer_top_k,
                         .prepare = prepare_top_k,
                         .quant = {.kind = QuantRule::Kind::kSameScale},
                         .canonicalize = k_to_input,
                         .respell = respell};
const RegisterOps kRegistered({&kTopK});

}  // namespace
}  // namespace zp
