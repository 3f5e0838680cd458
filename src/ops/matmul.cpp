// MatMul: numpy's matrix product.
#include "ops/matmul.h"

#include <algorithm>
#include <memory>

#include "ops/gather.h"
#include "ops/gradient.h"
#include "ops/matmul_nbits.h"
#include "ops/product/qdq.h"
#include "ops/rewrite.h"

namespace zp {

void infer_matmul(InferContext& c, size_t a_input, size_t b_input, DType type) {
  if (!c.shape(a_input) || !c.shape(b_input)) return c.output(0, type);
  SymShape a = *c.shape(a_input), b = *c.shape(b_input);
  c.require(!a.empty() && !b.empty(), "a scalar has no matrix product");
  const bool a_vector = a.size() == 1, b_vector = b.size() == 1;
  if (a_vector) a.insert(a.begin(), Dim(1));
  if (b_vector) b.emplace_back(1);
  const Dim k = a.back();
  c.require(!contradicts(k, b[b.size() - 2]),
            {"shapes ", *c.shape(a_input), " and ", *c.shape(b_input), " do not multiply"});
  SymShape out;
  try {
    out = broadcast(SymShape(a.begin(), a.end() - 2), SymShape(b.begin(), b.end() - 2));
  } catch (const Error&) {
    c.fail(ErrorCode::kShapeMismatch,
           {"the batches of shapes ", *c.shape(a_input), " and ", *c.shape(b_input), " do not broadcast"});
  }
  if (!a_vector) out.push_back(a[a.size() - 2]);
  if (!b_vector) out.push_back(b.back());
  c.output(0, type, std::move(out));
}

double matmul_macs(const InferContext& c) {
  const SymShape* a = c.shape(0);
  const SymShape* b = c.shape(1);
  if (!a || !b || a->empty() || b->empty() || !concrete(*a) || !concrete(*b)) return 0;
  const size_t a_batch = a->size() < 2 ? 0 : a->size() - 2, b_batch = b->size() < 2 ? 0 : b->size() - 2;
  SymShape batch;
  try {
    batch = broadcast(SymShape(a->begin(), a->begin() + static_cast<std::ptrdiff_t>(a_batch)),
                      SymShape(b->begin(), b->begin() + static_cast<std::ptrdiff_t>(b_batch)));
  } catch (const Error&) {
    return 0;
  }
  double macs = static_cast<double>(a->back().value());
  for (const Dim& d : batch) macs *= static_cast<double>(d.value());
  if (a->size() > 1) macs *= static_cast<double>((*a)[a->size() - 2].value());
  if (b->size() > 1) macs *= static_cast<double>(b->back().value());
  return macs;
}

int64_t matmul_columns(const Shape& b) { return b.size() < 2 ? 1 : b.back(); }

Product matmul_product(const Shape& a_dims, const Shape& b_dims) {
  Shape a = a_dims, b = b_dims;
  if (a.size() == 1) a.insert(a.begin(), 1);
  if (b.size() == 1) b.push_back(1);
  const int64_t m = a[a.size() - 2], k = a.back(), n = b.back();
  const Shape a_batch(a.begin(), a.end() - 2), b_batch(b.begin(), b.end() - 2);
  const Shape batch = broadcast(a_batch, b_batch);
  const int64_t count = element_count(batch), b_count = element_count(b_batch);

  Product product;
  product.channel_axis = b_dims.size() < 2 ? -1 : static_cast<int>(b_dims.size()) - 1;
  for (int64_t i = 0; i < b_count; ++i) {
    ProductWeights w;
    w.layout = kernels::WeightLayout::matrix(int_of(k), int_of(n));
    w.offset = static_cast<std::ptrdiff_t>(i * k * n);
    product.weights.push_back(w);
  }
  const auto add = [&](int64_t rows, int64_t a_index, int64_t b_index, int64_t y_index) {
    ProductPart part;
    part.rows = int_of(rows);
    part.weights = int_of(b_index);
    part.input_offset = static_cast<std::ptrdiff_t>(a_index * m * k);
    part.row_stride = static_cast<std::ptrdiff_t>(k);
    part.output_offset = static_cast<std::ptrdiff_t>(y_index * m * n);
    part.output_rows.stride = static_cast<std::ptrdiff_t>(n);
    product.parts.push_back(part);
  };
  if (count == 0) return product;
  if (b_count == 1) {
    add(count * m, 0, 0, 0);  // then all of the batch is a's
    return product;
  }
  for (int64_t i = 0; i < count; ++i) {
    // The place in a batch with dimensions of 1 where the other has more.
    const auto place = [&](const Shape& dims) {
      int64_t rest = i, index = 0, step = 1;
      for (size_t d = 0; d < batch.size(); ++d) {  // from the last dimension backwards
        const int64_t at = rest % batch[batch.size() - 1 - d];
        rest /= batch[batch.size() - 1 - d];
        if (d >= dims.size()) continue;
        const int64_t size = dims[dims.size() - 1 - d];
        if (size != 1) index += at * step;
        step *= size;
      }
      return index;
    };
    add(m, place(a_batch), place(b_batch), i);
  }
  return product;
}

namespace {

void infer(InferContext& c) { infer_matmul(c, 0, 1, type_of_product(c)); }

Kernel prepare(PrepareContext& c) {
  return any_product(c, matmul_product(c.dims(0), c.dims(1)), int_of(matmul_columns(c.dims(1))));
}

bool integer(const PrepareContext& c) {
  const int rank = static_cast<int>(c.dims(1).size());
  return has_quantized_product(c, {.channel_axis = rank < 2 ? -1 : rank - 1});
}

// ---- operator formats

bool fold(Fold& f) {
  Graph& g = f.graph;
  if (f.inputs.size() < 2 || !f.inputs[1]) return false;
  const QuantizedEdge& b = *f.inputs[1];
  if (!f.inputs[0]) return fold_to_nbits(f, b, false, kNoValue) || fold_transposed_table(f, b);
  const QuantizedEdge& a = *f.inputs[0];
  const auto& b_shape = g[b.quantized].shape;
  if (!is_8_bit_value(g, a.quantized) || !is_8_bit_value(g, b.quantized) || !is_single(g, a.scale) ||
      !b_shape) {
    return false;
  }
  const int rank = static_cast<int>(b_shape->size());
  if (rank < 2 || !fits_axis(g, b, rank - 1, rank) || (!is_single(g, b.scale) && rank != 2)) return false;
  if (f.output) {
    if (a.dynamic || b.dynamic || !is_single(g, f.output->scale)) return false;
    // ONNX Runtime has kernels of these types: uint8 with either, int8 with itself.
    const DType type = g[a.quantized].dtype;
    if (g[f.output->quantized].dtype != type ||
        (type == DType::kInt8 && g[b.quantized].dtype != DType::kInt8))
      return false;
    f.nodes.push_back(
        folded_node(f.node.name, "QLinearMatMul", "",
                    {a.quantized, a.scale, zero_point_or_zeros(g, a), b.quantized, b.scale,
                     zero_point_or_zeros(g, b), f.output->scale, zero_point_or_zeros(g, *f.output)},
                    f.output->quantized));
    return true;
  }
  if (!a.dynamic) return false;
  const ValueId sums = f.add(
      "MatMulInteger", {a.quantized, b.quantized, zero_point_or_zeros(g, a), zero_point_or_zeros(g, b)});
  fold_dynamic_tail(f, sums, a.scale, b.scale, kNoValue);
  return true;
}

// ---- gradient

ValueId transposed(Gradient& g, ValueId v) {
  std::vector<int64_t> perm(static_cast<size_t>(g.rank_of(v)));
  for (size_t i = 0; i < perm.size(); ++i) perm[i] = static_cast<int64_t>(i);
  std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  return g.add("Transpose", {v}, {{"perm", perm}});
}

void gradient(Gradient& g) {
  const int a = g.rank(0), b = g.rank(1);
  if (a < 2 || b < 2) g.fail("products with vectors are not differentiated");
  if (b == 2) {                         // one matrix for the whole batch: all rows in one product
    const auto rows = [&](ValueId v) {  // [..., n] to [rows, n]
      const ValueId columns = g.add("Shape", {v}, {{"start", int64_t{-1}}});
      return g.add("Reshape", {v, g.add("Concat", {g.integers({-1}), columns}, {{"axis", int64_t{0}}})});
    };
    const ValueId dy = a == 2 ? g.dy() : rows(g.dy());
    if (g.wanted(0)) {
      const ValueId da = g.add("Gemm", {dy, g.in(1)}, {{"transB", int64_t{1}}});
      g.give(0, a == 2 ? da : g.reshaped_like(da, g.in(0)));
    }
    if (g.wanted(1)) {
      g.give(1, g.add("Gemm", {a == 2 ? g.in(0) : rows(g.in(0)), dy}, {{"transA", int64_t{1}}}));
    }
    return;
  }
  if (g.wanted(0)) g.give_summed(0, g.add("MatMul", {g.dy(), transposed(g, g.in(1))}));
  if (g.wanted(1)) g.give_summed(1, g.add("MatMul", {transposed(g, g.in(0)), g.dy()}));
}

// ---- rewrites

// A constant on the left: W x is the transpose of x' W', which has the weight where weights are looked for
// (packed once; quantized with one scale for each of its rows). A constant added to each row goes with it.
bool from_left(RewriteContext& r) {
  constexpr int64_t kWorth = 1024;  // elements: a smaller product takes less time than two transpositions
  const Node node = r.node();
  if (!node.is("MatMul") || node.input(1) == kNoValue) return false;
  const Tensor* w = r.graph.constant(node.inputs[0]);
  const ValueId x = node.inputs[1];
  if (!w || w->dtype() != DType::kFloat32 || w->size() < kWorth || w->dims().size() < 2) return false;
  const Value& right = r.graph[x];
  if (right.constant || right.dtype != DType::kFloat32 || !right.shape) return false;
  const Shape dims = w->dims();  // a copy: what is added to the graph moves its values
  const int64_t rows = dims[dims.size() - 2];
  const size_t rank = right.shape->size();
  const bool vector = rank == 1;
  if (rows * dims.back() != w->size() || rank == 0 || dims.size() > std::max<size_t>(rank, 2)) return false;

  const auto transpose = [&](ValueId from, size_t of_rank, const std::string& name, ValueId to) {
    std::vector<int64_t> perm(of_rank);
    for (size_t i = 0; i < of_rank; ++i) perm[i] = static_cast<int64_t>(i);
    std::swap(perm[of_rank - 1], perm[of_rank - 2]);
    Node t;
    t.name = name;
    t.op_type = "Transpose";
    t.inputs = {from};
    t.outputs = {to};
    t.attributes.emplace("perm", std::move(perm));
    return t;
  };
  const auto value = [&](const std::string& name) { return r.graph.add_value(name, DType::kFloat32); };
  const std::string name = r.graph[node.outputs[0]].name;
  const ValueId transposed_weight = value(r.graph[node.inputs[0]].name + "_transposed");
  std::vector<Node> made{transpose(node.inputs[0], dims.size(), node.name + "_weight", transposed_weight)};
  std::vector<int32_t> gone{r.at()};
  Node product = node;
  if (vector) {
    product.inputs = {x, transposed_weight};
    made.push_back(std::move(product));
    r.replace(std::move(gone), std::move(made));
    return true;
  }
  const ValueId transposed_x = value(r.graph[x].name + "_transposed");
  made.push_back(transpose(x, rank, node.name + "_input", transposed_x));
  ValueId sums = value(name + "_transposed");
  product.inputs = {transposed_x, transposed_weight};
  product.outputs = {sums};
  made.push_back(std::move(product));
  ValueId result = node.outputs[0];
  const int32_t next = r.only_consumer(result);
  if (next >= 0 && r.node(next).is("Add") && r.node(next).inputs.size() == 2) {
    const Node& add = r.node(next);
    const ValueId other = add.inputs[add.inputs[0] == result ? 1 : 0];
    const Tensor* bias = r.graph.constant(other);
    const bool column = bias && bias->dtype() == DType::kFloat32 && bias->dims().size() >= 2 &&
                        bias->dims().size() <= rank && bias->dims()[bias->dims().size() - 2] == rows &&
                        bias->size() == rows;
    if (column) {
      Node moved = add;
      const ValueId row = r.graph.add_constant(r.graph[other].name + "_row", bias->reshaped({rows}));
      const ValueId added = value(r.graph[add.outputs[0]].name + "_transposed");
      moved.inputs = {sums, row};
      moved.outputs = {added};
      result = add.outputs[0];
      sums = added;
      made.push_back(std::move(moved));
      gone.push_back(next);
    }
  }
  made.push_back(transpose(sums, rank, node.name + "_output", result));
  r.replace(std::move(gone), std::move(made));
  return true;
}

const RegisterRewrite kFromLeft({.name = "MatMul with its weight on the left", .apply = from_left});

constexpr OpDef kMatMul = {
    .name = "MatMul",
    .inputs = "A B",
    .opsets = "7F 9iIlL 13b",
    .infer = infer,
    .prepare = prepare,
    .integer = integer,
    .fuses_clamp = true,
    .macs = matmul_macs,
    .quant = {.kind = QuantRule::Kind::kProduct,
              .weight = 1,
              .channel_axis = [](const Node&, int rank) { return rank < 2 ? -1 : rank - 1; },
              .block_axis = [](const Node&, int rank) { return rank < 2 ? -1 : rank - 2; },
              .input_axis = [](const Node&, int rank) { return rank < 2 ? -1 : rank - 2; }},
    .fold = fold,
    .gradient = gradient,
};
const RegisterOps kRegistered({&kMatMul});

}  // namespace
}  // namespace zp
