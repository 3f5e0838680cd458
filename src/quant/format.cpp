#include "quant/format.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/fnv.h"
#include "core/stopwatch.h"
#include "graph/subgraphs.h"
#include "ops/fold.h"
#include "ops/fused.h"
#include "ops/gather.h"
#include "ops/infer.h"
#include "ops/op.h"
#include "ops/stored_weight.h"
#include "quant/hoist.h"
#include "quant/numbers.h"
#include "quant/qdq.h"
#include "quant/runtimes.h"

namespace zp::quant {
namespace {

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
    return role_of(node) != QdqRole::kNone || std::ranges::any_of(subgraphs(node), has_pairs);
  });
}

// Calls `what` with the branches of a graph, but for those of nodes that are passed through as they are.
template <class What>
void for_branches(Graph& graph, const What& what) {
  for (Node& node : graph.nodes)
    if (find_op(node))
      for (Graph& branch : subgraphs(node)) what(branch);
}

// Other runtimes fuse an operator with the Q right behind it.
void drop_all_clamps(Graph& graph) {
  for_branches(graph, drop_all_clamps);
  drop_clamps(graph);
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

// The DequantizeLinear whose values an operator that only moves values gives, one scale for all; nullptr:
// none.
const Node* moved_from(const Graph& graph, const GraphIndex& index, const Node& node) {
  const Node* at = &node;
  while (at && !is_dequantize(*at)) {
    const OpDef* def = find_op(*at);
    if (!def || def->quant.kind != QuantRule::Kind::kSameScale) return nullptr;
    at = producer_of(graph, index, at->input(0));
  }
  if (!at || at == &node) return nullptr;
  const Tensor* scale = graph.constant(at->input(1));
  return scale && scale->size() == 1 && at->int_attribute("block_size", 0) == 0 ? at : nullptr;
}

// ONNX Runtime moves a DequantizeLinear behind operators that only move values, and its process ends where a
// branch reads what they give (core/optimizer/qdq_transformer/qdq_propagation.cc, as tried with 1.32). A pair
// of their own, which changes no number, keeps it from that.
void close_moved_pairs(Graph& graph) {
  std::set<ValueId> captured;
  for_branches(graph, [&](Graph& branch) {
    close_moved_pairs(branch);
    for (const Capture& c : branch.captures) captured.insert(c.outer);
  });
  if (captured.empty()) return;
  const GraphIndex index(graph);
  const std::vector<Node> before = graph.nodes;
  std::vector<Node> nodes;
  for (const Node& node : before) {
    const ValueId value = node.output(0);
    const Node* dq = captured.contains(value) ? moved_from(graph, index, node) : nullptr;
    nodes.push_back(node);
    if (!dq) continue;
    const Value& of = graph[value];
    const DType integers = graph[dq->input(0)].dtype;
    const ValueId moved = graph.add_value(of.name + "_moved", of.dtype, of.shape);
    const ValueId rounded = graph.add_value(of.name + "_quantized", integers, of.shape);
    nodes.back().outputs[0] = moved;
    Node again = *dq, round = *dq;
    round.op_type = operator_of(QdqRole::kQuantize);
    round.name = graph[rounded].name;
    round.inputs[0] = moved;
    round.outputs = {rounded};
    again.name = of.name + "_dequantized";
    again.inputs[0] = rounded;
    again.outputs = {value};
    nodes.push_back(std::move(round));
    nodes.push_back(std::move(again));
  }
  graph.nodes = std::move(nodes);
}

// Constants that folding makes of weights that branches share: equal ones become one, which a file has once.
class SharedConstants {
 public:
  // Of a graph, from a value on.
  void take(Graph& graph, size_t from) {
    for (size_t v = from; v < graph.values.size(); ++v) {
      std::optional<Tensor>& constant = graph.values[v].constant;
      if (!constant || constant->dtype() == DType::kString || constant->bytes() < kLeast) continue;
      Tensor copy = *constant;  // data that it reads go with it
      Fnv1a hash;
      hash.add(copy.raw(), copy.bytes());
      std::vector<Tensor>& alike = known_[{copy.dtype(), copy.dims(), hash.value}];
      const auto same = std::ranges::find_if(alike, [&](const Tensor& t) {
        const Glance other(t);
        return std::memcmp(t.raw(), copy.raw(), t.bytes()) == 0;
      });
      if (same == alike.end()) {
        alike.push_back(*constant);
      } else {
        constant = *same;
      }
    }
  }

 private:
  static constexpr size_t kLeast = 256;  // bytes: smaller ones are written where they are read
  std::map<std::tuple<DType, Shape, uint64_t>, std::vector<Tensor>> known_;  // by the hash of their data
};

// A constant, or one whose elements are moved.
bool is_stored(const Graph& graph, const GraphIndex& index, ValueId value) {
  if (graph.constant(value)) return true;
  const Node* maker = producer_of(graph, index, value);
  const OpDef* def = maker ? find_op(*maker) : nullptr;
  return def && def->quant.kind == QuantRule::Kind::kSameScale &&
         std::ranges::all_of(maker->inputs,
                             [&](ValueId v) { return v == kNoValue || is_stored(graph, index, v); });
}

// No range was calibrated for it: only weights are integers, or what is rounded in each run.
bool is_uncalibrated(const Fold& fold, const GraphIndex& index) {
  return !fold.output && std::ranges::all_of(fold.inputs, [&](const auto& edge) {
    return !edge || edge->dynamic || is_stored(fold.graph, index, edge->quantized);
  });
}

// Weights that the runtime would make floats of in each run become floats once, when the file is loaded.
class SpellFloatWeights {
 public:
  // `joins`: the runtime keeps the integers of matrices that it makes one node of with their products.
  SpellFloatWeights(const RuntimeRules& rules, bool joins) : rules_(rules), joins_(joins) {}

  // Bytes of the floats that all of them make.
  double float_bytes(Graph& graph) const {
    double bytes = 0;
    for_branches(graph, [&](Graph& branch) { bytes += float_bytes(branch); });
    const GraphIndex index(graph);
    for (const Node& node : graph.nodes) {
      const auto weight = stored_weight(graph, index, node);
      if (!weight || !is_read_as_floats(graph, index, node.output(0))) continue;
      const Tensor& integers = *graph.constant(weight->nodes.front()->input(0));
      bytes += 4.0 * static_cast<double>(integers.size());
    }
    return bytes;
  }

  void run(Graph& graph) const {
    for_branches(graph, [&](Graph& branch) { run(branch); });
    const GraphIndex index(graph);
    const std::vector<Node> before = graph.nodes;
    std::vector<Node> nodes;
    for (const Node& node : before) {
      std::vector<Node> spelled;
      if (stored_weight(graph, index, node) && is_read_as_floats(graph, index, node.output(0)))
        spelled = spelled_weight(graph, node);
      if (spelled.empty()) {
        nodes.push_back(node);
      } else {
        std::ranges::move(spelled, std::back_inserter(nodes));
      }
    }
    graph.nodes = std::move(nodes);
  }

 private:
  // Whoever reads it, moved or not, has no use for integers.
  bool is_read_as_floats(Graph& graph, const GraphIndex& index, ValueId weight) const {
    return std::ranges::all_of(index.consumers[static_cast<size_t>(weight)], [&](int32_t r) {
      const Node& reader = graph.nodes[static_cast<size_t>(r)];
      const OpDef* def = find_op(reader);
      if (def && def->quant.kind == QuantRule::Kind::kSameScale &&
          !is_read_as_floats(graph, index, reader.output(0)))
        return false;
      const bool matrix = graph[weight].shape && graph[weight].shape->size() == 2;
      if (role_of(reader) != QdqRole::kNone || (joins_ && matrix && rules_.joins_weight(reader)))
        return false;
      const Fold fold = fold_of(graph, index, reader);
      return !fold.output && std::ranges::all_of(fold.inputs, [&](const auto& edge) {
        return !edge || (!edge->dynamic && is_stored(graph, index, edge->quantized));
      });
    });
  }

  const RuntimeRules& rules_;
  bool joins_;
};

// A constant of the graph or of a branch whose data stay in a file; undefined: there is none.
Tensor any_in_file(const Graph& graph) {
  for (const Value& v : graph.values)
    if (v.constant && v.constant->file()) return *v.constant;
  for (const Node& node : graph.nodes)
    for (const Graph& branch : subgraphs(node))
      if (Tensor found = any_in_file(branch); found.defined()) return found;
  return {};
}

// For as long as it lives, weights in files are read; then they are forgotten, and what was made of them goes
// beside them: a graph has more weights than memory.
class WhileFolding {
 public:
  // `in_file`: any tensor in a file; undefined: the graph has none.
  WhileFolding(const Fold& fold, const Tensor& in_file)
      : graph_(fold.graph), in_file_(in_file), before_(fold.graph.values.size()) {
    if (!in_file.defined()) return;
    for (const auto& edge : fold.inputs) {
      if (!edge) continue;
      for (const ValueId v : {edge->quantized, edge->scale, edge->zero_point})
        if (const Tensor* t = graph_.constant(v); t && t->file()) read_.emplace_back(*t);
    }
  }
  ~WhileFolding() = default;
  WhileFolding(const WhileFolding&) = delete;
  WhileFolding& operator=(const WhileFolding&) = delete;

  void put_new() {
    if (!in_file_.defined()) return;
    for (size_t v = before_; v < graph_.values.size(); ++v)
      if (std::optional<Tensor>& t = graph_.values[v].constant) t = kept_beside(in_file_, std::move(*t));
  }

 private:
  Graph& graph_;
  const Tensor& in_file_;
  size_t before_;
  std::list<Glance> read_;
};

// The layers that FoldLayers is for.
enum class Folded : uint8_t {
  kAll,
  // Layers of branches without a calibrated range, and those that share weights with them, which the file
  // then has in one form. Others stay pairs.
  kBranches,
  kBranchesAndBlocks,  // and layers with weights in blocks
  kRounding,           // layers of branches that round floats in each run
};

class FoldLayers {
 public:
  explicit FoldLayers(Folded folded) : folded_(folded) {}

  // Folds the branches of a graph, which has to stay where it is; its own layers are for fold_next().
  void start(Graph& main) {
    in_file_ = any_in_file(main);
    for_branches(main, [&](Graph& branch) { fold_branch(branch); });
    before_ = main.values.size();
    if (!leaves_pairs() || folded_ == Folded::kBranchesAndBlocks || !in_branches_.empty())
      pass_.emplace(main, /*branch=*/false);
  }
  // False: there is no layer left, and the graph is done.
  bool fold_next() {
    if (!pass_) return false;
    if (pass_->at < pass_->before.size()) {
      fold_layer(*pass_);
      return true;
    }
    Graph& main = pass_->graph;
    end(*pass_);
    pass_.reset();
    if (!in_branches_.empty()) shared_.take(main, before_);
    return false;
  }
  size_t done() const { return pass_ ? pass_->at : 0; }
  size_t total() const { return pass_ ? pass_->before.size() : 0; }

 private:
  // What is not folded stays pairs.
  bool leaves_pairs() const { return folded_ != Folded::kAll; }

  using Weights = std::vector<const void*>;  // by their memory

  void fold_branch(Graph& branch) {
    for_branches(branch, [&](Graph& inner) { fold_branch(inner); });
    const size_t before = branch.values.size();
    const Weights left = fold(branch, /*branch=*/true);
    if (are_in_branches(left)) fold(branch, /*branch=*/true);  // tables that a layer behind them is made of
    shared_.take(branch, before);
  }

  bool are_in_branches(const Weights& weights) const {
    return std::ranges::any_of(weights, [&](const void* w) { return in_branches_.contains(w); });
  }

  bool wanted(const Fold& fold, const GraphIndex& index, const Weights& weights, bool branch) const {
    if (!leaves_pairs()) return true;
    if (!is_uncalibrated(fold, index)) return false;
    const auto any = [&](auto&& is) {
      return std::ranges::any_of(fold.inputs, [&](const auto& edge) { return edge && is(*edge); });
    };
    if (folded_ == Folded::kRounding && !any([](const QuantizedEdge& e) { return e.dynamic; })) return false;
    if (folded_ == Folded::kBranchesAndBlocks && any([](const QuantizedEdge& e) { return e.block_size > 0; }))
      return true;
    if (are_in_branches(weights)) return true;
    // Rows of a table are picked as integers: more versions take that than the operator that it is folded to.
    return branch && find_op(fold.node)->quant.kind != QuantRule::Kind::kSameScale;
  }

  // Wherever they are moved.
  static Weights weights_of(const Fold& fold, const GraphIndex& index) {
    Weights weights;
    for (const auto& edge : fold.inputs) {
      if (!edge) continue;
      ValueId v = edge->quantized;
      while (!fold.graph.constant(v)) {
        const Node* maker = producer_of(fold.graph, index, v);
        if (!maker) break;
        v = maker->input(0);
      }
      if (const Tensor* t = fold.graph.constant(v)) weights.push_back(t->identity());
    }
    return weights;
  }

  // On its way through the layers of a graph.
  struct Pass {
    Pass(Graph& of, bool is_branch)
        : graph(without_clamps(of)),
          branch(is_branch),
          index(graph),
          before(graph.nodes),
          gone(before.size(), false) {}
    static Graph& without_clamps(Graph& graph) {
      drop_clamps(graph);
      return graph;
    }

    Graph& graph;
    bool branch;
    GraphIndex index;
    std::vector<Node> before, nodes;
    std::vector<bool> gone;  // Q nodes that were folded
    size_t at = 0;           // of `before`
    Weights left;            // of layers that stay pairs
  };

  // The graph's own layers. Gives the weights of those that stay pairs.
  Weights fold(Graph& graph, bool branch) {
    Pass pass(graph, branch);
    while (pass.at < pass.before.size()) fold_layer(pass);
    end(pass);
    return std::move(pass.left);
  }

  void fold_layer(Pass& pass) {
    const size_t i = pass.at++;
    if (pass.gone[i]) return;
    Graph& graph = pass.graph;
    const Node& node = pass.before[i];
    const OpDef* def = find_op(node);
    if (!def || !def->fold || def->role != QdqRole::kNone) {
      pass.nodes.push_back(node);
      return;
    }
    Fold fold = fold_of(graph, pass.index, node);
    const Node* q = only_reader(graph, pass.index, node.output(0));
    const bool any =
        std::any_of(fold.inputs.begin(), fold.inputs.end(), [](const auto& e) { return e.has_value(); });
    const Weights weights = leaves_pairs() || pass.branch ? weights_of(fold, pass.index) : Weights();
    WhileFolding folding(fold, in_file_);
    if (!any || !wanted(fold, pass.index, weights, pass.branch) || !def->fold(fold) || fold.nodes.empty()) {
      if (leaves_pairs()) std::ranges::copy(weights, std::back_inserter(pass.left));
      pass.nodes.push_back(node);
      return;
    }
    folding.put_new();
    const bool alone =  // in a form of their own: integer products read the same integers as pairs
        std::ranges::none_of(fold.inputs, [](const auto& edge) { return edge && edge->dynamic; });
    if (pass.branch && alone) std::ranges::copy(weights, std::inserter(in_branches_, in_branches_.end()));
    // The fold may make the integers, and then Q is done, or the float value.
    if (q && fold.output && fold.nodes.back().output(0) == fold.output->quantized)
      pass.gone[static_cast<size_t>(q - graph.nodes.data())] = true;
    for (Node& n : fold.nodes) pass.nodes.push_back(std::move(n));
  }

  static void end(Pass& pass) {
    pass.graph.nodes = std::move(pass.nodes);
    sort_topologically(pass.graph);
    remove_unused(pass.graph);
  }

  Folded folded_;
  Tensor in_file_;
  std::set<const void*> in_branches_;  // weights that were folded there, by their memory
  SharedConstants shared_;
  std::optional<Pass> pass_;  // through the main graph
  size_t before_ = 0;         // values that it had
};

// Weights become floats when the file is loaded, all of them.
bool fits_as_floats(Graph& graph, const RuntimeRules& rules) {
  return rules.floats_at_load > 0 && SpellFloatWeights(rules, /*joins=*/false).float_bytes(graph) <=
                                         static_cast<double>(rules.floats_at_load);
}

Folded folded_beside_pairs(const RuntimeRules& rules, bool as_floats) {
  if (as_floats) return Folded::kRounding;
  return rules.floats_at_load > 0 ? Folded::kBranchesAndBlocks : Folded::kBranches;
}

}  // namespace

