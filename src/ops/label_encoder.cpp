// LabelEncoder of ai.onnx.ml: a value for each key, and one for all that are no keys. Keys and values are
// integers, floats or strings.
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ops/ml.h"
#include "ops/op.h"

namespace zp {
namespace {

template <class T>
Tensor list_of(const std::vector<T>& values) {
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
  if (const auto* i = std::get_if<std::vector<int64_t>>(a)) return list_of(*i);
  if (const auto* f = std::get_if<std::vector<float>>(a)) return list_of(*f);
  if (const auto* s = std::get_if<std::vector<std::string>>(a)) return list_of(*s);
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

// What a value is that has no key, as one element.
Tensor otherwise_of(const Node& node, DType type) {
  if (Tensor t = attribute_list(node, "default_tensor"); t.defined()) return t;
  if (type == DType::kString)
    return list_of<std::string>({node.string_attribute("default_string", "_Unused")});
  if (type == DType::kFloat32) return list_of<float>({node.float_attribute("default_float", -0.0F)});
  const int64_t integer = node.int_attribute("default_int64", -1);
  if (type == DType::kInt64) return list_of<int64_t>({integer});
  if (type == DType::kFloat64) return list_of<double>({-0.0});
  if (type == DType::kInt32) return list_of<int32_t>({static_cast<int32_t>(integer)});
  if (type == DType::kInt16) return list_of<int16_t>({static_cast<int16_t>(integer)});
  throw_error(ErrorCode::kUnsupportedType, {"values are ", name_of(type)});
}

// Keys of one kind; numbers as doubles or integers, of which each float and integer is one.
struct Keys {
  std::map<std::string, int64_t, std::less<>> strings;
  std::map<int64_t, int64_t> numbers;

  static int64_t number(DType type, const std::byte* data, int64_t i) {
    const auto at = [&]<class T>(T) {
      T v;
      std::memcpy(&v, data + static_cast<size_t>(i) * sizeof(T), sizeof(T));
      return v;
    };
    const auto bits = [](double v) {
      if (std::isnan(v)) v = std::numeric_limits<double>::quiet_NaN();  // a NaN is as good as another
      return std::bit_cast<int64_t>(v == 0 ? 0.0 : v);
    };
    switch (type) {
      case DType::kInt64:
        return at(int64_t{});
      case DType::kInt32:
        return at(int32_t{});
      case DType::kInt16:
        return at(int16_t{});
      case DType::kFloat32:
        return bits(static_cast<double>(at(float{})));
      case DType::kFloat64:
        return bits(at(double{}));
      default:
        throw_error(ErrorCode::kUnsupportedType, {"keys are ", name_of(type)});
    }
  }

  // -1: there is none.
  int64_t find(DType type, const std::byte* data, int64_t i) const {
    if (type == DType::kString) {
      const auto found = strings.find(string_at(data, i));
      return found == strings.end() ? -1 : found->second;
    }
    const auto found = numbers.find(number(type, data, i));
    return found == numbers.end() ? -1 : found->second;
  }

  explicit Keys(const Tensor& keys) {
    for (int64_t i = 0; i < keys.size(); ++i) {
      if (keys.dtype() == DType::kString) {
        strings.emplace(string_at(keys.raw(), i), i);
      } else {
        numbers.emplace(number(keys.dtype(), keys.raw(), i), i);
      }
    }
  }
};

void infer_labels(InferContext& c) {
  const Tensor keys = keys_of(c.node()), values = values_of(c.node());
  if (!keys.defined() || !values.defined() || keys.size() != values.size()) {
    c.fail(ErrorCode::kInvalidModel, {keys.size(), " keys for ", values.size(), " values"});
  }
  if (c.dtype(0) != DType::kUndefined && c.dtype(0) != keys.dtype())
    c.fail(ErrorCode::kInvalidModel,
           {"the keys are ", name_of(keys.dtype()), ", the input ", name_of(c.dtype(0))});
  c.output(0, InferContext::Inferred{values.dtype(), c.input(0).shape});
}

Kernel prepare_labels(PrepareContext& c) {
  const Tensor values = values_of(c.node()), otherwise = otherwise_of(c.node(), values.dtype());
  if (otherwise.dtype() != values.dtype() || otherwise.size() != 1)
    c.fail(ErrorCode::kInvalidModel, "the default is not one value of the type of the others");
  const auto keys = std::make_shared<const Keys>(keys_of(c.node()));
  const DType type = c.dtype(0);
  const int64_t count = element_count(c.dims(0));
  const size_t bytes = bytes_of(values.dtype(), 1);
  return [values, otherwise, keys, type, count, bytes](const RunContext& r) {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = keys->find(type, r.inputs[0], i);
      const std::byte* from = at < 0 ? otherwise.raw() : values.raw() + static_cast<size_t>(at) * bytes;
      std::memcpy(r.outputs[0] + static_cast<size_t>(i) * bytes, from, bytes);
    }
  };
}

constexpr OpDef kLabelEncoder = {.domain = kMl,
                                 .name = "LabelEncoder",
                                 .since = 2,
                                 .types = "*",
                                 .infer = infer_labels,
                                 .prepare = prepare_labels,
                                 .quant = {.why_float = "looks values up, and computes nothing"}};
const RegisterOps kRegistered({&kLabelEncoder});

}  // namespace
}  // namespace zp
