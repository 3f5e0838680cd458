#include "ops/op.h"

#include <algorithm>
#include <map>
#include <utility>

#include "ops/cast.h"

namespace zp {
namespace {

using Key = std::pair<std::string_view, std::string_view>;

std::map<Key, const OpDef*>& registry() {
  static std::map<Key, const OpDef*> ops;  // filled by the RegisterOps objects of ops/*.cpp before main
  return ops;
}

Node make_node(std::string_view type, std::string_view domain, Ids inputs, NewAttributes attributes) {
  Node n;
  n.op_type = type;
  n.domain = domain;
  n.inputs.assign(inputs.begin(), inputs.end());
  for (auto& [key, value] : attributes) n.attributes.emplace(std::move(key), std::move(value));
  return n;
}

int checked_axis(int64_t axis, int rank) { return static_cast<int>(axis < 0 ? axis + rank : axis); }

}  // namespace

RegisterOps::RegisterOps(std::initializer_list<const OpDef*> ops) {
  for (const OpDef* op : ops) registry().insert_or_assign(Key{op->domain, op->name}, op);
}

const OpDef* find_op(std::string_view domain, std::string_view name) {
  const auto it = registry().find(Key{domain, name});
  return it == registry().end() ? nullptr : it->second;
}

const OpDef* find_op(const Node& node) { return node.refusal ? nullptr : find_op(node.domain, node.op_type); }

QdqRole role_of(const Node& node) {
  const OpDef* def = find_op(node);
  return def ? def->role : QdqRole::kNone;
}

bool may_run(const Node& node) {
  const OpDef* def = find_op(node);
  return node.refusal ? node.refusal->waits : def && def->runs();
}

const OpDef& op_of(const Node& node) {
  if (const OpDef* def = find_op(node)) return *def;
  throw_error(ErrorCode::kUnsupportedOperator, {"operator ", qualified_name(node), " is not supported"},
              {.node = node.name, .op = qualified_name(node), .hint = {}});
}

std::vector<const OpDef*> all_ops() {
  std::vector<const OpDef*> ops;
  for (const auto& [key, def] : registry()) ops.push_back(def);
  return ops;
}

// ---- InferContext

int InferContext::axis(int64_t axis, int rank) const {
  if (axis < -rank || axis >= rank) {
    fail(ErrorCode::kShapeMismatch, {"axis ", axis, " is outside a tensor of ", rank, " dimensions"});
  }
  return checked_axis(axis, rank);
}

void InferContext::fail(ErrorCode code, const Text& message, std::string_view hint) const {
  fail(code, message, ErrorPlace{.hint = hint});
}

void InferContext::fail(ErrorCode code, const Text& message, const ErrorPlace& place) const {
  Error error(code, message, place);
  error.add_details({.node = node_->name, .op = qualified_name(*node_)});
  throw error;
}

// ---- RunFault

void RunFault::report(size_t input, int64_t position, int64_t value, int64_t limit, Words words) {
  const std::lock_guard lock(mutex_);
  if (words_ && position >= position_) return;
  input_ = input;
  position_ = position;
  value_ = value;
  limit_ = limit;
  words_ = words;
}

void RunFault::raise() const {
  Error error(ErrorCode::kIndexOutOfRange, words_(value_, limit_));
  error.set_input(input_);
  throw error;
}

// ---- RunContext

void RunContext::parallel(int64_t tasks, FunctionRef<void(int64_t, int)> body) const {
  if (pool && tasks > 1) return pool->run(tasks, body);
  for (int64_t t = 0; t < tasks; ++t) body(t, 0);
}

void RunContext::parallel_range(int64_t count, int64_t grain,
                                FunctionRef<void(int64_t, int64_t)> body) const {
  const int64_t most = pool ? int64_t{pool->threads()} * 4 : 1;
  const int64_t pieces = std::min<int64_t>(most, grain > 0 ? (count + grain - 1) / grain : 1);
  if (pieces <= 1) return body(0, count);
  parallel(pieces, [&](int64_t t, int) { body(count * t / pieces, count * (t + 1) / pieces); });
}

// ---- PrepareContext

std::vector<int32_t> EdgeQuant::zero_points() const {
  std::vector<int32_t> points(static_cast<size_t>(std::max<int64_t>(scale.size(), 1)), 0);
  if (zero_point.defined()) {
    for (size_t i = 0; i < points.size(); ++i) {
      const int64_t from = zero_point.size() == 1 ? 0 : static_cast<int64_t>(i);
      points[i] = static_cast<int32_t>(zero_point.integer_at(from));
    }
  }
  return points;
}

int PrepareContext::axis(int64_t axis, int rank) const {
  const int logical = checked_axis(axis, rank);
  if (layout(0) == Layout::kLogical || rank < 3 || logical == 0) return logical;
  return logical == 1 ? rank - 1 : logical - 1;
}

void PrepareContext::fail_input(size_t input, ErrorCode code, const Text& message) const {
  Error error(code, message);
  error.set_input(input);
  error.add_details({.node = node_->name, .op = qualified_name(*node_)});
  throw error;
}

void PrepareContext::fail(ErrorCode code, const Text& message, std::string_view hint) const {
  Error error(code, message);
  error.add_details({.node = node_->name, .op = qualified_name(*node_), .hint = hint});
  throw error;
}

// ---- BetweenContext

void BetweenContext::fail(ErrorCode code, const Text& message, std::string_view hint) const {
  Error error(code, message);
  error.add_details({.node = node_->name, .op = qualified_name(*node_), .hint = hint});
  throw error;
}

void BetweenContext::fail_input(size_t input, ErrorCode code, const Text& message) const {
  Error error(code, message);
  error.set_input(input);
  error.add_details({.node = node_->name, .op = qualified_name(*node_)});
  throw error;
}

Tensor BetweenContext::tensor(size_t i) const {
  Item item = in(i);
  if (!item.is_tensor()) {
    fail_input(i, ErrorCode::kInvalidModel,
               {"input ", i, " is ", item.is_sequence() ? "a sequence" : "nothing", ", not a tensor"});
  }
  return std::move(item.tensor);
}

std::shared_ptr<const Sequence> BetweenContext::sequence(size_t i) const {
  Item item = in(i);
  if (!item.is_sequence()) {
    fail_input(i, ErrorCode::kInvalidModel,
               {"input ", i, " is ", item.is_tensor() ? "a tensor" : "nothing", ", not a sequence"});
  }
  return std::move(item.sequence);
}

int64_t BetweenContext::scalar(size_t i) const {
  const Tensor t = tensor(i);
  if (t.size() != 1)
    fail_input(i, ErrorCode::kShapeMismatch, {"input ", i, " has ", t.size(), " elements, not one"});
  if (t.dtype() != DType::kInt64 && t.dtype() != DType::kInt32 && t.dtype() != DType::kBool)
    fail_input(i, ErrorCode::kUnsupportedType, {"input ", i, " is ", name_of(t.dtype())});
  return t.integer_at(0);
}

// ---- Canonicalize, Fold

const SymShape* Canonicalize::shape(size_t input) const {
  const ValueId v = node.input(input);
  return v != kNoValue && graph[v].shape ? &*graph[v].shape : nullptr;
}

const Tensor* Canonicalize::constant(size_t input) const { return graph.constant(node.input(input)); }

void Canonicalize::attribute_to_input(std::string_view key, size_t input) {
  const Attribute* attribute = node.attribute(key);
  if (!attribute) return;
  const std::vector<int64_t> values = node.ints_attribute(key);
  if (node.inputs.size() <= input) node.inputs.resize(input + 1, kNoValue);
  node.inputs[input] = graph.add_constant(node.name + "_" + std::string(key),
                                          Tensor::of<int64_t>({static_cast<int64_t>(values.size())}, values));
  node.attributes.erase(node.attributes.find(key));
}

ValueId Canonicalize::number(float value) {
  const DType type = graph[node.inputs[0]].dtype;
  return constant_value(node.name + "_number",
                        cast(Tensor::scalar(value), type == DType::kUndefined ? DType::kFloat32 : type));
}

ValueId Canonicalize::add(std::string_view type, Ids inputs) { return add(type, inputs, {}); }

ValueId Canonicalize::add(std::string_view type, Ids inputs, NewAttributes attributes,
                          std::string_view domain) {
  Node n = make_node(type, domain, inputs, std::move(attributes));
  const std::string base =
      node.outputs.empty() || node.outputs[0] == kNoValue ? node.name : graph[node.outputs[0]].name;
  const ValueId out = graph.add_value(base + "_" + std::string(type));
  n.name = graph[out].name;
  n.outputs = {out};
  nodes.push_back(std::move(n));
  return out;
}

void Canonicalize::finish(std::string_view type, Ids inputs) { return finish(type, inputs, {}); }

void Canonicalize::finish(std::string_view type, Ids inputs, NewAttributes attributes,
                          std::string_view domain) {
  Node n = make_node(type, domain, inputs, std::move(attributes));
  n.name = node.name;
  n.outputs = {node.output(0)};
  nodes.push_back(std::move(n));
}

void Canonicalize::fail(ErrorCode code, const Text& message, std::string_view hint) const {
  Error error(code, message);
  error.add_details({.node = node.name,
                     .op = qualified_name(node) + "-" + std::to_string(version),
                     .tensor = {},
                     .hint = hint});
  throw error;
}

void Canonicalize::wait(const Text& message) const {
  throw NotKnownYet(ErrorCode::kUnsupportedOperator, message,
                    {.hint = "Declare the shapes of the model's inputs."});
}

ValueId Fold::add(std::string_view type, Ids inputs) { return add(type, inputs, {}); }

ValueId Fold::add(std::string_view type, Ids inputs, NewAttributes attributes, std::string_view domain) {
  Node n = make_node(type, domain, inputs, std::move(attributes));
  const ValueId out = graph.add_value(graph[node.outputs[0]].name + "_" + std::string(type));
  n.name = graph[out].name;
  n.outputs = {out};
  nodes.push_back(std::move(n));
  return out;
}

// ---- inputs

namespace {

// Takes the first word off a row.
std::string_view next_word(std::string_view& row) {
  const size_t end = std::min(row.find(' '), row.size());
  const std::string_view word = row.substr(0, end);
  row.remove_prefix(std::min(end + 1, row.size()));
  return word;
}

// The number behind a mark: of "pads:11" and ':' 11, of "axis<6" and '<' 6. Without the mark: 0.
int64_t version_behind(std::string_view word, char mark) {
  const size_t at = word.find(mark);
  if (at == std::string_view::npos) return 0;
  int64_t version = 0;
  for (const char digit : word.substr(at + 1)) version = version * 10 + digit - '0';
  return version;
}

}  // namespace

void check_inputs(const OpDef& def, const Node& node, int64_t version) {
  const auto fail = [&](size_t input, const Text& message) {
    Error error(ErrorCode::kInvalidModel, message);
    error.set_input(input);
    throw error;
  };
  std::string_view row = def.inputs;
  size_t i = 0;
  while (!row.empty()) {
    const std::string_view word = next_word(row), name = word.substr(0, word.find_first_of("?*:<"));
    const auto require = [&] {
      if (node.input(i) != kNoValue) return;
      if (word == def.inputs) fail(i, {"input ", i, " is missing"});
      fail(i, {"input ", i, " (", name, ") is missing"});
    };
    if (const int64_t end = version_behind(word, '<'); end > 0 && version >= end) break;
    const bool needed = word.find('?') == std::string_view::npos && version >= version_behind(word, ':');
    if (needed) require();
    ++i;
    if (word.find('*') == std::string_view::npos) continue;
    for (; i < node.inputs.size(); ++i)
      if (needed) require();
  }
  for (const size_t most = i; i < node.inputs.size(); ++i)
    if (node.inputs[i] != kNoValue) fail(i, {"input ", i, " is one too many: ", def.name, " takes ", most});
}

std::vector<Node> form_in_memory(const OpDef& def, Graph& graph, Node node, int64_t version) {
  check_inputs(def, node, version);
  if (!def.canonicalize) return {std::move(node)};
  // Expansions name what they make after output 0.
  const ValueId named = node.outputs[0] == kNoValue ? graph.add_value(node.name) : kNoValue;
  if (named != kNoValue) node.outputs[0] = named;
  Canonicalize c{.graph = graph, .node = std::move(node), .version = version, .nodes = {}};
  def.canonicalize(c);
  for (Node& n : c.nodes)
    if (named != kNoValue && n.outputs.size() > 1 && n.outputs[0] == named) n.outputs[0] = kNoValue;
  return std::move(c.nodes);
}

void check_inputs(const OpDef& def, const InferContext& c) {
  check_inputs(def, c.node());
  std::string_view types = def.types;
  constexpr size_t kVariables = 3;  // T, U, V
  std::array<std::optional<size_t>, kVariables> first;
  for (size_t i = 0; i < c.inputs() && !types.empty(); ++i) {
    const DType type = c.has_input(i) ? c.dtype(i) : DType::kUndefined;
    if (type == DType::kUndefined) continue;
    const char letter = types[std::min(i, types.size() - 1)];
    const auto require = [&](bool fits, std::string_view wanted) {
      if (!fits) c.fail(ErrorCode::kInvalidModel, {"input ", i, " is ", name_of(type), ", not ", wanted});
    };
    if (letter == 'f') require(type == DType::kFloat32, "float32");
    if (letter == 'i') require(type == DType::kInt32 || type == DType::kInt64, "int32 or int64");
    if (letter == 'b') require(type == DType::kBool, "bool");
    if (letter < 'T' || letter > 'V') continue;
    std::optional<size_t>& same = first[static_cast<size_t>(letter - 'T')];
    if (!same) same = i;
    if (c.dtype(*same) != type) {
      c.fail(ErrorCode::kInvalidModel, {"inputs ", *same, " and ", i, " are ", name_of(c.dtype(*same)),
                                        " and ", name_of(type), ": they should have one type"});
    }
  }
}

// ---- shared rules

std::optional<SymShape> common_shape(const std::optional<SymShape>& a, const std::optional<SymShape>& b) {
  if (!a || !b || a->size() != b->size()) return std::nullopt;
  SymShape both = *a;
  for (size_t d = 0; d < both.size(); ++d)
    if (both[d] != (*b)[d]) both[d] = Dim();
  return both;
}

void output_like(InferContext& c, size_t output, size_t input) {
  if (const SymShape* shape = c.shape(input)) {
    c.output(output, c.dtype(input), *shape);
  } else {
    c.output(output, c.dtype(input));
  }
}

void infer_same(InferContext& c) { c.output(0, c.input(0)); }

void infer_broadcast(InferContext& c) {
  SymShape out;
  for (size_t i = 0; i < c.inputs(); ++i) {
    if (!c.has_input(i)) continue;
    if (!c.shape(i)) return c.output(0, c.dtype(0));
    try {
      out = broadcast(out, *c.shape(i));
    } catch (const Error& e) {
      c.fail(ErrorCode::kShapeMismatch,
             {"inputs of shapes ", out, " and ", *c.shape(i), " do not broadcast"});
    }
  }
  c.output(0, c.dtype(0), std::move(out));
}

LayoutRule any_layout(const InferContext&) { return LayoutRule::kAny; }
LayoutRule channels_last(const InferContext&) { return LayoutRule::kChannelsLast; }
LayoutRule all_channels_last(const InferContext&) { return LayoutRule::kAllChannelsLast; }

std::vector<int> channels_last_order(int rank) {
  std::vector<int> order{0};
  for (int i = 2; i < rank; ++i) order.push_back(i);
  order.push_back(1);
  return order;
}

Shape to_channels_last(const Shape& logical) {
  if (logical.size() < 3) return logical;
  Shape dims;
  for (int i : channels_last_order(static_cast<int>(logical.size())))
    dims.push_back(logical[static_cast<size_t>(i)]);
  return dims;
}

Shape to_logical(const Shape& channels_last) {
  if (channels_last.size() < 3) return channels_last;
  Shape dims = channels_last;
  dims[1] = channels_last.back();
  for (size_t i = 2; i < dims.size(); ++i) dims[i] = channels_last[i - 1];
  return dims;
}

}  // namespace zp
