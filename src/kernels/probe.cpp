#include "kernels/probe.h"

#include "kernels/isa.h"
#include "kernels/machine.h"

namespace zp::kernels {
namespace {

#if ZEROPOINT_HAS_RELAXED_KERNELS
// Operands are read through volatile: the answer is the running engine's, not the compiler's or binaryen's
// (which aborts when it folds this instruction).
v128_t splat_at_run_time(int value) {
  volatile int hidden = value;
  return wasm_i8x16_splat(static_cast<signed char>(hidden));
}

RelaxedDot probe_relaxed_dot() {
  const auto dot = [](int a, int b) {
    const v128_t zero = splat_at_run_time(0);
    return wasm_i32x4_extract_lane(relaxed_dot_add(splat_at_run_time(a), splat_at_run_time(b), zero), 0);
  };
  if (dot(-128, -1) == -128 * -1 * 4 && dot(-128, -128) == 128 * 128 * 4) return RelaxedDot::kSigned;
  if (dot(-128, 255) == -128 * 255 * 4 && dot(127, 255) == 127 * 255 * 4) return RelaxedDot::kUnsigned;
  if (dot(64, 255) == 64 * 255 * 4 && dot(-64, 255) == -64 * 255 * 4) return RelaxedDot::kSaturating;
  return RelaxedDot::kAbsent;  // something new: not used
}

bool probe_fused_multiply_add() {
  // (1 + 2^-12)^2 - (1 + 2^-11) is 2^-24 when the product is not rounded first, and 0 when it is.
  volatile float hidden = 1.0F + 0x1p-12F;
  const v128_t x = wasm_f32x4_splat(hidden);
  const v128_t r = madd<Relaxed>(x, x, wasm_f32x4_splat(-(1.0F + 0x1p-11F)));
  return wasm_f32x4_extract_lane(r, 0) != 0.0F;
}
#endif

}  // namespace

MachineReport probe_now() {
  MachineReport report;
#if ZEROPOINT_HAS_RELAXED_KERNELS
  report.relaxed_dot = probe_relaxed_dot();
  report.fused_multiply_add = probe_fused_multiply_add();
#endif
  return report;
}

const MachineReport& probe() {
  static const MachineReport report = probe_now();
  return report;
}

const char* name_of(RelaxedDot meaning) {
  switch (meaning) {
    case RelaxedDot::kUnsigned:
      return "unsigned";
    case RelaxedDot::kSigned:
      return "signed";
    case RelaxedDot::kSaturating:
      return "saturating";
    case RelaxedDot::kAbsent:
      break;
  }
  return "absent";
}

Machine machine() {
  return {.instruction_set = Best::kName,
          .relaxed_dot = name_of(probe().relaxed_dot),
          .fused_multiply_add = probe().fused_multiply_add};
}

}  // namespace zp::kernels
