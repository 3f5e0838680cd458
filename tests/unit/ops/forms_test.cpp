// Forms of operators that models of old versions and of other exporters have. Values are those of ONNX
// Runtime 1.32.
#include <gmock/gmock.h>

#include <limits>

#include "ops/lstm.h"
#include "ops/op.h"
#include "unit/ops/one_node.h"

namespace zp::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Forms, WithoutAnInputThatTheyNeedAreRefused) {
  const Tensor row = ramp({3});
  const OneNode cases[] = {
      {"ScatterND", {row, longs({1, 1}, {0})}},
      {"ScatterND", {row, Tensor(), ramp({1})}},
      {"ScatterElements", {row, longs({1}, {0})}},
      {"DequantizeLinear", {Tensor::of<int8_t>({2}, {1, 2}), Tensor(), Tensor::of<int8_t>({}, {0})}},
      {"QuantizeLinear", {row, Tensor(), Tensor::of<int8_t>({}, {0})}},
      {"Resize", {ramp({1, 1, 2, 2})}, {}, 1, 10},
      {"MatMul", {row, Tensor()}},
  };
  for (const OneNode& one : cases) {
    SCOPED_TRACE(one.op);
    const auto error = error_of(one, Given::kFed);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), ErrorCode::kInvalidModel) << error->what();
    EXPECT_THAT(error->what(), HasSubstr("missing"));
  }
}

// Every operator says which inputs it needs: each that is left out, and one too many, is refused by its name
// before any rule reads it.
TEST(Forms, SayWhichInputsTheyNeed) {
  const auto is_needed = [](const std::string& word) { return word.find('?') == std::string::npos; };
  for (const OpDef* def : all_ops()) {
    SCOPED_TRACE(testing::Message() << def->domain << "." << def->name);
    std::vector<std::string> words(1);
    for (const char ch : def->inputs) {
      if (ch == ' ') {
        words.emplace_back();
      } else {
        words.back() += ch;
      }
    }
    if (def->inputs.empty()) words.clear();  // it takes none
    for (const std::string& word : words) ASSERT_FALSE(word.empty());
    if (!words.empty() && words.back().find('<') != std::string::npos) words.pop_back();  // of older versions
    Node node;
    node.name = "the node";
    node.domain = def->domain;
    node.op_type = def->name;
    node.inputs.assign(words.size(), 0);
    EXPECT_NO_THROW(check_inputs(*def, node));
    const auto refused = [&](const Node& n, const std::string& words_of_error) {
      try {
        check_inputs(*def, n);
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), ErrorCode::kInvalidModel);
        EXPECT_THAT(e.what(), HasSubstr(words_of_error));
        return true;
      }
      return false;
    };
    for (size_t i = 0; i < words.size(); ++i) {
      Node without = node;
      without.inputs[i] = kNoValue;
      const std::string name = words[i].substr(0, words[i].find_first_of("?*:"));
      const std::string missing = words.size() == 1 ? "input 0 is missing" : "(" + name + ") is missing";
      EXPECT_EQ(refused(without, missing), is_needed(words[i])) << words[i];
      without.inputs.resize(i);
      const bool needed = std::any_of(words.begin() + static_cast<std::ptrdiff_t>(i), words.end(), is_needed);
      EXPECT_EQ(refused(without, "is missing"), needed) << "with " << i << " inputs";
    }
    node.inputs.push_back(0);
    const bool any_number = !words.empty() && words.back().find('*') != std::string::npos;
    EXPECT_NE(refused(node, "one too many"), any_number);
  }
}

// Before opset 7 a slope is for each channel; since then it broadcasts from the last dimension.
TEST(PRelu, SlopeOfOldVersions) {
  const Tensor x = floats({1, 2, 2, 2}, std::vector<float>(8, -1)), slope = floats({2}, {2, 3});
  expect_floats(run({"PRelu", {x, slope}, {}, 1, 6})[0], {1, 2, 2, 2}, {-2, -2, -2, -2, -3, -3, -3, -3});
  expect_floats(run({"PRelu", {x, slope}, {}, 1, 7})[0], {1, 2, 2, 2}, {-2, -3, -2, -3, -2, -3, -2, -3});
  expect_floats(run({"PRelu", {x, floats({1}, {2})}, {}, 1, 1})[0], {1, 2, 2, 2}, std::vector<float>(8, -2));
  expect_floats(run({"PRelu", {floats({2, 2}, {-1, -1, -1, -1}), slope}, {}, 1, 6})[0], {2, 2},
                {-2, -3, -2, -3});
}

