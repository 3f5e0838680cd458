// MoE and QMoE of com.microsoft, mixtures of experts: each row goes through the k experts that a router finds
// likeliest, two or three matrices with a function between them, and the results are added up with the
// router's weights. They become the products of all experts, with weights of 0 for those that a row does not
// go through.
#include <cmath>
#include <limits>

#include "ops/expansion.h"
#include "ops/matmul_nbits.h"
#include "ops/product/qdq.h"

namespace zp {
namespace {

// Where the inputs are; kAbsent: the operator has no such input.
constexpr size_t kAbsent = 99;
struct Layer {
  size_t weights, bias, scales = kAbsent, points = kAbsent;
};
struct Inputs {
  Layer first, second, third;
  size_t mixing = kAbsent;
};
constexpr Inputs kOfFloats = {.first = {2, 3}, .second = {4, 5}, .third = {6, 7}};
constexpr Inputs kOfIntegers = {
    .first = {2, 4, 3, 11}, .second = {5, 7, 6, 12}, .third = {8, 10, 9, 13}, .mixing = 14};

class Mixture {
 public:
  Mixture(Canonicalize& context, const Inputs& inputs) : c(context), in(inputs) {
    activation_ = c.node.string_attribute("activation_type", "relu");
    fusion_ = c.node.int_attribute("swiglu_fusion", 0);
    const auto experts = known_dim(c, in.first.weights, 0);
    if (!experts) c.wait("the number of experts is not known");
    experts_ = *experts;
    k_ = c.node.int_attribute("k", 1);
    if (k_ < 1 || k_ > experts_)
      c.fail(ErrorCode::kInvalidModel, {"k is ", k_, " with ", experts_, " experts"});
    for (const std::string_view key :
         {"use_sparse_mixer", "swiglu_limit_after_activation", "weights_prepacked"})
      if (c.node.int_attribute(key, 0) != 0)
        c.fail(ErrorCode::kUnsupportedOperator, {key, " is not supported"});
    if (const std::string type = c.node.string_attribute("quant_type", "int"); type != "int")
      c.fail(ErrorCode::kUnsupportedOperator, {"quant_type '", type, "' is not supported"});
  }

  void expand() {
    const Node& n = c.node;
    const bool flat = rank_of(c, 0) == 2;
    const ValueId width = c.add("Shape", {n.inputs[0]}, {{"start", int64_t{-1}}});
    const ValueId rows = c.add("Concat", {add_ints(c, {-1}), width}, {{"axis", int64_t{0}}});
    const ValueId x = flat ? n.inputs[0] : c.add("Reshape", {n.inputs[0], rows});
    const ValueId mixing = add_mixing();
    ValueId sum = kNoValue;
    for (int64_t e = 0; e < experts_; ++e) {
      const ValueId y = add_product(add_activation(x, e), in.second, e);
      const ValueId part = c.add("Mul", {y, add_slice(c, mixing, 1, e, e + 1)});
      sum = sum == kNoValue ? part : c.add("Add", {sum, part});
    }
    if (flat) return c.finish("Identity", {sum});
    c.finish("Reshape", {sum, c.add("Shape", {n.inputs[0]})});
  }

 private:
  bool gated() const { return activation_ == "swiglu" || activation_ == "geglu"; }

  // [rows, experts], 0 for those that a row does not go through.
  ValueId add_mixing() {
    const Node& n = c.node;
    const ValueId all = c.add("Softmax", {n.inputs[1]}, {{"axis", int64_t{-1}}});
    const ValueId best = c.add("TopK", {all, add_ints(c, {k_})}, {{"axis", int64_t{-1}}});
    const ValueId which = c.graph.add_value(c.graph[best].name + "_indices", DType::kInt64);
    c.nodes.back().outputs.push_back(which);
    const bool own = n.input(in.mixing) != kNoValue;
    ValueId weights =
        own ? c.add("GatherElements", {n.inputs[in.mixing], which}, {{"axis", int64_t{1}}}) : best;
    // ONNX Runtime's QMoE (1.32, on a processor) does so always, and leaves out experts of negative weights.
    const bool integers = in.first.scales != kAbsent;
    if (integers || n.int_attribute("normalize_routing_weights", 0) != 0)
      weights = c.add("Div", {weights, c.add("ReduceSum", {weights, add_ints(c, {1})})});
    if (own) weights = c.add("Relu", {weights});
    const ValueId none = c.add("Expand", {c.number(0), c.add("Shape", {all})});
    return c.add("ScatterElements", {none, which, weights}, {{"axis", int64_t{1}}});
  }

