// Pad: constant, reflect, edge and wrap; negative pads cut.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>

#include "core/grain.h"
#include "kernels/movement/copy.h"
#include "ops/byte_edges.h"
#include "ops/cast.h"
#include "ops/gradient.h"
#include "ops/moving.h"
#include "ops/respell.h"
#include "ops/rewrite.h"
#include "ops/shape_arguments.h"

namespace zp {
namespace {

struct Pads {
  std::vector<int64_t> begin, end;  // by logical dimension
};

// From the arguments, checked. `axes` empty: all.
template <class Context>
Pads pads_of(const Context& c, const std::vector<int64_t>& pads, const std::vector<int64_t>& axes,
             bool has_axes, size_t rank) {
  const size_t count = has_axes ? axes.size() : rank;
  if (pads.size() != 2 * count) {
    c.fail(ErrorCode::kShapeMismatch, {"there are ", pads.size(), " pads for ", count, " axes"});
  }
  Pads p{std::vector<int64_t>(rank, 0), std::vector<int64_t>(rank, 0)};
  for (size_t i = 0; i < count; ++i) {
    size_t at = i;
    if (has_axes) {
      const auto r = static_cast<int64_t>(rank);
      if (axes[i] < -r || axes[i] >= r) {
        c.fail(ErrorCode::kShapeMismatch,
               {"axis ", axes[i], " is outside a tensor of ", rank, " dimensions"});
      }
      at = static_cast<size_t>(axes[i] < 0 ? axes[i] + r : axes[i]);
    }
    p.begin[at] = pads[i];
    p.end[at] = pads[i + count];
    if (std::min(p.begin[at], p.end[at]) < -kLargestDim || std::max(p.begin[at], p.end[at]) > kLargestDim) {
      c.fail(ErrorCode::kShapeMismatch, {"pads ", pads, " are too large"});
    }
  }
  return p;
}

void infer_pad(InferContext& c) {
  const SymShape* in = c.shape(0);
  if (!in) return c.output(0, c.dtype(0));
  const auto given = shape_integers(c, 1);
  const auto axes = shape_integers(c, 3);
  if (!given || (c.has_input(3) && !axes)) return c.output(0, c.dtype(0), SymShape(in->size()));
  const Pads pads = pads_of(c, *given, axes.value_or(std::vector<int64_t>{}), axes.has_value(), in->size());
  SymShape out = *in;
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i].known()) {
      const int64_t size = out[i].value() + pads.begin[i] + pads.end[i];
      c.require(size >= 0, {"pads ", *given, " cut more than there is of ", *in});
      out[i] = size;
    } else if (pads.begin[i] != 0 || pads.end[i] != 0) {
      out[i] = Dim();
    }
  }
  c.output(0, c.dtype(0), std::move(out));
}

// The element that constant padding writes. Where only the run knows it: nullopt, read it then.
std::optional<std::array<std::byte, 8>> padding_element(const PrepareContext& c) {
  std::array<std::byte, 8> element{};
  const Tensor* value = c.constant(2);
  if (c.has_input(2) && element_count(c.dims(2)) < 1)
    c.fail(ErrorCode::kShapeMismatch, "the padding value is empty");
  if (const EdgeQuant* q = c.quant(0)) {  // the value is a real number: quantize it as the data was
    const IntegerRange range = integer_range(c.dtype(0));
    const float x = value ? value->floats()[0] : 0.0F;
    const float y = std::nearbyint(x / q->scalar_scale()) + static_cast<float>(q->scalar_zero_point());
    const float bounded = std::clamp(y, static_cast<float>(range.min), static_cast<float>(range.max));
    const auto integer = static_cast<int32_t>(std::isnan(bounded) ? 0.0F : bounded);
    std::memcpy(element.data(), &integer, element_bytes(c, 0));  // little endian
    return element;
  }
  if (!c.has_input(2)) return element;
  if (c.dtype(2) != c.dtype(0))
    c.fail(ErrorCode::kInvalidModel, "the padding value has another type than the data");
  if (!value) return std::nullopt;
  std::memcpy(element.data(), value->raw(), element_bytes(c, 0));
  return element;
}

