#include "runtime/prepare.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "graph/subgraphs.h"
#include "ops/cast.h"
#include "ops/fused.h"
#include "ops/infer.h"
#include "ops/op.h"
#include "ops/rewrite.h"
#include "ops/stored_weight.h"
#include "runtime/plan.h"

namespace zp::runtime {
namespace {

template <class F>
void for_each_subgraph(Graph& graph, F&& f) {
  for (Node& node : graph.nodes)
    for (Graph& sub : subgraphs(node)) f(node, sub);
}

bool known_operator(const Node& node) {
  const OpDef* def = find_op(node);
  return def && def->runs();
}

// Whose half precision may become float32.
bool computes_wide(const Node& node) {
  return may_run(node) && !find_op(node.domain, node.op_type)->reads_bits;
}

// ---- folding

class Folder {
 public:
  explicit Folder(const Graph& main) {
    std::set<const void*> seen;
    spare_ = (size_t{16} << 10) + constants_of(main, seen) / 16;
  }

  // Folds what can be, subgraphs included. True: something was.
  bool fold(Graph& graph) {
    bool any = take_captured(graph);
    const GraphIndex index(graph);
    const std::vector<bool> fixed = fixed_nodes(graph);
    std::vector<PlanValue> values(graph.values.size());
    std::vector<bool> gone(graph.nodes.size(), false);
    // Sources go as soon as nobody reads them any more: the longest chain holds two tensors, not all.
    std::vector<size_t> readers(graph.values.size());
    for (size_t v = 0; v < readers.size(); ++v) readers[v] = index.consumers[v].size();
    for (ValueId v : graph.outputs) ++readers[static_cast<size_t>(v)];
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
      const Node& node = graph.nodes[n];
      if (!fixed[n] || stays_for_sharing(graph, index, fixed, n)) continue;
      const bool constant = std::all_of(node.inputs.begin(), node.inputs.end(),
                                        [&](ValueId v) { return v == kNoValue || graph.constant(v); });
      const bool folded = constant && fold_node(graph, node, values);
      if (constant) forget_files(graph, node);
      if (!folded) continue;
      gone[n] = true;
      for (ValueId v : node.inputs)
        if (v != kNoValue && --readers[static_cast<size_t>(v)] == 0) graph[v].constant.reset();
    }
    size_t to = 0;
    for (size_t n = 0; n < gone.size(); ++n) {
      if (gone[n]) continue;
      if (to != n) graph.nodes[to] = std::move(graph.nodes[n]);
      ++to;
    }
    any = any || to != graph.nodes.size();
    graph.nodes.resize(to);
    std::optional<GraphIndex> makers;  // where there are subgraphs
    for_each_subgraph(graph, [&](Node& node, Graph& inner) {
      if (!makers) makers.emplace(graph);
      for (const Capture& c : inner.captures) {
        if (!graph[c.outer].constant) continue;
        inner[c.inner].constant = graph[c.outer].constant;
        inner[c.inner].name = graph[c.outer].name;
      }
      // A weight that is dequantized out there comes in, so that the operator after it finds the integers.
      if (known_operator(node)) any = take_stored_weights(graph, *makers, inner) || any;
      any = fold(inner) || any;
    });
    if (any) remove_unused(graph);
    return any;
  }

 private:
  static size_t constants_of(const Graph& graph, std::set<const void*>& seen) {
    size_t bytes = 0;
    for (const Value& v : graph.values)
      if (v.constant && seen.insert(v.constant->identity()).second) bytes += v.constant->bytes();
    for (const Node& node : graph.nodes)
      for (const Graph& sub : subgraphs(node)) bytes += constants_of(sub, seen);
    return bytes;
  }

  // A captured value that has become a constant out there is one in here, and no capture.
  static bool take_captured(Graph& graph) {
    return std::erase_if(graph.captures,
                         [&](const Capture& c) { return graph[c.inner].constant.has_value(); }) > 0;
  }

