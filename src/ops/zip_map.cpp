// ZipMap of ai.onnx.ml: for each row of scores a map from classes to scores. There are no maps here, so the
// scores stay the tensor that they are: column i is that of the i-th class.
#include <algorithm>
#include <string>

#include "ops/ml.h"
#include "ops/op.h"

namespace zp {
namespace {

// The classes, as far as a line has room for them.
std::string list_of(const Tensor& labels) {
  constexpr int64_t kShown = 8;
  std::string list;
  for (int64_t i = 0; i < std::min(labels.size(), kShown); ++i) {
    if (i > 0) list += ", ";
    list += labels.dtype() == DType::kString ? Text({"'", string_at(labels.raw(), i), "'"}).str()
                                             : std::to_string(labels.integer_at(i));
  }
  return labels.size() > kShown ? list + ", ..." : list;
}

void unzip(Canonicalize& c) {
  const Tensor labels = class_labels(c.node);
  if (labels.size() == 0) c.fail(ErrorCode::kInvalidModel, "the node names no classes");
  const SymShape* scores = c.shape(0);
  if (scores && !scores->empty() && contradicts(scores->back(), Dim(labels.size())))
    c.fail(ErrorCode::kShapeMismatch, {labels.size(), " classes for scores of shape ", *scores});
  c.graph.warnings.push_back(
      Text({"'", c.graph[c.node.outputs[0]].name,
            "' is a tensor of scores, with a column for each of the classes ", list_of(labels)})
          .str());
  c.finish("Identity", {c.node.inputs[0]});
}

constexpr OpDef kZipMap = {.domain = kMl, .name = "ZipMap", .types = "f", .canonicalize = unzip};
const RegisterOps kRegistered({&kZipMap});

}  // namespace
}  // namespace zp