// Where the kernel is smaller than the stride the last step is not filled up.
TEST(ConvTranspose, SameWithSmallKernels) {
  struct Case {
    const char* pad;
    int64_t kernel, stride, size;
    std::vector<float> wanted;
  };
  const std::vector<Case> cases{{"SAME_UPPER", 1, 2, 3, {1, 0, 2, 0, 3}},
                                {"SAME_LOWER", 1, 2, 3, {1, 0, 2, 0, 3}},
                                {"SAME_UPPER", 2, 3, 2, {1, 2, 0, 2, 4}},
                                {"SAME_UPPER", 1, 3, 1, {1}},
                                {"SAME_UPPER", 3, 4, 2, {1, 2, 3, 0, 2, 4, 6}},
                                {"SAME_UPPER", 3, 2, 2, {1, 2, 5, 4}},
                                {"SAME_LOWER", 3, 2, 2, {2, 5, 4, 6}},
                                {"SAME_UPPER", 2, 1, 3, {1, 4, 7}},
                                {"SAME_LOWER", 2, 1, 3, {4, 7, 6}},
                                {"SAME_LOWER", 4, 3, 2, {2, 3, 6, 4, 6, 8}}};
  for (const Case& c : cases) {
    SCOPED_TRACE(testing::Message() << c.pad << " " << c.kernel << " " << c.stride << " " << c.size);
    std::vector<float> x, w;
    for (int64_t i = 1; i <= c.size; ++i) x.push_back(static_cast<float>(i));
    for (int64_t i = 1; i <= c.kernel; ++i) w.push_back(static_cast<float>(i));
    const Tensor y =
        run({"ConvTranspose",
             {floats({1, 1, c.size}, x), floats({1, 1, c.kernel}, w)},
             {{"auto_pad", std::string(c.pad)}, {"strides", std::vector<int64_t>{c.stride}}}})[0];
    expect_floats(y, {1, 1, static_cast<int64_t>(c.wanted.size())}, c.wanted);
  }
}

TEST(Reduce, OfNothing) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<std::pair<std::string, float>> of_nothing{{"ReduceSum", 0},
                                                              {"ReduceMean", 0},
                                                              {"ReduceMax", -kInfinity},
                                                              {"ReduceMin", kInfinity},
                                                              {"ReduceProd", 1},
                                                              {"ReduceL1", 0},
                                                              {"ReduceL2", 0},
                                                              {"ReduceSumSquare", 0},
                                                              {"ReduceLogSum", -kInfinity},
                                                              {"ReduceLogSumExp", -kInfinity}};
  for (const auto& [op, wanted] : of_nothing) {
    SCOPED_TRACE(op);
    expect_floats(run({op, {floats({2, 0, 3}, {}), longs({1}, {1})}})[0], {2, 1, 3},
                  std::vector<float>(6, wanted));
    expect_floats(run({op, {floats({0, 3}, {}), longs({1}, {1})}})[0], {0, 1}, {});
    const double found = run({op, {Tensor::of<double>({0}, {}), longs({1}, {0})}})[0].data<double>()[0];
    EXPECT_EQ(found, double{wanted});
  }
  EXPECT_EQ(run({"ReduceMean", {Tensor::of<int32_t>({0}, {})}})[0].integer_at(0), 0);
  EXPECT_EQ(run({"ReduceMax", {Tensor::of<int32_t>({0}, {})}})[0].integer_at(0), INT32_MIN);
  EXPECT_EQ(run({"ReduceLogSum", {Tensor::of<int32_t>({0}, {})}})[0].integer_at(0), INT32_MIN);
  EXPECT_EQ(run({"ReduceMin", {Tensor::of<bool>({0}, {})}})[0].integer_at(0), 1);
  // No axes: all of them, or (noop_with_empty_axes) each element by itself.
  const Tensor x = floats({2, 2}, {-1, 2, -3, 4});
  const auto each = [&](const char* op, Tensor axes) {
    return run({op, {x, std::move(axes)}, {{"noop_with_empty_axes", int64_t{1}}}})[0];
  };
  expect_floats(each("ReduceMean", longs({0}, {})), {2, 2}, {-1, 2, -3, 4});
  expect_floats(each("ReduceSumSquare", longs({0}, {})), {2, 2}, {1, 4, 9, 16});
  expect_floats(each("ReduceL1", Tensor()), {2, 2}, {1, 2, 3, 4});
  expect_floats(run({"ReduceMean", {x, longs({0}, {})}})[0], {1, 1}, {0.5f});
}

