#include "graph/graph.h"

#include <algorithm>
#include <limits>
#include <queue>
#include <set>

#include "core/error.h"
#include "graph/subgraphs.h"

namespace zp {
namespace {

template <class F>
void for_each_tensor(const Graph& graph, const F& f) {
  for (const Value& v : graph.values)
    if (v.constant) f(*v.constant);
  for (const Node& node : graph.nodes)
    for (const auto& [key, attribute] : node.attributes) {
      if (const auto* t = std::get_if<Tensor>(&attribute)) f(*t);
      if (const auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute)) for_each_tensor(**sub, f);
    }
}

}  // namespace

bool has_files(const Graph& graph) {
  bool any = false;
  for_each_tensor(graph, [&](const Tensor& t) { any = any || t.file(); });
  return any;
}

void forget_files(const Graph& graph) {
  for_each_tensor(graph, [](const Tensor& t) { t.forget(); });
}

void forget_files(const Graph& graph, const Node& node) {
  for (ValueId v : node.inputs)
    if (const Tensor* t = graph.constant(v)) t->forget();
}

void hold_files(const Graph& graph) {
  std::vector<const Tensor*> missing;
  std::set<const void*> seen;
  uint64_t bytes = 0;
  for_each_tensor(graph, [&](const Tensor& t) {
    if (t.in_memory()) return;
    missing.push_back(&t);
    if (seen.insert(t.identity()).second) bytes += t.bytes();
  });
  const auto no_room = [&] {
    throw_error(
        ErrorCode::kOutOfMemory, {"there is no memory for all weights at once: they take ", bytes, " bytes"},
        {.hint =
             "quantize in a mode that needs no samples (weight-only, dynamic, float16): it takes one weight "
             "after the other; then run the result; or use a smaller model"});
  };
  if (bytes > std::numeric_limits<size_t>::max()) no_room();
  size_t read = 0;
  try {
    for (; read < missing.size(); ++read) missing[read]->raw();
  } catch (const Error& e) {
    for (size_t i = 0; i < read; ++i) missing[i]->forget();
    if (e.code() == ErrorCode::kOutOfMemory) no_room();
    throw;
  }
}
namespace {

template <class T>
T attribute_or(const Node& node, std::string_view key, T fallback) {
  const Attribute* a = node.attribute(key);
  if (!a) return fallback;
  if (const T* v = std::get_if<T>(a)) return *v;
  throw_error(ErrorCode::kInvalidModel, {"attribute '", key, "' has the wrong type"},
              {.node = node.name, .op = qualified_name(node)});
}

}  // namespace

const Attribute* Node::attribute(std::string_view key) const {
  const auto it = attributes.find(key);
  return it == attributes.end() ? nullptr : &it->second;
}
int64_t Node::int_attribute(std::string_view key, int64_t fallback) const {
  return attribute_or<int64_t>(*this, key, fallback);
}
float Node::float_attribute(std::string_view key, float fallback) const {
  return attribute_or<float>(*this, key, fallback);
}
std::string Node::string_attribute(std::string_view key, std::string_view fallback) const {
  return attribute_or<std::string>(*this, key, std::string(fallback));
}
std::vector<int64_t> Node::ints_attribute(std::string_view key, std::vector<int64_t> fallback) const {
  return attribute_or(*this, key, std::move(fallback));
}
std::vector<float> Node::floats_attribute(std::string_view key, std::vector<float> fallback) const {
  return attribute_or(*this, key, std::move(fallback));
}

std::string_view name_of(ValueKind kind) {
  switch (kind) {
    case ValueKind::kTensor:
      return "a tensor";
    case ValueKind::kSequence:
      return "a sequence";
    case ValueKind::kOptionalTensor:
    case ValueKind::kOptionalSequence:
      return "an optional";
  }
  return "";
}

std::string qualified_name(const Node& node) {
  return (node.domain.empty() ? "ai.onnx" : node.domain) + "." + node.op_type;
}

std::string Graph::fresh_name(std::string_view wanted) {
  for (; named_ < values.size(); ++named_) names_.insert(values[named_].name);
  if (!wanted.empty() && !names_.contains(wanted)) return std::string(wanted);
  for (int i = 1;; ++i) {
    std::string candidate = std::string(wanted.empty() ? "value" : wanted) + "_" + std::to_string(i);
    if (!names_.contains(candidate)) return candidate;
  }
}

