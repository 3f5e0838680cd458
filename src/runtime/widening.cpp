#include "runtime/widening.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "core/error.h"
#include "graph/subgraphs.h"
#include "ops/cast.h"
#include "ops/infer.h"
#include "ops/op.h"
#include "runtime/plan.h"

namespace zp::runtime {
namespace {

// Whose half precision may become float32.
bool computes_wide(const Node& node) {
  return may_run(node) && !find_op(node.domain, node.op_type)->reads_bits;
}

class Widening {
 public:
  // Half precision always; doubles where a network computes with them (they are kept where all that is done
  // to them is arithmetic on a few numbers).
  static bool run(Graph& main) {
    Widening widening;
    widening.doubles_ = has_double_product(main);
    if (!widening.finds_any(main)) return false;
    widening.widen(main, true);
    return true;
  }

 private:
  bool narrow(DType t) const {
    return t == DType::kFloat16 || t == DType::kBfloat16 || (doubles_ && t == DType::kFloat64);
  }

  static bool has_double_product(const Graph& graph) {
    return std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
      const OpDef* def = find_op(node);
      if (std::ranges::any_of(subgraphs(node), has_double_product)) return true;
      const bool any = std::any_of(node.inputs.begin(), node.inputs.end(), [&](ValueId v) {
        return v != kNoValue && graph[v].dtype == DType::kFloat64;
      });
      return def && any && (def->macs || !takes_doubles(graph, node, *def));
    });
  }

  // Whether its kernel takes the doubles that the node reads: asked of zeros, of several sizes and ranks
  // where those are not known. Where no answer comes, because nothing fits, only what moves values is taken
  // to.
  static bool takes_doubles(const Graph& graph, const Node& node, const OpDef& def) {
    if (!def.prepare) return true;
    bool ranks = true, sizes = true;  // are known
    for (const ValueId v : node.inputs) {
      if (v == kNoValue) continue;
      const Value& value = graph[v];
      if (value.dtype == DType::kUndefined) return true;
      ranks = ranks && value.shape;
      sizes = sizes && value.shape && concrete(*value.shape).has_value();
    }
    for (const int64_t size : {1, 2, 3, 4, 8, 32}) {
      for (const size_t rank : {4U, 3U, 2U, 1U, 5U, 0U}) {
        if (const auto takes = takes_zeros(graph, node, def, size, rank)) return *takes;
        if (ranks) break;
      }
      if (sizes) break;
    }
    return def.quant.kind == QuantRule::Kind::kSameScale && !def.quant.blends;
  }

