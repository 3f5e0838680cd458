// The graph: values, and the nodes that compute them. Ids of values are stable for the life of a graph;
// rewrites add values and replace nodes, and leave unused values behind.
//
// In memory every node of the default domain has the form of opset kOpset, whatever version the file had:
// onnx::read applies each operator's `canonicalize` (ops/op.h), so that rules and kernels know one form.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/dtype.h"
#include "core/tensor.h"
#include "graph/dim.h"

namespace zp {

inline constexpr int kOpset = 21;  // of the default domain, in memory (files: onnx/onnx.h)
inline constexpr std::string_view kMicrosoft = "com.microsoft";

using ValueId = int32_t;
inline constexpr ValueId kNoValue = -1;  // an optional input or output that is absent

struct Graph;

// An attribute that no rule and no kernel looks into (a type, a sparse tensor, a list of tensors): its
// message, as the file has it.
struct RawAttribute {
  std::string message;
  bool operator==(const RawAttribute&) const = default;
};

using Attribute =
    std::variant<int64_t, float, std::string, Tensor, std::shared_ptr<Graph>, std::vector<int64_t>,
                 std::vector<float>, std::vector<std::string>, RawAttribute>;

// An optional is a value that may be absent when the model runs.
enum class ValueKind : uint8_t { kTensor, kSequence, kOptionalTensor, kOptionalSequence };
std::string_view name_of(ValueKind kind);  // "a tensor", "a sequence", ...

struct Value {
  std::string name;
  DType dtype = DType::kUndefined;      // of a sequence: that of its tensors
  std::optional<SymShape> shape;        // as declared or inferred; nullopt: not even the rank is known
  std::optional<Tensor> constant;       // an initializer (constant nodes are turned into these on reading)
  ValueKind kind = ValueKind::kTensor;  // what is no tensor has no shape
};

// Why a node has the form that the file gives it: our operator of its name does not take that form.
struct Refusal {
  std::string why, hint;
  int64_t version = 0;  // of its operator set
  // A run knows more (shapes, types), and asks again: the node may run then.
  bool waits = false;
  // It has a form in memory too, in pieces: the file keeps it whole for those who compute it as one.
  bool fused = false;
};

struct Fused;

struct Node {
  std::string name;
  std::string domain;  // empty: ai.onnx
  std::string op_type;
  std::vector<ValueId> inputs;   // kNoValue where an optional input is absent
  std::vector<ValueId> outputs;  // kNoValue where an optional output is absent
  std::map<std::string, Attribute, std::less<>> attributes;
  std::shared_ptr<const Refusal> refusal;  // null: the form of opset kOpset, or an operator that nobody knows
  // The node of the file that this one is a piece of (ops/fused.h). Prepared graphs know none.
  std::shared_ptr<const Fused> fused;

  ValueId input(size_t i) const { return i < inputs.size() ? inputs[i] : kNoValue; }
  ValueId output(size_t i) const { return i < outputs.size() ? outputs[i] : kNoValue; }
  // In the form of opset kOpset.
  bool is(std::string_view type, std::string_view in_domain = "") const {
    return op_type == type && domain == in_domain && !refusal;
  }

  const Attribute* attribute(std::string_view key) const;
  // The attribute, or the default when absent. Throw kInvalidModel when it has another type.
  int64_t int_attribute(std::string_view key, int64_t fallback) const;
  float float_attribute(std::string_view key, float fallback) const;
  std::string string_attribute(std::string_view key, std::string_view fallback) const;
  std::vector<int64_t> ints_attribute(std::string_view key, std::vector<int64_t> fallback = {}) const;
  std::vector<float> floats_attribute(std::string_view key, std::vector<float> fallback = {}) const;
};

// A node as a file had it, which became several in memory.
struct Fused {
  Node node;
  int64_t version = 0;  // of its operator set
  size_t pieces = 0;
};

// "ai.onnx.Conv" or "com.microsoft.QLinearAdd".
std::string qualified_name(const Node& node);

// A subgraph (an attribute of an If or a Loop) sees values of the graph around it through these pairs.
struct Capture {
  ValueId outer;  // in the graph that holds the node
  ValueId inner;  // in the subgraph
};

struct Graph {
  std::string name;
  std::deque<Value> values;  // so that what refers to a value stays good when one is added
  std::vector<Node> nodes;   // in topological order
  std::vector<ValueId> inputs, outputs;
  std::vector<Capture> captures;  // of a subgraph; empty for the main graph
  // Initializers that are inputs too: constants, unless a run is fed another value.
  std::vector<ValueId> defaults;
  // What the file declares of values, and the operators contradict: in words for the user.
  std::vector<std::string> warnings;

