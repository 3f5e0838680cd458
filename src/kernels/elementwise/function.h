// Functions of one float, by name: operators that only choose one need no kernel of it.
#pragma once

#include <cstdint>

namespace zp::kernels {

enum class Unary : uint8_t {
  kClamp,            // min(max(x, a), b)
  kLeakyRelu,        // x < 0 ? a x : x
  kElu,              // x < 0 ? a (e^x - 1) : x
  kSelu,             // x > 0 ? b x : b a (e^x - 1)
  kCelu,             // max(0, x) + min(0, a (e^(x / a) - 1))
  kThresholdedRelu,  // x > a ? x : 0
  kSigmoid,
  kHardSigmoid,  // min(max(a x + b, 0), 1)
  kHardSwish,    // x HardSigmoid(x) with a = 1/6, b = 0.5
  kTanh,
  kErf,
  kGelu,      // x / 2 (1 + erf(x / sqrt 2))
  kGeluTanh,  // its approximation with tanh
  kSoftplus,
  kSoftsign,
  kMish,
  kSwish,       // x sigmoid(a x)
  kAffine,      // a x + b
  kScaledTanh,  // a tanh(b x)
  kShrink,      // x < -a ? x + b : x > a ? x - b : 0
  kExp,
  kLog,
  kSqrt,
  kReciprocal,
  kAbs,
  kNeg,
  kFloor,
  kCeil,
  kRound,  // half to even
  kSign,
  // Through the C library, one by one.
  kSin,
  kCos,
  kTan,
  kAsin,
  kAcos,
  kAtan,
  kSinh,
  kCosh,
  kAsinh,
  kAcosh,
  kAtanh,
};

struct UnaryParameters {
  float a = 0, b = 0;
};

}  // namespace zp::kernels
