// Conv, in one to three spatial dimensions.
#include "ops/conv.h"

#include <algorithm>
#include <limits>
#include <memory>

#include "kernels/conv/depthwise.h"
#include "kernels/conv/direct.h"
#include "kernels/movement/copy.h"
#include "ops/gradient.h"
#include "ops/product/qdq.h"
#include "ops/rewrite.h"

namespace zp {
namespace {

constexpr int64_t kLargestAttribute = int64_t{1} << 24;
constexpr int64_t kLargestExtent = int64_t{1} << 29;

[[noreturn]] void invalid(const std::string& message) { throw_error(ErrorCode::kInvalidModel, message); }

std::vector<int64_t> per_dimension(const Node& node, std::string_view key, size_t count, int64_t fallback,
                                   int64_t least) {
  std::vector<int64_t> values = node.ints_attribute(key);
  if (values.empty()) return std::vector<int64_t>(count, fallback);
  if (values.size() != count) {
    invalid("attribute '" + std::string(key) + "' has " + std::to_string(values.size()) + " values, not " +
            std::to_string(count));
  }
  for (int64_t v : values) {
    if (v < least || v > kLargestAttribute) {
      invalid("attribute '" + std::string(key) + "' has the value " + std::to_string(v));
    }
  }
  return values;
}

}  // namespace

ConvAttributes ConvAttributes::read(const Node& node, size_t spatial) {
  if (spatial < 1 || spatial > 3) {
    throw_error(ErrorCode::kUnsupportedOperator,
                {"convolutions with ", spatial, " spatial dimensions are not supported"},
                {.hint = "one to three spatial dimensions are"});
  }
  ConvAttributes a;
  const std::string pad = node.string_attribute("auto_pad", "NOTSET");
  if (pad == "VALID") {
    a.auto_pad = Pad::kValid;
  } else if (pad == "SAME_UPPER") {
    a.auto_pad = Pad::kSameUpper;
  } else if (pad == "SAME_LOWER") {
    a.auto_pad = Pad::kSameLower;
  } else if (pad != "NOTSET" && !pad.empty()) {
    invalid("attribute 'auto_pad' is '" + pad + "'");
  }
  a.group = node.int_attribute("group", 1);
  if (a.group < 1 || a.group > kLargestAttribute) invalid("attribute 'group' is " + std::to_string(a.group));
  a.strides = per_dimension(node, "strides", spatial, 1, 1);
  a.dilations = per_dimension(node, "dilations", spatial, 1, 1);
  a.pads = per_dimension(node, "pads", 2 * spatial, 0, -kLargestAttribute);
  if (a.auto_pad != Pad::kExplicit) a.pads.assign(2 * spatial, 0);
  a.output_padding = per_dimension(node, "output_padding", spatial, 0, 0);
  if (!node.ints_attribute("output_shape").empty()) {
    std::vector<int64_t> shape = node.ints_attribute("output_shape");
    if (shape.size() == spatial + 2)
      shape.erase(shape.begin(), shape.begin() + 2);  // some exporters add N and C
    if (shape.size() != spatial) invalid("attribute 'output_shape' does not fit the input");
    for (int64_t v : shape)
      if (v < 1 || v > kLargestExtent) invalid("attribute 'output_shape' has the value " + std::to_string(v));
    a.output_shape = std::move(shape);
  }
  return a;
}

ConvPads conv_pads(const ConvAttributes& a, size_t d, int64_t in, int64_t kernel) {
  if (a.auto_pad == ConvAttributes::Pad::kExplicit) return {a.pads[d], a.pads[d + a.strides.size()]};
  if (a.auto_pad == ConvAttributes::Pad::kValid) return {0, 0};
  const int64_t out = (in + a.strides[d] - 1) / a.strides[d];
  const int64_t total =
      std::max<int64_t>(0, (out - 1) * a.strides[d] + a.dilations[d] * (kernel - 1) + 1 - in);
  const int64_t smaller = total / 2;
  return a.auto_pad == ConvAttributes::Pad::kSameUpper ? ConvPads{smaller, total - smaller}
                                                       : ConvPads{total - smaller, smaller};
}

void infer_conv(InferContext& c, size_t x, size_t w, DType type) {
  if (!c.shape(x)) return c.output(0, type);
  const SymShape& in = *c.shape(x);
  c.require(in.size() >= 3, {"a convolution's input has 3 to 5 dimensions, not ", in});
  const size_t spatial = in.size() - 2;
  const ConvAttributes a = ConvAttributes::read(c.node(), spatial);
  const std::vector<int64_t> kernel_shape = c.node().ints_attribute("kernel_shape");
  SymShape weights(in.size());
  if (c.shape(w)) {
    weights = *c.shape(w);
    c.require(weights.size() == in.size(),
              {"weights of shape ", weights, " do not fit an input of shape ", in});
    if (in[1].known() && weights[1].known()) {
      c.require(
          in[1].value() == weights[1].value() * a.group,
          {"weights of shape ", weights, " with ", a.group, " groups do not fit an input of shape ", in});
    }
    if (weights[0].known()) {
      c.require(weights[0].value() % a.group == 0,
                {"the output's channels cannot be divided into ", a.group, " groups"});
    }
  }
  SymShape out{in[0], weights[0]};
  for (size_t d = 0; d < spatial; ++d) {
    Dim kernel = weights[d + 2];
    if (!kernel.known() && d < kernel_shape.size()) kernel = kernel_shape[d];
    if (d < kernel_shape.size() && kernel.value() != kernel_shape[d]) {
      c.fail(ErrorCode::kInvalidModel, {"attribute 'kernel_shape' contradicts weights of shape ", weights});
    }
    const Dim size = in[d + 2];
    const int64_t stride = a.strides[d];
    if (a.auto_pad == ConvAttributes::Pad::kSameUpper || a.auto_pad == ConvAttributes::Pad::kSameLower) {
      out.push_back(ceil_div(size, stride));
      continue;
    }
    if (!kernel.known()) {
      out.emplace_back();
      continue;
    }
    c.require(kernel.value() >= 1 && kernel.value() <= kLargestAttribute, {"weights of shape ", weights});
    const ConvPads pads = conv_pads(a, d, 0, kernel.value());
    const int64_t extent = a.dilations[d] * (kernel.value() - 1) + 1;
    c.require(extent <= kLargestExtent, {"the kernel reaches over ", extent, " pixels"});
    // out = floor((size + pads - extent) / stride) + 1
    const int64_t more = pads.begin + pads.end - extent + 1;
    if (size.known()) {
      const int64_t last = size.value() + more - 1;
      c.require(last >= 0, {"the kernel of ", extent, " is larger than the padded input of ",
                            size.value() + pads.begin + pads.end});
      c.require(size.value() + pads.begin + pads.end <= kLargestExtent, "the input is too large");
      out.emplace_back(last / stride + 1);
    } else {
      out.push_back(more == 0 ? ceil_div(size, stride) : Dim());
    }
  }
  if (c.has_input(2) && x == 0 && w == 1 && c.shape(2)) {
    const SymShape& bias = *c.shape(2);
    if (type == DType::kFloat32) {
      c.require(bias.size() == 1 && !contradicts(bias[0], weights[0]),
                {"a bias of shape ", bias, " does not fit ",
                 weights[0].known() ? SymShape{weights[0]} : SymShape{Dim()}, " output channels"});
    }
  }
  c.output(0, type, std::move(out));
}

double conv_macs(const InferContext& c) {
  const SymShape* in = c.shape(0);
  const SymShape* w = c.shape(1);
  if (!in || !w || !concrete(*w) || in->size() != w->size() || in->size() < 3) return 0;
  try {
    const ConvAttributes a = ConvAttributes::read(c.node(), in->size() - 2);
    if (!(*in)[0].known()) return 0;
    double macs = static_cast<double>((*in)[0].value());
    for (const Dim& d : *w) macs *= static_cast<double>(d.value());
    for (size_t d = 0; d + 2 < in->size(); ++d) {
      const Dim& size = (*in)[d + 2];
      if (!size.known()) return 0;
      const int64_t kernel = (*w)[d + 2].value();
      const ConvPads pads = conv_pads(a, d, size.value(), kernel);
      const int64_t last = size.value() + pads.begin + pads.end - a.dilations[d] * (kernel - 1) - 1;
      const int64_t outputs = last < 0 ? 0 : last / a.strides[d] + 1;
      macs *= static_cast<double>(outputs);
    }
    return macs;
  } catch (const Error&) {
    return 0;
  }
}

int checked_pad(int64_t pad, int64_t kernel, int64_t dilation) {
  if (kernel > kLargestExtent || dilation * (kernel - 1) > kLargestExtent || pad > kLargestExtent ||
      pad < -kLargestExtent) {
    throw_error(ErrorCode::kUnsupportedOperator,
                {"a kernel of ", kernel, " with dilation ", dilation, " is too large"});
  }
  return static_cast<int>(pad);
}

void check_parts(int64_t parts) {
  if (parts > (1 << 16)) {
    throw_error(ErrorCode::kUnsupportedOperator,
                {parts, " groups (times strides, if transposed) are not supported"});
  }
}

namespace {

// A convolution in three dimensions whose planes, or the lines through them, do not meet, as one in two. (One
// whose kernel is [k, h, w] is often written as [1, h, w] and then [k, 1, 1].)
void flatten(kernels::ConvWindow& g) {
  const auto alone = [](int kernel, int stride, int pad, int in, int out) {
    return kernel == 1 && stride == 1 && pad == 0 && in == out;
  };
  if (alone(g.kernel_depth, g.stride_depth, g.pad_front, g.in_depth, g.out_depth)) {
    g.batch = int_of(int64_t{g.batch} * g.in_depth);
    g.in_depth = g.out_depth = 1;
  } else if (alone(g.kernel_height, g.stride_height, g.pad_top, g.in_height, g.out_height) &&
             alone(g.kernel_width, g.stride_width, g.pad_left, g.in_width, g.out_width)) {
    g.in_width = g.out_width = int_of(int64_t{g.in_height} * g.in_width);
    g.in_height = std::exchange(g.in_depth, 1);
    g.out_height = std::exchange(g.out_depth, 1);
    g.kernel_height = std::exchange(g.kernel_depth, 1);
    g.stride_height = std::exchange(g.stride_depth, 1);
    g.dilation_height = std::exchange(g.dilation_depth, 1);
    g.pad_top = std::exchange(g.pad_front, 0);
  }
}

}  // namespace

void set_window(kernels::ConvWindow& g, const ConvAttributes& a, const Shape& input, const Shape& weights,
                const Shape& output, FunctionRef<int64_t(size_t)> pad) {
  const size_t spatial = input.size() - 2;
  const size_t x = spatial - 1;  // the last spatial dimension; in front of it, the height, then the depth
  const auto checked = [&](size_t d) { return checked_pad(pad(d), weights[d + 2], a.dilations[d]); };
  g.in_width = int_of(input[x + 1]);
  g.out_width = int_of(output[x + 1]);
  g.kernel_width = int_of(weights[x + 2]);
  g.stride_width = int_of(a.strides[x]);
  g.dilation_width = int_of(a.dilations[x]);
  g.pad_left = checked(x);
  if (spatial > 1) {
    const size_t y = x - 1;
    g.in_height = int_of(input[y + 1]);
    g.out_height = int_of(output[y + 1]);
    g.kernel_height = int_of(weights[y + 2]);
    g.stride_height = int_of(a.strides[y]);
    g.dilation_height = int_of(a.dilations[y]);
    g.pad_top = checked(y);
  }
  if (spatial > 2) {
    g.in_depth = int_of(input[1]);
    g.out_depth = int_of(output[1]);
    g.kernel_depth = int_of(weights[2]);
    g.stride_depth = int_of(a.strides[0]);
    g.dilation_depth = int_of(a.dilations[0]);
    g.pad_front = checked(0);
    flatten(g);
  }
  int_of(element_count(Shape{g.batch, g.out_depth, g.out_height, g.out_width}));  // rows
}

kernels::ConvGeometry conv_geometry(const Node& node, const Shape& input, const Shape& weights,
                                    const Shape& output) {
  const ConvAttributes a = ConvAttributes::read(node, input.size() - 2);
  kernels::ConvGeometry g;
  g.batch = int_of(input[0]);
  g.channels = int_of(weights[1]);
  g.pixel_stride = int_of(input.back());
  set_window(g, a, input, weights, output,
             [&](size_t d) { return conv_pads(a, d, input[d + 1], weights[d + 2]).begin; });
  int_of(element_count(weights) / std::max<int64_t>(1, weights[0]));  // K
  return g;
}

Product conv_product(const kernels::ConvGeometry& geometry, int64_t group, const Shape& weights) {
  check_parts(group);
  Product product;
  const int columns = int_of(weights[0] / group);
  const std::ptrdiff_t group_weights = std::ptrdiff_t{columns} * geometry.channels * geometry.taps();
  for (int64_t g = 0; g < group; ++g) {
    const auto at = static_cast<std::ptrdiff_t>(g);
    ProductWeights w;
    w.layout = kernels::WeightLayout::conv(
        columns, geometry.channels, geometry.kernel_depth * geometry.kernel_height, geometry.kernel_width);
    w.offset = at * group_weights;
    w.first_column = static_cast<int>(at) * columns;
    product.weights.push_back(w);
    ProductPart part;
    part.rows = geometry.rows();
    part.weights = static_cast<int>(g);
    part.input_offset = at * geometry.channels;
    part.conv = geometry;
    part.output_offset = at * columns;
    part.output_rows.stride = static_cast<std::ptrdiff_t>(weights[0]);
    product.parts.push_back(part);
  }
  return product;
}

bool is_depthwise(const kernels::ConvGeometry& g, int64_t group, const Shape& input, const Shape& weights) {
  return g.is_flat() && group > 1 && group == input.back() && weights[0] == group && weights[1] == 1;
}

namespace {

// Convolutions that run line by line and not as products: a struct describes each kind. Weights are packed as
// floats or as 8-bit integers; the scratch is that of one call.

// One output channel to one input channel.
struct DepthwiseLines {
  kernels::ConvGeometry conv;  // counts the channels of the whole image

