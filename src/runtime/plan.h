// A plan: one graph made ready to run for one set of input shapes. Internal to runtime/.
//
//   specialize   every shape a number, values that follow from shapes evaluated      specialize.cpp
//   lower        DQ -> op -> Q and activations absorbed into operators' kernels      lower.cpp
//   assemble     order of dimensions, kernels, arena                                 assembler.h
//
// Some shapes follow from values that only a run computes (the lengths that a speech synthesizer chooses). A
// plan ends at such values: it computes them and everything that does not depend on them, and leaves the rest
// (Rest), which is planned when the values are there (runner.h). A plan also ends before an operator that
// runs between two plans (a Loop, operators on sequences).
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/parallel.h"
#include "graph/graph.h"
#include "ops/op.h"

namespace zp::runtime {

// Planning evaluates values that follow from the content of feeds or of computed values only up to so many
// elements.
inline constexpr int64_t kLargestShapeValue = 4096;

// A value of the graph, with every dimension known.
struct PlanValue {
  DType dtype = DType::kUndefined;
  Shape dims;                      // in logical order
  bool known = false;              // dims and dtype are set
  std::optional<Tensor> constant;  // in logical order
  bool from_file = false;          // the constant is an initializer: the same in every plan
  // The constant follows from the content of feeds or of what was computed, not from shapes alone.
  bool from_content = false;
  // The result of a node that stays in the plan (a DequantizeLinear of constants), if a shape asked for it.
  std::optional<Tensor> content;

  const Tensor* known_content() const { return constant ? &*constant : content ? &*content : nullptr; }
};

// One of the nodes that a table stands for. It reads the table's input, what steps before it make, and
// constants.
struct TableStep {
  Node node;
  const OpDef* def = nullptr;
  Clamp clamp;
};

struct PlanNode {
  Node node;  // a copy: lowering changes its inputs and outputs
  const OpDef* def = nullptr;
  std::vector<std::optional<EdgeQuant>> in_quant;  // as node.inputs
  std::optional<EdgeQuant> out_quant;
  Clamp clamp;
  // Values that the kernel gets after node.inputs: what subgraphs capture, run-time scales and zero points.
  std::vector<ValueId> extra_inputs;
  std::map<std::string, size_t, std::less<>> capture_slots;  // by subgraph attribute
  // From an 8-bit DQ to an 8-bit Q through functions of one element, in order: the node runs as a table of
  // 256 entries, and has its quantized input alone. Empty: it is no such node.
  std::vector<TableStep> table;
  std::shared_ptr<const Graph> owner;  // keeps a subgraph's attributes alive
};

// Thrown while planning when a shape depends on the content of feeds (the shape input of a Reshape, fed): the
// plan is made again with those feeds as constants, and is good for the same content only.
struct NeedsContent {
  std::set<ValueId> feeds;
};

// What is left of a graph where a plan ends.
struct Rest {
  std::shared_ptr<const Graph> graph;  // names the values; may have more of them than the model's graph
  std::vector<Node> between;           // run first, in order, when the plan is through (between.h)
  std::vector<PlanValue> values;       // by ValueId: what is known so far
  std::vector<Node> nodes;             // in order; none: nothing is left to plan
  std::set<ValueId> needs;             // the values whose content decides shapes
  std::set<ValueId> reads;             // all computed values that the nodes read, `needs` among them
  std::vector<ValueId> outputs;        // outputs of the graph that the nodes make
  std::set<ValueId> taps;
};

struct Specialized {
  std::shared_ptr<const Graph> graph;
  std::vector<PlanValue> values;  // by ValueId
  std::vector<PlanNode> nodes;
  std::vector<ValueId> inputs;   // what the run is given (feeds, captured values)
  std::vector<ValueId> outputs;  // what must be there when the nodes have run: the graph's, the rest's reads
  std::set<ValueId> taps;        // values to show
  std::shared_ptr<const Rest> rest;  // null: the plan is the whole graph
};

struct FeedInfo {
  DType dtype = DType::kUndefined;
  Shape dims;
  Tensor content;         // undefined: not known (captured values that are computed)
  bool constant = false;  // the plan is for this content, and keeps it
  bool steady = false;    // given by the caller, who may well give the same next time
  bool tensor = true;     // what is none, only nodes between plans read
};

class PlanCache;
class Between;

// Everything a plan is built with.
struct PlanRequest {
  std::shared_ptr<const Graph> graph;
  std::map<ValueId, FeedInfo> feeds;  // of graph->inputs, captured inner values, what a rest reads
  std::shared_ptr<const Rest> after;  // plan what this leaves; null: the whole graph
  std::set<ValueId> taps;
  bool integer = true;
  int threads = 1;
  size_t memory_limit = 0;
  PreparedCache* cache = nullptr;
  PlanCache* plans = nullptr;  // of subgraphs
};

// specialize.cpp
Specialized specialize(const PlanRequest& request);
// lower.cpp
void lower(Specialized& s, const PlanRequest& request);

// A value in memory, in one order of dimensions.
struct Buffer {
  enum class Place : uint8_t { kArena, kConstant, kFeed };
  Place place = Place::kArena;
  ValueId value = kNoValue;
  DType dtype = DType::kUndefined;
  Shape dims;  // physical
  Layout layout = Layout::kLogical;
  Tensor constant;            // kConstant
  int alias_of = -1;          // shares the memory of this buffer
  int first = -1, last = -1;  // steps between which the memory is needed (of the root of an alias chain)
  size_t offset = 0;          // kArena: in the arena
  size_t bytes() const { return bytes_of(dtype, element_count(dims)); }
};

struct Step {
  std::string node, op, kernel_name;
  Kernel run;                        // empty: only taps
  std::vector<int> inputs, outputs;  // buffers; -1: absent
  int scratch = -1;                  // buffer
  std::vector<ValueId> taps;         // values to show after this step
  double milliseconds = 0;
  // Addresses of the above, for RunContext.
  std::vector<const std::byte*> in;
  std::vector<std::byte*> out;
  std::byte* scratch_address = nullptr;
};

class Plan {
 public:
  explicit Plan(const PlanRequest& request);
  ~Plan();
  // Assembles what is specialized already.
  Plan(const Specialized& s, const PlanRequest& request);

