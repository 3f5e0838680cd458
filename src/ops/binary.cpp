// Add, Sub, Mul, Div, Pow, Max, Min, Mod, PRelu and the variadic Sum and Mean, with com.microsoft's
// QLinearAdd and QLinearMul.
#include "ops/binary.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "core/grain.h"
#include "kernels/elementwise/wide.h"
#include "ops/byte_edges.h"
#include "ops/cast.h"
#include "ops/gradient.h"
#include "ops/known_range.h"
#include "ops/product/qdq.h"
#include "ops/respell.h"
#include "ops/unary.h"

namespace zp {

using kernels::Binary;
using kernels::Broadcast;

kernels::Broadcast broadcast_of(const PrepareContext& c) {
  std::vector<std::span<const int64_t>> inputs;
  if (c.inputs() > Broadcast::kMaxInputs) c.fail(ErrorCode::kInvalidModel, "there are too many inputs");
  for (size_t i = 0; i < c.inputs(); ++i) inputs.emplace_back(c.dims(i));
  if (const auto shape = Broadcast::of(inputs, c.out_dims(0))) return *shape;
  c.fail(ErrorCode::kUnsupportedOperator, "more dimensions are broadcast than the kernels can follow");
}

void require_same_type(const PrepareContext& c, size_t a, size_t b) {
  if (c.dtype(a) == c.dtype(b)) return;
  c.fail(ErrorCode::kUnsupportedType,
         {"inputs have types ", name_of(c.dtype(a)), " and ", name_of(c.dtype(b)), ", but should have one"});
}

void infer_broadcast_as(InferContext& c, DType dtype) {
  SymShape out;
  for (size_t i = 0; i < c.inputs(); ++i) {
    const SymShape* shape = c.shape(i);
    if (!shape) return c.output(0, dtype);
    try {
      out = broadcast(out, *shape);
    } catch (const Error&) {
      c.fail(ErrorCode::kShapeMismatch, {"inputs of shapes ", out, " and ", *shape, " do not broadcast"});
    }
  }
  c.output(0, dtype, std::move(out));
}

void allow_in_place(PrepareContext& c) {
  for (size_t i = 0; i < c.inputs(); ++i) {
    if (!c.constant(i) && c.dims(i) == c.out_dims(0) && bits_of(c.dtype(i)) == bits_of(c.out_dtype(0))) {
      return c.in_place(i);
    }
  }
}

void upgrade_legacy_broadcast(Canonicalize& c) {
  Node& n = c.node;
  n.attributes.erase("consumed_inputs");
  if (c.version < 7) {
    const bool broadcasts = n.int_attribute("broadcast", 0) != 0;
    const Attribute* axis = n.attribute("axis");
    if (broadcasts && axis && n.inputs.size() == 2) {
      const SymShape *a = c.shape(0), *b = c.shape(1);
      if (!a || !b) c.wait("one input is broadcast along an axis, and the ranks are not known");
      int64_t first = n.int_attribute("axis", 0);
      if (first < 0) first += static_cast<int64_t>(a->size());
      // Input 1 lines up with dimensions `axis` and on of input 0: what follows are ones.
      const int64_t missing = static_cast<int64_t>(a->size()) - first - static_cast<int64_t>(b->size());
      if (first < 0 || missing < 0) c.fail(ErrorCode::kShapeMismatch, "axis does not fit the inputs");
      std::vector<int64_t> axes;
      for (int64_t i = 0; i < missing; ++i) axes.push_back(static_cast<int64_t>(b->size()) + i);
      if (missing > 0) {
        const ValueId axes_value = c.constant_value(n.name + "_axes", Tensor::of<int64_t>({missing}, axes));
        n.inputs[1] = c.add("Unsqueeze", {n.inputs[1], axes_value});
      }
    }
    n.attributes.erase("broadcast");
    n.attributes.erase("axis");
  }
  c.keep();
}

namespace {

Kernel prepare_binary(PrepareContext& c, Binary f) {
  require_same_type(c);
  allow_in_place(c);
  const Broadcast shape = broadcast_of(c);
  const Clamp clamp = c.clamp();
  const DType type = c.dtype(0);
  if (type == DType::kFloat32) {
    return [=](const RunContext& r) {
      r.parallel_range(shape.size(), grain_for({.work = 1}), [&](int64_t begin, int64_t end) {
        kernels::binary(f, shape, r.in<float>(0), r.in<float>(1), r.out<float>(0), begin, end, clamp.lo,
                        clamp.hi);
      });
    };
  }
  if (type == DType::kBool || kernels::wide_of(type) == kernels::Wide::kNone) fail_type(c);
  return [=](const RunContext& r) {
    r.parallel_range(shape.size(), grain_for({.work = 1}), [&](int64_t begin, int64_t end) {
      kernels::binary_any(f, shape, type, r.inputs[0], r.inputs[1], r.outputs[0], begin, end);
    });
  };
}

template <Binary kFunction>
Kernel prepare(PrepareContext& c) {
  return prepare_binary(c, kFunction);
}

Kernel prepare_mod(PrepareContext& c) {
  return prepare_binary(c, c.node().int_attribute("fmod", 0) ? Binary::kFmod : Binary::kMod);
}

// PRelu's slope broadcasts to x, not the other way.
void infer_prelu(InferContext& c) {
  if (c.shape(0) && c.shape(1)) {
    const SymShape& x = *c.shape(0);
    const SymShape out = broadcast(x, *c.shape(1));
    c.require(out.size() == x.size(), "the slope has more dimensions than the input");
  }
  infer_same(c);
}

// ---- 8-bit

bool has_byte_kernel(const PrepareContext& c) {
  if (!is_byte_edge(c.out_quant()) || c.inputs() != 2) return false;
  int quantized = 0;
  for (size_t i = 0; i < 2; ++i) {
    if (is_byte_edge(c.quant(i))) {
      ++quantized;
    } else if (c.quant(i) || !c.constant(i) || c.dtype(i) != DType::kFloat32) {
      return false;
    }
  }
  return quantized > 0;
}

kernels::ByteOperand byte_operand(const PrepareContext& c, size_t i) {
  kernels::ByteOperand o;
  if (const EdgeQuant* q = c.quant(i)) {
    o.type = q->dtype == DType::kInt8 ? kernels::ByteType::kSigned : kernels::ByteType::kUnsigned;
    o.scale = q->scalar_scale();
    o.zero_point = q->scalar_zero_point();
  } else {
    o.type = kernels::ByteType::kFloat;
  }
  return o;
}

Kernel prepare_or_bytes(PrepareContext& c, Binary function, kernels::ByteBinary byte_function) {
  if (!c.out_quant()) return prepare_binary(c, function);
  allow_in_place(c);
  const Broadcast shape = broadcast_of(c);
  const EdgeQuant& q = *c.out_quant();
  const Clamp clamp = c.clamp();
  const kernels::ByteOperand a = byte_operand(c, 0), b = byte_operand(c, 1);
  const kernels::ByteResult y{.is_signed = q.dtype == DType::kInt8,
                              .scale = q.scalar_scale(),
                              .zero_point = q.scalar_zero_point(),
                              .lo = clamp.lo,
                              .hi = clamp.hi};
  return [=](const RunContext& r) {
    kernels::ByteOperand left = a, right = b;
    kernels::ByteResult result = y;
    left.data = r.in<std::byte>(0);
    right.data = r.in<std::byte>(1);
    result.data = r.out<uint8_t>(0);
    r.parallel_range(shape.size(), grain_for({.work = 1}), [&](int64_t begin, int64_t end) {
      kernels::binary_bytes(byte_function, shape, left, right, result, begin, end);
    });
  };
}

template <Binary kFunction, kernels::ByteBinary kByteFunction>
Kernel prepare_or_bytes(PrepareContext& c) {
  return prepare_or_bytes(c, kFunction, kByteFunction);
}

// ---- other forms

// Operators with any number of inputs are read as chains of two.
template <const char* kName>
void canonicalize_variadic(Canonicalize& c) {
  Node& n = c.node;
  n.attributes.erase("consumed_inputs");
  if (n.inputs.empty()) c.fail(ErrorCode::kInvalidModel, "there are no inputs");
  if (n.inputs.size() == 1) return c.finish("Identity", {n.inputs[0]});
  ValueId so_far = n.inputs[0];
  for (size_t i = 1; i + 1 < n.inputs.size(); ++i) so_far = c.add(kName, {so_far, n.inputs[i]});
  c.finish(kName, {so_far, n.inputs.back()});
}

Tensor scalar_of(DType type, double value) {
  return cast(Tensor::scalar(value), type == DType::kUndefined ? DType::kFloat32 : type);
}

void canonicalize_mean(Canonicalize& c) {
  const std::vector<ValueId>& in = c.node.inputs;
  if (in.empty()) c.fail(ErrorCode::kInvalidModel, "there are no inputs");
  if (in.size() == 1) return c.finish("Identity", {in[0]});
  ValueId sum = in[0];
  for (size_t i = 1; i < in.size(); ++i) sum = c.add("Add", {sum, in[i]});
  const DType type = c.graph[in[0]].dtype;
  c.finish("Div",
           {sum, c.constant_value(c.node.name + "_count", scalar_of(type, static_cast<double>(in.size())))});
}

// The exponent may have a type of its own: it is brought to that of the base (or, for an integer base and a
// float exponent, both to the exponent's, and the result back).
void canonicalize_pow(Canonicalize& c) {
  Node& n = c.node;
  if (n.inputs.size() != 2) c.fail(ErrorCode::kInvalidModel, "there must be two inputs");
  const DType base = c.graph[n.inputs[0]].dtype, exponent = c.graph[n.inputs[1]].dtype;
  if (base == exponent || base == DType::kUndefined || exponent == DType::kUndefined)
    return upgrade_legacy_broadcast(c);
  if (is_float(base) || !is_float(exponent)) {
    const Tensor* constant = c.constant(1);
    if (constant && is_float(base) && constant->size() == 1) {
      const Tensor value = scalar_of(base, constant->floats()[0]).reshaped(constant->dims());
      n.inputs[1] = c.constant_value(n.name + "_exponent", value);
    } else {
      n.inputs[1] = c.add("Cast", {n.inputs[1]}, {{"to", static_cast<int64_t>(base)}});
    }
    return upgrade_legacy_broadcast(c);
  }
  const ValueId wide = c.add("Cast", {n.inputs[0]}, {{"to", static_cast<int64_t>(exponent)}});
  c.finish("Cast", {c.add("Pow", {wide, n.inputs[1]})}, {{"to", static_cast<int64_t>(base)}});
}

// Opset 28 rounds quotients of floats down, too; older opsets cut them off (fmod). The newer remainder is the
// older one, plus the divisor where the two have different signs; a zero has the divisor's sign.
void canonicalize_mod(Canonicalize& c) {
  const std::vector<ValueId>& in = c.node.inputs;
  const DType type = c.graph[in[0]].dtype;
  if (!is_float(type) || c.node.int_attribute("fmod", 0) != 0) return c.keep();
  if (c.version < 28) c.fail(ErrorCode::kInvalidModel, "fmod 0 is for integers alone before opset 28");
  const ValueId zero = c.constant_value(c.node.name + "_zero", scalar_of(type, 0));
  const ValueId below_zero = c.constant_value(c.node.name + "_negative_zero", scalar_of(type, -0.0F));
  const ValueId cut = c.add("Mod", {in[0], in[1]}, {{"fmod", int64_t{1}}});
  const ValueId negative = c.add("Less", {in[1], zero});
  const ValueId signs = c.add("Xor", {c.add("Less", {cut, zero}), negative});
  const ValueId same_sign = c.add("Where", {signs, c.add("Add", {cut, in[1]}), cut});
  c.finish("Where", {c.add("Equal", {cut, zero}), c.add("Where", {negative, below_zero, zero}), same_sign});
}

// com.microsoft: A, A_scale, A_zero_point, B, B_scale, B_zero_point, C_scale, C_zero_point.
template <const char* kFloatName>
void expand_qlinear(Canonicalize& c) {
  const Node& n = c.node;
  const ValueId a = c.add("DequantizeLinear", {n.input(0), n.input(1), n.input(2)});
  const ValueId b = c.add("DequantizeLinear", {n.input(3), n.input(4), n.input(5)});
  c.finish("QuantizeLinear", {c.add(kFloatName, {a, b}), n.input(6), n.input(7)});
}

template <const char* kQLinearName>
bool fold_qlinear(Fold& f) {
  if (f.inputs.size() != 2 || !are_plain_8_bit(f)) return false;
  Node n;
  for (const auto& edge : f.inputs)
    n.inputs.insert(n.inputs.end(), {edge->quantized, edge->scale, edge->zero_point});
  n.inputs.insert(n.inputs.end(), {f.output->scale, f.output->zero_point});
  n.name = f.node.name;
  n.domain = kMicrosoft;
  n.op_type = kQLinearName;
  n.outputs = {f.output->quantized};
  f.nodes.push_back(std::move(n));
  return true;
}

// Before opset 7 a slope of more than one element is for the channels; later ones broadcast from the last
// dimension.
void canonicalize_prelu(Canonicalize& c) {
  Node& n = c.node;
  n.attributes.erase("consumed_inputs");
  if (c.version >= 7) return c.keep();
  const SymShape *x = c.shape(0), *slope = c.shape(1);
  if (!slope || (!x && *slope != SymShape{Dim(1)}))
    c.wait("each channel has a slope, and the ranks of the inputs are not known");
  if (slope->size() == 1 && (*slope)[0] != Dim(1) && x->size() > 2) {
    std::vector<int64_t> axes;
    for (size_t d = 2; d < x->size(); ++d) axes.push_back(static_cast<int64_t>(d) - 1);
    const auto count = static_cast<int64_t>(axes.size());
    const ValueId axes_value = c.constant_value(n.name + "_axes", Tensor::of<int64_t>({count}, axes));
    n.inputs[1] = c.add("Unsqueeze", {n.inputs[1], axes_value});
  }
  c.keep();
}

// ---- gradients

void add_gradient(Gradient& g) { g.give_formulas({"dy", "dy"}); }

void sub_gradient(Gradient& g) { g.give_formulas({"dy", "Neg(dy)"}); }

void mul_gradient(Gradient& g) { g.give_formulas({"Mul(dy, b)", "Mul(dy, a)"}); }

void div_gradient(Gradient& g) { g.give_formulas({"Div(dy, b)", "Neg(Mul(Div(dy, b), y))"}); }

void pow_gradient(Gradient& g) {
  g.give_formulas({"Mul(dy, Mul(b, Pow(a, Sub(b, 1))))", "Mul(dy, Mul(y, Log(a)))"});
}

void extreme_gradient(Gradient& g) {
  g.give_formulas({"Where(Equal(a, y), dy, 0)", "Where(Equal(b, y), dy, 0)"});
}

void prelu_gradient(Gradient& g) {
  g.give_formulas({"Where(Less(a, 0), Mul(dy, b), dy)", "Where(Less(a, 0), Mul(dy, a), 0)"});
}

// ---- known ranges

// The result reaches both ends where one operand is a single number. Where both vary, their ends need not
// meet.
KnownRange combined(const RangeContext& c, float (*f)(float, float)) {
  const KnownRange a = c.of(0), b = c.of(1);
  if (!a.bounded() || !b.bounded()) return {};
  const auto [lo, hi] = std::minmax({f(a.lo, b.lo), f(a.lo, b.hi), f(a.hi, b.lo), f(a.hi, b.hi)});
  return {.lo = lo, .hi = hi, .reached = a.reached && b.reached && (a.lo == a.hi || b.lo == b.hi)};
}

KnownRange sum_range(const RangeContext& c) {
  return combined(c, [](float a, float b) { return a + b; });
}
KnownRange difference_range(const RangeContext& c) {
  return combined(c, [](float a, float b) { return a - b; });
}
// Whether v is 0 or more, and nowhere smaller than the magnitude of x there: a norm of x along some
// dimensions, with something added, and kept from becoming 0.
bool at_least_norm_of(const RangeContext& c, ValueId v, ValueId x);

KnownRange product_range(const RangeContext& c) {
  const Node& n = c.node;
  for (size_t i : {size_t{0}, size_t{1}}) {
    const Node* inverse = c.producer(n.input(i));
    if (inverse && inverse->is("Reciprocal") && at_least_norm_of(c, inverse->input(0), n.input(1 - i)))
      return {.lo = -1, .hi = 1, .reached = true};
  }
  return combined(c, [](float a, float b) { return a * b; });
}
KnownRange quotient_range(const RangeContext& c) {
  if (at_least_norm_of(c, c.node.input(1), c.node.input(0))) return {.lo = -1, .hi = 1, .reached = true};
  const KnownRange b = c.of(1);
  if (!(b.lo > 0) && !(b.hi < 0)) return {};
  return combined(c, [](float a, float d) { return a / d; });
}

bool not_negative(const RangeContext& c, ValueId v) {
  const Tensor* t = c.constant(v);
  if (!t || t->dtype() != DType::kFloat32) return false;
  const std::span<const float> x = t->data<float>();
  return std::all_of(x.begin(), x.end(), [](float e) { return e >= 0; });
}

// The sum of x's squares along some dimensions, which stay.
bool is_sum_of_squares(const RangeContext& c, ValueId v, ValueId x) {
  const Node* n = c.producer(v);
  if (!n || n->int_attribute("keepdims", 1) == 0) return false;
  if (n->is("ReduceSumSquare")) return n->input(0) == x;
  const Node* square = n->is("ReduceSum") ? c.producer(n->input(0)) : nullptr;
  if (!square) return false;
  if (square->is("Mul")) return square->input(0) == x && square->input(1) == x;
  const Tensor* power = square->is("Pow") ? c.constant(square->input(1)) : nullptr;
  return power && square->input(0) == x && power->size() == 1 && power->floats()[0] == 2;
}

bool at_least_norm_of(const RangeContext& c, ValueId v, ValueId x) {
  // Nodes between may make it larger, or repeat it to the shape of x.
  bool root = false;
  for (const Node* n = c.producer(v); n; n = c.producer(v)) {
    if (!root && (n->is("ReduceL2") || n->is("ReduceL1")))
      return n->input(0) == x && n->int_attribute("keepdims", 1) != 0;
    if (n->is("Add") && not_negative(c, n->input(1))) {
      v = n->input(0);
    } else if (n->is("Add") && not_negative(c, n->input(0))) {
      v = n->input(1);
    } else if (n->is("Clip") && n->input(2) == kNoValue) {
      v = n->input(0);
    } else if (n->is("Expand") || n->is("Identity")) {
      v = n->input(0);
    } else if (n->is("Max") && n->inputs.size() == 2) {
      v = n->input(c.constant(n->input(0)) ? 1 : 0);
    } else if (n->is("Sqrt") && !root) {
      root = true;
      v = n->input(0);
    } else {
      return root && is_sum_of_squares(c, v, x);
    }
  }
  return false;
}

constexpr OpDef differentiable(OpDef def, void (*gradient)(Gradient&)) {
  def.gradient = gradient;
  return def;
}

constexpr char kAddName[] = "Add", kQLinearAddName[] = "QLinearAdd";
constexpr char kMulName[] = "Mul", kQLinearMulName[] = "QLinearMul";
constexpr char kMaxName[] = "Max", kMinName[] = "Min";

constexpr OpDef arithmetic(std::string_view name, std::string_view opsets,
                           Kernel (*prepare)(PrepareContext&)) {
  return {.name = name,
          .inputs = "A B",
          .opsets = opsets,
          .infer = infer_broadcast,
          .prepare = prepare,
          .layout = any_layout,
          .broadcasts = true,
          .fuses_clamp = true,
          .quant = {.of_small = QuantRule::OfSmall::kKept},
          .canonicalize = upgrade_legacy_broadcast};
}

constexpr OpDef with_bytes(OpDef def, bool (*fold)(Fold&), KnownRange (*range)(const RangeContext&)) {
  def.integer = has_byte_kernel;
  def.quant = {
      .kind = QuantRule::Kind::kRescaled, .data = {-1}, .range = range, .of_small = def.quant.of_small};
  def.fold = fold;
  return def;
}

constexpr OpDef sum(OpDef def) {
  def.quant.sums = true;
  return def;
}

// Since opset 12 an exponent may have another type than its base.
void respell_pow(Respell& r) {
  if (r.dtype(1) != r.dtype(0)) r.need(12);
}
constexpr OpDef power(OpDef def) {
  def.inputs = "X Y";
  def.respell = respell_pow;
  return def;
}

constexpr OpDef of_several(OpDef def) {  // in a file: in memory, of two
  def.inputs = "data_0*";
  return def;
}

constexpr OpDef in_float(OpDef def, std::string_view why, void (*canonicalize)(Canonicalize&),
                         KnownRange (*range)(const RangeContext&) = nullptr) {
  def.quant = {
      .kind = QuantRule::Kind::kFloat, .why_float = why, .range = range, .of_small = def.quant.of_small};
  def.canonicalize = canonicalize;
  return def;
}

using ByteFunction = kernels::ByteBinary;
constexpr OpDef kAdd =
    sum(with_bytes(differentiable(arithmetic(kAddName, "7FiIlL 13b 14cCsS",
                                             prepare_or_bytes<Binary::kAdd, ByteFunction::kAdd>),
                                  add_gradient),
                   fold_qlinear<kQLinearAddName>, sum_range));
constexpr OpDef product() {
  OpDef def = with_bytes(differentiable(arithmetic(kMulName, "7FiIlL 13b 14cCsS",
                                                   prepare_or_bytes<Binary::kMul, ByteFunction::kMul>),
                                        mul_gradient),
                         fold_qlinear<kQLinearMulName>, product_range);
  def.half.scales = true;
  return def;
}
constexpr OpDef kMul = product();
constexpr OpDef kSub = with_bytes(
    differentiable(arithmetic("Sub", "7FiIlL 13b 14cCsS", prepare_or_bytes<Binary::kSub, ByteFunction::kSub>),
                   sub_gradient),
    nullptr, difference_range);
constexpr OpDef quotient() {
  OpDef def =
      in_float(differentiable(arithmetic("Div", "7FiIlL 13b 14cCsS", prepare<Binary::kDiv>), div_gradient),
               "a quotient's range depends on how near to zero its divisor comes", upgrade_legacy_broadcast,
               quotient_range);
  def.half.inverts = 1;
  return def;
}
constexpr OpDef kDiv = quotient();
constexpr OpDef kPow =
    power(in_float(differentiable(arithmetic("Pow", "7F 12il 13b", prepare<Binary::kPow>), pow_gradient),
                   "powers stretch small differences of their input", canonicalize_pow));
constexpr OpDef kMax = of_several(in_float(
    differentiable(arithmetic(kMaxName, "8F 12cCsSiIlL 13b", prepare<Binary::kMax>), extreme_gradient),
    "there is no integer form for the maximum of two tensors", canonicalize_variadic<kMaxName>));
constexpr OpDef kMin = of_several(in_float(
    differentiable(arithmetic(kMinName, "8F 12cCsSiIlL 13b", prepare<Binary::kMin>), extreme_gradient),
    "there is no integer form for the minimum of two tensors", canonicalize_variadic<kMinName>));
constexpr OpDef kMod = {.name = "Mod",
                        .inputs = "A B",
                        .opsets = "10N 13b",
                        .infer = infer_broadcast,
                        .prepare = prepare_mod,
                        .layout = any_layout,
                        .broadcasts = true,
                        .canonicalize = canonicalize_mod};
constexpr OpDef kPRelu = {
    .name = "PRelu",
    .inputs = "X slope",
    .opsets = "7F 9iIlL 16b",
    .infer = infer_prelu,
    .prepare = prepare<Binary::kPRelu>,
    .layout = any_layout,
    .broadcasts = true,
    .weights = {1},
    .quant = {.kind = QuantRule::Kind::kFloat, .why_float = "a slope for each channel has no integer form"},
    .canonicalize = canonicalize_prelu,
    .gradient = prelu_gradient};
constexpr OpDef kSum = {.name = "Sum", .inputs = "data_0*", .canonicalize = canonicalize_variadic<kAddName>};
constexpr OpDef kMean = {.name = "Mean", .inputs = "data_0*", .canonicalize = canonicalize_mean};

constexpr OpDef kQLinearAdd = {
    .domain = kMicrosoft,
    .name = kQLinearAddName,
    .inputs = "A A_scale A_zero_point? B B_scale B_zero_point? C_scale C_zero_point?",
    .canonicalize = expand_qlinear<kAddName>};
constexpr OpDef kQLinearMul = {
    .domain = kMicrosoft,
    .name = kQLinearMulName,
    .inputs = "A A_scale A_zero_point? B B_scale B_zero_point? C_scale C_zero_point?",
    .canonicalize = expand_qlinear<kMulName>};
const RegisterOps kRegistered({&kAdd, &kMul, &kSub, &kDiv, &kPow, &kMax, &kMin, &kMod, &kPRelu, &kSum, &kMean,
                               &kQLinearAdd, &kQLinearMul});

}  // namespace
}  // namespace zp
