// Scan: a body that runs once for each slice of its scan inputs, carries states, and gives slices of its
// outputs. It runs between plans, as Loop does.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "ops/body.h"
#include "ops/op.h"
#include "ops/respell.h"

namespace zp {
namespace {

constexpr std::string_view kCount = "num_scan_inputs", kInputAxes = "scan_input_axes",
                           kOutputAxes = "scan_output_axes", kInputDirections = "scan_input_directions",
                           kOutputDirections = "scan_output_directions";

// How many inputs of a node are states, and how many are scanned.
struct Inputs {
  size_t states, scanned;
};

template <class Context>
Inputs inputs_of(const Context& c) {
  const int64_t scanned = c.node().int_attribute(kCount, 0);
  const size_t all = c.node().inputs.size();
  if (scanned < 1 || static_cast<uint64_t>(scanned) > all)
    c.fail(ErrorCode::kInvalidModel, {kCount, " is ", scanned, ", of ", all, " inputs"});
  return {all - static_cast<size_t>(scanned), static_cast<size_t>(scanned)};
}

// One number for each of `count` inputs or outputs.
template <class Context>
std::vector<int64_t> list_of(const Context& c, std::string_view key, size_t count) {
  std::vector<int64_t> list = c.node().ints_attribute(key);
  if (list.empty()) list.resize(count, 0);
  if (list.size() != count)
    c.fail(ErrorCode::kInvalidModel, {key, " has ", list.size(), " numbers, not ", count});
  return list;
}

template <class Context>
size_t axis_of(const Context& c, int64_t axis, size_t rank) {
  const auto r = static_cast<int64_t>(rank);
  if (axis < -r || axis >= r)
    c.fail(ErrorCode::kShapeMismatch, {"axis ", axis, " is outside a tensor of ", rank, " dimensions"});
  return static_cast<size_t>(axis < 0 ? axis + r : axis);
}

void infer_scan(InferContext& c) {
  const auto [states, scanned] = inputs_of(c);
  const std::vector<int64_t> axes = list_of(c, kInputAxes, scanned);
  std::vector<InferContext::Inferred> inputs;
  Dim length;
  for (size_t i = 0; i < states + scanned; ++i) {
    inputs.push_back(c.input(i));
    if (i < states || !inputs.back().shape) continue;
    SymShape& shape = *inputs.back().shape;
    const auto at = shape.begin() + static_cast<int64_t>(axis_of(c, axes[i - states], shape.size()));
    if (!length.known()) length = *at;
    shape.erase(at);
  }
  const auto found = infer_iterations(c, inputs, 0, 0, states);
  if (found.size() < c.outputs()) {
    c.fail(ErrorCode::kInvalidModel, {"the body has ", found.size(), " outputs, the node ", c.outputs()});
  }
  const std::vector<int64_t> out_axes = list_of(c, kOutputAxes, found.size() - states);
  for (size_t i = 0; i < c.outputs(); ++i) {
    if (i < states) {
      c.output(i, inputs[i]);
      continue;
    }
    InferContext::Inferred stacked = found[i];
    if (stacked.shape) {
      const size_t axis = axis_of(c, out_axes[i - states], stacked.shape->size() + 1);
      stacked.shape->insert(stacked.shape->begin() + static_cast<int64_t>(axis), length);
    }
    c.output(i, stacked);
  }
}

struct ScanRun : Iterations {
  ScanRun() : Iterations(0) {}
  int64_t length = 0;
  std::vector<Tensor> scanned;  // along dimension 0
  std::vector<int64_t> directions;

