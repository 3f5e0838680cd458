// What a runtime takes: configurations that become it, those that are refused, and files that are looked at.
#include "quant/runtimes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "onnx/onnx.h"
#include "quant/format.h"
#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

using quant::Config;
using testing::HasSubstr;

std::shared_ptr<Model> net() {
  GraphBuilder b;
  const ValueId x = b.input("x", {1, 3, 6, 6});
  const ValueId c = b.add("Conv", "c", {x, b.constant("w", ramp({4, 3, 3, 3})), b.constant("b", ramp({4}))});
  const ValueId s = b.add("Sigmoid", "s", {c});
  const ValueId d = b.add("Conv", "d", {s, b.constant("v", ramp({4, 4, 1, 1}))});
  const ValueId f = b.add("Reshape", "f", {d, b.constant("shape", Tensor::of<int64_t>({2}, {1, 64}))});
  b.output(b.add("MatMul", "m", {f, b.constant("u", ramp({64, 8}))}));
  return b.build();
}

Config config_for(const char* runtime, const char* mode = "static") {
  Config c;
  c.runtime = runtime;
  c.mode = mode;
  return c;
}

Quantized quantized(const Config& c) {
  return quantize(net(), c, {{{"x", noise({1, 3, 6, 6}, 1)}}, {{"x", noise({1, 3, 6, 6}, 2)}}});
}

std::vector<std::string> broken(const char* runtime, const Quantized& q) {
  return quant::broken_rules(quant::runtime_named(runtime), quant::in_format(*q.model, q.report.format));
}

TEST(Runtimes, WhatComesOutOfDefaultsBreaksNoRuleWhereNothingFallsBack) {
  for (const quant::RuntimeRules& rules : quant::all_runtimes()) {
    SCOPED_TRACE(rules.name);
    for (const char* mode : {"static", "weight-only"}) {
      if (rules.falls_back && std::string_view(mode) == "static" && !rules.activations.has(DType::kUint8))
        continue;
      const Quantized q = quantized(config_for(std::string(rules.name).c_str(), mode));
      EXPECT_GT(q.report.layers_quantized, 0u);
      EXPECT_THAT(broken(std::string(rules.name).c_str(), q), testing::IsEmpty()) << mode;
    }
  }
}

TEST(Runtimes, FilesAreAsNewAsOptimizersNeed) {
  GraphBuilder b;
  const ValueId x = b.input("x", {6, 4});
  const ValueId t = b.add("Transpose", "t", {x}, {{"perm", std::vector<int64_t>{1, 0}}});
  b.output(b.add("MatMul", "m", {t, x}));
  const std::shared_ptr<Model> model = b.build();
  const auto opset = [&](std::string_view runtime) {
    return onnx::versions_of(quant::in_format(*model, "qdq", runtime)).opset;
  };
  for (const char* runtime : {"onnxruntime", "onnxruntime-web", "webgpu"}) EXPECT_EQ(opset(runtime), 9);
  for (const char* runtime : {"openvino", "zeropoint", ""}) EXPECT_LT(opset(runtime), 9) << runtime;
}

TEST(Runtimes, TensorRTHasSymmetricInt8AndFloatBiases) {
  const Quantized q = quantized(config_for("tensorrt"));
  EXPECT_THAT(q.report.warnings, testing::Contains(HasSubstr("'tensorrt'")));
  const auto params = q.params("c", 0);
  ASSERT_TRUE(params);
  EXPECT_EQ(params->dtype, DType::kInt8);
  EXPECT_EQ(params->zero_point, 0);
  EXPECT_FALSE(q.dq("c", 2));
  EXPECT_TRUE(quantized(config_for("onnxruntime")).dq("c", 2));
}

TEST(Runtimes, WhatIsChosenIsRefusedAndWhatIsNotIsChanged) {
  Config c = config_for("tensorrt");
  c.chosen = {"activations"};
  try {
    quantized(c);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(e.what(), testing::AllOf(HasSubstr("activations"), HasSubstr("tensorrt"), HasSubstr("int8")));
  }
  EXPECT_THROW(quantized(config_for("tensorrt", "dynamic")), Error);
  EXPECT_THROW(quantized(config_for("toaster")), Error);
  Config form = config_for("tensorrt");
  form.format = "qoperator";
  EXPECT_THROW(quantized(form), Error);
  Config wide = config_for("openvino", "weight-only");
  wide.precision["m"] = {DType::kUndefined, DType::kInt2};
  EXPECT_THROW(quantized(wide), Error);
  EXPECT_TRUE(quantized(config_for("onnxruntime")).report.warnings.empty());
}