  const kernels::ConvGeometry& geometry() const { return conv; }

  using FloatWeights = kernels::DepthwiseFloatWeights;
  using Int8Weights = kernels::DepthwiseInt8Weights;
  static constexpr const char* kFloatKind = "float/depthwise";
  static constexpr const char* kInt8Kind = "int8/depthwise";

  int columns() const { return conv.channels; }
  size_t float_bytes() const { return kernels::packed_depthwise_float_bytes(conv); }
  size_t int8_bytes() const { return kernels::packed_depthwise_int8_bytes(conv); }
  size_t float_scratch() const { return 0; }
  uint64_t int8_scratch() const { return kernels::depthwise_int8_scratch_bytes(conv); }
  FloatWeights pack(const float* weights, void* storage) const {
    return kernels::pack_depthwise_float(weights, conv, storage);
  }
  Int8Weights pack(const kernels::ConvInt8Source& source, void* storage) const {
    return kernels::pack_depthwise_int8(source, conv, storage);
  }
  void run(const float* x, const FloatWeights& w, const kernels::FloatGemmOutput& y, int begin, int end,
           void*) const {
    kernels::depthwise_float(x, conv, w, y, begin, end);
  }
  template <class Output>
  void run(const kernels::Int8Input& x, const Int8Weights& w, const Output& y, int begin, int end,
           void* scratch) const {
    kernels::depthwise_int8(x, conv, w, y, begin, end, scratch);
  }
};

// Few input channels.
struct DirectLines {
  kernels::DirectGeometry direct;

