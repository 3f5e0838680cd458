// The plan of a quantization, decided before any number is known: which nodes, which values, and which values
// share a scale. A scheme fills a Plan with the help of a Planner, which knows every operator by its
// QuantRule alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "ops/known_range.h"
#include "ops/op.h"
#include "quant/numbers.h"
#include "quant/quant.h"
#include "quant/runtimes.h"

namespace zp::quant {

struct NodePlan {
  bool quantized = false;
  std::string why = {};                   // in plain words
  DType activations = DType::kUndefined;  // of the integers at its data inputs; undefined: they stay float
  DType weights = DType::kUndefined;      // of its weight; undefined: it has none, or it stays float
  Grouping grouping = {};                 // of the weight
  int32_t part_of = -1;     // a clamp or an added constant: the node whose result it finishes in float
  bool kept = false;        // quantized in the model already, and left as it is
  bool half = false;        // its float values are float16
  bool rounds = false;      // its result is rounded, whoever reads it: the runtime has integers there or none
  bool may_be_nan = false;  // its data, in a run: a dynamic range is that of what is a number
  // What its QuantRule says of this node's inputs.
  std::vector<ValueId> data = {};        // float32 activations, constants among them
  int weight_slot = -1, bias_slot = -1;  // inputs that are a constant weight (or table) and its constant bias
  ValueId weight = kNoValue;             // the constant that holds that weight
  int32_t transposed_by = -1;        // the node that transposes it for this one; -1: it is read as it stands
  std::vector<int> more_slots = {};  // inputs with further weights, quantized alike (of a recurrence)
};

// Values with one scale: the inputs and outputs of nodes that only move values. The result of
// a Concat has a group of its own until the ranges of its parts are known: see share_scales().
struct Group {
  DType dtype = DType::kUndefined;
  std::vector<ValueId> members;
  std::vector<ValueId> observed;  // whose ranges, together, are the group's
  std::optional<Range> known;     // a range that needs no observing, together with that of `observed`
};

struct Plan {
  std::vector<NodePlan> nodes;  // by node of the prepared graph
  std::vector<int32_t> group;   // by value: index in `groups`; -1: the value is never quantized statically
  std::vector<bool> integer;    // by value: made by a quantized node, so that whoever reads it reads integers
  std::vector<Group> groups;
  std::map<ValueId, KnownRange> bounds;  // of observed values of which something is known
  std::vector<std::string> warnings;
};

// What a scheme sees of the graph while it decides.
class Planner {
 public:
  // `observed`: by value, whether a run of the model computes it, so that it has a range. Empty: the scheme
  // needs no ranges. `unranged`: values whose range nobody knows nevertheless, which stay float.
  Planner(Graph& graph, const Config& config, const std::vector<bool>& observed = {},
          std::set<ValueId> unranged = {});

  Graph& graph;
  const Config& config;
  const GraphIndex index;
  const KnownRanges known;
  const RuntimeRules& rules;  // of the runtime that the file is for
  Plan plan;
  bool trained = false;  // weights that operators compute with in float are trained, and stay so

  int32_t count() const { return static_cast<int32_t>(graph.nodes.size()); }
  const Node& node(int32_t i) const { return graph.nodes[static_cast<size_t>(i)]; }
  NodePlan& at(int32_t i) { return plan.nodes[static_cast<size_t>(i)]; }
  // nullptr: an operator that no file handles (kept in float).
  const OpDef* def(int32_t i) const { return defs_[static_cast<size_t>(i)]; }
  QuantRule::Kind kind(int32_t i) const { return kinds_[static_cast<size_t>(i)]; }
  // The configuration lets this node be quantized, and its values are float32. If not, `why` has been set.
  bool allowed(int32_t i) const { return allowed_[static_cast<size_t>(i)]; }
  // Why somebody asked to leave this node as it is; empty: nobody did.
  std::string why_left(int32_t i) const;
  // The configuration lets this node be changed, and its operator is known. If not, `why` has been set.
  bool chosen(int32_t i) const { return chosen_[static_cast<size_t>(i)]; }
  // Its result goes into a logarithm, so that rounding what it reads would cost much: see find_logarithms().
  bool before_logarithm(int32_t i) const { return logarithms_[static_cast<size_t>(i)]; }
  static constexpr std::string_view kBeforeLogarithm =
      "activations stay float32: a logarithm follows, which would enlarge small errors";
  // Without activations, where a logarithm follows, unless the configuration names the node.
  Precision precision(int32_t i) const { return precision_[static_cast<size_t>(i)]; }

  // Whether a value has a range, or may get one from calibration.
  bool ranged(ValueId v) const { return !unranged_.contains(v); }

