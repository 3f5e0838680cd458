// Cast and CastLike.
#include "ops/cast.h"

#include <algorithm>

#include "core/elements.h"
#include "core/grain.h"
#include "ops/known_range.h"
#include "ops/respell.h"
#include "ops/rewrite.h"
#include "ops/unary.h"

namespace zp {

namespace {

constexpr int64_t kPiece = 128;  // whole bytes of packed types

template <class W>
void cast_through(const std::byte* x, DType from, std::byte* y, DType to, int64_t begin, int64_t end,
                  Fit fit) {
  W piece[kPiece];
  for (int64_t i = begin; i < end; i += kPiece) {
    const int64_t n = std::min(kPiece, end - i);
    load_elements(x, from, i, n, piece);
    store_elements(piece, y, to, i, n, fit);
  }
}

bool castable(DType t) { return bits_of(t) > 0 && t != DType::kString; }

}  // namespace

void cast_elements(const std::byte* x, DType from, std::byte* y, DType to, int64_t begin, int64_t end,
                   Fit fit) {
  // uint64 as int64 keeps the bits, as integers need them; floats need the value.
  if (is_float(from) || (is_float(to) && from == DType::kUint64))
    return cast_through<double>(x, from, y, to, begin, end, fit);
  cast_through<int64_t>(x, from, y, to, begin, end, fit);
}

Tensor cast(const Tensor& tensor, DType to) {
  if (tensor.dtype() == to) return tensor;
  if (!castable(tensor.dtype()) || !castable(to)) {
    throw_error(ErrorCode::kUnsupportedType, {"cannot cast ", name_of(tensor.dtype()), " to ", name_of(to)});
  }
  Tensor result(to, tensor.dims());
  cast_elements(tensor.raw(), tensor.dtype(), result.mutable_raw(), to, 0, tensor.size());
  return result;
}

DType type_to(const Node& node) {
  const int64_t to = node.int_attribute("to", 0);
  return to == static_cast<uint8_t>(to) ? static_cast<DType>(to) : DType::kUndefined;
}

std::optional<DType> cast_target(const Node& node) {
  if (!node.is("Cast")) return std::nullopt;
  return type_to(node);
}

Node cast_node(const Graph& graph, ValueId from, ValueId to) {
  Node node;
  node.name = graph[to].name + "_cast";
  node.op_type = "Cast";
  node.inputs = {from};
  node.outputs = {to};
  node.attributes.emplace("to", static_cast<int64_t>(graph[to].dtype));
  return node;
}

namespace {

Fit fit_of(const Node& n) {
  const std::string round = n.string_attribute("round_mode", "up");
  return {.saturate = n.int_attribute("saturate", 1) != 0,
          .round = round == "down"      ? Fit::Round::kDown
                   : round == "nearest" ? Fit::Round::kNearest
                                        : Fit::Round::kUp};
}

void infer_cast(InferContext& c) {
  const DType to = type_to(c.node());
  if (!castable(to)) {
    c.fail(ErrorCode::kUnsupportedType, {"casts to element type ", c.ints("to", 0), " are not supported"});
  }
  if (const SymShape* shape = c.shape(0)) return c.output(0, to, *shape);
  c.output(0, to);
}

Kernel prepare_cast(PrepareContext& c) {
  const DType from = c.dtype(0), to = c.out_dtype(0);
  if (!castable(from) || !castable(to)) fail_type(c);
  if (from == to) {
    c.alias(0);
    return {};
  }
  const int64_t count = element_count(c.dims(0));
  const Fit fit = fit_of(c.node());
  if (bits_of(to) < 8) {  // two threads must not write parts of a byte
    return [=](const RunContext& r) { cast_elements(r.inputs[0], from, r.outputs[0], to, 0, count, fit); };
  }
  return [=](const RunContext& r) {
    r.parallel_range(count, grain_for({.work = 1}), [&](int64_t begin, int64_t end) {
      cast_elements(r.inputs[0], from, r.outputs[0], to, begin, end, fit);
    });
  };
}

// Attributes mean something for small floats alone.
void keep_cast(Canonicalize& c) {
  const DType to = type_to(c.node);
  const std::string round = c.node.string_attribute("round_mode", "up");
  if (to != DType::kFloat8E8M0) {
    c.node.attributes.erase("round_mode");
  } else if (round != "up" && round != "down" && round != "nearest") {
    c.fail(ErrorCode::kInvalidModel, {"round_mode '", round, "' is not 'up', 'down' or 'nearest'"});
  }
  if (!is_small_float(to)) c.node.attributes.erase("saturate");
  c.keep();
}

void canonicalize_cast(Canonicalize& c) {
  if (c.version < 6) {  // a type by its name: "FLOAT"
    std::string name = c.node.string_attribute("to", "");
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char ch) { return static_cast<char>(ch | 0x20); });
    if (name == "float") name = "float32";
    if (name == "double") name = "float64";
    c.node.attributes.insert_or_assign("to", static_cast<int64_t>(dtype_named(name)));
  }
  keep_cast(c);
}

