// A plan: one graph made ready to run for one set of input shapes. Internal to runtime/.
//
//   specialize   every shape a number, what follows from shapes alone evaluated      specialize.cpp
//   lower        DQ -> op -> Q and activations absorbed into operators' kernels      lower.cpp
//   assemble     order of dimensions, kernels, arena                                 assemble.cpp
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

// A value of the graph, with every dimension known.
struct PlanValue {
  DType dtype = DType::kUndefined;
  Shape dims;                      // in logical order
  bool known = false;              // dims and dtype are set
  std::optional<Tensor> constant;  // in logical order
  bool from_file = false;          // the constant is an initializer: the same in every plan
};

// One of the functions that a table stands for: an operator whose other inputs are constants.
struct TableStep {
  Node node;
  const OpDef* def = nullptr;
  Clamp clamp;
  size_t input = 0;  // which of its inputs is the element
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
  // Functions of one element, one after the other, between an 8-bit DQ and an 8-bit Q: the node runs as a
  // table of 256 entries, and has its quantized input alone. Empty: it is no such node.
  std::vector<TableStep> table;
  std::shared_ptr<const Graph> owner;  // keeps a subgraph's attributes alive
};

// Thrown while planning when a shape depends on the content of feeds (the shape input of a Reshape, fed): the
// session plans again with those feeds as constants, and the plan is good for feeds with the same content
// only.
struct NeedsContent {
  std::set<ValueId> feeds;
};

struct Specialized {
  const Graph* graph = nullptr;
  std::vector<PlanValue> values;  // by ValueId
  std::vector<PlanNode> nodes;
  std::vector<ValueId> inputs, outputs;  // inputs: what the run is given (feeds, captured values)
};

struct FeedInfo {
  DType dtype;
  Shape dims;
  const Tensor* content = nullptr;  // nullptr: not known (captured values that are computed)
};

// Everything a plan is built with.
struct PlanRequest {
  const Graph* graph = nullptr;
  std::map<ValueId, FeedInfo> feeds;  // of graph->inputs, and of captured inner values
  std::set<ValueId> constant_feeds;   // see NeedsContent
  std::set<ValueId> taps;
  bool integer = true;
  int threads = 1;
  size_t memory_limit = 0;
  PreparedCache* cache = nullptr;
  std::string cache_prefix;  // tells the nodes of different graphs apart
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
  // Assembles what is specialized already.
  Plan(const Specialized& s, const PlanRequest& request);

  // Points the plan at the feeds' data (kept alive by the caller until the run ends).
  void bind(const std::map<ValueId, const std::byte*>& feeds);
  void run_step(size_t i, ThreadPool* pool);
  // The value in logical order; a copy is made only where memory holds another order.
  Tensor value(ValueId id, ThreadPool* pool) const;
  TensorView output(size_t i) const;

  std::vector<Step>& steps() { return steps_; }
  const std::vector<Step>& steps() const { return steps_; }
  size_t arena_bytes() const { return arena_bytes_; }

 private:
  friend class Assembler;
  const std::byte* address(int buffer) const;
  int root(int buffer) const;
  void place_arena(size_t limit);
  void resolve();  // addresses of all steps

  std::vector<Buffer> buffers_;
  std::vector<Step> steps_;
  std::vector<int> outputs_;             // buffers of the graph outputs, logical order
  std::map<ValueId, int> value_buffer_;  // of outputs and tapped values
  std::map<ValueId, int> feed_buffer_;
  std::map<int, const std::byte*> feed_address_;
  std::shared_ptr<std::byte> arena_;
  size_t arena_bytes_ = 0;
};

// Runs one node on constants and gives its outputs in logical order.
std::vector<Tensor> evaluate(const PlanNode& node, const std::vector<const Tensor*>& inputs,
                             const std::vector<PlanValue>& outputs);

// Inference with every shape known, over the values of a plan.
class PlanInferContext : public InferContext {
 public:
  PlanInferContext(const Node& node, const Graph& graph, std::vector<PlanValue>& values,
                   const PlanRequest& request)
      : InferContext(node), graph_(graph), values_(values), request_(request) {}
  DType dtype(size_t input) const override;
  const SymShape* shape(size_t input) const override;
  const Tensor* constant(size_t input) const override;
  const Tensor* shape_argument(size_t input) const override;
  std::vector<Inferred> infer_subgraph(std::string_view attribute) const override;

 protected:
  void set_output(size_t i, DType dtype, std::optional<SymShape> shape, std::optional<Tensor> value) override;

 private:
  const Graph& graph_;
  std::vector<PlanValue>& values_;
  const PlanRequest& request_;
  // The feeds that `value` is computed from. False if one is large, or its content unknown.
  bool feeds_behind(ValueId value, std::set<ValueId>& feeds) const;
  mutable std::map<size_t, SymShape> shapes_;  // of inputs asked for
};

// The subgraph in an attribute, with feeds for what it captures (from the outer plan's values).
const std::shared_ptr<Graph>& subgraph_of(const Node& node, std::string_view attribute);
PlanRequest subgraph_request(const PlanRequest& outer, const std::vector<PlanValue>& values, const Node& node,
                             std::string_view attribute);

}  // namespace zp::runtime
