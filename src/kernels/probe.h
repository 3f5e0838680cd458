// What the machine under this build can do, found by trying (after XNNPACK's hardware-config).

#pragma once

#include "kernels/simd.h"

namespace zp::kernels {

struct MachineReport {
  RelaxedDot relaxed_dot = RelaxedDot::kAbsent;
  bool fused_multiply_add = false;  // relaxed_madd rounds once
};

// Tries a few products that tell the meanings apart, the first time; later calls return the same answer.
const MachineReport& probe();

// Tries again: for tests that switch the native imitation.
MachineReport probe_now();

// "absent", "unsigned", "signed" or "saturating", for reports.
const char* name_of(RelaxedDot meaning);

}  // namespace zp::kernels
