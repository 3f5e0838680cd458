// Ranges of values that are known before anything runs: a Sigmoid gives 0 to 1 whatever a few samples show.
// Operators say so in their own files (QuantRule::range).
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "graph/graph.h"
#include "ops/op.h"

namespace zp {

// All values are in [lo, hi]; an infinite end is not known.
struct KnownRange {
  float lo = -std::numeric_limits<float>::infinity();
  float hi = std::numeric_limits<float>::infinity();
  // Values come near both ends sooner or later (Softmax; not what a Clip leaves).
  bool reached = false;
  bool bounded() const { return std::isfinite(lo) && std::isfinite(hi); }
  void include(const KnownRange& other);
  bool operator==(const KnownRange&) const = default;
};

// By value of a graph whose nodes are in order.
class KnownRanges {
 public:
  KnownRanges(Graph& graph, const GraphIndex& index);
  // Of a constant: its smallest and its largest element; nothing where it holds NaN or infinity.
  KnownRange of(ValueId v) const;

 private:
  friend class RangeContext;
  KnownRange find(const Node& node) const;
  Graph& graph_;
  const GraphIndex& index_;
  // Constants are read on demand.
  mutable std::vector<KnownRange> ranges_;
  mutable std::vector<bool> found_;
};

// What a range rule sees of its node.
class RangeContext {
 public:
  RangeContext(const KnownRanges& ranges, const Node& node) : node(node), ranges_(ranges) {}
  const Node& node;
  KnownRange of(size_t input) const { return ranges_.of(node.input(input)); }
  DType dtype(size_t input) const;
  const Tensor* constant(ValueId v) const { return ranges_.graph_.constant(v); }
  // The node that makes a value; nullptr: a constant or an input.
  const Node* producer(ValueId v) const;

 private:
  const KnownRanges& ranges_;
};

// The rule of an operator that always gives kLo to kHi, and comes near both.
template <int kLo, int kHi>
KnownRange always_within(const RangeContext&) {
  return {.lo = kLo, .hi = kHi, .reached = true};
}

}  // namespace zp
