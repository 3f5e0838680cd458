#include <cmath>
#include <limits>

#include "ops/cast.h"
#include "quant/format.h"
#include "runtime/session.h"
#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

using quant::Config;

std::shared_ptr<Model> two_layers() {
  GraphBuilder net;
  const ValueId x = net.input("x", {2, 64});
  const ValueId m = net.add("MatMul", "m", {x, net.constant("w1", ramp({64, 8}))});
  const ValueId a = net.add("Add", "a", {m, net.constant("b1", ramp({8}))});
  net.output(net.add("Gemm", "g", {a, net.constant("w2", ramp({5, 8})), net.constant("b2", ramp({5}))},
                     {{"transB", int64_t{1}}}));
  net.output(
      net.add("MatMul", "both", {x, net.add("Transpose", "t", {x}, {{"perm", std::vector<int64_t>{1, 0}}})}));
  return net.build();
}

TEST(Dynamic, ActivationsAreQuantizedInTheRun) {
  Config config;
  config.mode = "dynamic";
  quant::Quantizer job(two_layers(), config);
  EXPECT_EQ(job.sweeps(), 0u);
  const Quantized q = quantize(two_layers(), config);
  ASSERT_TRUE(q.dq("m", 0));
  const Node* dynamic = q.producer(q.dq("m", 0)->input(0));
  ASSERT_TRUE(dynamic);
  EXPECT_EQ(role_of(*dynamic), QdqRole::kDynamicQuantize);
  EXPECT_EQ(q.dq("m", 0)->input(1), dynamic->output(1));
  EXPECT_EQ(q.dq("m", 0)->input(2), dynamic->output(2));
  EXPECT_EQ(q.count(QdqRole::kDynamicQuantize), 2u);
  EXPECT_EQ(q.count(QdqRole::kDequantize), 4u);
  EXPECT_EQ(q.dq("g", 1)->int_attribute("axis", 1), 0);  // transB: rows are output channels
  EXPECT_FALSE(q.dq("g", 2));                            // the bias stays float
  EXPECT_FALSE(q.layer("both").quantized);
  EXPECT_TRUE(q.layer("m").activations.at(0).dynamic);
  EXPECT_LT(q.report.weight_bytes_after, q.report.weight_bytes_before);
}

// One head of attention without keys: a mask hides some of what a Softmax sees.
std::shared_ptr<Model> masked(float hidden) {
  GraphBuilder net;
  const ValueId x = net.input("x", {4, 64});
  const ValueId m = net.add("MatMul", "m", {x, net.constant("w", noise({64, 8}, 1))});
  const ValueId seen = net.input("seen", {4, 8}, DType::kBool);
  const ValueId s = net.add(
      "Softmax", "s", {net.add("Where", "where", {seen, m, net.constant("mask", Tensor::scalar(hidden))})});
  net.output(net.add("MatMul", "y", {s, net.constant("w2", noise({8, 4}, 2))}));
  return net.build();
}

TEST(Dynamic, ARowThatAMaskHidesLeavesTheOthersAlone) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  Config config;
  config.mode = "dynamic";
  EXPECT_TRUE(quantize(masked(-10000), config).report.warnings.empty());
  const Quantized q = quantize(masked(-kInfinity), config);
  ASSERT_EQ(q.report.warnings.size(), 1u);
  EXPECT_EQ(
      q.report.warnings[0],
      "'mask' holds infinity: where it masks a whole row, the float model computes NaN; 1 layer after it "
      "reads 0 instead of NaN");
  EXPECT_EQ(q.count(QdqRole::kDynamicQuantize), 2u);
  Tensor seen(DType::kFloat32, {4, 8});
  for (size_t i = 0; i < 32; ++i)
    seen.mutable_data<float>()[i] = i / 8 == 1 ? 0 : 1;  // of the second row nothing
  const auto run = [&](const std::shared_ptr<const Model>& model) {
    runtime::Session session(model, {});
    const Tensor y = session.run({{"x", noise({4, 64}, 3)}, {"seen", cast(seen, DType::kBool)}})[0];
    return std::vector<float>(y.data<float>().begin(), y.data<float>().end());
  };
  const std::vector<float> want = run(masked(-kInfinity)), got = run(q.model);
  for (size_t i = 0; i < want.size(); ++i) {
    if (i / 4 == 1) {
      EXPECT_TRUE(std::isnan(want[i])) << i;
      EXPECT_EQ(got[i], 0) << i;
    } else {
      EXPECT_NEAR(got[i], want[i], 0.02) << i;
    }
  }
}

