// Concat, and com.microsoft's QLinearConcat, which is DequantizeLinear -> Concat -> QuantizeLinear in one
// node.
//
// A table of 256 entries, made with ONNX's own formulas, brings quantized inputs with other scales to the
// scale of the output; ONNX Runtime does the same.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>

#include "core/grain.h"
#include "ops/byte_edges.h"
#include "ops/gradient.h"
#include "ops/moving.h"
#include "ops/product/qdq.h"

namespace zp {
namespace {

void infer_concat(InferContext& c) {
  const DType dtype = c.dtype(0);
  SymShape out;
  bool any = false;
  for (size_t i = 0; i < c.inputs(); ++i) {
    if (!c.shape(i)) return c.output(0, dtype);
    const SymShape& in = *c.shape(i);
    const auto rank = static_cast<int>(in.size());
    if (i == 0) {
      c.axis(c.ints("axis", 0), rank);
      out = in;
      any = true;
      continue;
    }
    const auto mismatch = [&] {
      c.fail(ErrorCode::kShapeMismatch,
             {"cannot concatenate ", *c.shape(0), " and ", in, " along axis ", c.ints("axis", 0)});
    };
    if (in.size() != out.size()) mismatch();
    const auto axis = static_cast<size_t>(c.axis(c.ints("axis", 0), rank));
    for (size_t d = 0; d < in.size(); ++d) {
      if (d == axis) {
        out[d] = out[d] + in[d];
      } else if (contradicts(out[d], in[d])) {
        mismatch();
      } else if (!out[d].known()) {
        out[d] = in[d];
      }
    }
  }
  c.require(any, "there is nothing to concatenate");
  c.output(0, dtype, std::move(out));
}

bool has_integer(const PrepareContext& c) {
  if (!is_byte_edge(c.out_quant())) return false;
  for (size_t i = 0; i < c.inputs(); ++i)
    if (!is_byte_edge(c.quant(i))) return false;
  return true;
}

using Table = std::array<uint8_t, 256>;

Table requantizing_table(const EdgeQuant& in, const EdgeQuant& out) {
  const IntegerRange range = integer_range(out.dtype);
  Table table{};
  for (int i = 0; i < 256; ++i) {
    const int q = in.dtype == DType::kInt8 ? static_cast<int8_t>(i) : i;
    const float x = static_cast<float>(q - in.scalar_zero_point()) * in.scalar_scale();
    const float y = std::nearbyint(x / out.scalar_scale()) + static_cast<float>(out.scalar_zero_point());
    // The bound comes first, so that it is the result for NaN, as in QuantizeLinear.
    const float bounded = std::min(std::max(static_cast<float>(range.min), y), static_cast<float>(range.max));
    table[static_cast<size_t>(i)] = static_cast<uint8_t>(static_cast<int>(bounded));
  }
  return table;
}

Kernel prepare_concat(PrepareContext& c) {
  const Shape& out = c.out_dims(0);
  const auto axis =
      static_cast<size_t>(c.axis(c.node().int_attribute("axis", 0), static_cast<int>(out.size())));
  const int64_t outer = element_count(out, 0, axis);
  const int64_t inner = element_count(out, axis + 1, out.size()) * static_cast<int64_t>(element_bytes(c, 0));
  struct Part {
    size_t input;
    int64_t offset, bytes;               // within one row of the output; of one row of the input
    std::shared_ptr<const Table> table;  // null: a plain copy
  };
  std::vector<Part> parts;
  int64_t offset = 0;
  for (size_t i = 0; i < c.inputs(); ++i) {
    const int64_t bytes = c.dims(i)[axis] * inner;
    if (bytes == 0) continue;
    Part part{i, offset, bytes, nullptr};
    if (c.out_quant() && c.quant(i) && is_byte_edge(c.out_quant()) && is_byte_edge(c.quant(i)) &&
        !same_quantization(*c.quant(i), *c.out_quant())) {
      part.table = std::make_shared<const Table>(requantizing_table(*c.quant(i), *c.out_quant()));
    }
    parts.push_back(std::move(part));
    offset += bytes;
  }
  const int64_t row = offset;
  if (parts.size() == 1 && !parts[0].table) {
    c.alias(parts[0].input);
    return {};
  }
  const auto copy = [row](const RunContext& run, const Part& p, int64_t begin, int64_t end) {
    const std::byte* from = run.inputs[p.input] + begin * p.bytes;
    std::byte* to = run.outputs[0] + begin * row + p.offset;
    for (int64_t o = begin; o < end; ++o, from += p.bytes, to += row) {
      if (!p.table) {
        std::memcpy(to, from, static_cast<size_t>(p.bytes));
      } else {
        for (int64_t i = 0; i < p.bytes; ++i) to[i] = std::byte{(*p.table)[std::to_integer<size_t>(from[i])]};
      }
    }
  };
  return [parts, outer, row, copy](const RunContext& run) {
    if (outer < run.threads()) {  // few long rows: a task for each input
      return run.parallel(static_cast<int64_t>(parts.size()),
                          [&](int64_t p, int) { copy(run, parts[static_cast<size_t>(p)], 0, outer); });
    }
    run.parallel_range(outer, grain_for({.bytes = row}), [&](int64_t begin, int64_t end) {
      for (const Part& p : parts) copy(run, p, begin, end);
    });
  };
}

void axis_default(Canonicalize& c) {
  if (c.version < 4) c.node.attributes.try_emplace("axis", int64_t{1});  // since opset 4 it must be given
  c.keep();
}

void expand_qlinear(Canonicalize& c) {
  // Scale and zero point of the output, then three for each input.
  const std::vector<ValueId>& in = c.node.inputs;
  if (in.size() < 5 || in.size() % 3 != 2) c.fail(ErrorCode::kInvalidModel, "the number of inputs is wrong");
  std::vector<ValueId> floats;
  for (size_t i = 2; i < in.size(); i += 3)
    floats.push_back(c.add("DequantizeLinear", {in[i], in[i + 1], in[i + 2]}));
  const ValueId joined = c.add("Concat", std::move(floats), {{"axis", c.node.int_attribute("axis", 0)}});
  c.finish("QuantizeLinear", {joined, in[0], in[1]});
}

bool fold_qlinear(Fold& f) {
  if (!are_plain_8_bit(f)) return false;
  std::vector<ValueId> inputs{f.output->scale, f.output->zero_point};
  for (const auto& edge : f.inputs)
    inputs.insert(inputs.end(), {edge->quantized, edge->scale, edge->zero_point});
  Node n;
  n.name = f.node.name;
  n.domain = kMicrosoft;
  n.op_type = "QLinearConcat";
  n.inputs = std::move(inputs);
  n.outputs = {f.output->quantized};
  n.attributes.emplace("axis", f.node.int_attribute("axis", 0));
  f.nodes.push_back(std::move(n));
  return true;
}

void gradient(Gradient& g) {
  const int64_t axis = g.axis("axis", 0);
  std::vector<ValueId> sizes;
  for (ValueId v : g.node.inputs) sizes.push_back(g.add("Shape", {v}, {{"start", axis}, {"end", axis + 1}}));
  const ValueId list = sizes.size() == 1 ? sizes[0] : g.add("Concat", sizes, {{"axis", int64_t{0}}});
  const std::vector<ValueId> parts =
      g.add_node("Split", {g.dy(), list}, g.node.inputs.size(), {{"axis", axis}});
  for (size_t i = 0; i < parts.size(); ++i)
    if (g.wanted(i)) g.give(i, parts[i]);
}

constexpr OpDef kConcat = {.name = "Concat",
                           .inputs = "inputs*",
                           .opsets = "7A 13b axis<0:11",
                           .infer = infer_concat,
                           .prepare = prepare_concat,
                           .layout = any_layout,
                           .integer = has_integer,
                           .quant = {.kind = QuantRule::Kind::kSameScale, .data = {-1}},
                           .canonicalize = axis_default,
                           .fold = fold_qlinear,
                           .gradient = gradient};
constexpr OpDef kQLinearConcat = {.domain = kMicrosoft,
                                  .name = "QLinearConcat",
                                  .inputs = "Y_scale Y_zero_point inputs*?",
                                  .quant = {},
                                  .canonicalize = expand_qlinear};
const RegisterOps kRegistered({&kConcat, &kQLinearConcat});

}  // namespace
}  // namespace zp
