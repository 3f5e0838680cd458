#include "ops/ml.h"

#include <algorithm>

#include "core/error.h"

namespace zp {

void fail_ml(const Text& message) {
  throw_error(ErrorCode::kInvalidModel, message,
              {.hint = "export the model again, or correct the node: it contradicts itself or ONNX"});
}

void require_size(std::string_view key, size_t size, size_t wanted) {
  if (size != wanted) fail_ml({"attribute '", key, "' has ", size, " elements, not ", wanted});
}

int64_t place_of_choice(const Node& node, std::string_view key, std::span<const std::string_view> names,
                        int64_t fallback) {
  const Attribute* a = node.attribute(key);
  if (!a) return fallback;
  if (const auto* number = std::get_if<int64_t>(a)) {
    if (*number < 0 || *number >= std::ssize(names)) fail_ml({"attribute '", key, "' is ", *number});
    return *number;
  }
  const std::string name = node.string_attribute(key, "");
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) fail_ml({"attribute '", key, "' is '", name, "'"});
  return found - names.begin();
}

Dim rows_of(InferContext& c) {
  const SymShape* x = c.shape(0);
  if (x && x->size() != 1 && x->size() != 2)
    c.fail(ErrorCode::kShapeMismatch, {"the input has ", x->size(), " dimensions, not one or two"});
  return !x ? Dim() : x->size() == 2 ? (*x)[0] : Dim(1);
}

}  // namespace zp
