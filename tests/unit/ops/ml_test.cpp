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

// ---- SVMs: three rows, five support vectors. ONNX Runtime 1.32 made the numbers.

const Tensor kPoints = floats({3, 2}, {1, 2, -1, .5f, .25f, -2});
const Floats kVectors{1, 0, 0, 1, -1, 2, .5f, -1, 2, 2};

std::vector<Tensor> three_classes(const char* kernel, GraphBuilder::Attributes more = {}) {
  const GraphBuilder::Attributes all{
      {"kernel_type", std::string(kernel)},
      {"kernel_params", Floats{.5f, .25f, 3}},
      {"support_vectors", kVectors},
      {"vectors_per_class", Longs{2, 1, 2}},
      {"coefficients", Floats{.5f, -1, .75f, 1, -.25f, .3f, .6f, -.9f, -.4f, .2f}},
      {"rho", Floats{.1f, -.2f, .3f}},
      {"classlabels_strings", Strings{"a", "b", "c"}}};
  more.insert(more.end(), all.begin(), all.end());
  return run(ml("SVMClassifier", kPoints, std::move(more), 2));
}

TEST(Ml, ClassifiesWithEachKernelFunction) {
  auto y = three_classes("LINEAR");
  EXPECT_EQ(y[0].strings(), (Strings{"c", "c", "b"}));
  expect_floats(y[1], {3, 3}, {.85f, -1.7f, -.6f, .6f, -.95f, -1.3f, -.9625f, 1.675f, 2.575f}, 1e-5f);
  y = three_classes("POLY");
  EXPECT_EQ(y[0].strings(), (Strings{"a", "c", "b"}));
  expect_floats(y[1], {3, 3},
                {2.3773437f, -7.6085939f, 2.3921876f, 1.4320313f, -.14140625f, -1.4546875f, -4.3956056f,
                 2.6674316f, 4.6532226f},
                1e-5f);
  y = three_classes("RBF");
  EXPECT_EQ(y[0].strings(), (Strings{"b", "a", "a"}));
  expect_floats(y[1], {3, 3},
                {-.098710343f, -.080500744f, .29558295f, -.13205561f, .26148435f, -.033625577f, .1404262f,
                 .42495877f, .064728431f},
                1e-6f);
  y = three_classes("SIGMOID");
  EXPECT_EQ(y[0].strings(), (Strings{"c", "c", "a"}));
  expect_floats(y[1], {3, 3},
                {.27532253f, -.21185169f, -.16299158f, .15163621f, -.17989428f, -.41447154f, .1987938f,
                 .61761147f, .63164842f},
                1e-6f);
  expect_floats(three_classes("RBF", {after("SOFTMAX")})[1], {3, 3},
                {.28557462f, .29082245f, .42360297f, .27888903f, .41337445f, .30773652f, .30710298f,
                 .40818301f, .28471404f},
                1e-6f);
}

TEST(Ml, ChancesOfClassesAreThoseOfPairs) {
  const auto y = three_classes("RBF", {{"prob_a", Floats{-1, -2, -.5f}}, {"prob_b", Floats{.1f, .2f, -.3f}}});
  EXPECT_EQ(y[0].strings(), (Strings{"b", "a", "a"}));
  expect_floats(y[1], {3, 3},
                {.27912045f, .40981996f, .31105971f, .33800989f, .39154419f, .27044594f, .40506381f,
                 .3615557f, .23338048f},
                1e-6f);
}

TEST(Ml, OneScoreOfTwoClassesIsOfTheFirst) {
  const auto two = [](GraphBuilder::Attributes more) {
    const GraphBuilder::Attributes all{{"kernel_type", std::string("RBF")},
                                       {"kernel_params", Floats{.5f, 0, 0}},
                                       {"support_vectors", Floats{1, 0, 0, 1, -1, 2}},
                                       {"vectors_per_class", Longs{2, 1}},
                                       {"coefficients", Floats{.5f, 1, -1.2f}},
                                       {"rho", Floats{.1f}},
                                       {"classlabels_ints", Longs{3, 7}}};
    more.insert(more.end(), all.begin(), all.end());
    const auto y = run(ml("SVMClassifier", kPoints, std::move(more), 2));
    EXPECT_EQ(y[0].integers(), (Longs{3, 3, 3}));
    return y[1];
  };
  expect_floats(two({}), {3, 2}, {-.37314475f, .37314475f, -.30539498f, .30539498f, -.16166112f, .16166112f},
                1e-6f);
  expect_floats(two({after("SOFTMAX")}), {3, 2},
                {.62685525f, .37314475f, .69460499f, .30539498f, .83833885f, .16166112f}, 1e-6f);
  expect_floats(two({after("LOGISTIC")}), {3, 2},
                {.40778136f, .59221864f, .42423916f, .57576084f, .45967251f, .54032749f}, 1e-6f);
  expect_floats(two({{"prob_a", Floats{-1.5f}}, {"prob_b", Floats{.2f}}}), {3, 2},
                {.58858752f, .41141242f, .56405318f, .43594679f, .51062119f, .48937875f}, 1e-6f);
}

