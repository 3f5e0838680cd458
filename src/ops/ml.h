// What operators of ai.onnx.ml share.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ops/op.h"

namespace zp {

inline constexpr std::string_view kMl = "ai.onnx.ml";

// A value as float32.
ValueId as_float(Canonicalize& c, ValueId x);
ValueId vector_of(Canonicalize& c, std::string_view name, const std::vector<float>& values);

// The classes of a classifier, integers or strings; empty: it names none.
Tensor class_labels(const Node& node);
// Applies `post_transform` to scores, row by row. Refuses transforms that no exporter writes.
ValueId transformed(Canonicalize& c, ValueId scores);

// ---- attributes, in shape rules and where kernels are prepared: whoever calls those names the node

// The file contradicts itself, or ONNX.
[[noreturn]] void fail_ml(const Text& message);
void require_size(std::string_view key, size_t size, size_t wanted);

// A list; empty where there is none.
template <class T>
const std::vector<T>& list_of(const Node& node, std::string_view key) {
  static const std::vector<T> none;
  const Attribute* a = node.attribute(key);
  if (!a) return none;
  const auto* list = std::get_if<std::vector<T>>(a);
  if (!list) fail_ml({"attribute '", key, "' has the wrong type"});
  return *list;
}

// One of a list, by its name or, in TreeEnsemble-5, by its place.
int64_t place_of_choice(const Node& node, std::string_view key, std::span<const std::string_view> names,
                        int64_t fallback);
template <class T>
T choice_of(const Node& node, std::string_view key, std::span<const std::string_view> names, T fallback) {
  return static_cast<T>(place_of_choice(node, key, names, static_cast<int64_t>(fallback)));
}

// How many rows X has: a list is one.
Dim rows_of(InferContext& c);

}  // namespace zp