  // With `size` for dimensions that are not known, and `rank` of them where none is. nullopt: these do not
  // fit.
  static std::optional<bool> takes_zeros(const Graph& graph, const Node& node, const OpDef& def, int64_t size,
                                         size_t rank) {
    constexpr int64_t kMost = int64_t{1} << 20;
    std::vector<PlanValue> values(graph.values.size());
    std::vector<Tensor> zeros(node.inputs.size());
    std::vector<const Tensor*> inputs(node.inputs.size());
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId v = node.inputs[i];
      if (v == kNoValue) continue;
      inputs[i] = graph.constant(v);
      if (!inputs[i]) {
        Shape dims;
        for (const Dim& d : graph[v].shape.value_or(SymShape(rank)))
          dims.push_back(d.known() ? d.value() : size);
        if (element_count(dims) > kMost) return std::nullopt;
        zeros[i] = Tensor(graph[v].dtype, std::move(dims));
        inputs[i] = &zeros[i];
      }
      values[static_cast<size_t>(v)] = {.dtype = inputs[i]->dtype(),
                                        .dims = inputs[i]->dims(),
                                        .known = true,
                                        .constant = *inputs[i],
                                        .content = {}};
    }
    try {
      PlanNode n;
      n.node = node;
      n.def = &def;
      n.in_quant.resize(node.inputs.size());
      const std::vector<PlanValue> outputs = infer_known(n.node, def, values);
      for (const PlanValue& y : outputs)
        if (y.known && element_count(y.dims) > kMost) return std::nullopt;
      evaluate(n, inputs, outputs);
    } catch (const Error& e) {
      return e.code() == ErrorCode::kUnsupportedType ? std::optional(false) : std::nullopt;
    }
    return true;
  }

  bool finds_any(const Graph& graph) const {
    if (std::any_of(graph.values.begin(), graph.values.end(),
                    [&](const Value& v) { return narrow(v.dtype); }))
      return true;
    return std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
      return std::ranges::any_of(subgraphs(node), [&](const Graph& sub) { return finds_any(sub); });
    });
  }

  Tensor wide(const Tensor& t) {
    const auto known = tensors_.find(t.identity());
    if (known != tensors_.end() && known->second.size() == t.size()) return known->second.reshaped(t.dims());
    std::vector<Tensor> made = made_beside(t, "float32", [&]() -> std::vector<Tensor> {
      const Glance glance(t);
      return {cast(t, DType::kFloat32)};
    });
    return tensors_[t.identity()] = std::move(made[0]);
  }

  // What operators make that are not known here often has no declared type. Where a known operator takes it
  // together with half precision, or makes half precision of it alone, it has that type too.
  void complete_types(Graph& graph) const {
    const auto visit = [&](const Node& node) {
      const OpDef* def = find_op(node);
      if (!def || !(def->quant.kind == QuantRule::Kind::kProduct || def->broadcasts || def->unary))
        return false;
      DType type = DType::kUndefined;
      std::vector<ValueId> values = node.inputs;
      values.push_back(node.output(0));
      for (ValueId v : values)
        if (v != kNoValue && narrow(graph[v].dtype)) type = graph[v].dtype;
      bool any = false;
      for (ValueId v : values) {
        if (type == DType::kUndefined || v == kNoValue || graph[v].dtype != DType::kUndefined) continue;
        graph[v].dtype = type;
        any = true;
      }
      return any;
    };
    for (bool changed = true; changed;) {
      changed = false;
      for (const Node& node : graph.nodes) changed = visit(node) || changed;
      for (size_t n = graph.nodes.size(); n-- > 0;) changed = visit(graph.nodes[n]) || changed;
    }
  }

  // The values of a graph that keep their type, and their twins in float32.
  class Edges {
   public:
    Edges(Widening& widening, Graph& graph)
        : widening_(widening), graph_(graph), edge_(graph.values.size(), false) {}

    void add(ValueId v) {
      if (v != kNoValue && widening_.narrow(graph_[v].dtype)) edge_[static_cast<size_t>(v)] = true;
    }
    bool has(ValueId v) const {
      return v != kNoValue && static_cast<size_t>(v) < edge_.size() && edge_[static_cast<size_t>(v)];
    }
    ValueId twin_of(ValueId v) {
      const auto [it, added] = twin_.try_emplace(v, kNoValue);
      if (added) {
        it->second = graph_.add_value(graph_[v].name + "_float32", DType::kFloat32, graph_[v].shape);
        if (const Tensor* t = graph_.constant(v)) graph_[it->second].constant = widening_.wide(*t);
      }
      return it->second;
    }
    void take_twin(ValueId& v) {
      if (has(v)) v = twin_of(v);
    }
    // All values that were there and are none of these.
    void widen_others() {
      for (size_t v = 0; v < edge_.size(); ++v) {
        Value& value = graph_.values[v];
        if (edge_[v] || !widening_.narrow(value.dtype)) continue;
        value.dtype = DType::kFloat32;
        if (value.constant) value.constant = widening_.wide(*value.constant);
      }
    }

   private:
    Widening& widening_;
    Graph& graph_;
    std::vector<bool> edge_;  // by value
    std::map<ValueId, ValueId> twin_;
  };

  Edges edges_of(Graph& graph, bool main) {
    Edges edges(*this, graph);
    if (main) {
      for (ValueId v : graph.inputs) edges.add(v);
      for (ValueId v : graph.outputs) edges.add(v);
    }
    for (const Node& node : graph.nodes) {
      if (computes_wide(node)) continue;
      for_each_read(node, [&](ValueId v) { edges.add(v); });
      for (ValueId v : node.outputs) edges.add(v);
    }
    return edges;
  }

  void widen(Graph& graph, bool main) {
    complete_types(graph);
    Edges edges = edges_of(graph, main);
    edges.widen_others();
    std::vector<Node> nodes;
    const auto widen_maker = [&](ValueId v) {  // an edge that is there: its twin follows
      if (edges.has(v) && !graph.constant(v)) nodes.push_back(cast_node(graph, v, edges.twin_of(v)));
    };
    for (ValueId& v : graph.inputs) {
      if (main) {
        widen_maker(v);
      } else if (edges.has(v)) {  // a body is given what is wide, and gives it
        nodes.push_back(cast_node(graph, edges.twin_of(v), v));
        v = edges.twin_of(v);
      }
    }
    if (!main)
      for (ValueId& v : graph.outputs) edges.take_twin(v);
    for (Node& node : graph.nodes) {
      if (!computes_wide(node)) {
        const std::vector<ValueId> made = node.outputs;
        nodes.push_back(std::move(node));
        for (ValueId v : made) widen_maker(v);
        continue;
      }
      for (ValueId& v : node.inputs) edges.take_twin(v);
      widen_attributes(node);
      for (Graph& sub : subgraphs(node)) {
        for (Capture& c : sub.captures) edges.take_twin(c.outer);
        widen(sub, false);
      }
      std::vector<ValueId> ends;
      for (ValueId& v : node.outputs)
        if (edges.has(v)) {
          ends.push_back(v);
          v = edges.twin_of(v);
        }
      nodes.push_back(std::move(node));
      for (ValueId v : ends) nodes.push_back(cast_node(graph, edges.twin_of(v), v));
    }
    graph.nodes = std::move(nodes);
    remove_unused(graph);
  }

  void widen_attributes(Node& node) {
    for (auto& [key, attribute] : node.attributes) {
      // The attributes by which operators name the type that they make.
      if (auto* i = std::get_if<int64_t>(&attribute);
          i && (key == "to" || key == "dtype") && narrow(static_cast<DType>(*i)))
        *i = static_cast<int64_t>(DType::kFloat32);
      if (auto* t = std::get_if<Tensor>(&attribute); t && narrow(t->dtype())) *t = wide(*t);
    }
  }

  bool doubles_ = false;
  std::map<const void*, Tensor> tensors_;  // wide ones, by the memory of those they were made from
};