// The integers can be padded as they are; the integer of the padding value depends on the scale.
bool has_integer(const PrepareContext& c) {
  return is_byte_edge(c.quant(0)) && is_byte_edge(c.out_quant()) &&
         same_quantization(*c.quant(0), *c.out_quant()) && (!c.has_input(2) || c.constant(2)) && !c.quant(2);
}

// Which element of the input stands at a place of the output along one axis; -1: the padding value. Computed
// on demand: a table would be larger than the output.
class Sources {
 public:
  Sources(const PrepareContext& c, std::string_view mode, int64_t size, int64_t begin, int64_t end)
      : mode_(mode == "edge"   ? Mode::kEdge
              : mode == "wrap" ? Mode::kWrap
                               : (mode == "constant" ? Mode::kConstant : Mode::kReflect)),
        size_(size),
        begin_(begin),
        first_(std::max<int64_t>(0, -begin)),
        left_(size - std::max<int64_t>(0, -end) - first_) {
    if (mode_ != Mode::kConstant && left_ <= 0 && std::max(begin, end) > 0)
      c.fail(ErrorCode::kShapeMismatch, "there is nothing to repeat in the padding");
  }

  int64_t operator()(int64_t place) const {
    const int64_t source = place - begin_;
    // A cut that is longer than the data cuts the padding at the other end, too.
    if (mode_ == Mode::kConstant) return source < 0 || source >= size_ ? -1 : source;
    const int64_t i = source - first_;  // among what is not cut
    if (i >= 0 && i < left_) return source;
    switch (mode_) {
      case Mode::kEdge:
        return first_ + std::clamp<int64_t>(i, 0, left_ - 1);
      case Mode::kWrap:
        return first_ + (i % left_ + left_) % left_;
      default: {  // over and over where the padding is wider than the data
        const int64_t period = std::max<int64_t>(1, 2 * (left_ - 1)), at = (i % period + period) % period;
        return first_ + (at < left_ ? at : period - at);
      }
    }
  }

 private:
  enum class Mode : uint8_t { kConstant, kEdge, kWrap, kReflect };
  Mode mode_;
  int64_t size_, begin_, first_, left_;
};

struct PadPlan {
  std::vector<Sources> from;  // by axis; the last has elements
  std::vector<int64_t> in_strides;
  std::vector<int64_t> out;
  int64_t run_first = 0, run_count = 0;  // along the last axis: the part that is copied as it is
};