  Value& operator[](ValueId id) { return values[static_cast<size_t>(id)]; }
  const Value& operator[](ValueId id) const { return values[static_cast<size_t>(id)]; }

  // A new value. `name` is made unique by a suffix if it is taken (see fresh_name).
  ValueId add_value(std::string_view name, DType dtype = DType::kUndefined,
                    std::optional<SymShape> shape = {});
  ValueId add_constant(std::string_view name, Tensor tensor);
  // `wanted`, or with the first suffix _1, _2, ... that no value has.
  std::string fresh_name(std::string_view wanted);
  // Gives a value another name, made unique like a new one's.
  void rename(ValueId id, std::string_view wanted);
  // Value by name; kNoValue if there is none.
  ValueId find(std::string_view name) const;
  const Tensor* constant(ValueId id) const {
    return id != kNoValue && (*this)[id].constant ? &*(*this)[id].constant : nullptr;
  }
  bool is_output(ValueId id) const;

 private:
  std::set<std::string, std::less<>> names_;  // of all values: built when first needed
  size_t named_ = 0;                          // how many of `values` are in it
};

// Who makes and who reads each value; a snapshot, to be built again after a rewrite.
struct GraphIndex {
  explicit GraphIndex(const Graph& graph);
  std::vector<int32_t> producer;  // by value: index of the node, or -1
  std::vector<std::vector<int32_t>>
      consumers;  // by value: indices of nodes, once for each use (captures included)
};

// The only reader of a value that nobody else sees; nullptr: there are more, none, or it is an output.
const Node* only_reader(const Graph& graph, const GraphIndex& index, ValueId value);
// The node that makes a value; nullptr: none in this graph does.
const Node* producer_of(const Graph& graph, const GraphIndex& index, ValueId value);

struct Model {
  Graph graph;
  std::map<std::string, int64_t> opsets;  // as the file had them, domain ("" for ai.onnx) to version
  std::string producer_name, producer_version, doc_string;
  std::vector<std::pair<std::string, std::string>> metadata;
  // How many of each operator the file has, in branches too, before any of them becomes another here. Empty:
  // the model comes from no file as it is.
  std::map<std::string, int64_t> operators;
  // The file has operators that pairs were folded into (OpDef::fold), such as QLinearConv or MatMulNBits.
  bool folded = false;
  int64_t least_opset = 0;  // of ai.onnx, of a file that is written: for the sake of those who are to read it
  bool keeps_fused = false;  // what became one operator again (ops/fused.h) stays so when it is prepared
};

// Sorts `graph.nodes` topologically, keeping the order where it is free. Throws kInvalidModel on a cycle
// (naming a node in it) and on a value that two nodes make.
void sort_topologically(Graph& graph);
// The nodes of `body`, a subgraph of `node`, to stand in the node's place: with `graph`'s values for what the
// body captures and gives. Adds the body's own values to `graph`.
std::vector<Node> spliced(Graph& graph, const Node& node, const Graph& body);
// The warnings of a graph and of the subgraphs in it.
std::vector<std::string> all_warnings(const Graph& graph);
// Drops nodes whose outputs nobody needs, the constants of values that nobody reads, and captures of such
// values.
void remove_unused(Graph& graph);
// Whether constants lie in files, those of subgraphs and attributes too.
bool has_files(const Graph& graph);
// Gives back the memory of constants that lie in files (Tensor::forget), of subgraphs and attributes too.
void forget_files(const Graph& graph);
// The same, of what one node reads.
void forget_files(const Graph& graph, const Node& node);
// Reads all constants that lie in files, so that their addresses stay good as long as the graph does. Throws
// kOutOfMemory, with what they take, and then keeps none.
void hold_files(const Graph& graph);
// A copy that shares tensors but nothing that a rewrite or shape inference could change (subgraphs are copied
// too).
Graph clone(const Graph& graph);

}  // namespace zp
