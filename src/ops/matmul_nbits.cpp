#include "ops/matmul_nbits.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/elementwise/codes.h"
#include "ops/product/qdq.h"

namespace zp {
namespace {

// Where the code at `index` of 2, 4 or 8 bits lies, the first in the lowest bits: no division, since there
// are millions.
struct CodePlace {
  int64_t byte;
  int shift;
  CodePlace(int64_t index, int64_t bits) {
    const int log = std::countr_zero(static_cast<uint64_t>(bits)), per_byte = 8 >> log;
    byte = index >> (3 - log);
    shift = static_cast<int>(index & (per_byte - 1)) << log;
  }
};

// Writes a code where all are 0.
void add_code(std::byte* data, int64_t index, int64_t bits, int64_t value) {
  const CodePlace at(index, bits);
  data[at.byte] |= static_cast<std::byte>(value << at.shift);
}

int code_at(const std::byte* data, int64_t index, int bits) {
  const CodePlace at(index, bits);
  return std::to_integer<int>(data[at.byte]) >> at.shift & ((1 << bits) - 1);
}

int64_t required(const Canonicalize& c, std::string_view key) {
  const int64_t value = c.node.int_attribute(key, 0);
  if (value <= 0 || value > (int64_t{1} << 30)) {
    c.fail(ErrorCode::kInvalidModel, {"attribute '", key, "' is ", value});
  }
  return value;
}

// Bytes of a row of integer zero points, which are checked.
int64_t point_bytes(const Canonicalize& c, const Tensor& points, int64_t n, int64_t blocks, int64_t bits) {
  const int64_t row_bytes = (blocks * bits + 7) / 8;
  if (points.size() != n * row_bytes) {
    c.fail(ErrorCode::kInvalidModel, {"zero points of shape ", points.dims(), " do not fit the weights"});
  }
  return row_bytes;
}

using Blocks = NBits;

// B [K, N] as floats, for forms that DequantizeLinear does not have: rows whose blocks are not side by side
// (g_idx [K]: the block of each), and zero points [N, blocks] that are no integers.
Tensor dequantized(const Canonicalize& c, const Blocks& l, const Tensor& codes, const Tensor& scales,
                   const Tensor* points, const Tensor* groups) {
  std::vector<float> zeros(static_cast<size_t>(l.n * l.blocks), static_cast<float>(1 << (l.bits - 1)));
  if (points && points->dtype() == DType::kUint8) {
    const int64_t row_bytes = point_bytes(c, *points, l.n, l.blocks, l.bits);
    for (int64_t i = 0; i < l.n * l.blocks; ++i) {
      const std::byte* row = points->raw() + i / l.blocks * row_bytes;
      zeros[static_cast<size_t>(i)] = static_cast<float>(code_at(row, i % l.blocks, l.bits));
    }
  } else if (points) {
    if (points->size() != l.n * l.blocks) {
      c.fail(ErrorCode::kInvalidModel, {"zero points of shape ", points->dims(), " do not fit the weights"});
    }
    zeros = points->floats();
  }
  std::vector<int64_t> block_of(static_cast<size_t>(l.k));
  for (size_t i = 0; i < block_of.size(); ++i) block_of[i] = static_cast<int64_t>(i) / l.block;
  if (groups) {
    if (groups->size() < l.k) {
      c.fail(ErrorCode::kInvalidModel, {"g_idx of shape ", groups->dims(), " does not fit K = ", l.k});
    }
    for (size_t i = 0; i < block_of.size(); ++i) {
      block_of[i] = groups->integer_at(static_cast<int64_t>(i));
      if (block_of[i] < 0 || block_of[i] >= l.blocks) {
        c.fail(ErrorCode::kIndexOutOfRange,
               {"index ", block_of[i], " of g_idx is outside the ", l.blocks, " blocks"});
      }
    }
  }
  const std::vector<float> steps = scales.floats();
  Tensor floats(DType::kFloat32, {l.k, l.n});
  float* to = floats.mutable_data<float>().data();
  for (int64_t i = 0; i < l.k; ++i) {
    for (int64_t row = 0; row < l.n; ++row) {
      const auto at = static_cast<size_t>(row * l.blocks + block_of[static_cast<size_t>(i)]);
      const int code = code_at(codes.raw(), row * l.blocks * l.block + i, l.bits);
      *to++ = (static_cast<float>(code) - zeros[at]) * steps[at];
    }
  }
  return floats;
}

// Whether all blocks of a column have the same element of `t` [N, blocks].
bool same_in_blocks(const Tensor& t, int64_t n, int64_t blocks) {
  const std::byte* const all = t.raw();
  if (!all || t.size() != n * blocks) return false;
  const auto size = static_cast<int64_t>(t.bytes()) / (n * blocks);
  for (int64_t i = 0; i < n * blocks; ++i)
    if (std::memcmp(all + i * size, all + i / blocks * blocks * size, static_cast<size_t>(size)) != 0)
      return false;
  return true;
}

// B of 8 bits with one scale for each column, as fold_to_nbits wrote it: int8 again where the zero points are
// the default ones.
ValueId by_column(Canonicalize& c, const Blocks& l, const std::string& base, const Tensor& codes,
                  const Tensor& scales, const Tensor* points) {
  Tensor zeros(DType::kUint8, {l.n}), steps(DType::kFloat32, {l.n});
  const std::vector<float> each = scales.floats();
  bool middle = true;
  for (int64_t row = 0; row < l.n; ++row) {
    zeros.mutable_raw()[row] = points ? points->raw()[row * l.blocks] : std::byte{128};
    middle = middle && zeros.raw()[row] == std::byte{128};
    steps.mutable_data<float>()[static_cast<size_t>(row)] = each[static_cast<size_t>(row * l.blocks)];
  }
  Tensor weights(middle ? DType::kInt8 : DType::kUint8, {l.k, l.n});
  const std::byte moved = middle ? std::byte{128} : std::byte{0};
  for (int64_t i = 0; i < l.k; ++i)
    for (int64_t row = 0; row < l.n; ++row)
      weights.mutable_raw()[i * l.n + row] = codes.raw()[row * l.blocks * l.block + i] ^ moved;
  const ValueId b = c.constant_value(base + "_columns", std::move(weights));
  const ValueId s = c.constant_value(base + "_scales", std::move(steps));
  if (middle) return c.add("DequantizeLinear", {b, s}, {{"axis", int64_t{1}}});
  const ValueId z = c.constant_value(base + "_zero_points", std::move(zeros));
  return c.add("DequantizeLinear", {b, s, z}, {{"axis", int64_t{1}}});
}

// A, B [N, blocks, bytes], scales [N, blocks], zero_points, g_idx, bias
void canonicalize(Canonicalize& c) {
  const int64_t k = required(c, "K"), n = required(c, "N"), block = required(c, "block_size");
  const int64_t bits = c.node.int_attribute("bits", 4);
  if (bits != 2 && bits != 4 && bits != 8) {
    c.fail(ErrorCode::kUnsupportedOperator, {"weights of ", bits, " bits are not supported"},
           "2, 4 and 8 bits are");
  }
  const Tensor *codes = stored_constant(c, 1), *scales = c.constant(2), *points = c.constant(3),
               *groups = c.constant(4);
  if (!codes || !scales || (c.node.input(3) != kNoValue && !points) ||
      (c.node.input(4) != kNoValue && !groups)) {
    c.fail(ErrorCode::kUnsupportedOperator, "weights that are computed are not supported");
  }
  const Blocks layout{
      .k = k, .n = n, .block = block, .blocks = (k + block - 1) / block, .bits = static_cast<int>(bits)};
  const ValueId b = add_nbits(c, layout, c.graph[c.node.inputs[1]].name, *codes, *scales, points, groups);
  if (c.node.input(5) == kNoValue) return c.finish("MatMul", {c.node.input(0), b});
  const ValueId product = c.add("MatMul", {c.node.input(0), b});
  c.finish("Add", {product, c.node.input(5)});
}

constexpr OpDef kMatMulNBits = {.domain = kMicrosoft,
                                .name = "MatMulNBits",
                                .inputs = "A B scales zero_points? g_idx? bias?",
                                .canonicalize = canonicalize};
const RegisterOps kRegistered({&kMatMulNBits});

}  // namespace

ValueId add_nbits(Canonicalize& c, const NBits& layout, const std::string& base, const Tensor& codes,
                  const Tensor& scales, const Tensor* points, const Tensor* groups) {
  const auto [k, n, block, blocks, bits] = layout;
  if (block * bits % 8 != 0 || codes.dtype() != DType::kUint8 ||
      codes.size() != n * blocks * (block * bits / 8)) {
    c.fail(ErrorCode::kInvalidModel,
           {"weights of shape ", codes.dims(), " do not fit N = ", n, ", K = ", k, ", block_size = ", block});
  }
  if (scales.size() != n * blocks) {
    c.fail(ErrorCode::kInvalidModel, {"scales of shape ", scales.dims(), " do not fit the weights"});
  }
  Graph& g = c.graph;
  const bool float_points = points && points->dtype() != DType::kUint8;
  if (groups || float_points)
    return g.add_constant(base + "_floats", dequantized(c, layout, codes, scales, points, groups));
  if (bits == 8 && same_in_blocks(scales, n, blocks) && (!points || same_in_blocks(*points, n, blocks)))
    return by_column(c, layout, base, codes, scales, points);

  // B as DequantizeLinear has it: [K, N], with scales [blocks, N].
  const DType type = bits == 8 ? DType::kUint8 : DType::kUint4;
  Tensor weights(type, {k, n}), zero_points(type, {blocks, n}),
      transposed_scales(DType::kFloat32, {blocks, n});
  const auto put_point = [&, to = zero_points.mutable_raw()](int64_t index, int value) {
    add_code(to, index, bits_of(type), value);
  };
  {
    const auto count = static_cast<size_t>(k * n);
    std::vector<uint8_t> unpacked(bits_of(type) == 8 ? 0 : count);
    uint8_t* const bytes_of_weights = reinterpret_cast<uint8_t*>(weights.mutable_raw());
    uint8_t* const to = unpacked.empty() ? bytes_of_weights : unpacked.data();
    kernels::unpack_columns(reinterpret_cast<const uint8_t*>(codes.raw()),
                            static_cast<size_t>(blocks * block * bits / 8), bits,
                            {.rows = static_cast<size_t>(k), .columns = static_cast<size_t>(n)}, to);
    if (!unpacked.empty())
      kernels::pack_columns(to, {.rows = count, .columns = 1}, 4, bytes_of_weights, (count + 1) / 2);
  }
  const std::vector<float> from = scales.floats();
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t b = 0; b < blocks; ++b) {
      transposed_scales.mutable_data<float>()[static_cast<size_t>(b * n + row)] =
          from[static_cast<size_t>(row * blocks + b)];
    }
  }
  const int middle = 1 << (bits - 1);
  if (!points) {
    for (int64_t i = 0; i < n * blocks; ++i) put_point(i, middle);
  } else {
    const int64_t row_bytes = point_bytes(c, *points, n, blocks, bits);
    for (int64_t row = 0; row < n; ++row)
      for (int64_t b = 0; b < blocks; ++b)
        put_point(b * n + row, code_at(points->raw() + row * row_bytes, b, bits));
  }

  return c.add("DequantizeLinear",
               {g.add_constant(base + "_blocks", std::move(weights)),
                g.add_constant(base + "_scales", std::move(transposed_scales)),
                g.add_constant(base + "_zero_points", std::move(zero_points))},
               {{"axis", int64_t{0}}, {"block_size", block}});
}

