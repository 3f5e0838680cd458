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

}  // namespace
}  // namespace zp::test