template <class T>
void expect_products() {
  SCOPED_TRACE(name_of(dtype_of<T>()));
  const Tensor a = Tensor::of<T>({2, 2}, {2, 3, 4, 5}), row = Tensor::of<T>({2}, {10, 20});
  const auto values = [](const Tensor& t) { return std::vector<T>(t.data<T>().begin(), t.data<T>().end()); };
  EXPECT_EQ(values(run({"MatMul", {a, a}})[0]), (std::vector<T>{16, 21, 28, 37}));
  EXPECT_EQ(values(run({"MatMul", {row, a}})[0]), (std::vector<T>{100, 130}));
  EXPECT_EQ(values(run({"MatMul", {Tensor::of<T>({2, 1, 2}, {1, 0, 0, 1}), a}})[0]),
            (std::vector<T>{2, 3, 4, 5}));
  EXPECT_EQ(values(run({"Gemm", {a, a, row}, {{"transA", int64_t{1}}, {"alpha", 2.0f}, {"beta", 3.0f}}})[0]),
            (std::vector<T>{70, 112, 82, 128}));
  EXPECT_EQ(values(run({"Gemm", {a, a, Tensor::of<T>({2, 1}, {1, 2})}, {{"transB", int64_t{1}}}})[0]),
            (std::vector<T>{14, 24, 25, 43}));
}

TEST(Products, OfOtherTypes) {
  expect_products<int32_t>();
  expect_products<uint32_t>();
  expect_products<int64_t>();
  expect_products<uint64_t>();
  expect_products<double>();
  EXPECT_EQ(
      run({"MatMul", {Tensor::of<int32_t>({1, 1}, {1 << 20}), Tensor::of<int32_t>({1, 1}, {-(1 << 13)})}})[0]
          .integer_at(0),
      0);  // integers wrap
  const Tensor a = Tensor::of<int32_t>({1, 1}, {3});
  const auto error = error_of({"Gemm", {a, a}, {{"alpha", 0.5f}}}, Given::kFed);
  ASSERT_TRUE(error);
  EXPECT_THAT(error->what(), HasSubstr("alpha"));
}

TEST(Lstm, ParametersInOrder) {
  const auto lstm = [](std::vector<std::string> names, std::vector<float> alpha, std::vector<float> beta) {
    Node n;
    n.op_type = "LSTM";
    n.attributes["activations"] = std::move(names);
    n.attributes["activation_alpha"] = std::move(alpha);
    n.attributes["activation_beta"] = std::move(beta);
    return n;
  };
  // Tanh takes none, so that LeakyRelu has the first and HardSigmoid the second.
  const auto found = Lstm::activations_of(lstm({"Tanh", "LeakyRelu", "HardSigmoid"}, {0.3f, 0.7f}, {0.4f}));
  EXPECT_EQ(found[1].parameters.a, 0.3f);
  EXPECT_EQ(found[2].parameters.a, 0.7f);
  EXPECT_EQ(found[2].parameters.b, 0.4f);
  EXPECT_EQ(Lstm::activations_of(lstm({"Elu", "LeakyRelu", "Affine"}, {0.5f}, {}))[1].parameters.a, 0.01f);
  EXPECT_THROW(Lstm::activations_of(lstm({"Sigmoid", "ScaledTanh", "Tanh"}, {0.5f}, {})), Error);
}

TEST(Lstm, LengthsOutsideTheInput) {
  for (const int32_t length : {-1, 3}) {
    const OneNode one{
        "LSTM",
        {ramp({2, 2, 1}), ramp({1, 8, 1}), ramp({1, 8, 2}), Tensor(), Tensor::of<int32_t>({2}, {1, length})},
        {{"hidden_size", int64_t{2}}},
        3};
    const auto error = error_of(one, Given::kFed);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), ErrorCode::kIndexOutOfRange);
    EXPECT_EQ(error->what(), "a sequence of " + std::to_string(length) + " steps in an input of 2");
  }
}