namespace {

// Weights [k, n], or [n, k] where transposed, that MatMulNBits can have: in blocks along k, the last of which
// is stored whole.
struct NbitsLayout {
  int64_t k, n, block, blocks;
  bool transposed;
  bool blocked;  // so are their scales; else there is one for each column, or for all

  // Of a matrix with `rows` in place of k.
  size_t element(int64_t column, int64_t row, int64_t rows) const {
    return static_cast<size_t>(transposed ? column * rows + row : row * n + column);
  }
};

std::optional<NbitsLayout> nbits_layout(const Graph& g, const QuantizedEdge& b, bool transposed) {
  const Tensor *weights = g.constant(b.quantized), *scales = g.constant(b.scale),
               *points = g.constant(b.zero_point);
  if (!weights || !scales || weights->dims().size() != 2 || (b.zero_point != kNoValue && !points) ||
      b.dynamic)
    return std::nullopt;
  if (scales->dtype() != DType::kFloat32) return std::nullopt;
  const DType type = weights->dtype();
  if (type != DType::kInt8 && type != DType::kUint8 && type != DType::kInt4 && type != DType::kUint4)
    return std::nullopt;
  const int depth_axis = transposed ? 1 : 0;
  const int axis = b.axis < 0 ? b.axis + 2 : b.axis;
  const int64_t k = weights->dims()[static_cast<size_t>(depth_axis)],
                n = weights->dims()[static_cast<size_t>(1 - depth_axis)];
  if (k < 1 || n < 1) return std::nullopt;
  // Blocks as they are, or one scale for each column (or for all), which serves all blocks of a column.
  int64_t block = b.block_size;
  const bool blocked = block > 0;
  if (!blocked) {
    if (bits_of(type) != 8 || (scales->size() != 1 && (axis == depth_axis || scales->size() != n)))
      return std::nullopt;
    // Each block has a scale: 192 rows are three blocks of 64.
    const auto bytes = [k](int64_t of) { return (k + of - 1) / of * (of + int64_t{sizeof(float)}); };
    block = k <= 16 ? 16 : std::ranges::min({int64_t{128}, int64_t{64}, int64_t{32}}, {}, bytes);
  }
  if (block < 16 || !std::has_single_bit(static_cast<uint64_t>(block))) return std::nullopt;
  const int64_t blocks = (k + block - 1) / block;
  if (blocked && (axis != depth_axis || scales->size() != n * blocks)) return std::nullopt;
  if (points && points->size() != scales->size()) return std::nullopt;
  return NbitsLayout{
      .k = k, .n = n, .block = block, .blocks = blocks, .transposed = transposed, .blocked = blocked};
}

// The least integer of a type of weights, which is the code 0.
int64_t first_of(DType type) { return is_signed_integer(type) ? -(int64_t{1} << (bits_of(type) - 1)) : 0; }

// The distance of integers of 4 or 8 bits from it.
std::vector<uint8_t> unsigned_codes(const Tensor& t) {
  std::vector<uint8_t> codes(static_cast<size_t>(t.size()));
  const auto* from = reinterpret_cast<const uint8_t*>(t.raw());
  const auto flipped = static_cast<uint8_t>(-first_of(t.dtype()));  // the sign
  if (bits_of(t.dtype()) == 4) {
    kernels::unpack_nibbles(from, codes.size(), flipped, codes.data());
  } else {
    std::transform(from, from + codes.size(), codes.data(),
                   [flipped](uint8_t q) { return static_cast<uint8_t>(q ^ flipped); });
  }
  return codes;
}

// Codes are unsigned there: all integers move by `base`.
struct NbitsCodes {
  int64_t bits, base;
  bool default_points;  // the zero point that a file need not name, in all columns
};

// Their least becomes 0, or, where the zero points are all the same, those become the default. Four
// neighbouring integers are 2 bits.
NbitsCodes nbits_codes(DType type, const std::vector<uint8_t>& codes, const std::vector<int64_t>& zeros) {
  const int64_t stored_bits = bits_of(type), first = first_of(type);
  const auto [lowest, highest] = std::minmax_element(zeros.begin(), zeros.end());
  const bool one_point = *lowest == *highest;
  int64_t bits = stored_bits, base = first;
  int64_t from = *lowest, to = *highest;
  // Most weights show at once that they need 4 bits.
  constexpr size_t kLook = 1024;
  for (size_t i = 0; stored_bits == 4 && i < codes.size() && to - from < 4; i += kLook) {
    const std::span<const uint8_t> part(codes.data() + i, std::min(kLook, codes.size() - i));
    const auto [least, most] = std::ranges::minmax(part);
    from = std::min<int64_t>(first + least, from), to = std::max<int64_t>(first + most, to);
  }
  if (stored_bits == 4 && one_point && from >= *lowest - 2 && to < *lowest + 2) {
    bits = 2, base = *lowest - 2;
  } else if (stored_bits == 4 && to - from < 4) {
    bits = 2, base = from;
  }
  return {
      .bits = bits, .base = base, .default_points = one_point && *lowest - base == int64_t{1} << (bits - 1)};
}

// The node, with a bias. Its own bias has the shape [N] and no other: another one is added behind it.
void add_nbits_node(Fold& f, std::vector<ValueId> inputs, int64_t n, ValueId bias, Attributes attributes) {
  Graph& g = f.graph;
  ValueId added = bias;
  if (bias != kNoValue && known_size(g, bias) == n) {
    const Tensor* values = g.constant(bias);
    const bool vector = g[bias].shape && g[bias].shape->size() == 1;
    const bool row = values && (values->dims().empty() || values->dims().back() == n);
    if (row && !vector) bias = g.add_constant(g[bias].name + "_vector", values->reshaped({n}));
    if (row || vector) {
      inputs.resize(5, kNoValue);  // zero points and g_idx, which may be absent
      inputs.push_back(bias);
      added = kNoValue;
    }
  }
  if (added == kNoValue) {
    f.nodes.push_back(folded_node(f.node.name, "MatMulNBits", kMicrosoft, std::move(inputs),
                                  f.node.outputs[0], std::move(attributes)));
    return;
  }
  const ValueId product = f.add("MatMulNBits", inputs, std::move(attributes), kMicrosoft);
  f.nodes.push_back(folded_node(f.node.name, "Add", "", {product, added}, f.node.outputs[0]));
}

}  // namespace