void Graph::rename(ValueId id, std::string_view wanted) {
  std::string unique = fresh_name(wanted);
  names_.insert(unique);
  (*this)[id].name = std::move(unique);
}

ValueId Graph::add_value(std::string_view wanted, DType dtype, std::optional<SymShape> shape) {
  std::string unique = fresh_name(wanted);
  values.push_back({.name = std::move(unique), .dtype = dtype, .shape = std::move(shape), .constant = {}});
  return static_cast<ValueId>(values.size()) - 1;
}

ValueId Graph::add_constant(std::string_view wanted, Tensor tensor) {
  const ValueId id = add_value(wanted, tensor.dtype(), symbolic(tensor.dims()));
  (*this)[id].constant = std::move(tensor);
  return id;
}

ValueId Graph::find(std::string_view wanted) const {
  for (size_t i = 0; i < values.size(); ++i)
    if (values[i].name == wanted) return static_cast<ValueId>(i);
  return kNoValue;
}

bool Graph::is_output(ValueId id) const {
  return std::find(outputs.begin(), outputs.end(), id) != outputs.end();
}

GraphIndex::GraphIndex(const Graph& graph)
    : producer(graph.values.size(), -1), consumers(graph.values.size()) {
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const auto index = static_cast<int32_t>(n);
    for (ValueId v : graph.nodes[n].outputs)
      if (v != kNoValue) producer[static_cast<size_t>(v)] = index;
    for_each_read(graph.nodes[n], [&](ValueId v) { consumers[static_cast<size_t>(v)].push_back(index); });
  }
}

const Node* only_reader(const Graph& graph, const GraphIndex& index, ValueId value) {
  if (value == kNoValue || graph.is_output(value)) return nullptr;
  const auto& readers = index.consumers[static_cast<size_t>(value)];
  return readers.size() == 1 ? &graph.nodes[static_cast<size_t>(readers[0])] : nullptr;
}

const Node* producer_of(const Graph& graph, const GraphIndex& index, ValueId value) {
  const int32_t made_by = value == kNoValue ? -1 : index.producer[static_cast<size_t>(value)];
  return made_by < 0 ? nullptr : &graph.nodes[static_cast<size_t>(made_by)];
}

void sort_topologically(Graph& graph) {
  const size_t count = graph.nodes.size();
  std::vector<int32_t> producer(graph.values.size(), -1);
  for (size_t n = 0; n < count; ++n) {
    for (ValueId v : graph.nodes[n].outputs) {
      if (v == kNoValue) continue;
      if (producer[static_cast<size_t>(v)] >= 0 || graph[v].constant) {
        throw_error(
            ErrorCode::kInvalidModel, {"value '", graph[v].name, "' is made twice"},
            {.node = graph.nodes[n].name, .op = qualified_name(graph.nodes[n]), .tensor = graph[v].name});
      }
      producer[static_cast<size_t>(v)] = static_cast<int32_t>(n);
    }
  }
  std::vector<int> waiting(count, 0);
  std::vector<std::vector<int32_t>> readers(count);
  for (size_t n = 0; n < count; ++n) {
    for_each_read(graph.nodes[n], [&](ValueId v) {
      const int32_t p = producer[static_cast<size_t>(v)];
      if (p < 0) return;
      readers[static_cast<size_t>(p)].push_back(static_cast<int32_t>(n));
      ++waiting[n];
    });
  }
  std::priority_queue<int32_t, std::vector<int32_t>, std::greater<>> ready;
  for (size_t n = 0; n < count; ++n)
    if (waiting[n] == 0) ready.push(static_cast<int32_t>(n));
  std::vector<Node> sorted;
  sorted.reserve(count);
  while (!ready.empty()) {
    const auto n = static_cast<size_t>(ready.top());
    ready.pop();
    sorted.push_back(std::move(graph.nodes[n]));
    for (int32_t reader : readers[n])
      if (--waiting[static_cast<size_t>(reader)] == 0) ready.push(reader);
  }
  if (sorted.size() != count) {
    const size_t stuck = static_cast<size_t>(
        std::find_if(waiting.begin(), waiting.end(), [](int w) { return w > 0; }) - waiting.begin());
    throw_error(ErrorCode::kInvalidModel, "the graph has a cycle",
                {.node = graph.nodes[stuck].name, .op = qualified_name(graph.nodes[stuck])});
  }
  graph.nodes = std::move(sorted);
}

