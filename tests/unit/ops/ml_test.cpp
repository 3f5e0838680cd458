// Operators of ai.onnx.ml. Expected numbers are ONNX Runtime's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "core/error.h"
#include "unit/ops/one_node.h"

namespace zp::test {
namespace {

constexpr std::string_view kMl = "ai.onnx.ml";
using Strings = std::vector<std::string>;
using Floats = std::vector<float>;
using Longs = std::vector<int64_t>;

OneNode ml(std::string_view op, Tensor x, GraphBuilder::Attributes attributes, size_t outputs = 1) {
  return {.op = std::string(op),
          .inputs = {std::move(x)},
          .attributes = std::move(attributes),
          .outputs = outputs,
          .version = 5,
          .domain = std::string(kMl)};
}

const Tensor kRows = floats({3, 3}, {1, 2, -4, 0, 0, 0, -1, -2, -3});

TEST(Ml, Normalizes) {
  const auto normalized = [](const char* norm) {
    return run(ml("Normalizer", kRows, {{"norm", std::string(norm)}}))[0];
  };
  expect_floats(normalized("MAX"), {3, 3}, {0.5f, 1, -2, 0, 0, 0, 1, 2, 3}, 1e-6f);
  expect_floats(normalized("L1"), {3, 3},
                {0.14285715f, 0.2857143f, -0.5714286f, 0, 0, 0, -0.16666667f, -0.33333334f, -0.5f}, 1e-6f);
  expect_floats(normalized("L2"), {3, 3},
                {0.2182179f, 0.4364358f, -0.8728716f, 0, 0, 0, -0.26726124f, -0.5345225f, -0.80178374f},
                1e-6f);
}

TEST(Ml, ScalesEachFeatureOrAll) {
  expect_floats(run(ml("Scaler", kRows, {{"offset", Floats{1, 2, 3}}, {"scale", Floats{2, 2, 2}}}))[0],
                {3, 3}, {0, 0, -14, -2, -4, -6, -4, -8, -12});
  expect_floats(run(ml("Scaler", longs({1, 2}, {3, 5}), {{"offset", Floats{1}}, {"scale", Floats{2}}}))[0],
                {1, 2}, {4, 8});
}

TEST(Ml, Binarizes) {
  expect_floats(run(ml("Binarizer", kRows, {{"threshold", 0.5f}}))[0], {3, 3}, {1, 1, 0, 0, 0, 0, 0, 0, 0});
  EXPECT_EQ(run(ml("Binarizer", longs({3}, {0, 1, 2}), {}))[0].integers(), (Longs{0, 1, 1}));
}

TEST(Ml, ExtractsColumns) {
  OneNode one = ml("ArrayFeatureExtractor", kRows, {});
  one.inputs.push_back(longs({1, 2}, {2, 0}));
  expect_floats(run(one)[0], {3, 2}, {-4, 1, 0, 0, -3, -1});
  one.inputs[0] = floats({3}, {5, 6, 7});
  expect_floats(run(one)[0], {1, 2}, {7, 5});
  one.inputs[1] = longs({1}, {3});
  EXPECT_TRUE(error_of(one, Given::kFed));
}

TEST(Ml, LinearModels) {
  const Floats one{.5f, .2f, .1f}, two{.5f, .2f, .1f, 1, 2, 3};
  expect_floats(run(ml("LinearRegressor", kRows, {{"coefficients", one}, {"intercepts", Floats{.1f}}}))[0],
                {3, 1}, {.6f, .1f, -1.1f}, 1e-6f);
  const auto classify = [](const Floats& coefficients, const Floats& intercepts, const char* transform) {
    return run(ml("LinearClassifier", kRows,
                  {{"coefficients", coefficients},
                   {"intercepts", intercepts},
                   {"classlabels_ints", Longs{3, 7}},
                   {"post_transform", std::string(transform)}},
                  2));
  };
  auto y = classify(one, {.1f}, "NONE");
  EXPECT_EQ(y[0].integers(), (Longs{7, 7, 3}));
  expect_floats(y[1], {3, 2}, {.4f, .6f, .9f, .1f, 2.1f, -1.1f}, 1e-6f);
  y = classify(one, {.1f}, "LOGISTIC");
  expect_floats(y[1], {3, 2}, {.3543437f, .6456563f, .47502083f, .5249792f, .7502601f, .24973989f}, 1e-5f);
  y = classify(two, {.1f, .2f}, "SOFTMAX");
  EXPECT_EQ(y[0].integers(), (Longs{3, 7, 3}));
  expect_floats(y[1], {3, 2}, {.99938905f, 6.1087921e-4f, .47502083f, .52497917f, .9999969f, 3.0511137e-6f},
                1e-5f);
}

// ONNX Runtime reads as many coefficients of each class as X has columns, the next class's right behind them:
// its own example, logreg_iris.onnx, has four for each and two columns.
TEST(Ml, ColumnsSayHowManyCoefficientsCount) {
  const OneNode one = ml("LinearClassifier", floats({3, 2}, {1, 2, 3, 0.5f, -1, 0.2f}),
                         {{"coefficients", Floats{1, 2, -3, 1, 0.5f, -1, 7, 7}},
                          {"intercepts", Floats{0.5f, -0.5f}},
                          {"classlabels_ints", Longs{3, 7}}},
                         2);
  const auto y = run(one);
  EXPECT_EQ(y[0].integers(), (Longs{3, 3, 7}));
  expect_floats(y[1], {3, 2}, {5.5f, -1.5f, 4.5f, -9, -0.1f, 2.7f}, 1e-6f);
  const OneNode few = ml("LinearRegressor", kRows, {{"coefficients", Floats{1, 2}}});
  EXPECT_THAT(error_of(few, Given::kConstant)->what(), testing::HasSubstr("too few for 3 columns"));
}

// Six numbers in rows of two are not two rows of three.
TEST(Ml, RowsAreNotCutAnew) {
  const Floats ones{1, 1, 1};
  expect_floats(run(ml("LinearRegressor", floats({3, 2}, {1, 2, 3, 4, 5, 6}), {{"coefficients", ones}}))[0],
                {3, 1}, {3, 7, 11});
  expect_floats(run(ml("LinearRegressor", floats({3}, {1, 2, 3}), {{"coefficients", ones}}))[0], {1, 1}, {6});
  GraphBuilder net;  // which says nothing of the columns
  Node node;
  node.op_type = "LinearRegressor";
  node.domain = kMl;
  node.inputs = {net.input("x", {Dim::symbol("rows"), Dim::symbol("columns")})};
  node.outputs = {net.graph().add_value("y")};
  node.attributes.emplace("coefficients", ones);
  net.output(node.outputs[0]);
  net.graph().nodes = form_in_memory(*find_op(kMl, node.op_type), net.graph(), std::move(node), 5);
  runtime::Session session(net.build(), {.threads = 1});
  expect_floats(session.run({{"x", floats({1, 3}, {1, 2, 3})}})[0], {1, 1}, {6});
  EXPECT_THROW(session.run({{"x", floats({3, 2}, {1, 2, 3, 4, 5, 6})}}), Error);
}

TEST(Ml, ClassesMayHaveNames) {
  const auto y = run(ml("LinearClassifier", floats({2, 1}, {1, -1}),
                        {{"coefficients", Floats{1, -1}},
                         {"intercepts", Floats{0, 0}},
                         {"classlabels_strings", Strings{"plus", "minus"}}},
                        2));
  EXPECT_EQ(y[0].strings(), (Strings{"plus", "minus"}));
}

TEST(Ml, EncodesLabels) {
  const Tensor names = Tensor::of_strings({2, 2}, {"a", "b", "c", "a"});
  const Tensor numbers = run(ml("LabelEncoder", names,
                                {{"keys_strings", Strings{"a", "b"}},
                                 {"values_int64s", Longs{10, 20}},
                                 {"default_int64", int64_t{7}}}))[0];
  EXPECT_EQ(numbers.dims(), (Shape{2, 2}));
  EXPECT_EQ(numbers.integers(), (Longs{10, 20, 7, 10}));
  EXPECT_EQ(run(ml("LabelEncoder", longs({3}, {10, 20, 30}),
                   {{"keys_int64s", Longs{10, 20}}, {"values_strings", Strings{"a", "b"}}}))[0]
                .strings(),
            (Strings{"a", "b", "_Unused"}));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(run(ml("LabelEncoder", floats({3}, {nan, 0, 1}),
                   {{"keys_floats", Floats{nan, -0.0f}}, {"values_int64s", Longs{1, 2}}}))[0]
                .integers(),
            (Longs{1, 2, -1}));
  EXPECT_TRUE(
      error_of(ml("LabelEncoder", names, {{"keys_strings", Strings{"a", "b"}}, {"values_int64s", Longs{1}}}),
               Given::kFed));
}

GraphBuilder::Attributes two_trees(GraphBuilder::Attributes more) {
  GraphBuilder::Attributes all{
      {"nodes_treeids", Longs{0, 0, 0, 1, 1, 1}},
      {"nodes_nodeids", Longs{0, 1, 2, 0, 1, 2}},
      {"nodes_featureids", Longs{0, 0, 0, 1, 0, 0}},
      {"nodes_modes", Strings{"BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_GT", "LEAF", "LEAF"}},
      {"nodes_values", Floats{2, 0, 0, 2, 0, 0}},
      {"nodes_truenodeids", Longs{1, 0, 0, 1, 0, 0}},
      {"nodes_falsenodeids", Longs{2, 0, 0, 2, 0, 0}},
      {"nodes_missing_value_tracks_true", Longs{0, 0, 0, 1, 0, 0}},
      {"target_treeids", Longs{0, 0, 0, 1, 1}},
      {"target_nodeids", Longs{1, 2, 2, 1, 2}},
      {"target_ids", Longs{0, 0, 1, 1, 0}},
      {"target_weights", Floats{1, 2, 3, 4, 5}},
      {"n_targets", int64_t{2}}};
  // The first of a name counts.
  more.insert(more.end(), all.begin(), all.end());
  return more;
}

TEST(Ml, RegressesWithTrees) {
  const Tensor x = floats({3, 2}, {1, 5, 3, 1, -1, std::numeric_limits<float>::quiet_NaN()});
  const auto predicted = [&](GraphBuilder::Attributes more) {
    return run(ml("TreeEnsembleRegressor", x, two_trees(std::move(more))))[0];
  };
  const auto by = [](const char* how) {
    return GraphBuilder::Attributes{{"aggregate_function", std::string(how)},
                                    {"base_values", Floats{10, 20}}};
  };
  expect_floats(predicted({}), {3, 2}, {1, 4, 7, 3, 1, 4});
  expect_floats(predicted(by("AVERAGE")), {3, 2}, {10.5f, 22, 13.5f, 21.5f, 10.5f, 22});
  expect_floats(predicted(by("MIN")), {3, 2}, {11, 24, 12, 23, 11, 24});
  expect_floats(predicted(by("MAX")), {3, 2}, {11, 24, 15, 23, 11, 24});
  expect_floats(predicted({{"post_transform", std::string("SOFTMAX")}}), {3, 2},
                {.04742587f, .95257413f, .98201376f, .01798621f, .04742587f, .95257413f}, 1e-6f);
}

TEST(Ml, TreesThatAreNoneAreRefused) {
  const Tensor x = floats({1, 2}, {1, 5});
  const auto refused = [&](std::string_view key, Attribute value) {
    GraphBuilder::Attributes more;
    more.emplace_back(key, std::move(value));
    const auto error = error_of(ml("TreeEnsembleRegressor", x, two_trees(std::move(more))), Given::kFed);
    return error.has_value() && error->code() != ErrorCode::kInternal;
  };
  EXPECT_TRUE(refused("nodes_truenodeids", Longs{0, 0, 0, 1, 0, 0}));  // below itself
  EXPECT_TRUE(refused("nodes_truenodeids", Longs{9, 0, 0, 1, 0, 0}));
  EXPECT_TRUE(refused("nodes_featureids", Longs{2, 0, 0, 1, 0, 0}));
  EXPECT_TRUE(refused("nodes_featureids", Longs{0, 0}));
  EXPECT_TRUE(refused("target_ids", Longs{0, 0, 2, 1, 0}));
  EXPECT_TRUE(refused("nodes_modes", Strings{"BRANCH_LEQ", "LEAF", "LEAF", "SOMETHING", "LEAF", "LEAF"}));
}

// Two trees that vote for classes. ONNX Runtime 1.32 made the numbers.
std::vector<Tensor> votes(Tensor x, Attribute labels, Longs ids, Floats weights,
                          GraphBuilder::Attributes more = {}) {
  const bool named = std::holds_alternative<Strings>(labels);
  more.emplace_back(named ? "classlabels_strings" : "classlabels_int64s", std::move(labels));
  more.emplace_back("class_treeids", Longs{0, 0, 0, 1, 1});
  more.emplace_back("class_nodeids", Longs{1, 2, 2, 1, 2});
  more.emplace_back("class_ids", std::move(ids));
  more.emplace_back("class_weights", std::move(weights));
  return run(ml("TreeEnsembleClassifier", std::move(x), two_trees(std::move(more)), 2));
}
std::pair<std::string, Attribute> after(const char* transform) {
  return {"post_transform", std::string(transform)};
}

const Tensor kVoters = floats({3, 2}, {1, 5, 3, 1, -1, std::numeric_limits<float>::quiet_NaN()});

TEST(Ml, ClassifiesWithTrees) {
  const Strings abc{"a", "b", "c"};
  const Longs ids{0, 1, 2, 2, 1};
  auto y = votes(kVoters, abc, ids, {1, 2, 3, 4, 5});
  EXPECT_EQ(y[0].strings(), (Strings{"c", "b", "c"}));
  expect_floats(y[1], {3, 3}, {1, 0, 4, 0, 7, 3, 1, 0, 4});
  y = votes(kVoters, abc, ids, {1, 2, 3, 4, 5}, {after("SOFTMAX"), {"base_values", Floats{10, 0, 0}}});
  EXPECT_EQ(y[0].strings(), (Strings{"a", "a", "a"}));
  expect_floats(y[1], {3, 3},
                {.99907231f, 1.6686206e-05f, 9.1103604e-04f, .95174748f, .047384717f, 8.6788135e-04f,
                 .99907231f, 1.6686206e-05f, 9.1103604e-04f},
                1e-6f);
  const auto transformed = [&](const char* transform) {
    return votes(kVoters, abc, ids, {.1f, .2f, .3f, .4f, .5f}, {after(transform)})[1];
  };
  expect_floats(transformed("SOFTMAX_ZERO"), {3, 3},
                {.42555746f, 0, .57444251f, 0, .59868765f, .40131232f, .42555746f, 0, .57444251f}, 1e-6f);
  expect_floats(transformed("LOGISTIC"), {3, 3},
                {.52497917f, .5f, .59868765f, .5f, .66818774f, .57444251f, .52497917f, .5f, .59868765f},
                1e-6f);
  const auto probits = transformed("PROBIT").floats();
  EXPECT_NEAR(probits[0], -1.2817129f, 1e-5f);
  EXPECT_NEAR(probits[4], .52444589f, 1e-5f);
}

TEST(Ml, OneScoreSaysBothOfTwoClasses) {
  const Longs zero_one{0, 1}, first(5, 0), second(5, 1);
  // Chances: a half and less is not enough. Sums are those of the input's type.
  const Floats chances{.1f, .2f, .3f, .4f, .2f}, mixed{.1f, -.2f, -.3f, .4f, .2f};
  auto y = votes(kVoters, zero_one, first, chances);
  EXPECT_EQ(y[0].integers(), (Longs{0, 1, 0}));
  expect_floats(y[1], {3, 2}, {.5f, .5f, .3f, .7f, .5f, .5f}, 1e-6f);
  const std::vector<double> wide{1, 5, 3, 1, -1, 0};
  EXPECT_EQ(votes(Tensor::of<double>({3, 2}, wide), zero_one, first, chances)[0].integers(),
            (Longs{1, 1, 0}));
  EXPECT_EQ(votes(longs({3, 2}, {1, 5, 3, 1, -1, 0}), zero_one, first, chances)[0].integers(),
            (Longs{0, 1, 0}));
  y = votes(kVoters, zero_one, first, chances, {after("LOGISTIC")});
  expect_floats(y[1], {3, 2}, {.37754065f, .62245935f, .33181226f, .66818774f, .37754065f, .62245935f},
                1e-6f);
  // With weights that take away, 0 decides.
  y = votes(kVoters, Strings{"no", "yes"}, first, mixed);
  EXPECT_EQ(y[0].strings(), (Strings{"yes", "no", "yes"}));
  expect_floats(y[1], {3, 2}, {-.5f, .5f, .3f, -.3f, -.5f, .5f}, 1e-6f);
  y = votes(kVoters, Strings{"no", "yes"}, first, mixed, {after("LOGISTIC"), {"base_values", Floats{-.2f}}});
  EXPECT_EQ(y[0].strings(), (Strings{"yes", "no", "yes"}));
  expect_floats(y[1], {3, 2}, {.42555749f, .57444251f, .62245935f, .37754065f, .42555749f, .57444251f},
                1e-6f);
  y = votes(kVoters, zero_one, second, mixed, {after("LOGISTIC")});
  EXPECT_EQ(y[0].integers(), (Longs{1, 0, 1}));
  expect_floats(y[1], {3, 2}, {.5f, .62245935f, .5f, .42555749f, .5f, .62245935f}, 1e-6f);
}

// Where both classes have scores, ONNX Runtime takes the second as soon as its score is above 0. It then
// gives 0 or 1, whatever the classes are called; the specification asks for one of them.
TEST(Ml, TwoScoresOfTwoClasses) {
  const auto y = votes(kVoters, Longs{3, 7}, {0, 0, 1, 1, 0}, {.9f, .2f, .1f, .05f, -.5f});
  EXPECT_EQ(y[0].integers(), (Longs{7, 7, 7}));
  expect_floats(y[1], {3, 2}, {.9f, .05f, -.3f, .1f, .9f, .05f}, 1e-6f);
}

TEST(Ml, ScoresOfTreesAreFloats) {
  const std::vector<double> wide{1, 5, 3, 1, -1, 0};
  const Tensor y = run(ml("TreeEnsembleRegressor", Tensor::of<double>({3, 2}, wide), two_trees({})))[0];
  expect_floats(y, {3, 2}, {1, 4, 7, 3, 6, 0});
}

TEST(Ml, MapsBecomeTheirScores) {
  const auto zipped = [](Shape dims, Floats scores) {
    return ml("ZipMap", floats(std::move(dims), std::move(scores)),
              {{"classlabels_strings", Strings{"cat", "dog"}}});
  };
  expect_floats(run(zipped({2, 2}, {.25f, .75f, 1, 0}))[0], {2, 2}, {.25f, .75f, 1, 0});
  EXPECT_THAT(model_of(zipped({1, 2}, {1, 0}), Given::kFed)->graph.warnings,
              testing::Contains(testing::HasSubstr("a column for each of the classes 'cat', 'dog'")));
  EXPECT_TRUE(error_of(zipped({1, 3}, {1, 0, 0}), Given::kFed));
}

}  // namespace
}  // namespace zp::test