// Integers that linear interpolation makes are cut, those of antialiasing rounded.
TEST(Resize, OfIntegers) {
  const auto resize = [](const Tensor& x, float scale, int64_t antialias) {
    return run({"Resize",
                {x, Tensor(), floats({4}, {1, 1, 1, scale})},
                {{"mode", std::string("linear")}, {"antialias", antialias}}})[0]
        .integers();
  };
  EXPECT_THAT(resize(Tensor::of<uint8_t>({1, 1, 1, 4}, {10, 21, 33, 40}), 2, 0),
              ElementsAre(10, 12, 18, 24, 30, 34, 38, 40));
  EXPECT_THAT(resize(Tensor::of<int8_t>({1, 1, 1, 4}, {-10, 1, 13, 20}), 2, 0),
              ElementsAre(-10, -7, -1, 4, 10, 14, 18, 20));
  EXPECT_THAT(resize(Tensor::of<uint8_t>({1, 1, 1, 4}, {10, 21, 33, 40}), 0.6f, 1), ElementsAre(14, 32));
}

TEST(BatchNormalization, StatisticsOfPlaces) {
  // (x - mean) / sqrt(variance + 0) * scale + bias, each of [C, W] = [1, 2].
  const Tensor x = floats({2, 1, 2}, {1, 2, 3, 4}), scale = floats({1, 2}, {2, 3}),
               bias = floats({1, 2}, {10, 20}), mean = floats({1, 2}, {1, 1}),
               variance = floats({1, 2}, {4, 1});
  expect_floats(run({"BatchNormalization",
                     {x, scale, bias, mean, variance},
                     {{"spatial", int64_t{0}}, {"epsilon", 0.0f}},
                     1,
                     7})[0],
                {2, 1, 2}, {10, 23, 12, 29});
}

TEST(LayerNormalization, ScaleThatBroadcasts) {
  // Rows of four: -1.3416, -0.4472, 0.4472, 1.3416.
  const Tensor x = floats({1, 2, 2}, {1, 2, 3, 4});
  const GraphBuilder::Attributes rows{{"axis", int64_t{1}}, {"epsilon", 0.0f}};
  const float a = 1.3416408f, b = 0.4472136f;
  expect_floats(run({"LayerNormalization", {x, floats({2}, {1, 10})}, rows})[0], {1, 2, 2},
                {-a, -10 * b, b, 10 * a}, 1e-5f);
  expect_floats(
      run({"LayerNormalization", {x, floats({2, 1}, {1, 10}), floats({4}, {1, 2, 3, 4})}, rows, 1, 17})[0],
      {1, 2, 2}, {1 - a, 2 - b, 3 + 10 * b, 4 + 10 * a}, 1e-5f);
  const auto error = error_of({"LayerNormalization", {x, floats({3}, {1, 2, 3})}, rows}, Given::kFed);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::kShapeMismatch);
}

TEST(RMSNormalization, RowsAndScalesThatBroadcast) {
  const Tensor x = floats({1, 2, 2}, {1, 2, 3, 4});
  const float root = std::sqrt(7.5f);
  const GraphBuilder::Attributes rows{{"axis", int64_t{1}}, {"epsilon", 0.0f}};
  expect_floats(run({"RMSNormalization", {x, floats({2}, {1, 10})}, rows, 1, 23})[0], {1, 2, 2},
                {1 / root, 20 / root, 3 / root, 40 / root}, 1e-5f);
  expect_floats(run({"RMSNormalization", {x, floats({2}, {1, 2})}, {{"epsilon", 0.0f}}, 1, 23})[0], {1, 2, 2},
                {std::sqrt(0.4f), 2 * std::sqrt(1.6f), 3 / std::sqrt(12.5f), 8 / std::sqrt(12.5f)}, 1e-5f);
}

TEST(LpPool, PowerOfTheFirstVersion) {
  const Tensor x = floats({1, 1, 2}, {3, 4});
  const std::vector<int64_t> kernel{2};
  expect_floats(run({"LpPool", {x}, {{"kernel_shape", kernel}}, 1, 1})[0], {1, 1, 1}, {5});
  expect_floats(run({"LpPool", {x}, {{"kernel_shape", kernel}, {"p", 1.0f}}, 1, 1})[0], {1, 1, 1}, {7});
  expect_floats(run({"GlobalLpPool", {x}, {{"p", 2.0f}}, 1, 1})[0], {1, 1, 1}, {5});
}

