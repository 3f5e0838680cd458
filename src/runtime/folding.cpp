#include "runtime/folding.h"

#include <algorithm>
#include <bit>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "graph/subgraphs.h"
#include "ops/op.h"
#include "ops/stored_weight.h"
#include "runtime/plan.h"

namespace zp::runtime {
namespace {

bool known_operator(const Node& node) {
  const OpDef* def = find_op(node);
  return def && def->runs();
}

}  // namespace

class ConstantFolder::Impl {
 public:
  explicit Impl(const Graph& main) {
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
    any = fold_subgraphs(graph) || any;
    if (any) remove_unused(graph);
    return any;
  }

 private:
  bool fold_subgraphs(Graph& graph) {
    bool any = false;
    std::optional<GraphIndex> makers;  // where there are subgraphs
    for (Node& node : graph.nodes) {
      for (Graph& inner : subgraphs(node)) {
        if (!makers) makers.emplace(graph);
        for (const Capture& c : inner.captures) {
          if (!graph[c.outer].constant) continue;
          inner[c.inner].constant = graph[c.outer].constant;
          inner[c.inner].name = graph[c.outer].name;
        }
        // A weight that is dequantized out there comes in, so that the operator after it finds the integers.
        if (known_operator(node)) any = take_stored_weights(graph, *makers, inner) || any;
        any = fold(inner) || any;
      }
    }
    return any;
  }

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

ConstantFolder::ConstantFolder(const Graph& main) : impl_(std::make_unique<Impl>(main)) {}
ConstantFolder::~ConstantFolder() = default;
bool ConstantFolder::fold(Graph& graph) { return impl_->fold(graph); }

}  // namespace zp::runtime
