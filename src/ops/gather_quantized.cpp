// GatherBlockQuantized (com.microsoft): rows of a quantized table become floats when they are picked. In
// memory it is DequantizeLinear, in blocks along the last dimension, before a Gather.
#include <algorithm>
#include <bit>

#include "ops/gather.h"
#include "ops/product/qdq.h"

namespace zp {
namespace {

constexpr int64_t kSmallestBlock = 16;

Shape with_last(Shape dims, int64_t last) {
  dims.back() = last;
  return dims;
}

// Codes of fewer than 8 bits, the first in the lowest bits; rows of `packed` bytes hold `count` of them.
Tensor unpacked(const Tensor& bytes, int bits, const Shape& dims) {
  const int64_t packed = bytes.dims().back(), count = dims.back(), per_byte = 8 / bits;
  Tensor out(DType::kUint4, dims);
  std::fill_n(out.mutable_raw(), out.bytes(), std::byte{0});
  for (int64_t i = 0; i < out.size(); ++i) {
    const int64_t row = i / count, at = i % count;
    const int code =
        std::to_integer<int>(bytes.raw()[row * packed + at / per_byte]) >> (at % per_byte * bits) &
        ((1 << bits) - 1);
    out.mutable_raw()[i / 2] |= static_cast<std::byte>(code << (i % 2 * 4));
  }
  return out;
}

Tensor filled(DType type, const Shape& dims, int value) {
  Tensor out(type, dims);
  std::fill_n(out.mutable_raw(), out.bytes(),
              static_cast<std::byte>(bits_of(type) == 4 ? value * 17 : value));
  return out;
}

// data, indices, scales, zero_points
void canonicalize(Canonicalize& c) {
  const Tensor *data = stored_constant(c, 0), *scales = c.constant(2), *points = c.constant(3);
  if (!data || !scales || (c.node.input(3) != kNoValue && !points))
    c.fail(ErrorCode::kUnsupportedOperator, "a table that is computed is not supported");
  const auto rank = static_cast<int64_t>(data->dims().size());
  const auto from_front = [&](std::string_view key, int64_t fallback) {
    const int64_t axis = c.node.int_attribute(key, fallback);
    if (axis < -rank || axis >= rank) c.fail(ErrorCode::kInvalidModel, {key, " is ", axis});
    return axis < 0 ? axis + rank : axis;
  };
  const int64_t gather = from_front("gather_axis", 0), along = from_front("quantize_axis", 1);
  const int64_t block = c.node.int_attribute("block_size", 128);
  if (block < kSmallestBlock || !std::has_single_bit(static_cast<uint64_t>(block)))
    c.fail(ErrorCode::kInvalidModel, {"block_size is ", block});
  const auto bits = static_cast<int>(c.node.int_attribute("bits", 4));
  Tensor table = *data;
  std::optional<Tensor> zeros;
  if (points) zeros = *points;
  if (data->dtype() == DType::kUint8) {
    if (bits != 2 && bits != 4 && bits != 8)
      c.fail(ErrorCode::kUnsupportedOperator, {"a table of ", bits, " bits is not supported"},
             "2, 4 and 8 bits are");
    const DType type = bits == 8 ? DType::kUint8 : DType::kUint4;
    if (scales->dims().empty()) c.fail(ErrorCode::kInvalidModel, "the scales are a scalar");
    if (bits < 8) {
      table = unpacked(*data, bits, with_last(data->dims(), data->dims().back() * (8 / bits)));
      if (points && points->size() * (8 / bits) < scales->size())
        c.fail(ErrorCode::kInvalidModel, {"zero points of shape ", points->dims(), " do not fit the scales"});
      if (points) zeros = unpacked(*points, bits, scales->dims());
    }
    if (!points) zeros = filled(type, scales->dims(), 1 << (bits - 1));
  } else if (data->dtype() != DType::kInt4 && data->dtype() != DType::kUint4) {
    c.fail(ErrorCode::kUnsupportedType, {"a table of ", name_of(data->dtype()), " is not supported"});
  }
  Shape blocks = table.dims();
  int64_t& count = blocks[static_cast<size_t>(along)];
  count = (count + block - 1) / block;
  if (scales->dims() != blocks || (zeros && zeros->dims() != blocks)) {
    c.fail(ErrorCode::kInvalidModel, {"scales of shape ", scales->dims(), " do not fit a table of shape ",
                                      table.dims(), " in blocks of ", block});
  }
  const std::string name = c.graph[c.node.inputs[0]].name;
  const ValueId floats =
      c.add("DequantizeLinear",
            {c.constant_value(name + "_table", std::move(table)), c.node.inputs[2],
             zeros ? c.constant_value(name + "_zero_points", std::move(*zeros)) : kNoValue},
            {{"axis", along}, {"block_size", block}});
  c.finish("Gather", {floats, c.node.inputs[1]}, {{"axis", gather}});
}

constexpr OpDef kGatherBlockQuantized = {.domain = kMicrosoft,
                                         .name = "GatherBlockQuantized",
                                         .inputs = "data indices scales zero_points?",
                                         .canonicalize = canonicalize};
const RegisterOps kRegistered({&kGatherBlockQuantized});

// Integers as codes of `bits` bits, moved by `base`, each row packed into bytes of its own.
Tensor packed(const Tensor& integers, int64_t base, int bits, Shape dims) {
  const int64_t count = dims.back(), per_byte = 8 / bits, bytes = (count + per_byte - 1) / per_byte;
  dims.back() = bytes;
  Tensor out(DType::kUint8, dims);
  std::fill_n(out.mutable_raw(), out.bytes(), std::byte{0});
  for (int64_t i = 0; i < integers.size(); ++i) {
    const int64_t row = i / count, at = i % count;
    out.mutable_raw()[row * bytes + at / per_byte] |=
        static_cast<std::byte>((integers.integer_at(i) - base) << (at % per_byte * bits));
  }
  return out;
}

// ---- a table that serves twice: transposed, it is the last layer's weight

template <class F>
bool all_readers(const Graph& g, ValueId v, F&& fits) {
  return !g.is_output(v) && std::all_of(g.nodes.begin(), g.nodes.end(), [&](const Node& n) {
    return std::find(n.inputs.begin(), n.inputs.end(), v) == n.inputs.end() || fits(n);
  });
}
const Node* maker_of(const Graph& g, ValueId v) {
  const auto at =
      std::find_if(g.nodes.begin(), g.nodes.end(), [&](const Node& n) { return n.output(0) == v; });
  return at == g.nodes.end() ? nullptr : &*at;
}
bool is_dequantize(const Node* n) { return n && n->is("DequantizeLinear"); }

// Blocks that divide the rows of a table, so that its bytes are those of MatMulNBits; 0: none do.
int64_t head_block(const Tensor& table) {
  int64_t block = 128;
  while (block >= kSmallestBlock && table.dims().back() % block != 0) block /= 2;
  return block >= kSmallestBlock ? block : 0;
}

// Only products of floats read this Transpose of a table of 8 bits, through a DequantizeLinear with one
// scale, or one for each row of the table.
bool is_head(const Graph& g, const Node& transpose) {
  const Tensor* table = g.constant(transpose.input(0));
  if (!transpose.is("Transpose") || !table || table->dims().size() != 2 || bits_of(table->dtype()) != 8)
    return false;
  if (transpose.ints_attribute("perm", {1, 0}) != std::vector<int64_t>{1, 0} || head_block(*table) == 0)
    return false;
  return all_readers(g, transpose.output(0), [&](const Node& dq) {
    const Tensor *scale = g.constant(dq.input(1)), *zero = g.constant(dq.input(2));
    if (!is_dequantize(&dq) || !scale || scale->dtype() != DType::kFloat32 ||
        dq.int_attribute("block_size", 0) != 0)
      return false;
    if (dq.input(2) != kNoValue && !zero) return false;
    const int64_t axis = dq.int_attribute("axis", 1);
    if (scale->size() != 1 && ((axis != 1 && axis != -1) || scale->size() != table->dims()[0])) return false;
    return all_readers(g, dq.output(0), [&](const Node& n) {
      return n.is("MatMul") && n.input(1) == dq.output(0) && !is_dequantize(maker_of(g, n.input(0)));
    });
  });
}

// Whether the codes of a table take the place of its integers wherever those are read.
bool replaces(const Graph& g, ValueId integers) {
  return all_readers(g, integers, [&](const Node& n) {
    if (!is_dequantize(&n)) return is_head(g, n);
    return all_readers(g, n.output(0), [](const Node& reader) {
      return reader.is("Gather") && reader.int_attribute("axis", 0) == 0;
    });
  });
}

// Unsigned codes of 8 bits, made once for all who read them.
ValueId codes_of_bytes(Graph& g, ValueId integers) {
  const Tensor& table = *g.constant(integers);
  if (table.dtype() == DType::kUint8) return integers;
  const std::string name = g[integers].name + "_codes";
  const ValueId there = g.find(name);
  if (there != kNoValue && g.constant(there) && g.constant(there)->dims() == table.dims()) return there;
  return g.add_constant(name, packed(table, -128, 8, table.dims()));
}

}  // namespace

bool fold_gather(Fold& f) {
  Graph& g = f.graph;
  if (f.inputs.size() != 2 || !f.inputs[0] || f.inputs[1] || f.inputs[0]->dynamic) return false;
  const QuantizedEdge& e = *f.inputs[0];
  const Tensor *table = g.constant(e.quantized), *scales = g.constant(e.scale),
               *points = g.constant(e.zero_point);
  if (!table || !scales || scales->dtype() != DType::kFloat32 || (e.zero_point != kNoValue && !points))
    return false;
  const Shape& dims = table->dims();
  const auto rank = static_cast<int>(dims.size());
  const int bits = bits_of(table->dtype());
  const bool is_signed = is_signed_integer(table->dtype());
  if (rank < 2 || f.node.int_attribute("axis", 0) != 0 || (bits != 8 && bits != 4) || table->size() == 0)
    return false;
  const int64_t columns = dims.back();
  if (columns * bits % 8 != 0) return false;
  const int axis = e.axis < 0 ? e.axis + rank : e.axis;
  // Blocks as they are; a scale for each row is that of one block.
  int64_t block = e.block_size;
  if (block == 0) {
    if (scales->size() == 1 ? f.output.has_value() : rank != 2 || axis != 0 || scales->size() != dims[0])
      return false;
    block = std::max(kSmallestBlock, static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(columns))));
  } else if (axis != rank - 1 || block < kSmallestBlock ||
             !std::has_single_bit(static_cast<uint64_t>(block))) {
    return false;
  }
  const Shape blocks = with_last(dims, (columns + block - 1) / block);
  Tensor spread(DType::kFloat32, blocks);
  const std::vector<float> given = scales->floats();
  for (int64_t i = 0; i < spread.size(); ++i)
    spread.mutable_data<float>()[static_cast<size_t>(i)] = given[static_cast<size_t>(i) % given.size()];
  const int64_t base = is_signed ? -(int64_t{1} << (bits - 1)) : 0,
                middle = base + (int64_t{1} << (bits - 1));
  const std::string name = g[e.quantized].name;
  if (!(bits == 8 && !is_signed) && !replaces(g, e.quantized)) return false;  // it would be there twice
  std::vector<ValueId> inputs{bits == 8 ? codes_of_bytes(g, e.quantized)
                                        : g.add_constant(name + "_codes", packed(*table, base, bits, dims)),
                              f.node.input(1), g.add_constant(name + "_block_scales", std::move(spread))};
  const std::vector<int64_t> zeros = points ? points->integers() : std::vector<int64_t>{0};
  if (std::any_of(zeros.begin(), zeros.end(), [&](int64_t z) { return z != middle; })) {
    Tensor all(DType::kInt32, blocks);
    for (int64_t i = 0; i < all.size(); ++i)
      all.mutable_data<int32_t>()[static_cast<size_t>(i)] =
          static_cast<int32_t>(zeros[static_cast<size_t>(i) % zeros.size()]);
    inputs.push_back(g.add_constant(name + "_block_zero_points", packed(all, base, bits, blocks)));
  }
  f.nodes.push_back(folded_node(f.node.name, "GatherBlockQuantized", kMicrosoft, std::move(inputs),
                                f.node.outputs[0],
                                {{"bits", int64_t{bits}},
                                 {"block_size", block},
                                 {"gather_axis", int64_t{0}},
                                 {"quantize_axis", int64_t{rank - 1}}}));
  return true;
}

