#include <gtest/gtest.h>

#include "core/error.h"
#include "runtime/session.h"
#include "unit/graph/graph_builder.h"
#include "unit/ops/node_of_opset.h"

namespace zp {
namespace {

using namespace onnx::test;
using test::floats_of, test::NodeOfOpset;

// Of a line of four, a part that begins at the second element.
NodeOfOpset cropping(const char* mode, float end) {
  return {.opset = 13,
          .op = "Resize",
          .inputs = {Tensor::of<float>({4}, {0, 10, 20, 30})},
          .attributes = {string_attribute("mode", mode), float_attribute("extrapolation_value", 7),
                         string_attribute("coordinate_transformation_mode", "tf_crop_and_resize")},
          .constants = {tensor<float>("roi", {2}, {1.0F / 3, end}), tensor<int64_t>("sizes", {1}, {3})},
          .constant_names = {"roi", "", "sizes"}};
}

TEST(Resize, ARegionIsCutOutOfTheInput) {
  EXPECT_EQ(floats_of(cropping("linear", 1)), (std::vector<float>{10, 20, 30}));
  EXPECT_EQ(floats_of(cropping("linear", 2.0F / 3)), (std::vector<float>{10, 15, 20}));
  EXPECT_EQ(floats_of(cropping("nearest", 1)), (std::vector<float>{10, 20, 30}));
}

TEST(Resize, WhatARegionHasBeyondTheInputIsGiven) {
  EXPECT_EQ(floats_of(cropping("linear", 5.0F / 3)), (std::vector<float>{10, 30, 7}));
  EXPECT_EQ(floats_of(cropping("nearest", 5.0F / 3)), (std::vector<float>{10, 30, 7}));
}

TEST(Resize, WordsThatItDoesNotKnowAreRefused) {
  for (const char* key :
       {"mode", "coordinate_transformation_mode", "nearest_mode", "keep_aspect_ratio_policy"}) {
    NodeOfOpset n = cropping("linear", 1);
    n.attributes = {string_attribute(key, "sideways")};
    n.constants[0] = tensor<float>("roi", {0}, {});
    EXPECT_THROW(floats_of(n), Error) << key;
  }
}

// Between a DQ and a Q it works on integers, and rounds what it makes of them as the Q would; integers that
// are no quantized values are cut, as ONNX Runtime cuts them.
TEST(Resize, IntegersBetweenQuantizedEdgesAreRounded) {
  test::GraphBuilder net;
  const ValueId x = net.fake_quantize("x_q", net.input("x", symbolic(Shape{1, 1, 1, 2})), 1, 0);
  const ValueId sizes = net.constant("sizes", Tensor::of<int64_t>({4}, {1, 1, 1, 4}));
  const ValueId y = net.add(
      "Resize", "y", {x, kNoValue, kNoValue, sizes},
      {{"mode", std::string("linear")}, {"coordinate_transformation_mode", std::string("align_corners")}});
  net.output(net.fake_quantize("y_q", y, 1, 0));
  const auto model = net.build();
  for (const bool integer : {true, false}) {
    runtime::Session session(model, {.threads = 1, .integer = integer});
    const Tensor found = session.run({{"x", Tensor::of<float>({1, 1, 1, 2}, {0, 2})}})[0];
    EXPECT_EQ(found.floats(), (std::vector<float>{0, 1, 1, 2})) << integer;  // of 0, 0.67, 1.33, 2
  }
}

}  // namespace
}  // namespace zp
