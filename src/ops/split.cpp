// Split: one value cut into several along an axis.
#include <algorithm>
#include <cstring>

#include "core/grain.h"
#include "ops/cast.h"
#include "ops/gradient.h"
#include "ops/moving.h"
#include "ops/respell.h"
#include "ops/shape_arguments.h"

namespace zp {
namespace {

// Sizes of the parts. nullopt: not known yet.
std::optional<std::vector<Dim>> parts_of(const InferContext& c, const Dim& whole) {
  if (c.has_input(1)) {
    const auto sizes = shape_integers(c, 1);
    if (!sizes) return std::nullopt;
    c.require(sizes->size() == c.outputs(),
              {"there are ", sizes->size(), " sizes for ", c.outputs(), " outputs"});
    int64_t sum = 0;
    for (int64_t s : *sizes) {
      c.require(s >= 0 && s <= int64_t{1} << 40, {"sizes ", *sizes, " are negative or too large"});
      sum += s;
    }
    c.require(!contradicts(Dim(sum), whole), {"sizes ", *sizes, " do not add up to ", whole.value()});
    return std::vector<Dim>(sizes->begin(), sizes->end());
  }
  if (!whole.known()) return std::nullopt;
  const auto count = static_cast<int64_t>(c.outputs());
  const int64_t each = (whole.value() + count - 1) / count;
  std::vector<Dim> parts(c.outputs(), Dim(each));
  const int64_t last = whole.value() - each * (count - 1);  // the last one may be smaller
  c.require(last >= 0, {"cannot split ", whole.value(), " into ", count, " parts"});
  parts.back() = last;
  return parts;
}

void infer_split(InferContext& c) {
  const SymShape* in = c.shape(0);
  c.require(c.outputs() > 0, "there are no outputs");
  const int64_t wanted = c.ints("num_outputs", static_cast<int64_t>(c.outputs()));
  c.require(wanted == static_cast<int64_t>(c.outputs()),
            {"num_outputs is ", wanted, ", but there are ", c.outputs(), " outputs"});
  if (!in) {
    for (size_t i = 0; i < c.outputs(); ++i) c.output(i, c.dtype(0));
    return;
  }
  const auto axis = static_cast<size_t>(c.axis(c.ints("axis", 0), static_cast<int>(in->size())));
  const auto parts = parts_of(c, (*in)[axis]);
  for (size_t i = 0; i < c.outputs(); ++i) {
    SymShape out = *in;
    out[axis] = parts ? (*parts)[i] : Dim();
    c.output(i, c.dtype(0), std::move(out));
  }
}

Kernel prepare_split(PrepareContext& c) {
  const Shape& dims = c.dims(0);
  const auto axis =
      static_cast<size_t>(c.axis(c.node().int_attribute("axis", 0), static_cast<int>(dims.size())));
  const int64_t outer = element_count(dims, 0, axis);
  const int64_t row = element_count(dims, axis + 1, dims.size()) * static_cast<int64_t>(element_bytes(c, 0));
  if (c.outputs() == 1) {
    c.alias(0);
    return {};
  }
  struct Part {
    size_t output;
    int64_t offset, bytes;
  };
  std::vector<Part> parts;
  // The sizes are those of the outputs. For outputs that no node reads, the argument gives them.
  const std::vector<int64_t> sizes = prepared_integers(c, 1);
  const auto count = static_cast<int64_t>(c.outputs());
  int64_t offset = 0;
  for (size_t i = 0; i < c.outputs(); ++i) {
    const int64_t size = sizes.empty() ? (dims[axis] + count - 1) / count : sizes[i];
    if (c.has_output(i)) parts.push_back({i, offset, c.out_dims(i)[axis] * row});
    offset += size * row;
  }
  const int64_t whole = dims[axis] * row;
  return [parts, outer, whole](const RunContext& run) {
    run.parallel_range(outer, grain_for({.bytes = whole}), [&](int64_t begin, int64_t end) {
      for (const Part& p : parts)
        for (int64_t o = begin; o < end; ++o)
          std::memcpy(run.outputs[p.output] + o * p.bytes, run.inputs[0] + o * whole + p.offset,
                      static_cast<size_t>(p.bytes));
    });
  };
}

void sizes_to_input(Canonicalize& c) {
  c.attribute_to_input("split", 1);  // an attribute in opsets 1 to 12
  if (c.version < 2) {
    if (!c.node.attribute("axis"))
      c.fail(ErrorCode::kUnsupportedOperator, "opset 1 does not say along which axis a value is split");
    // Or an input of the type of the data.
    if (const Tensor* sizes = c.constant(1); sizes && sizes->dtype() != DType::kInt64)
      c.node.inputs[1] = c.constant_value(c.node.name + "_sizes", cast(*sizes, DType::kInt64));
  }
  if (const SymShape* in = c.shape(0); c.version < 18 && c.node.input(1) == kNoValue && in) {
    const auto rank = static_cast<int64_t>(in->size()), axis = c.node.int_attribute("axis", 0);
    const auto at = static_cast<size_t>(axis < 0 ? axis + rank : axis);
    const auto count = static_cast<int64_t>(c.node.outputs.size());
    // Since opset 18 the last part may be smaller.
    if (at < in->size() && (*in)[at].known() && (*in)[at].value() % count != 0)
      c.fail(ErrorCode::kShapeMismatch,
             {"cannot split ", (*in)[at].value(), " into ", count, " equal parts"});
  }
  if (c.node.input(1) != kNoValue) {
    c.node.attributes.erase("num_outputs");
  } else {
    c.node.attributes.try_emplace("num_outputs",
                                  static_cast<int64_t>(c.node.outputs.size()));  // required since opset 18
  }
  c.keep();
}

// Opset 13 made the sizes an input; opset 18 lets the last of equal parts be smaller, and wants their number.
void respell(Respell& r) {
  r.input_to_attribute(1, "split", 13);
  const auto number = r.node.attributes.find("num_outputs");
  if (!r.before(18) || number == r.node.attributes.end()) return;
  r.node.attributes.erase(number);
  const ValueId x = r.node.input(0);
  int64_t axis = r.node.int_attribute("axis", 0);
  if (axis < 0) axis += r.rank(0);
  const auto at = static_cast<size_t>(axis);
  const bool equal = axis >= 0 && axis < r.rank(0) && (*r.graph[x].shape)[at].known() &&
                     (*r.graph[x].shape)[at].value() % static_cast<int64_t>(r.node.outputs.size()) == 0;
  if (!equal) r.need(18);
}

void gradient(Gradient& g) {
  if (!g.wanted(0)) return;
  std::vector<ValueId> parts;
  for (size_t i = 0; i < g.node.outputs.size(); ++i) {
    if (g.out(i) == kNoValue) g.fail("a part of the input has no name");
    parts.push_back(g.dy(i) != kNoValue ? g.dy(i) : g.add("Expand", {g.scalar(0), g.shape_of(g.out(i))}));
  }
  g.give(0, g.add("Concat", std::move(parts), {{"axis", g.axis("axis", 0)}}));
}

constexpr OpDef kSplit = {.name = "Split",
                          .inputs = "input split?",
                          .opsets = "7A 13b axis<0:11",
                          .types = "Ti",
                          .infer = infer_split,
                          .prepare = prepare_split,
                          .layout = any_layout,
                          .quant = {.kind = QuantRule::Kind::kSameScale},
                          .canonicalize = sizes_to_input,
                          .respell = respell,
                          .gradient = gradient};
const RegisterOps kRegistered({&kSplit});

}  // namespace
}  // namespace zp
