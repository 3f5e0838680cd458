// DequantizeLinear on weights alone: 8 bits per channel, or 4 or 2 bits in blocks along the dimension that
// products sum over; or weights as float16 and a Cast. Activations stay float; the runtime dequantizes inside
// its kernels.
#include <algorithm>
#include <bit>

#include "core/error.h"
#include "quant/runtimes.h"
#include "quant/scheme.h"

namespace zp::quant {
namespace {

using Kind = QuantRule::Kind;

bool has_fewer_bits(const Config& c, int bits) {
  const auto fewer = [&](DType t) { return t != DType::kUndefined && bits_of(t) < bits; };
  return fewer(c.weights) ||
         std::ranges::any_of(c.precision, [&](const auto& own) { return fewer(own.second.weights); });
}

void check(const Config& c) {
  // What MatMulNBits takes; larger ones would be of little use.
  if (c.block_size < 16 || c.block_size > 256 || !std::has_single_bit(static_cast<uint64_t>(c.block_size)))
    throw_error(ErrorCode::kInvalidArgument, {"block size ", c.block_size, " is not possible"},
                {.hint = "use a power of two from 16 to 256"});
  if (c.quantized_inputs || c.quantized_outputs)
    throw_error(ErrorCode::kInvalidArgument, "inputs and outputs stay float when only weights are quantized",
                {.hint = "use mode 'static' for integer inputs and outputs"});
  if (c.format == kQdq && has_fewer_bits(c, 4))
    throw_error(ErrorCode::kInvalidArgument, "format: Q/DQ pairs have no weights of 2 bits",
                {.hint = "leave format out, or use 'qoperator'; weights of 4 bits can be Q/DQ pairs"});
}

DType eight_bits(DType fewer) { return is_signed_integer(fewer) ? DType::kInt8 : DType::kUint8; }

// Weights, tables and recurrences as float16 behind a Cast: half the size at an error of about 2^-11. The
// runtime casts once, when it loads the model.
void decide_float16(Planner& p) {
  for (int32_t i = 0; i < p.count(); ++i) {
    if (!p.allowed(i)) continue;
    if (p.at(i).weight == kNoValue) {
      p.at(i).why = "has no constant weight";
    } else {
      // The bias stays: it is small, and its error would not average out.
      p.quantize_weights(i, DType::kFloat16, {}, "it computes in float32");
    }
  }
}

void decide(Planner& p) {
  if (p.config.weights == DType::kFloat16) return decide_float16(p);
  p.quantize_stored();
  size_t unblocked = 0;
  for (int32_t i = 0; i < p.count(); ++i) {
    NodePlan& n = p.at(i);
    if (!p.allowed(i) || n.quantized) continue;
    const DType dtype = p.precision(i).weights;
    if (p.kind(i) != Kind::kProduct || p.weight(i) == kNoValue) {
      n.why = "has no constant weight";
    } else if (dtype == DType::kUndefined) {
      n.why = "kept in float by its own precision";
    } else if (bits_of(dtype) >= 8) {
      p.quantize_weights(i, dtype, p.channels(i), "activations stay float32");
    } else if (const std::optional<Grouping> blocks = p.blocks(i)) {
      p.quantize_weights(i, dtype, *blocks, "activations stay float32");
    } else {
      ++unblocked;
      p.quantize_weights(i, eight_bits(dtype), p.channels(i),
                         "activations stay float32; this operator has no form in blocks of fewer bits");
    }
  }
  if (unblocked > 0)
    p.plan.warnings.push_back(std::to_string(unblocked) + (unblocked == 1 ? " layer has" : " layers have") +
                              " no form in blocks of fewer bits and got 8 bits");
}

void place(Placement& placement, int32_t i) {
  const NodePlan& plan = placement.plan.nodes[static_cast<size_t>(i)];
  Node n = placement.node(i);
  if (plan.weights != DType::kUndefined && plan.weight_slot >= 0) {
    placement.weights_into(i, n, kNoValue, 0);
  }
  placement.emit(std::move(n));
}

// ONNX Runtime multiplies floats by 4 bits in kernels of its own. Weights of 8 bits it makes floats in each
// run, or rounds activations too, as a setting of the session's says, and the same with those of Q/DQ, which
// all of its versions open: MatMulNBits had 4 bits alone for long.
// Where floats are faster, Q/DQ become floats when the file is loaded, unless they have 2 bits.
std::string_view form(const Config& c) {
  const bool floats = runtime_named(c.runtime).floats_at_load > 0;
  return has_fewer_bits(c, floats ? 4 : 8) ? kQoperator : kQdq;
}

const RegisterScheme kWeightOnly(
    {.name = "weight-only",
     .title = "weights alone",
     .sentence = "Weights of 8 bits per channel, or of 4 or 2 bits in blocks; activations stay float.",
     .blocks = true,
     .form = form,
     .check = check,
     .decide = decide,
     .place = place});

}  // namespace
}  // namespace zp::quant
