// Are two models the same, whatever the numbers of their values?
#pragma once

#include <cstring>
#include <set>
#include <string>

#include "graph/graph.h"

namespace zp::onnx::test {

// The first difference in words; empty when there is none.
inline std::string difference(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype()) return "element types differ";
  if (a.dims() != b.dims())
    return "dimensions differ: " + to_string(a.dims()) + " and " + to_string(b.dims());
  if (a.dtype() == DType::kString) return a.strings() == b.strings() ? "" : "strings differ";
  return a.bytes() == 0 || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0 ? "" : "data differs";
}

std::string difference(const Graph& a, const Graph& b);

inline std::string difference(const Attribute& a, const Attribute& b) {
  if (a.index() != b.index()) return "types differ";
  if (const auto* t = std::get_if<Tensor>(&a)) return difference(*t, std::get<Tensor>(b));
  if (const auto* g = std::get_if<std::shared_ptr<Graph>>(&a))
    return difference(**g, *std::get<std::shared_ptr<Graph>>(b));
  return std::visit(
      [&]<class T>(const T& value) -> std::string {
        if constexpr (std::is_same_v<T, Tensor> || std::is_same_v<T, std::shared_ptr<Graph>>) {
          return "";
        } else {
          return value == std::get<T>(b) ? "" : "values differ";
        }
      },
      a);
}

inline std::string difference(const Value& a, const Value& b) {
  if (a.name != b.name) return "called '" + a.name + "' and '" + b.name + "'";
  const std::string at = "value '" + a.name + "': ";
  if (a.dtype != b.dtype) return at + std::string(name_of(a.dtype)) + " and " + std::string(name_of(b.dtype));
  if (a.shape != b.shape)
    return at + (a.shape ? to_string(*a.shape) : "none") + " and " + (b.shape ? to_string(*b.shape) : "none");
  if (a.constant.has_value() != b.constant.has_value()) return at + "only one is constant";
  if (!a.constant) return "";
  const std::string d = difference(*a.constant, *b.constant);
  return d.empty() ? "" : at + d;
}

inline std::string difference(const Graph& a, const Graph& b) {
  const auto lists = [&](const std::vector<ValueId>& in_a, const std::vector<ValueId>& in_b) -> std::string {
    if (in_a.size() != in_b.size())
      return std::to_string(in_a.size()) + " and " + std::to_string(in_b.size()) + " values";
    for (size_t i = 0; i < in_a.size(); ++i) {
      if ((in_a[i] == kNoValue) != (in_b[i] == kNoValue)) return "an absent value";
      if (in_a[i] == kNoValue) continue;
      if (std::string d = difference(a[in_a[i]], b[in_b[i]]); !d.empty()) return d;
    }
    return "";
  };
  if (a.name != b.name) return "graph names differ";
  if (std::string d = lists(a.inputs, b.inputs); !d.empty()) return "inputs: " + d;
  if (std::string d = lists(a.outputs, b.outputs); !d.empty()) return "outputs: " + d;
  const auto captured = [](const Graph& g) {
    std::set<std::string> names;
    for (const Capture& c : g.captures) names.insert(g[c.inner].name);
    return names;
  };
  if (captured(a) != captured(b)) return "captures differ";
  if (a.nodes.size() != b.nodes.size()) return "numbers of nodes differ";
  for (size_t n = 0; n < a.nodes.size(); ++n) {
    const Node &na = a.nodes[n], &nb = b.nodes[n];
    const std::string at = "node '" + na.name + "': ";
    if (na.name != nb.name || na.op_type != nb.op_type || na.domain != nb.domain) return at + "names differ";
    if (std::string d = lists(na.inputs, nb.inputs); !d.empty()) return at + "inputs: " + d;
    if (std::string d = lists(na.outputs, nb.outputs); !d.empty()) return at + "outputs: " + d;
    if (na.attributes.size() != nb.attributes.size()) return at + "numbers of attributes differ";
    for (const auto& [key, value] : na.attributes) {
      const Attribute* other = nb.attribute(key);
      const std::string d = other ? difference(value, *other) : "absent";
      if (!d.empty()) return at + "attribute '" + key + "': " + d;
    }
  }
  return "";
}

inline std::string difference(const Model& a, const Model& b) {
  if (a.producer_name != b.producer_name || a.producer_version != b.producer_version ||
      a.doc_string != b.doc_string)
    return "texts differ";
  if (a.metadata != b.metadata) return "metadata differs";
  return difference(a.graph, b.graph);
}

}  // namespace zp::onnx::test