// A Cast, unless the type comes out of an operator that is not known here.
void canonicalize_cast_like(Canonicalize& c) {
  const DType to = c.graph[c.node.inputs[1]].dtype;
  if (to == DType::kUndefined) return c.keep();
  c.node.op_type = "Cast";
  c.node.inputs.resize(1);
  c.node.attributes.insert_or_assign("to", static_cast<int64_t>(to));
  keep_cast(c);
}

void infer_cast_like(InferContext& c) {
  if (const SymShape* shape = c.shape(0)) return c.output(0, c.dtype(1), *shape);
  c.output(0, c.dtype(1));
}

// Is every value of `from` a value of `to`?
bool holds(DType to, DType from) {
  if (to == from) return true;
  if (is_small_float(to)) return false;
  if (from == DType::kBool) return true;
  if (to == DType::kBool) return false;
  if (to == DType::kFloat64) return from != DType::kInt64 && from != DType::kUint64;
  if (to == DType::kFloat32) return is_float(from) ? from != DType::kFloat64 : bits_of(from) <= 16;
  if (is_float(to) || is_float(from)) return false;
  const bool signs = is_signed_integer(to) || !is_signed_integer(from);
  return signs && bits_of(to) - is_signed_integer(to) >= bits_of(from) - is_signed_integer(from);
}

// A cast to a wider type and on to another is one cast.
bool merge_casts(RewriteContext& r) {
  const Node& first = r.node();
  if (!first.is("Cast") || r.graph[first.inputs[0]].dtype == DType::kUndefined) return false;
  const int32_t next = r.only_consumer(first.outputs[0]);
  if (next < 0 || !r.node(next).is("Cast") || !holds(type_to(first), r.graph[first.inputs[0]].dtype))
    return false;
  Node merged = r.node(next);
  merged.inputs = {first.inputs[0]};
  r.replace({r.at(), next}, {merged});
  return true;
}

// A cast to the type that there is already.
bool drop_cast(RewriteContext& r) {
  const Node& node = r.node();
  if (!node.is("Cast") || node.input(0) == kNoValue || r.graph[node.inputs[0]].dtype != type_to(node))
    return false;
  Node same = node;
  same.op_type = "Identity";
  same.attributes.clear();
  r.replace({r.at()}, {std::move(same)});
  return true;
}

const RegisterRewrite kDropCast({.name = "drop a cast to the same type", .apply = drop_cast, .order = -11});
const RegisterRewrite kMergeCasts({.name = "merge two casts", .apply = merge_casts});

// Integers in between cut off the fraction, which moves values towards 0.
KnownRange range(const RangeContext& c) {
  if (is_small_float(type_to(c.node))) return {};  // rounding to few numbers leads out of a range
  if (c.dtype(0) == DType::kBool) return {.lo = 0, .hi = 1, .reached = true};
  KnownRange r = c.of(0);
  if (!is_float(type_to(c.node))) r.include({.lo = 0, .hi = 0, .reached = true});
  return r;
}

// The types of the result are those of the input.
void respell_cast(Respell& r) { r.need_type(type_to(r.node)); }
void respell_cast_like(Respell& r) { r.need_type(r.dtype(1)); }

constexpr OpDef kCast = {.name = "Cast",
                         .opsets = "7No 9t 13b 19G 21qQ 23m 24e 25pP saturate=1:19 round_mode=up:24",
                         .infer = infer_cast,
                         .prepare = prepare_cast,
                         .layout = any_layout,
                         .quant = {.range = range},
                         .canonicalize = canonicalize_cast,
                         .respell = respell_cast};
constexpr OpDef kCastLike = {.name = "CastLike",
                             .inputs = "input target_type",
                             .opsets = "15Ab 19G 21qQ 23m 24e 25pP saturate=1:19 round_mode=up:24",
                             .since = 15,
                             .types = "TU",
                             .infer = infer_cast_like,
                             .prepare = prepare_cast,
                             .canonicalize = canonicalize_cast_like,
                             .respell = respell_cast_like};
const RegisterOps kRegistered({&kCast, &kCastLike});

}  // namespace
}  // namespace zp
