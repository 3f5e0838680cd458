// From nodes to steps. Internal to the files that assemble a plan:
//
//   assemble   a step for each node                              assemble.cpp
//   orders     the order of each value's dimensions in memory    orders.cpp
//   tables     functions between 8-bit pairs                     tables.cpp
//   lifetimes  values whose lifetimes do not meet share memory   arena.cpp
#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <vector>

#include "runtime/node_context.h"
#include "runtime/plan.h"

namespace zp::runtime {

[[noreturn]] void throw_too_large(uint64_t bytes, uint64_t limit);

class Assembler {
 public:
  Assembler(Plan& plan, const Specialized& s, const PlanRequest& request)
      : plan_(plan), s_(s), request_(request) {}

  void run();

 private:
  // Which order the values of a node have.
  struct Orders {
    LayoutRule rule = LayoutRule::kLogical;
    Layout any = Layout::kLogical;  // of those that follow it
    size_t rank = 0;                // the largest
  };

  const PlanValue& value(ValueId v) const { return s_.values[static_cast<size_t>(v)]; }
  Buffer& buffer(int b) { return plan_.buffers_[static_cast<size_t>(b)]; }
  Buffer* buffer_or_null(int b) { return b < 0 ? nullptr : &buffer(b); }
  int root(int b) const { return plan_.root(b); }

  // assemble.cpp
  int add_buffer(Buffer::Place place, ValueId v, Layout layout);
  int add_alias(int of, Shape dims, Layout layout, ValueId v);
  int add_scratch(size_t bytes);
  void add_node(const PlanNode& n);
  void prepare(const PlanNode& n, NodeIo io, Step& step);
  bool is_empty_and_wide(const std::vector<int>& outputs) const;
  void tap(ValueId v, int b);

  // orders.cpp
  int& slot(ValueId v, Layout layout) {
    return by_layout_[static_cast<size_t>(v)][layout == Layout::kChannelsLast ? 1 : 0];
  }
  Orders orders_of(const PlanNode& n);
  // Whether a value of a kAny node has the order that is chosen for it.
  bool follows_order(const PlanNode& n, ValueId v, size_t rank) const;
  // For an operator that takes either order: that in which most of its bytes already are.
  Layout choose(const PlanNode& n, size_t rank);
  // A buffer of `v` in the order asked for; a step that reorders is added when there is none.
  int get(ValueId v, Layout layout);
  // Whichever order the value is already in.
  int get_any(ValueId v);
  // An operand of a broadcasting operator in channels last order, that has fewer dimensions than the others.
  int get_extended(ValueId v, size_t rank);
  int get_input(const PlanNode& n, size_t i, const Orders& orders);
  void add_reorder(int source, int target, Layout layout);

  // tables.cpp
  // The results of a node's steps for each of the 256 values of its quantized input.
  Kernel table_kernel(const PlanNode& n, const NodeIo& io);

  // arena.cpp
  // Buffers live from the step that writes them to the last that reads them; in-place outputs take their
  // input's memory.
  void find_lifetimes();

  Plan& plan_;
  const Specialized& s_;
  const PlanRequest& request_;
  std::vector<std::array<int, 2>> by_layout_;  // by value: buffer in logical, in channels last order
  std::map<size_t, int> in_place_;             // by step: the input that output 0 may overwrite
};

}  // namespace zp::runtime