  // By node: it follows from constants, and may be folded.
  static std::vector<bool> fixed_nodes(const Graph& graph) {
    std::vector<bool> known(graph.values.size());
    for (size_t v = 0; v < known.size(); ++v) known[v] = graph.values[v].constant.has_value();
    std::vector<bool> fixed(graph.nodes.size(), false);
    for (size_t n = 0; n < fixed.size(); ++n) {
      const Node& node = graph.nodes[n];
      const OpDef* def = find_op(node);
      fixed[n] = def && def->prepare && def->role == QdqRole::kNone && def->deterministic &&
                 !node.inputs.empty() && subgraphs(node).empty() &&
                 std::all_of(node.inputs.begin(), node.inputs.end(),
                             [&](ValueId v) { return v == kNoValue || known[static_cast<size_t>(v)]; });
      if (!fixed[n]) continue;
      for (ValueId v : node.outputs)
        if (v != kNoValue) known[static_cast<size_t>(v)] = true;
    }
    return fixed;
  }

  // A large table that is read as it stands, and through this node as the weight of products.
  static bool stays_for_sharing(const Graph& graph, const GraphIndex& index, const std::vector<bool>& fixed,
                                size_t n) {
    constexpr int64_t kLarge = 4096;
    const Node& node = graph.nodes[n];
    const OpDef* def = find_op(node);
    const Tensor* from = graph.constant(node.input(0));
    if (!def->moved_axis || !from || from->size() < kLarge || graph.is_output(node.outputs[0])) return false;
    const auto& readers = index.consumers[static_cast<size_t>(node.outputs[0])];
    const bool is_weight = std::all_of(readers.begin(), readers.end(), [&](int32_t r) {
      const Node& reader = graph.nodes[static_cast<size_t>(r)];
      const OpDef* op = find_op(reader);
      return op && op->quant.kind == QuantRule::Kind::kProduct && op->quant.weight >= 0 &&
             reader.input(static_cast<size_t>(op->quant.weight)) == node.outputs[0] &&
             !fixed[static_cast<size_t>(r)];
    });
    const auto& others = index.consumers[static_cast<size_t>(node.inputs[0])];
    return is_weight && !readers.empty() && std::any_of(others.begin(), others.end(), [&](int32_t r) {
             return !fixed[static_cast<size_t>(r)];
           });
  }

