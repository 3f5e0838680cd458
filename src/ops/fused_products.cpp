// Products joined with operators around them, as ONNX Runtime's optimizer writes them (com.microsoft):
// FusedMatMul (TransposeMatMul, its older name), FusedGemm and FusedConv. They become the operators that they
// were made of.
#include <numeric>

#include "ops/expansion.h"

namespace zp {
namespace {

// `transBatch...` exchanges the first dimension with the other batch dimensions, `trans...` the last two.
ValueId transposed(Canonicalize& c, size_t input, std::string_view last, std::string_view batch) {
  const bool of_matrix = c.node.int_attribute(last, 0) != 0, of_batch = c.node.int_attribute(batch, 0) != 0;
  if (!of_matrix && !of_batch) return c.node.inputs[input];
  const int64_t rank = rank_of(c, input);
  if (rank < 2) return c.node.inputs[input];
  std::vector<int64_t> order(static_cast<size_t>(rank));
  std::iota(order.begin(), order.end(), 0);
  if (of_batch && rank > 2) std::rotate(order.begin(), order.begin() + 1, order.end() - 1);
  if (of_matrix) std::swap(order[order.size() - 1], order[order.size() - 2]);
  return c.add("Transpose", {c.node.inputs[input]}, {{"perm", order}});
}

void expand_matmul(Canonicalize& c) {
  const ValueId a = transposed(c, 0, "transA", "transBatchA"), b = transposed(c, 1, "transB", "transBatchB");
  const float alpha = c.node.float_attribute("alpha", 1);
  if (alpha == 1) return c.finish("MatMul", {a, b});
  c.finish("Mul", {c.add("MatMul", {a, b}), c.number(alpha)});
}

// Applies the activation to the output of the last node. `parameters`: of com.microsoft's attributes.
void finish_activation(Canonicalize& c, std::string_view name, ValueId x, std::vector<float> parameters) {
  struct Known {
    std::string_view name;
    std::array<std::string_view, 2> attributes;
  };
  constexpr Known kKnown[] = {{"Relu", {}},
                              {"Sigmoid", {}},
                              {"Tanh", {}},
                              {"Softplus", {}},
                              {"Softsign", {}},
                              {"LeakyRelu", {"alpha"}},
                              {"Elu", {"alpha"}},
                              {"ThresholdedRelu", {"alpha"}},
                              {"HardSigmoid", {"alpha", "beta"}}};
  if (name == "Clip") {
    if (parameters.size() != 2) c.fail(ErrorCode::kInvalidModel, "Clip needs two activation_params");
    return c.finish("Clip", {x, c.number(parameters[0]), c.number(parameters[1])});
  }
  const Known* known =
      std::find_if(std::begin(kKnown), std::end(kKnown), [&](const Known& k) { return k.name == name; });
  if (known == std::end(kKnown))
    c.fail(ErrorCode::kUnsupportedOperator, {"activation '", name, "' is not supported"});
  NewAttributes attributes;
  for (size_t i = 0; i < 2 && i < parameters.size(); ++i)
    if (!known->attributes[i].empty()) attributes.emplace_back(known->attributes[i], parameters[i]);
  c.finish(name, {x}, std::move(attributes));
}

// The node without its activation, as `type`; what it gives.
ValueId add_product(Canonicalize& c, std::string_view type, std::initializer_list<std::string_view> without,
                    size_t inputs) {
  Node product = c.node;
  product.domain.clear();
  product.op_type = type;
  for (const std::string_view key : without)
    if (const auto at = product.attributes.find(key); at != product.attributes.end())
      product.attributes.erase(at);
  product.inputs.resize(std::min(product.inputs.size(), inputs));
  while (!product.inputs.empty() && product.inputs.back() == kNoValue) product.inputs.pop_back();
  const ValueId made = c.graph.add_value(c.graph[c.node.outputs[0]].name + "_" + std::string(type));
  product.name = c.graph[made].name;
  product.outputs = {made};
  c.nodes.push_back(std::move(product));
  return made;
}

void expand_gemm(Canonicalize& c) {
  const std::string name = c.node.string_attribute("activation", "");
  std::vector<float> parameters;
  for (const std::string_view key : {"activation_alpha", "activation_beta"})
    if (c.node.attribute(key)) parameters.push_back(c.node.float_attribute(key, 0));
  const ValueId product =
      add_product(c, "Gemm", {"activation", "activation_alpha", "activation_beta", "activation_gamma"}, 3);
  if (name.empty()) return c.finish("Identity", {product});
  finish_activation(c, name, product, std::move(parameters));
}

// Inputs: x, w, bias, and a value that is added before the activation.
void expand_conv(Canonicalize& c) {
  const std::string name = c.node.string_attribute("activation", "");
  const std::vector<float> parameters = c.node.floats_attribute("activation_params");
  ValueId sum = add_product(c, "Conv", {"activation", "activation_params"}, 3);
  if (c.node.input(3) != kNoValue) sum = c.add("Add", {sum, c.node.inputs[3]});
  if (name.empty()) return c.finish("Identity", {sum});
  finish_activation(c, name, sum, parameters);
}

constexpr OpDef kFusedMatMul = {.domain = kMicrosoft,
                                .name = "FusedMatMul",
                                .inputs = "A B",
                                .types = "*",
                                .canonicalize = expand_matmul};
constexpr OpDef kTransposeMatMul = {.domain = kMicrosoft,
                                    .name = "TransposeMatMul",
                                    .inputs = "A B",
                                    .types = "*",
                                    .canonicalize = expand_matmul};
constexpr OpDef kFusedGemm = {
    .domain = kMicrosoft, .name = "FusedGemm", .inputs = "A B C?", .types = "*", .canonicalize = expand_gemm};
constexpr OpDef kFusedConv = {.domain = kMicrosoft,
                              .name = "FusedConv",
                              .inputs = "X W B? Z?",
                              .types = "*",
                              .canonicalize = expand_conv};
const RegisterOps kRegistered({&kFusedMatMul, &kTransposeMatMul, &kFusedGemm, &kFusedConv});

}  // namespace
}  // namespace zp