TEST(WeightOnly, EightBits) {
  Config config;
  config.mode = "weight-only";
  const Quantized q = quantize(two_layers(), config);
  EXPECT_EQ(q.count(QdqRole::kDequantize), 2u);
  EXPECT_EQ(q.count(QdqRole::kQuantize) + q.count(QdqRole::kDynamicQuantize), 0u);
  EXPECT_FALSE(q.dq("m", 0));
  ASSERT_TRUE(q.dq("m", 1));
  EXPECT_EQ(q.graph().constant(q.dq("m", 1)->input(0))->dtype(), DType::kInt8);
  config.per_channel = false;
  const Quantized whole = quantize(two_layers(), config);
  EXPECT_EQ(whole.graph().constant(whole.dq("m", 1)->input(1))->size(), 1);
}

TEST(WeightOnly, FourBitsInBlocks) {
  Config config;
  config.mode = "weight-only";
  config.weights = DType::kInt4;
  const Quantized q = quantize(two_layers(), config);
  const Node& d = *q.dq("m", 1);
  EXPECT_EQ(d.int_attribute("block_size", 0), 32);
  EXPECT_EQ(d.int_attribute("axis", 1), 0);
  EXPECT_EQ(q.graph().constant(d.input(0))->dtype(), DType::kInt4);
  EXPECT_EQ(q.graph().constant(d.input(0))->dims(), (Shape{64, 8}));
  EXPECT_EQ(q.graph().constant(d.input(1))->dims(), (Shape{2, 8}));
  EXPECT_EQ(d.inputs.size(), 2u);  // no zero point: it is 0
  EXPECT_EQ(q.layer("m").weight->granularity, "block");
  EXPECT_GT(q.layer("m").weight->sqnr_db, 18);

  config.weights = DType::kUint4;
  config.symmetric_weights = false;
  config.block_size = 16;
  const Quantized u = quantize(two_layers(), config);
  const Node& du = *u.dq("m", 1);
  ASSERT_EQ(du.inputs.size(), 3u);
  EXPECT_EQ(u.graph().constant(du.input(2))->dtype(), DType::kUint4);
  EXPECT_EQ(u.graph().constant(du.input(2))->dims(), (Shape{4, 8}));
  EXPECT_GT(u.layer("m").weight->sqnr_db, q.layer("m").weight->sqnr_db);
}

TEST(Formats, EachSchemeHasItsOwnUnlessOneIsChosen) {
  const auto form = [](const char* mode, DType weights, const char* chosen = "") {
    Config config;
    config.mode = mode;
    config.weights = weights;
    config.format = chosen;
    return quantize(two_layers(), config, {{{"x", ramp({2, 64})}}}).report.format;
  };
  EXPECT_EQ(form("static", DType::kInt8), "qdq");
  EXPECT_EQ(form("dynamic", DType::kInt8), "qoperator");
  EXPECT_EQ(form("weight-only", DType::kInt4), "qoperator");
  EXPECT_EQ(form("weight-only", DType::kInt2), "qoperator");
  EXPECT_EQ(form("weight-only", DType::kInt8), "qdq");
  EXPECT_EQ(form("float16", DType::kInt8), "qdq");
  EXPECT_EQ(form("dynamic", DType::kInt8, "qdq"), "qdq");
  EXPECT_EQ(form("static", DType::kInt8, "qoperator"), "qoperator");
  EXPECT_THROW(form("weight-only", DType::kInt2, "qdq"), Error);
  EXPECT_THROW(form("static", DType::kInt8, "magic"), Error);
}

// ONNX Runtime's MatMulInteger, which its optimizations make of Q/DQ, takes one zero point for a batch.
TEST(Formats, ABatchOfMatricesHasOneScaleWhereZeroPointsDiffer) {
  GraphBuilder net;
  net.output(net.add("MatMul", "m", {net.input("x", {2, 3, 16}), net.constant("w", ramp({2, 16, 4}))}));
  const auto model = net.build();
  for (const char* mode : {"static", "dynamic", "weight-only"}) {
    for (const bool symmetric : {true, false}) {
      SCOPED_TRACE(testing::Message() << mode << symmetric);
      Config config;
      config.mode = mode;
      config.symmetric_weights = symmetric;
      const Quantized q = quantize(model, config, {{{"x", ramp({2, 3, 16})}}});
      const bool single = !symmetric && std::string_view(mode) != "weight-only";
      EXPECT_EQ(q.graph().constant(q.dq("m", 1)->input(1))->size(), single ? 1 : 4);
    }
  }
}