Kernel prepare_pad(PrepareContext& c) {
  const Shape& dims = c.dims(0);
  const Shape& out = c.out_dims(0);
  const size_t rank = dims.size();
  const std::string mode = c.node().string_attribute("mode", "constant");
  if (mode != "constant" && mode != "reflect" && mode != "edge" && mode != "wrap") {
    c.fail(ErrorCode::kUnsupportedOperator, {"padding mode '", mode, "' is not supported"});
  }
  const Pads pads = pads_of(c, prepared_integers(c, 1), prepared_integers(c, 3), c.has_input(3), rank);
  if (std::all_of(pads.begin.begin(), pads.begin.end(), [](int64_t p) { return p == 0; }) &&
      std::all_of(pads.end.begin(), pads.end.end(), [](int64_t p) { return p == 0; })) {
    c.alias(0);
    return {};
  }
  // Trailing axes without pads are moved as one element.
  Shape begin(rank), end(rank);
  for (size_t i = 0; i < rank; ++i) {
    const auto at = static_cast<size_t>(c.axis(static_cast<int64_t>(i), static_cast<int>(rank)));
    begin[at] = pads.begin[i];
    end[at] = pads.end[i];
  }
  size_t axes = rank;
  auto bytes = static_cast<int64_t>(element_bytes(c, 0));
  const int64_t unit = bytes;
  while (axes > 1 && begin[axes - 1] == 0 && end[axes - 1] == 0) bytes *= dims[--axes];
  auto plan = std::make_shared<PadPlan>();
  plan->in_strides.assign(axes, bytes);
  for (size_t i = axes; i-- > 1;) plan->in_strides[i - 1] = plan->in_strides[i] * dims[i];
  for (size_t i = 0; i < axes; ++i) {
    plan->from.emplace_back(c, mode, dims[i], begin[i], end[i]);
    plan->out.push_back(out[i]);
  }
  const size_t last = axes - 1;
  plan->run_count = std::max<int64_t>(
      0, dims[last] - std::max<int64_t>(0, -begin[last]) - std::max<int64_t>(0, -end[last]));
  plan->run_first = plan->run_count > 0 ? std::max<int64_t>(0, begin[last]) : 0;
  const std::optional<std::array<std::byte, 8>> known = padding_element(c);
  const int64_t rows = element_count(plan->out, 0, last);
  return [plan, known, rows, bytes, unit, last](const RunContext& run) {
    std::array<std::byte, 8> element{};
    if (known) {
      element = *known;
    } else {
      std::memcpy(element.data(), run.inputs[2], static_cast<size_t>(unit));
    }
    const Sources& columns = plan->from[last];
    const int64_t width = plan->out[last];
    const int64_t row_bytes = width * bytes;
    const auto row = [&](int64_t r) {
      std::byte* to = run.outputs[0] + r * row_bytes;
      const std::byte* in = run.inputs[0];
      int64_t rest = r;
      for (size_t d = last; d-- > 0; rest /= plan->out[d]) {
        const int64_t from = plan->from[d](rest % plan->out[d]);
        if (from < 0) return kernels::fill(to, row_bytes / unit, element.data(), static_cast<size_t>(unit));
        in += from * plan->in_strides[d];
      }
      const auto one = [&](int64_t i) {
        const int64_t from = columns(i);
        if (from < 0)
          return kernels::fill(to + i * bytes, bytes / unit, element.data(), static_cast<size_t>(unit));
        std::memcpy(to + i * bytes, in + from * bytes, static_cast<size_t>(bytes));
      };
      const int64_t first = plan->run_first, behind = first + plan->run_count;
      for (int64_t i = 0; i < first; ++i) one(i);
      if (plan->run_count > 0) {
        std::memcpy(to + first * bytes, in + columns(first) * bytes,
                    static_cast<size_t>(plan->run_count * bytes));
      }
      for (int64_t i = behind; i < width; ++i) one(i);
    };
    run.parallel_range(rows, grain_for({.bytes = row_bytes}), [&](int64_t b, int64_t e) {
      for (int64_t r = b; r < e; ++r) row(r);
    });
  };
}

void pads_to_inputs(Canonicalize& c) {  // attributes before opset 11
  if (c.node.attribute("paddings")) {   // their name in opset 1
    c.node.attributes["pads"] = c.node.attributes["paddings"];
    c.node.attributes.erase("paddings");
  }
  c.attribute_to_input("pads", 1);
  if (c.node.attribute("value")) {
    const float value = c.node.float_attribute("value", 0);
    c.node.attributes.erase("value");
    c.node.inputs.resize(std::max<size_t>(c.node.inputs.size(), 3), kNoValue);
    const DType type = c.graph[c.node.input(0)].dtype;
    c.node.inputs[2] =
        c.constant_value(c.node.name + "_value",
                         cast(Tensor::scalar(value), type == DType::kUndefined ? DType::kFloat32 : type));
  }
  if (c.node.input(1) == kNoValue) c.fail(ErrorCode::kInvalidModel, "the pads are missing");
  keep_unpacked(c, {0, 2});
}