// Weights that DequantizeLinear has no form for are read as floats.
TEST(MatMulNBits, GroupsInAnyOrderAndZeroPointsThatAreNoIntegers) {
  const Tensor identity = floats({4, 4}, {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1});
  const auto weights = [&](Tensor points, Tensor groups) {
    const OneNode one{
        "MatMulNBits",
        {identity, Tensor::of<uint8_t>({1, 2, 2}, {130, 131, 10, 200}), floats({1, 2}, {1, 0.5f}),
         std::move(points), std::move(groups)},
        {{"K", int64_t{4}}, {"N", int64_t{1}}, {"bits", int64_t{8}}, {"block_size", int64_t{2}}},
        1,
        1,
        "com.microsoft"};
    return runtime::Session(model_of(one, Given::kConstant), {.threads = 1}).run({})[0];
  };
  const Tensor groups = Tensor::of<int32_t>({4}, {1, 0, 1, 0});
  expect_floats(weights(Tensor(), groups), {4, 1}, {1, 3, -59, 72});
  // By the operator's text; ONNX Runtime takes the middle for zero points beside groups.
  expect_floats(weights(Tensor::of<uint8_t>({1, 2}, {128, 100}), groups), {4, 1}, {15, 3, -45, 72});
  expect_floats(weights(floats({1, 2}, {128.5f, 100}), Tensor()), {4, 1}, {1.5f, 2.5f, -45, 50});
  EXPECT_THROW(weights(Tensor(), Tensor::of<int32_t>({4}, {1, 0, 2, 0})), Error);
}

// `accuracy_level` is the least that is asked for: 4 allows activations of 8 bits, in which 1 is nothing
// beside 1000 (ONNX Runtime takes them: 1000), and ours have 16.
TEST(MatMulNBits, AccuracyLevelIsTheLeast) {
  const OneNode one{"MatMulNBits",
                    {floats({1, 4}, {1000, 1, 2, 0}), Tensor::of<uint8_t>({1, 1, 4}, {129, 138, 158, 128}),
                     floats({1, 1}, {1})},
                    {{"K", int64_t{4}},
                     {"N", int64_t{1}},
                     {"bits", int64_t{8}},
                     {"block_size", int64_t{4}},
                     {"accuracy_level", int64_t{4}}},
                    1,
                    1,
                    "com.microsoft"};
  expect_floats(runtime::Session(model_of(one, Given::kConstant), {.threads = 1}).run({})[0], {1, 1}, {1070},
                0.5f);
}

TEST(Tile, AlongOneAxis) {
  GraphBuilder net;
  Graph& g = net.graph();
  Node node;
  node.op_type = node.name = "Tile";
  node.inputs = {net.input("x", symbolic(Shape{2, 1})), net.constant("tiles", Tensor::of<float>({1}, {3})),
                 net.constant("axis", Tensor::of<float>({1}, {1}))};
  node.outputs = {g.add_value("y")};
  net.output(node.outputs[0]);
  Canonicalize c{.graph = g, .node = std::move(node), .version = 1, .nodes = {}};
  find_op("", "Tile")->canonicalize(c);
  g.nodes = std::move(c.nodes);
  // By the operator's text; ONNX Runtime gives zeros.
  expect_floats(runtime::Session(net.build(), {.threads = 1}).run({{"x", floats({2, 1}, {1, 2})}})[0], {2, 3},
                {1, 1, 1, 2, 2, 2});
}

// Weights and biases of another type than the input are refused, not read as if they had it.
TEST(Products, OfTwoTypes) {
  const Tensor image = ramp({1, 2, 3, 3}), matrix = ramp({2, 2});
  const Tensor wrong_kernel = Tensor::of<uint32_t>({2, 2, 1, 1}, {1, 2, 3, 4}),
               wrong_matrix = Tensor::of<uint32_t>({2, 2}, {1, 2, 3, 4}),
               wrong_bias = Tensor::of<int32_t>({2}, {1, 2});
  const std::vector<OneNode> wrong{
      {"Conv", {image, wrong_kernel}},          {"Conv", {image, ramp({2, 2, 1, 1}), wrong_bias}},
      {"ConvTranspose", {image, wrong_kernel}}, {"MatMul", {matrix, wrong_matrix}},
      {"MatMul", {wrong_matrix, matrix}},       {"Gemm", {matrix, wrong_matrix}},
      {"Gemm", {matrix, matrix, wrong_bias}}};
  for (const OneNode& one : wrong) {
    SCOPED_TRACE(testing::Message() << one.op << " #" << &one - wrong.data());
    for (const Given given : {Given::kFed, Given::kConstant}) {
      const auto error = error_of(one, given);
      ASSERT_TRUE(error);
      EXPECT_EQ(error->code(), ErrorCode::kInvalidModel) << error->what();
    }
  }
}