std::vector<Node> spliced(Graph& graph, const Node& node, const Graph& body) {
  std::map<ValueId, ValueId> outer;  // by inner value
  for (const Capture& c : body.captures) outer[c.inner] = c.outer;
  // Results that a node of the body can make directly.
  std::map<ValueId, ValueId> wanted;
  for (const Node& n : body.nodes) {
    for (ValueId v : n.outputs) {
      for (size_t i = 0; i < node.outputs.size() && i < body.outputs.size(); ++i) {
        if (v != kNoValue && body.outputs[i] == v && node.outputs[i] != kNoValue)
          wanted.emplace(v, node.outputs[i]);
      }
    }
  }
  for (const auto& [from, to] : wanted) outer[from] = to;
  const auto mapped = [&](ValueId v) {
    if (v == kNoValue) return v;
    const auto known = outer.find(v);
    if (known != outer.end()) return known->second;
    const Value& value = body[v];
    const ValueId added = graph.add_value(value.name, value.dtype, value.shape);
    graph[added].constant = value.constant;
    graph[added].kind = value.kind;
    return outer[v] = added;
  };
  std::vector<Node> with;
  for (const Node& n : body.nodes) {
    Node copy = n;
    for (ValueId& v : copy.inputs) v = mapped(v);
    for (ValueId& v : copy.outputs) v = mapped(v);
    for (auto& [key, value] : copy.attributes) {
      if (auto* nested = std::get_if<std::shared_ptr<Graph>>(&value)) {
        auto own = std::make_shared<Graph>(**nested);
        for (Capture& c : own->captures) c.outer = mapped(c.outer);
        *nested = std::move(own);
      }
    }
    with.push_back(std::move(copy));
  }
  for (size_t i = 0; i < node.outputs.size() && i < body.outputs.size(); ++i) {
    if (node.outputs[i] == kNoValue) continue;
    const ValueId from = mapped(body.outputs[i]);
    if (from == node.outputs[i]) continue;
    Node same_value;
    same_value.name = node.name;
    same_value.op_type = "Identity";
    same_value.inputs = {from};
    same_value.outputs = {node.outputs[i]};
    with.push_back(std::move(same_value));
  }
  return with;
}

std::vector<std::string> all_warnings(const Graph& graph) {
  std::vector<std::string> all = graph.warnings;
  for (const Node& node : graph.nodes)
    for (const Graph& sub : subgraphs(node))
      for (std::string& warning : all_warnings(sub)) all.push_back(std::move(warning));
  return all;
}

void remove_unused(Graph& graph) {
  std::vector<bool> needed(graph.values.size(), false);
  for (ValueId v : graph.outputs) needed[static_cast<size_t>(v)] = true;
  std::vector<bool> keep(graph.nodes.size(), false);
  for (size_t n = graph.nodes.size(); n-- > 0;) {  // topological order: readers come after makers
    const Node& node = graph.nodes[n];
    keep[n] = std::any_of(node.outputs.begin(), node.outputs.end(),
                          [&](ValueId v) { return v != kNoValue && needed[static_cast<size_t>(v)]; });
    if (keep[n]) for_each_read(node, [&](ValueId v) { needed[static_cast<size_t>(v)] = true; });
  }
  size_t to = 0;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    if (!keep[n]) continue;
    if (to != n) graph.nodes[to] = std::move(graph.nodes[n]);
    ++to;
  }
  graph.nodes.resize(to);
  for (size_t v = 0; v < needed.size(); ++v)
    if (!needed[v]) graph.values[v].constant.reset();
  std::erase_if(graph.captures, [&](const Capture& c) { return !needed[static_cast<size_t>(c.inner)]; });
}

Graph clone(const Graph& graph) {
  Graph copy = graph;
  for (Node& node : copy.nodes)
    for (auto& [key, attribute] : node.attributes)
      if (auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute))
        *sub = std::make_shared<Graph>(clone(**sub));
  return copy;
}

}  // namespace zp
