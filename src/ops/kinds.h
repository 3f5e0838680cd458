// Values that may be no tensors: which opsets have operators for them, and the run that gives its input on.
#pragma once

#include "ops/respell.h"

namespace zp {

// The node needs these opsets where `v`, one of its values, is a sequence, or an optional.
inline void need_kind(Respell& r, ValueId v, int64_t sequence_since, int64_t optional_since) {
  if (v == kNoValue || r.graph[v].kind == ValueKind::kTensor) return;
  r.need(r.graph[v].kind == ValueKind::kSequence ? sequence_since : optional_since);
}

// OpDef::between where the output is the input.
inline bool same_item(BetweenContext& c) {
  c.give(0, c.in(0));
  return true;
}

}  // namespace zp
