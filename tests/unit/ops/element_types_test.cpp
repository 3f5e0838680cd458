// Element types that models rarely have.
#include <gmock/gmock.h>

#include <limits>

#include "unit/ops/node_of_opset.h"
#include "unit/ops/one_node.h"

namespace zp::test {
namespace {

using testing::ElementsAre;

Tensor halves(const std::vector<float>& values) {
  Tensor t(DType::kFloat16, {static_cast<int64_t>(values.size())});
  for (size_t i = 0; i < values.size(); ++i)
    reinterpret_cast<uint16_t*>(t.mutable_raw())[i] = float_to_half(values[i]);
  return t;
}

TEST(ElementTypes, TopKOrdersAllNumbers) {
  const auto first_two = [](const Tensor& x) {
    return run({"TopK", {x, longs({1}, {2})}, {}, 2})[1].integers();
  };
  EXPECT_THAT(first_two(Tensor::of<double>({4}, {-1, 1 + 1e-12, -2, 1})), ElementsAre(1, 3));
  EXPECT_THAT(first_two(halves({-1, 0.5F, -0.25F, 0.75F})), ElementsAre(3, 1));
  EXPECT_THAT(
      first_two(Tensor::of<uint64_t>({3}, {5, std::numeric_limits<uint64_t>::max(), uint64_t{1} << 63})),
      ElementsAre(1, 2));
  EXPECT_THAT(first_two(Tensor::of<int16_t>({3}, {-5, 7, 3})), ElementsAre(1, 2));
}

TEST(ElementTypes, ScatterElementsReducesAllNumbers) {
  const auto scattered = [](const Tensor& data, const Tensor& updates, const char* reduction) {
    return run(
        {"ScatterElements", {data, longs({2}, {0, 0}), updates}, {{"reduction", std::string(reduction)}}})[0];
  };
  const Tensor y = scattered(Tensor::of<double>({2}, {1, 2}), Tensor::of<double>({2}, {0.5, 1e-9}), "add");
  EXPECT_EQ(y.data<double>()[0], 1.5 + 1e-9);
  EXPECT_THAT(
      scattered(Tensor::of<int8_t>({1}, {-100}), Tensor::of<int8_t>({2}, {-20, -20}), "add").integers(),
      ElementsAre(116));  // it wraps around
  EXPECT_THAT(
      scattered(Tensor::of<int8_t>({1}, {-100}), Tensor::of<int8_t>({2}, {-120, 5}), "min").integers(),
      ElementsAre(-120));
  EXPECT_THAT(scattered(Tensor::of<uint8_t>({1}, {20}), Tensor::of<uint8_t>({2}, {20, 2}), "mul").integers(),
              ElementsAre(32));
}

TEST(ElementTypes, ResizeCutsWhatItMakesOfIntegers) {
  const Tensor y = outputs_of({.opset = 11,
                               .op = "Resize",
                               .inputs = {Tensor::of<int32_t>({1, 1, 1, 2}, {0, 255})},
                               .attributes = {onnx::test::string_attribute("mode", "linear")},
                               .constants = {onnx::test::tensor<float>("r", {0}, {}),
                                             onnx::test::tensor<float>("s", {4}, {1, 1, 1, 2})},
                               .constant_names = {"r", "s"},
                               .outputs = {DType::kInt32}})[0];
  EXPECT_THAT(y.integers(), ElementsAre(0, 63, 191, 255));
}

}  // namespace
}  // namespace zp::test