void require_format(std::string_view format) {
  if (format != kQdq && format != kQoperator)
    throw_error(ErrorCode::kInvalidArgument, {"unknown format '", format, "'"},
                {.hint = "'qdq' or 'qoperator'"});
}

class Formatting::Steps {
 public:
  Steps(const Model& model, std::string_view format, const RuntimeRules* rules)
      : out_(model),
        rules_(rules),
        operators_(format == kQoperator),
        each_run_(rules && rules->dequantizes_in_runs) {
    out_.graph = clone(model.graph);
    // Fused operators that nobody changed are written as they were read.
    if (!rules) join_fused(out_.graph, "", [](const Node&) { return true; });
    if (!operators_) drop_all_clamps(out_.graph);
    if (!operators_ && !each_run_) return;
    sink_shared_weights(out_.graph);
    as_floats_ = !operators_ && fits_as_floats(out_.graph, *rules);
    layers_.emplace(operators_ ? Folded::kAll : folded_beside_pairs(*rules, as_floats_));
    layers_->start(out_.graph);
    total_ = layers_->total();
  }

  bool advance(double milliseconds) {
    if (ended_) return true;
    const Stopwatch watch(milliseconds);
    while (layers_ && layers_->fold_next())
      if (watch.over()) return false;
    end();
    return ended_ = true;
  }
  size_t done() const { return ended_ ? total_ : layers_ ? layers_->done() : 0; }
  size_t total() const { return total_; }
  Model take() { return std::move(out_); }

