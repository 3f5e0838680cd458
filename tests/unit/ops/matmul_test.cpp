#include <algorithm>
#include <cmath>

#include "gemm_node.h"

namespace zp::test {
namespace {

// Batches by numpy's rules, by the definition.
std::vector<double> reference(const std::vector<double>& a, const Shape& a_dims, const std::vector<double>& b,
                              const Shape& b_dims) {
  Shape ad = a_dims, bd = b_dims;
  if (ad.size() == 1) ad.insert(ad.begin(), 1);
  if (bd.size() == 1) bd.push_back(1);
  while (ad.size() < bd.size()) ad.insert(ad.begin(), 1);
  while (bd.size() < ad.size()) bd.insert(bd.begin(), 1);
  const size_t rank = ad.size();
  const int64_t m = ad[rank - 2], k = ad[rank - 1], n = bd[rank - 1];
  std::vector<double> y;
  Shape index(rank - 2, 0);
  for (;;) {
    int64_t ai = 0, bi = 0;
    for (size_t d = 0; d + 2 < rank; ++d) {
      ai = ai * ad[d] + (ad[d] == 1 ? 0 : index[d]);
      bi = bi * bd[d] + (bd[d] == 1 ? 0 : index[d]);
    }
    for (int64_t r = 0; r < m; ++r)
      for (int64_t c = 0; c < n; ++c) {
        double sum = 0;
        for (int64_t i = 0; i < k; ++i)
          sum += a[static_cast<size_t>((ai * m + r) * k + i)] * b[static_cast<size_t>((bi * k + i) * n + c)];
        y.push_back(sum);
      }
    size_t d = rank - 2;
    while (d > 0) {
      --d;
      if (++index[d] < std::max(ad[d], bd[d])) break;
      index[d] = 0;
      if (d == 0) return y;
    }
    if (rank == 2) return y;
  }
}

Node matmul() {
  Node n;
  n.op_type = "MatMul";
  return n;
}

void check(const Shape& a, const Shape& b, const Shape& out) {
  for (const bool constant : {true, false}) {
    for (const int threads : {1, 4}) {
      NodeCase n{.node = matmul(),
                 .inputs = {{random_floats(a, 1)}, {random_floats(b, 2), constant}},
                 .threads = threads};
      const Tensor y = run_node(n);
      ASSERT_EQ(y.dims(), out);
      expect_near(y, reference(reals(n.inputs[0]), a, reals(n.inputs[1]), b), 1e-5);
    }
  }
}

TEST(MatMul, Matrices) { check({17, 31}, {31, 21}, {17, 21}); }
TEST(MatMul, Vectors) {
  check({31}, {31, 21}, {21});
  check({17, 31}, {31}, {17});
  check({31}, {31}, {});
  check({2, 3, 31}, {31}, {2, 3});
}
TEST(MatMul, OneMatrixForABatch) { check({2, 3, 5, 7}, {7, 9}, {2, 3, 5, 9}); }
TEST(MatMul, BatchesBroadcast) {
  check({2, 1, 5, 7}, {3, 7, 9}, {2, 3, 5, 9});
  check({2, 3, 5, 7}, {2, 3, 7, 9}, {2, 3, 5, 9});
  check({4, 7}, {5, 7, 3}, {5, 4, 3});
  check({3, 4, 7}, {1, 1, 7, 3}, {1, 3, 4, 3});
}
TEST(MatMul, NothingToSum) {
  NodeCase n{.node = matmul(),
             .inputs = {{Tensor(DType::kFloat32, {2, 0})}, {Tensor(DType::kFloat32, {0, 3})}}};
  expect_near(run_node(n), std::vector<double>(6, 0.0), 0);
}
TEST(MatMul, Empty) {
  NodeCase n{.node = matmul(),
             .inputs = {{Tensor(DType::kFloat32, {0, 4})}, {random_floats({4, 3}, 1), true}}};
  EXPECT_EQ(run_node(n).dims(), (Shape{0, 3}));
}
TEST(MatMul, Contradictions) {
  EXPECT_THROW(
      run_node({.node = matmul(), .inputs = {{random_floats({2, 3}, 1)}, {random_floats({4, 3}, 1)}}}),
      Error);
  EXPECT_THROW(
      run_node({.node = matmul(), .inputs = {{random_floats({2, 2, 3}, 1)}, {random_floats({3, 3, 3}, 1)}}}),
      Error);
}

// ---- Gemm

struct GemmCase {
  int64_t m = 7, k = 13, n = 19;
  bool ta = false, tb = false;
  float alpha = 1, beta = 1;
  std::optional<Shape> c = {};
};

void check(const GemmCase& g) {
  for (const bool constant : {true, false}) {
    for (const int threads : {1, 4}) {
      Node node;
      node.op_type = "Gemm";
      node.attributes["transA"] = int64_t{g.ta};
      node.attributes["transB"] = int64_t{g.tb};
      node.attributes["alpha"] = g.alpha;
      node.attributes["beta"] = g.beta;
      NodeCase n{.node = node, .inputs = {}, .threads = threads};
      n.inputs.push_back({random_floats(g.ta ? Shape{g.k, g.m} : Shape{g.m, g.k}, 1)});
      n.inputs.push_back({random_floats(g.tb ? Shape{g.n, g.k} : Shape{g.k, g.n}, 2), constant});
      if (g.c) n.inputs.push_back({random_floats(*g.c, 3), constant});
      const std::vector<double> a = reals(n.inputs[0]), b = reals(n.inputs[1]);
      const std::vector<double> c = g.c ? reals(n.inputs[2]) : std::vector<double>{};
      std::vector<double> want;
      for (int64_t r = 0; r < g.m; ++r)
        for (int64_t col = 0; col < g.n; ++col) {
          double sum = 0;
          for (int64_t i = 0; i < g.k; ++i)
            sum += a[static_cast<size_t>(g.ta ? i * g.m + r : r * g.k + i)] *
                   b[static_cast<size_t>(g.tb ? col * g.k + i : i * g.n + col)];
          sum *= static_cast<double>(g.alpha);
          if (g.c) {
            const int64_t rows = g.c->size() < 2 ? 1 : (*g.c)[0], columns = g.c->empty() ? 1 : g.c->back();
            sum += static_cast<double>(g.beta) *
                   c[static_cast<size_t>((rows > 1 ? r * columns : 0) + (columns > 1 ? col : 0))];
          }
          want.push_back(sum);
        }
      const Tensor y = run_node(n);
      ASSERT_EQ(y.dims(), (Shape{g.m, g.n}));
      expect_near(y, want, 1e-5);
    }
  }
}

TEST(Gemm, Turned) {
  for (const bool ta : {false, true})
    for (const bool tb : {false, true}) check({.ta = ta, .tb = tb});
}
TEST(Gemm, EveryFormOfC) {
  for (const Shape& c :
       {Shape{}, Shape{1}, Shape{19}, Shape{1, 19}, Shape{7, 1}, Shape{7, 19}, Shape{1, 1}}) {
    check({.c = c});
    check({.tb = true, .alpha = 0.5F, .beta = -2, .c = c});
    check({.alpha = 2, .beta = 0, .c = c});
  }
}
TEST(Gemm, OneColumn) {
  check({.n = 1, .c = Shape{7, 1}});
  check({.n = 1, .c = Shape{1}});
}

// ---- integers

std::vector<double> centred(const NodeInput& input, int axis) {
  NodeInput unit = input;
  const std::vector<float> ones(static_cast<size_t>(input.quant->scale.size()), 1.0F);
  unit.quant->scale = Tensor::of<float>(input.quant->scale.dims(), ones);
  return reals(unit, axis);
}

NodeInput bytes(DType type, const Shape& dims, uint32_t seed, std::vector<float> scales,
                std::vector<int32_t> points, int axis, bool constant) {
  return {random_bytes(type, dims, seed), constant, edge(type, std::move(scales), std::move(points), axis)};
}

std::vector<float> column_scales(int64_t n) {
  std::vector<float> scales;
  for (int64_t i = 0; i < n; ++i) scales.push_back(0.004F + 0.001F * static_cast<float>(i));
  return scales;
}

void expect_floats(const NodeCase& n, const std::vector<double>& sums, const std::vector<float>& scales) {
  ASSERT_TRUE(has_integer_kernel(n));
  const Tensor got = run_node(n);
  ASSERT_EQ(static_cast<size_t>(got.size()), sums.size());
  for (size_t i = 0; i < sums.size(); ++i)
    ASSERT_EQ(got.data<float>()[i], static_cast<float>(sums[i]) * scales[i % scales.size()]) << i;
}

void expect_quantized(NodeCase n, const std::vector<double>& sums, const std::vector<float>& scales) {
  const EdgeQuant y = edge(DType::kInt8, {0.9F}, {5});
  n.out_quant = y;
  ASSERT_TRUE(has_integer_kernel(n));
  const Tensor got = run_node(n);
  for (size_t i = 0; i < sums.size(); ++i) {
    const float q = std::nearbyint(static_cast<float>(sums[i]) * (scales[i % scales.size()] / 0.9F)) + 5;
    ASSERT_EQ(static_cast<float>(got.integer_at(static_cast<int64_t>(i))), std::clamp(q, -128.0F, 127.0F))
        << i;
  }
}

TEST(MatMulQuantized, ConstantWeights) {
  const Shape a{2, 9, 37}, b{37, 21};
  for (const DType at : {DType::kUint8, DType::kInt8}) {
    for (const DType bt : {DType::kUint8, DType::kInt8}) {
      for (const bool per_column : {false, true}) {
        const std::vector<float> scales = per_column ? column_scales(21) : std::vector<float>{0.01F};
        NodeCase n{.node = matmul(), .inputs = {bytes(at, a, 1, {0.03F}, {7}, 1, false)}, .threads = 2};
        n.inputs.push_back(bytes(bt, b, 2, scales, std::vector<int32_t>(scales.size(), 3), 1, true));
        const std::vector<double> sums = reference(centred(n.inputs[0], 1), a, centred(n.inputs[1], 1), b);
        std::vector<float> products;
        for (const float s : scales) products.push_back(0.03F * s);
        expect_floats(n, sums, products);
        expect_quantized(n, sums, products);
      }
    }
  }
}

TEST(MatMulQuantized, WeightsOfFourBits) {
  const Shape a{5, 33}, b{33, 10};
  NodeCase n{.node = matmul(), .inputs = {bytes(DType::kUint8, a, 1, {0.03F}, {7}, 1, false)}};
  n.inputs.push_back({random_bytes(DType::kInt4, b, 2), true, edge(DType::kInt4, column_scales(10))});
  const std::vector<double> sums = reference(centred(n.inputs[0], 1), a, centred(n.inputs[1], 1), b);
  std::vector<float> products;
  for (const float s : column_scales(10)) products.push_back(0.03F * s);
  expect_floats(n, sums, products);
}

// The products of attention: both matrices come with the run.
TEST(MatMulQuantized, BothFromTheRun) {
  const Shape a{2, 3, 5, 16}, b{2, 3, 16, 9};
  NodeCase n{
      .node = matmul(), .inputs = {bytes(DType::kUint8, a, 1, {0.03F}, {117}, 1, false)}, .threads = 3};
  n.inputs.push_back(bytes(DType::kUint8, b, 2, {0.02F}, {140}, 1, false));
  const std::vector<double> sums = reference(centred(n.inputs[0], 1), a, centred(n.inputs[1], 1), b);
  expect_floats(n, sums, {0.03F * 0.02F});
  expect_quantized(n, sums, {0.03F * 0.02F});

  n.extra = {Tensor::scalar(0.03F), Tensor::scalar(uint8_t{117}), Tensor::scalar(0.02F),
             Tensor::scalar(uint8_t{140})};
  for (int i = 0; i < 2; ++i) {
    EdgeQuant dynamic;
    dynamic.dtype = DType::kUint8;
    dynamic.scale_slot = 2 + 2 * i;
    dynamic.zero_point_slot = 3 + 2 * i;
    n.inputs[static_cast<size_t>(i)].quant = dynamic;
  }
  expect_floats(n, sums, {0.03F * 0.02F});
  n.out_quant = edge(DType::kInt8, {0.9F});
  EXPECT_FALSE(has_integer_kernel(n));
}

TEST(MatMulQuantized, WeightOnly) {
  const Shape a{2, 3, 40}, b{40, 11};
  NodeCase n{.node = matmul(), .inputs = {{random_floats(a, 1)}}, .threads = 2};
  n.inputs.push_back(bytes(DType::kInt8, b, 2, column_scales(11), {}, 1, true));
  ASSERT_TRUE(has_integer_kernel(n));
  expect_near(run_node(n), reference(reals(n.inputs[0]), a, reals(n.inputs[1], 1), b), 2e-4);
  n.inputs[1] = bytes(DType::kUint8, b, 2, {0.01F}, {}, 1, true);  // no zero point: 0, not 128
  expect_near(run_node(n), reference(reals(n.inputs[0]), a, reals(n.inputs[1], 1), b), 2e-4);
}

TEST(MatMulQuantized, WeightOnlyInBlocks) {
  const Shape a{4, 70}, b{70, 13};
  for (const DType type : {DType::kInt4, DType::kUint4, DType::kInt8}) {
    for (const int64_t block : {int64_t{32}, int64_t{128}}) {
      const int64_t blocks = (70 + block - 1) / block;
      NodeCase n{.node = matmul(), .inputs = {{random_floats(a, 1)}}, .threads = 2};
      EdgeQuant e;
      e.dtype = type;
      e.axis = 0;
      e.block_size = block;
      e.scale = random_floats({blocks, 13}, 3);
      if (type == DType::kUint4) e.zero_point = random_bytes(type, {blocks, 13}, 4);
      n.inputs.push_back({random_bytes(type, b, 2), true, e});
      ASSERT_TRUE(has_integer_kernel(n));
      std::vector<double> w;
      const std::vector<int32_t> points = e.zero_points();
      for (int64_t k = 0; k < 70; ++k)
        for (int64_t c = 0; c < 13; ++c) {
          const auto s = static_cast<size_t>(k / block * 13 + c);
          w.push_back(static_cast<double>(n.inputs[1].tensor.integer_at(k * 13 + c) - points[s]) *
                      static_cast<double>(e.scale.data<float>()[s]));
        }
      expect_near(run_node(n), reference(reals(n.inputs[0]), a, w, b), 2e-4);
    }
  }
}

TEST(MatMulQuantized, WeightOnlyWithAnyNumberOfThreads) {
  for (const int64_t rows : {int64_t{11}, int64_t{13}, int64_t{50}}) {
    NodeCase n{.node = matmul(), .inputs = {{random_floats({rows, 96}, 1)}}};
    n.inputs.push_back(bytes(DType::kInt8, {96, 203}, 2, column_scales(203), {}, 1, true));
    const Tensor one = run_node(n);
    for (const int threads : {2, 3, 8}) {
      n.threads = threads;
      expect_same(one, run_node(n));
    }
  }
}

TEST(GemmQuantized, TurnedWithBias) {
  for (const bool tb : {false, true}) {
    const int64_t m = 7, k = 29, c = 18;
    Node node;
    node.op_type = "Gemm";
    node.attributes["transB"] = int64_t{tb};
    NodeCase n{
        .node = node, .inputs = {bytes(DType::kUint8, {m, k}, 1, {0.03F}, {7}, 1, false)}, .threads = 2};
    const int axis = tb ? 0 : 1;
    n.inputs.push_back(
        bytes(DType::kInt8, tb ? Shape{c, k} : Shape{k, c}, 2, column_scales(c), {}, axis, true));
    std::vector<float> products;
    for (const float s : column_scales(c)) products.push_back(0.03F * s);
    Tensor bias(DType::kInt32, {c});
    for (size_t i = 0; i < static_cast<size_t>(c); ++i)
      bias.mutable_data<int32_t>()[i] = static_cast<int32_t>(i) * 100 - 700;
    n.inputs.push_back({bias, true, edge(DType::kInt32, products, {}, 0)});
    const std::vector<double> a = centred(n.inputs[0], 1), b = centred(n.inputs[1], axis);
    std::vector<double> sums;
    for (int64_t r = 0; r < m; ++r)
      for (int64_t col = 0; col < c; ++col) {
        double sum = bias.mutable_data<int32_t>()[static_cast<size_t>(col)];
        for (int64_t i = 0; i < k; ++i)
          sum += a[static_cast<size_t>(r * k + i)] * b[static_cast<size_t>(tb ? col * k + i : i * c + col)];
        sums.push_back(sum);
      }
    expect_quantized(n, sums, products);
  }
}

TEST(MatMulInteger, ZeroPoints) {
  const Shape a{2, 5, 19}, b{19, 12};
  for (const bool constant : {true, false}) {
    for (const bool per_column : {true, false}) {
      NodeCase n{.node = {}, .inputs = {}, .threads = 2};
      n.node.op_type = "MatMulInteger";
      std::vector<int32_t> points(per_column ? 12 : 1, 0);
      for (size_t i = 0; i < points.size(); ++i) points[i] = 120 + static_cast<int32_t>(i);
      const NodeInput qa = bytes(DType::kUint8, a, 1, {1.0F}, {9}, 1, false);
      const NodeInput qb =
          bytes(DType::kUint8, b, 2, std::vector<float>(points.size(), 1.0F), points, 1, constant);
      n.inputs = {{qa.tensor},
                  {qb.tensor, constant},
                  {qa.quant->zero_point, constant},
                  {qb.quant->zero_point, constant}};
      const std::vector<double> sums = reference(centred(qa, 1), a, centred(qb, 1), b);
      const Tensor got = run_node(n);
      for (size_t i = 0; i < sums.size(); ++i)
        ASSERT_EQ(got.data<int32_t>()[i], static_cast<int32_t>(sums[i]));
    }
  }
}

}  // namespace
}  // namespace zp::test
