// NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss: the negative logarithm of the probability
// of the right class. They become operators that gather and sum.
#include "ops/expansion.h"

namespace zp {
namespace {

constexpr int64_t kClasses = 1;  // the dimension that counts them

// Scores [N, C, ...], labels [N, ...], weights [C].
void check_shapes(const Canonicalize& c) {
  const SymShape *scores = c.shape(0), *labels = c.shape(1), *weights = c.shape(2);
  if (scores && scores->size() < 2)
    c.fail(ErrorCode::kShapeMismatch, {"scores of shape ", *scores, " have no dimension of classes"});
  if (scores && labels) {
    SymShape wanted = *scores;
    wanted.erase(wanted.begin() + kClasses);
    if (!fits(wanted, *labels))
      c.fail(ErrorCode::kShapeMismatch, {"labels of shape ", *labels, " for scores of shape ", *scores});
  }
  if (scores && weights && !fits({(*scores)[kClasses]}, *weights))
    c.fail(ErrorCode::kShapeMismatch, {"weights of shape ", *weights, " for scores of shape ", *scores});
}

ValueId sum(Canonicalize& c, ValueId x) { return c.add("ReduceSum", {x}, {{"keepdims", int64_t{0}}}); }

// `logarithms`: of probabilities, [N, C, ...].
void finish_loss(Canonicalize& c, ValueId logarithms) {
  const Node& n = c.node;
  const std::string reduction = n.string_attribute("reduction", "mean");
  const bool mean = reduction == "mean";
  if (!mean && reduction != "sum" && reduction != "none")
    c.fail(ErrorCode::kInvalidModel, {"reduction is '", reduction, "'"});
  const bool ignores = n.attribute("ignore_index") != nullptr;
  ValueId labels = n.inputs[1], ignored = kNoValue;
  if (c.graph[labels].dtype != DType::kInt64)
    labels = c.add("Cast", {labels}, {{"to", static_cast<int64_t>(DType::kInt64)}});
  if (ignores) {  // it may lie outside the classes
    ignored = c.add("Equal", {labels, add_int(c, n.int_attribute("ignore_index", 0))});
    labels = c.add("Where", {ignored, add_int(c, 0), labels});
  }
  // What each label weighs; kNoValue: one.
  ValueId weights = n.input(2) == kNoValue ? kNoValue : c.add("Gather", {n.inputs[2], labels});
  if (ignores && (mean || weights != kNoValue))
    weights = c.add("Where", {ignored, c.number(0), weights == kNoValue ? c.number(1) : weights});
  const ValueId total = mean && weights != kNoValue ? sum(c, weights) : kNoValue;

  const ValueId classes = add_ints(c, {kClasses});
  const ValueId of_labels =
      c.add("GatherElements", {logarithms, c.add("Unsqueeze", {labels, classes})}, {{"axis", kClasses}});
  ValueId loss = c.add("Neg", {c.add("Squeeze", {of_labels, classes})});
  if (ignores) loss = c.add("Where", {ignored, c.number(0), loss});
  if (n.input(2) != kNoValue) loss = c.add("Mul", {loss, weights});
  if (total != kNoValue) {
    c.add("Div", {sum(c, loss), total});
  } else if (mean) {
    c.add("ReduceMean", {loss}, {{"keepdims", int64_t{0}}});
  } else if (reduction == "sum") {
    sum(c, loss);
  }
  gives_output(c, 0);
}

void expand_likelihood(Canonicalize& c) {
  check_shapes(c);
  finish_loss(c, c.node.inputs[0]);
}

void expand_cross_entropy(Canonicalize& c) {
  check_shapes(c);
  c.add("LogSoftmax", {c.node.inputs[0]}, {{"axis", kClasses}});
  finish_loss(c, gives_output(c, 1));
}

constexpr OpDef kLikelihood = {.name = "NegativeLogLikelihoodLoss",
                               .inputs = "input target weight?",
                               .since = 12,
                               .types = "TiT",
                               .canonicalize = expand_likelihood};
constexpr OpDef kCrossEntropy = {.name = "SoftmaxCrossEntropyLoss",
                                 .inputs = "scores labels weights?",
                                 .since = 12,
                                 .types = "TiT",
                                 .canonicalize = expand_cross_entropy};
const RegisterOps kRegistered({&kLikelihood, &kCrossEntropy});

}  // namespace
}  // namespace zp
