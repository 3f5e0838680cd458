// The way of a node from memory into a file of an older opset. Each operator says in OpDef::opsets since when
// its form in memory is ONNX's, and in OpDef::respell how older opsets spell the same.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "ops/op.h"

namespace zp {

// The oldest opset of ai.onnx that is written: the oldest that ONNX Runtime promises to run.
inline constexpr int64_t kOldestOpset = 7;

struct Respell {
  Graph& graph;                   // constants may be added
  Node& node;                     // in the form of kOpset; becomes that of `opset`
  const int64_t opset;            // of the file
  int64_t needed = kOldestOpset;  // so far: the oldest opset that can say what the node says

  bool before(int64_t since) const { return opset < since; }
  void need(int64_t since) { needed = std::max(needed, since); }
  DType dtype(size_t input) const;
  int rank(size_t input) const;  // -1: unknown
  const Tensor* constant(size_t input) const { return graph.constant(node.input(input)); }
  std::optional<std::vector<int64_t>> integers(size_t input) const;  // of a constant
  // Another value for an input, which is made if need be.
  void set(size_t input, ValueId v);
  void set(size_t input, std::vector<int64_t> values);
  // An axis that is counted from the back, in front of which `rank` dimensions are: as older opsets count.
  // Needs opset 11 where the rank is not known.
  void from_front(int64_t& axis, int rank);
  // Before `since` the list of integers at `input` was the attribute `key`: needs `since` where the run
  // computes it.
  void input_to_attribute(size_t input, std::string_view key, int64_t since);
  // Needs an opset that has `type` where OpDef::opsets lists it.
  void need_type(DType type);
};

// Brings a node of `graph` to the form of `opset` and answers the oldest opset that has it: where that is
// more than `opset`, the node is not to be written.
int64_t respell(Graph& graph, Node& node, int64_t opset);

}  // namespace zp
