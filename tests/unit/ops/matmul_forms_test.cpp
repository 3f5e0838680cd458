// Operator formats to Q/DQ and back, and the rewrites of products: the numbers stay.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <random>

#include "onnx/onnx.h"
#include "ops/infer.h"
#include "ops/rewrite.h"
#include "quant/format.h"
#include "quant/qdq.h"
#include "runtime/session.h"
#include "unit/graph/graph_builder.h"

namespace zp::test {
namespace {

using runtime::Feed;
using runtime::Session;
using testing::ElementsAre;

Tensor bytes(DType type, Shape dims, uint32_t seed) {
  std::mt19937 random(seed);
  Tensor t(type, std::move(dims));
  for (size_t i = 0; i < t.bytes(); ++i) t.mutable_raw()[i] = static_cast<std::byte>(random() % 256);
  return t;
}

Tensor zeros(DType type, Shape dims) { return Tensor(type, std::move(dims)); }

Tensor steps(int64_t n, float from = 0.01f, float by = 0.003f) {
  Tensor t(DType::kFloat32, {n});
  for (size_t i = 0; i < static_cast<size_t>(n); ++i)
    t.mutable_data<float>()[i] = from + by * static_cast<float>(i);
  return t;
}

std::vector<std::string> ops_of(const Model& model) {
  std::vector<std::string> ops;
  for (const Node& n : model.graph.nodes) ops.push_back(n.op_type);
  return ops;
}

Tensor run(const std::shared_ptr<Model>& model, const Tensor& x) {
  Session session(model);
  return session.run({{"x", x}}).at(0);
}

// Written and read again, as another program would see it.
std::shared_ptr<Model> reopened(const Model& model) {
  const std::vector<std::byte> file = onnx::write(model);
  const std::shared_ptr<std::byte> copy = allocate_bytes(file.size());
  std::memcpy(copy.get(), file.data(), file.size());
  return std::make_shared<Model>(onnx::read(copy, file.size()));
}

void expect_equal(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.dims(), b.dims());
  ASSERT_EQ(a.dtype(), b.dtype());
  EXPECT_EQ(0, std::memcmp(a.raw(), b.raw(), a.bytes()));
}

void expect_close(const Tensor& a, const Tensor& b, float tolerance) {
  ASSERT_EQ(a.dims(), b.dims());
  const std::vector<float> x = a.floats(), y = b.floats();
  float largest = 0;
  for (const float v : y) largest = std::max(largest, std::abs(v));
  for (size_t i = 0; i < x.size(); ++i) ASSERT_NEAR(x[i], y[i], tolerance * largest) << i;
}

// In operator format, and the same bits after reading that again.
std::vector<std::string> folded(const std::shared_ptr<Model>& model, const Tensor& x, float tolerance = 0) {
  const Model file = quant::in_format(*model, "qoperator");
  const std::shared_ptr<Model> again = reopened(file);
  simplify(again->graph);
  if (tolerance == 0) {
    expect_equal(run(again, x), run(model, x));
  } else {
    expect_close(run(again, x), run(model, x), tolerance);
  }
  return ops_of(file);
}

struct StaticModel : GraphBuilder {
  ValueId x;
  explicit StaticModel(Shape dims) { x = fake_quantize("x_dq", input("x", symbolic(dims)), 0.02f, 120); }
  ValueId weights(Shape dims, int64_t axis, Tensor scales) {
    const bool single = scales.size() == 1;
    if (single) scales = scales.reshaped({});
    const ValueId q = constant("w", bytes(DType::kInt8, std::move(dims), 5));
    return add("DequantizeLinear", "w_dq", {q, constant("w_scale", scales)},
               single ? Attributes{} : Attributes{{"axis", axis}});
  }
  // At the scale of the sums.
  ValueId bias(Tensor w_scales) {
    for (float& s : w_scales.mutable_data<float>()) s *= 0.02f;
    Tensor q(DType::kInt32, w_scales.dims());
    for (size_t i = 0; i < static_cast<size_t>(q.size()); ++i)
      q.mutable_data<int32_t>()[i] = static_cast<int32_t>(i) * 200 - 500;
    return add("DequantizeLinear", "b_dq", {constant("b", q), constant("b_scale", w_scales)},
               {{"axis", int64_t{0}}});
  }
  std::shared_ptr<Model> finish(ValueId y) {
    output(fake_quantize("y", y, 0.3f, 100));
    return build();
  }
};

TEST(OperatorFormat, Conv) {
  StaticModel b({2, 3, 8, 9});
  const ValueId y =
      b.add("Conv", "conv", {b.x, b.weights({6, 3, 3, 3}, 0, steps(6)), b.bias(steps(6))},
            {{"pads", std::vector<int64_t>{1, 1, 1, 1}}, {"strides", std::vector<int64_t>{2, 1}}});
  EXPECT_THAT(folded(b.finish(y), ramp({2, 3, 8, 9}, 2)),
              ElementsAre("QuantizeLinear", "QLinearConv", "DequantizeLinear"));
}

TEST(OperatorFormat, MatMul) {
  StaticModel b({2, 5, 12});
  const ValueId y = b.add("MatMul", "product", {b.x, b.weights({12, 7}, 1, steps(7))});
  EXPECT_THAT(folded(b.finish(y), ramp({2, 5, 12}, 2)),
              ElementsAre("QuantizeLinear", "QLinearMatMul", "DequantizeLinear"));
}

TEST(OperatorFormat, Gemm) {
  for (const int64_t transposed : {0, 1}) {
    StaticModel b({5, 12});
    const ValueId w = b.weights(transposed ? Shape{7, 12} : Shape{12, 7}, transposed ? 0 : 1, steps(7));
    const ValueId y = b.add("Gemm", "product", {b.x, w, b.bias(steps(7))}, {{"transB", transposed}});
    EXPECT_THAT(folded(b.finish(y), ramp({5, 12}, 2)),
                ElementsAre("QuantizeLinear", "QGemm", "DequantizeLinear"));
  }
}

TEST(OperatorFormat, ABiasAtAnotherScaleStays) {
  StaticModel b({2, 3, 8, 9});
  const ValueId bias = b.bias(steps(6, 0.5f));
  const ValueId y = b.add("Conv", "conv", {b.x, b.weights({6, 3, 3, 3}, 0, steps(6)), bias});
  EXPECT_THAT(folded(b.finish(y), ramp({2, 3, 8, 9}, 2)), testing::Contains("Conv"));
}

struct DynamicModel : GraphBuilder {
  ValueId x;
  explicit DynamicModel(Shape dims) {
    Node n;
    n.op_type = "DynamicQuantizeLinear";
    n.name = "quantize";
    n.inputs = {input("x", symbolic(dims))};
    n.outputs = {graph().add_value("q"), graph().add_value("scale"), graph().add_value("zero_point")};
    outputs = n.outputs;
    graph().nodes.push_back(std::move(n));
  }
  ValueId dequantized() { return add("DequantizeLinear", "x_dq", outputs); }
  ValueId weights(Shape dims, int64_t axis, Tensor scales) {
    const ValueId q = constant("w", bytes(DType::kInt8, std::move(dims), 5));
    return add("DequantizeLinear", "w_dq", {q, constant("w_scale", scales)}, {{"axis", axis}});
  }
  std::vector<ValueId> outputs;
};

TEST(OperatorFormat, DynamicProducts) {
  {
    DynamicModel b({2, 5, 12});
    b.output(b.add("MatMul", "product", {b.dequantized(), b.weights({12, 7}, 1, steps(7))}));
    EXPECT_THAT(folded(b.build(), ramp({2, 5, 12}, 2)),
                ElementsAre("DynamicQuantizeLinear", "MatMulInteger", "Cast", "Mul", "Mul"));
  }
  {
    DynamicModel b({5, 12});
    b.output(b.add("Gemm", "product",
                   {b.dequantized(), b.weights({7, 12}, 0, steps(7)), b.constant("c", ramp({7}))},
                   {{"transB", int64_t{1}}}));
    EXPECT_THAT(folded(b.build(), ramp({5, 12}, 2)),
                ElementsAre("DynamicQuantizeLinear", "MatMulInteger", "Cast", "Mul", "Mul", "Add"));
  }
  {
    DynamicModel b({2, 3, 8, 9});
    b.output(b.add("Conv", "conv",
                   {b.dequantized(), b.weights({6, 3, 3, 3}, 0, steps(6)), b.constant("c", ramp({6}))}));
    EXPECT_THAT(folded(b.build(), ramp({2, 3, 8, 9}, 2)),
                ElementsAre("DynamicQuantizeLinear", "ConvInteger", "Cast", "Mul", "Mul", "Add"));
  }
}

// Both matrices quantized in the run: attention.
TEST(OperatorFormat, DynamicProductOfTwo) {
  DynamicModel b({2, 5, 5});
  const ValueId transposed =
      b.add("Transpose", "transposed", {b.graph().inputs[0]}, {{"perm", std::vector<int64_t>{0, 2, 1}}});
  Node n;
  n.op_type = "DynamicQuantizeLinear";
  n.name = "quantize_transposed";
  n.inputs = {transposed};
  n.outputs = {b.graph().add_value("tq"), b.graph().add_value("ts"), b.graph().add_value("tz")};
  const std::vector<ValueId> t = n.outputs;
  b.graph().nodes.push_back(std::move(n));
  b.output(b.add("MatMul", "product", {b.dequantized(), b.add("DequantizeLinear", "t_dq", t)}));
  EXPECT_THAT(folded(b.build(), ramp({2, 5, 5}, 2)), testing::Contains("MatMulInteger"));
}

TEST(OperatorFormat, BlocksOfFourBits) {
  for (const DType type : {DType::kInt4, DType::kUint4}) {
    for (const bool transposed : {false, true}) {
      GraphBuilder b;
      const ValueId x = b.input("x", {3, 80});
      const Shape dims = transposed ? Shape{6, 80} : Shape{80, 6},
                  blocks = transposed ? Shape{6, 3} : Shape{3, 6};
      std::vector<ValueId> w{b.constant("w", bytes(type, dims, 1)), b.constant("s", ramp(blocks))};
      if (type == DType::kUint4) w.push_back(b.constant("z", bytes(type, blocks, 2)));
      const ValueId dq =
          b.add("DequantizeLinear", "w_dq", w, {{"axis", int64_t{transposed}}, {"block_size", int64_t{32}}});
      if (transposed) {
        b.output(b.add("Gemm", "y", {x, dq, b.constant("c", ramp({6}))}, {{"transB", int64_t{1}}}));
      } else {
        b.output(b.add("MatMul", "y", {x, dq}));
      }
      EXPECT_THAT(folded(b.build(), ramp({3, 80}), 1e-6f), ElementsAre("MatMulNBits"));
    }
  }
}

// Integers from a list, again and again.
Tensor few(DType type, Shape dims, const std::vector<int>& values) {
  Tensor t(type, std::move(dims));
  for (size_t i = 0; i < static_cast<size_t>(t.size()); ++i) {
    const int value = values[i * 7 % values.size()];
    t.mutable_raw()[i / 2] |= static_cast<std::byte>((value & 15) << (i % 2 ? 4 : 0));
  }
  return t;
}

TEST(OperatorFormat, FourNeighbouringIntegersAreTwoBits) {
  struct Case {
    DType type;
    std::vector<int> codes, points;  // no points: none are given
    int64_t bits;
    size_t inputs;
  };
  const std::vector<Case> cases = {
      {DType::kInt4, {-2, -1, 0, 1}, {}, 2, 3},  {DType::kInt4, {-2, -1, 0, 1}, {-2, -1, 0, 1}, 2, 4},
      {DType::kUint4, {0, 1, 2, 3}, {2}, 2, 3},  {DType::kUint4, {0, 1, 2, 3}, {0, 1, 2, 3}, 2, 4},
      {DType::kUint4, {6, 7, 8, 9}, {8}, 2, 3},  {DType::kInt4, {4, 5, 6, 7}, {5}, 2, 4},
      {DType::kInt4, {-2, -1, 0, 2}, {}, 4, 3},  {DType::kUint4, {0, 1, 2, 3}, {4}, 4, 4},
      {DType::kUint4, {0, 4, 8, 15}, {8}, 4, 3},
  };
  for (size_t i = 0; i < cases.size(); ++i) {
    for (const int64_t block : {16, 32, 64, 128}) {
      for (const bool transposed : {false, true}) {
        SCOPED_TRACE(testing::Message()
                     << "case " << i << ", blocks of " << block << ", transposed " << transposed);
        const Case& c = cases[i];
        GraphBuilder b;
        const ValueId x = b.input("x", {3, 80});
        const int64_t blocks = (80 + block - 1) / block;
        const Shape dims = transposed ? Shape{6, 80} : Shape{80, 6},
                    scales = transposed ? Shape{6, blocks} : Shape{blocks, 6};
        std::vector<ValueId> w{b.constant("w", few(c.type, dims, c.codes)), b.constant("s", ramp(scales))};
        if (!c.points.empty()) w.push_back(b.constant("z", few(c.type, scales, c.points)));
        const ValueId dq =
            b.add("DequantizeLinear", "w_dq", w, {{"axis", int64_t{transposed}}, {"block_size", block}});
        b.output(transposed ? b.add("Gemm", "y", {x, dq}, {{"transB", int64_t{1}}})
                            : b.add("MatMul", "y", {x, dq}));
        const auto model = b.build();
        EXPECT_THAT(folded(model, ramp({3, 80}), 1e-6f), ElementsAre("MatMulNBits"));
        const Graph file = quant::in_format(*model, "qoperator").graph;
        const Node& n = file.nodes[0];
        EXPECT_EQ(n.int_attribute("bits", 0), c.bits);
        EXPECT_EQ(n.inputs.size(), c.inputs);
        EXPECT_EQ(file.constant(n.input(1))->dims(), (Shape{6, blocks, block * c.bits / 8}));
        if (c.inputs == 4)
          EXPECT_EQ(file.constant(n.input(3))->dims(), (Shape{6, (blocks * c.bits + 7) / 8}));
        // What is read again takes as much.
        const Graph again =
            quant::in_format(*reopened(quant::in_format(*model, "qoperator")), "qoperator").graph;
        EXPECT_EQ(quant::constant_bytes(again), quant::constant_bytes(file));
      }
    }
  }
}

TEST(Fold, EightBitsByColumnAreMatMulNBitsAndByColumnAgain) {
  struct Case {
    DType type;
    Shape scales;
    bool points;
    size_t inputs;  // of the MatMulNBits
  };
  const std::vector<Case> cases = {{DType::kInt8, {6}, false, 3},
                                   {DType::kInt8, {}, false, 3},
                                   {DType::kUint8, {6}, true, 4},
                                   {DType::kUint8, {6}, false, 4}};
  for (size_t i = 0; i < cases.size(); ++i) {
    for (const int64_t k : {7, 80, 300}) {
      SCOPED_TRACE(testing::Message() << "case " << i << ", " << k << " rows");
      const Case& c = cases[i];
      GraphBuilder b;
      const ValueId x = b.input("x", {3, k});
      std::vector<ValueId> w{b.constant("w", bytes(c.type, {k, 6}, 3)), b.constant("s", ramp(c.scales))};
      if (c.points) w.push_back(b.constant("z", bytes(c.type, c.scales, 4)));
      b.output(b.add("MatMul", "y", {x, b.add("DequantizeLinear", "w_dq", w, {{"axis", int64_t{1}}})}));
      const auto model = b.build();
      EXPECT_THAT(folded(model, ramp({3, k}), 1e-6f), ElementsAre("MatMulNBits"));
      const Model file = quant::in_format(*model, "qoperator");
      const Node& n = file.graph.nodes[0];
      EXPECT_EQ(n.int_attribute("bits", 0), 8);
      EXPECT_EQ(n.int_attribute("block_size", 0), k < 16 ? 16 : k == 300 ? 64 : k == 80 ? 32 : 128);
      EXPECT_EQ(n.inputs.size(), c.inputs);
      for (const Node& read : reopened(file)->graph.nodes)
        if (read.op_type == "DequantizeLinear") EXPECT_EQ(read.int_attribute("block_size", 0), 0);
    }
  }
}

TEST(Fold, ABiasOfMatMulNBitsIsAVectorOrAdded) {
  const auto with_bias = [](const Shape& dims, float beta) {
    GraphBuilder b;
    const ValueId x = b.input("x", {3, 32});
    const ValueId w =
        b.add("DequantizeLinear", "w_dq",
              {b.constant("w", bytes(DType::kUint4, {32, 6}, 3)), b.constant("s", ramp({1, 6}))},
              {{"axis", int64_t{0}}, {"block_size", int64_t{32}}});
    b.output(b.add("Gemm", "y", {x, w, b.constant("b", ramp(dims))}, {{"beta", beta}}));
    return b.build();
  };
  for (const Shape& dims : {Shape{6}, Shape{1, 6}}) {
    const auto model = with_bias(dims, 1);
    EXPECT_THAT(folded(model, ramp({3, 32}), 1e-6f), ElementsAre("MatMulNBits"));
    const Graph file = quant::in_format(*model, "qoperator").graph;
    EXPECT_EQ(file.constant(file.nodes[0].input(5))->dims(), Shape{6});
  }
  for (const Shape& dims : {Shape{}, Shape{1}, Shape{3, 1}, Shape{3, 6}}) {
    SCOPED_TRACE(to_string(dims));
    // With a matrix added, the product of the pairs is one of floats; that of codes rounds to 16 bits.
    EXPECT_THAT(folded(with_bias(dims, 1), ramp({3, 32}), 1e-4f), ElementsAre("MatMulNBits", "Add"));
  }
}

// ONNX Runtime has no kernel for int8 activations with uint8 weights, nor for 16 bits.
TEST(Fold, WhatONNXRuntimeHasNoKernelForStaysQdq) {
  const auto product = [](DType activations, DType weights) {
    GraphBuilder b;
    const ValueId x = b.fake_quantize("x_dq", b.input("x", {3, 8}), 0.02f, 0, activations);
    const ValueId w =
        b.add("DequantizeLinear", "w_dq",
              {b.constant("w", bytes(weights, {8, 6}, 3)), b.constant("s", Tensor::scalar(0.1f))});
    b.output(b.fake_quantize("y", b.add("MatMul", "m", {x, w}), 0.3f, 0, activations));
    return ops_of(quant::in_format(*b.build(), "qoperator"));
  };
  EXPECT_THAT(product(DType::kInt8, DType::kUint8), testing::Not(testing::Contains("QLinearMatMul")));
  EXPECT_THAT(product(DType::kInt8, DType::kInt8), testing::Contains("QLinearMatMul"));
  EXPECT_THAT(product(DType::kUint8, DType::kUint8), testing::Contains("QLinearMatMul"));

  GraphBuilder b;
  const auto sixteen = [&](const std::string& name, ValueId v) {
    const ValueId s = b.constant(name + "_s", Tensor::scalar(0.001f)),
                  z = b.constant(name + "_z", Tensor::scalar(uint16_t{30000}));
    return b.add("DequantizeLinear", name, {b.add("QuantizeLinear", name + "_q", {v, s, z}), s, z});
  };
  const ValueId x = sixteen("x_dq", b.input("x", {1, 2, 4, 4}));
  const ValueId p = sixteen("p_dq", b.add("GlobalAveragePool", "p", {x}));
  b.output(sixteen("y", b.add("Concat", "c", {p, p}, {{"axis", int64_t{1}}})));
  const Model file = quant::in_format(*b.build(), "qoperator");
  EXPECT_TRUE(std::none_of(file.graph.nodes.begin(), file.graph.nodes.end(),
                           [](const Node& n) { return n.op_type.starts_with("QLinear"); }));
}

// ---- imported operators, beside the operators they stand for

// The output of an operator that has no shape rule of its own: a file says its type.
void typed_output(GraphBuilder& b, ValueId v, DType type) {
  b.graph()[v].dtype = type;
  b.output(v);
}

TEST(Imported, QLinearConvIsExact) {
  GraphBuilder b;
  const ValueId x = b.input("x", {1, 2, 3, 3}, DType::kUint8);
  const Tensor w = bytes(DType::kInt8, {1, 2, 3, 3}, 2);
  const auto scalar = [&](const char* name, float v) { return b.constant(name, Tensor::scalar(v)); };
  typed_output(
      b,
      b.add("QLinearConv", "y",
            {x, scalar("xs", 0.02f), b.constant("xz", Tensor::scalar(uint8_t{120})), b.constant("w", w),
             b.constant("ws", Tensor::of<float>({1}, {0.5f})), b.constant("wz", Tensor::of<int8_t>({1}, {0})),
             scalar("ys", 0.9f), b.constant("yz", Tensor::scalar(uint8_t{7})),
             b.constant("b", Tensor::of<int32_t>({1}, {1234}))}),
      DType::kUint8);
  const std::shared_ptr<Model> model = reopened(*b.build());
  EXPECT_THAT(ops_of(*model), testing::Contains("Conv"));
  const Tensor image = bytes(DType::kUint8, {1, 2, 3, 3}, 1);
  int32_t sum = 1234;
  for (int64_t i = 0; i < 18; ++i) sum += static_cast<int32_t>((image.integer_at(i) - 120) * w.integer_at(i));
  const float want =
      std::clamp(std::nearbyint(static_cast<float>(sum) * (0.02f * 0.5f / 0.9f)) + 7, 0.0f, 255.0f);
  EXPECT_EQ(run(model, image).integer_at(0), static_cast<int64_t>(want));
}

TEST(Imported, DynamicQuantizeMatMul) {
  const Tensor w = bytes(DType::kInt8, {12, 7}, 3), scales = steps(7);
  GraphBuilder fused;
  typed_output(fused,
               fused.add("DynamicQuantizeMatMul", "y",
                         {fused.input("x", {2, 12}), fused.constant("w", w), fused.constant("s", scales),
                          fused.constant("z", zeros(DType::kInt8, {7})), fused.constant("b", ramp({7}))},
                         {}, kMicrosoft),
               DType::kFloat32);
  DynamicModel plain({2, 12});
  const ValueId q = plain.constant("w", w);
  const ValueId dq =
      plain.add("DequantizeLinear", "w_dq", {q, plain.constant("s", scales)}, {{"axis", int64_t{1}}});
  plain.output(plain.add(
      "Add", "y", {plain.add("MatMul", "p", {plain.dequantized(), dq}), plain.constant("b", ramp({7}))}));
  expect_equal(run(reopened(*fused.build()), ramp({2, 12})), run(plain.build(), ramp({2, 12})));
}

TEST(Imported, MatMulNBitsThatDoesNotFit) {
  const auto code_of = [](Shape codes, Shape scales, GraphBuilder::Attributes attributes) {
    GraphBuilder b;
    const ValueId x = b.input("x", {2, 80});
    typed_output(b,
                 b.add("MatMulNBits", "y",
                       {x, b.constant("w", bytes(DType::kUint8, std::move(codes), 1)),
                        b.constant("s", ramp(std::move(scales)))},
                       std::move(attributes), kMicrosoft),
                 DType::kFloat32);
    try {
      require_supported(reopened(*b.build())->graph);
    } catch (const Error& e) {
      EXPECT_EQ(e.details().node, "y");
      return e.code();
    }
    return ErrorCode::kInternal;
  };
  const auto sizes = [](int64_t k, int64_t n, int64_t block, int64_t bits) {
    return GraphBuilder::Attributes{{"K", k}, {"N", n}, {"block_size", block}, {"bits", bits}};
  };
  EXPECT_EQ(code_of({6, 2, 16}, {6, 3}, sizes(80, 6, 32, 4)), ErrorCode::kInvalidModel);  // a block too few
  EXPECT_EQ(code_of({6, 3, 16}, {6, 2}, sizes(80, 6, 32, 4)), ErrorCode::kInvalidModel);
  EXPECT_EQ(code_of({6, 3, 16}, {6, 3}, sizes(80, 6, 0, 4)), ErrorCode::kInvalidModel);
  EXPECT_EQ(code_of({6, 3, 16}, {6, 3}, sizes(80, 6, 32, 3)), ErrorCode::kUnsupportedOperator);
}

// ---- rewrites

// The same numbers before and after, and these operators.
std::vector<std::string> simplified(GraphBuilder& b, const Tensor& x, float tolerance) {
  const std::shared_ptr<Model> model = b.build();
  const Tensor before = run(model, x);
  simplify(model->graph);
  expect_close(run(model, x), before, tolerance);
  return ops_of(*model);
}

TEST(ProductRewrites, DynamicallyQuantizedModelsOfOnnxRuntime) {
  DynamicModel b({2, 5, 12});
  const ValueId w = b.constant("w", bytes(DType::kUint8, {12, 7}, 3));
  const ValueId sums = b.add("MatMulInteger", "sums",
                             {b.outputs[0], w, b.outputs[2], b.constant("wz", Tensor::scalar(uint8_t{128}))});
  const ValueId floats = b.add("Cast", "floats", {sums}, {{"to", int64_t{1}}});
  const ValueId scale =
      b.add("Mul", "scale", {b.outputs[1], b.constant("ws", Tensor::of<float>({1}, {0.01f}))});
  b.output(b.add("Mul", "y", {floats, scale}));
  EXPECT_THAT(simplified(b, ramp({2, 5, 12}), 0),
              ElementsAre("DynamicQuantizeLinear", "DequantizeLinear", "DequantizeLinear", "MatMul"));
}

TEST(ProductRewrites, DynamicallyQuantizedConvolutionWithItsBias) {
  DynamicModel b({1, 3, 6, 6});
  const ValueId w = b.constant("w", bytes(DType::kUint8, {4, 3, 3, 3}, 3));
  const ValueId sums = b.add("ConvInteger", "sums",
                             {b.outputs[0], w, b.outputs[2], b.constant("wz", Tensor::scalar(uint8_t{128}))});
  const ValueId floats = b.add("Cast", "floats", {sums}, {{"to", int64_t{1}}});
  const ValueId scale = b.add("Mul", "scale", {b.outputs[1], b.constant("ws", Tensor::scalar(0.01f))});
  const ValueId scaled = b.add("Mul", "scaled", {floats, scale});
  const ValueId bias =
      b.add("Reshape", "bias",
            {b.constant("b", ramp({4})), b.constant("shape", Tensor::of<int64_t>({4}, {1, -1, 1, 1}))});
  b.output(b.add("Add", "y", {scaled, bias}));
  EXPECT_THAT(simplified(b, ramp({1, 3, 6, 6}), 0),
              ElementsAre("DynamicQuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Conv"));
}

TEST(ProductRewrites, MatMulAndAddOfMatricesBecomeGemm) {
  GraphBuilder b;
  const ValueId y =
      b.add("MatMul", "p", {b.input("x", {Dim::symbol("N"), 12}), b.constant("w", ramp({12, 7}))});
  b.output(b.add("Add", "y", {b.constant("b", ramp({7})), y}));
  EXPECT_THAT(simplified(b, ramp({3, 12}), 1e-6f), ElementsAre("Gemm"));
}

TEST(ProductRewrites, MatMulAndAddStayWhereTheShapesAreOthers) {
  {
    GraphBuilder b;  // a batch
    const ValueId y = b.add("MatMul", "p", {b.input("x", {2, 3, 12}), b.constant("w", ramp({12, 7}))});
    b.output(b.add("Add", "y", {b.constant("b", ramp({7})), y}));
    EXPECT_THAT(simplified(b, ramp({2, 3, 12}), 0), ElementsAre("MatMul", "Add"));
  }
  {
    GraphBuilder b;  // an Add that makes the output larger
    const ValueId y = b.add("MatMul", "p", {b.input("x", {1, 12}), b.constant("w", ramp({12, 7}))});
    b.output(b.add("Add", "y", {b.constant("b", ramp({4, 7})), y}));
    EXPECT_THAT(simplified(b, ramp({1, 12}), 0), ElementsAre("MatMul", "Add"));
  }
}

TEST(ProductRewrites, GemmsFactorsGoIntoItsConstants) {
  GraphBuilder b;
  b.output(b.add("Gemm", "y",
                 {b.input("x", {3, 12}), b.constant("w", ramp({12, 7})), b.constant("b", ramp({7}))},
                 {{"alpha", 0.3f}, {"beta", -2.0f}}));
  const std::shared_ptr<Model> model = b.build();
  const Tensor before = run(model, ramp({3, 12}));
  simplify(model->graph);
  expect_close(run(model, ramp({3, 12})), before, 1e-6f);
  EXPECT_EQ(model->graph.nodes[0].attribute("alpha"), nullptr);
  EXPECT_EQ(model->graph.nodes[0].attribute("beta"), nullptr);
}

TEST(ProductRewrites, AddBecomesTheBiasOfAConvolution) {
  GraphBuilder b;
  const ValueId y =
      b.add("Conv", "c",
            {b.input("x", {1, 3, 6, 6}), b.constant("w", ramp({4, 3, 3, 3})), b.constant("b", ramp({4}))});
  b.output(b.add("Add", "y", {y, b.constant("more", ramp({1, 4, 1, 1}))}));
  EXPECT_THAT(simplified(b, ramp({1, 3, 6, 6}), 1e-6f), ElementsAre("Conv"));

  GraphBuilder wide;  // along the width: no bias
  const ValueId z =
      wide.add("Conv", "c", {wide.input("x", {1, 3, 6, 6}), wide.constant("w", ramp({4, 3, 3, 3}))});
  wide.output(wide.add("Add", "y", {z, wide.constant("more", ramp({4}))}));
  EXPECT_THAT(simplified(wide, ramp({1, 3, 6, 6}), 0), ElementsAre("Conv", "Add"));
}

}  // namespace
}  // namespace zp::test
