// What operators of ai.onnx.ml share.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "ops/op.h"

namespace zp {

inline constexpr std::string_view kMl = "ai.onnx.ml";

// A value as float32.
ValueId as_float(Canonicalize& c, ValueId x);
ValueId vector_of(Canonicalize& c, std::string_view name, const std::vector<float>& values);

// The classes of a classifier, integers or strings; empty: it names none.
Tensor class_labels(const Node& node);
// Adds what `post_transform` makes of scores (one row each). Refuses those that no exporter writes.
ValueId transformed(Canonicalize& c, ValueId scores);

}  // namespace zp