  // Matrix `e` as [inputs, outputs].
  ValueId add_weights(const Layer& layer, int64_t e) {
    if (layer.scales == kAbsent) {
      const ValueId one =
          c.add("Gather", {c.node.inputs[layer.weights], add_int(c, e)}, {{"axis", int64_t{0}}});
      return c.add("Transpose", {one}, {{"perm", std::vector<int64_t>{1, 0}}});
    }
    return add_codes(layer, e);
  }

  ValueId add_codes(const Layer& layer, int64_t e) {
    const Tensor *codes = stored_constant(c, layer.weights), *scales = c.constant(layer.scales),
                 *points = c.constant(layer.points);
    if (!codes || !scales || (c.node.input(layer.points) != kNoValue && !points))
      c.fail(ErrorCode::kUnsupportedOperator, "weights that are computed are not supported");
    const std::string_view key = layer.weights == in.first.weights    ? "fc1_expert_weight_bits"
                                 : layer.weights == in.second.weights ? "fc2_expert_weight_bits"
                                                                      : "fc3_expert_weight_bits";
    const int64_t bits = c.node.int_attribute(key, c.node.int_attribute("expert_weight_bits", 4));
    if (bits != 2 && bits != 4 && bits != 8)
      c.fail(ErrorCode::kUnsupportedOperator, {"weights of ", bits, " bits are not supported"},
             "2, 4 and 8 bits are");
    const Shape& dims = codes->dims();
    if (codes->dtype() != DType::kUint8 || dims.size() != 3 || dims[0] != experts_)
      c.fail(ErrorCode::kInvalidModel, {"weights of shape ", dims, " do not fit ", experts_, " experts"});
    NBits layout{
        .k = dims[2] * 8 / bits, .n = dims[1], .block = 0, .blocks = 1, .bits = static_cast<int>(bits)};
    const int64_t block = c.node.int_attribute("block_size", 0);
    layout.block = block > 0 ? block : layout.k;
    if (layout.block < 1 || layout.k % layout.block != 0)
      c.fail(ErrorCode::kInvalidModel, {layout.k, " numbers are not blocks of ", layout.block});
    layout.blocks = layout.k / layout.block;
    const auto part = [&](const Tensor& all, std::string_view of) {  // the expert's
      if (all.dims().empty() || all.dims()[0] != experts_)
        c.fail(ErrorCode::kInvalidModel,
               {of, " of shape ", all.dims(), " do not fit ", experts_, " experts"});
      Tensor one(all.dtype(), Shape(all.dims().begin() + 1, all.dims().end()));
      std::copy_n(all.raw() + static_cast<int64_t>(one.bytes()) * e, one.bytes(), one.mutable_raw());
      return one;
    };
    std::optional<Tensor> zeros;
    if (points) zeros = part(*points, "zero points");
    if (zeros && block <= 0) {  // a row of codes for all columns: a byte for each, here
      if (zeros->size() * 8 / bits < layout.n)
        c.fail(ErrorCode::kInvalidModel,
               {"zero points of shape ", points->dims(), " do not fit the weights"});
      Tensor each(DType::kUint8, {layout.n});
      for (int64_t i = 0; i < layout.n; ++i) {
        const int byte = std::to_integer<int>(zeros->raw()[i * bits / 8]);
        each.mutable_raw()[i] = static_cast<std::byte>(byte >> (i * bits % 8) & ((1 << bits) - 1));
      }
      zeros = std::move(each);
    }
    const std::string name = c.graph[c.node.inputs[layer.weights]].name + "_" + std::to_string(e);
    return add_nbits(c, layout, name, part(*codes, "weights"), part(*scales, "scales"),
                     zeros ? &*zeros : nullptr, nullptr);
  }

