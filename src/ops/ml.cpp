#include "ops/ml.h"

#include "core/error.h"

namespace zp {

void fail_ml(const Text& message) {
  throw_error(ErrorCode::kInvalidModel, message,
              {.hint = "export the model again, or correct the node: it contradicts itself or ONNX"});
}

void require_size(std::string_view key, size_t size, size_t wanted) {
  if (size != wanted) fail_ml({"attribute '", key, "' has ", size, " elements, not ", wanted});
}

Dim rows_of(InferContext& c) {
  const SymShape* x = c.shape(0);
  if (x && x->size() != 1 && x->size() != 2)
    c.fail(ErrorCode::kShapeMismatch, {"the input has ", x->size(), " dimensions, not one or two"});
  return !x ? Dim() : x->size() == 2 ? (*x)[0] : Dim(1);
}

}  // namespace zp