  // Float32 inputs that are activations, constants among them. Of a product whose weight is computed: both
  // operands.
  const std::vector<ValueId>& data(int32_t i) const { return plan.nodes[static_cast<size_t>(i)].data; }
  // The float32 constant that holds the weight of a product, else kNoValue. A constant that a node before
  // only turns (a table that serves twice: runtime/prepare.h) counts as well.
  ValueId weight(int32_t i) const;
  // The node that turns the weight; -1: none does.
  int32_t transposed_by(int32_t i) const;
  // Inputs that an operator with float sums (a recurrence) multiplies with, where they are float32 constants.
  std::vector<int> stored(int32_t i) const;
  // A float32 constant of this many elements or more that a kSameScale node picks from: an embedding's table.
  static constexpr int64_t kTable = 4096;
  ValueId table(int32_t i) const;
  // Index of the only node that reads the value, once; -1 if there are more, none, or the graph gives it as
  // output.
  int32_t only_consumer(ValueId v) const;
  // Moves several values into one, and takes each with a scale of its own.
  bool joins(int32_t i) const {
    const OpDef* d = def(i);
    return d && kind(i) == QuantRule::Kind::kSameScale && d->integer && d->quant.data.all();
  }
  // Whether node i, as `the_plan` has it, rounds this input.
  bool reads_integers(const Plan& the_plan, int32_t i, ValueId v) const {
    const NodePlan& n = the_plan.nodes[static_cast<size_t>(i)];
    return n.quantized && n.activations != DType::kUndefined && std::ranges::find(n.data, v) != n.data.end();
  }
  int32_t producer(ValueId v) const { return index.producer[static_cast<size_t>(v)]; }
  const std::vector<int32_t>& consumers(ValueId v) const { return index.consumers[static_cast<size_t>(v)]; }
  // A kRescaled node that works on each element of one computed input alone: its other operands are single
  // constants.
  bool elementwise(int32_t i) const;
  // Nodes that finish node i in float before its result is quantized. After a product: constants added or
  // multiplied, then a clamp. After an elementwise node: further ones, since together they are one function.
  // After others: a clamp. In order; empty when there is none.
  std::vector<int32_t> finish(int32_t i) const;
  // Per channel where asked and possible, blocks where asked for 4 bits.
  Grouping channels(int32_t i) const;
  // The same for a product of integers: one scale for a whole batch of matrices where zero points are not in
  // the middle. ONNX Runtime's MatMulInteger, which its optimizations make of Q/DQ too, takes a zero point
  // for each channel of a single matrix only.
  Grouping integer_channels(int32_t i) const;
  // A product of integers whose result has to be rounded, since the runtime has no kernel that leaves floats.
  bool rounds(int32_t i) const {
    return kind(i) == QuantRule::Kind::kProduct && bits_of(precision(i).activations) == 8 &&
           rules.rounds(node(i));
  }
  std::optional<Grouping> blocks(int32_t i) const;  // nullopt: the operator has no blocked form

  // Marks node i as one whose weight (or table) is quantized, or float16 if its values fit. `activations`:
  // what becomes of those, in words.
  void quantize_weights(int32_t i, DType dtype, const Grouping& grouping, const std::string& activations);
  // All schemes quantize alike what is stored as integers and computed in float: tables of embeddings, and
  // weights of recurrences. 8 bits, a scale for each row.
  void quantize_stored();
  // Products of two computed values, and of those whose weights are integers already, have no weight here.
  bool kept(int32_t i) const { return plan.nodes[static_cast<size_t>(i)].kept; }

 private:
  bool transposes_weights(int32_t i) const;
  bool is_also_table(int32_t i) const;
  bool reads_dequantized(int32_t i, size_t input) const;
  bool quantized_already(int32_t i) const;
  void find_logarithms();
  bool keeps_shape(int32_t i, ValueId from) const;
  std::vector<ValueId> find_data(int32_t i) const;
  Precision choose_precision(int32_t i);
  void find_weights(int32_t i);  // and the inputs beside them
  // Why the node stays as it is, in a sentence; empty: nothing speaks against it. By the configuration and by
  // what the model has already; then by what it computes.
  std::string why_not_chosen(int32_t i) const;
  std::string why_in_float(int32_t i, const std::vector<bool>& observed);
  // Why a constant that this node reads has no integers; empty: all have.
  std::string unfit_constant(int32_t i);
  std::vector<const OpDef*> defs_;
  std::vector<QuantRule::Kind> kinds_;
  std::set<ValueId> unranged_;
  std::map<ValueId, bool> finite_;  // constants that were looked at
  std::vector<Precision> precision_;
  std::vector<bool> chosen_, allowed_, logarithms_;
};

// Once ranges are known (`ranges`, by group of the plan): makes one group of what is joined and of its parts,
// where two scales would bring nothing.
void share_scales(const Planner& planner, Plan& plan, std::vector<Range>& ranges);

// A name in the configuration that the model does not have is a mistake worth hearing about: throws
// kInvalidArgument. Nodes in branches have names too.
void require_known_names(const Graph& graph, const Config& config);

std::string in_words(DType dtype);  // "int8"
// "int8 weights, one scale per output channel"
std::string in_words(DType dtype, const Grouping& grouping);

}  // namespace zp::quant