  ValueId add_product(ValueId x, const Layer& layer, int64_t e) {
    const ValueId y = c.add("MatMul", {x, add_weights(layer, e)});
    if (c.node.input(layer.bias) == kNoValue) return y;
    return c.add("Add",
                 {y, c.add("Gather", {c.node.inputs[layer.bias], add_int(c, e)}, {{"axis", int64_t{0}}})});
  }

  // The input of the second product of expert `e`.
  ValueId add_activation(ValueId x, int64_t e) {
    ValueId y = add_product(x, in.first, e);
    const bool third = c.node.input(in.third.weights) != kNoValue;
    if (!gated()) {
      y = add_function(activation_, y);
      return third ? c.add("Mul", {y, add_product(x, in.third, e)}) : y;
    }
    // A gate, and what goes through it.
    ValueId through = kNoValue;
    if (fusion_ == 0) {
      if (!third) c.fail(ErrorCode::kInvalidModel, "weights that are not fused need fc3_experts_weights");
      through = add_product(x, in.third, e);
    } else if (fusion_ == 1) {
      const ValueId pairs = c.add("Reshape", {y, add_ints(c, {0, -1, 2})});
      const auto of_pair = [&](int64_t i) {
        return c.add("Gather", {pairs, add_int(c, i)}, {{"axis", int64_t{2}}});
      };
      y = of_pair(0);
      through = of_pair(1);
    } else {
      const ValueId halves = c.add("Reshape", {y, add_ints(c, {0, 2, -1})});
      const auto half = [&](int64_t i) {
        return c.add("Gather", {halves, add_int(c, i)}, {{"axis", int64_t{1}}});
      };
      y = half(0);
      through = half(1);
    }
    if (activation_ == "geglu")
      return c.add("Mul", {c.add("Gelu", {y}, {{"approximate", std::string("tanh")}}), through});
    const float limit = c.node.float_attribute("swiglu_limit", std::numeric_limits<float>::infinity());
    if (std::isfinite(limit)) {
      y = c.add("Min", {y, c.number(limit)});
      through = c.add("Clip", {through, c.number(-limit), c.number(limit)});
    }
    const ValueId alpha = c.number(c.node.float_attribute("activation_alpha", 1)),
                  beta = c.number(c.node.float_attribute("activation_beta", 0));
    const ValueId open = c.add("Mul", {y, c.add("Sigmoid", {c.add("Mul", {y, alpha})})});
    return c.add("Mul", {open, c.add("Add", {through, beta})});
  }

  ValueId add_function(std::string_view name, ValueId x) {
    if (name == "identity") return x;
    if (name == "relu") return c.add("Relu", {x});
    if (name == "relu2") {
      const ValueId y = c.add("Relu", {x});
      return c.add("Mul", {y, y});
    }
    if (name == "silu") return c.add("Mul", {x, c.add("Sigmoid", {x})});
    if (name == "gelu") return c.add("Gelu", {x}, {{"approximate", std::string("tanh")}});
    c.fail(ErrorCode::kUnsupportedOperator, {"activation_type '", name, "' is not supported"});
  }

  Canonicalize& c;
  const Inputs& in;
  std::string activation_;
  int64_t fusion_, experts_, k_;
};

constexpr OpDef kFloats = {
    .domain = kMicrosoft,
    .name = "MoE",
    .inputs =
        "input router_probs fc1_experts_weights fc1_experts_bias? fc2_experts_weights fc2_experts_bias? "
        "fc3_experts_weights? fc3_experts_bias?",
    .types = "*",
    .canonicalize = [](Canonicalize& c) { Mixture(c, kOfFloats).expand(); }};
constexpr OpDef kIntegers = {
    .domain = kMicrosoft,
    .name = "QMoE",
    .inputs =
        "input router_probs fc1_experts_weights fc1_scales fc1_experts_bias? fc2_experts_weights fc2_scales "
        "fc2_experts_bias? fc3_experts_weights? fc3_scales? fc3_experts_bias? fc1_zero_points? "
        "fc2_zero_points? fc3_zero_points? router_weights?",
    .types = "*",
    .canonicalize = [](Canonicalize& c) { Mixture(c, kOfIntegers).expand(); }};
const RegisterOps kRegistered({&kFloats, &kIntegers});

}  // namespace
}  // namespace zp
