// What Softmax, LogSoftmax and Hardmax share: before opset 13 they worked on all dimensions from the axis on.
#pragma once

#include "ops/op.h"

namespace zp {

// Checks the axis; type and shape are those of the input.
void infer_softmax(InferContext& c);
// The node as opset 13 means it: on a matrix, where older opsets mean more than one dimension.
void canonicalize_softmax(Canonicalize& c);
void respell_softmax(Respell& r);

}  // namespace zp