  bool goes_on() const override { return done < length; }
  void begin(BetweenContext& c, SubRun& body) override;
};

std::unique_ptr<ScanRun> start(BetweenContext& c, const Graph& body) {
  const auto [states, scanned] = inputs_of(c);
  if (body.inputs.size() != c.node().inputs.size() || body.outputs.size() < states ||
      body.outputs.size() < c.node().outputs.size()) {
    c.fail(ErrorCode::kInvalidModel, {"the body has ", body.inputs.size(), " inputs and ",
                                      body.outputs.size(), " outputs, which do not fit those of the node"});
  }
  auto s = std::make_unique<ScanRun>();
  for (size_t i = 0; i < states; ++i) s->carried.push_back(c.in(i));
  const std::vector<int64_t> axes = list_of(c, kInputAxes, scanned);
  s->directions = list_of(c, kInputDirections, scanned);
  for (size_t i = 0; i < scanned; ++i) {
    Tensor t = c.tensor(states + i);
    require_bytes(c, states + i, t);
    const size_t axis = axis_of(c, axes[i], t.dims().size());
    if (axis > 0) t = to_front(t, static_cast<int>(axis));
    if (i == 0) s->length = t.dims()[0];
    if (t.dims()[0] != s->length) {
      c.fail_input(states + i, ErrorCode::kShapeMismatch,
                   {"input ", states + i, " is ", t.dims()[0], " long, input ", states, " ", s->length});
    }
    s->scanned.push_back(std::move(t));
  }
  s->stacks.resize(body.outputs.size() - states);
  return s;
}

Tensor slice(const Tensor& t, int64_t at) {
  Shape dims(t.dims().begin() + 1, t.dims().end());
  const size_t bytes = bytes_of(t.dtype(), element_count(dims));
  return {t.dtype(), std::move(dims),
          std::shared_ptr<const std::byte>(t.storage(), t.raw() + static_cast<size_t>(at) * bytes)};
}

void ScanRun::begin(BetweenContext&, SubRun& body) {
  std::vector<Item> inputs = carried;
  for (size_t i = 0; i < scanned.size(); ++i)
    inputs.emplace_back(slice(scanned[i], directions[i] == 0 ? done : length - 1 - done));
  body.begin(std::move(inputs));
}

void finish(BetweenContext& c, const Graph& body, Iterations& s) {
  const size_t states = s.carried.size();
  const std::vector<int64_t> axes = list_of(c, kOutputAxes, s.stacks.size());
  const std::vector<int64_t> directions = list_of(c, kOutputDirections, s.stacks.size());
  for (size_t i = 0; i < c.node().outputs.size(); ++i) {
    if (c.node().outputs[i] == kNoValue) continue;
    if (i < states) {
      c.give(i, std::move(s.carried[i]));
      continue;
    }
    Stack& stack = s.stacks[i - states];
    const auto [dtype, dims] = stack.empty() ? never_made(c, body, i) : std::pair<DType, Shape>{};
    Tensor made = stack.finish(dtype, dims);
    if (directions[i - states] != 0) made = reversed(made);
    const size_t axis = axis_of(c, axes[i - states], made.dims().size());
    c.give(i, axis > 0 ? from_front(made, static_cast<int>(axis)) : made);
  }
}

bool run_scan(BetweenContext& c) {
  SubRun& body = c.subgraph(kBody);
  if (!c.state) c.state = start(c, body.graph());
  auto& s = static_cast<ScanRun&>(*c.state);
  if (!s.run(c, body)) return false;
  finish(c, body.graph(), s);
  return true;
}

// Opset 8 has a batch: a Scan over the batch (all inputs are scanned, nothing is carried) whose body is the
// Scan over the sequence.
void canonicalize_scan(Canonicalize& c) {
  if (c.version >= 9) return c.keep();
  if (c.node.input(0) != kNoValue) {
    c.fail(ErrorCode::kUnsupportedOperator, "a Scan with lengths of its sequences is not supported",
           "export the model for opset 9 or newer");
  }
  if (!c.node.inputs.empty()) c.node.inputs.erase(c.node.inputs.begin());
  const int64_t scanned = c.node.int_attribute(kCount, 0);
  Node inner = c.node;
  if (const Attribute* directions = inner.attribute("directions")) {
    inner.attributes.emplace(kInputDirections, *directions);
    inner.attributes.erase(inner.attributes.find("directions"));
  }
  auto batch = std::make_shared<Graph>();
  batch->name = "batch";
  for (ValueId& v : inner.inputs) {
    v = batch->add_value(c.graph[v].name, c.graph[v].dtype);
    batch->inputs.push_back(v);
  }
  for (ValueId& v : inner.outputs) {
    v = batch->add_value(v == kNoValue ? "unused" : c.graph[v].name);
    batch->outputs.push_back(v);
  }
  if (auto found = inner.attributes.find(kBody); found != inner.attributes.end()) {
    if (const auto* body = std::get_if<std::shared_ptr<Graph>>(&found->second)) {
      for (Capture& capture : (*body)->captures) {
        const ValueId between = batch->add_value(c.graph[capture.outer].name, c.graph[capture.outer].dtype);
        batch->captures.push_back({.outer = capture.outer, .inner = between});
        capture.outer = between;
      }
    }
  }
  batch->nodes = {std::move(inner)};
  Node outer;
  outer.name = c.node.name;
  outer.op_type = c.node.op_type;
  outer.inputs = c.node.inputs;
  outer.outputs = c.node.outputs;
  outer.attributes.emplace(kCount, static_cast<int64_t>(c.node.inputs.size()));
  outer.attributes.emplace(kBody, std::move(batch));
  if (scanned < 1 || static_cast<uint64_t>(scanned) > c.node.inputs.size())
    c.fail(ErrorCode::kInvalidModel, {kCount, " is ", scanned, ", of ", c.node.inputs.size(), " inputs"});
  c.nodes.push_back(std::move(outer));
}

void respell(Respell& r) {
  r.need(9);
  for (const std::string_view key : {kInputAxes, kOutputAxes}) {
    const std::vector<int64_t> axes = r.node.ints_attribute(key);
    if (std::ranges::any_of(axes, [](int64_t axis) { return axis < 0; })) r.need(11);
  }
}

bool carry_less(RewriteContext& c) {
  const Node& n = c.node();
  const int64_t scanned = n.int_attribute(kCount, 0);
  if (!n.is("Scan") || scanned < 1 || static_cast<uint64_t>(scanned) > n.inputs.size()) return false;
  const size_t states = n.inputs.size() - static_cast<size_t>(scanned);
  return read_from_outside(c, {.given = 0, .inside = 0, .made = 0, .count = states});
}
const RegisterRewrite kCarryLess({.name = "values that a Scan carries unchanged", .apply = carry_less});

constexpr OpDef kScan = {
    .name = "Scan",
    .inputs = "initial_state_and_scan_inputs*?",
    .opsets = "@o 8A 16b 19G 21qQ 23m 24e 25pP",
    .since = 8,
    .types = "*",
    .infer = infer_scan,
    .between = run_scan,
    .quant = {.why_float = "runs a body, whose layers are planned on their own"},
    .canonicalize = canonicalize_scan,
    .respell = respell,
};
const RegisterOps kRegistered({&kScan});

}  // namespace
}  // namespace zp