TEST(WeightOnly, TwoBitsInBlocks) {
  GraphBuilder net;
  net.output(net.add("MatMul", "m", {net.input("x", {2, 128}), net.constant("w", ramp({128, 8}))}));
  const auto model = net.build();
  for (const DType type : {DType::kInt2, DType::kUint2}) {
    Config config;
    config.mode = "weight-only";
    config.weights = type;
    config.symmetric_weights = false;
    const Quantized q = quantize(model, config);
    const Node& d = *q.dq("m", 1);
    EXPECT_EQ(d.int_attribute("block_size", 0), 32);
    EXPECT_EQ(q.graph().constant(d.input(0))->dtype(), quant::stored_as(type));
    EXPECT_EQ(q.layer("m").weight->dtype, type);
    EXPECT_NE(q.layer("m").why.find(name_of(type)), std::string::npos);
    const IntegerRange codes = integer_range(type);
    for (const int64_t code : q.graph().constant(d.input(0))->integers()) {
      EXPECT_GE(code, codes.min);
      EXPECT_LE(code, codes.max);
    }
    // The report counts what a file takes: 2 bits for each weight, and for the zero point of each block.
    EXPECT_EQ(q.report.weight_bytes_after, 128u * 8 / 4 + 4 * 8 * 4 + 4 * 8 / 4);
    EXPECT_EQ(q.report.weight_bytes_after,
              quant::constant_bytes(quant::in_format(*q.model, "qoperator").graph));
    config.weights = DType::kInt4;
    EXPECT_GT(quantize(model, config).layer("m").weight->sqnr_db, q.layer("m").weight->sqnr_db + 6);
  }
}

TEST(WeightOnly, TwoBitsAreForThisModeAlone) {
  for (const char* mode : {"static", "dynamic", "auto"}) {
    Config config;
    config.mode = mode;
    config.weights = DType::kInt2;
    try {
      quant::Quantizer job(two_layers(), config);
      FAIL() << mode;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(e.details().hint.find("weight-only"), std::string::npos) << e.what();
    }
  }
}

TEST(WeightOnly, WhereThereAreNoBlocksEightBitsAreUsedAndTheReportSaysSo) {
  GraphBuilder net;
  const ValueId x = net.input("x", {1, 8, 4, 4});
  net.output(net.add("Conv", "c", {x, net.constant("w", ramp({8, 8, 1, 1}))}));
  Config config;
  config.mode = "weight-only";
  config.weights = DType::kInt4;
  const Quantized q = quantize(net.build(), config);
  EXPECT_EQ(q.graph().constant(q.dq("c", 1)->input(0))->dtype(), DType::kInt8);
  ASSERT_EQ(q.report.warnings.size(), 1u);
  EXPECT_NE(q.report.warnings[0].find("8 bits"), std::string::npos);
}

TEST(WeightOnly, EmbeddingTablesAreStoredInEightBits) {
  GraphBuilder net;
  const ValueId ids = net.input("ids", {1, 4}, DType::kInt64);
  const ValueId e = net.add("Gather", "e", {net.constant("table", ramp({256, 32})), ids});
  net.output(net.add("MatMul", "m", {e, net.constant("w", ramp({32, 32}))}));
  Config config;
  config.mode = "weight-only";
  const Quantized q = quantize(net.build(), config);
  ASSERT_TRUE(q.dq("e", 0));
  EXPECT_EQ(q.graph().constant(q.dq("e", 0)->input(0))->dtype(), DType::kInt8);
  EXPECT_LT(q.report.weight_bytes_after, q.report.weight_bytes_before / 3);
}

TEST(Weights, OneThatIsReadTwiceIsStoredOnce) {
  GraphBuilder net;
  const ValueId x = net.input("x", {2, 16});
  const ValueId w = net.constant("w", ramp({16, 16}));
  const ValueId m1 = net.add("MatMul", "m1", {x, w});
  net.output(net.add("MatMul", "m2", {m1, w}));
  Config config;
  config.mode = "weight-only";
  const Quantized q = quantize(net.build(), config);
  EXPECT_NE(q.dq("m1", 1), q.dq("m2", 1));
  EXPECT_EQ(q.dq("m1", 1)->input(0), q.dq("m2", 1)->input(0));
  EXPECT_EQ(q.layer("m2").weight->sqnr_db, q.layer("m1").weight->sqnr_db);
}

}  // namespace
}  // namespace zp::test