  // Points the plan at the feeds' data (kept alive by the caller until the run ends).
  void bind(const std::map<ValueId, Item>& feeds);
  // Runs it at the moment `now` (in monotonic_milliseconds), and gives the moment when it is done: a look at
  // the clock costs as much as a small step.
  double run_step(size_t i, ThreadPool* pool, double now);
  // The value of a tap in logical order; a copy is made only where memory holds another order.
  Tensor tapped(ValueId id) const;
  // What it makes for the graph's outputs and the rest, by value; valid until the next run.
  const std::map<ValueId, int>& made() const { return made_; }
  TensorView view(ValueId id) const;
  // The same as a tensor of its own (of a constant: that constant).
  Tensor kept(ValueId id) const;
  // The feed that an output is, under other dimensions at most; kNoValue: it is none.
  ValueId feed_of(ValueId id) const;

  const std::vector<Step>& steps() const { return steps_; }
  size_t arena_bytes() const { return arena_bytes_; }
  // Arena, and constants that are no initializers.
  size_t bytes() const { return arena_bytes_ + constant_bytes_; }
  // Null: nothing is left.
  const std::shared_ptr<const Rest>& rest() const { return rest_; }
  // The nodes of rest()->between.
  const std::vector<std::unique_ptr<Between>>& between() const { return between_; }

 private:
  friend class Assembler;
  const std::byte* address(int buffer) const;
  int root(int buffer) const;
  void place_arena(size_t limit);
  void resolve();                                   // addresses of all steps
  std::string_view name_of_value(ValueId v) const;  // empty in a plan of one node alone

  std::vector<Buffer> buffers_;
  std::vector<Step> steps_;
  std::map<ValueId, int> made_;          // buffers of the outputs, logical order
  std::map<ValueId, int> value_buffer_;  // of tapped values
  std::map<ValueId, int> feed_buffer_;
  std::map<int, const std::byte*> feed_address_;
  std::shared_ptr<std::byte> arena_;
  size_t arena_bytes_ = 0, constant_bytes_ = 0;
  std::shared_ptr<const Rest> rest_;
  std::vector<std::unique_ptr<Between>> between_;
  std::shared_ptr<const Graph> graph_;  // names the values
};

// Runs one node on constants and gives its outputs in logical order.
std::vector<Tensor> evaluate(const PlanNode& node, const std::vector<const Tensor*>& inputs,
                             const std::vector<PlanValue>& outputs);

// What rules see of a plan, where every shape is known.
class PlanInferContext : public InferContext {
 public:
  PlanInferContext(const Node& node, const std::vector<PlanValue>& values)
      : InferContext(node), values_(values) {}
  DType dtype(size_t input) const override;
  const SymShape* shape(size_t input) const override;
  const Tensor* constant(size_t input) const override;
  const Tensor* shape_argument(size_t input) const override;
  std::vector<Inferred> infer_subgraph(std::string_view attribute,
                                       std::span<const Inferred> inputs) const override;

 protected:
  void set_output(size_t i, DType dtype, std::optional<SymShape> shape, std::optional<Tensor> value) override;

 private:
  const std::vector<PlanValue>& values_;
  mutable std::map<size_t, SymShape> shapes_;  // of inputs asked for
};

// What follows for the outputs of a node from inputs that are all known: where a rule gives no shape, the
// output is not known.
std::vector<PlanValue> infer_known(const Node& node, const OpDef& def, const std::vector<PlanValue>& values);

// The subgraph in an attribute, with feeds for what it captures (from the outer plan's values); those for its
// inputs say nothing yet.
PlanRequest subgraph_request(const PlanRequest& outer, const std::vector<PlanValue>& values, const Node& node,
                             std::string_view attribute);

}  // namespace zp::runtime
