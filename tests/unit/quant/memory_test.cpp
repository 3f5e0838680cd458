// Modes that need no samples go through weights in files one after the other: what is in memory at a time
// does not grow with the number of layers.
#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "onnx/onnx.h"
#include "quant/format.h"
#include "quant/runtimes.h"
#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

// What is read at a time, of all files.
struct Meter {
  size_t now = 0, most = 0, put = 0;
};

class MeteredBytes : public FileBytes {
 public:
  MeteredBytes(std::span<const std::byte> bytes, std::shared_ptr<Meter> meter)
      : bytes_(bytes.begin(), bytes.end()), meter_(std::move(meter)) {}
  std::shared_ptr<const FileBytes> put(std::span<const std::byte> bytes) const override {
    meter_->put += bytes.size();
    return std::make_shared<MeteredBytes>(bytes, meter_);
  }

 protected:
  std::shared_ptr<const std::byte> read_all() const override {
    std::shared_ptr<std::byte> copy = allocate_bytes(bytes_.size());
    std::memcpy(copy.get(), bytes_.data(), bytes_.size());
    meter_->now += bytes_.size();
    meter_->most = std::max(meter_->most, meter_->now);
    return {copy.get(),
            [copy, meter = meter_, size = bytes_.size()](const std::byte*) { meter->now -= size; }};
  }

 private:
  std::vector<std::byte> bytes_;
  std::shared_ptr<Meter> meter_;
};

constexpr int64_t kWidth = 512;

// Products, with Gemm's and without, one behind the other.
std::shared_ptr<Model> chain(int layers, const std::shared_ptr<Meter>& meter) {
  GraphBuilder net;
  ValueId x = net.input("x", {2, kWidth});
  for (int i = 0; i < layers; ++i) {
    const std::string name = "layer" + std::to_string(i);
    const Tensor values = noise({kWidth, kWidth}, static_cast<uint32_t>(i) + 1, 0.1F);
    const ValueId w = net.constant(
        name + "_w", Tensor(DType::kFloat32, values.dims(),
                            std::make_shared<MeteredBytes>(std::span(values.raw(), values.bytes()), meter)));
    x = i % 2 ? net.add("Gemm", name, {x, w, net.constant(name + "_b", ramp({kWidth}))})
              : net.add("MatMul", name, {x, w});
    x = net.add("Relu", name + "_relu", {x});
  }
  net.output(x);
  return net.build();
}

// What has weights in files keeps none in memory, nor what was made of them.
void write(const Model& model) {
  for (const Value& v : model.graph.values) {
    if (v.constant && v.constant->bytes() >= kWidth * kWidth / 2)
      EXPECT_TRUE(v.constant->file() && !v.constant->in_memory()) << v.name;
  }
  for (const auto& file : onnx::write_files(model, {.name = "m.onnx", .external = true, .chunk = 1 << 20})) {
    std::vector<std::byte> bytes(file.size());
    file.read(0, bytes);
  }
}

TEST(Formatting, FoldsALayerAtATime) {
  const auto meter = std::make_shared<Meter>();
  quant::Config config;
  config.mode = "weight-only";
  config.weights = DType::kInt4;
  const Quantized q = quantize(chain(4, meter), config);
  quant::Formatting forming(*q.model, "qoperator", nullptr);
  size_t slices = 0, before = 0;
  while (!forming.advance(0)) {
    EXPECT_GT(forming.done(), before);
    EXPECT_LE(forming.done(), forming.total());
    before = forming.done(), ++slices;
  }
  EXPECT_GE(slices, 4);
  EXPECT_EQ(forming.done(), forming.total());
  const auto sizes = [](const Model& model) {
    std::vector<uint64_t> all;
    for (const auto& file : onnx::write_files(model, {})) all.push_back(file.size());
    return all;
  };
  EXPECT_EQ(sizes(forming.take()), sizes(quant::in_format(*q.model, "qoperator")));
}

struct Case {
  const char *name, *mode;
  DType weights;
};
class Memory : public testing::TestWithParam<Case> {};

TEST_P(Memory, DoesNotGrowWithTheModel) {
  const auto most = [&](int layers) {
    const auto meter = std::make_shared<Meter>();
    quant::Config config;
    config.mode = GetParam().mode;
    config.weights = GetParam().weights;
    const Quantized q = quantize(chain(layers, meter), config);
    EXPECT_GT(meter->put, static_cast<size_t>(layers * kWidth * kWidth) / 4);
    // Every runtime's form, and that of weights which are too many to become floats when a file is loaded.
    std::vector<quant::RuntimeRules> runtimes = quant::all_runtimes();
    for (quant::RuntimeRules& rules : runtimes)
      rules.floats_at_load = std::min<int64_t>(rules.floats_at_load, 1);
    for (const char* format : {"qdq", "qoperator"}) {
      for (const quant::RuntimeRules& rules : runtimes) write(quant::in_format(*q.model, format, &rules));
      write(quant::in_format(*q.model, format, nullptr));
    }
    return meter->most;
  };
  constexpr size_t kWeight = static_cast<size_t>(kWidth * kWidth) * sizeof(float);
  EXPECT_LE(most(2), 3 * kWeight);
  EXPECT_LE(most(12), 3 * kWeight);
}

INSTANTIATE_TEST_SUITE_P(, Memory,
                         testing::Values(Case{"int8", "weight-only", DType::kInt8},
                                         Case{"int4", "weight-only", DType::kInt4},
                                         Case{"dynamic", "dynamic", DType::kInt8},
                                         Case{"float16", "float16", DType::kInt8}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace zp::test