// Of two classes ONNX Runtime takes the second as soon as any score is high.
TEST(Ml, SvmsWithoutVectorsAreLinear) {
  const auto linear = [](const Floats& coefficients, const char* transform) {
    return run(ml("SVMClassifier", kPoints,
                  {{"coefficients", coefficients},
                   {"rho", Floats{.1f}},
                   {"classlabels_ints", Longs{3, 7}},
                   after(transform)},
                  2));
  };
  auto y = linear({.5f, -1, .25f, .75f}, "NONE");
  EXPECT_EQ(y[0].integers(), (Longs{7, 7, 7}));
  expect_floats(y[1], {3, 2}, {-1.4f, 1.85f, -.9f, .225f, 2.225f, -1.3375f}, 1e-6f);
  y = linear({.5f, -1, .25f, .75f}, "LOGISTIC");
  expect_floats(y[1], {3, 2}, {.1978161f, .8641271f, .28905052f, .55601388f, .9024722f, .2079215f}, 1e-6f);
  y = linear({.5f, .1f, .25f, .75f}, "NONE");
  EXPECT_EQ(y[0].integers(), (Longs{7, 7, 3}));
}

OneNode regression(const char* kernel, GraphBuilder::Attributes more = {}) {
  const GraphBuilder::Attributes all{{"kernel_type", std::string(kernel)},
                                     {"kernel_params", Floats{.5f, .25f, 2}},
                                     {"support_vectors", kVectors},
                                     {"n_supports", int64_t{5}},
                                     {"coefficients", Floats{.5f, -1, .75f, 1, -.25f}},
                                     {"rho", Floats{.1f}}};
  more.insert(more.end(), all.begin(), all.end());
  return ml("SVMRegressor", kPoints, std::move(more));
}

TEST(Ml, RegressesWithSupportVectors) {
  const auto y = [](const char* kernel, GraphBuilder::Attributes more = {}) {
    return run(regression(kernel, std::move(more)))[0];
  };
  expect_floats(y("LINEAR"), {3, 1}, {-2.15f, -.15f, 2.0375f}, 1e-6f);
  expect_floats(y("POLY"), {3, 1}, {-1.275f, 1.1f, 3.4046874f}, 1e-6f);
  expect_floats(y("RBF"), {3, 1}, {-.24053937f, -.027558021f, .72827774f}, 1e-6f);
  expect_floats(y("SIGMOID"), {3, 1}, {-.43604413f, -.032052748f, 1.2899874f}, 1e-6f);
  expect_floats(y("RBF", {{"one_class", int64_t{1}}}), {3, 1}, {-1, -1, 1});
  expect_floats(y("RBF", {{"n_supports", int64_t{0}}, {"coefficients", Floats{.5f, -1}}}), {3, 1},
                {-1.4f, -.9f, 2.225f}, 1e-6f);
}

// Many rows go through in blocks, and those of several threads are the same.
TEST(Ml, SvmsOfManyRows) {
  Floats numbers;
  for (int i = 0; i < 2 * 500; ++i) numbers.push_back(kPoints.data<float>()[static_cast<size_t>(i % 6)]);
  OneNode one = regression("RBF");
  one.inputs[0] = floats({500, 2}, numbers);
  const Tensor y = run(one)[0];
  EXPECT_NEAR(y.data<float>()[498], -.24053937f, 1e-6f);
  EXPECT_NEAR(y.data<float>()[497], .72827774f, 1e-6f);
}

