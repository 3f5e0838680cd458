// The one place where Q, DQ and integer constants are put into a graph. Schemes and repairs say where; this
// says how.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "graph/graph.h"
#include "quant/plan.h"

namespace zp::quant {

// A weight as it was placed, for the report and for repairs that choose other integers (bias correction,
// learned rounding): `integers` is a constant of the quantized graph that they may replace by one of the same
// type and shape. Where the node does not read the weight as it stands (NodePlan::transposed_by), they leave
// it.
struct PlacedWeight {
  int32_t node = -1;          // in the prepared graph
  ValueId weight = kNoValue;  // the float weight, in the prepared graph
  ValueId integers = kNoValue, scale = kNoValue, zero_point = kNoValue;  // constants of the quantized graph
  WeightSpec spec;
  Range range;
  double sqnr_db = 0;
};

// A bias at scale s_x * s_w.
struct PlacedBias {
  int32_t node = -1;
  ValueId bias = kNoValue;  // float, in the prepared graph
  ValueId integers = kNoValue, scale = kNoValue;
};

// Builds the quantized graph node by node, in the order of the prepared graph. Values keep their ids and
// names.
class Placement {
 public:
  // `prepared` is copied. `params`: by group of the plan (empty for schemes that calibrate nothing).
  // `pool`: of another placement of the same model, for what the two have in common.
  class Pool;
  Placement(const Graph& prepared, const Plan& plan, const Config& config, std::vector<QParams> params,
            std::shared_ptr<Pool> pool = nullptr);
  const std::shared_ptr<Pool>& pool() const { return pool_; }

  Graph graph;  // the nodes so far; complete after finish()
  const Plan& plan;
  const Config& config;

  const Graph& prepared() const { return prepared_; }
  // Node i of the prepared graph, to be changed and then handed to emit().
  Node node(int32_t i) const { return prepared_.nodes[static_cast<size_t>(i)]; }
  void emit(Node node) { graph.nodes.push_back(std::move(node)); }

  const QParams* params(ValueId v) const;  // of a value that is quantized statically
  // The value after Q and DQ, for one reader: Q once, DQ for each. Constants become integer constants.
  ValueId dequantized(ValueId v);
  // The same for a constant that has no group: per tensor, with a range of its own.
  ValueId dequantized_constant(ValueId v, DType dtype, bool symmetric);
  // Emits node i as its operator spells it for runtimes that have integer kernels for the pieces alone;
  // false: it is no such node.
  bool in_pieces(int32_t i);
  // The value after DynamicQuantizeLinear and DQ, for one reader. `may_be_nan`: NaN is read as 0, because
  // DynamicQuantizeLinear has no range for a tensor with a NaN in it.
  ValueId dynamically_quantized(ValueId v, bool may_be_nan);
  // A weight as integers and DQ, or as float16 and Cast, for node i as the plan says. Where a bias is to
  // follow at scale s_x * s_w (input_scale above 0), the weight's scales are made large enough for it to fit
  // 32 bits.
  struct Weight {
    ValueId value;             // of the DQ
    std::vector<float> scale;  // per tensor or channel
    bool bias_fits = false;
  };
  Weight weight(int32_t i, ValueId w, ValueId bias, float input_scale);
  // The same for all weights of node i, put into `n`, which is that node; gives the first.
  Weight weights_into(int32_t i, Node& n, ValueId bias, float input_scale);
  // A bias as int32 and DQ, or kNoValue where it has no such form.
  ValueId bias(int32_t i, ValueId b, float input_scale, const Weight& weight);

  // Frees the memory of tensors in files: those of node i of the prepared graph, and those of nodes that were
  // emitted since there were `since` nodes.
  void forget_files(int32_t i, size_t since) const;
  // Puts integers at the model's edges, if asked; then drops values that nobody reads.
  void finish();

  std::vector<PlacedWeight> weights;
  std::vector<PlacedBias> biases;
  std::vector<std::string> warnings;

 private:
  ValueId constant(const std::string& name, Tensor t);
  ValueId scale_constant(const QParams& p, const std::string& name);
  ValueId zero_constant(const QParams& p, const std::string& name);
  void round_outputs();
  // A small constant that all its readers share.
  ValueId shared(std::string_view name, const Tensor& t);
  Node qdq_node(QdqRole role, const std::string& name, std::vector<ValueId> inputs, ValueId output) const;
  // The integers and scales of a weight, `tensor`, for node i: those that another node had of it, if any.
  const PlacedWeight& place_weight(int32_t i, ValueId w, const Tensor& tensor, const WeightSpec& spec);
  ValueId half_weight(ValueId w, int32_t transposed_by);
  ValueId without_nan(ValueId v);
  // What node `transposed_by` of the prepared graph makes of a constant that took the place of its own.
  ValueId transposed(int32_t transposed_by, ValueId constant);
  ValueId dequantize(ValueId integers, ValueId scale, ValueId zero, const std::string& base,
                     const std::optional<SymShape>& shape, const Grouping& grouping);
  // A constant's DQ under the dimensions that a node wants.
  ValueId reshape(ValueId value, const Shape& dims);

  struct Quantized {
    ValueId integers, scale, zero_point;
  };
  Graph prepared_;
  std::vector<QParams> params_;
  std::shared_ptr<Pool> pool_;
  std::map<ValueId, Quantized> quantized_;  // by float value
  std::map<std::tuple<DType, Shape, std::string>, ValueId> shared_;
  std::map<std::pair<ValueId, int>, Quantized>
      constants_;  // by float constant and group (-1 - dtype: of its own)
  std::map<std::pair<ValueId, int32_t>, ValueId>
      halves_;  // by float weight and what turns it: after its Cast
  std::map<std::pair<int32_t, ValueId>, ValueId> transposed_;  // by node and constant
  using WeightKey = std::tuple<ValueId, DType, int, int64_t, std::vector<float>>;
  std::map<WeightKey, size_t> shared_weights_;  // one weight read by several nodes is stored once
};

}  // namespace zp::quant