// Values that are only moved are rounded already.
void round_halves(Graph& graph, const OpDef& round) {
  std::vector<Node> nodes;
  for (Node& node : graph.nodes) {
    for (Graph& sub : subgraphs(node)) round_halves(sub, round);
    const OpDef* def = find_op(node);
    const bool computes =
        def && def->prepare && (def->quant.kind != QuantRule::Kind::kSameScale || def->quant.blends);
    std::vector<Node> after;
    for (ValueId& v : node.outputs) {
      if (!computes || v == kNoValue || graph[v].dtype != DType::kFloat16) continue;
      Node rounding;
      rounding.domain = round.domain;
      rounding.op_type = round.name;
      rounding.inputs = {graph.add_value(graph[v].name + "_unrounded", DType::kFloat16, graph[v].shape)};
      rounding.outputs = {v};
      v = rounding.inputs[0];
      after.push_back(std::move(rounding));
    }
    nodes.push_back(std::move(node));
    std::move(after.begin(), after.end(), std::back_inserter(nodes));
  }
  graph.nodes = std::move(nodes);
}

}  // namespace

bool widen(Graph& main) { return Widening::run(main); }

void round_halves(Graph& graph) {
  for (const OpDef* def : all_ops())
    if (def->role == QdqRole::kRound) round_halves(graph, *def);
}

bool makes_half(const Graph& graph) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
    return std::any_of(node.outputs.begin(), node.outputs.end(),
                       [&](ValueId v) { return v != kNoValue && graph[v].dtype == DType::kFloat16; }) ||
           std::ranges::any_of(subgraphs(node), makes_half);
  });
}

}  // namespace zp::runtime