TEST(Ml, SvmsThatDoNotFitTogetherAreRefused) {
  const auto refused = [](std::string_view key, Attribute value, std::string_view words) {
    GraphBuilder::Attributes more;
    more.emplace_back(key, std::move(value));
    const auto error = error_of(regression("RBF", std::move(more)), Given::kFed);
    ASSERT_TRUE(error.has_value()) << key;
    EXPECT_EQ(error->code(), ErrorCode::kInvalidModel) << key;
    EXPECT_THAT(error->what(), testing::HasSubstr(words)) << key;
    EXPECT_EQ(error->details().node, "the SVMRegressor") << key;
    EXPECT_THAT(error->details().op, testing::HasSubstr("SVMRegressor")) << key;
    EXPECT_FALSE(error->details().hint.empty()) << key;
  };
  refused("n_supports", int64_t{4}, "'support_vectors' has 10 elements, which are no 4 rows");
  refused("n_supports", int64_t{-1}, "'n_supports' is -1");
  refused("n_supports", std::numeric_limits<int64_t>::max(), "'n_supports'");
  refused("coefficients", Floats{1, 2}, "'coefficients' has 2 elements, and should have 5");
  refused("coefficients", Longs{1, 2}, "'coefficients' has the wrong type");
  refused("rho", Floats{}, "'rho' has 0 elements");
  refused("kernel_params", Floats{1, 2}, "'kernel_params' has 2 elements, not 3");
  refused("kernel_type", std::string("CUBE"), "'kernel_type' is 'CUBE'");
  OneNode narrow = regression("RBF");
  narrow.inputs[0] = floats({2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_THAT(error_of(narrow, Given::kFed)->what(), testing::HasSubstr("rows should have 2 numbers"));

  const auto classifier = [](GraphBuilder::Attributes more) {
    const GraphBuilder::Attributes all{{"support_vectors", kVectors},
                                       {"vectors_per_class", Longs{2, 1, 2}},
                                       {"coefficients", Floats(10, 1.0f)},
                                       {"rho", Floats(3, 1.0f)},
                                       {"classlabels_ints", Longs{0, 1, 2}}};
    more.insert(more.end(), all.begin(), all.end());
    return error_of(ml("SVMClassifier", kPoints, std::move(more), 2), Given::kFed);
  };
  EXPECT_FALSE(classifier({}));
  EXPECT_TRUE(classifier({{"vectors_per_class", Longs{2, 3}}}));
  EXPECT_TRUE(classifier({{"vectors_per_class", Longs{2, -1, 4}}}));
  EXPECT_TRUE(classifier({{"vectors_per_class", Longs(3, std::numeric_limits<int64_t>::max())}}));
  EXPECT_TRUE(classifier({{"classlabels_ints", Longs{}}}));
  EXPECT_TRUE(classifier({{"coefficients", Floats(9, 1.0f)}}));
  EXPECT_TRUE(classifier({{"rho", Floats(2, 1.0f)}}));
  EXPECT_TRUE(classifier({{"prob_a", Floats(3, 1.0f)}}));
  EXPECT_TRUE(classifier({{"prob_a", Floats(2, 1.0f)}, {"prob_b", Floats(2, 1.0f)}}));
  EXPECT_TRUE(classifier({{"vectors_per_class", Longs{5}}, {"classlabels_ints", Longs{0}}}));
  EXPECT_TRUE(
      classifier({{"classlabels_ints", Longs{0, 1}}, {"vectors_per_class", Longs{2, 3}}, after("PROBIT")}));
}

// ---- categories and what is missing

// Of equal categories the last counts; numbers lose their fractions. The numbers are ONNX Runtime's.
TEST(Ml, EncodesCategories) {
  const auto of_numbers = [](Tensor x, GraphBuilder::Attributes more = {}) {
    more.emplace_back("cats_int64s", Longs{1, 2, 1, 5});
    return ml("OneHotEncoder", std::move(x), std::move(more));
  };
  expect_floats(run(of_numbers(floats({2, 2}, {1.9f, 5, -1, 2})))[0], {2, 2, 4},
                {0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0});
  const auto names = [](GraphBuilder::Attributes more) {
    more.emplace_back("cats_strings", Strings{"red", "blue"});
    return ml("OneHotEncoder", Tensor::of_strings({3}, {"blue", "red", "green"}), std::move(more));
  };
  expect_floats(run(names({}))[0], {3, 2}, {0, 1, 1, 0, 0, 0});
  const auto error = error_of(names({{"zeros", int64_t{0}}}), Given::kFed);
  ASSERT_TRUE(error.has_value());
  EXPECT_THAT(error->what(), testing::HasSubstr("element 2 is none of 2 categories"));
  EXPECT_TRUE(error_of(names({{"cats_int64s", Longs{1}}}), Given::kFed));
  EXPECT_TRUE(error_of(of_numbers(Tensor::of_strings({1}, {"1"})), Given::kFed));
  EXPECT_TRUE(error_of(ml("OneHotEncoder", longs({1}, {1}), {}), Given::kFed));
}

TEST(Ml, ImputesWhatIsMissing) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor x = floats({2, 3}, {1, nan, 3, nan, -1, nan});
  const auto imputed = [](Tensor of, Floats values, float missing) {
    return ml("Imputer", std::move(of),
              {{"imputed_value_floats", std::move(values)}, {"replaced_value_float", missing}});
  };
  expect_floats(run(imputed(x, {7}, nan))[0], {2, 3}, {1, 7, 3, 7, -1, 7});
  expect_floats(run(imputed(x, {7, 8, 9}, nan))[0], {2, 3}, {1, 8, 3, 7, -1, 9});
  expect_floats(run(imputed(x, {7, 8, 9}, -1))[0], {2, 3}, {1, nan, 3, nan, 8, nan});
  const std::vector<double> wide{0, .1};
  EXPECT_EQ(run(imputed(Tensor::of<double>({2}, wide), {7}, 0))[0].data<double>()[1], .1);
  EXPECT_EQ(run(ml("Imputer", longs({2, 2}, {-1, 2, 3, -1}),
                   {{"imputed_value_int64s", Longs{5, 6}}, {"replaced_value_int64", int64_t{-1}}}))[0]
                .integers(),
            (Longs{5, 2, 3, 6}));
  const auto error = error_of(imputed(x, {7, 8}, nan), Given::kFed);
  ASSERT_TRUE(error.has_value());
  EXPECT_THAT(error->what(), testing::HasSubstr("'imputed_value_floats' has 2 elements"));
  EXPECT_TRUE(error_of(imputed(x, {}, nan), Given::kFed));
  EXPECT_TRUE(error_of(imputed(longs({1}, {1}), {7}, nan), Given::kFed));
}

// ONNX Runtime cuts columns that are too many, and fills up with zeros.
TEST(Ml, VectorizesFeatures) {
  OneNode one =
      ml("FeatureVectorizer", longs({2, 3}, {1, 2, 3, 4, 5, 6}), {{"inputdimensions", Longs{2, 2, 2}}});
  one.inputs.push_back(longs({2, 1}, {7, 8}));
  one.inputs.push_back(longs({2, 2}, {9, 10, 11, 12}));
  expect_floats(run(one)[0], {2, 6}, {1, 2, 7, 0, 9, 10, 4, 5, 8, 0, 11, 12});
  one.inputs[1] = longs({1, 1}, {7});
  EXPECT_TRUE(error_of(one, Given::kFed));
  one.inputs.pop_back();
  EXPECT_THAT(error_of(one, Given::kFed)->what(),
              testing::HasSubstr("'inputdimensions' has 3 elements, not 2"));
  expect_floats(run(ml("FeatureVectorizer", floats({2}, {1, 2}), {{"inputdimensions", Longs{2}}}))[0], {1, 2},
                {1, 2});
}

// Of equal keys the last counts in CategoryMapper and in the first version of LabelEncoder.
TEST(Ml, MapsCategoriesBothWays) {
  const Strings names{"a", "b", "a"};
  const GraphBuilder::Attributes map{{"cats_strings", names}, {"cats_int64s", Longs{1, 2, 3}}};
  const Tensor x = Tensor::of_strings({3}, {"a", "b", "z"});
  EXPECT_EQ(run(ml("CategoryMapper", x, map))[0].integers(), (Longs{3, 2, -1}));
  EXPECT_EQ(run(ml("CategoryMapper", longs({3}, {1, 2, 9}),
                   {{"cats_strings", Strings{"a", "b", "c"}},
                    {"cats_int64s", Longs{1, 2, 1}},
                    {"default_string", std::string("?")}}))[0]
                .strings(),
            (Strings{"c", "b", "?"}));
  EXPECT_THAT(
      error_of(ml("CategoryMapper", x, {{"cats_strings", names}, {"cats_int64s", Longs{1}}}), Given::kFed)
          ->what(),
      testing::HasSubstr("'cats_int64s' has 1 elements, not 3"));
  EXPECT_TRUE(error_of(ml("CategoryMapper", floats({1}, {1}), map), Given::kFed));
  OneNode first = ml("LabelEncoder", x, {{"classes_strings", names}});
  first.version = 1;
  EXPECT_EQ(run(first)[0].integers(), (Longs{2, 1, -1}));
  first.inputs[0] = longs({2}, {1, 3});
  EXPECT_EQ(run(first)[0].strings(), (Strings{"b", "_Unused"}));
}

}  // namespace
}  // namespace zp::test
