// LabelEncoder and CategoryMapper of ai.onnx.ml: a value for each key, and one for all that are no keys. Keys
// and values are integers, floats or strings.
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "ops/ml.h"
#include "ops/ml_keys.h"
#include "ops/op.h"

namespace zp {
namespace {

template <class T>
Tensor list_tensor(const std::vector<T>& values) {
  const Shape dims{static_cast<int64_t>(values.size())};
  if constexpr (std::is_same_v<T, std::string>) {
    return Tensor::of_strings(dims, values);
  } else {
    return Tensor::of<T>(dims, values);
  }
}

// A list in an attribute; undefined where it is not there.
Tensor attribute_list(const Node& node, std::string_view key) {
  const Attribute* a = node.attribute(key);
  if (!a) return {};
  if (const auto* t = std::get_if<Tensor>(a)) return *t;
  if (const auto* i = std::get_if<std::vector<int64_t>>(a)) return list_tensor(*i);
  if (const auto* f = std::get_if<std::vector<float>>(a)) return list_tensor(*f);
  if (const auto* s = std::get_if<std::vector<std::string>>(a)) return list_tensor(*s);
  throw_error(ErrorCode::kInvalidModel, {"attribute '", key, "' has the wrong type"});
}

Tensor keys_of(const Node& node) {
  for (const std::string_view key : {"keys_tensor", "keys_strings", "keys_int64s", "keys_floats"})
    if (Tensor t = attribute_list(node, key); t.defined()) return t;
  return {};
}
Tensor values_of(const Node& node) {
  for (const std::string_view key : {"values_tensor", "values_strings", "values_int64s", "values_floats"})
    if (Tensor t = attribute_list(node, key); t.defined()) return t;
  return {};
}

// The result for values that are no key, as one element.
Tensor fallback_of(const Node& node, DType type) {
  if (Tensor t = attribute_list(node, "default_tensor"); t.defined()) return t;
  if (type == DType::kString)
    return list_tensor<std::string>({node.string_attribute("default_string", "_Unused")});
  if (type == DType::kFloat32) return list_tensor<float>({node.float_attribute("default_float", -0.0F)});
  const int64_t integer = node.int_attribute("default_int64", -1);
  if (type == DType::kInt64) return list_tensor<int64_t>({integer});
  if (type == DType::kFloat64) return list_tensor<double>({-0.0});
  if (type == DType::kInt32) return list_tensor<int32_t>({static_cast<int32_t>(integer)});
  if (type == DType::kInt16) return list_tensor<int16_t>({static_cast<int16_t>(integer)});
  throw_error(ErrorCode::kUnsupportedType, {"values are ", name_of(type)});
}

// The keys and values of a node, as many of both.
struct Lookup {
  Tensor keys, values, fallback;
  Keys::Counts counts = Keys::Counts::kFirst;
};

Tensor places(size_t count) {
  std::vector<int64_t> list(count);
  std::iota(list.begin(), list.end(), 0);
  return list_tensor(list);
}

// CategoryMapper, and version 1 of LabelEncoder: strings and integers. The type of the input tells which of
// both are the keys. Of equal keys the last one counts, as in ONNX Runtime.
Lookup both_ways(const Node& node, DType input) {
  const bool mapper = node.op_type == "CategoryMapper";
  const std::string_view key = mapper ? "cats_strings" : "classes_strings";
  const std::vector<std::string>& names = list_of<std::string>(node, key);
  if (names.empty()) fail_ml({"attribute '", key, "' has no elements"});
  Tensor strings = list_tensor(names);
  Tensor integers = mapper ? list_tensor(list_of<int64_t>(node, "cats_int64s")) : places(names.size());
  if (mapper) require_size("cats_int64s", static_cast<size_t>(integers.size()), names.size());
  if (input != DType::kString) std::swap(strings, integers);
  return {strings, integers, fallback_of(node, integers.dtype()), Keys::Counts::kLast};
}

bool goes_both_ways(const Node& node) {
  return node.op_type == "CategoryMapper" || node.attribute("classes_strings");
}

Lookup lookup_of(const Node& node, DType input) {
  if (goes_both_ways(node)) return both_ways(node, input);
  Lookup found{keys_of(node), values_of(node), {}};
  if (!found.keys.defined() || !found.values.defined() || found.keys.size() != found.values.size())
    fail_ml({found.keys.size(), " keys for ", found.values.size(), " values"});
  found.fallback = fallback_of(node, found.values.dtype());
  if (found.fallback.dtype() != found.values.dtype() || found.fallback.size() != 1)
    fail_ml("the default should be one value of the type of the values");
  return found;
}

void infer_labels(InferContext& c) {
  const DType input = c.dtype(0);
  const Lookup found = lookup_of(c.node(), input);
  if (input != DType::kUndefined && input != found.keys.dtype())
    c.fail(ErrorCode::kInvalidModel,
           {"the keys are ", name_of(found.keys.dtype()), ", the input ", name_of(input)});
  c.output(0, InferContext::Inferred{found.values.dtype(), c.input(0).shape});
}

Kernel prepare_labels(PrepareContext& c) {
  const DType type = c.dtype(0);
  const Lookup found = lookup_of(c.node(), type);
  const Tensor values = found.values, fallback = found.fallback;
  const auto keys = std::make_shared<const Keys>(found.keys, found.counts);
  const int64_t count = element_count(c.dims(0));
  const size_t bytes = bytes_of(values.dtype(), 1);
  return [values, fallback, keys, type, count, bytes](const RunContext& r) {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = keys->find(type, r.inputs[0], i);
      const std::byte* from = at < 0 ? fallback.raw() : values.raw() + static_cast<size_t>(at) * bytes;
      std::memcpy(r.outputs[0] + static_cast<size_t>(i) * bytes, from, bytes);
    }
  };
}

void canonicalize(Canonicalize& c) {
  if (goes_both_ways(c.node) && c.graph[c.node.inputs[0]].dtype == DType::kUndefined)
    c.wait("the type of the input is not known");
  c.keep();
}

constexpr OpDef lookup(std::string_view name) {
  return {.domain = kMl,
          .name = name,
          .types = "*",
          .infer = infer_labels,
          .prepare = prepare_labels,
          .quant = {.why_float = "looks values up, and computes nothing"},
          .canonicalize = canonicalize};
}
constexpr OpDef kLabelEncoder = lookup("LabelEncoder");
constexpr OpDef kCategoryMapper = lookup("CategoryMapper");
const RegisterOps kRegistered({&kLabelEncoder, &kCategoryMapper});

}  // namespace
}  // namespace zp
