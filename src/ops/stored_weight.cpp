#include "ops/stored_weight.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "core/dtype.h"
#include "graph/subgraphs.h"
#include "ops/op.h"

namespace zp {
namespace {

// In words that tell two apart; empty: not a node that moves elements of its only input.
std::string move_of(const Node& node) {
  const OpDef* def = find_op(node);
  if (!def || def->quant.kind != QuantRule::Kind::kSameScale || node.inputs.size() != 1) return {};
  std::string move = node.op_type;
  for (const auto& [name, attribute] : node.attributes) {
    const auto* numbers = std::get_if<std::vector<int64_t>>(&attribute);
    if (!numbers) return {};
    move += " " + name;
    for (const int64_t n : *numbers) move += " " + std::to_string(n);
  }
  return move;
}

bool is_byte(DType type) { return type == DType::kInt8 || type == DType::kUint8; }
bool is_nibble(DType type) { return type == DType::kInt4 || type == DType::kUint4; }

// The constant operand of a node with two.
const Tensor* constant_beside(const Graph& graph, const Node& node, ValueId operand) {
  return node.inputs.size() == 2 ? graph.constant(node.inputs[node.inputs[0] == operand ? 1 : 0]) : nullptr;
}

// Floats that go with integers of `dims` as scales and zero points do: one, or one for each index of an axis.
struct Steps {
  std::vector<float> values;
  int64_t axis = 0;  // where there are several
};

std::optional<Steps> steps_of(const Tensor& t, const Shape& dims) {
  if (t.dtype() != DType::kFloat32 || t.dims().size() > dims.size() || t.size() == 0) return std::nullopt;
  const size_t before = dims.size() - t.dims().size();
  Steps steps{.values = t.floats()};
  if (steps.values.size() == 1) return steps;
  for (size_t i = 0; i < t.dims().size(); ++i) {
    if (t.dims()[i] == 1) continue;
    if (t.dims()[i] != dims[before + i] || t.dims()[i] != t.size()) return std::nullopt;
    steps.axis = static_cast<int64_t>(before + i);
  }
  return steps;
}

// Zero points of these integers, as many as there are scales. nullopt: they are none.
std::optional<Tensor> points_of(const Steps& zeros, const Steps& scales, DType type) {
  const size_t count = scales.values.size();
  if (zeros.values.size() != 1 && (zeros.values.size() != count || zeros.axis != scales.axis))
    return std::nullopt;
  const float lowest = type == DType::kInt8 ? -128.0f : 0.0f;
  std::vector<int64_t> points;
  for (size_t i = 0; i < count; ++i) {
    const float zero = zeros.values[zeros.values.size() == 1 ? 0 : i];
    if (!(zero >= lowest && zero <= lowest + 255.0f) || std::trunc(zero) != zero) return std::nullopt;
    points.push_back(static_cast<int64_t>(zero));
  }
  const Shape dims = count == 1 ? Shape{} : Shape{static_cast<int64_t>(count)};
  if (type == DType::kInt8)
    return Tensor::of<int8_t>(dims, std::vector<int8_t>(points.begin(), points.end()));
  return Tensor::of<uint8_t>(dims, std::vector<uint8_t>(points.begin(), points.end()));
}

// A mask, or a constant of few elements, may be cast and scaled too, and is no weight.
bool is_read_as_weight(const Graph& graph, const GraphIndex& index, const Tensor& integers, ValueId floats) {
  constexpr int64_t kFewest = 64;
  const auto& readers = index.consumers[static_cast<size_t>(floats)];
  return integers.dims().size() >= 2 && integers.size() >= kFewest && !readers.empty() &&
         std::ranges::all_of(readers, [&](int32_t r) {
           const Node& reader = graph.nodes[static_cast<size_t>(r)];
           const OpDef* def = find_op(reader);
           return def && (def->macs || def->quant.channel_axis || !subgraphs(reader).empty());
         });
}

// The only reader of a value, if it is an operator of this kind that reads the value as its first input, or
// as its second where both may change places.
const Node* next_of(const Graph& graph, const GraphIndex& index, ValueId value, std::string_view op) {
  const Node* next = only_reader(graph, index, value);
  return next && next->is(op) && (next->input(0) == value || op == "Mul") ? next : nullptr;
}

// The constant that a Cast to float32 makes floats of.
ValueId cast_constant(const Graph& graph, const Node& node) {
  const bool fits = node.is("Cast") && graph.constant(node.input(0)) != nullptr &&
                    graph[node.output(0)].dtype == DType::kFloat32;
  return fits ? node.input(0) : kNoValue;
}

// A DequantizeLinear in the place of `last`, the node whose value it makes.
Node dequantize_in_place(const Node& last, std::vector<ValueId> inputs, std::optional<int64_t> axis,
                         int64_t block) {
  Node dequantize = last;
  dequantize.op_type = "DequantizeLinear";
  dequantize.attributes.clear();
  if (axis) dequantize.attributes.emplace("axis", *axis);
  if (block != 0) dequantize.attributes.emplace("block_size", block);
  dequantize.inputs = std::move(inputs);
  return dequantize;
}

// Blocks, as spelled_weight() writes them: `sub` may be null, `mul` takes their scales.
std::optional<Node> blocks_of(Graph& graph, const GraphIndex& index, ValueId blocked, const Node* sub,
                              const Node& mul, ValueId floats) {
  const Node* reshape = next_of(graph, index, mul.output(0), "Reshape");
  const Tensor* to = reshape ? graph.constant(reshape->input(1)) : nullptr;
  const Tensor *scale = constant_beside(graph, mul, floats), *integers = graph.constant(blocked);
  if (!to || to->dtype() != DType::kInt64 || !scale || scale->dtype() != DType::kFloat32) return std::nullopt;
  const Shape apart = integers->dims(), whole = to->integers();
  if (whole.size() < 2 || apart.size() != whole.size() + 1) return std::nullopt;
  size_t axis = 0;
  while (axis < whole.size() && whole[axis] == apart[axis]) ++axis;
  if (axis == whole.size() || whole[axis] != apart[axis] * apart[axis + 1] ||
      !std::equal(whole.begin() + static_cast<int64_t>(axis) + 1, whole.end(),
                  apart.begin() + static_cast<int64_t>(axis) + 2))
    return std::nullopt;
  Shape each = apart, steps = whole;
  each[axis + 1] = 1;
  steps[axis] = apart[axis];
  if (scale->dims() != each) return std::nullopt;
  const Tensor* zeros = nullptr;
  if (sub) {
    const Node* cast = producer_of(graph, index, sub->input(1));
    const ValueId points = cast ? cast_constant(graph, *cast) : kNoValue;
    zeros = graph.constant(points);
    if (!zeros || zeros->dtype() != integers->dtype() || zeros->dims() != each) return std::nullopt;
  }
  const Tensor weight = integers->reshaped(whole), scales = scale->reshaped(steps);
  if (!is_read_as_weight(graph, index, weight, reshape->output(0))) return std::nullopt;
  const std::optional<Tensor> points = zeros ? std::optional(zeros->reshaped(steps)) : std::nullopt;
  const std::string name = graph[blocked].name;
  std::vector<ValueId> inputs{graph.add_constant(name + "_whole", weight),
                              graph.add_constant(name + "_scale", scales)};
  if (points) inputs.push_back(graph.add_constant(name + "_zero_point", *points));
  return dequantize_in_place(*reshape, std::move(inputs), static_cast<int64_t>(axis), apart[axis + 1]);
}

// The DequantizeLinear that gives the same as a Cast of constants of 8 or 4 bits and the nodes behind it.
// nullopt: none does.
std::optional<Node> dequantize_of(Graph& graph, const GraphIndex& index, const Node& cast) {
  const ValueId given = cast_constant(graph, cast);
  const Tensor* integers = graph.constant(given);
  if (!integers || !(is_byte(integers->dtype()) || is_nibble(integers->dtype()))) return std::nullopt;
  ValueId floats = cast.output(0);
  const Node* sub = next_of(graph, index, floats, "Sub");
  if (sub) floats = sub->output(0);
  const Node* mul = next_of(graph, index, floats, "Mul");
  if (!mul) return std::nullopt;
  if (std::optional<Node> blocks = blocks_of(graph, index, given, sub, *mul, floats)) return blocks;
  if (!is_byte(integers->dtype())) return std::nullopt;
  std::optional<Steps> zeros;
  if (sub) {
    const Tensor* subtracted = constant_beside(graph, *sub, cast.output(0));
    zeros = subtracted ? steps_of(*subtracted, integers->dims()) : std::nullopt;
    if (!zeros) return std::nullopt;
  }
  const Tensor* scale = constant_beside(graph, *mul, floats);
  const std::optional<Steps> scales = scale ? steps_of(*scale, integers->dims()) : std::nullopt;
  if (!scales || !is_read_as_weight(graph, index, *integers, mul->output(0))) return std::nullopt;
  std::optional<Tensor> points;
  if (zeros) {
    points = points_of(*zeros, *scales, integers->dtype());
    if (!points) return std::nullopt;
  }
  const auto count = static_cast<int64_t>(scales->values.size());
  const Shape dims = count == 1 ? Shape{} : Shape{count};
  const std::string name = graph[given].name;
  std::vector<ValueId> inputs{given,
                              graph.add_constant(name + "_scale", Tensor::of<float>(dims, scales->values))};
  if (points) inputs.push_back(graph.add_constant(name + "_zero_point", *std::move(points)));
  return dequantize_in_place(*mul, std::move(inputs), count > 1 ? std::optional(scales->axis) : std::nullopt,
                             0);
}

}  // namespace

std::vector<Node> StoredWeight::moved(const Graph& from, Graph& to) const {
  std::map<ValueId, ValueId> there{{kNoValue, kNoValue}};
  std::vector<Node> own;
  for (const Node* node : nodes) {
    own.push_back(*node);
    for (ValueId& v : own.back().inputs) {
      if (!there.contains(v)) there[v] = to.add_constant(from[v].name, *from.constant(v));
      v = there[v];
    }
    for (ValueId& v : own.back().outputs) {
      const Value& made = from[v];
      there[v] = to.add_value(made.name, made.dtype, made.shape);
      v = there[v];
    }
  }
  return own;
}

std::optional<StoredWeight> stored_weight(const Graph& graph, const GraphIndex& index, const Node& node) {
  const OpDef* def = find_op(node);
  if (!def || def->role != QdqRole::kDequantize) return std::nullopt;
  const Tensor *integers = graph.constant(node.input(0)), *scale = graph.constant(node.input(1));
  if (!scale || (node.input(2) != kNoValue && !graph.constant(node.input(2)))) return std::nullopt;
  StoredWeight weight;
  std::string move;
  if (!integers) {
    const Node* mover = producer_of(graph, index, node.input(0));
    move = mover ? move_of(*mover) : "";
    integers = move.empty() ? nullptr : graph.constant(mover->inputs[0]);
    if (!integers) return std::nullopt;
    weight.nodes.push_back(mover);
  }
  weight.nodes.push_back(&node);
  weight.key = {integers->identity(),
                integers->dims(),
                scale->identity(),
                move,
                node.int_attribute("axis", 1),
                node.int_attribute("block_size", 0)};
  return weight;
}

bool take_stored_weights(const Graph& graph, const GraphIndex& index, Graph& inner) {
  std::vector<Node> nodes;
  std::erase_if(inner.captures, [&](const Capture& c) {
    const Node* maker = producer_of(graph, index, c.outer);
    const auto weight = maker ? stored_weight(graph, index, *maker) : std::nullopt;
    if (!weight) return false;
    for (Node& n : weight->moved(graph, inner)) nodes.push_back(std::move(n));
    nodes.back().outputs = {c.inner};
    return true;
  });
  inner.nodes.insert(inner.nodes.begin(), nodes.begin(), nodes.end());
  return !nodes.empty();
}

std::vector<Node> spelled_weight(Graph& graph, const Node& dequantize) {
  ValueId integers = dequantize.input(0);
  const auto constant = [&](size_t i) {
    const Tensor* t = graph.constant(dequantize.input(i));
    return t ? std::optional(*t) : std::nullopt;
  };
  const std::optional<Tensor> scale = constant(1), point = constant(2);
  std::optional<SymShape> shape = graph[integers].shape;
  const DType type = graph[integers].dtype;
  if (!scale || scale->dtype() != DType::kFloat32 || !shape ||
      !(is_byte(type) || (is_nibble(type) && dequantize.int_attribute("block_size", 0) != 0)) ||
      (dequantize.input(2) != kNoValue && !point))
    return {};
  const auto rank = static_cast<int64_t>(shape->size());
  const int64_t given = dequantize.int_attribute("axis", 1), axis = given < 0 ? given + rank : given;
  const int64_t block = dequantize.int_attribute("block_size", 0);
  if ((scale->size() != 1 || block != 0) && (axis < 0 || axis >= rank)) return {};
  const std::string name = graph[integers].name;
  Shape dims, whole;  // of the scales, so that they broadcast; of the weight
  if (block != 0) {
    const std::optional<Tensor> blocked = constant(0);
    const auto at = static_cast<size_t>(axis);
    dims = scale->dims();
    if (!blocked || static_cast<int64_t>(dims.size()) != rank || dims[at] * block != blocked->dims()[at])
      return {};
    whole = blocked->dims();
    Shape apart = whole;
    apart[at] = block;
    apart.insert(apart.begin() + axis, dims[at]);
    dims.insert(dims.begin() + axis + 1, 1);
    const ValueId there = graph.find(name + "_blocks");  // of another reader
    const Tensor* same = there == kNoValue ? nullptr : graph.constant(there);
    integers = same && same->identity() == blocked->identity() && same->dims() == apart
                   ? there
                   : graph.add_constant(name + "_blocks", blocked->reshaped(apart));
    shape = SymShape(apart.begin(), apart.end());
  } else {
    // Of as many dimensions as the integers from the axis on.
    dims = Shape(scale->size() == 1 ? size_t{0} : static_cast<size_t>(rank - axis), 1);
    if (!dims.empty()) dims[0] = scale->size();
  }
  std::vector<Node> nodes;
  const auto add = [&](std::string_view op, std::vector<ValueId> inputs, ValueId output) {
    Node node;
    node.op_type = op;
    node.name = graph[output].name;
    node.inputs = std::move(inputs);
    node.outputs = {output};
    nodes.push_back(std::move(node));
    return output;
  };
  const auto value = [&](std::string_view what) {
    return graph.add_value(name + std::string(what), DType::kFloat32, shape);
  };
  const auto cast = [&](ValueId from, ValueId to) {
    add("Cast", {from}, to);
    nodes.back().attributes.emplace("to", static_cast<int64_t>(DType::kFloat32));
    return to;
  };
  ValueId floats = cast(integers, value("_float"));
  const std::vector<int64_t> zeros = point ? point->integers() : std::vector<int64_t>{};
  if (std::ranges::any_of(zeros, [](int64_t z) { return z != 0; })) {
    const Shape as = point->size() == 1 && block == 0 ? Shape{} : dims;
    // As many as there are blocks: they stay as small as they are.
    const ValueId zero =
        block == 0 ? graph.add_constant(name + "_zero", Tensor::of<float>(as, point->floats()))
                   : cast(graph.add_constant(name + "_zero_blocks", point->reshaped(as)),
                          graph.add_value(name + "_zero", DType::kFloat32, SymShape(as.begin(), as.end())));
    floats = add("Sub", {floats, zero}, value("_centred"));
  }
  const ValueId step = graph.add_constant(name + "_step", Tensor::of<float>(dims, scale->floats()));
  floats = add("Mul", {floats, step}, block == 0 ? dequantize.output(0) : value("_apart"));
  if (block != 0) {
    const ValueId as = graph.add_constant(name + "_shape", Tensor::of<int64_t>({rank}, whole));
    add("Reshape", {floats, as}, dequantize.output(0));
  }
  nodes.back().name = dequantize.name;
  return nodes;
}

bool find_spelled_weights(Graph& graph) {
  bool any = false;
  for (Node& node : graph.nodes)
    for (Graph& sub : subgraphs(node)) any = find_spelled_weights(sub) || any;
  const GraphIndex index(graph);
  std::map<ValueId, Node> found;  // by the value that they make
  for (const Node& node : graph.nodes)
    if (std::optional<Node> dequantize = dequantize_of(graph, index, node)) {
      const ValueId made = dequantize->output(0);
      found.insert_or_assign(made, *std::move(dequantize));
    }
  if (found.empty()) return any;
  for (Node& node : graph.nodes)
    if (const auto it = found.find(node.output(0)); it != found.end()) node = std::move(it->second);
  remove_unused(graph);
  return true;
}

}  // namespace zp
