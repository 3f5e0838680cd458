// The common part of operators that broadcast their inputs against each other.
#pragma once

#include "kernels/elementwise/binary.h"
#include "ops/op.h"

namespace zp {

// How the inputs (all of them) broadcast to output 0. Throws kUnsupportedOperator when that is too intricate
// for the kernels (nine dimensions that alternate).
kernels::Broadcast broadcast_of(const PrepareContext& c);
// Two inputs of one type, or kUnsupportedType.
void require_same_type(const PrepareContext& c, size_t a = 0, size_t b = 1);
// infer_broadcast with another output type.
void infer_broadcast_as(InferContext& c, DType dtype);
// Lets output 0 take the memory of an input that has as many elements of the same type.
void allow_in_place(PrepareContext& c);

// Before opset 7, input 1 was broadcast only when `broadcast` said so, from `axis` on. Writes numpy's form.
void upgrade_legacy_broadcast(Canonicalize& c);

}  // namespace zp