 private:
  void end() {
    if (layers_) {
      if (each_run_) pick_all_rows(out_.graph);
      hoist_shared_weights(out_.graph);
      if (each_run_) SpellFloatWeights(*rules_, !as_floats_).run(out_.graph);
    }
    close_moved_pairs(out_.graph);
    fold_unsayable(out_.graph);
    if (rules_) out_.least_opset = std::max(out_.least_opset, rules_->least_opset);
    if (has_pairs(out_.graph)) out_.least_opset = kOpsetOfPairs;
  }

  Model out_;
  const RuntimeRules* rules_;
  bool operators_, each_run_;  // each run makes floats of constants there (RuntimeRules)
  bool as_floats_ = false, ended_ = false;
  std::optional<FoldLayers> layers_;
  size_t total_ = 0;
};

Formatting::Formatting(const Model& model, std::string_view format, const RuntimeRules* rules) {
  require_format(format);
  steps_ = std::make_unique<Steps>(model, format, rules);
}
Formatting::Formatting(const Model& model, std::string_view format, std::string_view runtime)
    : Formatting(model, format, runtime.empty() ? nullptr : &runtime_named(runtime)) {}
Formatting::~Formatting() = default;
bool Formatting::advance(double milliseconds) { return steps_->advance(milliseconds); }
size_t Formatting::done() const { return steps_->done(); }
size_t Formatting::total() const { return steps_->total(); }
Model Formatting::take() { return steps_->take(); }

namespace {

Model formatted(Formatting formatting) {
  while (!formatting.advance(std::numeric_limits<double>::infinity())) {
  }
  return formatting.take();
}

}  // namespace

Model in_format(const Model& model, std::string_view format, std::string_view runtime) {
  return formatted({model, format, runtime});
}

Model in_format(const Model& model, std::string_view format, const RuntimeRules* rules) {
  return formatted({model, format, rules});
}

}  // namespace zp::quant
