// Identity, and Dropout, which is one in inference.
#include <algorithm>

#include "ops/gradient.h"
#include "ops/kinds.h"
#include "ops/rewrite.h"
#include "ops/unary.h"

namespace zp {
namespace {

Kernel alias(PrepareContext& c) {
  c.alias(0);
  return {};
}

// Without its second output (the mask) Dropout becomes Identity. The mask of inference is all true since
// opset 12. Older opsets do not define it: ONNX Runtime gives zeros, before opset 10 of the type of the
// input.
void canonicalize_dropout(Canonicalize& c) {
  const Tensor *ratio = c.constant(1), *training = c.constant(2);
  const bool drops = !ratio || ratio->size() != 1 || ratio->floats()[0] != 0;
  if (c.node.input(2) != kNoValue && drops &&
      (!training || training->size() != 1 || training->integer_at(0) != 0)) {
    c.fail(ErrorCode::kUnsupportedOperator, "Dropout in training mode is not supported",
           "export the model for inference");
  }
  if (c.version < 7 && c.node.int_attribute("is_test", 0) == 0 && c.node.output(1) != kNoValue) {
    c.fail(ErrorCode::kUnsupportedOperator, "Dropout in training mode is not supported",
           "export the model for inference");
  }
  if (c.node.output(1) != kNoValue) {
    const ValueId same = c.add("Equal", {c.node.input(0), c.node.input(0)});
    // x == x is false for NaN; or-ing it with its opposite is not, and and-ing it is, whatever x is.
    const ValueId other = c.add("Not", {same});
    Node mask;
    mask.name = c.node.name + "_mask";
    mask.op_type = c.version < 12 ? "And" : "Or";
    mask.inputs = {same, other};
    if (c.version < 10) {
      const DType type = c.graph[c.node.input(0)].dtype;
      if (type == DType::kUndefined) c.wait("the type of the mask is not known");
      mask.inputs = {c.add("And", {same, other})};
      mask.op_type = "Cast";
      mask.attributes.emplace("to", static_cast<int64_t>(type));
    }
    mask.outputs = {c.node.output(1)};
    c.nodes.push_back(std::move(mask));
  }
  c.finish("Identity", {c.node.input(0)});
}

void replace_uses(Graph& graph, ValueId from, ValueId to) {
  for (Node& n : graph.nodes) {
    for (ValueId& v : n.inputs)
      if (v == from) v = to;
    for (auto& [key, attribute] : n.attributes) {
      auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute);
      if (!sub) continue;
      const auto captured = [from](const Capture& capture) { return capture.outer == from; };
      if (std::none_of((*sub)->captures.begin(), (*sub)->captures.end(), captured)) continue;
      *sub = std::make_shared<Graph>(**sub);  // a copy of the model may share it
      for (Capture& capture : (*sub)->captures)
        if (capture.outer == from) capture.outer = to;
    }
  }
}

// A search of the whole graph for each Identity is quadratic: graphs that only malice makes do without.
constexpr size_t kMostNodes = 20000;

bool remove_identity(RewriteContext& r) {
  const Node& n = r.node();
  if (!n.is("Identity") || r.graph.nodes.size() > kMostNodes) return false;
  const ValueId x = n.inputs[0], y = n.outputs[0];
  if (!r.graph.is_output(y)) {
    replace_uses(r.graph, y, x);
    r.replace({r.at()}, {});
    return true;
  }
  // An output keeps its name: the node before makes it, if no other node reads that node's output.
  const int32_t before = r.producer(x);
  if (before < 0 || r.only_consumer(x) != r.at() || r.node(before).outputs.size() != 1) return false;
  Node maker = r.node(before);
  maker.outputs = {y};
  r.replace({before, r.at()}, {maker});
  return true;
}

void gradient(Gradient& g) {
  if (g.wanted(0)) g.give(0, g.dy());
}

void respell(Respell& r) { need_kind(r, r.node.outputs[0], 14, 16); }

const RegisterRewrite kRemoveIdentity({.name = "remove Identity", .apply = remove_identity, .order = -10});

constexpr OpDef kIdentity = {.name = "Identity",
                             .opsets = "7A 13b 19G 21qQ 23m 24e 25pP",
                             .infer = infer_same,
                             .prepare = alias,
                             .between = same_item,
                             .layout = any_layout,
                             .quant = {.kind = QuantRule::Kind::kSameScale},
                             .canonicalize = drop_consumed_inputs,
                             .respell = respell,
                             .gradient = gradient};
constexpr OpDef kDropout = {
    .name = "Dropout", .inputs = "data ratio? training_mode?", .canonicalize = canonicalize_dropout};
const RegisterOps kRegistered({&kIdentity, &kDropout});

}  // namespace
}  // namespace zp