TEST(Runtimes, BlocksOfFourBitsAreWrittenAsTheRuntimeHasThem) {
  for (const auto& [runtime, format] : {std::pair{"onnxruntime", "qoperator"},
                                        {"webgpu", "qoperator"},
                                        {"onnxruntime-web", "qdq"},
                                        {"openvino", "qdq"},
                                        {"tensorrt", "qdq"}}) {
    Config c = config_for(runtime, "weight-only");
    c.weights = DType::kInt4;
    c.symmetric_weights = false;
    const Quantized q = quantized(c);
    EXPECT_EQ(q.report.format, format) << runtime;
    EXPECT_EQ(q.dq("m", 1)->inputs.size(), std::string_view(runtime) == "tensorrt" ? 2u : 3u);
    EXPECT_THAT(broken(runtime, q), testing::IsEmpty());
  }
}

// OpenVINO refuses others; those that become floats have to be cut without a rest.
TEST(Runtimes, BlocksDivideTheirDimensionWhereTheyHaveTo) {
  // 8 bits in one block where no shorter one is worth its scale.
  for (const auto& [rows, block] :
       std::vector<std::pair<int64_t, int64_t>>{{64, 32}, {48, 16}, {200, 25}, {20, 20}, {257, 0}}) {
    SCOPED_TRACE(rows);
    GraphBuilder b;
    b.output(b.add("MatMul", "m", {b.input("x", {2, rows}), b.constant("w", ramp({rows, 32}))}));
    const auto model = b.build();
    for (const char* runtime : {"openvino", "tensorrt", "onnxruntime-web", "onnxruntime"}) {
      Config c = config_for(runtime, "weight-only");
      c.weights = DType::kInt4;
      const Quantized q = quantize(model, c);
      const int64_t given = q.dq("m", 1)->int_attribute("block_size", 0);
      EXPECT_EQ(given, std::string_view(runtime) == "onnxruntime" ? 32 : block) << runtime;
      EXPECT_EQ(q.report.warnings.empty(), given != 0);
    }
    Config chosen = config_for("onnxruntime-web", "weight-only");
    chosen.weights = DType::kInt4;
    chosen.format = "qoperator";
    EXPECT_EQ(quantize(model, chosen).dq("m", 1)->int_attribute("block_size", 0), 32);
  }
}

TEST(Runtimes, NodesThatBreakARuleAreNamed) {
  const Quantized dynamic = quantized(config_for("onnxruntime", "dynamic"));
  EXPECT_THAT(broken("onnxruntime", dynamic), testing::IsEmpty());
  EXPECT_THAT(broken("tensorrt", dynamic), testing::Contains(HasSubstr("DynamicQuantizeLinear")));
  const Quantized plain = quantized(config_for("onnxruntime"));
  EXPECT_THAT(broken("tensorrt", plain),
              testing::IsSupersetOf({testing::Matcher<std::string>(HasSubstr("int32")),
                                     testing::Matcher<std::string>(HasSubstr("activations of type uint8"))}));
  EXPECT_THAT(broken("webgpu", plain), testing::Contains(HasSubstr("run on the CPU")));

  GraphBuilder b;
  const ValueId x = b.input("x", {2});
  const ValueId bias =
      b.add("DequantizeLinear", "bias",
            {b.constant("q", Tensor::of<int32_t>({2}, {1, 2})), b.constant("s", Tensor::scalar(0.1f)),
             b.constant("z", Tensor::scalar(int32_t{0}))});
  b.output(b.add("Add", "y", {x, bias}));
  EXPECT_THAT(quant::broken_rules(quant::runtime_named("webgpu"), *b.build()),
              testing::ElementsAre(testing::AllOf(HasSubstr("zero point with int32"), HasSubstr("'bias'"))));
}

}  // namespace
}  // namespace zp::test
