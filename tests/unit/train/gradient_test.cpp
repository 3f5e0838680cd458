// Every operator with a gradient, beside finite differences.
#include "unit/ops/lstm_case.h"
#include "unit/train/gradient_check.h"

namespace zp::test {
namespace {

using Ints = std::vector<int64_t>;

// ramp() in [lo, hi].
Tensor between(Shape dims, float lo, float hi) {
  Tensor t = ramp(std::move(dims));
  for (float& v : t.mutable_data<float>()) v = lo + (v + 1) / 2 * (hi - lo);
  return t;
}

// Values that keep their distance from each other: for maxima, which have corners where two are equal.
Tensor apart(Shape dims) {
  Tensor t(DType::kFloat32, std::move(dims));
  const auto n = static_cast<uint64_t>(t.size());
  for (uint64_t i = 0; i < n; ++i)
    t.mutable_data<float>()[i] =
        0.1f * static_cast<float>((i * 7919 + 13) % n) - 0.05f * static_cast<float>(n);
  return t;
}

struct Unary {
  const char* op;
  float lo, hi;
  GraphBuilder::Attributes attributes = {};
};

TEST(Gradient, FunctionsOfOneElement) {
  const Unary cases[] = {
      {"Relu", -1, 1},
      {"LeakyRelu", -1, 1, {{"alpha", 0.2f}}},
      {"Elu", -2, 2},
      {"Sigmoid", -4, 4},
      {"Tanh", -2, 2},
      {"Softplus", -3, 3},
      {"HardSwish", -4, 4},
      {"HardSigmoid", -4, 4, {{"alpha", 0.25f}, {"beta", 0.4f}}},
      {"Exp", -2, 1},
      {"Log", 0.5f, 3},
      {"Sqrt", 0.5f, 3},
      {"Reciprocal", 0.5f, 2},
      {"Erf", -2, 2},
      {"Abs", -1, 1},
      {"Neg", -1, 1},
      {"Gelu", -3, 3},
      {"Gelu", -3, 3, {{"approximate", std::string("tanh")}}},
      {"Identity", -1, 1},
  };
  for (const Unary& c : cases) {
    SCOPED_TRACE(c.op);
    GraphBuilder net;
    const ValueId x = net.input("x", {2, 37});
    // An input that is read twice: both gradients are added.
    const ValueId y = net.add("Mul", "product", {net.add(c.op, "y", {x}, c.attributes), x});
    // Corners fall between the ramp's points with a small enough step.
    check_gradients(net, y, {{"x", between({2, 37}, c.lo, c.hi)}}, {.step = 2e-3f});
  }
}

TEST(Gradient, Clip) {
  GraphBuilder net;
  const ValueId x = net.input("x", {3, 17});
  const ValueId lo = net.constant("lo", Tensor::scalar(-0.5f)),
                hi = net.constant("hi", Tensor::scalar(0.25f));
  check_gradients(net, net.add("Clip", "y", {x, lo, hi}), {{"x", ramp({3, 17})}}, {.step = 1e-3f});
}

TEST(Gradient, BroadcastOperators) {
  for (const char* op : {"Add", "Sub", "Mul", "Div", "Pow"}) {
    for (const Shape& second : {Shape{2, 3, 4, 5}, Shape{3, 1, 1}, Shape{1, 3, 1, 5}, Shape{}}) {
      SCOPED_TRACE(std::string(op) + to_string(second));
      GraphBuilder net;
      const ValueId a = net.input("a", symbolic(Shape{2, 3, 4, 5})), b = net.input("b", symbolic(second));
      check_gradients(net, net.add(op, "y", {a, b}),
                      {{"a", between({2, 3, 4, 5}, 0.5f, 2)}, {"b", between(second, 0.75f, 1.5f)}});
    }
  }
}

// One name for two dimensions is a guess of an exporter's: here they are 3 and 1.
TEST(Gradient, DimensionsOfOneNameMayDiffer) {
  for (const char* op : {"Add", "Mul"}) {
    SCOPED_TRACE(op);
    GraphBuilder net;
    const ValueId a = net.input("a", {Dim::symbol("N"), 4}), b = net.input("b", {Dim::symbol("N"), 4});
    check_gradients(net, net.add(op, "y", {a, b}), {{"a", ramp({3, 4})}, {"b", ramp({1, 4})}});
  }
}

TEST(Gradient, Gemm) {
  for (const int64_t ta : {0, 1})
    for (const int64_t tb : {0, 1})
      for (const Shape& c : {Shape{6}, Shape{5, 6}, Shape{5, 1}}) {
        SCOPED_TRACE(std::to_string(ta) + std::to_string(tb) + to_string(c));
        GraphBuilder net;
        const Shape a_dims = ta ? Shape{7, 5} : Shape{5, 7}, b_dims = tb ? Shape{6, 7} : Shape{7, 6};
        const ValueId a = net.input("a", symbolic(a_dims)), b = net.input("b", symbolic(b_dims)),
                      bias = net.input("c", symbolic(c));
        const ValueId y = net.add("Gemm", "y", {a, b, bias},
                                  {{"transA", ta}, {"transB", tb}, {"alpha", 0.5f}, {"beta", 1.5f}});
        check_gradients(net, y, {{"a", ramp(a_dims)}, {"b", ramp(b_dims)}, {"c", ramp(c)}});
      }
}

TEST(Gradient, MatMul) {
  const std::pair<Shape, Shape> cases[] = {{{5, 7}, {7, 6}},
                                           {{2, 3, 5, 7}, {7, 6}},
                                           {{2, 3, 5, 7}, {2, 3, 7, 6}},
                                           {{2, 3, 5, 7}, {3, 7, 6}},
                                           {{5, 7}, {2, 7, 6}}};
  for (const auto& [a_dims, b_dims] : cases) {
    SCOPED_TRACE(to_string(a_dims) + to_string(b_dims));
    GraphBuilder net;
    const ValueId a = net.input("a", symbolic(a_dims)), b = net.input("b", symbolic(b_dims));
    check_gradients(net, net.add("MatMul", "y", {a, b}), {{"a", ramp(a_dims)}, {"b", ramp(b_dims)}});
  }
}

struct ConvCase {
  const char* name;
  Shape x, w;
  GraphBuilder::Attributes attributes;
};

const ConvCase kConvolutions[] = {
    {"3x3", {2, 3, 7, 6}, {5, 3, 3, 3}, {{"pads", Ints{1, 1, 1, 1}}}},
    {"1x1", {2, 9, 5, 4}, {8, 9, 1, 1}, {}},
    {"strides", {2, 3, 9, 8}, {4, 3, 3, 3}, {{"strides", Ints{2, 2}}, {"pads", Ints{1, 1, 1, 1}}}},
    {"uneven pads", {1, 2, 8, 8}, {3, 2, 3, 2}, {{"strides", Ints{3, 2}}, {"pads", Ints{0, 1, 2, 0}}}},
    {"same", {1, 2, 7, 8}, {3, 2, 3, 3}, {{"strides", Ints{2, 2}}, {"auto_pad", std::string("SAME_UPPER")}}},
    {"dilation", {1, 2, 9, 9}, {3, 2, 3, 3}, {{"dilations", Ints{2, 3}}, {"pads", Ints{2, 3, 2, 3}}}},
    {"groups", {2, 6, 5, 5}, {4, 3, 3, 3}, {{"group", int64_t{2}}, {"pads", Ints{1, 1, 1, 1}}}},
    {"depthwise", {2, 6, 7, 6}, {6, 1, 3, 3}, {{"group", int64_t{6}}, {"pads", Ints{1, 1, 1, 1}}}},
    {"depthwise strides",
     {2, 6, 7, 6},
     {6, 1, 3, 3},
     {{"group", int64_t{6}}, {"pads", Ints{1, 1, 1, 1}}, {"strides", Ints{2, 2}}}},
    {"depthwise multiplied", {1, 3, 6, 6}, {6, 1, 3, 3}, {{"group", int64_t{3}}}},
    {"one dimension", {2, 3, 11}, {4, 3, 3}, {{"strides", Ints{2}}, {"pads", Ints{1, 1}}}},
    {"three dimensions",
     {1, 2, 4, 5, 4},
     {3, 2, 3, 2, 3},
     {{"strides", Ints{2, 1, 1}}, {"dilations", Ints{1, 2, 1}}, {"pads", Ints{1, 1, 0, 1, 0, 1}}}},
    {"one line of three dimensions", {1, 2, 5, 3, 4}, {3, 2, 3, 1, 1}, {{"pads", Ints{1, 0, 0, 1, 0, 0}}}},
    {"depthwise in three dimensions",
     {1, 3, 4, 4, 3},
     {3, 1, 2, 3, 2},
     {{"group", int64_t{3}}, {"pads", Ints{1, 1, 1, 0, 1, 0}}}},
    {"more pixels than a partial sum", {1, 2, 20, 20}, {3, 2, 3, 3}, {}},
};

TEST(Gradient, Conv) {
  for (const ConvCase& c : kConvolutions) {
    SCOPED_TRACE(c.name);
    GraphBuilder net;
    const Shape bias{c.w[0]};
    const ValueId x = net.input("x", symbolic(c.x)), w = net.input("w", symbolic(c.w)),
                  b = net.input("b", symbolic(bias));
    // Before and after it something that is in channels last order, too.
    const ValueId y =
        net.add("Relu", "y", {net.add("Conv", "conv", {net.add("Tanh", "t", {x}), w, b}, c.attributes)});
    check_gradients(net, y, {{"x", ramp(c.x)}, {"w", ramp(c.w)}, {"b", ramp(bias)}},
                    {.step = 1e-3f, .tolerance = 1e-2, .scale_step = 2e-3f});
  }
}

TEST(Gradient, ConvTranspose) {
  const ConvCase cases[] = {
      {"plain", {2, 3, 4, 5}, {3, 4, 3, 3}, {}},
      {"strides",
       {2, 3, 4, 5},
       {3, 4, 3, 3},
       {{"strides", Ints{2, 2}}, {"pads", Ints{1, 1, 1, 1}}, {"output_padding", Ints{1, 1}}}},
      {"groups", {1, 4, 4, 4}, {4, 3, 2, 2}, {{"group", int64_t{2}}, {"strides", Ints{2, 2}}}},
      {"three dimensions",
       {1, 2, 3, 2, 4},
       {2, 3, 3, 2, 2},
       {{"strides", Ints{2, 1, 2}}, {"pads", Ints{1, 0, 0, 0, 1, 1}}}},
  };
  for (const ConvCase& c : cases) {
    SCOPED_TRACE(c.name);
    GraphBuilder net;
    int64_t group = 1;
    for (const auto& [key, value] : c.attributes)
      if (key == "group") group = std::get<int64_t>(value);
    const Shape bias{c.w[1] * group};
    const ValueId x = net.input("x", symbolic(c.x)), w = net.input("w", symbolic(c.w)),
                  b = net.input("b", symbolic(bias));
    check_gradients(net, net.add("ConvTranspose", "y", {x, w, b}, c.attributes),
                    {{"x", ramp(c.x)}, {"w", ramp(c.w)}, {"b", ramp(bias)}});
  }
}

TEST(Gradient, Pooling) {
  const Ints two{2, 2}, three{3, 3};
  const std::pair<const char*, GraphBuilder::Attributes> cases[] = {
      {"MaxPool", {{"kernel_shape", two}, {"strides", two}}},
      {"MaxPool", {{"kernel_shape", three}, {"strides", two}, {"pads", Ints{1, 1, 1, 1}}}},
      {"AveragePool", {{"kernel_shape", two}, {"strides", two}}},
      {"AveragePool", {{"kernel_shape", three}, {"pads", Ints{1, 1, 1, 1}}}},
      {"AveragePool",
       {{"kernel_shape", three}, {"pads", Ints{1, 1, 1, 1}}, {"count_include_pad", int64_t{1}}}},
      {"GlobalAveragePool", {}},
      {"GlobalMaxPool", {}},
  };
  for (const auto& [op, attributes] : cases) {
    SCOPED_TRACE(op);
    for (const Shape& dims : {Shape{2, 5, 6, 7}, Shape{1, 70, 6, 5}}) {
      GraphBuilder net;
      const ValueId x = net.input("x", symbolic(dims));
      check_gradients(net, net.add(op, "y", {x}, attributes), {{"x", apart(dims)}},
                      {.codes = 2000, .scale_step = 0.2f});
    }
  }
}

TEST(Gradient, Softmax) {
  for (const char* op : {"Softmax", "LogSoftmax"})
    for (const int64_t axis : {-1, 1}) {
      SCOPED_TRACE(op);
      GraphBuilder net;
      const ValueId x = net.input("x", {2, 5, 7});
      check_gradients(net, net.add(op, "y", {x}, {{"axis", axis}}), {{"x", ramp({2, 5, 7}, 2)}});
    }
}

TEST(Gradient, ChangesOfDimensions) {
  GraphBuilder net;
  const ValueId x = net.input("x", {Dim::symbol("N"), 3, 4, 5});
  const ValueId t = net.add("Transpose", "t", {x}, {{"perm", Ints{0, 2, 3, 1}}});
  const ValueId r = net.add("Reshape", "r", {t, net.constant("to", Tensor::of<int64_t>({3}, {0, -1, 6}))});
  const ValueId u = net.add("Unsqueeze", "u", {r, net.constant("axes", Tensor::of<int64_t>({1}, {1}))});
  const ValueId s = net.add("Squeeze", "s", {u, net.constant("axes2", Tensor::of<int64_t>({1}, {1}))});
  const ValueId f = net.add("Flatten", "f", {s}, {{"axis", int64_t{2}}});
  check_gradients(net, f, {{"x", ramp({2, 3, 4, 5})}});
}

TEST(Gradient, Reductions) {
  for (const char* op :
       {"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare"})
    for (const int64_t keep : {0, 1})
      for (const Ints& axes : {Ints{}, Ints{2}, Ints{-1, 1}}) {
        SCOPED_TRACE(std::string(op) + to_string(axes));
        GraphBuilder net;
        std::vector<ValueId> inputs{net.input("x", {Dim::symbol("N"), 3, 4, 5})};
        if (!axes.empty())
          inputs.push_back(
              net.constant("axes", Tensor::of<int64_t>({static_cast<int64_t>(axes.size())}, axes)));
        check_gradients(net, net.add(op, "y", inputs, {{"keepdims", keep}}), {{"x", ramp({2, 3, 4, 5})}},
                        {.step = 1e-3f});
      }
}

TEST(Gradient, MovedValues) {
  const auto ints = [](Ints v) { return Tensor::of<int64_t>({static_cast<int64_t>(v.size())}, v); };
  const auto check = [&](const char* op, std::vector<Tensor> arguments,
                         GraphBuilder::Attributes attributes = {}) {
    SCOPED_TRACE(op);
    GraphBuilder net;
    std::vector<ValueId> inputs{net.input("x", {2, 3, 4, 5})};
    for (size_t i = 0; i < arguments.size(); ++i)
      inputs.push_back(arguments[i].defined() ? net.constant("a" + std::to_string(i), arguments[i])
                                              : kNoValue);
    check_gradients(net, net.add(op, "y", inputs, attributes), {{"x", ramp({2, 3, 4, 5})}});
  };
  check("Slice", {ints({1, -1}), ints({3, -5}), ints({1, 3}), ints({1, -2})});
  check("Pad", {ints({0, 0, 1, 2, 0, 0, 1, 0})});
  check("Pad", {ints({0, 0, 1, 2, 0, 0, 1, 0})}, {{"mode", std::string("reflect")}});
  check("Gather", {Tensor::of<int64_t>({2, 2}, {1, 0, 1, 2})}, {{"axis", int64_t{1}}});
  check("GatherElements",
        {Tensor::of<int64_t>({2, 1, 4, 2}, {0, 2, 1, 1, 3, 0, 2, 2, 4, 0, 1, -1, 3, 3, 0, 2})},
        {{"axis", int64_t{-1}}});
  check("GatherND", {Tensor::of<int64_t>({3, 2}, {1, 2, 0, 0, 1, 2})});
  check("Expand", {ints({2, 1, 3, 1, 1})});
  const Tensor scales = Tensor::of<float>({4}, {1, 1, 2, 1.6f});
  for (const char* mode : {"nearest", "linear", "cubic"})
    check("Resize", {Tensor(), scales}, {{"mode", std::string(mode)}});
}

TEST(Gradient, ConcatSplitWhere) {
  GraphBuilder net;
  const ValueId a = net.input("a", {Dim::symbol("N"), 3, 4, 5}),
                b = net.input("b", {Dim::symbol("N"), 2, 4, 5});
  const ValueId both = net.add("Concat", "both", {a, b}, {{"axis", int64_t{1}}});
  Node split;
  split.op_type = "Split";
  split.name = "split";
  split.inputs = {both, net.constant("sizes", Tensor::of<int64_t>({3}, {1, 3, 1}))};
  split.attributes.emplace("axis", int64_t{1});
  for (const char* name : {"s0", "s1", "s2"}) split.outputs.push_back(net.graph().add_value(name));
  net.graph().nodes.push_back(split);
  const ValueId above =
      net.add("Less", "above", {net.constant("zero", Tensor::scalar(0.f)), split.outputs[1]});
  // s2 is read by nobody.
  const ValueId y = net.add("Where", "y", {above, split.outputs[0], split.outputs[1]});
  check_gradients(net, y, {{"a", ramp({2, 3, 4, 5})}, {"b", ramp({2, 2, 4, 5}, 0.7f)}},
                  {.step = 1e-3f, .codes = 4000, .scale_step = 0.5f});
}

TEST(Gradient, ExtremesAndSlopes) {
  for (const char* op : {"Max", "Min"}) {
    GraphBuilder net;
    const ValueId a = net.input("a", {2, 3, 4}), b = net.input("b", {3, 1});
    check_gradients(net, net.add(op, "y", {a, b}), {{"a", ramp({2, 3, 4})}, {"b", ramp({3, 1}, 0.3f)}},
                    {.step = 1e-3f});
  }
  GraphBuilder net;
  const ValueId x = net.input("x", {2, 3, 4, 4}), slope = net.input("slope", {3, 1, 1});
  check_gradients(net, net.add("PRelu", "y", {x, slope}),
                  {{"x", ramp({2, 3, 4, 4})}, {"slope", ramp({3, 1, 1})}}, {.step = 1e-3f});
}

TEST(Gradient, Normalizations) {
  for (const char* op : {"LayerNormalization", "SimplifiedLayerNormalization"})
    for (const int64_t axis : {-1, 1}) {
      SCOPED_TRACE(op);
      GraphBuilder net;
      const Shape row = axis == -1 ? Shape{7} : Shape{5, 7};
      const ValueId x = net.input("x", {3, 5, 7}), s = net.input("s", symbolic(row)),
                    b = net.input("b", symbolic(row));
      const bool centred = std::string(op) == "LayerNormalization";
      std::vector<ValueId> inputs{x, s};
      if (centred) inputs.push_back(b);
      ValueId y = net.add(op, "n", inputs, {{"axis", axis}});
      if (!centred) y = net.add("Add", "y", {y, b});
      check_gradients(net, y, {{"x", ramp({3, 5, 7})}, {"s", ramp(row)}, {"b", ramp(row)}});
    }
  GraphBuilder net;
  const ValueId x = net.input("x", {2, 3, 4, 5}), s = net.input("s", {3}), b = net.input("b", {3});
  const ValueId mean = net.constant("mean", ramp({3})),
                variance = net.constant("variance", between({3}, 0.5f, 2));
  check_gradients(net, net.add("BatchNormalization", "y", {x, s, b, mean, variance}),
                  {{"x", ramp({2, 3, 4, 5})}, {"s", ramp({3})}, {"b", ramp({3})}});
}

TEST(Gradient, BatchNormalizationInTrainingMode) {
  for (const Shape& dims : {Shape{6, 3}, Shape{3, 3, 5}, Shape{2, 3, 4, 5}}) {
    SCOPED_TRACE(to_string(dims));
    GraphBuilder net;
    SymShape free = symbolic(dims);
    free[0] = Dim::symbol("N");
    const ValueId x = net.input("x", free), s = net.input("s", {3}), b = net.input("b", {3});
    const ValueId mean = net.constant("mean", ramp({3})),
                  variance = net.constant("variance", between({3}, 0.5f, 2));
    check_gradients(net,
                    net.add("BatchNormalization", "y", {x, s, b, mean, variance},
                            {{"training_mode", int64_t{1}}, {"epsilon", 1e-2f}}),
                    {{"x", ramp(dims)}, {"s", ramp({3})}, {"b", ramp({3})}});
  }
}

// The outputs that are asked for, one after the other in one row.
ValueId joined(GraphBuilder& net, const std::vector<ValueId>& outputs, unsigned wanted) {
  const ValueId flat = net.constant("flat", Tensor::of<int64_t>({1}, {-1}));
  std::vector<ValueId> rows;
  for (size_t i = 0; i < outputs.size(); ++i)
    if (wanted >> i & 1) rows.push_back(net.add("Reshape", "row" + std::to_string(i), {outputs[i], flat}));
  return net.add("Concat", "y", rows, {{"axis", int64_t{0}}});
}

TEST(Gradient, Lstm) {
  for (const LstmCase& c : lstm_cases()) {
    SCOPED_TRACE(c.name);
    GraphBuilder net;
    const bool corners = c.clip > 0 || !c.activations.empty();
    const GradientCheck how = corners ? GradientCheck{.step = 2e-4f, .scale_step = 1e-3f} : GradientCheck{};
    check_gradients(net, joined(net, add_lstm(net, c), 7), c.values(), how);
  }
}

TEST(Gradient, LstmWithSomeOfItsOutputs) {
  for (const unsigned wanted : {1u, 2u, 4u, 6u})
    for (const bool lengths : {false, true}) {
      SCOPED_TRACE(std::to_string(wanted) + (lengths ? " lengths" : ""));
      const LstmCase c{.name = "", .direction = "bidirectional", .lengths = lengths, .batch = 6};
      GraphBuilder net;
      check_gradients(net, joined(net, add_lstm(net, c), wanted), c.values());
    }
}

TEST(Gradient, LstmActivationsThatAreNotDifferentiated) {
  const auto message = [](LstmCase c) {
    GraphBuilder net;
    const ValueId y = joined(net, add_lstm(net, c), 1);
    const ValueId loss = net.add("ReduceSum", "loss", {y}, {{"keepdims", int64_t{0}}});
    infer_shapes(net.graph());
    try {
      train::add_gradients(net.graph(), loss, {net.graph().inputs[0]});
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kUnsupportedOperator);
      return std::string(e.what());
    }
    return std::string();
  };
  LstmCase c{.name = "", .activations = {"Sigmoid", "Elu", "Tanh"}};
  EXPECT_EQ(message(c), "the gradient of ai.onnx.LSTM: activation 'Elu' is not differentiated");
  c.activations = {"LeakyRelu", "Tanh", "Tanh"};
  EXPECT_EQ(message(c), "");
  c.clip = 3;
  EXPECT_EQ(message(c),
            "the gradient of ai.onnx.LSTM: activation 'LeakyRelu' is not differentiated with a clip");
}

// A row of nothing but zeros has a length of 0, and no direction.
TEST(Gradient, LengthOfZeros) {
  GraphBuilder net;
  const ValueId x = net.input("x", {2, 3});
  const ValueId y = net.add("ReduceL2", "y", {x, net.constant("axes", Tensor::of<int64_t>({1}, {1}))});
  const ValueId loss = net.add("ReduceSum", "loss", {y}, {{"keepdims", int64_t{0}}});
  infer_shapes(net.graph());
  net.output(train::add_gradients(net.graph(), loss, {x})[0]);
  const Tensor d = runtime::Session(net.build(), {.threads = 1})
                       .run({{"x", Tensor::of<float>({2, 3}, {0, 0, 0, 3, 0, -4})}})[0];
  EXPECT_EQ(d.floats(), (std::vector<float>{0, 0, 0, 0.6f, 0, -0.8f}));
}

// FakeQuantize's own gradient by its definition, summed in double precision: for one scale over more elements
// than one piece has, and for scales along each axis.
TEST(Gradient, FakeQuantizeByItsDefinition) {
  struct Case {
    Shape dims;
    int64_t axis;  // -1: one scale
  };
  for (const Case& c : {Case{{70001}, -1}, Case{{3, 7, 5}, 0}, Case{{3, 7, 5}, 1}, Case{{3, 7, 5}, 2}}) {
    SCOPED_TRACE(to_string(c.dims) + std::to_string(c.axis));
    const int64_t count = c.axis < 0 ? 1 : c.dims[static_cast<size_t>(c.axis)];
    const float low = -8, high = 7;
    std::vector<float> scales, zeros;
    for (int64_t i = 0; i < count; ++i) {
      scales.push_back(0.05f + 0.02f * static_cast<float>(i));
      zeros.push_back(static_cast<float>(i % 4) - 1);
    }
    const Tensor x = ramp(c.dims), factors = ramp(c.dims, 2);
    GraphBuilder net;
    const ValueId in = net.input("x", symbolic(c.dims)), s = net.input("s", {count});
    const ValueId y =
        net.add("FakeQuantize", "y", {in, s, net.constant("z", Tensor::of<float>({count}, zeros))},
                {{"low", low}, {"high", high}, {"axis", std::max<int64_t>(0, c.axis)}}, kOwn);
    const ValueId loss =
        net.add("ReduceSum", "loss", {net.add("Mul", "weighted", {y, net.constant("factors", factors)})},
                {{"keepdims", int64_t{0}}});
    infer_shapes(net.graph());
    const std::vector<ValueId> d = train::add_gradients(net.graph(), loss, {in, s});
    for (ValueId v : {y, d[0], d[1]}) net.output(v);
    const auto model = net.build();
    int64_t inner = 1;
    for (size_t i = static_cast<size_t>(c.axis + 1); c.axis >= 0 && i < c.dims.size(); ++i)
      inner *= c.dims[i];
    std::vector<float> first;
    for (const int threads : {1, 3}) {
      const std::vector<Tensor> out = runtime::Session(model, {.threads = threads, .integer = false})
                                          .run({{"x", x}, {"s", Tensor::of<float>({count}, scales)}});
      std::vector<double> ds(static_cast<size_t>(count), 0);
      for (size_t i = 0; i < static_cast<size_t>(x.size()); ++i) {
        const auto k = c.axis < 0 ? size_t{0} : i / static_cast<size_t>(inner) % static_cast<size_t>(count);
        const float code = x.data<float>()[i] / scales[k], q = std::nearbyint(code) + zeros[k];
        const float dy = factors.data<float>()[i], kept = std::clamp(q, low, high);
        ASSERT_EQ(out[0].data<float>()[i], (kept - zeros[k]) * scales[k]) << i;
        ASSERT_EQ(out[1].data<float>()[i], q == kept ? dy : 0.f) << i;
        ds[k] += double{dy} * (q == kept ? double{q} - zeros[k] - code : double{kept} - zeros[k]);
      }
      for (size_t k = 0; k < ds.size(); ++k)
        EXPECT_NEAR(out[2].floats()[k], ds[k], 1e-5 * (1 + std::fabs(ds[k]))) << k;
      if (first.empty()) first = out[2].floats();
      EXPECT_EQ(out[2].floats(), first);
    }
  }
}

TEST(Gradient, OperatorsInTheWayAreNamed) {
  GraphBuilder net;
  const ValueId x = net.input("x", {2, 4});
  const ValueId y = net.add("Ceil", "up", {net.add("Floor", "down", {x})});
  const ValueId loss = net.add("ReduceSum", "loss", {y}, {{"keepdims", int64_t{0}}});
  infer_shapes(net.graph());
  try {
    train::add_gradients(net.graph(), loss, {x});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kUnsupportedOperator);
    EXPECT_STREQ(e.what(), "these operators have no gradient: ai.onnx.Ceil, ai.onnx.Floor");
    EXPECT_EQ(e.details().node, "down");
  }
}

