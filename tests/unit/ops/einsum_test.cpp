// Einsum, beside a loop over all values of all letters.
#include <gmock/gmock.h>

#include <map>

#include "ops/op.h"
#include "unit/ops/one_node.h"

namespace zp::test {
namespace {

using testing::HasSubstr;

struct Case {
  std::string equation;
  std::vector<Shape> shapes;
};

// The position of an element that has the letters' values; of a dimension of one element, its first.
int64_t position(const std::string& letters, const Shape& dims, const std::map<char, int64_t>& at) {
  int64_t i = 0;
  for (size_t d = 0; d < letters.size(); ++d) i = i * dims[d] + (dims[d] == 1 ? 0 : at.at(letters[d]));
  return i;
}

// `equation`: letters alone, with a result.
Tensor by_loops(const std::string& equation, const std::vector<Tensor>& inputs) {
  const size_t arrow = equation.find("->");
  std::vector<std::string> terms(1);
  for (const char ch : equation.substr(0, arrow)) {
    if (ch == ',') {
      terms.emplace_back();
    } else {
      terms.back() += ch;
    }
  }
  const std::string result = equation.substr(arrow + 2);
  std::map<char, int64_t> length, at;
  for (size_t i = 0; i < terms.size(); ++i)
    for (size_t d = 0; d < terms[i].size(); ++d)
      length[terms[i][d]] = std::max(length[terms[i][d]], inputs[i].dims()[d]);
  Shape dims;
  for (const char l : result) dims.push_back(length[l]);
  Tensor y(DType::kFloat32, dims);
  int64_t all = 1;
  for (const auto& [l, n] : length) all *= n;
  for (int64_t i = 0; i < all; ++i) {
    int64_t rest = i;
    for (const auto& [l, n] : length) {
      at[l] = rest % n;
      rest /= n;
    }
    float product = 1;
    for (size_t k = 0; k < terms.size(); ++k)
      product *= inputs[k].data<float>()[static_cast<size_t>(position(terms[k], inputs[k].dims(), at))];
    y.mutable_data<float>()[static_cast<size_t>(position(result, dims, at))] += product;
  }
  return y;
}

std::vector<Tensor> inputs_of(const Case& c) {
  std::vector<Tensor> inputs;
  for (const Shape& dims : c.shapes) inputs.push_back(ramp(dims, static_cast<float>(inputs.size() + 1)));
  return inputs;
}

OneNode einsum(const Case& c) { return {"Einsum", inputs_of(c), {{"equation", c.equation}}}; }

void expect_near(const Tensor& found, const Tensor& wanted) {
  const auto values = wanted.data<float>();
  expect_floats(found, wanted.dims(), {values.begin(), values.end()}, 1e-4f);
}

const std::vector<Case> kCases{
    {"ij,jk->ik", {{2, 3}, {3, 4}}},
    {"bij,bjk->bik", {{2, 3, 4}, {2, 4, 5}}},
    {"bqhd,bkhd->bhqk", {{2, 3, 4, 5}, {2, 6, 4, 5}}},
    {"bhqk,bkhd->bqhd", {{2, 4, 3, 6}, {2, 6, 4, 5}}},
    {"bsd,dhk->bshk", {{2, 3, 4}, {4, 5, 6}}},
    {"bshk,hkd->bsd", {{2, 3, 5, 6}, {5, 6, 4}}},
    {"bnij,bmij->bnm", {{2, 3, 4, 5}, {2, 6, 4, 5}}},
    {"nkctv,kvw->nctw", {{2, 3, 2, 2, 3}, {3, 3, 2}}},
    {"oi,bi->bo", {{3, 4}, {2, 4}}},
    {"i,j->ij", {{3}, {4}}},
    {"i,i->", {{3}, {3}}},
    {"i,i->i", {{3}, {3}}},
    {"ij->ji", {{2, 3}}},
    {"ij->ij", {{2, 3}}},
    {"ij->", {{2, 3}}},
    {"ij->j", {{2, 3}}},
    {"ii->i", {{3, 3}}},
    {"ii->", {{3, 3}}},
    {"iji->j", {{3, 2, 3}}},
    {"iii->i", {{3, 3, 3}}},
    {"bii->bi", {{2, 3, 3}}},
    {"ijij->ji", {{2, 3, 2, 3}}},
    {"ii,i->i", {{3, 3}, {3}}},
    {",ij->ij", {{}, {2, 3}}},
    {",->", {{}, {}}},
    {"ab,bc,cd->ad", {{2, 3}, {3, 4}, {4, 5}}},
    {"ab,ab,ab->ab", {{2, 3}, {2, 3}, {2, 3}}},
    {"ab,bc,cd,de->", {{2, 3}, {3, 4}, {4, 5}, {5, 2}}},
    {"a,b,c->cab", {{2}, {3}, {4}}},
    {"ij,j,k->ik", {{2, 3}, {3}, {4}}},
    {"ab,cd->dbca", {{2, 3}, {4, 5}}},
    {"abc,cba->", {{2, 3, 4}, {4, 3, 2}}},
    // Dimensions of one element broadcast.
    {"ij,kj->ik", {{1, 3}, {4, 3}}},
    {"ij,jk->ik", {{2, 1}, {3, 4}}},
    {"ij,ij->ij", {{1, 3}, {2, 3}}},
    {"ij,ij->i", {{1, 3}, {2, 1}}},
    {"ij,ij->i", {{2, 1}, {2, 1}}},
    {"ij,ij,ij->ij", {{1, 3}, {1, 1}, {2, 1}}},
};

TEST(Einsum, IsTheSumOfProducts) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.equation);
    expect_near(run(einsum(c))[0], by_loops(c.equation, inputs_of(c)));
  }
}

