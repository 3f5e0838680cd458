// Loop: its body runs until the trip count is reached or the condition is false. Carried values may change
// their shapes and be sequences; the other outputs of the body are stacked. It runs between plans, so that
// the body has plans of its own, one for each set of shapes that comes up.
//
// As in ONNX Runtime, the condition that the body gives counts even where the node is given none.
#include <limits>
#include <memory>
#include <utility>

#include "ops/body.h"
#include "ops/kinds.h"
#include "ops/op.h"

namespace zp {
namespace {

// Inputs: trip count, condition, then what is carried. The body's: iteration, condition, carried.
constexpr size_t kFirst = 2;
// A condition that never becomes false is a fault of the model, not a reason to run for ever.
constexpr int64_t kMostIterations = 1'000'000;

size_t carried(const Node& node) { return node.inputs.size() < kFirst ? 0 : node.inputs.size() - kFirst; }

// The iteration and the condition are numbers, of the rank that the body declares: a scalar, or one of one
// element. Other runtimes refuse a body that does not say which.
SymShape shape_of_number(const Graph& body, size_t input) {
  const std::optional<SymShape>& shape = body[body.inputs[input]].shape;
  return shape && shape->size() == 1 ? SymShape{Dim(1)} : SymShape{};
}

std::optional<SymShape> shape_of_number(const Node& node, size_t input) {
  const Attribute* attribute = node.attribute("body");
  const auto* body = attribute ? std::get_if<std::shared_ptr<Graph>>(attribute) : nullptr;
  if (!body || (*body)->inputs.size() <= input) return std::nullopt;  // other checks report this error
  return shape_of_number(**body, input);
}

void infer_loop(InferContext& c) {
  const size_t count = carried(c.node());
  if (const DType t = c.dtype(1); t != DType::kBool && t != DType::kUndefined)
    c.fail(ErrorCode::kInvalidModel, {"the condition is ", name_of(t), ", not bool"});
  std::vector<InferContext::Inferred> inputs{{DType::kInt64, shape_of_number(c.node(), 0)},
                                             {DType::kBool, shape_of_number(c.node(), 1)}};
  for (size_t i = 0; i < count; ++i) inputs.push_back(c.input(kFirst + i));
  const auto found = infer_iterations(c, inputs, kFirst, 1, count);
  if (found.size() < 1 + c.outputs()) {
    c.fail(ErrorCode::kInvalidModel,
           {"the body has ", found.size(), " outputs, too few for the ", c.outputs(), " of the node"});
  }
  for (size_t i = 0; i < c.outputs(); ++i) {
    if (i < count) {
      // An optional may come in where the body gives the sequence, or the tensor, itself.
      InferContext::Inferred last = inputs[kFirst + i];
      last.kind = found[1 + i].kind;
      c.output(i, last);
      continue;
    }
    InferContext::Inferred stacked = found[1 + i];
    if (stacked.shape) stacked.shape->insert(stacked.shape->begin(), Dim());
    c.output(i, stacked);
  }
}

struct LoopRun : Iterations {
  LoopRun() : Iterations(1) {}
  int64_t most = std::numeric_limits<int64_t>::max();
  bool condition = true;

  bool goes_on() const override { return condition && done < most; }
  void begin(BetweenContext& c, SubRun& body) override;
  void end(BetweenContext& c, const SubRun& body) override;
};

std::unique_ptr<LoopRun> start(BetweenContext& c, const Graph& body) {
  auto s = std::make_unique<LoopRun>();
  if (c.has_input(0)) s->most = c.scalar(0);
  if (c.has_input(1)) s->condition = c.scalar(1) != 0;
  const size_t count = carried(c.node());
  for (size_t i = 0; i < count; ++i) s->carried.push_back(c.in(kFirst + i));
  if (body.inputs.size() != kFirst + count || body.outputs.size() < 1 + count ||
      body.outputs.size() < 1 + c.node().outputs.size()) {
    c.fail(ErrorCode::kInvalidModel, {"the body has ", body.inputs.size(), " inputs and ",
                                      body.outputs.size(), " outputs, which do not fit those of the node"});
  }
  s->stacks.resize(body.outputs.size() - 1 - count);
  return s;
}

// A number for the body, of the rank that it declares.
template <class T>
Tensor number_for(const Graph& body, size_t input, T value) {
  return Tensor::scalar(value).reshaped(*concrete(shape_of_number(body, input)));
}

void LoopRun::begin(BetweenContext& c, SubRun& body) {
  if (done >= kMostIterations) {
    c.fail(ErrorCode::kInvalidArgument, {"the loop has not ended after ", kMostIterations, " iterations"},
           "its condition may never become false for this input");
  }
  std::vector<Item> inputs;
  inputs.emplace_back(number_for(body.graph(), 0, done));
  inputs.emplace_back(number_for(body.graph(), 1, condition));
  inputs.insert(inputs.end(), carried.begin(), carried.end());
  body.begin(std::move(inputs));
}

void LoopRun::end(BetweenContext& c, const SubRun& body) {
  const Item next = body.output(0);
  if (next.tensor.dtype() != DType::kBool || next.tensor.size() != 1)
    c.fail(ErrorCode::kInvalidModel, "the condition that the body gives is not one bool");
  condition = next.tensor.integer_at(0) != 0;
  Iterations::end(c, body);
}

void finish(BetweenContext& c, const Graph& body, Iterations& s) {
  const size_t count = s.carried.size();
  for (size_t i = 0; i < c.node().outputs.size(); ++i) {
    if (c.node().outputs[i] == kNoValue) continue;
    if (i < count) {
      c.give(i, std::move(s.carried[i]));
      continue;
    }
    Stack& stack = s.stacks[i - count];
    const auto [dtype, dims] = stack.empty() ? never_made(c, body, 1 + i) : std::pair<DType, Shape>{};
    c.give(i, stack.finish(dtype, dims));
  }
}

bool run_loop(BetweenContext& c) {
  SubRun& body = c.subgraph(kBody);
  if (!c.state) c.state = start(c, body.graph());
  auto& s = static_cast<LoopRun&>(*c.state);
  if (!s.run(c, body)) return false;
  finish(c, body.graph(), s);
  return true;
}

// Conditions may be absent, and carried shapes may change, since opset 11.
void respell(Respell& r) {
  r.need(11);
  for (ValueId v : r.node.inputs) need_kind(r, v, 13, 16);
}

bool carry_less(RewriteContext& c) {
  const Node& n = c.node();
  return n.is("Loop") &&
         read_from_outside(c, {.given = kFirst, .inside = kFirst, .made = 1, .count = carried(n)});
}
const RegisterRewrite kCarryLess({.name = "values that a Loop carries unchanged", .apply = carry_less});

constexpr OpDef kLoop = {
    .name = "Loop",
    .inputs = "M? cond? v_initial*?",
    .opsets = "@o 7A 16b 19G 21qQ 23m 24e 25pP",
    .types = "*",
    .infer = infer_loop,
    .between = run_loop,
    .quant = {.why_float = "runs a body, whose layers are planned on their own"},
    .respell = respell,
};
const RegisterOps kRegistered({&kLoop});

}  // namespace
}  // namespace zp
