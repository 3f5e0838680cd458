// Groups of nodes that one kernel computes without what the nodes would keep between them. Only a plan has
// them: files have the nodes, and schemes quantize the nodes. After a scheme quantized one, there is no
// group.
#pragma once

#include <optional>
#include <vector>

#include "ops/op.h"

namespace zp {

// What a fusion sees of the nodes of a plan, where every shape is known.
class FusionContext {
 public:
  virtual ~FusionContext() = default;
  virtual const Node& node(int at) const = 0;
  // The node that makes a value as its own operator says, without pairs of Q and DQ or a clamp in it; -1:
  // none, or not so.
  virtual int producer(ValueId value) const = 0;
  // One node reads it, once, and nobody looks at it.
  virtual bool read_once(ValueId value) const = 0;
  virtual const Tensor* constant(ValueId value) const = 0;  // nullptr: the run makes it
  virtual const Shape& dims(ValueId value) const = 0;
  virtual DType dtype(ValueId value) const = 0;

  // producer(), where it is a node of ai.onnx of this type; nullptr: not so.
  const Node* maker(ValueId value, std::string_view type) const;
  // The same, of a value that is read once.
  const Node* inner(ValueId value, std::string_view type) const {
    return read_once(value) ? maker(value, type) : nullptr;
  }
  // The one number of a constant of float32.
  std::optional<float> number(ValueId value) const;
};

struct Fusion {
  const OpDef* def;  // of the node that comes about; no file can have it
  // The node in the place of `at`, with the same outputs. It reads what is made before `at`. nullopt: `at` is
  // not the last node of such a group.
  std::optional<Node> (*match)(const FusionContext&, int at);
};

class RegisterFusion {
 public:
  explicit RegisterFusion(const Fusion& fusion);
};
const std::vector<Fusion>& all_fusions();

}  // namespace zp
