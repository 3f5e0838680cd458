#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "gemm_node.h"

namespace zp::test {
namespace {

struct Conv {
  int64_t batch = 1, in = 3, out = 4, group = 1;
  std::vector<int64_t> image = {7, 6}, kernel = {3, 3};
  std::vector<int64_t> strides = {}, dilations = {}, pads = {};
  std::string auto_pad = {};
  std::vector<int64_t> output_padding = {}, output_shape = {};

  Node node(const std::string& type) const {
    Node n;
    n.op_type = type;
    const auto set = [&](const char* key, const std::vector<int64_t>& v) {
      if (!v.empty()) n.attributes[key] = v;
    };
    set("strides", strides);
    set("dilations", dilations);
    set("pads", pads);
    set("output_padding", output_padding);
    set("output_shape", output_shape);
    n.attributes["kernel_shape"] = kernel;
    if (!auto_pad.empty()) n.attributes["auto_pad"] = auto_pad;
    if (group != 1) n.attributes["group"] = group;
    return n;
  }
  Shape input() const {
    Shape s{batch, in};
    s.insert(s.end(), image.begin(), image.end());
    return s;
  }
  Shape weights(bool transposed = false) const {
    Shape s = transposed ? Shape{in, out / group} : Shape{out, in / group};
    s.insert(s.end(), kernel.begin(), kernel.end());
    return s;
  }
};

// Of three dimensions; those in front that are not used have `otherwise`.
using Three = std::array<int64_t, 3>;
Three three(const std::vector<int64_t>& v, int64_t otherwise) {
  Three all{otherwise, otherwise, otherwise};
  std::copy(v.begin(), v.end(), all.end() - std::ssize(v));
  return all;
}
int64_t count(const Three& dims) { return dims[0] * dims[1] * dims[2]; }
// The position of element `i` of [depth, height, width].
Three position(int64_t i, const Three& dims) {
  return {i / dims[2] / dims[1], i / dims[2] % dims[1], i % dims[2]};
}
// Where a tap of a window meets the larger side; -1: outside.
int64_t tapped(const Conv& c, const Three& small, const Three& tap, const std::vector<int64_t>& pad,
               const Three& large) {
  const Three stride = three(c.strides, 1), dilation = three(c.dilations, 1), before = three(pad, 0);
  int64_t at = 0;
  for (size_t d = 0; d < 3; ++d) {
    const int64_t i = small[d] * stride[d] - before[d] + tap[d] * dilation[d];
    if (i < 0 || i >= large[d]) return -1;
    at = at * large[d] + i;
  }
  return at;
}

// By the definition, with the output's size and begin pads given.
std::vector<double> reference(const Conv& c, const std::vector<double>& x, const std::vector<double>& w,
                              const std::vector<double>& bias, const std::vector<int64_t>& pad,
                              const std::vector<int64_t>& out_image, double outside = 0) {
  const Three in = three(c.image, 1), kernel = three(c.kernel, 1), out = three(out_image, 1);
  const int64_t taps = count(kernel), cg = c.in / c.group, og = c.out / c.group;
  std::vector<double> y(static_cast<size_t>(c.batch * c.out * count(out)));
  for (int64_t n = 0; n < c.batch; ++n)
    for (int64_t m = 0; m < c.out; ++m)
      for (int64_t o = 0; o < count(out); ++o) {
        double sum = bias.empty() ? 0 : bias[static_cast<size_t>(m)];
        for (int64_t ch = 0; ch < cg; ++ch)
          for (int64_t k = 0; k < taps; ++k) {
            const int64_t pixel = tapped(c, position(o, out), position(k, kernel), pad, in);
            const int64_t channel = m / og * cg + ch;
            const double v =
                pixel < 0 ? outside : x[static_cast<size_t>((n * c.in + channel) * count(in) + pixel)];
            sum += v * w[static_cast<size_t>((m * cg + ch) * taps + k)];
          }
        y[static_cast<size_t>((n * c.out + m) * count(out) + o)] = sum;
      }
  return y;
}

std::vector<double> transposed_reference(const Conv& c, const std::vector<double>& x,
                                         const std::vector<double>& w, const std::vector<double>& bias,
                                         const std::vector<int64_t>& pad,
                                         const std::vector<int64_t>& out_image) {
  const Three in = three(c.image, 1), kernel = three(c.kernel, 1), out = three(out_image, 1);
  const int64_t taps = count(kernel), cg = c.in / c.group, og = c.out / c.group;
  std::vector<double> y(static_cast<size_t>(c.batch * c.out * count(out)));
  for (size_t i = 0; i < y.size(); ++i)
    y[i] = bias.empty() ? 0 : bias[i / static_cast<size_t>(count(out)) % static_cast<size_t>(c.out)];
  for (int64_t n = 0; n < c.batch; ++n)
    for (int64_t ch = 0; ch < c.in; ++ch)
      for (int64_t i = 0; i < count(in); ++i)
        for (int64_t o = 0; o < og; ++o)
          for (int64_t k = 0; k < taps; ++k) {
            const int64_t pixel = tapped(c, position(i, in), position(k, kernel), pad, out);
            if (pixel < 0) continue;
            y[static_cast<size_t>((n * c.out + ch / cg * og + o) * count(out) + pixel)] +=
                x[static_cast<size_t>((n * c.in + ch) * count(in) + i)] *
                w[static_cast<size_t>((ch * og + o) * taps + k)];
          }
  return y;
}

NodeCase float_case(const Conv& c, const std::string& type = "Conv", bool constant = true, bool bias = true) {
  NodeCase n{.node = c.node(type), .inputs = {}};
  n.inputs.push_back({random_floats(c.input(), 1)});
  n.inputs.push_back({random_floats(c.weights(type == "ConvTranspose"), 2), constant});
  if (bias) n.inputs.push_back({random_floats({c.out}, 3), constant});
  return n;
}

void check(const Conv& c, const std::vector<int64_t>& pad, const std::vector<int64_t>& out) {
  for (const bool constant : {true, false}) {
    for (const int threads : {1, 3}) {
      NodeCase n = float_case(c, "Conv", constant);
      n.threads = threads;
      const Tensor y = run_node(n);
      Shape dims{c.batch, c.out};
      dims.insert(dims.end(), out.begin(), out.end());
      ASSERT_EQ(y.dims(), dims);
      expect_near(y, reference(c, reals(n.inputs[0]), reals(n.inputs[1]), reals(n.inputs[2]), pad, out),
                  1e-5);
    }
  }
}

TEST(ConvNode, OneTapIsAPlainProduct) {
  check({.batch = 2, .in = 9, .out = 13, .kernel = {1, 1}}, {0, 0}, {7, 6});
}
TEST(ConvNode, StridedOneTap) {
  check({.in = 5, .out = 9, .kernel = {1, 1}, .strides = {2, 3}}, {0, 0}, {4, 2});
}
TEST(ConvNode, PadsOnEachSide) { check({.batch = 2, .pads = {2, 0, 1, 3}}, {2, 0}, {8, 7}); }
TEST(ConvNode, StridesAndDilations) {
  check({.image = {11, 12}, .kernel = {3, 2}, .strides = {2, 1}, .dilations = {2, 3}, .pads = {1, 2, 0, 1}},
        {1, 2}, {4, 12});
}
TEST(ConvNode, Groups) {
  check({.batch = 2, .in = 6, .out = 12, .group = 3, .pads = {1, 1, 1, 1}}, {1, 1}, {7, 6});
}
TEST(ConvNode, FewChannelsInGroups) {
  check({.batch = 2,
         .in = 12,
         .out = 36,
         .group = 3,
         .strides = {2, 1},
         .dilations = {1, 2},
         .pads = {1, 2, 1, 2}},
        {1, 2}, {4, 6});
}
TEST(ConvNode, ManyChannels) {
  check({.in = 101, .out = 20, .pads = {1, 1, 1, 1}}, {1, 1}, {7, 6});
  check({.in = 7, .out = 10, .pads = {1, 1, 1, 1}}, {1, 1}, {7, 6});
}
TEST(ConvNode, Depthwise) {
  check({.batch = 2, .in = 13, .out = 13, .group = 13, .strides = {2, 1}, .pads = {1, 1, 1, 1}}, {1, 1},
        {4, 6});
}
TEST(ConvNode, DepthwiseDilated) {
  check({.in = 5, .out = 5, .group = 5, .kernel = {2, 3}, .dilations = {3, 2}, .pads = {2, 2, 2, 2}}, {2, 2},
        {8, 6});
}
TEST(ConvNode, DepthwiseWithMultiplier) {
  check({.in = 3, .out = 9, .group = 3, .pads = {1, 1, 1, 1}}, {1, 1}, {7, 6});
}
TEST(ConvNode, OneDimension) {
  check({.batch = 2,
         .in = 4,
         .out = 5,
         .image = {17},
         .kernel = {4},
         .strides = {2},
         .dilations = {3},
         .pads = {3, 2}},
        {3}, {7});
  check({.in = 8, .out = 8, .group = 8, .image = {17}, .kernel = {5}, .pads = {2, 2}}, {2}, {17});
}
TEST(ConvNode, ThreeDimensions) {
  check({.batch = 2, .in = 5, .out = 9, .image = {4, 7, 6}, .kernel = {2, 3, 3}, .pads = {1, 1, 0, 0, 1, 2}},
        {1, 1, 0}, {4, 7, 6});
  check({.in = 4,
         .out = 6,
         .group = 2,
         .image = {9, 8, 7},
         .kernel = {3, 2, 3},
         .strides = {2, 1, 3},
         .dilations = {2, 3, 1},
         .pads = {2, 0, 1, 1, 3, 0}},
        {2, 0, 1}, {4, 8, 2});
  check({.in = 6, .out = 6, .group = 6, .image = {3, 5, 4}, .kernel = {3, 3, 3}, .pads = {1, 1, 1, 1, 1, 1}},
        {1, 1, 1}, {3, 5, 4});
  check({.in = 3, .out = 4, .image = {5, 4, 6}, .kernel = {3, 3, 3}, .pads = {-1, 1, 1, 0, 1, -2}},
        {-1, 1, 1}, {2, 4, 3});
  check({.image = {5, 6, 4}, .kernel = {3, 4, 2}, .strides = {2, 2, 1}, .auto_pad = "SAME_UPPER"}, {1, 1, 0},
        {3, 3, 4});
}
TEST(ConvNode, ThreeDimensionsThatAreTwo) {
  check({.batch = 2, .in = 5, .out = 9, .image = {4, 7, 6}, .kernel = {1, 3, 3}, .pads = {0, 1, 1, 0, 1, 1}},
        {0, 1, 1}, {4, 7, 6});
  check({.batch = 2,
         .in = 5,
         .out = 9,
         .image = {9, 4, 3},
         .kernel = {3, 1, 1},
         .strides = {2, 1, 1},
         .dilations = {2, 1, 1},
         .pads = {1, 0, 0, 2, 0, 0}},
        {1, 0, 0}, {4, 4, 3});
  check({.batch = 2, .in = 9, .out = 13, .image = {2, 3, 4}, .kernel = {1, 1, 1}}, {0, 0, 0}, {2, 3, 4});
  check({.in = 6, .out = 6, .group = 6, .image = {4, 7, 6}, .kernel = {1, 3, 3}}, {0, 0, 0}, {4, 5, 4});
  // Planes are left out, so they are no images of a batch.
  check({.in = 3, .image = {5, 4, 4}, .kernel = {1, 3, 3}, .strides = {2, 1, 1}}, {0, 0, 0}, {3, 2, 2});
  check({.in = 3, .image = {5, 4, 4}, .kernel = {1, 3, 3}, .pads = {0, 0, 0, 1, 0, 0}}, {0, 0, 0}, {6, 2, 2});
}
TEST(ConvNode, AutoPad) {
  // 7 and 6 with stride 2: one pixel of padding for the first, two for the second dimension of a 3 x 4
  // kernel.
  check({.kernel = {3, 4}, .strides = {2, 2}, .auto_pad = "SAME_UPPER"}, {1, 1}, {4, 3});
  check({.kernel = {4, 4}, .auto_pad = "SAME_UPPER"}, {1, 1}, {7, 6});
  check({.kernel = {4, 4}, .auto_pad = "SAME_LOWER"}, {2, 2}, {7, 6});
  check({.kernel = {4, 4}, .auto_pad = "VALID"}, {0, 0}, {4, 3});
}

TEST(ConvNode, FusedClampAndNoBias) {
  const Conv c{.pads = {1, 1, 1, 1}};
  NodeCase n = float_case(c, "Conv", true, false);
  n.clamp = {.lo = 0, .hi = 6};
  std::vector<double> want = reference(c, reals(n.inputs[0]), reals(n.inputs[1]), {}, {1, 1}, {7, 6});
  for (double& v : want) v = std::clamp(v, 0.0, 6.0);
  expect_near(run_node(n), want, 1e-5);
}

TEST(ConvNode, ThreadsDoNotChangeTheResult) {
  const Conv c{.batch = 2, .in = 8, .out = 24, .image = {40, 30}, .pads = {1, 1, 1, 1}};
  NodeCase n = float_case(c);
  const Tensor one = run_node(n);
  for (const int threads : {2, 5, 8}) {
    n.threads = threads;
    expect_same(one, run_node(n));
  }
}

TEST(ConvNode, ShapesWithUnknownDimensions) {
  Graph g;
  Node n;
  n.op_type = "Conv";
  n.attributes["pads"] = std::vector<int64_t>{1, 1, 1, 1};
  n.inputs = {g.add_value("x", DType::kFloat32, SymShape{Dim::symbol("N"), 3, Dim::symbol("H"), 9}),
              g.add_constant("w", random_floats({8, 3, 3, 3}, 1))};
  n.outputs = {g.add_value("y")};
  infer_node(g, n);
  EXPECT_EQ(to_string(*g[n.outputs[0]].shape), "[N, 8, H, 9]");
}

TEST(ConvNode, ErrorsNameTheProblem) {
  const auto code_of = [](const Conv& c, const Shape& weights) {
    try {
      NodeCase n{.node = c.node("Conv"),
                 .inputs = {{random_floats(c.input(), 1)}, {random_floats(weights, 2), true}}};
      run_node(n);
    } catch (const Error& e) {
      EXPECT_EQ(e.details().node, "node");
      return e.code();
    }
    return ErrorCode::kInternal;
  };
  EXPECT_EQ(code_of({}, {4, 2, 3, 3}), ErrorCode::kShapeMismatch);                     // channels
  EXPECT_EQ(code_of({.in = 4, .group = 2}, {5, 2, 3, 3}), ErrorCode::kShapeMismatch);  // groups
  EXPECT_EQ(code_of({.kernel = {5, 5}}, {4, 3, 3, 3}), ErrorCode::kInvalidModel);      // kernel_shape
  EXPECT_EQ(code_of({.image = {2, 2}}, {4, 3, 3, 3}), ErrorCode::kShapeMismatch);      // too small
  EXPECT_EQ(code_of({.strides = {0, 1}}, {4, 3, 3, 3}), ErrorCode::kInvalidModel);
  EXPECT_EQ(code_of({.dilations = {1 << 25, 1}}, {4, 3, 3, 3}), ErrorCode::kInvalidModel);
  EXPECT_EQ(code_of({.strides = {1, 1, 1}}, {4, 3, 3, 3}), ErrorCode::kInvalidModel);
  EXPECT_EQ(code_of({.image = {4, 4, 4, 4}, .kernel = {1, 1, 1, 1}}, {4, 3, 1, 1, 1, 1}),
            ErrorCode::kUnsupportedOperator);
}

TEST(ConvNode, SizesThatNoKernelTakes) {
  const auto code_of = [](const Conv& c, const std::string& type) {
    try {
      run_node(float_case(c, type));
    } catch (const Error& e) {
      return e.code();
    }
    return ErrorCode::kInternal;
  };
  const int64_t large = int64_t{1} << 24;
  EXPECT_EQ(code_of({.in = 1, .out = 1, .kernel = {3, 99}, .dilations = {1, large}, .auto_pad = "SAME_UPPER"},
                    "Conv"),
            ErrorCode::kUnsupportedOperator);
  EXPECT_EQ(code_of({.in = 1, .out = 1, .image = {1, 1}, .kernel = {1, 1}, .strides = {large, large}},
                    "ConvTranspose"),
            ErrorCode::kUnsupportedOperator);
  EXPECT_EQ(code_of({.in = 1, .out = 1, .kernel = {3, 99}, .dilations = {1, large}, .output_shape = {9, 9}},
                    "ConvTranspose"),
            ErrorCode::kUnsupportedOperator);
  NodeCase n = float_case({}, "Conv");
  n.inputs.resize(1);
  EXPECT_THROW(run_node(n), Error);
}

// ---- transposed

void check_transposed(const Conv& c, const std::vector<int64_t>& pad, const std::vector<int64_t>& out) {
  for (const bool constant : {true, false}) {
    NodeCase n = float_case(c, "ConvTranspose", constant);
    n.threads = constant ? 3 : 1;
    const Tensor y = run_node(n);
    Shape dims{c.batch, c.out};
    dims.insert(dims.end(), out.begin(), out.end());
    ASSERT_EQ(y.dims(), dims);
    expect_near(y,
                transposed_reference(c, reals(n.inputs[0]), reals(n.inputs[1]), reals(n.inputs[2]), pad, out),
                1e-5);
  }
}

TEST(ConvTranspose, Plain) { check_transposed({.batch = 2}, {0, 0}, {9, 8}); }
TEST(ConvTranspose, StrideTwo) {
  check_transposed({.in = 8, .out = 6, .kernel = {2, 2}, .strides = {2, 2}}, {0, 0}, {14, 12});
}
TEST(ConvTranspose, OneChannelWithoutOverlap) {
  check_transposed({.batch = 2, .out = 1, .kernel = {2, 2}, .strides = {2, 2}}, {0, 0}, {14, 12});
  check_transposed({.in = 5, .out = 1, .kernel = {2, 3}, .strides = {2, 3}}, {0, 0}, {14, 18});
  check_transposed({.in = 5, .out = 1, .image = {6}, .kernel = {4}, .strides = {4}}, {0}, {24});
}
TEST(ConvTranspose, StridesPadsAndOutputPadding) {
  check_transposed({.batch = 2, .strides = {3, 2}, .pads = {1, 2, 0, 1}, .output_padding = {2, 1}}, {1, 2},
                   {22, 11});
}
TEST(ConvTranspose, StrideBeyondTheKernel) {
  check_transposed({.kernel = {2, 1}, .strides = {3, 3}}, {0, 0}, {20, 16});
}
TEST(ConvTranspose, Dilations) {
  check_transposed({.kernel = {3, 2}, .strides = {2, 3}, .dilations = {2, 3}, .pads = {1, 1, 2, 0}}, {1, 1},
                   {14, 18});
}
TEST(ConvTranspose, Groups) {
  check_transposed({.in = 6, .out = 9, .group = 3, .strides = {2, 2}, .pads = {1, 1, 1, 1}}, {1, 1},
                   {13, 11});
}
TEST(ConvTranspose, OneDimension) {
  check_transposed({.in = 4, .out = 3, .image = {9}, .kernel = {4}, .strides = {2}, .pads = {1, 1}}, {1},
                   {18});
}
TEST(ConvTranspose, ThreeDimensions) {
  check_transposed({.batch = 2, .in = 4, .out = 3, .image = {3, 4, 5}, .kernel = {2, 3, 3}}, {0, 0, 0},
                   {4, 6, 7});
  check_transposed({.batch = 2,
                    .in = 4,
                    .out = 6,
                    .group = 2,
                    .image = {3, 4, 5},
                    .kernel = {3, 2, 4},
                    .strides = {2, 3, 1},
                    .dilations = {1, 2, 3},
                    .pads = {1, 0, 2, 0, 1, 1},
                    .output_padding = {1, 2, 0}},
                   {1, 0, 2}, {7, 13, 11});
  check_transposed({.in = 3, .out = 1, .image = {2, 3, 4}, .kernel = {2, 2, 2}, .strides = {2, 2, 2}},
                   {0, 0, 0}, {4, 6, 8});
  check_transposed({.image = {2, 3, 4}, .kernel = {1, 1, 2}, .strides = {3, 2, 2}}, {0, 0, 0}, {4, 5, 8});
  check_transposed({.batch = 2, .in = 4, .image = {3, 4, 5}, .kernel = {1, 3, 2}, .strides = {1, 2, 2}},
                   {0, 0, 0}, {3, 9, 10});
  check_transposed({.batch = 2, .in = 4, .image = {3, 4, 5}, .kernel = {3, 1, 1}, .strides = {2, 1, 1}},
                   {0, 0, 0}, {7, 4, 5});
  check_transposed({.image = {3, 4, 2}, .kernel = {3, 3, 3}, .strides = {2, 2, 2}, .auto_pad = "SAME_LOWER"},
                   {1, 1, 1}, {6, 8, 4});
}
TEST(ConvTranspose, OutputShape) {
  // (7 - 1) * 2 + 3 = 15 and (6 - 1) * 3 + 3 = 18: three too many, of which the larger half is cut off in
  // front.
  check_transposed({.strides = {2, 3}, .output_shape = {12, 15}}, {2, 2}, {12, 15});
  check_transposed({.strides = {2, 3}, .auto_pad = "SAME_UPPER", .output_shape = {12, 15}}, {1, 1}, {12, 15});
  check_transposed({.strides = {2, 2}, .output_shape = {17, 15}}, {0, 0},
                   {17, 15});  // more than the kernel reaches
}
TEST(ConvTranspose, AutoPadMakesInputTimesStride) {
  check_transposed({.strides = {2, 2}, .auto_pad = "SAME_UPPER"}, {0, 0}, {14, 12});
  check_transposed({.strides = {2, 2}, .auto_pad = "SAME_LOWER"}, {1, 1}, {14, 12});
}

// ---- integers

// Sums of (x - z_x)(w - z_w), exact in double.
std::vector<double> centred(const NodeInput& input, int axis) {
  NodeInput unit = input;
  std::vector<float> ones(static_cast<size_t>(input.quant->scale.size()), 1.0F);
  unit.quant->scale = Tensor::of<float>(input.quant->scale.dims(), ones);
  return reals(unit, axis);
}

struct Quantized {
  NodeCase node;
  std::vector<double> sums;
  std::vector<float> scales;  // s_x * s_w, one or one for each channel
  std::vector<double> bias;   // at the scale of the sums; float outputs: as it is
  int64_t pixels = 1;

