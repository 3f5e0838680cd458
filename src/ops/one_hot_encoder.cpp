// OneHotEncoder of ai.onnx.ml: for each element a vector of zeros, with a one at the place of its category.
#include <algorithm>
#include <memory>
#include <string>

#include "ops/ml.h"
#include "ops/ml_keys.h"
#include "ops/op.h"

namespace zp {
namespace {

// Strings or integers, whichever there are.
Tensor categories_of(const Node& node) {
  const std::vector<std::string>& strings = list_of<std::string>(node, "cats_strings");
  const std::vector<int64_t>& integers = list_of<int64_t>(node, "cats_int64s");
  if (strings.empty() == integers.empty())
    fail_ml("exactly one of the attributes 'cats_strings' and 'cats_int64s' should have elements");
  const Shape dims{static_cast<int64_t>(std::max(strings.size(), integers.size()))};
  return integers.empty() ? Tensor::of_strings(dims, strings) : Tensor::of<int64_t>(dims, integers);
}

void infer_encoder(InferContext& c) {
  const Tensor categories = categories_of(c.node());
  if (c.dtype(0) != DType::kUndefined && c.dtype(0) != categories.dtype()) {
    c.fail(ErrorCode::kInvalidModel,
           {"the categories are ", name_of(categories.dtype()), ", the input ", name_of(c.dtype(0))},
           "give categories of the type of the input");
  }
  if (!c.shape(0)) return c.output(0, DType::kFloat32);
  SymShape dims = *c.shape(0);
  dims.emplace_back(categories.size());
  c.output(0, DType::kFloat32, std::move(dims));
}

std::string no_category(int64_t element, int64_t categories) {
  return Text{"element ", element, " is none of ", categories,
              " categories, and attribute 'zeros' is 0: feed a category, or set 'zeros' to 1"}
      .str();
}

Kernel prepare_encoder(PrepareContext& c) {
  const Tensor categories = categories_of(c.node());
  // Of equal ones the last counts, as in ONNX Runtime.
  const auto keys = std::make_shared<const Keys>(categories, Keys::Counts::kLast);
  const bool refuses = c.node().int_attribute("zeros", 1) == 0;
  return [=, type = c.dtype(0), count = element_count(c.dims(0)),
          width = categories.size()](const RunContext& r) {
    float* y = r.out<float>(0);
    std::fill_n(y, count * width, 0.0f);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = keys->find(type, r.inputs[0], i);
      if (at >= 0) y[i * width + at] = 1;
      if (at < 0 && refuses) r.fault->report(0, i, i, width, no_category);
    }
  };
}

// Numbers of all types become integers.
void canonicalize(Canonicalize& c) {
  ValueId& x = c.node.inputs[0];
  const DType type = c.graph[x].dtype;
  if (type == DType::kUndefined) c.wait("the type of the input is not known");
  if (type != DType::kString && type != DType::kInt64)
    x = c.add("Cast", {x}, {{"to", static_cast<int64_t>(DType::kInt64)}});
  c.keep();
}

constexpr OpDef kOneHotEncoder = {.domain = kMl,
                                  .name = "OneHotEncoder",
                                  .types = "*",
                                  .infer = infer_encoder,
                                  .prepare = prepare_encoder,
                                  .quant = {.why_float = "gives zeros and ones"},
                                  .canonicalize = canonicalize};
const RegisterOps kRegistered({&kOneHotEncoder});

}  // namespace
}  // namespace zp
