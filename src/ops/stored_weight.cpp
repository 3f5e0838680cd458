#include "ops/stored_weight.h"

#include <map>
#include <utility>

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

}  // namespace zp