bool fold_to_nbits(Fold& f, const QuantizedEdge& b, bool transposed, ValueId bias) {
  Graph& g = f.graph;
  const std::optional<NbitsLayout> layout = nbits_layout(g, b, transposed);
  if (!layout) return false;
  const int64_t k = layout->k, n = layout->n, block = layout->block, blocks = layout->blocks;
  const Tensor *weights = g.constant(b.quantized), *scales = g.constant(b.scale),
               *points = g.constant(b.zero_point);
  std::vector<uint8_t> unpacked = unsigned_codes(*weights);
  const std::vector<int64_t> zeros = points ? points->integers() : std::vector<int64_t>{0};
  const auto [bits, base, default_points] = nbits_codes(weights->dtype(), unpacked, zeros);

  Tensor codes(DType::kUint8, {n, blocks, block * bits / 8});
  Tensor transposed_scales(DType::kFloat32, {n, blocks});
  const int64_t point_bytes = (blocks * bits + 7) / 8;
  Tensor zero_points(DType::kUint8, {n, point_bytes});
  const std::vector<float> steps = scales->floats();
  if (const auto moved = static_cast<uint8_t>(base - first_of(weights->dtype())))
    for (uint8_t& code : unpacked) code = static_cast<uint8_t>(code - moved);
  kernels::pack_columns(
      unpacked.data(),
      {.rows = static_cast<size_t>(k), .columns = static_cast<size_t>(n), .transposed = transposed},
      static_cast<int>(bits), reinterpret_cast<uint8_t*>(codes.mutable_raw()),
      static_cast<size_t>(blocks * block * bits / 8));
  for (int64_t column = 0; column < n; ++column) {
    for (int64_t block_index = 0; block_index < blocks; ++block_index) {
      const size_t at = layout->blocked       ? layout->element(column, block_index, blocks)
                        : scales->size() == 1 ? size_t{0}
                                              : static_cast<size_t>(column);
      transposed_scales.mutable_data<float>()[static_cast<size_t>(column * blocks + block_index)] = steps[at];
      add_code(zero_points.mutable_raw() + column * point_bytes, block_index, bits,
               zeros[points ? at : 0] - base);
    }
  }
  const std::string name = g[b.quantized].name;
  std::vector<ValueId> inputs{f.node.input(0), g.add_constant(name + "_nbits", std::move(codes)),
                              g.add_constant(name + "_nbits_scales", std::move(transposed_scales))};
  if (!default_points) inputs.push_back(g.add_constant(name + "_nbits_zero_points", std::move(zero_points)));
  Attributes attributes{{"K", k}, {"N", n}, {"bits", bits}, {"block_size", block}};
  // With float activations ONNX Runtime has kernels for 4 bits alone. It turns all other weights into floats
  // in each run, unless it may round activations to 8 bits in blocks, which it does for Q/DQ pairs by itself.
  // OpenVINO's reader needs the attribute.
  attributes.emplace_back("accuracy_level", int64_t{bits == 4 ? 0 : 4});
  add_nbits_node(f, std::move(inputs), n, bias, std::move(attributes));
  return true;
}

}  // namespace zp
