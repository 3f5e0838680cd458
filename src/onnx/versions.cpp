#include "onnx/versions.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "graph/subgraphs.h"
#include "onnx/onnx.h"
#include "onnx/schema.h"
#include "onnx/used_values.h"
#include "ops/fold.h"
#include "ops/fused.h"
#include "ops/infer.h"
#include "ops/op.h"
#include "ops/respell.h"

namespace zp::onnx {
namespace {

// The IR version that came with each opset, from kOldestOpset on; at least 4, because older versions need
// initializers to be inputs.
constexpr int8_t kIrVersions[] = {4, 4, 4, 5, 6, 7, 7, 7, 8, 8, 8, 8, 9, 9, 10, 10, 11, 12, 13, 13, 13, 14};
static_assert(std::size(kIrVersions) == kNewestOpset - kOldestOpset + 1);

bool is_unknown(const Node& node) { return node.domain.empty() && !find_op(node) && !is_fused(node); }

bool has_unknown(const Graph& graph) {
  return std::ranges::any_of(graph.nodes, [](const Node& node) {
    return is_unknown(node) || std::ranges::any_of(subgraphs(node), has_unknown);
  });
}

// The first node that is kept in a form of the file's opset which `opset` may not have.
const Node* bound_elsewhere(const Graph& graph, int64_t opset) {
  for (const Node& node : graph.nodes) {
    if (node.refusal && !is_fused(node) && node.domain.empty() && node.refusal->version != opset &&
        find_op(node.domain, node.op_type)->canonicalize)
      return &node;
    for (const Graph& sub : subgraphs(node))
      if (const Node* inner = bound_elsewhere(sub, opset)) return inner;
  }
  return nullptr;
}

// Brings the nodes of a graph to the form of an opset. With `expand`, operators that the opset does not have
// are spelled in its operators, if possible.
class Respeller {
 public:
  Respeller(int64_t opset, bool expand) : opset_(opset), expand_(expand) {}

  void run(Graph& graph) {
    fold_unsayable(graph);
    respell_nodes(graph);
  }
  // The opset that the whole model needs, and the first node that needs it.
  LowestOpset lowest{.opset = kOldestOpset, .node = {}, .op = {}};

 private:
  void respell_nodes(Graph& graph) {
    std::vector<Node> nodes = std::move(graph.nodes);
    graph.nodes.clear();
    for (Node& node : nodes) {
      add(graph, std::move(node));
      for (Graph& sub : subgraphs(graph.nodes.back())) respell_nodes(sub);
    }
  }

  void add(Graph& graph, Node node) {
    Node spelled = node;
    int64_t needed = respell(graph, spelled, opset_);
    const OpDef* def = find_op(node);
    // A fused operator has the form of the file's opset; for other opsets it becomes its pieces.
    if (is_fused(node) && node.domain.empty()) {
      if (expand_ && opset_ != node.refusal->version) {
        std::vector<Node> pieces = pieces_of_fused(graph, node);
        for (Node& n : pieces) add(graph, std::move(n));
        if (!pieces.empty()) return;
      }
      needed = node.refusal->version;
    }
    if (needed > opset_ && expand_ && def && def->expand && is_float(graph, node.input(0))) {
      std::vector<Node> pieces = spelled_out(graph, std::move(node), *def);
      for (Node& n : pieces) add(graph, std::move(n));
      if (!pieces.empty()) return;
    }
    if (needed > lowest.opset) lowest = {needed, spelled.name, qualified_name(spelled)};
    graph.nodes.push_back(std::move(spelled));
  }

  // Constants get the type of the input, which has to be known.
  static bool is_float(const Graph& graph, ValueId v) {
    const DType type = v == kNoValue ? DType::kUndefined : graph[v].dtype;
    return type == DType::kFloat32 || type == DType::kFloat16 || type == DType::kFloat64;
  }

  static std::vector<Node> spelled_out(Graph& graph, Node node, const OpDef& def) {
    Canonicalize c{.graph = graph, .node = std::move(node), .version = kOpset, .nodes = {}};
    def.expand(c);
    try {
      for (const Node& n : c.nodes) infer_node(graph, n);
    } catch (const Error& e) {
      // The node may be in a branch that does not fit and is never taken: it stays whole.
      if (e.code() == ErrorCode::kOutOfMemory) throw;
      c.nodes.clear();
    }
    return std::move(c.nodes);
  }

