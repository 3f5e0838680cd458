// Gemm: alpha * A' * B' + beta * C of matrices.
#include <algorithm>
#include <memory>

#include "ops/gradient.h"
#include "ops/matmul_nbits.h"
#include "ops/product/product.h"
#include "ops/product/qdq.h"
#include "ops/respell.h"
#include "ops/rewrite.h"

namespace zp {
namespace {

bool transposed(const Node& node, std::string_view which) { return node.int_attribute(which, 0) != 0; }

void infer(InferContext& c) {
  if (!c.shape(0) || !c.shape(1)) return c.output(0, type_of_product(c));
  const SymShape &a = *c.shape(0), &b = *c.shape(1);
  c.require(a.size() == 2 && b.size() == 2, {"inputs of shapes ", a, " and ", b, " are no matrices"});
  const bool ta = transposed(c.node(), "transA"), tb = transposed(c.node(), "transB");
  c.require(!contradicts(a[ta ? 0 : 1], b[tb ? 1 : 0]), {"shapes ", a, (ta ? " (transposed)" : ""), " and ",
                                                         b, (tb ? " (transposed)" : ""), " do not multiply"});
  SymShape out{a[ta ? 1 : 0], b[tb ? 0 : 1]};
  if (c.has_input(2) && c.shape(2)) {
    const SymShape& bias = *c.shape(2);
    bool fits = bias.size() <= 2;
    for (size_t d = 0; fits && d < bias.size(); ++d) {
      const Dim& from = bias[bias.size() - 1 - d];
      fits = from == Dim(1) || !contradicts(from, out[1 - d]);
    }
    c.require(fits, {"C of shape ", bias, " does not broadcast to ", out});
  }
  c.output(0, type_of_product(c), std::move(out));
}

// One element of C for each column, or one for all, so that it can be a bias.
bool is_column_vector(const Shape& dims, int64_t columns) {
  const int64_t size = element_count(dims);
  return size == 1 || (size == columns && dims.back() == columns);
}

// Fills the output with beta * C.
Kernel broadcast_fill(FloatBias source, const Shape& dims, const Shape& out, float beta) {
  const int64_t rows = out[0], columns = out[1];
  const int64_t c_columns = dims.empty() ? 1 : dims.back();
  const int64_t c_rows = dims.size() < 2 ? 1 : dims[0];
  return [=, source = std::move(source)](const RunContext& r) {
    const float* from = source.in(r);
    r.parallel_range(rows, 16, [&](int64_t begin, int64_t end) {
      for (int64_t m = begin; m < end; ++m) {
        const float* row = from + (c_rows > 1 ? m * c_columns : 0);
        float* to = r.out<float>(0) + m * columns;
        for (int64_t n = 0; n < columns; ++n) to[n] = beta * row[c_columns > 1 ? n : 0];
      }
    });
  };
}

Kernel prepare(PrepareContext& c) {
  const Shape &a = c.dims(0), &b = c.dims(1);
  const bool ta = transposed(c.node(), "transA"), tb = transposed(c.node(), "transB");
  const int64_t m = a[ta ? 1 : 0], k = a[ta ? 0 : 1], n = b[tb ? 0 : 1];
  const float beta = c.node().float_attribute("beta", 1);
  Product product;
  product.alpha = c.node().float_attribute("alpha", 1);
  product.channel_axis = tb ? 0 : 1;
  if (ta) product.transposed = {k, m};
  ProductWeights w;
  w.layout = tb ? kernels::WeightLayout::transposed_matrix(int_of(k), int_of(n))
                : kernels::WeightLayout::matrix(int_of(k), int_of(n));
  product.weights.push_back(w);
  ProductPart part;
  part.rows = int_of(m);
  part.row_stride = static_cast<std::ptrdiff_t>(k);
  part.output_rows.stride = static_cast<std::ptrdiff_t>(n);
  product.parts.push_back(part);

  require_operand_types(c);
  if (c.quant(0)) return any_product(c, std::move(product), int_of(n));  // beta is 1: see integer()
  if (c.dtype(0) != DType::kFloat32) return plain_product(c, product, double{beta});
  FloatBias bias;
  if (c.has_input(2) && beta != 0) {
    bias = float_bias_of(c);
    const bool constant = !bias.constant.empty();
    if (is_column_vector(c.dims(2), n) &&
        (constant || (beta == 1 && c.dims(2).size() > 0 && c.dims(2).back() == n))) {
      if (constant && bias.constant.size() == 1)
        bias.constant.resize(static_cast<size_t>(n), bias.constant[0]);
      for (float& v : bias.constant) v *= beta;
    } else {
      product.initialize = broadcast_fill(std::move(bias), c.dims(2), c.out_dims(0), beta);
      bias = {};
    }
  }
  if (c.quant(1)) return weight_only_product(c, std::move(product), std::move(bias));
  return float_product(c, std::move(product), std::move(bias));
}

bool integer(const PrepareContext& c) {
  const bool tb = transposed(c.node(), "transB");
  if (!has_quantized_product(c, {.channel_axis = tb ? 0 : 1})) return false;
  if (!c.quant(0) || !c.has_input(2)) return true;
  const int64_t n = c.dims(1)[tb ? 0 : 1];
  return c.node().float_attribute("beta", 1) == 1 && is_column_vector(c.dims(2), n) &&
         (c.constant(2) || (!c.dims(2).empty() && c.dims(2).back() == n));
}

double macs(const InferContext& c) {
  const SymShape* a = c.shape(0);
  const SymShape* b = c.shape(1);
  if (!a || !b || !concrete(*a) || !concrete(*b) || a->size() != 2 || b->size() != 2) return 0;
  const double n = static_cast<double>((*b)[transposed(c.node(), "transB") ? 0 : 1].value());
  return static_cast<double>((*a)[0].value()) * static_cast<double>((*a)[1].value()) * n;
}

void canonicalize(Canonicalize& c) {
  c.node.attributes.erase("broadcast");  // before opset 7; since then C always broadcasts
  c.keep();
}

// ---- rewrites

// alpha and beta into constants: then B is the weight and C the bias that the quantizer sees.
bool fold_factors(RewriteContext& r) {
  const Node& node = r.node();
  if (!node.is("Gemm")) return false;
  const float alpha = node.float_attribute("alpha", 1), beta = node.float_attribute("beta", 1);
  Node made = node;
  const auto fold = [&](size_t input, float factor, std::string_view attribute) {
    const Tensor* t = r.graph.constant(node.input(input));
    if (factor == 1 || !t || t->dtype() != DType::kFloat32) return false;
    std::vector<float> values = t->floats();
    for (float& v : values) v *= factor;
    made.inputs[input] = r.graph.add_constant(r.graph[node.inputs[input]].name + "_scaled",
                                              Tensor::of<float>(t->dims(), values));
    made.attributes.erase(std::string(attribute));
    return true;
  };
  const bool a = fold(1, alpha, "alpha");
  const bool b = fold(2, beta, "beta");
  if (!a && !b) return false;
  r.replace({r.at()}, {std::move(made)});
  return true;
}

// MatMul of matrices and an Add of a vector.
bool from_matmul_add(RewriteContext& r) {
  const Node& add = r.node();
  if (!add.is("Add") || add.inputs.size() != 2) return false;
  for (const size_t side : {size_t{0}, size_t{1}}) {
    const int32_t at = r.producer(add.inputs[side]);
    const Tensor* bias = r.graph.constant(add.inputs[1 - side]);
    if (at < 0 || !bias || bias->dtype() != DType::kFloat32 || r.only_consumer(add.inputs[side]) != r.at())
      continue;
    const Node& product = r.node(at);
    if (!product.is("MatMul")) continue;
    const auto &a = r.graph[product.inputs[0]].shape, &b = r.graph[product.inputs[1]].shape;
    if (!a || !b || a->size() != 2 || b->size() != 2 || !(*b)[1].known()) continue;
    const Shape& dims = bias->dims();
    const bool vector = dims.size() == 1 || (dims.size() == 2 && dims[0] == 1);
    if (!vector || bias->size() != (*b)[1].value()) continue;
    Node made;
    made.name = product.name.empty() ? add.name : product.name;
    made.op_type = "Gemm";
    made.inputs = {product.inputs[0], product.inputs[1], add.inputs[1 - side]};
    made.outputs = add.outputs;
    r.replace({at, r.at()}, {std::move(made)});
    return true;
  }
  return false;
}

// A constant A: A' B' is the transpose of (B')' (A')', which has the weight where weights are looked for.
bool from_left(RewriteContext& r) {
  constexpr int64_t kWorth = 1024;  // elements: see MatMul
  const Node node = r.node();
  if (!node.is("Gemm") || node.input(1) == kNoValue) return false;
  const Tensor* w = r.graph.constant(node.inputs[0]);
  const ValueId x = node.inputs[1];
  if (!w || w->dtype() != DType::kFloat32 || w->dims().size() != 2 || w->size() < kWorth ||
      r.graph.constant(x) || r.graph[x].dtype != DType::kFloat32)
    return false;
  const bool ta = transposed(node, "transA"), tb = transposed(node, "transB");
  const int64_t rows = w->dims()[ta ? 1 : 0];
  Node product = node;
  const std::string name = r.graph[node.outputs[0]].name;
  const auto transpose = [&](ValueId from, const std::string& called, ValueId to) {
    Node t;
    t.name = called;
    t.op_type = "Transpose";
    t.inputs = {from};
    t.outputs = {to};
    t.attributes.emplace("perm", std::vector<int64_t>{1, 0});
    return t;
  };
  std::vector<Node> made;
  product.inputs = {x, node.inputs[0]};
  if (!tb) {
    product.inputs[0] = r.graph.add_value(r.graph[x].name + "_transposed", DType::kFloat32);
    made.push_back(transpose(x, node.name + "_input", product.inputs[0]));
  }
  ValueId c = node.input(2), added = kNoValue;
  if (c != kNoValue) {
    const Tensor* bias = r.graph.constant(c);
    const float beta = node.float_attribute("beta", 1);
    const bool column = bias && bias->size() == rows && bias->dims().size() == 2 && bias->dims()[0] == rows;
    if (column || (bias && bias->size() == 1)) {
      if (column) c = r.graph.add_constant(r.graph[c].name + "_row", bias->reshaped({rows}));
      product.inputs.push_back(c);
    } else {
      // Not the bias of a row: added to the result.
      if (beta != 1) {
        if (!bias || bias->dtype() != DType::kFloat32) return false;
        std::vector<float> values = bias->floats();
        for (float& v : values) v *= beta;
        c = r.graph.add_constant(r.graph[c].name + "_scaled", Tensor::of<float>(bias->dims(), values));
      }
      added = c;
    }
  }
  product.attributes.erase("transA");
  product.attributes.insert_or_assign("transB", static_cast<int64_t>(!ta));
  const ValueId sums = r.graph.add_value(name + "_transposed", DType::kFloat32);
  product.outputs = {sums};
  if (added != kNoValue) product.attributes.erase("beta");
  made.push_back(std::move(product));
  if (added == kNoValue) {
    made.push_back(transpose(sums, node.name + "_output", node.outputs[0]));
  } else {
    const ValueId transposed_back = r.graph.add_value(name + "_sums", DType::kFloat32);
    made.push_back(transpose(sums, node.name + "_output", transposed_back));
    Node add;
    add.name = node.name + "_added";
    add.op_type = "Add";
    add.inputs = {transposed_back, added};
    add.outputs = {node.outputs[0]};
    made.push_back(std::move(add));
  }
  r.replace({r.at()}, std::move(made));
  return true;
}

// ---- operator formats

bool fold(Fold& f) {
  Graph& g = f.graph;
  const Node& node = f.node;
  if (f.inputs.size() < 2 || !f.inputs[1]) return false;
  const QuantizedEdge& b = *f.inputs[1];
  const bool ta = transposed(node, "transA"), tb = transposed(node, "transB");
  const float alpha = node.float_attribute("alpha", 1), beta = node.float_attribute("beta", 1);
  const ValueId bias = node.input(2);
  if (bias != kNoValue && beta != 1) return false;
  const Tensor* weights = g.constant(b.quantized);
  if (!f.inputs[0]) {
    if (ta || alpha != 1) return false;
    return fold_to_nbits(f, b, tb, bias);
  }
  const QuantizedEdge& a = *f.inputs[0];
  if (!is_8_bit_value(g, a.quantized) || !is_8_bit_value(g, b.quantized) || !is_single(g, a.scale) ||
      !fits_axis(g, b, tb ? 0 : 1, 2)) {
    return false;
  }
  if (a.dynamic) {
    if (f.output || ta || alpha != 1 || !weights) return false;
    if (bias != kNoValue && f.inputs.size() > 2 && f.inputs[2]) return false;  // a bias of integers
    const ValueId matrix =
        tb ? g.add_constant(g[b.quantized].name + "_transposed", transposed_bytes(*weights)) : b.quantized;
    const ValueId sums =
        f.add("MatMulInteger", {a.quantized, matrix, zero_point_or_zeros(g, a), zero_point_or_zeros(g, b)});
    fold_dynamic_tail(f, sums, a.scale, b.scale, bias);
    return true;
  }
  std::vector<ValueId> inputs{a.quantized, a.scale, zero_point_or_zeros(g, a),
                              b.quantized, b.scale, zero_point_or_zeros(g, b)};
  if (bias != kNoValue) {
    if (f.inputs.size() < 3 || !f.inputs[2] || !has_product_scale(g, *f.inputs[2], a, b, alpha)) return false;
    inputs.push_back(f.inputs[2]->quantized);
  }
  ValueId made = node.outputs[0];
  if (f.output) {
    if (f.output->dynamic || !is_8_bit_value(g, f.output->quantized) || !is_single(g, f.output->scale))
      return false;
    inputs.resize(7, kNoValue);
    inputs.push_back(f.output->scale);
    inputs.push_back(zero_point_or_zeros(g, *f.output));
    made = f.output->quantized;
  }
  f.nodes.push_back(
      folded_node(node.name, "QGemm", kMicrosoft, std::move(inputs), made, attributes_of(node, {"beta"})));
  return true;
}

// ---- gradient

// y = alpha A B + beta C: dA = alpha dy B', dB = alpha A' dy, transposed as A and B are.
void gradient(Gradient& g) {
  const int64_t ta = transposed(g.node, "transA"), tb = transposed(g.node, "transB");
  const float alpha = g.node.float_attribute("alpha", 1), beta = g.node.float_attribute("beta", 1);
  const auto product = [&](ValueId a, ValueId b, int64_t turn_a, int64_t turn_b) {
    return g.add("Gemm", {a, b}, {{"transA", turn_a}, {"transB", turn_b}, {"alpha", alpha}});
  };
  if (g.wanted(0)) g.give(0, ta ? product(g.in(1), g.dy(), tb, 1) : product(g.dy(), g.in(1), 0, 1 - tb));
  if (g.wanted(1)) g.give(1, tb ? product(g.dy(), g.in(0), 1, ta) : product(g.in(0), g.dy(), 1 - ta, 0));
  if (g.wanted(2)) {
    const ValueId sum = g.summed_to(g.dy(), g.in(2));
    g.give(2, beta == 1 ? sum : g.add("Mul", {sum, g.scalar(beta)}));
  }
}

void respell(Respell& r) {
  if (r.node.input(2) == kNoValue) r.need(11);  // since then C may be absent
}

constexpr OpDef kGemm = {
    .name = "Gemm",
    .inputs = "A B C?",
    .opsets = "7F 9iIlL 13b",
    .infer = infer,
    .prepare = prepare,
    .integer = integer,
    .fuses_clamp = true,
    .macs = macs,
    .quant = {.kind = QuantRule::Kind::kProduct,
              .weight = 1,
              .bias = 2,
              .channel_axis = [](const Node& n, int) { return transposed(n, "transB") ? 0 : 1; },
              .block_axis = [](const Node& n, int) { return transposed(n, "transB") ? 1 : 0; },
              .input_axis =
                  [](const Node& n, int) {
                    return transposed(n, "transA") ? -1 : transposed(n, "transB") ? 1 : 0;
                  }},
    .canonicalize = canonicalize,
    .respell = respell,
    .fold = fold,
    .gradient = gradient,
};
const RegisterOps kRegistered({&kGemm});
const RegisterRewrite kFoldFactors({.name = "fold Gemm's factors into its constants", .apply = fold_factors});
const RegisterRewrite kFromLeft({.name = "Gemm with its weight on the left", .apply = from_left});
const RegisterRewrite kFromMatMulAdd({.name = "MatMul and Add to Gemm",
                                      .apply = from_matmul_add,
                                      .order = 1});

}  // namespace
}  // namespace zp
