// Operators of ai.onnx.ml that prepare features, spelled in ordinary ones: Scaler, Normalizer, Binarizer,
// ArrayFeatureExtractor, Imputer, FeatureVectorizer. Numbers of all types become float32, as in ONNX Runtime,
// unless they are only moved.
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "ops/cast.h"
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

// Rows with a norm of 0 stay as they are.
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

// A value for all columns, or one for each: a vector along the last dimension. With more than two dimensions
// ONNX Runtime counts along the second.
void impute(Canonicalize& c) {
  const ValueId x = c.node.inputs[0];
  const DType type = c.graph[x].dtype;
  if (type == DType::kUndefined) c.wait("the type of the input is not known");
  const bool floats = type == DType::kFloat32 || type == DType::kFloat64;
  if (!floats && type != DType::kInt64 && type != DType::kInt32)
    c.fail(ErrorCode::kUnsupportedType, {"the input is ", name_of(type)});
  const std::string_view key = floats ? "imputed_value_floats" : "imputed_value_int64s";
  const std::vector<float>& some = list_of<float>(c.node, "imputed_value_floats");
  const std::vector<int64_t>& others = list_of<int64_t>(c.node, "imputed_value_int64s");
  const auto count = static_cast<int64_t>(floats ? some.size() : others.size());
  if (count == 0) {
    c.fail(ErrorCode::kInvalidModel,
           {"attribute '", key, "' has no elements, and the input is ", name_of(type)},
           "give the values for the type of the input, and no others");
  }
  if (count > 1) {
    const SymShape* shape = c.shape(0);
    if (!shape || shape->empty() || !shape->back().known()) c.wait("the number of columns is not known");
    if (shape->back().value() != count) {
      c.fail(ErrorCode::kInvalidModel,
             {"attribute '", key, "' has ", count, " elements for an input of shape ", *shape},
             "give one value, or one for each column");
    }
    if (shape->size() > 2)
      c.fail(ErrorCode::kUnsupportedOperator, {"values for each column of an input of shape ", *shape});
  }
  const Shape dims = count == 1 ? Shape{} : Shape{count};
  const auto in_type = [&](std::string_view name, const Tensor& t) {
    return c.constant_value(name, cast(t, type));
  };
  const float missing = c.node.float_attribute("replaced_value_float", 0);
  ValueId found = kNoValue;
  if (floats && std::isnan(missing)) {
    found = c.add("IsNaN", {x});
  } else {
    const Tensor of =
        floats ? Tensor::scalar(missing) : Tensor::scalar(c.node.int_attribute("replaced_value_int64", 0));
    found = c.add("Equal", {x, in_type("missing", of)});
  }
  const Tensor values = floats ? Tensor::of<float>(dims, some) : Tensor::of<int64_t>(dims, others);
  c.finish("Where", {found, in_type("imputed", values), x});
}

// Rows side by side. An input that has more columns than are asked for loses the last, and one that has fewer
// gets zeros, as in ONNX Runtime.
void vectorize(Canonicalize& c) {
  const std::vector<int64_t>& columns = list_of<int64_t>(c.node, "inputdimensions");
  require_size("inputdimensions", columns.size(), c.node.inputs.size());
  std::vector<ValueId> parts;
  for (size_t i = 0; i < columns.size(); ++i) {
    const SymShape* shape = c.shape(i);
    if (!shape) c.wait("the ranks of the inputs are not known");
    if (shape->empty() || shape->size() > 2) {
      c.fail(ErrorCode::kShapeMismatch, {"input ", i, " has ", shape->size(), " dimensions, not one or two"});
    }
    if (!shape->back().known()) c.wait("the numbers of columns are not known");
    const int64_t has = shape->back().value();
    constexpr int64_t kMost = int64_t{1} << 31;
    if (columns[i] < 0 || columns[i] > kMost) {
      c.fail(ErrorCode::kInvalidModel, {"attribute 'inputdimensions' has the element ", columns[i]},
             "give the number of columns of each input");
    }
    ValueId part = c.node.inputs[i];
    if (shape->size() == 1)
      part = c.add("Reshape", {part, c.constant_value("row", Tensor::of<int64_t>({2}, {1, has}))});
    const auto number = [&](int64_t v) { return c.constant_value("columns", Tensor::of<int64_t>({1}, {v})); };
    if (has > columns[i]) part = c.add("Slice", {part, number(0), number(columns[i]), number(1)});
    part = as_float(c, part);
    if (has < columns[i]) {
      const std::vector<int64_t> pads{0, 0, 0, columns[i] - has};
      part = c.add("Pad", {part, c.constant_value("pads", Tensor::of<int64_t>({4}, pads))});
    }
    parts.push_back(part);
  }
  c.finish("Concat", parts, {{"axis", int64_t{1}}});
}

constexpr OpDef kImputer = {.domain = kMl, .name = "Imputer", .types = "*", .canonicalize = impute};
constexpr OpDef kVectorizer = {
    .domain = kMl, .name = "FeatureVectorizer", .inputs = "X*", .types = "*", .canonicalize = vectorize};
constexpr OpDef kScaler = {.domain = kMl, .name = "Scaler", .types = "*", .canonicalize = scale};
constexpr OpDef kNormalizer = {.domain = kMl, .name = "Normalizer", .types = "*", .canonicalize = normalize};
constexpr OpDef kBinarizer = {.domain = kMl, .name = "Binarizer", .types = "*", .canonicalize = binarize};
constexpr OpDef kExtractor = {
    .domain = kMl, .name = "ArrayFeatureExtractor", .inputs = "X Y", .types = "*", .canonicalize = extract};
const RegisterOps kRegistered({&kScaler, &kNormalizer, &kBinarizer, &kExtractor, &kImputer, &kVectorizer});

}  // namespace
}  // namespace zp
