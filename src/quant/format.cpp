#include "quant/format.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "ops/gather.h"
#include "ops/infer.h"
#include "ops/op.h"
#include "quant/numbers.h"
#include "quant/qdq.h"
#include "quant/runtimes.h"

namespace zp::quant {
namespace {

const Node* producer_of(const Graph& graph, const GraphIndex& index, ValueId v) {
  const int32_t p = v == kNoValue ? -1 : index.producer[static_cast<size_t>(v)];
  return p < 0 ? nullptr : &graph.nodes[static_cast<size_t>(p)];
}

// The only reader of a value that nobody else sees; nullptr otherwise.
const Node* only_reader(const Graph& graph, const GraphIndex& index, ValueId v) {
  if (v == kNoValue || graph.is_output(v)) return nullptr;
  const auto& readers = index.consumers[static_cast<size_t>(v)];
  return readers.size() == 1 ? &graph.nodes[static_cast<size_t>(readers[0])] : nullptr;
}

QuantizedEdge edge_of(const Graph& graph, const GraphIndex& index, const Node& qdq, ValueId integers) {
  QuantizedEdge e{.quantized = integers,
                  .scale = qdq.input(1),
                  .zero_point = qdq.input(2),
                  .axis = static_cast<int>(qdq.int_attribute("axis", 1)),
                  .block_size = qdq.int_attribute("block_size", 0),
                  .dynamic = false};
  const Node* maker = producer_of(graph, index, integers);
  e.dynamic = maker && role_of(*maker) == QdqRole::kDynamicQuantize;
  const SymShape* shape = graph[qdq.output(0)].shape ? &*graph[qdq.output(0)].shape : nullptr;
  if (e.axis < 0 && shape) e.axis += static_cast<int>(shape->size());
  return e;
}

// A clamp before a Q that saturates there anyway does nothing: dropped, so that what is before it can be
// folded.
void drop_clamps(Graph& graph) {
  const GraphIndex index(graph);
  std::vector<std::pair<size_t, ValueId>> reads;  // Q node, what it reads instead
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& clamp = graph.nodes[i];
    const OpDef* def = find_op(clamp);
    if (!def || !def->as_clamp) continue;
    const std::optional<Clamp> range = def->as_clamp(GraphInferContext(graph, clamp));
    const Node* q = only_reader(graph, index, clamp.output(0));
    if (!range || !q || !is_quantize(*q) || only_reader(graph, index, clamp.input(0)) != &clamp) continue;
    const std::optional<QParams> p = constant_params(graph, *q);
    if (!p) continue;
    // Within half a step both ends round to the same integer.
    const Range all = covered(*p);
    const float half = p->scale / 2;
    if (range->lo > all.min + half * 0.999f || range->hi < all.max - half * 0.999f) continue;
    reads.emplace_back(static_cast<size_t>(q - graph.nodes.data()), clamp.input(0));
  }
  for (const auto& [q, value] : reads) graph.nodes[q].inputs[0] = value;
  remove_unused(graph);
}

bool has_pairs(const Graph& graph) {
  return std::ranges::any_of(graph.nodes, [](const Node& node) {
    return role_of(node) != QdqRole::kNone || std::ranges::any_of(node.attributes, [](const auto& entry) {
             const auto* sub = std::get_if<std::shared_ptr<Graph>>(&entry.second);
             return sub && has_pairs(**sub);
           });
  });
}

// Calls `what` with the branches of a graph.
template <class What>
void for_branches(Graph& graph, const What& what) {
  for (Node& node : graph.nodes)
    for (auto& [key, attribute] : node.attributes)
      if (auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute); sub && find_op(node)) what(**sub);
}

// Other runtimes fuse an operator with the Q right behind it.
void drop_all_clamps(Graph& graph) {
  for_branches(graph, drop_all_clamps);
  drop_clamps(graph);
}

// A node with the pairs around it.
Fold fold_of(Graph& graph, const GraphIndex& index, const Node& node) {
  Fold fold{.graph = graph, .node = node, .inputs = {}, .output = {}, .nodes = {}};
  for (ValueId v : node.inputs) {
    const Node* dq = producer_of(graph, index, v);
    if (dq && is_dequantize(*dq)) {
      fold.inputs.push_back(edge_of(graph, index, *dq, dq->input(0)));
    } else {
      fold.inputs.push_back(std::nullopt);
    }
  }
  const Node* q = only_reader(graph, index, node.output(0));
  if (q && is_quantize(*q)) fold.output = edge_of(graph, index, *q, q->output(0));
  return fold;
}

// Rows of tables are picked as integers.
void pick_all_rows(Graph& graph) {
  for_branches(graph, pick_all_rows);
  const GraphIndex index(graph);
  const std::vector<Node> before = graph.nodes;
  std::vector<Node> nodes;
  for (const Node& node : before) {
    Fold fold = fold_of(graph, index, node);
    if (pick_rows(fold)) {
      for (Node& n : fold.nodes) nodes.push_back(std::move(n));
    } else {
      nodes.push_back(node);
    }
  }
  graph.nodes = std::move(nodes);
  remove_unused(graph);
}

// The graph's own layers, and those of its branches.
void fold_layers(Graph& graph) {
  for_branches(graph, fold_layers);
  drop_clamps(graph);
  const GraphIndex index(graph);
  std::vector<Node> nodes;
  std::vector<bool> gone(graph.nodes.size(), false);  // Q nodes that were folded
  const std::vector<Node> before = graph.nodes;
  for (size_t i = 0; i < before.size(); ++i) {
    if (gone[i]) continue;
    const Node& node = before[i];
    const OpDef* def = find_op(node);
    if (!def || !def->fold || def->role != QdqRole::kNone) {
      nodes.push_back(node);
      continue;
    }
    Fold fold = fold_of(graph, index, node);
    const Node* q = only_reader(graph, index, node.output(0));
    const bool any =
        std::any_of(fold.inputs.begin(), fold.inputs.end(), [](const auto& e) { return e.has_value(); });
    if (!any || !def->fold(fold) || fold.nodes.empty()) {
      nodes.push_back(node);
      continue;
    }
    // The fold may make the integers, and then Q is done, or the float value.
    if (q && fold.output && fold.nodes.back().output(0) == fold.output->quantized)
      gone[static_cast<size_t>(q - graph.nodes.data())] = true;
    for (Node& n : fold.nodes) nodes.push_back(std::move(n));
  }
  graph.nodes = std::move(nodes);
  sort_topologically(graph);
  remove_unused(graph);
}

}  // namespace

void require_format(std::string_view format) {
  if (format != kQdq && format != kQoperator)
    throw_error(ErrorCode::kInvalidArgument, {"unknown format '", format, "'"},
                {.hint = "'qdq' or 'qoperator'"});
}

Model in_format(const Model& model, std::string_view format, std::string_view runtime) {
  require_format(format);
  Model out = model;
  out.graph = clone(model.graph);
  if (format == kQdq) {
    drop_all_clamps(out.graph);
  } else {
    fold_layers(out.graph);
  }
  if (!runtime.empty() && runtime_named(runtime).whole_tables) pick_all_rows(out.graph);
  if (has_pairs(out.graph)) out.least_opset = kOpsetOfPairs;
  return out;
}

}  // namespace zp::quant