TEST(Einsum, OfIntegersIsExact) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.equation);
    OneNode one{"Einsum", {}, {{"equation", c.equation}}};
    std::vector<Tensor> inputs;
    for (const Shape& dims : c.shapes) {
      Tensor x(DType::kInt64, dims), same(DType::kFloat32, dims);
      for (int64_t i = 0; i < x.size(); ++i) {
        x.mutable_data<int64_t>()[static_cast<size_t>(i)] = i % 5 - 2;
        same.mutable_data<float>()[static_cast<size_t>(i)] = static_cast<float>(i % 5 - 2);
      }
      one.inputs.push_back(x);
      inputs.push_back(same);
    }
    const Tensor y = run(one)[0], wanted = by_loops(c.equation, inputs);
    ASSERT_EQ(y.dtype(), DType::kInt64);
    ASSERT_EQ(y.dims(), wanted.dims());
    for (int64_t i = 0; i < y.size(); ++i)
      EXPECT_EQ(static_cast<float>(y.integer_at(i)), wanted.data<float>()[static_cast<size_t>(i)]);
  }
}

// Lengths that only the feeds know.
TEST(Einsum, WorksWithoutKnownLengths) {
  for (const Case& c : kCases) {
    const std::vector<Tensor> inputs = inputs_of(c);
    bool ones = false;  // are known where a model means to broadcast
    for (const Shape& dims : c.shapes) ones |= std::find(dims.begin(), dims.end(), 1) != dims.end();
    if (ones) continue;
    SCOPED_TRACE(c.equation);
    GraphBuilder net;
    Node node;
    node.op_type = "Einsum";
    node.name = "product";
    std::vector<runtime::Feed> feeds;
    for (size_t i = 0; i < inputs.size(); ++i) {
      node.inputs.push_back(net.input(input_name(i), SymShape(c.shapes[i].size())));
      feeds.push_back({input_name(i), inputs[i]});
    }
    node.outputs = {net.graph().add_value("y")};
    net.output(node.outputs[0]);
    node.attributes.emplace("equation", c.equation);
    net.graph().nodes = form_in_memory(*find_op("", "Einsum"), net.graph(), std::move(node), 12);
    expect_near(runtime::Session(net.build(), {}).run(feeds)[0], by_loops(c.equation, inputs));
  }
}