  int64_t opset_;
  bool expand_;
};

// The IR version that brought the types from one on; newer ones have higher numbers.
constexpr std::pair<DType, int64_t> kIrOfTypes[] = {{DType::kFloat8E4M3FN, 9},
                                                    {DType::kUint4, 10},
                                                    {DType::kFloat4E2M1, 11},
                                                    {DType::kFloat8E8M0, 12},
                                                    {DType::kUint2, 13}};

// The IR version that the types of values need.
int64_t ir_of_types(const Graph& graph) {
  int64_t ir = 0;
  const std::vector<bool> used = used_values(graph);  // others are not written
  for (size_t i = 0; i < used.size(); ++i) {
    const DType type = used[i] ? graph.values[i].dtype : DType::kUndefined;
    for (const auto& [from, version] : kIrOfTypes)
      if (type >= from) ir = std::max(ir, version);
  }
  for (const Node& node : graph.nodes)
    for (const Graph& sub : subgraphs(node)) ir = std::max(ir, ir_of_types(sub));
  return ir;
}

int64_t file_opset(const Model& model) {
  const auto file = model.opsets.find("");
  return file == model.opsets.end() ? kOpset : file->second;
}

LowestOpset lowest_opset(const Model& model, bool expand) {
  Respeller respeller(kOldestOpset, expand);
  Graph copy = clone(model.graph);
  respeller.run(copy);
  const int64_t file = file_opset(model);
  if (file > respeller.lowest.opset && has_unknown(model.graph)) return {file, {}, {}};
  return respeller.lowest;
}

// The opset that is written by default. A newer operator that a rewrite made of several nodes of the file
// becomes these nodes again, rather than ask for a newer opset than the file had.
int64_t usual_opset(const Model& model, int64_t lowest) {
  const int64_t whole = lowest_opset(model, false).opset;
  const int64_t least = has_unknown(model.graph) ? kOldestOpset : model.least_opset;
  return std::max({lowest, least, std::min(whole, file_opset(model))});
}

}  // namespace

LowestOpset lowest_opset(const Model& model) { return lowest_opset(model, true); }

Versions versions_of(const Model& model, int64_t opset) {
  const LowestOpset lowest = lowest_opset(model);
  const int64_t written = opset == 0 ? usual_opset(model, lowest.opset) : opset;
  if (written > kNewestOpset) {
    throw_error(ErrorCode::kInvalidArgument,
                {"opset ", opset, " is not known here; the newest is ", kNewestOpset});
  }
  const int64_t file = file_opset(model);
  if (written > std::max<int64_t>(file, kOpset) && has_unknown(model.graph)) {
    throw_error(ErrorCode::kInvalidArgument,
                {"the model has operators that are not known here, in the form of opset ", file,
                 ", not of opset ", opset},
                {.hint = {"write the model as opset ", file}});
  }
  if (written < lowest.opset) {
    const std::string who = lowest.node.empty() ? std::string("an operator that is not known here")
                                                : "node '" + lowest.node + "' (" + lowest.op + ")";
    throw_error(ErrorCode::kInvalidArgument,
                {"the model cannot be written as opset ", opset, ": ", who, " needs opset ", lowest.opset},
                {.node = lowest.node,
                 .op = lowest.op,
                 .hint = {"the lowest opset that can hold this model is ", lowest.opset}});
  }
  if (const Node* node = bound_elsewhere(model.graph, written)) {
    throw_error(
        ErrorCode::kInvalidArgument,
        {"the model needs opset ", written, ", and ", node->op_type,
         " is passed through in the form of opset ", node->refusal->version, ": ", node->refusal->why},
        {.node = node->name,
         .op = qualified_name(*node),
         .hint = {"export the model again, for opset ", written}});
  }
  return {written, std::max<int64_t>(kIrVersions[written - kOldestOpset], ir_of_types(model.graph))};
}

void respell_graph(Graph& graph, int64_t opset) { Respeller(opset, true).run(graph); }

}  // namespace zp::onnx
