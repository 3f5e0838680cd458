// The graphs that a node holds in its attributes: branches of an If, the body of a Loop or a Scan.
#pragma once

#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>
#include <variant>

#include "graph/graph.h"

namespace zp {

// A range: `for (const Graph& sub : subgraphs(node))`. See below.
template <class AnyNode>
class Subgraphs {
  using Position = decltype(std::declval<AnyNode&>().attributes.begin());
  using AnyGraph = std::conditional_t<std::is_const_v<AnyNode>, const Graph, Graph>;

 public:
  class Iterator {
   public:
    using value_type = Graph;
    using difference_type = std::ptrdiff_t;

    Iterator() = default;
    Iterator(Position at, Position end) : at_(at), end_(end) { find(); }
    AnyGraph& operator*() const { return *std::get<std::shared_ptr<Graph>>(at_->second); }
    Iterator& operator++() {
      ++at_;
      find();
      return *this;
    }
    Iterator operator++(int) {
      Iterator before = *this;
      ++*this;
      return before;
    }
    bool operator==(const Iterator& other) const { return at_ == other.at_; }

   private:
    // The next attribute that is a graph.
    void find() {
      for (; at_ != end_; ++at_) {
        const auto* graph = std::get_if<std::shared_ptr<Graph>>(&at_->second);
        if (graph && *graph) return;
      }
    }

    Position at_{}, end_{};
  };

  explicit Subgraphs(AnyNode& node)
      : begin_(node.attributes.begin(), node.attributes.end()),
        end_(node.attributes.end(), node.attributes.end()) {}
  Iterator begin() const { return begin_; }
  Iterator end() const { return end_; }
  bool empty() const { return begin_ == end_; }

 private:
  Iterator begin_, end_;
};

// In the order of the attributes' names. Copies of a model share subgraphs (`clone` does not): who changes
// one changes it in all of them.
inline Subgraphs<const Node> subgraphs(const Node& node) { return Subgraphs<const Node>(node); }
inline Subgraphs<Node> subgraphs(Node& node) { return Subgraphs<Node>(node); }

// The values of the graph around it that a node reads: its inputs, and what its subgraphs capture.
template <class F>
void for_each_read(const Node& node, const F& f) {
  for (ValueId v : node.inputs)
    if (v != kNoValue) f(v);
  for (const Graph& sub : subgraphs(node))
    for (const Capture& c : sub.captures) f(c.outer);
}

}  // namespace zp