// What ONNX Runtime 1.32 gives: the cut at one end goes on into the padding of the other.
TEST(Pad, CutsMoreThanTheData) {
  const Tensor x = ramp({2});
  EXPECT_THAT(run({"Pad", {x, longs({2}, {5, -3})}})[0].floats(), ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(run({"Pad", {x, longs({2}, {-3, 5})}})[0].floats(), ElementsAre(0, 0, 0, 0));
  EXPECT_THAT(run({"Pad", {ramp({1, 2}), longs({4}, {0, 1, 2, -3})}})[0].dims(), ElementsAre(3, 0));
}

// What an argument cannot be is refused before anything runs, whether it is fed or a constant.
TEST(Arguments, OutOfRange) {
  const Tensor x = ramp({4}), image = ramp({1, 1, 2, 2});
  const std::vector<OneNode> wrong{
      {"Slice", {x, longs({1}, {0}), longs({1}, {4}), longs({1}, {0}), longs({1}, {0})}},
      {"Slice", {x, longs({1}, {0}), longs({1}, {4}), longs({1}, {1})}},
      {"Slice", {ramp({2, 2}), longs({2}, {0, 0}), longs({2}, {1, 1}), longs({2}, {0, -2})}},
      {"Split", {x, longs({2}, {1, 2})}, {}, 2},
      {"Split", {x, longs({2}, {-1, 5})}, {}, 2},
      {"Tile", {x, longs({1}, {-1})}},
      {"Tile", {x, longs({2}, {1, 1})}},
      {"Range", {longs({}, {0}), longs({}, {3}), longs({}, {0})}},
      {"Pad", {x, longs({2}, {-3, -3})}},
      {"Pad", {x, longs({1}, {1})}},
      {"Expand", {x, longs({1}, {3})}},
      {"Expand", {x, longs({1}, {-1})}},
      {"Reshape", {x, longs({2}, {3, -1})}},
      {"Reshape", {x, longs({1}, {-2})}},
      {"Reshape", {x, longs({2}, {-1, -1})}},
      {"TopK", {x, longs({1}, {5})}, {}, 2},
      {"TopK", {x, longs({1}, {-1})}, {}, 2},
      {"CumSum", {x, longs({}, {1})}},
      {"CumSum", {x, longs({}, {-2})}},
      {"Unsqueeze", {x, longs({1}, {3})}},
      {"Unsqueeze", {x, longs({2}, {0, 0})}},
      {"Squeeze", {x, longs({1}, {0})}},
      {"Squeeze", {x, longs({1}, {4})}},
      {"ReduceSum", {x, longs({1}, {1})}},
      {"OneHot", {longs({1}, {0}), longs({}, {-3}), ramp({2})}},
      {"ConstantOfShape", {longs({1}, {-1})}},
      {"Resize", {image, Tensor(), floats({4}, {1, 1, 0, 1})}},
      {"Resize", {image, Tensor(), floats({4}, {1, 1, std::numeric_limits<float>::infinity(), 1})}},
      {"Resize", {image, Tensor(), floats({4}, {1, 1, std::numeric_limits<float>::quiet_NaN(), 1})}},
      {"Resize", {image, Tensor(), Tensor(), longs({4}, {1, 1, -1, 1})}},
      {"Gather", {x, longs({1}, {0})}, {{"axis", int64_t{1}}}},
      {"Concat", {x, x}, {{"axis", int64_t{-2}}}},
      {"Transpose", {image}, {{"perm", std::vector<int64_t>{0, 1, 2, 4}}}}};
  for (const OneNode& one : wrong) {
    SCOPED_TRACE(testing::Message() << one.op << " #" << &one - wrong.data());
    for (const Given given : {Given::kFed, Given::kConstant}) {
      const auto error = error_of(one, given);
      ASSERT_TRUE(error);
      EXPECT_EQ(error->code(), ErrorCode::kShapeMismatch) << error->what();
      EXPECT_EQ(error->details().node, "the " + one.op);
    }
  }
}

TEST(Range, OfTwoTypes) {
  const auto error = error_of(
      {"Range", {Tensor::scalar(0.0f), Tensor::scalar(int64_t{3}), Tensor::scalar(1.0f)}}, Given::kFed);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code(), ErrorCode::kInvalidModel);
}

}  // namespace
}  // namespace zp::test
