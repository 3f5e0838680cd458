// LinearRegressor and LinearClassifier of ai.onnx.ml, spelled as products, so that they quantize as products.
#include <string>
#include <utility>
#include <vector>

#include "ops/ml.h"
#include "ops/op.h"

namespace zp {

Tensor class_labels(const Node& node) {
  const auto strings = node.attribute("classlabels_strings");
  if (strings) {
    const auto* list = std::get_if<std::vector<std::string>>(strings);
    if (!list) throw_error(ErrorCode::kInvalidModel, "attribute 'classlabels_strings' has the wrong type");
    if (!list->empty()) return Tensor::of_strings({static_cast<int64_t>(list->size())}, *list);
  }
  // LinearClassifier spells it without the s of int64s.
  for (const std::string_view key : {"classlabels_ints", "classlabels_int64s"}) {
    const std::vector<int64_t> list = node.ints_attribute(key);
    if (!list.empty()) return Tensor::of<int64_t>({static_cast<int64_t>(list.size())}, list);
  }
  return {};
}

ValueId transformed(Canonicalize& c, ValueId scores) {
  const std::string transform = c.node.string_attribute("post_transform", "NONE");
  if (transform == "NONE") return scores;
  if (transform == "LOGISTIC") return c.add("Sigmoid", {scores});
  if (transform == "SOFTMAX") return c.add("Softmax", {scores}, {{"axis", int64_t{-1}}});
  c.fail(ErrorCode::kUnsupportedOperator, {"post_transform ", transform, " is not supported"});
}

namespace {

// How many coefficients of an output count: as many as X has columns, as in ONNX Runtime. Where nothing says
// how many, all of them.
int64_t features_of(const Canonicalize& c, int64_t outputs, int64_t count) {
  const SymShape* shape = c.shape(0);
  const int64_t all = count / outputs;
  if (!shape || shape->empty() || !shape->back().known()) {
    if (count % outputs != 0)
      c.fail(ErrorCode::kInvalidModel, {count, " coefficients for ", outputs, " outputs"});
    return all;
  }
  const int64_t columns = shape->back().value();
  if (columns > all) {
    c.fail(ErrorCode::kInvalidModel, {count, " coefficients for ", outputs, " outputs are too few for ",
                                      columns, " columns of '", c.graph[c.node.inputs[0]].name, "'"});
  }
  return columns;
}

// Rows of X times `outputs` rows of coefficients, plus intercepts. A list is one row.
ValueId scores_of(Canonicalize& c, int64_t outputs) {
  const std::vector<float> coefficients = c.node.floats_attribute("coefficients");
  const auto count = static_cast<int64_t>(coefficients.size());
  if (outputs < 1 || count == 0)
    c.fail(ErrorCode::kInvalidModel, {count, " coefficients for ", outputs, " outputs"});
  const int64_t features = features_of(c, outputs, count);
  Tensor weight(DType::kFloat32, {features, outputs});
  const std::span<float> to = weight.mutable_data<float>();
  for (int64_t o = 0; o < outputs; ++o)
    for (int64_t f = 0; f < features; ++f)
      to[static_cast<size_t>(f * outputs + o)] = coefficients[static_cast<size_t>(o * features + f)];
  // The product comes first: it finds an X of other columns, whose rows a Reshape would cut anew.
  ValueId scores =
      c.add("MatMul", {as_float(c, c.node.inputs[0]), c.constant_value(c.node.name + "_weight", weight)});
  const std::vector<float> intercepts = c.node.floats_attribute("intercepts");
  if (!intercepts.empty()) {
    if (static_cast<int64_t>(intercepts.size()) != outputs)
      c.fail(ErrorCode::kInvalidModel, {intercepts.size(), " intercepts for ", outputs, " outputs"});
    scores = c.add("Add", {scores, vector_of(c, c.node.name + "_bias", intercepts)});
  }
  const SymShape* shape = c.shape(0);
  if (shape && shape->size() == 2) return scores;
  return c.add("Reshape", {scores, c.constant_value("rows", Tensor::of<int64_t>({2}, {-1, outputs}))});
}

// A single target stays as it is, as in ONNX Runtime.
void regress(Canonicalize& c) {
  const int64_t targets = c.node.int_attribute("targets", 1);
  const ValueId scores = scores_of(c, targets);
  c.finish("Identity", {targets == 1 ? scores : transformed(c, scores)});
}

// Outputs: the label, and the scores of all classes.
void classify(Canonicalize& c) {
  const Tensor labels = class_labels(c.node);
  if (labels.size() == 0) c.fail(ErrorCode::kInvalidModel, "the classifier names no classes");
  const auto intercepts = static_cast<int64_t>(c.node.floats_attribute("intercepts").size());
  const int64_t outputs = intercepts > 0 ? intercepts : labels.size();
  const bool one_score = outputs == 1 && labels.size() == 2;
  if (outputs != labels.size() && !one_score)
    c.fail(ErrorCode::kInvalidModel, {labels.size(), " classes for ", outputs, " scores"});
  const ValueId raw = scores_of(c, outputs);
  const ValueId all = c.constant_value("all", Tensor::of<int64_t>({1}, {-1}));
  ValueId index, scores;
  if (one_score) {
    // One score says both: that of the second class, and what is left for the first.
    const ValueId zero = c.constant_value("zero", Tensor::scalar(0.0F));
    const ValueId one = c.constant_value("one", Tensor::scalar(1.0F));
    index = c.add("Cast", {c.add("Reshape", {c.add("Greater", {raw, zero}), all})},
                  {{"to", static_cast<int64_t>(DType::kInt64)}});
    const bool logistic = c.node.string_attribute("post_transform", "NONE") == "LOGISTIC";
    const ValueId second = logistic ? c.add("Sigmoid", {raw}) : raw;
    scores = c.add("Concat", {c.add("Sub", {one, second}), second}, {{"axis", int64_t{1}}});
  } else {
    index = c.add("ArgMax", {raw}, {{"axis", int64_t{1}}, {"keepdims", int64_t{0}}});
    scores = transformed(c, raw);
  }
  if (c.node.output(1) != kNoValue) {
    Node second;
    second.name = c.node.name + "_scores";
    second.op_type = "Identity";
    second.inputs = {scores};
    second.outputs = {c.node.output(1)};
    c.nodes.push_back(std::move(second));
  }
  c.finish("Gather", {c.constant_value(c.node.name + "_labels", labels), index});
}

constexpr OpDef kRegressor = {
    .domain = kMl, .name = "LinearRegressor", .types = "*", .canonicalize = regress};
constexpr OpDef kClassifier = {
    .domain = kMl, .name = "LinearClassifier", .types = "*", .canonicalize = classify};
const RegisterOps kRegistered({&kRegressor, &kClassifier});

}  // namespace
}  // namespace zp
