// Other ways to write a quantized model than the Q/DQ pairs it has in memory.
#pragma once

#include <string_view>

#include "graph/graph.h"

namespace zp::quant {

struct RuntimeRules;

inline constexpr std::string_view kQdq = "qdq", kQoperator = "qoperator";

// Throws kInvalidArgument for a name that is neither.
void require_format(std::string_view format);

// The model for writing, with the opset that its readers need (Model::least_opset). "qdq": as it is.
// "qoperator": Q/DQ folded into the operators by OpDef::fold (QLinearConv, MatMulInteger, MatMulNBits, ...)
// wherever an operator has such a form; the rest stays Q/DQ. Throws kInvalidArgument for another name.
// `runtime`: the one that a result is for (quant/runtimes.h), or its rules; empty or null: pairs stay where
// they are. Tensors are shared with `model`.
Model in_format(const Model& model, std::string_view format, std::string_view runtime = {});
Model in_format(const Model& model, std::string_view format, const RuntimeRules* rules);

}  // namespace zp::quant