  float scale(size_t i) const { return scales[scales.size() == 1 ? 0 : channel(i)]; }
  size_t channel(size_t i) const {
    return i / static_cast<size_t>(pixels) % static_cast<size_t>(node.inputs[1].quant ? channels : 1);
  }
  int64_t channels = 1;
};

Quantized quantized_case(const Conv& c, const std::vector<int64_t>& pad, const std::vector<int64_t>& out,
                         DType x_type, DType w_type, bool per_channel, bool transposed = false) {
  Quantized q;
  q.channels = c.out;
  for (const int64_t p : out) q.pixels *= p;
  std::vector<float> w_scales(per_channel ? static_cast<size_t>(c.out) : 1);
  std::vector<int32_t> w_points(w_scales.size());
  for (size_t i = 0; i < w_scales.size(); ++i) {
    w_scales[i] = 0.01F + 0.003F * static_cast<float>(i);
    w_points[i] = w_type == DType::kUint8 ? 128 - static_cast<int>(i) : static_cast<int>(i % 3) - 1;
  }
  const int axis = transposed ? 1 : 0;
  q.node.node = c.node(transposed ? "ConvTranspose" : "Conv");
  q.node.inputs.push_back({random_bytes(x_type, c.input(), 1), false,
                           edge(x_type, {0.05F}, {x_type == DType::kUint8 ? 131 : -3})});
  q.node.inputs.push_back(
      {random_bytes(w_type, c.weights(transposed), 2), true, edge(w_type, w_scales, w_points, axis)});
  for (const float s : w_scales) q.scales.push_back(0.05F * s);
  const std::vector<double> x = centred(q.node.inputs[0], 1), w = centred(q.node.inputs[1], axis);
  q.sums = transposed ? transposed_reference(c, x, w, {}, pad, out) : reference(c, x, w, {}, pad, out);
  q.bias.assign(static_cast<size_t>(c.out), 0);
  return q;
}

// As ONNX says, in floats.
void expect_quantized(const Quantized& q, const EdgeQuant& y, int lo, int hi) {
  NodeCase node = q.node;
  node.out_quant = y;
  ASSERT_TRUE(has_integer_kernel(node));
  for (const int threads : {1, 3}) {
    node.threads = threads;
    const Tensor got = run_node(node);
    ASSERT_EQ(static_cast<size_t>(got.size()), q.sums.size());
    for (size_t i = 0; i < q.sums.size(); ++i) {
      const auto sum = static_cast<int32_t>(q.sums[i] + q.bias[q.channel(i)]);
      const float multiplier = q.scale(i) / y.scalar_scale();
      const float want =
          std::nearbyint(static_cast<float>(sum) * multiplier) + static_cast<float>(y.scalar_zero_point());
      ASSERT_EQ(static_cast<int>(got.integer_at(static_cast<int64_t>(i))),
                std::clamp(static_cast<int>(std::clamp(want, -1e6F, 1e6F)), lo, hi))
          << i;
    }
  }
}

void expect_floats(const Quantized& q) {
  ASSERT_TRUE(has_integer_kernel(q.node));
  const Tensor got = run_node(q.node);
  for (size_t i = 0; i < q.sums.size(); ++i) {
    const float want = static_cast<float>(q.sums[i]) * q.scale(i) + static_cast<float>(q.bias[q.channel(i)]);
    ASSERT_EQ(got.data<float>()[i], want) << i;
  }
}

struct Geometry {
  Conv conv;
  std::vector<int64_t> pad, out;
};
const std::vector<Geometry> kGeometries = {
    {{.batch = 2, .in = 5, .out = 11, .kernel = {1, 1}}, {0, 0}, {7, 6}},
    {{.in = 5, .out = 11, .strides = {2, 1}, .dilations = {1, 2}, .pads = {1, 2, 1, 2}}, {1, 2}, {4, 6}},
    {{.in = 6, .out = 9, .group = 3, .pads = {1, 1, 1, 1}}, {1, 1}, {7, 6}},
    {{.batch = 2, .in = 6, .out = 24, .group = 2, .strides = {1, 2}, .pads = {1, 1, 1, 1}}, {1, 1}, {7, 3}},
    {{.in = 3, .out = 12, .kernel = {5, 3}, .pads = {2, 0, 2, 0}}, {2, 0}, {7, 4}},
    {{.batch = 2, .in = 5, .out = 11, .image = {4, 3, 6}, .kernel = {2, 3, 3}, .pads = {1, 1, 0, 1, 1, 2}},
     {1, 1, 0},
     {5, 3, 6}},
    {{.in = 6, .out = 9, .group = 3, .image = {5, 3, 6}, .kernel = {3, 1, 1}, .strides = {2, 1, 1}},
     {0, 0, 0},
     {2, 3, 6}},
    {{.batch = 2, .in = 19, .out = 19, .group = 19, .strides = {1, 2}, .pads = {1, 1, 1, 1}}, {1, 1}, {7, 3}},
    {{.in = 4, .out = 6, .image = {21}, .kernel = {5}, .pads = {2, 2}}, {2}, {21}},
};
const DType kBytes[] = {DType::kUint8, DType::kInt8};

TEST(ConvQuantized, EveryTypeAndGeometryExactly) {
  for (const Geometry& g : kGeometries) {
    for (const DType x : kBytes) {
      for (const DType w : kBytes) {
        for (const bool per_channel : {false, true}) {
          const Quantized q = quantized_case(g.conv, g.pad, g.out, x, w, per_channel);
          expect_quantized(q, edge(DType::kUint8, {0.7F}, {120}), 0, 255);
          expect_quantized(q, edge(DType::kInt8, {1.3F}, {-7}), -128, 127);
          expect_floats(q);
        }
      }
    }
  }
}

TEST(ConvQuantized, LinesThatDoNotFitIntoMemory) {
  const int64_t large = int64_t{1} << 24;
  const Conv c{.in = 8,
               .out = 8,
               .group = 8,
               .image = {1, 1},
               .dilations = {large, large},
               .pads = {large, large, large, large}};
  Quantized q = quantized_case(c, {large, large}, {1, 1}, DType::kUint8, DType::kInt8, false);
  q.node.out_quant = edge(DType::kUint8, {0.7F}, {120});
  try {
    run_node(q.node);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kOutOfMemory);
  }
}

void check_bias(Quantized q) {
  const auto count = q.bias.size();
  Tensor bias(DType::kInt32, {static_cast<int64_t>(count)});
  for (size_t i = 0; i < count; ++i) {
    bias.mutable_data<int32_t>()[i] = static_cast<int32_t>(i * i * 97) - 3000;
    q.bias[i] = bias.mutable_data<int32_t>()[i];
  }
  q.node.inputs.push_back({bias, true, edge(DType::kInt32, q.scales, {}, 0)});
  expect_quantized(q, edge(DType::kUint8, {0.7F}, {120}), 0, 255);

  // The same in floats: rounded to the scale of the sums for a quantized output, added as it is to a float
  // one.
  Tensor floats(DType::kFloat32, {static_cast<int64_t>(count)});
  for (size_t i = 0; i < count; ++i)
    floats.mutable_data<float>()[i] = (static_cast<float>(q.bias[i]) + 0.3F) * q.scales[i];
  q.node.inputs[2] = {floats, true};
  expect_quantized(q, edge(DType::kUint8, {0.7F}, {120}), 0, 255);
  for (size_t i = 0; i < count; ++i) q.bias[i] = static_cast<double>(floats.mutable_data<float>()[i]);
  expect_floats(q);
}

TEST(ConvQuantized, BiasOfIntegersOrFloats) {
  const Geometry& g = kGeometries[1];
  check_bias(quantized_case(g.conv, g.pad, g.out, DType::kUint8, DType::kInt8, true));
}

TEST(ConvQuantized, ClampBecomesTheRangeOfTheIntegers) {
  const Geometry& g = kGeometries[3];
  Quantized q = quantized_case(g.conv, g.pad, g.out, DType::kUint8, DType::kInt8, true);
  q.node.clamp = {.lo = 0, .hi = 6};
  expect_quantized(q, edge(DType::kUint8, {0.1F}, {30}), 30, 90);
  expect_quantized(q, edge(DType::kInt8, {0.1F}, {-128}), -128, -68);
}

TEST(ConvQuantized, ScaleAndZeroPointFromTheRun) {
  for (const Geometry& g : kGeometries) {
    Quantized q = quantized_case(g.conv, g.pad, g.out, DType::kUint8, DType::kInt8, true);
    EdgeQuant dynamic;
    dynamic.dtype = DType::kUint8;
    dynamic.scale_slot = 2;
    dynamic.zero_point_slot = 3;
    q.node.inputs[0].quant = dynamic;
    q.node.extra = {Tensor::scalar(0.05F), Tensor::scalar(uint8_t{131})};
    ASSERT_TRUE(has_integer_kernel(q.node));
    const Tensor got = run_node(q.node);
    for (size_t i = 0; i < q.sums.size(); ++i) {
      const float w = q.node.inputs[1].quant->scale.floats()[q.channel(i)];
      ASSERT_EQ(got.data<float>()[i], static_cast<float>(q.sums[i]) * (w * 0.05F));
    }
    q.node.out_quant = edge(DType::kUint8, {1.0F}, {0});
    EXPECT_FALSE(has_integer_kernel(q.node));
  }
}

TEST(ConvQuantized, Transposed) {
  const Conv c{.in = 4, .out = 10, .strides = {2, 3}, .pads = {1, 0, 1, 2}};
  for (const bool per_channel : {false, true}) {
    const Quantized q = quantized_case(c, {1, 0}, {13, 16}, DType::kUint8, DType::kInt8, per_channel, true);
    expect_quantized(q, edge(DType::kUint8, {0.7F}, {120}), 0, 255);
    expect_floats(q);
  }
}

TEST(ConvQuantized, TransposedToOneChannelWithoutOverlap) {
  const Conv c{.batch = 2, .in = 5, .out = 1, .kernel = {2, 3}, .strides = {2, 3}};
  for (const DType w : kBytes) {
    const Quantized q = quantized_case(c, {0, 0}, {14, 18}, DType::kUint8, w, true, true);
    expect_quantized(q, edge(DType::kInt8, {1.3F}, {-7}), -128, 127);
    expect_floats(q);
    check_bias(q);
  }
}

TEST(ConvQuantized, WeightOnly) {
  for (const Geometry& g : kGeometries) {
    Quantized q = quantized_case(g.conv, g.pad, g.out, DType::kUint8, DType::kInt8, true);
    q.node.inputs[0] = {random_floats(g.conv.input(), 1)};
    ASSERT_TRUE(has_integer_kernel(q.node));
    expect_near(run_node(q.node),
                reference(g.conv, reals(q.node.inputs[0]), reals(q.node.inputs[1], 0), {}, g.pad, g.out),
                1e-5);
  }
}

TEST(ConvQuantized, FormsWithoutAnIntegerKernel) {
  const Geometry& g = kGeometries[0];
  const Quantized q = quantized_case(g.conv, g.pad, g.out, DType::kUint8, DType::kInt8, false);
  NodeCase n = q.node;
  n.inputs[0].quant = edge(DType::kUint16, {1.0F});
  EXPECT_FALSE(has_integer_kernel(n));
  n = q.node;
  n.inputs[1].quant = edge(DType::kInt8, std::vector<float>(5, 1.0F), {}, 1);  // along the input's channels
  EXPECT_FALSE(has_integer_kernel(n));
  n = q.node;
  n.inputs[1] = {random_floats(g.conv.weights(), 1), true};
  EXPECT_FALSE(has_integer_kernel(n));
  n = q.node;
  n.out_quant = edge(DType::kUint16, {1.0F});
  EXPECT_FALSE(has_integer_kernel(n));
}

TEST(ConvQuantized, EdgesThatContradictThemselves) {
  const Geometry& g = kGeometries[0];
  const NodeCase good = quantized_case(g.conv, g.pad, g.out, DType::kUint8, DType::kInt8, true).node;
  ASSERT_TRUE(has_integer_kernel(good));
  NodeCase n = good;
  n.inputs[1].quant->zero_point = Tensor(DType::kInt8, {3});  // eleven scales
  EXPECT_FALSE(has_integer_kernel(n));
  n = good;
  n.inputs[0].quant->zero_point = Tensor(DType::kInt16, {});
  EXPECT_FALSE(has_integer_kernel(n));
  n = good;
  n.inputs[1].quant->scale = Tensor(DType::kFloat32, {0});
  EXPECT_FALSE(has_integer_kernel(n));
  n = good;
  n.inputs.push_back({Tensor(DType::kInt32, {11}), true, edge(DType::kInt32, {1.0F, 2.0F}, {}, 0)});
  EXPECT_FALSE(has_integer_kernel(n));
}

TEST(ConvQuantized, ScalesThatAreNoNumbersGiveValuesOfTheType) {
  const Geometry& g = kGeometries[0];
  for (const float scale :
       {0.0F, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    NodeCase n = quantized_case(g.conv, g.pad, g.out, DType::kUint8, DType::kInt8, false).node;
    n.inputs[1].quant->scale = Tensor::scalar(scale);
    n.inputs.push_back({random_floats({11}, 3), true});
    n.clamp = {.lo = 0, .hi = 6};
    for (const float y : {0.5F, scale}) {
      n.out_quant = edge(DType::kInt8, {y}, {3});
      ASSERT_TRUE(has_integer_kernel(n));
      EXPECT_EQ(run_node(n).size(), 2 * 11 * 7 * 6);
    }
  }
}

TEST(ConvInteger, SumsWithZeroPoints) {
  for (const Geometry& g : kGeometries) {
    for (const bool constant : {true, false}) {
      const Quantized q = quantized_case(g.conv, g.pad, g.out, DType::kUint8, DType::kUint8, true);
      NodeCase n{.node = g.conv.node("ConvInteger"), .inputs = {}, .threads = 2};
      n.inputs.push_back({q.node.inputs[0].tensor});
      n.inputs.push_back({q.node.inputs[1].tensor, constant});
      n.inputs.push_back({q.node.inputs[0].quant->zero_point, constant});
      n.inputs.push_back({q.node.inputs[1].quant->zero_point, constant});
      const Tensor got = run_node(n);
      for (size_t i = 0; i < q.sums.size(); ++i)
        ASSERT_EQ(got.data<int32_t>()[i], static_cast<int32_t>(q.sums[i]));
    }
  }
}

}  // namespace
}  // namespace zp::test
