// Quantization on several threads: the same bytes as on one.
#include "onnx/onnx.h"
#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

// A convolution, and two products that are large enough to be shared out.
std::shared_ptr<Model> network() {
  GraphBuilder b;
  const ValueId x = b.input("x", {2, 3, 12, 12});
  const ValueId c =
      b.add("Conv", "conv",
            {x, b.constant("conv_w", noise({8, 3, 3, 3}, 1, 0.4f)), b.constant("conv_b", noise({8}, 2))},
            {{"kernel_shape", std::vector<int64_t>{3, 3}}, {"pads", std::vector<int64_t>{1, 1, 1, 1}}});
  const ValueId pooled =
      b.add("AveragePool", "pool", {b.add("Relu", "relu", {c})},
            {{"kernel_shape", std::vector<int64_t>{3, 3}}, {"strides", std::vector<int64_t>{3, 3}}});
  const ValueId flat = b.add("Flatten", "flat", {pooled});
  const ValueId wide =
      b.add("Gemm", "wide",
            {flat, b.constant("wide_w", noise({128, 256}, 3, 0.2f)), b.constant("wide_b", noise({256}, 4))});
  b.output(b.add("Gemm", "last",
                 {b.add("Relu", "middle", {wide}), b.constant("last_w", noise({256, 160}, 5, 0.2f)),
                  b.constant("last_b", noise({160}, 6))}));
  return b.build();
}

struct Way {
  const char* mode;
  DType weights;
  std::vector<std::string> repairs;
};

class QuantizedOnThreads : public testing::TestWithParam<Way> {};

TEST_P(QuantizedOnThreads, TheSameBytes) {
  const auto& [mode, weights, repairs] = GetParam();
  Samples samples;
  for (uint32_t i = 0; i < 6; ++i) samples.push_back({{"x", noise({2, 3, 12, 12}, 10 + i)}});
  const auto bytes = [&](int threads) {
    quant::Config config;
    config.mode = mode;
    config.weights = weights;
    config.repairs = repairs;
    config.options["adaround-iterations"] = 20;
    const Quantized made = quantize(network(), config, samples, 5, threads);
    EXPECT_FALSE(made.report.layers.empty());
    return onnx::write(*made.model);
  };
  const std::vector<std::byte> one = bytes(1);
  EXPECT_TRUE(one == bytes(2));
  EXPECT_TRUE(one == bytes(4));
}

INSTANTIATE_TEST_SUITE_P(
    Ways, QuantizedOnThreads,
    testing::Values(Way{"static", DType::kInt8, {}},
                    Way{"static", DType::kInt8, {"equalization", "smooth", "bias-correction"}},
                    Way{"static", DType::kInt4, {"gptq"}}, Way{"static", DType::kInt4, {"adaround"}},
                    Way{"weight-only", DType::kInt4, {"gptq"}}, Way{"weight-only", DType::kInt4, {"hqq"}},
                    Way{"dynamic", DType::kInt8, {}}, Way{"float16", DType::kInt8, {}}),
    [](const testing::TestParamInfo<Way>& info) {
      std::string name = std::string(info.param.mode) + "_" + std::string(name_of(info.param.weights));
      for (const std::string& repair : info.param.repairs) name += "_" + repair;
      std::ranges::replace(name, '-', '_');
      return name;
    });

}  // namespace
}  // namespace zp::test