  // False: it stays computed.
  bool fold_node(Graph& graph, const Node& node, std::vector<PlanValue>& values) {
    const Key key = key_of(graph, node);
    std::vector<Tensor> results = made_before(key);
    if (results.empty()) {
      results = evaluated(graph, node, values);
      for (const std::vector<ValueId>* list : {&node.inputs, &node.outputs})
        for (ValueId v : *list)
          if (v != kNoValue) values[static_cast<size_t>(v)] = {};
      if (results.empty()) return false;
      Made& made = made_[key.text];
      made = {.sources = {key.sources.begin(), key.sources.end()}, .results = {}};
      for (const Tensor& t : results) made.results.push_back({t.storage(), t.file(), t.dtype(), t.dims()});
    }
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i] == kNoValue) continue;
      Value& v = graph[node.outputs[i]];
      const Tensor& t = results[i];
      v.dtype = t.dtype();
      v.shape = symbolic(t.dims());
      v.constant = t;
    }
    return true;
  }

  // The outputs of a node whose inputs are constants. Empty: it cannot be run now (whoever runs the model
  // hears why), or is not worth its bytes.
  std::vector<Tensor> evaluated(const Graph& graph, const Node& node, std::vector<PlanValue>& values) {
    size_t before = 0;
    std::vector<const Tensor*> inputs;
    for (ValueId v : node.inputs) {
      inputs.push_back(graph.constant(v));
      if (v == kNoValue) continue;
      const Tensor& t = *graph.constant(v);
      if (t.dtype() == DType::kString) return {};
      const auto source = sources_.find(t.identity());
      const bool folded = source != sources_.end() && source->second.first.lock() == t.owner();
      before += folded ? source->second.second : t.bytes();
      values[static_cast<size_t>(v)] = {.dtype = t.dtype(),
                                        .dims = t.dims(),
                                        .known = true,
                                        .constant = t,
                                        .from_file = true,
                                        .content = {}};
    }
    try {
      PlanNode n;
      n.node = node;
      n.def = find_op(node);
      n.in_quant.resize(node.inputs.size());
      std::vector<PlanValue> outputs = infer_known(n.node, *n.def, values);
      size_t bytes = 0;
      bool known = true;  // the rule gave the values themselves (Shape)
      for (size_t i = 0; i < outputs.size(); ++i) {
        const PlanValue& value = outputs[i];
        if (node.outputs[i] == kNoValue) continue;
        if (!value.known || value.dtype == DType::kString) return {};
        known = known && value.constant.has_value();
        bytes += bytes_of(value.dtype, element_count(value.dims));
      }
      const size_t growth = bytes > 4 * before ? bytes - 4 * before : 0;
      if (growth > spare_) return {};
      std::vector<Tensor> results;
      if (known) {
        for (const PlanValue& value : outputs) results.push_back(value.constant ? *value.constant : Tensor());
      } else {
        const Tensor* in_file = nullptr;
        for (const Tensor* t : inputs) {
          if (t) t->raw();  // copies share what was read
          if (t && t->file()) in_file = t;
        }
        results = evaluate(n, inputs, outputs);
        for (Tensor& t : results)
          if (in_file) t = kept_beside(*in_file, std::move(t));
      }
      spare_ -= growth;
      for (const Tensor& t : results)
        if (t.defined()) sources_[t.identity()] = {t.owner(), before};
      return results;
    } catch (const Error&) {
      return {};
    }
  }

  // A folded tensor, by which it is found again while somebody holds it.
  struct Trace {
    std::weak_ptr<const std::byte> storage;
    std::weak_ptr<const FileBytes> file;
    DType dtype;
    Shape dims;
  };

  // A node, in words and addresses. Sources go once they are folded, and another tensor may come to lie where
  // one was: the address is the same tensor only while its storage is.
  struct Key {
    std::string text;
    std::vector<std::shared_ptr<const void>> sources;
  };
  struct Made {
    std::vector<std::weak_ptr<const void>> sources;
    std::vector<Trace> results;
  };

  std::vector<Tensor> made_before(const Key& key) const {
    const auto found = made_.find(key.text);
    if (found == made_.end()) return {};
    const Made& made = found->second;
    if (!std::equal(made.sources.begin(), made.sources.end(), key.sources.begin(), key.sources.end(),
                    [](const auto& then, const auto& now) { return then.lock() == now; }))
      return {};
    std::vector<Tensor> results;
    for (const Trace& trace : made.results) {
      if (trace.dtype == DType::kUndefined) {
        results.emplace_back();
        continue;
      }
      if (std::shared_ptr<const FileBytes> file = trace.file.lock()) {
        results.emplace_back(trace.dtype, trace.dims, std::move(file));
        continue;
      }
      std::shared_ptr<const std::byte> storage = trace.storage.lock();
      if (!storage) return {};
      results.emplace_back(trace.dtype, trace.dims, std::move(storage));
    }
    return results;
  }

  // The operation and what it reads: nodes with the same key make the same.
  static Key key_of(const Graph& graph, const Node& node) {
    Key made{.text = node.domain + ":" + node.op_type, .sources = {}};
    std::string& key = made.text;
    const auto add = [&](const auto& number) { key += ',' + std::to_string(number); };
    const auto add_tensor = [&](const Tensor& t) {
      made.sources.push_back(t.owner());
      add(reinterpret_cast<uintptr_t>(t.identity()));
      add(static_cast<int>(t.dtype()));
      for (int64_t d : t.dims()) add(d);
    };
    const auto add_all = [&](const auto& list) {
      for (const auto& item : list) add(item);
    };
    for (ValueId v : node.inputs) {
      key += ';';
      if (v != kNoValue) add_tensor(*graph.constant(v));
    }
    for (const auto& [name, attribute] : node.attributes) {
      key += ';' + name + '=';
      if (const auto* i = std::get_if<int64_t>(&attribute)) add(*i);
      if (const auto* f = std::get_if<float>(&attribute)) add(std::bit_cast<uint32_t>(*f));
      if (const auto* s = std::get_if<std::string>(&attribute)) key += *s;
      if (const auto* t = std::get_if<Tensor>(&attribute)) add_tensor(*t);
      if (const auto* list = std::get_if<std::vector<int64_t>>(&attribute)) add_all(*list);
      if (const auto* list = std::get_if<std::vector<float>>(&attribute))
        for (float f : *list) add(std::bit_cast<uint32_t>(f));
      if (const auto* list = std::get_if<std::vector<std::string>>(&attribute))
        for (const std::string& s : *list) key += std::to_string(s.size()) + s;
    }
    key += ';';
    add(node.outputs.size());
    for (ValueId v : node.outputs) key += v == kNoValue ? '-' : '+';
    return made;
  }

  size_t spare_;                      // bytes that growth may still take
  std::map<std::string, Made> made_;  // by the text of key_of
  // By folded tensor: bytes of what it was made from.
  std::map<const void*, std::pair<std::weak_ptr<const void>, size_t>> sources_;
};

