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

// The DequantizeLinear that gives the same as a Cast of 8-bit constants and the nodes behind it. nullopt:
// none does.
std::optional<Node> dequantize_of(Graph& graph, const GraphIndex& index, const Node& cast) {
  const Tensor* integers = cast.is("Cast") ? graph.constant(cast.input(0)) : nullptr;
  if (!integers || !is_byte(integers->dtype()) || graph[cast.output(0)].dtype != DType::kFloat32)
    return std::nullopt;
  ValueId floats = cast.output(0);
  const Node* next = only_reader(graph, index, floats);
  std::optional<Steps> zeros;
  if (next && next->is("Sub") && next->input(0) == floats) {
    const Tensor* subtracted = constant_beside(graph, *next, floats);
    zeros = subtracted ? steps_of(*subtracted, integers->dims()) : std::nullopt;
    if (!zeros) return std::nullopt;
    floats = next->output(0);
    next = only_reader(graph, index, floats);
  }
  const Tensor* scale = next && next->is("Mul") ? constant_beside(graph, *next, floats) : nullptr;
  const std::optional<Steps> scales = scale ? steps_of(*scale, integers->dims()) : std::nullopt;
  if (!scales || !is_read_as_weight(graph, index, *integers, next->output(0))) return std::nullopt;
  std::optional<Tensor> points;
  if (zeros) {
    points = points_of(*zeros, *scales, integers->dtype());
    if (!points) return std::nullopt;
  }
  const auto count = static_cast<int64_t>(scales->values.size());
  const Shape dims = count == 1 ? Shape{} : Shape{count};
  const std::string name = graph[cast.input(0)].name;
  Node dequantize = *next;
  dequantize.op_type = "DequantizeLinear";
  dequantize.attributes.clear();
  if (count > 1) dequantize.attributes.emplace("axis", scales->axis);
  dequantize.inputs = {cast.input(0),
                       graph.add_constant(name + "_scale", Tensor::of<float>(dims, scales->values))};
  if (points) dequantize.inputs.push_back(graph.add_constant(name + "_zero_point", *std::move(points)));
  return dequantize;
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
    const int32_t maker = index.producer[static_cast<size_t>(node.input(0))];
    if (maker < 0) return std::nullopt;
    const Node& mover = graph.nodes[static_cast<size_t>(maker)];
    move = move_of(mover);
    integers = move.empty() ? nullptr : graph.constant(mover.inputs[0]);
    if (!integers) return std::nullopt;
    weight.nodes.push_back(&mover);
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
    const int32_t maker = index.producer[static_cast<size_t>(c.outer)];
    if (maker < 0) return false;
    const auto weight = stored_weight(graph, index, graph.nodes[static_cast<size_t>(maker)]);
    if (!weight) return false;
    for (Node& n : weight->moved(graph, inner)) nodes.push_back(std::move(n));
    nodes.back().outputs = {c.inner};
    return true;
  });
  inner.nodes.insert(inner.nodes.begin(), nodes.begin(), nodes.end());
  return !nodes.empty();
}

std::vector<Node> spelled_weight(Graph& graph, const Node& dequantize) {
  const ValueId integers = dequantize.input(0);
  const auto constant = [&](size_t i) {
    const Tensor* t = graph.constant(dequantize.input(i));
    return t ? std::optional(*t) : std::nullopt;
  };
  const std::optional<Tensor> scale = constant(1), point = constant(2);
  const std::optional<SymShape> shape = graph[integers].shape;
  const DType type = graph[integers].dtype;
  if (!scale || scale->dtype() != DType::kFloat32 || !shape || !is_byte(type) ||
      dequantize.int_attribute("block_size", 0) != 0 || (dequantize.input(2) != kNoValue && !point))
    return {};
  // Of as many dimensions as the integers from the axis on, so that they broadcast.
  const auto rank = static_cast<int64_t>(shape->size());
  const int64_t given = dequantize.int_attribute("axis", 1), axis = given < 0 ? given + rank : given;
  if (scale->size() != 1 && (axis < 0 || axis >= rank)) return {};
  Shape dims(scale->size() == 1 ? size_t{0} : static_cast<size_t>(rank - axis), 1);
  if (!dims.empty()) dims[0] = scale->size();
  const std::string name = graph[integers].name;
  std::vector<Node> nodes;
  const auto add = [&](std::string_view op, std::vector<ValueId> inputs, ValueId output) {
    Node node;
    node.op_type = op;
    node.name = graph[output].name;
    node.inputs = std::move(inputs);
    node.outputs = {output};
    nodes.push_back(std::move(node));
  };
  ValueId floats = graph.add_value(name + "_float", DType::kFloat32, shape);
  add("Cast", {integers}, floats);
  nodes.back().attributes.emplace("to", static_cast<int64_t>(DType::kFloat32));
  const std::vector<int64_t> zeros = point ? point->integers() : std::vector<int64_t>{};
  if (std::ranges::any_of(zeros, [](int64_t z) { return z != 0; })) {
    const Shape as = point->size() == 1 ? Shape{} : dims;
    const ValueId centred = graph.add_value(name + "_centred", DType::kFloat32, shape);
    add("Sub",
        {floats, graph.add_constant(name + "_zero",
                                    Tensor::of<float>(as, std::vector<float>(zeros.begin(), zeros.end())))},
        centred);
    floats = centred;
  }
  const std::vector<float> steps = scale->floats();
  add("Mul", {floats, graph.add_constant(name + "_step", Tensor::of<float>(dims, steps))},
      dequantize.output(0));
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