TEST(Gradient, ManyThreadsGiveTheSameBitsOfAnLstm) {
  for (const bool lengths : {false, true}) {
    const LstmCase c{.name = "",
                     .direction = "bidirectional",
                     .lengths = lengths,
                     .peepholes = true,
                     .batch = 29,
                     .hidden = 9};
    std::vector<std::vector<Tensor>> results;
    for (const int threads : {1, 2, 3}) {
      GraphBuilder net;
      const ValueId y = joined(net, add_lstm(net, c), 7);
      const ValueId loss =
          net.add("ReduceMean", "loss", {net.add("Mul", "m", {y, y})}, {{"keepdims", int64_t{0}}});
      infer_shapes(net.graph());
      for (ValueId d : train::add_gradients(net.graph(), loss, net.graph().inputs)) net.output(d);
      const auto model = net.build();
      results.push_back(
          runtime::Session(model, {.threads = threads}).run(feeds_of(model->graph, c.values())));
    }
    for (size_t i = 0; i < results[0].size(); ++i)
      for (size_t r = 1; r < results.size(); ++r)
        EXPECT_EQ(results[0][i].floats(), results[r][i].floats()) << i;
  }
}

TEST(Gradient, ManyThreadsGiveTheSameBits) {
  std::vector<std::vector<Tensor>> results;
  for (const int threads : {1, 3}) {
    GraphBuilder net;
    const ValueId x = net.input("x", {4, 3, 12, 12}), w = net.input("w", {24, 3, 3, 3}),
                  v = net.input("v", {24, 1, 3, 3});
    const ValueId a = net.add("Relu", "a", {net.add("Conv", "c", {x, w}, {{"pads", Ints{1, 1, 1, 1}}})});
    const ValueId b = net.add("Conv", "d", {a, v}, {{"group", int64_t{24}}, {"pads", Ints{1, 1, 1, 1}}});
    const ValueId loss =
        net.add("ReduceMean", "loss", {net.add("Mul", "m", {b, b})}, {{"keepdims", int64_t{0}}});
    infer_shapes(net.graph());
    for (ValueId d : train::add_gradients(net.graph(), loss, {x, w, v})) net.output(d);
    const auto model = net.build();
    runtime::Session session(model, {.threads = threads, .integer = false});
    results.push_back(session.run(
        feeds_of(model->graph,
                 {{"x", ramp({4, 3, 12, 12})}, {"w", ramp({24, 3, 3, 3})}, {"v", ramp({24, 1, 3, 3})}})));
  }
  for (size_t i = 0; i < results[0].size(); ++i)
    EXPECT_EQ(results[0][i].floats(), results[1][i].floats()) << i;
}

}  // namespace
}  // namespace zp::test
