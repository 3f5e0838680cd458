// What this build runs on this machine, for reports: without the kernels, which differ from build to build.

#pragma once

namespace zp::kernels {

struct Machine {
  const char* instruction_set = nullptr;  // "simd128" or "relaxed"
  const char* relaxed_dot = nullptr;      // "absent", "unsigned", "signed" or "saturating": see RelaxedDot
  bool fused_multiply_add = false;        // a * b + c rounds once
};

// Tries a few products the first time; later calls give the same answer.
Machine machine();

}  // namespace zp::kernels