// ---- half precision

// Computes in float32 what a model declares in other floats. Values at the model's edges, and those that an
// operator reads or makes that is not known here, or reads their bits, keep their type, behind casts.
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
      for (const Graph& sub : subgraphs(node))
        if (finds_any(sub)) return true;
      return false;
    });
  }

  Tensor wide(const Tensor& t) {
    const auto known = tensors_.find(t.identity());
    if (known != tensors_.end() && known->second.size() == t.size()) return known->second.reshaped(t.dims());
    const Glance glance(t);
    Tensor made = kept_beside(t, cast(t, DType::kFloat32));
    tensors_[t.identity()] = made;
    return made;
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

  void widen(Graph& graph, bool main) {
    complete_types(graph);
    // Values that keep their type.
    std::vector<bool> edge(graph.values.size(), false);
    const auto keep = [&](ValueId v) {
      if (v != kNoValue && narrow(graph[v].dtype)) edge[static_cast<size_t>(v)] = true;
    };
    if (main) {
      for (ValueId v : graph.inputs) keep(v);
      for (ValueId v : graph.outputs) keep(v);
    }
    for (const Node& node : graph.nodes) {
      if (computes_wide(node)) continue;
      for (ValueId v : node.inputs) keep(v);
      for (ValueId v : node.outputs) keep(v);
      for (const Graph& sub : subgraphs(node))
        for (const Capture& c : sub.captures) keep(c.outer);
    }
    std::map<ValueId, ValueId> twin;  // in float32, of an edge
    const auto twin_of = [&](ValueId v) {
      const auto [it, added] = twin.try_emplace(v, kNoValue);
      if (added) {
        it->second = graph.add_value(graph[v].name + "_float32", DType::kFloat32, graph[v].shape);
        if (const Tensor* t = graph.constant(v)) graph[it->second].constant = wide(*t);
      }
      return it->second;
    };
    const auto is_edge = [&](ValueId v) {
      return v != kNoValue && static_cast<size_t>(v) < edge.size() && edge[static_cast<size_t>(v)];
    };
    const size_t count = edge.size();
    for (size_t v = 0; v < count; ++v) {
      Value& value = graph.values[v];
      if (edge[v] || !narrow(value.dtype)) continue;
      value.dtype = DType::kFloat32;
      if (value.constant) value.constant = wide(*value.constant);
    }

    std::vector<Node> nodes;
    const auto widen_maker = [&](ValueId v) {  // an edge that is there: its twin follows
      if (is_edge(v) && !graph.constant(v)) nodes.push_back(cast_node(graph, v, twin_of(v)));
    };
    for (ValueId& v : graph.inputs) {
      if (main) {
        widen_maker(v);
      } else if (is_edge(v)) {  // a body is given what is wide, and gives it
        nodes.push_back(cast_node(graph, twin_of(v), v));
        v = twin_of(v);
      }
    }
    if (!main)
      for (ValueId& v : graph.outputs)
        if (is_edge(v)) v = twin_of(v);
    for (Node& node : graph.nodes) {
      if (!computes_wide(node)) {
        const std::vector<ValueId> made = node.outputs;
        nodes.push_back(std::move(node));
        for (ValueId v : made) widen_maker(v);
        continue;
      }
      for (ValueId& v : node.inputs)
        if (is_edge(v)) v = twin_of(v);
      for (auto& [key, attribute] : node.attributes) {
        // The attributes by which operators name the type that they make.
        if (auto* i = std::get_if<int64_t>(&attribute);
            i && (key == "to" || key == "dtype") && narrow(static_cast<DType>(*i)))
          *i = static_cast<int64_t>(DType::kFloat32);
        if (auto* t = std::get_if<Tensor>(&attribute); t && narrow(t->dtype())) *t = wide(*t);
        if (auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute)) {
          for (Capture& c : (*sub)->captures)
            if (is_edge(c.outer)) c.outer = twin_of(c.outer);
          widen(**sub, false);
        }
      }
      std::vector<ValueId> ends;
      for (ValueId& v : node.outputs)
        if (is_edge(v)) {
          ends.push_back(v);
          v = twin_of(v);
        }
      nodes.push_back(std::move(node));
      for (ValueId v : ends) nodes.push_back(cast_node(graph, twin_of(v), v));
    }
    graph.nodes = std::move(nodes);
    remove_unused(graph);
  }

  bool doubles_ = false;
  std::map<const void*, Tensor> tensors_;  // wide ones, by the memory of those they were made from
};

