// Optionals: values that may be absent. One that holds something is what it holds (core/item.h).
#include "ops/kinds.h"
#include "ops/op.h"

namespace zp {
namespace {

constexpr std::string_view kWhyFloat = "an optional, whose content only a run knows";

void infer_optional(InferContext& c) {
  if (!c.has_input(0)) return;  // the file says what it might hold
  const bool sequence = c.kind(0) == ValueKind::kSequence;
  c.output(0, InferContext::Inferred{c.dtype(0), std::nullopt,
                                     sequence ? ValueKind::kOptionalSequence : ValueKind::kOptionalTensor});
}

void infer_element(InferContext& c) {
  InferContext::Inferred element = c.input(0);
  const bool sequence = element.kind == ValueKind::kSequence || element.kind == ValueKind::kOptionalSequence;
  element.kind = sequence ? ValueKind::kSequence : ValueKind::kTensor;
  c.output(0, element);
}

bool give_element(BetweenContext& c) {
  if (c.in(0).is_nothing()) c.fail_input(0, ErrorCode::kInvalidFeed, "the optional holds nothing");
  return same_item(c);
}

void infer_has(InferContext& c) { c.output(0, DType::kBool, {}); }

bool give_has(BetweenContext& c) {
  c.give(0, Tensor::scalar(!c.in(0).is_nothing()));
  return true;
}

// Before opset 18 the input is an optional, and is there.
void respell(Respell& r) {
  const ValueId v = r.node.input(0);
  if (v == kNoValue || r.graph[v].kind == ValueKind::kTensor) return r.need(18);
  need_kind(r, v, 18, 15);
}

constexpr OpDef kOptional = {.name = "Optional",
                             .inputs = "input?",
                             .opsets = "15A 28bqQpPGme",
                             .types = "*",
                             .infer = infer_optional,
                             .between = same_item,
                             .quant = {.why_float = kWhyFloat}};
constexpr OpDef kElement = {.name = "OptionalGetElement",
                            .inputs = "input",
                            .opsets = "@o 15A 28bqQpPGme",
                            .types = "*",
                            .infer = infer_element,
                            .between = give_element,
                            .quant = {.why_float = kWhyFloat},
                            .respell = respell};
constexpr OpDef kHas = {.name = "OptionalHasElement",
                        .inputs = "input?",
                        .opsets = "15 18A 28bqQpPGme",
                        .types = "*",
                        .infer = infer_has,
                        .between = give_has,
                        .quant = {.why_float = kWhyFloat},
                        .respell = respell};
const RegisterOps kRegistered({&kOptional, &kElement, &kHas});

}  // namespace
}  // namespace zp