bool pick_rows(Fold& f) {
  Graph& g = f.graph;
  if (!f.node.is("Gather") || f.inputs.size() != 2 || !f.inputs[0] || f.inputs[1]) return false;
  const QuantizedEdge& e = *f.inputs[0];
  const Tensor *table = g.constant(e.quantized), *scales = g.constant(e.scale),
               *points = g.constant(e.zero_point);
  if (!table || !scales || scales->dtype() != DType::kFloat32 || (e.zero_point != kNoValue && !points))
    return false;
  const Shape& dims = table->dims();
  if (dims.empty() || f.node.int_attribute("axis", 0) != 0 || bits_of(table->dtype()) != 8 ||
      e.block_size != 0)
    return false;
  if (scales->size() == 1) {
    if (f.output) return false;  // integers between pairs are picked as they are
    std::vector<ValueId> inputs{f.add("Gather", {e.quantized, f.node.input(1)}), e.scale};
    if (points) inputs.push_back(e.zero_point);
    f.nodes.push_back(folded_node(f.node.name, "DequantizeLinear", "", std::move(inputs), f.node.outputs[0]));
    return true;
  }
  if (e.axis != 0 || scales->size() != dims[0]) return false;
  if (points && std::ranges::any_of(points->integers(), [](int64_t z) { return z != 0; })) return false;
  // One scale for each row, with as many dimensions as the table, so that picked scales fit picked rows.
  Shape column(dims.size(), 1);
  column[0] = dims[0];
  const ValueId steps =
      g.add_constant(g[e.quantized].name + "_row_scales", Tensor::of<float>(column, scales->data<float>()));
  const ValueId picked = f.add("Gather", {e.quantized, f.node.input(1)});
  const ValueId numbers = f.add("Cast", {picked}, {{"to", static_cast<int64_t>(DType::kFloat32)}});
  const ValueId scale = f.add("Gather", {steps, f.node.input(1)});
  f.nodes.push_back(folded_node(f.node.name, "Mul", "", {numbers, scale}, f.node.outputs[0]));
  return true;
}