// ---- what half precision loses

// A rounding after every value in half precision that an operator computes, which will be computed in
// float32. Those that are only moved are rounded already.
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

// ---- names

// Reports, precisions and exclusions speak of nodes by name, of branches too.
void name_nodes(Graph& graph, std::set<std::string>& taken) {
  for (Node& node : graph.nodes) {
    std::string wanted = node.name;
    if (wanted.empty() && node.output(0) != kNoValue) wanted = graph[node.output(0)].name;
    std::string name = wanted;
    for (int i = 1; name.empty() || !taken.insert(name).second; ++i) name = wanted + "_" + std::to_string(i);
    node.name = std::move(name);
    node.fused = nullptr;  // pieces are simplified: they stand for the whole no more
  }
  for_each_subgraph(graph, [&](Node&, Graph& inner) { name_nodes(inner, taken); });
}

// What each model became, while somebody holds it. All calls come from one thread, as for sessions.
using Weak = std::weak_ptr<const Model>;
using Models = std::map<Weak, Weak, std::owner_less<Weak>>;
Models& ready_models() {
  static Models ready;
  return ready;
}
Models& sources() {
  static Models sources;
  return sources;
}

// An entry keeps the memory of the models that it names, if not what they held.
void forget_gone(Models& models) {
  std::erase_if(models, [](const auto& entry) { return entry.first.expired() || entry.second.expired(); });
}

std::shared_ptr<const Model> find(Models& models, const std::shared_ptr<const Model>& key) {
  forget_gone(models);
  const auto it = models.find(key);
  return it == models.end() ? nullptr : it->second.lock();
}

}  // namespace

bool makes_half(const Graph& graph) {
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
    return std::any_of(node.outputs.begin(), node.outputs.end(),
                       [&](ValueId v) { return v != kNoValue && graph[v].dtype == DType::kFloat16; }) ||
           std::ranges::any_of(subgraphs(node), makes_half);
  });
}

void prepare(Graph& graph, bool keep_fused) {
  if (!keep_fused) split_fused(graph);
  bool changed = find_spelled_weights(graph);
  Folder folder(graph);
  changed = folder.fold(graph) || changed;
  changed = Widening::run(graph) || changed;
  if (changed) infer_shapes(graph);
  for (changed = true; changed;) {
    changed = simplify(graph);
    forget_files(graph);
    if (folder.fold(graph)) {
      infer_shapes(graph);
      changed = true;
    }
  }
  std::set<std::string> taken;
  name_nodes(graph, taken);
  forget_files(graph);
}

std::shared_ptr<const Model> prepared_anew(const Model& model) {
  auto ready = std::make_shared<Model>();
  ready->opsets = model.opsets;
  ready->producer_name = model.producer_name;
  ready->producer_version = model.producer_version;
  ready->doc_string = model.doc_string;
  ready->metadata = model.metadata;
  ready->graph = clone(model.graph);
  prepare(ready->graph, model.keeps_fused);
  return ready;
}

std::shared_ptr<const Model> prepared(const std::shared_ptr<const Model>& model) {
  if (auto ready = find(ready_models(), model)) return ready;
  auto ready = prepared_anew(*model);
  forget_gone(sources());
  ready_models()[model] = ready;
  ready_models()[ready] = ready;
  sources()[ready] = model;
  return ready;
}

std::shared_ptr<const Model> prepared_with_roundings(const Model& model) {
  auto rounded = std::make_shared<Model>(model);
  rounded->graph = clone(model.graph);
  for (const OpDef* def : all_ops())
    if (def->role == QdqRole::kRound) round_halves(rounded->graph, *def);
  prepare(rounded->graph);
  return rounded;
}

std::shared_ptr<const Model> source_of(const std::shared_ptr<const Model>& model) {
  auto source = find(sources(), model);
  return source ? source : model;
}

}  // namespace zp::runtime