TEST(Einsum, TakesAnEllipsisForBatches) {
  const Case cases[][2] = {
      {{"...ij,...jk->...ik", {{2, 3, 4}, {2, 4, 5}}}, {"bij,bjk->bik", {{2, 3, 4}, {2, 4, 5}}}},
      {{"...ij,jk->...ik", {{2, 6, 3, 4}, {4, 5}}}, {"abij,jk->abik", {{2, 6, 3, 4}, {4, 5}}}},
      {{"...ij,...jk->...ik", {{2, 1, 3, 4}, {5, 4, 6}}}, {"abij,bjk->abik", {{2, 1, 3, 4}, {5, 4, 6}}}},
      {{"...ii->...i", {{2, 3, 3}}}, {"aii->ai", {{2, 3, 3}}}},
      {{"...,...->...", {{2, 3}, {3}}}, {"ab,b->ab", {{2, 3}, {3}}}},
      {{"i...,i...->...", {{3, 2}, {3, 2}}}, {"ia,ia->a", {{3, 2}, {3, 2}}}},
      {{"a...b->b...", {{2, 3, 4}}}, {"acb->bc", {{2, 3, 4}}}},
      {{"i...->i...", {{3}}}, {"i->i", {{3}}}},
      // Three operands, of which each has other lengths of one.
      {{"...i,...i,...i->...", {{2, 1, 3}, {4, 3}, {1, 4, 3}}},
       {"abi,bi,abi->ab", {{2, 1, 3}, {4, 3}, {1, 4, 3}}}},
      // Without a result: the ellipsis, then what stands once, in order.
      {{"...i,ik", {{2, 3}, {3, 4}}}, {"ai,ik->ak", {{2, 3}, {3, 4}}}},
      {{"jk,ij", {{3, 4}, {2, 3}}}, {"jk,ij->ik", {{3, 4}, {2, 3}}}},
      {{"ba", {{2, 3}}}, {"ba->ab", {{2, 3}}}},
      {{"ii", {{3, 3}}}, {"ii->", {{3, 3}}}},
      {{" i j , j k -> i k ", {{2, 3}, {3, 4}}}, {"ij,jk->ik", {{2, 3}, {3, 4}}}},
  };
  for (const auto& [c, plain] : cases) {
    SCOPED_TRACE(c.equation);
    expect_near(run(einsum(c))[0], by_loops(plain.equation, inputs_of(plain)));
  }
}

TEST(Einsum, OfNothingIsEmptyOrZero) {
  expect_floats(run(einsum({"ij,jk->ik", {{0, 3}, {3, 4}}}))[0], {0, 4}, {});
  expect_floats(run(einsum({"ij,jk->ik", {{2, 0}, {0, 2}}}))[0], {2, 2}, {0, 0, 0, 0});
  expect_floats(run(einsum({"bnij,bmij->bnm", {{0, 3, 4, 5}, {0, 6, 4, 5}}}))[0], {0, 3, 6}, {});
  expect_floats(run(einsum({"ii->i", {{0, 0}}}))[0], {0}, {});
}

// So that its weights are those of a product that can be quantized.
TEST(Einsum, MultipliesWithAConstantFromTheRight) {
  for (const size_t constant : {size_t{0}, size_t{1}}) {
    GraphBuilder net;
    Node node;
    node.op_type = "Einsum";
    node.name = "product";
    node.inputs = {net.input("x", {2, 3, 4}), net.constant("w", ramp({4, 5}))};
    node.outputs = {net.graph().add_value("y")};
    node.attributes.emplace("equation", std::string(constant == 1 ? "bsd,de->bse" : "de,bsd->bse"));
    if (constant == 0) std::swap(node.inputs[0], node.inputs[1]);
    const std::vector<Node> nodes = form_in_memory(*find_op("", "Einsum"), net.graph(), std::move(node), 12);
    ASSERT_EQ(nodes.size(), 1u);
    EXPECT_EQ(nodes[0].op_type, "MatMul");
    EXPECT_TRUE(net.graph().constant(nodes[0].inputs[1]));
  }
}

TEST(Einsum, SaysWhatIsWrongWithAnEquation) {
  const std::pair<Case, const char*> cases[] = {
      {{"ij,jk->il", {{2, 3}, {3, 4}}}, "no operand has"},
      {{"ij->ii", {{2, 3}}}, "twice"},
      {{"ij", {{2}}}, "2 dimensions"},
      {{"ij", {{2, 3, 4}}}, "2 dimensions"},
      {{"ij,jk->ik", {{2, 3}}}, "2 operands"},
      {{"i.j->i", {{2, 3}}}, "no list of dimensions"},
      {{"i1->i", {{3, 4}}}, "no list of dimensions"},
      {{"......->", {{2, 3}}}, "no list of dimensions"},
      {{"ij>ji", {{2, 3}}}, "no list of dimensions"},
      {{"i...->i", {{2, 3}}}, "no ellipsis"},
      {{"ij,jk->ik", {{2, 3}, {4, 4}}}, "have one label"},
      {{"ii->i", {{3, 4}}}, "have one label"},
      {{"ii->i", {{1, 4}}}, "have one label"},
  };
  for (const auto& [c, words] : cases) {
    SCOPED_TRACE(c.equation);
    const auto error = error_of(einsum(c), Given::kFed);
    ASSERT_TRUE(error);
    EXPECT_THAT(error->what(), HasSubstr(words));
  }
}

}  // namespace
}  // namespace zp::test