bool fold_transposed_table(Fold& f, const QuantizedEdge& b) {
  Graph& g = f.graph;
  const Node* transpose = maker_of(g, b.quantized);
  if (!transpose || f.inputs[0] || !is_head(g, *transpose) || !replaces(g, transpose->input(0))) return false;
  const ValueId integers = transpose->input(0);
  const Tensor& table = *g.constant(integers);
  const Tensor& scales = *g.constant(b.scale);
  const Tensor* points = g.constant(b.zero_point);
  const int64_t rows = table.dims()[0], columns = table.dims()[1], block = head_block(table),
                blocks = columns / block;
  const std::string name = g[integers].name;
  const ValueId shape = g.add_constant(name + "_head_shape", Tensor::of<int64_t>({3}, {rows, blocks, block}));
  Tensor spread(DType::kFloat32, {rows, blocks});
  Tensor all(DType::kUint8, {rows, blocks});
  const std::vector<float> steps = scales.floats();
  const std::vector<int64_t> zeros = points ? points->integers() : std::vector<int64_t>{0};
  const int64_t base = table.dtype() == DType::kInt8 ? -128 : 0;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = row * blocks; i < (row + 1) * blocks; ++i) {
      const auto r = static_cast<size_t>(row);
      spread.mutable_data<float>()[static_cast<size_t>(i)] = steps[r % steps.size()];
      all.mutable_data<uint8_t>()[static_cast<size_t>(i)] =
          static_cast<uint8_t>(zeros[r % zeros.size()] - base);
    }
  }
  const ValueId codes = f.add("Reshape", {codes_of_bytes(g, integers), shape});
  std::vector<ValueId> inputs{f.node.input(0), codes,
                              g.add_constant(name + "_head_scales", std::move(spread))};
  if (std::any_of(zeros.begin(), zeros.end(), [&](int64_t z) { return z - base != 128; }))
    inputs.push_back(g.add_constant(name + "_head_zero_points", std::move(all)));
  // Without a level ONNX Runtime turns all 8-bit weights into floats in each run.
  f.nodes.push_back(folded_node(f.node.name, "MatMulNBits", kMicrosoft, std::move(inputs), f.node.outputs[0],
                                {{"K", columns},
                                 {"N", rows},
                                 {"bits", int64_t{8}},
                                 {"block_size", block},
                                 {"accuracy_level", int64_t{4}}}));
  return true;
}

}  // namespace zp
