// Operators of ai.onnx.ml that prepare features, spelled in ordinary ones: Scaler, Normalizer, Binarizer,
// ArrayFeatureExtractor. Numbers of all types become float32, as in ONNX Runtime.
#include <string>
#include <utility>
#include <vector>

#include "ops/ml.h"
#include "ops/op.h"

namespace zp {

ValueId as_float(Canonicalize& c, ValueId x) {
  if (c.graph[x].dtype == DType::kFloat32) return x;
  return c.add("Cast", {x}, {{"to", static_cast<int64_t>(DType::kFloat32)}});
}

ValueId vector_of(Canonicalize& c, std::string_view name, const std::vector<float>& values) {
  return c.constant_value(name, Tensor::of<float>({static_cast<int64_t>(values.size())}, values));
}

namespace {

void scale(Canonicalize& c) {
  std::vector<float> offset = c.node.floats_attribute("offset", {0.0F}),
                     scale = c.node.floats_attribute("scale", {1.0F});
  if (offset.empty() || scale.empty()) c.fail(ErrorCode::kInvalidModel, "offset and scale have no numbers");
  const ValueId moved = c.add("Sub", {as_float(c, c.node.inputs[0]), vector_of(c, "offset", offset)});
  c.finish("Mul", {moved, vector_of(c, "scale", scale)});
}

// Rows of which nothing is left to divide by stay as they are.
void normalize(Canonicalize& c) {
  const std::string norm = c.node.string_attribute("norm", "MAX");
  const ValueId x = as_float(c, c.node.inputs[0]);
  const ValueId last = c.constant_value("last", Tensor::of<int64_t>({1}, {-1}));
  const auto reduced = [&](std::string_view op, ValueId of) { return c.add(op, {of, last}); };
  ValueId by = kNoValue;
  if (norm == "MAX") {
    by = reduced("ReduceMax", x);
  } else if (norm == "L1") {
    by = reduced("ReduceSum", c.add("Abs", {x}));
  } else if (norm == "L2") {
    by = c.add("Sqrt", {reduced("ReduceSum", c.add("Mul", {x, x}))});
  } else {
    c.fail(ErrorCode::kInvalidModel, {"norm '", norm, "' is none of MAX, L1 and L2"});
  }
  const ValueId zero = c.constant_value("zero", Tensor::scalar(0.0F));
  const ValueId one = c.constant_value("one", Tensor::scalar(1.0F));
  c.finish("Div", {x, c.add("Where", {c.add("Equal", {by, zero}), one, by})});
}

void binarize(Canonicalize& c) {
  const DType type = c.graph[c.node.inputs[0]].dtype;
  if (type == DType::kUndefined) c.wait("the type of the input is not known");
  const ValueId threshold =
      c.constant_value("threshold", Tensor::scalar(c.node.float_attribute("threshold", 0)));
  const ValueId above = c.add("Greater", {as_float(c, c.node.inputs[0]), threshold});
  c.finish("Cast", {above}, {{"to", static_cast<int64_t>(type)}});
}

// Columns by their numbers; a vector is one row.
void extract(Canonicalize& c) {
  const SymShape* shape = c.shape(0);
  if (!shape) c.wait("the rank of the input is not known");
  const ValueId all = c.constant_value("all", Tensor::of<int64_t>({1}, {-1}));
  const ValueId columns = c.add("Reshape", {c.node.inputs[1], all});
  ValueId x = c.node.inputs[0];
  if (shape->size() == 1)
    x = c.add("Reshape", {x, c.constant_value("row", Tensor::of<int64_t>({2}, {1, -1}))});
  c.finish("Gather", {x, columns}, {{"axis", int64_t{-1}}});
}

constexpr OpDef kScaler = {.domain = kMl, .name = "Scaler", .types = "*", .canonicalize = scale};
constexpr OpDef kNormalizer = {.domain = kMl, .name = "Normalizer", .types = "*", .canonicalize = normalize};
constexpr OpDef kBinarizer = {.domain = kMl, .name = "Binarizer", .types = "*", .canonicalize = binarize};
constexpr OpDef kExtractor = {
    .domain = kMl, .name = "ArrayFeatureExtractor", .inputs = "X Y", .types = "*", .canonicalize = extract};
const RegisterOps kRegistered({&kScaler, &kNormalizer, &kBinarizer, &kExtractor});

}  // namespace
}  // namespace zp
