#include "graph/graph.h"

#include <algorithm>
#include <queue>

#include "core/error.h"

namespace zp {
namespace {

template <class T>
T attribute_or(const Node& node, std::string_view key, T otherwise) {
  const Attribute* a = node.attribute(key);
  if (!a) return otherwise;
  if (const T* v = std::get_if<T>(a)) return *v;
  throw_error(ErrorCode::kInvalidModel, {"attribute '", key, "' has the wrong type"},
              {.node = node.name, .op = qualified_name(node)});
}

// Values that a node needs: its inputs, and what its subgraphs capture.
template <class F>
void for_each_use(const Node& node, F&& f) {
  for (ValueId v : node.inputs)
    if (v != kNoValue) f(v);
  for (const auto& [key, attribute] : node.attributes) {
    if (const auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute))
      for (const Capture& c : (*sub)->captures) f(c.outer);
  }
}

}  // namespace

const Attribute* Node::attribute(std::string_view key) const {
  const auto it = attributes.find(key);
  return it == attributes.end() ? nullptr : &it->second;
}
int64_t Node::int_attribute(std::string_view key, int64_t otherwise) const {
  return attribute_or<int64_t>(*this, key, otherwise);
}
float Node::float_attribute(std::string_view key, float otherwise) const {
  return attribute_or<float>(*this, key, otherwise);
}
std::string Node::string_attribute(std::string_view key, std::string_view otherwise) const {
  return attribute_or<std::string>(*this, key, std::string(otherwise));
}
std::vector<int64_t> Node::ints_attribute(std::string_view key, std::vector<int64_t> otherwise) const {
  return attribute_or(*this, key, std::move(otherwise));
}
std::vector<float> Node::floats_attribute(std::string_view key, std::vector<float> otherwise) const {
  return attribute_or(*this, key, std::move(otherwise));
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
    for_each_use(graph.nodes[n], [&](ValueId v) { consumers[static_cast<size_t>(v)].push_back(index); });
  }
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
    for_each_use(graph.nodes[n], [&](ValueId v) {
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
  for (const Node& node : graph.nodes) {
    for (const auto& [key, attribute] : node.attributes) {
      const auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute);
      if (!sub || !*sub) continue;
      for (std::string& warning : all_warnings(**sub)) all.push_back(std::move(warning));
    }
  }
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
    if (keep[n]) for_each_use(node, [&](ValueId v) { needed[static_cast<size_t>(v)] = true; });
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
