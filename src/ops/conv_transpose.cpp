// ConvTranspose, in one to three spatial dimensions: each phase of the output is a convolution of its own.
#include <algorithm>
#include <memory>
#include <optional>

#include "ops/conv.h"
#include "ops/gradient.h"
#include "ops/moving.h"
#include "ops/respell.h"

namespace zp {
namespace {

struct Axis {
  int64_t out, pad_begin;
};

// Output size and begin padding along one spatial dimension.
Axis transposed_axis(const ConvAttributes& a, size_t d, int64_t in, int64_t kernel) {
  const int64_t stride = a.strides[d];
  const int64_t full = (in - 1) * stride + a.output_padding[d] + a.dilations[d] * (kernel - 1) + 1;
  const bool same =
      a.auto_pad == ConvAttributes::Pad::kSameUpper || a.auto_pad == ConvAttributes::Pad::kSameLower;
  if (a.output_shape.empty() && !same) {
    const ConvPads pads = conv_pads(a, d, in, kernel);
    return {full - pads.begin - pads.end, pads.begin};
  }
  // No outputs are added beyond the reach of the kernel: a kernel of 1 at stride 2 makes 3 of 2, not 4. ONNX
  // Runtime does the same; the text of the operator does not have this case.
  const int64_t out = a.output_shape.empty() ? std::min(in * stride, full) : a.output_shape[d];
  const int64_t total = std::max<int64_t>(0, full - out);
  // The text of the operator: the smaller half goes first with SAME_UPPER, last otherwise.
  const int64_t begin = a.auto_pad == ConvAttributes::Pad::kSameUpper ? total / 2 : total - total / 2;
  return {out, begin};
}

void infer(InferContext& c) {
  if (!c.shape(0)) return c.output(0, c.dtype(0));
  const SymShape& in = *c.shape(0);
  c.require(in.size() >= 3, {"a convolution's input has 3 to 5 dimensions, not ", in});
  const ConvAttributes a = ConvAttributes::read(c.node(), in.size() - 2);
  const std::vector<int64_t> kernel_shape = c.node().ints_attribute("kernel_shape");
  SymShape weights(in.size());
  if (c.shape(1)) {
    weights = *c.shape(1);
    c.require(weights.size() == in.size() && !contradicts(weights[0], in[1]),
              {"weights of shape ", weights, " do not fit an input of shape ", in});
    if (weights[0].known()) {
      c.require(weights[0].value() % a.group == 0,
                {"the input's channels cannot be divided into ", a.group, " groups"});
    }
  }
  SymShape out{in[0], weights[1] * Dim(a.group)};
  for (size_t d = 0; d + 2 < in.size(); ++d) {
    Dim kernel = weights[d + 2];
    if (!kernel.known() && d < kernel_shape.size()) kernel = kernel_shape[d];
    if (d < kernel_shape.size() && kernel.value() != kernel_shape[d]) {
      c.fail(ErrorCode::kInvalidModel, {"attribute 'kernel_shape' contradicts weights of shape ", weights});
    }
    if (!a.output_shape.empty()) {
      out.emplace_back(a.output_shape[d]);
    } else if (!in[d + 2].known() || !kernel.known()) {
      out.emplace_back();
    } else {
      c.require(kernel.value() >= 1 && in[d + 2].value() >= 1,
                {"weights of shape ", weights, " and an input of shape ", in});
      const int64_t size = transposed_axis(a, d, in[d + 2].value(), kernel.value()).out;
      c.require(size >= 1 && size <= (int64_t{1} << 29),
                {"the output would be ", size, " pixels along spatial dimension ", d});
      out.emplace_back(size);
    }
  }
  if (c.has_input(2) && c.shape(2)) {
    const SymShape& bias = *c.shape(2);
    c.require(bias.size() == 1 && !contradicts(bias[0], out[1]),
              {"a bias of shape ", bias, " does not fit an output of shape ", out});
  }
  c.output(0, c.dtype(0), std::move(out));
}

kernels::TransposedConvGeometry geometry_of(const Node& node, const Shape& input, const Shape& weights,
                                            const Shape& output) {
  const ConvAttributes a = ConvAttributes::read(node, input.size() - 2);
  kernels::TransposedConvGeometry g;
  g.batch = int_of(input[0]);
  g.channels = int_of(weights[0] / a.group);
  g.pixel_stride = int_of(input.back());
  g.out_pixel_stride = int_of(output.back());
  set_window(g, a, input, weights, output,
             [&](size_t d) { return transposed_axis(a, d, input[d + 1], weights[d + 2]).pad_begin; });
  int_of(element_count(Shape{weights[0], g.kernel_depth, g.kernel_height, g.kernel_width}));
  check_parts(int64_t{g.stride_height} * g.stride_width);
  check_parts(int64_t{g.stride_height} * g.stride_width * g.stride_depth);
  check_parts(int64_t{g.phases()} * a.group);
  return g;
}

}  // namespace

Product transposed_conv_product(const kernels::TransposedConvGeometry& g, int64_t group,
                                const Shape& weights) {
  Product product;
  const int columns = int_of(weights[1]);
  const std::ptrdiff_t group_weights = std::ptrdiff_t{g.channels} * columns * g.taps();
  // Phases and their weights depend on the padding alone, not on the image.
  product.cache_kind = "packed";
  for (const int pad : {g.pad_front, g.pad_top, g.pad_left}) product.cache_kind += "/" + std::to_string(pad);
  product.channel_axis = 1;
  for (int phase = 0; phase < g.phases(); ++phase) {
    const kernels::TransposedConvPhase p = kernels::transposed_conv_phase(g, phase);
    for (int64_t i = 0; i < group; ++i) {
      const auto at = static_cast<std::ptrdiff_t>(i);
      ProductWeights w;
      w.layout = kernels::WeightLayout::transposed_conv(g, columns, p);
      w.offset = at * group_weights + kernels::WeightLayout::phase_offset(g, p);
      w.first_column = static_cast<int>(at) * columns;
      ProductPart part;
      part.rows = p.conv.rows();
      part.weights = static_cast<int>(product.weights.size());
      part.input_offset = at * g.channels;
      part.conv = p.conv;
      part.output_offset = p.first_output + at * columns;
      part.output_rows = p.rows;
      product.weights.push_back(w);
      product.parts.push_back(part);
    }
  }
  return product;
}

namespace {

// A single output channel and a kernel that meets each output once, as in doubling the size of a map: the
// results of the taps of a line lie side by side. So the taps become columns of one product, not a phase
// each.
std::optional<Product> product_of_tap_lines(const kernels::TransposedConvGeometry& g, int64_t group,
                                            const Shape& weights) {
  const bool once = g.is_flat() && g.kernel_height == g.stride_height && g.kernel_width == g.stride_width &&
                    g.dilation_height == 1 && g.dilation_width == 1 && g.pad_top == 0 && g.pad_left == 0 &&
                    g.out_height == g.in_height * g.stride_height &&
                    g.out_width == g.in_width * g.stride_width;
  if (group != 1 || weights[1] != 1 || !once) return std::nullopt;
  Product product;
  product.cache_kind = "packed/lines";
  product.channel_axis = 1;
  for (int ky = 0; ky < g.kernel_height; ++ky) {
    ProductWeights w;
    w.layout = kernels::WeightLayout::matrix(g.channels, g.kernel_width);
    w.layout.channel_stride = std::ptrdiff_t{g.kernel_height} * g.kernel_width;
    w.offset = std::ptrdiff_t{ky} * g.kernel_width;
    ProductPart part;
    part.rows = int_of(int64_t{g.batch} * g.in_height * g.in_width);
    part.weights = ky;
    part.row_stride = g.pixel_stride;
    part.output_offset = std::ptrdiff_t{ky} * g.out_width;
    part.output_rows.stride = g.kernel_width;
    part.output_rows.width = g.in_width;
    part.output_rows.height = g.in_height;
    part.output_rows.line_stride = std::ptrdiff_t{g.kernel_height} * g.out_width;
    part.output_rows.image_stride = std::ptrdiff_t{g.out_height} * g.out_width;
    product.weights.push_back(w);
    product.parts.push_back(part);
  }
  return product;
}

Kernel prepare(PrepareContext& c) {
  const int64_t group = c.node().int_attribute("group", 1);
  const kernels::TransposedConvGeometry g = geometry_of(c.node(), c.dims(0), c.dims(1), c.out_dims(0));
  if (!c.has_input(2) || c.constant(2)) {  // a bias that is an input of the run exists once
    std::optional<Product> lines = product_of_tap_lines(g, group, c.dims(1));
    if (lines) return any_product(c, std::move(*lines), g.kernel_width);
  }
  return any_product(c, transposed_conv_product(g, group, c.dims(1)), int_of(c.dims(1)[1] * group));
}

int channel_axis(const Node& node, int) { return node.int_attribute("group", 1) == 1 ? 1 : -1; }

bool integer(const PrepareContext& c) {
  return has_quantized_product(c, {.channel_axis = channel_axis(c.node(), 4)});
}

double macs(const InferContext& c) {
  const SymShape* in = c.shape(0);
  const SymShape* w = c.shape(1);
  if (!in || !w || !concrete(*in) || !concrete(*w) || w->size() != in->size()) return 0;
  double n = static_cast<double>((*in)[0].value());
  for (size_t d = 2; d < in->size(); ++d) n *= static_cast<double>((*in)[d].value());
  for (const Dim& d : *w) n *= static_cast<double>(d.value());
  return n;  // each input pixel meets each weight of its group once
}

// The gradient of x is the convolution of dy whose transpose this is. The gradient of the weights is that of
// this convolution, with x and dy exchanged.
void gradient(Gradient& g) {
  if (g.node.string_attribute("auto_pad", "NOTSET") != "NOTSET" || g.node.attribute("output_shape"))
    g.fail("padding that follows from the output's shape is not differentiated");
  NewAttributes attributes;
  for (const auto& [key, value] : g.node.attributes)
    if (key != "output_padding") attributes.emplace_back(key, value);
  if (g.wanted(0)) g.give(0, g.add("Conv", {g.dy(), g.in(1)}, attributes));
  if (g.wanted(1)) g.give(1, g.own("ConvWeightGradient", {g.dy(), g.in(0), g.shape_of(g.in(1))}, attributes));
  if (g.wanted(2)) g.give(2, channel_sums(g, g.dy()));
}

void respell(Respell& r) {
  // Opset 11 changed the meaning of these values.
  if (r.node.string_attribute("auto_pad", "NOTSET").starts_with("SAME")) r.need(11);
}

constexpr OpDef kConvTranspose = {
    .name = "ConvTranspose",
    .inputs = "X W B?",
    .opsets = "7F 22b",
    .infer = infer,
    .prepare = prepare,
    .layout = channels_last,
    .integer = integer,
    .fuses_clamp = true,
    .macs = macs,
    .quant = {.kind = QuantRule::Kind::kProduct,
              .weight = 1,
              .bias = 2,
              .channel_axis = channel_axis,
              .block_axis = nullptr,
              .input_axis = [](const Node&, int) { return 0; },
              .channel_dim = 1},
    .respell = respell,
    .gradient = gradient,
};
const RegisterOps kRegistered({&kConvTranspose});

}  // namespace
}  // namespace zp