  const kernels::ConvGeometry& geometry() const { return direct.conv; }

  using FloatWeights = kernels::DirectWeights;
  using Int8Weights = kernels::DirectWeights;
  static constexpr const char* kFloatKind = "float/direct";
  static constexpr const char* kInt8Kind = "int8/direct";

  int columns() const { return direct.all_columns(); }
  size_t float_bytes() const { return kernels::packed_direct_float_bytes(direct); }
  size_t int8_bytes() const { return kernels::packed_direct_int8_bytes(direct); }
  size_t float_scratch() const { return kernels::direct_float_scratch_bytes(direct); }
  size_t int8_scratch() const { return kernels::direct_int8_scratch_bytes(direct); }
  FloatWeights pack(const float* weights, void* storage) const {
    return kernels::pack_direct_float(weights, direct, storage);
  }
  Int8Weights pack(const kernels::ConvInt8Source& source, void* storage) const {
    return kernels::pack_direct_int8(source, direct, storage);
  }
  void run(const float* x, const FloatWeights& w, const kernels::FloatGemmOutput& y, int begin, int end,
           void* scratch) const {
    kernels::direct_float(x, direct, w, y, begin, end, scratch);
  }
  template <class Output>
  void run(const kernels::Int8Input& x, const Int8Weights& w, const Output& y, int begin, int end,
           void* scratch) const {
    kernels::direct_int8(x, direct, w, y, begin, end, scratch);
  }
};

// Output lines, in pieces for the threads. body(begin, end, thread).
template <class F>
void parallel_lines(const RunContext& r, const kernels::ConvGeometry& g, F&& body) {
  const int64_t lines = int64_t{g.batch} * g.out_height;
  const int64_t pieces = r.threads() > 1 ? std::min<int64_t>(lines, int64_t{r.threads()} * 4) : 1;
  r.parallel(pieces, [&](int64_t i, int thread) {
    body(static_cast<int>(lines * i / pieces), static_cast<int>(lines * (i + 1) / pieces), thread);
  });
}

uint64_t aligned(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

template <class Weights>
struct PackedLines {
  std::shared_ptr<std::byte> storage;
  size_t bytes = 0;
  Weights view;
};

// Scratch: [memory of each thread][weights that are packed in each run].
struct LinesScratch {
  size_t per_thread;
  size_t packed_at;

  LinesScratch(PrepareContext& c, uint64_t one_call, size_t packed_in_run) {
    const auto threads = static_cast<uint64_t>(std::max(1, c.threads()));
    const uint64_t calls = aligned(one_call) * threads;
    const uint64_t total = calls + (packed_in_run > 0 ? packed_in_run + kReadSlack : 0);
    if (total > std::numeric_limits<uint32_t>::max()) {  // of what a WebAssembly module has
      c.fail(ErrorCode::kOutOfMemory, "the padded lines of the input do not fit into memory",
             "use less padding or a smaller dilation");
    }
    per_thread = static_cast<size_t>(calls / threads);
    packed_at = static_cast<size_t>(calls);
    if (total > 0) c.scratch(static_cast<size_t>(total));
  }
  void* of_thread(const RunContext& r, int thread) const {
    return per_thread > 0 ? r.scratch<std::byte>(per_thread * static_cast<size_t>(thread)) : nullptr;
  }
};

template <class Lines>
Kernel float_lines_conv(PrepareContext& c, const Lines& lines) {
  using Weights = typename Lines::FloatWeights;
  std::shared_ptr<const PackedLines<Weights>> packed;
  if (const Tensor* weights = c.constant(1)) {
    packed = c.cached<PackedLines<Weights>>(Lines::kFloatKind, [&] {
      const Tensor floats = c.quant(1) ? dequantized(*weights, *c.quant(1)) : *weights;
      auto made = std::make_shared<PackedLines<Weights>>();
      made->storage = allocate_bytes(made->bytes = lines.float_bytes());
      made->view = lines.pack(floats.data<float>().data(), made->storage.get());
      kernels::flush_denormals(made->storage.get(), made->bytes);
      return made;
    });
  }
  const LinesScratch scratch(c, lines.float_scratch(), packed ? 0 : lines.float_bytes());
  return [lines, packed, scratch, bias = float_bias_of(c), clamp = c.clamp()](const RunContext& r) {
    const Weights weights =
        packed ? packed->view : lines.pack(r.in<float>(1), r.scratch<std::byte>(scratch.packed_at));
    kernels::FloatGemmOutput y;
    y.data = r.out<float>(0);
    y.rows.stride = lines.columns();
    y.bias = bias.in(r);
    y.lo = clamp.lo;
    y.hi = clamp.hi;
    parallel_lines(r, lines.geometry(), [&](int begin, int end, int thread) {
      lines.run(r.in<float>(0), weights, y, begin, end, scratch.of_thread(r, thread));
    });
  };
}

template <class Lines>
Kernel integer_lines_conv(PrepareContext& c, const Lines& lines, Operand8 input, Weights8 w,
                          Epilogue8 epilogue) {
  using Weights = typename Lines::Int8Weights;
  const auto pack = [](const Lines& lines, const void* data, const Weights8& w, const void* zero_points,
                       void* storage) {
    return lines.pack({data, w.is_unsigned, zero_points, w.count()}, storage);
  };
  std::shared_ptr<const PackedLines<Weights>> packed;
  if (w.constant) {
    packed = c.cached<PackedLines<Weights>>(Lines::kInt8Kind, [&] {
      auto made = std::make_shared<PackedLines<Weights>>();
      made->storage = allocate_bytes(made->bytes = lines.int8_bytes());
      made->view = pack(lines, w.constant->raw(), w, w.zero_points.data(), made->storage.get());
      return made;
    });
    w.constant.reset();
  }
  const LinesScratch scratch(c, lines.int8_scratch(), packed ? 0 : lines.int8_bytes());
  auto shared = std::make_shared<const Epilogue8>(std::move(epilogue));
  return [lines, packed, scratch, input, w, shared, pack](const RunContext& r) {
    const Weights weights = packed ? packed->view
                                   : pack(lines, r.in<uint8_t>(1), w, w.zero_points_in(r),
                                          r.scratch<std::byte>(scratch.packed_at));
    kernels::Int8Input in;
    in.rows.data = r.in<uint8_t>(0);
    in.is_signed = input.is_signed;
    in.zero_point = input.zero_point_in(r);
    kernels::RowLayout rows;
    rows.stride = lines.columns();
    const float scale = shared->scale_in(r);
    parallel_lines(r, lines.geometry(), [&](int begin, int end, int thread) {
      shared->with_output(r, scale, 0, rows, 0, [&](const auto& y) {
        lines.run(in, weights, y, begin, end, scratch.of_thread(r, thread));
      });
    });
  };
}

// Calls `lines` with the kind of this convolution if it runs line by line, else `product`.
template <class Suits, class LinesKernel, class ProductKernel>
Kernel by_kind(const kernels::ConvGeometry& g, int64_t group, const Shape& input, const Shape& weights,
               Suits&& suits_direct, LinesKernel&& lines, ProductKernel&& product) {
  if (is_depthwise(g, group, input, weights)) {
    DepthwiseLines depthwise{g};
    depthwise.conv.channels = static_cast<int>(g.pixel_stride);
    return lines(depthwise);
  }
  const kernels::DirectGeometry direct{g, int_of(group), int_of(weights[0] / group)};
  return g.is_flat() && suits_direct(direct) ? lines(DirectLines{direct}) : product();
}

}  // namespace

Kernel integer_conv(PrepareContext& c, Operand8 input, Weights8 weights, Epilogue8 epilogue) {
  const int64_t group = c.node().int_attribute("group", 1);
  const kernels::ConvGeometry g = conv_geometry(c.node(), c.dims(0), c.dims(1), c.out_dims(0));
  return by_kind(
      g, group, c.dims(0), c.dims(1),
      [](const kernels::DirectGeometry& direct) { return kernels::suits_direct_int8(direct); },
      [&](const auto& lines) {
        return integer_lines_conv(c, lines, input, std::move(weights), std::move(epilogue));
      },
      [&] {
        return integer_product(c, conv_product(g, group, c.dims(1)), input, std::move(weights),
                               std::move(epilogue));
      });
}

namespace {

void infer(InferContext& c) { infer_conv(c, 0, 1, type_of_product(c)); }

Kernel prepare(PrepareContext& c) {
  const Shape& weights = c.dims(1);
  const int columns = int_of(weights[0]);
  require_operand_types(c);
  if (c.quant(0)) return integer_conv(c, input_of(c), weights_of(c), epilogue_of(c, 1, columns));
  if (c.dtype(0) != DType::kFloat32) {
    c.fail(ErrorCode::kUnsupportedType, {"convolutions of ", name_of(c.dtype(0)), " are not supported"},
           "convert the model to float32");
  }
  const int64_t group = c.node().int_attribute("group", 1);
  const kernels::ConvGeometry g = conv_geometry(c.node(), c.dims(0), weights, c.out_dims(0));
  return by_kind(
      g, group, c.dims(0), weights, kernels::suits_direct_float,
      [&](const auto& lines) { return float_lines_conv(c, lines); },
      [&] { return any_product(c, conv_product(g, group, weights), columns); });
}

bool integer(const PrepareContext& c) { return has_quantized_product(c, {.channel_axis = 0}); }

// ---- operator formats

bool fold_static(Fold& f, const QuantizedEdge& x, const QuantizedEdge& w) {
  Graph& g = f.graph;
  if (x.dynamic || f.output->dynamic || !is_8_bit_value(g, f.output->quantized) ||
      !is_single(g, f.output->scale)) {
    return false;
  }
  std::vector<ValueId> inputs{x.quantized,
                              x.scale,
                              zero_point_or_zeros(g, x),
                              w.quantized,
                              w.scale,
                              zero_point_or_zeros(g, w),
                              f.output->scale,
                              zero_point_or_zeros(g, *f.output)};
  if (f.node.input(2) != kNoValue) {
    if (f.inputs.size() < 3 || !f.inputs[2] || !has_product_scale(g, *f.inputs[2], x, w)) return false;
    inputs.push_back(f.inputs[2]->quantized);
  }
  f.nodes.push_back(folded_node(f.node.name, "QLinearConv", "", std::move(inputs), f.output->quantized,
                                attributes_of(f.node)));
  return true;
}

bool fold_dynamic(Fold& f, const QuantizedEdge& x, const QuantizedEdge& w) {
  Graph& g = f.graph;
  const auto constant_of = [&](ValueId v) {  // a copy: new values move the old ones
    const Tensor* t = g.constant(v);
    return t ? *t : Tensor();
  };
  const ValueId bias_value = f.node.input(2);
  const Tensor weights = constant_of(w.quantized), scales = constant_of(w.scale),
               bias = constant_of(bias_value), points = constant_of(w.zero_point);
  if (!weights.defined() || !scales.defined() || (w.zero_point != kNoValue && !points.defined()))
    return false;
  if (bias_value != kNoValue && bias.dtype() != DType::kFloat32) return false;
  const Shape& dims = weights.dims();
  Shape channels(dims.size() - 1, 1);  // [M, 1, ...] broadcasts to the output
  channels[0] = dims[0];
  ValueId scale = w.scale;
  if (scales.size() > 1) scale = g.add_constant(g[w.scale].name + "_channels", scales.reshaped(channels));
  ValueId added = kNoValue;
  if (bias.defined()) added = g.add_constant(g[bias_value].name + "_channels", bias.reshaped(channels));
  ValueId quantized = w.quantized, zero_point = w.zero_point;
  if (weights.dtype() == DType::kInt8) {
    // ONNX Runtime's ConvInteger takes uint8 weights only: the same numbers, moved by 128.
    Tensor moved(DType::kUint8, dims);
    for (int64_t i = 0; i < weights.size(); ++i) moved.mutable_raw()[i] = weights.raw()[i] ^ std::byte{0x80};
    Tensor moved_points(DType::kUint8, points.defined() ? points.dims() : Shape{});
    for (int64_t i = 0; i < moved_points.size(); ++i) {
      moved_points.mutable_raw()[i] = (points.defined() ? points.raw()[i] : std::byte{0}) ^ std::byte{0x80};
    }
    quantized = g.add_constant(g[w.quantized].name + "_uint8", std::move(moved));
    zero_point = g.add_constant(g[w.quantized].name + "_uint8_zero_point", std::move(moved_points));
  } else if (zero_point == kNoValue) {
    zero_point = zero_point_or_zeros(g, w);
  }
  // One zero point serves all channels there.
  if (const Tensor each = *g.constant(zero_point); each.size() > 1) {
    const std::byte first = each.raw()[0];
    if (std::any_of(each.raw(), each.raw() + each.size(), [&](std::byte b) { return b != first; }))
      return false;
    Tensor one(each.dtype(), {});
    one.mutable_raw()[0] = first;
    zero_point = g.add_constant(g[zero_point].name + "_one", std::move(one));
  }
  const ValueId sums = f.add("ConvInteger", {x.quantized, quantized, zero_point_or_zeros(g, x), zero_point},
                             attributes_of(f.node));
  fold_dynamic_tail(f, sums, x.scale, scale, added);
  return true;
}

bool fold(Fold& f) {
  if (f.inputs.size() < 2 || !f.inputs[0] || !f.inputs[1]) return false;
  const QuantizedEdge &x = *f.inputs[0], &w = *f.inputs[1];
  if (!is_8_bit_value(f.graph, x.quantized) || !is_8_bit_value(f.graph, w.quantized) ||
      !is_single(f.graph, x.scale) || !fits_axis(f.graph, w, 0, 4)) {
    return false;
  }
  if (f.output) return fold_static(f, x, w);
  return x.dynamic && !w.dynamic && fold_dynamic(f, x, w);
}

// ---- rewrites

// The bias that some exporters write as an Add behind the convolution: a constant with one element for each
// channel.
std::optional<std::vector<float>> channel_constant(const RewriteContext& r, ValueId value, size_t rank,
                                                   int64_t channels) {
  const Tensor* t = r.graph.constant(value);
  Shape dims = t ? t->dims() : Shape{};
  const int32_t maker = r.producer(value);
  if (!t && maker >= 0 &&
      r.node(maker).is("Reshape")) {  // of a constant, as ONNX Runtime's quantizer writes it
    t = r.graph.constant(r.node(maker).input(0));
    const Tensor* shape = r.graph.constant(r.node(maker).input(1));
    if (!t || !shape || shape->dtype() != DType::kInt64) return std::nullopt;
    dims = shape->integers();
    for (int64_t& d : dims)
      if (d == -1) d = t->size();
  }
  if (!t || t->dtype() != DType::kFloat32 || (t->size() != 1 && t->size() != channels)) return std::nullopt;
  if (t->size() > 1) {
    if (dims.size() + 1 < rank || dims.size() > rank) return std::nullopt;
    const size_t channel = dims.size() + 1 - rank;
    for (size_t d = 0; d < dims.size(); ++d)
      if (dims[d] != (d == channel ? channels : 1)) return std::nullopt;
  } else if (dims.size() > rank) {
    return std::nullopt;
  }
  std::vector<float> values = t->floats();
  values.resize(static_cast<size_t>(channels), values[0]);
  return values;
}

bool absorb_add(RewriteContext& r) {
  const Node& add = r.node();
  if (!add.is("Add") || add.inputs.size() != 2) return false;
  for (const size_t side : {size_t{0}, size_t{1}}) {
    const int32_t at = r.producer(add.inputs[side]);
    if (at < 0 || r.only_consumer(add.inputs[side]) != r.at()) continue;
    const Node& conv = r.node(at);
    const bool transposed = conv.is("ConvTranspose");
    if (!transposed && !conv.is("Conv")) continue;
    const auto& w = r.graph[conv.input(1)].shape;
    if (!w || w->size() < 3 || !(*w)[transposed ? 1 : 0].known()) continue;
    const int64_t channels = transposed ? (*w)[1].value() * conv.int_attribute("group", 1) : (*w)[0].value();
    if (channels < 1) continue;
    std::optional<std::vector<float>> bias = channel_constant(r, add.inputs[1 - side], w->size(), channels);
    if (!bias) continue;
    if (conv.input(2) != kNoValue) {
      const Tensor* before = r.graph.constant(conv.inputs[2]);
      if (!before || before->dtype() != DType::kFloat32 || before->size() != channels) continue;
      const std::vector<float> old = before->floats();
      for (size_t i = 0; i < old.size(); ++i) (*bias)[i] += old[i];
    }
    Node made = conv;
    made.inputs.resize(3, kNoValue);
    made.inputs[2] =
        r.graph.add_constant(r.graph[conv.outputs[0]].name + "_bias", Tensor::of<float>({channels}, *bias));
    made.outputs = add.outputs;
    r.replace({at, r.at()}, {std::move(made)});
    return true;
  }
  return false;
}

// ---- gradient

void gradient(Gradient& g) {
  const NewAttributes attributes = g.attributes();
  if (g.wanted(0)) g.give(0, g.own("ConvInputGradient", {g.dy(), g.in(1), g.shape_of(g.in(0))}, attributes));
  if (g.wanted(1)) g.give(1, g.own("ConvWeightGradient", {g.in(0), g.dy(), g.shape_of(g.in(1))}, attributes));
  if (g.wanted(2)) g.give(2, channel_sums(g, g.dy()));
}

const RegisterRewrite kAbsorbAdd({.name = "Add into the bias of a convolution",
                                  .apply = absorb_add,
                                  .order = 1});

constexpr OpDef kConv = {
    .name = "Conv",
    .inputs = "X W B?",
    .opsets = "7F 22b",
    .infer = infer,
    .prepare = prepare,
    .layout = channels_last,
    .integer = integer,
    .fuses_clamp = true,
    .macs = conv_macs,
    .quant = {.kind = QuantRule::Kind::kProduct,
              .weight = 1,
              .bias = 2,
              .channel_axis = [](const Node&, int) { return 0; },
              .block_axis = nullptr,
              .input_axis = [](const Node&, int) { return 1; },
              .channel_dim = 1},
    .fold = fold,
    .gradient = gradient,
};
const RegisterOps kRegistered({&kConv});

}  // namespace
}  // namespace zp