// A Pad with zeros in front of a Conv becomes that Conv's own pads; of an AveragePool too, if it counts its
// pads. The values are the same: a convolution's padding is zeros.
bool pad_into_next(RewriteContext& r) {
  const Node& pad = r.node();
  if (!pad.is("Pad") || pad.string_attribute("mode", "constant") != "constant") return false;
  const int32_t next_at = r.only_consumer(pad.output(0));
  if (next_at < 0) return false;
  const Node& next = r.node(next_at);
  const bool pool = next.is("AveragePool");
  if ((!pool && !next.is("Conv")) || next.input(0) != pad.output(0)) return false;
  if (pool && next.int_attribute("count_include_pad", 0) == 0) return false;
  if (pool && next.int_attribute("ceil_mode", 0) != 0) return false;
  const std::string auto_pad = next.string_attribute("auto_pad", "NOTSET");
  if (auto_pad != "NOTSET" && auto_pad != "VALID" && !auto_pad.empty()) return false;
  const Tensor* pads = r.graph.constant(pad.input(1));
  if (!pads || (pad.input(2) != kNoValue && r.scalar(pad.input(2)) != 0.0F) || pad.input(3) != kNoValue)
    return false;
  const std::vector<int64_t> p = pads->integers();
  const size_t rank = p.size() / 2;
  if (p.size() % 2 != 0 || rank < 3) return false;
  if (p[0] != 0 || p[1] != 0 || p[rank] != 0 || p[rank + 1] != 0) return false;
  if (std::any_of(p.begin(), p.end(), [](int64_t v) { return v < 0; })) return false;
  std::vector<int64_t> own = next.ints_attribute("pads", std::vector<int64_t>(2 * (rank - 2), 0));
  if (own.size() != 2 * (rank - 2) ||
      (auto_pad == "VALID" && std::any_of(own.begin(), own.end(), [](int64_t v) { return v != 0; })))
    return false;
  // A pool that counts its pads divides by the same number wherever they come from. One whose kernel could
  // lie in the pads alone does not exist in other engines: they refuse pads as wide as the kernel.
  const std::vector<int64_t> kernel = next.ints_attribute("kernel_shape");
  for (size_t i = 0; i < rank - 2; ++i) {
    own[i] += p[i + 2];
    own[i + rank - 2] += p[rank + i + 2];
    if (pool && (i >= kernel.size() || own[i] >= kernel[i] || own[i + rank - 2] >= kernel[i])) return false;
  }
  Node merged = next;
  merged.inputs[0] = pad.input(0);
  merged.attributes["pads"] = std::move(own);
  merged.attributes.erase("auto_pad");
  r.replace({r.at(), next_at}, {std::move(merged)});
  return true;
}

// Pads and the value were attributes before opset 11; opset 18 brought axes, opset 19 wrapping around.
void respell(Respell& r) {
  Node& n = r.node;
  if (n.string_attribute("mode", "constant") == "wrap") r.need(19);
  if (r.before(18) && n.input(3) != kNoValue) {
    const auto pads = r.integers(1), axes = r.integers(3);
    const int rank = r.rank(0);
    if (!pads || !axes || rank < 0 || pads->size() != 2 * axes->size()) return r.need(18);
    const auto all = static_cast<size_t>(rank);
    std::vector<int64_t> wide(2 * all, 0);
    for (size_t i = 0; i < axes->size(); ++i) {
      const auto at = static_cast<size_t>((*axes)[i] < 0 ? (*axes)[i] + rank : (*axes)[i]);
      if (at >= all) return r.need(18);
      wide[at] = (*pads)[i];
      wide[at + all] = (*pads)[i + axes->size()];
    }
    r.set(1, std::move(wide));
    n.inputs[3] = kNoValue;
  }
  if (!r.before(11)) return;
  r.input_to_attribute(1, "pads", 11);
  if (n.input(2) == kNoValue) return;
  const Tensor* value = r.constant(2);
  if (!value) return r.need(11);
  if (r.needed >= 11) return;
  n.attributes.insert_or_assign("value", cast(*value, DType::kFloat32).floats()[0]);
  n.inputs[2] = kNoValue;
}

void gradient(Gradient& g) { give_moved(g, 2); }

// The padding value has to be known, and to lie in the range of the scale.
std::string_view why_not(const InferContext& c) {
  if (!c.has_input(2) || c.node().string_attribute("mode", "constant") != "constant") return "";
  return c.constant(2) ? "" : "its padding value is computed";
}

constexpr OpDef kPad = {.name = "Pad",
                        .inputs = "data pads:11 constant_value? axes?",
                        .opsets = "7F 11cCsSiIlL 13otb 21qQG 23m 24e 25pP",
                        .types = "TiTi",
                        .infer = infer_pad,
                        .prepare = prepare_pad,
                        .layout = any_layout,
                        .integer = has_integer,
                        .quant = {.kind = QuantRule::Kind::kSameScale, .inserts = 2, .why_not = why_not},
                        .canonicalize = pads_to_inputs,
                        .respell = respell,
                        .gradient = gradient};
const RegisterOps kRegistered({&kPad});
const RegisterRewrite kPadIntoNext({.name = "padding into the convolution or pool behind it",
                                    .apply = pad_into_next});

}  // namespace
}  // namespace zp
