// Operators of detectors: RoiAlign, MaxRoiPool, CropAndResize, DeformConv, AffineGrid, MaxUnpool, Col2Im.
// Values are those of ONNX and of ONNX Runtime 1.32.
#include <gmock/gmock.h>

#include <limits>

#include "ops/op.h"
#include "unit/ops/one_node.h"

namespace zp::test {
namespace {

using testing::HasSubstr;

std::string words_of(const OneNode& one, Given given = Given::kFed) {
  const auto error = error_of(one, given);
  return error ? error->what() : "no error";
}
ErrorCode code_of(const OneNode& one) {
  const auto error = error_of(one, Given::kFed);
  return error ? error->code() : ErrorCode::kInternal;
}

// Pixel (y, x) is 10 y + x: between pixels too, if they are mixed rightly.
Tensor slope(int64_t images, int64_t channels, int64_t height, int64_t width) {
  Tensor t(DType::kFloat32, {images, channels, height, width});
  const auto values = t.mutable_data<float>();
  for (size_t i = 0; i < values.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    values[i] = static_cast<float>(at / width % height * 10 + at % width + at / (height * width) * 1000);
  }
  return t;
}

// ---- RoiAlign

OneNode align(const Tensor& x, const Tensor& rois, const Tensor& images, GraphBuilder::Attributes more = {},
              int64_t version = 22) {
  return {"RoiAlign", {x, rois, images}, std::move(more), 1, version};
}

TEST(RoiAlign, TakesTheMeanOfCells) {
  const Tensor x = slope(2, 2, 8, 9), rois = floats({2, 4}, {1, 2, 5, 6, 2, 1, 6, 3}),
               images = longs({2}, {0, 1});
  GraphBuilder::Attributes size{{"output_height", int64_t{2}}, {"output_width", int64_t{1}}};
  // The middles of cells are (3, 3) and (5, 3), (1.5, 4) and (2.5, 4); half a pixel less, where pixels have
  // their middles at half.
  expect_floats(run(align(x, rois, images, size))[0], {2, 2, 2, 1},
                {27.5f, 47.5f, 1027.5f, 1047.5f, 2013.5f, 2023.5f, 3013.5f, 3023.5f}, 1e-3f);
  size.emplace_back("coordinate_transformation_mode", std::string("output_half_pixel"));
  expect_floats(run(align(x, rois, images, size))[0], {2, 2, 2, 1},
                {33, 53, 1033, 1053, 2019, 2029, 3019, 3029}, 1e-3f);
  size.pop_back();
  // Before opset 16 there was no shift.
  expect_floats(run(align(x, rois, images, size, 10))[0], {2, 2, 2, 1},
                {33, 53, 1033, 1053, 2019, 2029, 3019, 3029}, 1e-3f);
  size.emplace_back("spatial_scale", 0.5f);
  expect_floats(run(align(x, rois, images, size, 10))[0], {2, 2, 2, 1},
                {16.5f, 26.5f, 1016.5f, 1026.5f, 2009.5f, 2014.5f, 3009.5f, 3014.5f}, 1e-3f);
}

TEST(RoiAlign, TakesTheLargestPart) {
  const Tensor x = floats({1, 1, 2, 2}, {1, 2, 3, 4}), rois = floats({1, 4}, {0, 0, 2, 2});
  GraphBuilder::Attributes max{{"mode", std::string("max")}, {"sampling_ratio", int64_t{1}}};
  // One sample in the middle of four pixels, each a fourth of it.
  expect_floats(run(align(x, rois, longs({1}, {0}), max))[0], {1, 1, 1, 1}, {1});
}

TEST(RoiAlign, IsZeroOutside) {
  const Tensor x = floats({1, 1, 2, 2}, {1, 1, 1, 1});
  const auto y = [&](std::vector<float> roi) {
    return run(align(x, floats({1, 4}, std::move(roi)), longs({1}, {0}), {}, 10))[0];
  };
  expect_floats(y({-9, -9, -5, -5}), {1, 1, 1, 1}, {0});
  // Of 100 x 1 samples the first two are in the image, and the third is next to it.
  expect_floats(y({0, 0, 1, 100}), {1, 1, 1, 1}, {0.02f}, 1e-6f);
  // Not as many steps as a file could ask for.
  expect_floats(y({0, 0, 1e8f, 1e8f}), {1, 1, 1, 1}, {0}, 1e-6f);
  expect_floats(run(align(x, floats({0, 4}, {}), longs({0}, {})))[0], {0, 1, 1, 1}, {});
}

TEST(RoiAlign, RefusesWhatDoesNotFit) {
  const Tensor x = slope(1, 1, 4, 4), roi = floats({1, 4}, {0, 0, 1, 1}), first = longs({1}, {0});
  for (const int64_t image : {int64_t{1}, int64_t{-1}})
    EXPECT_EQ(code_of(align(x, roi, longs({1}, {image}))), ErrorCode::kIndexOutOfRange);
  for (const float wrong : {NAN, std::numeric_limits<float>::infinity(), 1e10f})
    EXPECT_THAT(words_of(align(x, floats({1, 4}, {0, 0, wrong, 1}), first)), HasSubstr("too large"));
  EXPECT_THAT(words_of(align(x, floats({1, 5}, {0, 0, 1, 1, 1}), first)), HasSubstr("[regions, 4]"));
  EXPECT_THAT(words_of(align(x, roi, longs({2}, {0, 0}))), HasSubstr("one image"));
  EXPECT_THAT(words_of(align(x, roi, first, {{"mode", std::string("sum")}})), HasSubstr("mode is 'sum'"));
  EXPECT_THAT(words_of(align(x, roi, first, {{"output_width", int64_t{0}}})), HasSubstr("1 x 0"));
  EXPECT_THAT(words_of(align(x, roi, first, {{"sampling_ratio", int64_t{1} << 40}})),
              HasSubstr("sampling_ratio"));
}

// ---- MaxRoiPool

TEST(MaxRoiPool, TakesTheLargestOfCells) {
  const Tensor x = slope(2, 1, 5, 6);
  const auto pool = [&](std::vector<float> roi, float scale = 1) {
    return OneNode{"MaxRoiPool",
                   {x, floats({1, 5}, std::move(roi))},
                   {{"pooled_shape", std::vector<int64_t>{2, 2}}, {"spatial_scale", scale}}};
  };
  // Rows 1 to 4, columns 2 to 4: cells overlap where a dimension is odd.
  expect_floats(run(pool({0, 2, 1, 4, 4}))[0], {1, 1, 2, 2}, {23, 24, 43, 44});
  expect_floats(run(pool({1, 4, 2, 8, 8}, 0.5f))[0], {1, 1, 2, 2}, {1023, 1024, 1043, 1044});
  expect_floats(run(pool({0, 20, 20, 30, 30}))[0], {1, 1, 2, 2}, {0, 0, 0, 0});
  for (const float image : {2.0f, -1.0f, NAN})
    EXPECT_EQ(code_of(pool({image, 0, 0, 1, 1})), ErrorCode::kIndexOutOfRange);
  EXPECT_EQ(code_of(pool({0, 0, 0, 1, NAN})), ErrorCode::kIndexOutOfRange);
  EXPECT_THAT(words_of({"MaxRoiPool", {x, ramp({1, 5})}}), HasSubstr("pooled_shape"));
}

// ---- CropAndResize

TEST(CropAndResize, MixesPixels) {
  const Tensor x = slope(2, 1, 5, 5);
  const auto crop = [&](std::vector<float> roi, int32_t image, const char* mode) {
    return OneNode{"CropAndResize",
                   {x, floats({1, 4}, std::move(roi)), Tensor::of<int32_t>({1}, {image}),
                    Tensor::of<int32_t>({2}, {2, 2})},
                   {{"mode", std::string(mode)}, {"extrapolation_value", -1.0f}},
                   1,
                   1,
                   std::string(kMicrosoft)};
  };
  expect_floats(run(crop({0, 0.125f, 0.5f, 1}, 0, "bilinear"))[0], {1, 1, 2, 2}, {0.5f, 4, 20.5f, 24});
  expect_floats(run(crop({0, 0.2f, 0.5f, 1}, 1, "nearest"))[0], {1, 1, 2, 2}, {1001, 1004, 1021, 1024});
  expect_floats(run(crop({0, 0, 2, 1}, 0, "bilinear"))[0], {1, 1, 2, 2}, {0, 4, -1, -1});
  EXPECT_EQ(code_of(crop({0, 0, 1, 1}, 2, "bilinear")), ErrorCode::kIndexOutOfRange);
  EXPECT_THAT(words_of(crop({0, 0, 1, 1}, 0, "cubic")), HasSubstr("mode is 'cubic'"));
}

// ---- DeformConv

// Without offsets it is a convolution; with whole ones, that of a moved image.
TEST(DeformConv, TakesInputsFromWhereOffsetsSay) {
  const Tensor x = ramp({2, 4, 6, 7}), w = ramp({6, 2, 3, 2}), bias = ramp({6});
  const GraphBuilder::Attributes window{{"group", int64_t{2}},
                                        {"kernel_shape", std::vector<int64_t>{3, 2}},
                                        {"pads", std::vector<int64_t>{1, 0, 2, 1}},
                                        {"strides", std::vector<int64_t>{2, 1}},
                                        {"dilations", std::vector<int64_t>{1, 2}}};
  const Tensor plain = run({"Conv", {x, w, bias}, window})[0];
  const Shape& y = plain.dims();
  for (const int64_t groups : {int64_t{1}, int64_t{2}, int64_t{4}}) {
    SCOPED_TRACE(groups);
    GraphBuilder::Attributes deformed = window;
    deformed.emplace_back("offset_group", groups);
    Tensor offsets(DType::kFloat32, {2, groups * 6 * 2, y[2], y[3]}),
        mask(DType::kFloat32, {2, groups * 6, y[2], y[3]});
    for (float& v : mask.mutable_data<float>()) v = 0.5f;
    const Tensor same = run({"DeformConv", {x, w, offsets, bias}, deformed, 1, 19})[0];
    const auto wanted = plain.data<float>();
    expect_floats(same, y, {wanted.begin(), wanted.end()}, 1e-4f);
    const Tensor half = run({"DeformConv", {x, w, offsets, Tensor(), mask}, deformed, 1, 19})[0];
    for (int64_t i = 0; i < half.size(); ++i) {
      const auto at = static_cast<size_t>(i);
      const float of_bias = bias.data<float>()[at / static_cast<size_t>(y[2] * y[3]) % 6];
      EXPECT_NEAR(half.data<float>()[at], (wanted[at] - of_bias) / 2, 1e-4f);
    }
  }
}

TEST(DeformConv, MixesPixelsBetweenWhichAnOffsetLies) {
  // One tap, at (y + 0.25, x - 0.5): outside is zero.
  const Tensor offsets = floats({1, 2, 1, 2}, {0.25f, 0.25f, -0.5f, -0.5f});
  const OneNode one{
      "DeformConv", {floats({1, 1, 1, 2}, {4, 8}), floats({1, 1, 1, 1}, {1}), offsets}, {}, 1, 19};
  expect_floats(run(one)[0], {1, 1, 1, 2}, {0.75f * 2, 0.75f * 6}, 1e-5f);
}

TEST(DeformConv, RefusesWhatDoesNotFit) {
  const Tensor x = ramp({1, 4, 5, 5}), w = ramp({2, 4, 3, 3});
  const auto deform = [&](const Tensor& offsets, GraphBuilder::Attributes more = {}) {
    return words_of({"DeformConv", {x, w, offsets}, std::move(more), 1, 19});
  };
  EXPECT_THAT(deform(ramp({1, 18, 3, 3})), HasSubstr("no error"));
  EXPECT_THAT(deform(ramp({1, 17, 3, 3})), HasSubstr("should be 18, not 17"));
  EXPECT_THAT(deform(ramp({1, 18, 4, 3})), HasSubstr("should be 3, not 4"));
  EXPECT_THAT(deform(ramp({1, 54, 3, 3}), {{"offset_group", int64_t{3}}}), HasSubstr("offset_group"));
  EXPECT_THAT(deform(ramp({1, 18, 3, 3}), {{"strides", std::vector<int64_t>{0, 1}}}), HasSubstr("strides"));
  EXPECT_THAT(deform(ramp({1, 18, 3, 3}), {{"kernel_shape", std::vector<int64_t>{3, 2}}}),
              HasSubstr("should be"));
}

// ---- AffineGrid

TEST(AffineGrid, MapsPixels) {
  const Tensor theta = floats({1, 2, 3}, {2, 0, 0.5f, 0, 1, -1}), size = longs({4}, {1, 1, 1, 2});
  expect_floats(run({"AffineGrid", {theta, size}})[0], {1, 1, 2, 2}, {-0.5f, -1, 1.5f, -1});
  expect_floats(run({"AffineGrid", {theta, longs({4}, {1, 1, 2, 2})}, {{"align_corners", int64_t{1}}}})[0],
                {1, 2, 2, 2}, {-1.5f, -2, 2.5f, -2, -1.5f, 0, 2.5f, 0});
  const Tensor volume = floats({1, 3, 4}, {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0});
  expect_floats(run({"AffineGrid", {volume, longs({5}, {1, 1, 2, 1, 1})}})[0], {1, 2, 1, 1, 3},
                {0, 0, -0.5f, 0, 0, 0.5f});
  EXPECT_THAT(words_of({"AffineGrid", {theta, longs({5}, {1, 1, 1, 1, 2})}}), HasSubstr("does not fit"));
  EXPECT_THAT(words_of({"AffineGrid", {theta, longs({3}, {1, 1, 2})}}), HasSubstr("no image"));
}

// ---- MaxUnpool

TEST(MaxUnpool, PutsValuesBack) {
  const Tensor x = floats({1, 1, 2, 2}, {1, 2, 3, 4}), places = longs({1, 1, 2, 2}, {5, 7, 13, 15});
  const GraphBuilder::Attributes window{{"kernel_shape", std::vector<int64_t>{2, 2}},
                                        {"strides", std::vector<int64_t>{2, 2}}};
  expect_floats(run({"MaxUnpool", {x, places}, window})[0], {1, 1, 4, 4},
                {0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 3, 0, 4});
  expect_floats(run({"MaxUnpool", {x, places, longs({4}, {1, 1, 3, 6})}, window})[0], {1, 1, 3, 6},
                {0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 3, 0, 4, 0, 0});
  for (const int64_t place : {int64_t{16}, int64_t{-1}})
    EXPECT_EQ(code_of({"MaxUnpool", {x, longs({1, 1, 2, 2}, {5, 7, 13, place})}, window}),
              ErrorCode::kIndexOutOfRange);
  EXPECT_THAT(words_of({"MaxUnpool", {x, longs({1, 1, 2, 1}, {1, 2})}, window}), HasSubstr("one place"));
  EXPECT_THAT(words_of({"MaxUnpool", {x, places}}), HasSubstr("kernel_shape"));
  for (const Tensor& shape : {longs({4}, {1, 1, 3, 3}), longs({4}, {1, 2, 4, 4}), longs({3}, {1, 1, 16})})
    EXPECT_THAT(words_of({"MaxUnpool", {x, places, shape}, window}), HasSubstr("an output of shape"));
}

// ---- Col2Im

TEST(Col2Im, SumsBlocks) {
  // Blocks of 1 x 2 at three places of a row of four.
  const Tensor x = floats({1, 2, 3}, {1, 2, 3, 10, 20, 30});
  const auto fold = [&](std::vector<int64_t> image, GraphBuilder::Attributes more = {}) {
    return OneNode{"Col2Im", {x, longs({2}, std::move(image)), longs({2}, {1, 2})}, std::move(more), 1, 18};
  };
  expect_floats(run(fold({1, 4}))[0], {1, 1, 1, 4}, {1, 12, 23, 30});
  expect_floats(run(fold({1, 5}, {{"dilations", std::vector<int64_t>{1, 2}}}))[0], {1, 1, 1, 5},
                {1, 2, 13, 20, 30});
  expect_floats(run(fold({1, 4}, {{"strides", std::vector<int64_t>{1, 2}},
                                  {"pads", std::vector<int64_t>{0, 1, 0, 1}}}))[0],
                {1, 1, 1, 4}, {10, 2, 20, 3});
  EXPECT_THAT(words_of(fold({1, 5})), HasSubstr("has 4"));
  EXPECT_THAT(words_of(fold({1, 1})), HasSubstr("do not fit"));
  EXPECT_THAT(words_of(fold({1, 4}, {{"strides", std::vector<int64_t>{0, 1}}})), HasSubstr("out of range"));
  // Along one dimension, and along three.
  expect_floats(run({"Col2Im", {x, longs({1}, {4}), longs({1}, {2})}, {}, 1, 18})[0], {1, 1, 4},
                {1, 12, 23, 30});
  expect_floats(run({"Col2Im", {x, longs({3}, {1, 4, 1}), longs({3}, {1, 2, 1})}, {}, 1, 18})[0],
                {1, 1, 1, 4, 1}, {1, 12, 23, 30});
}

}  // namespace
}  // namespace zp::test
