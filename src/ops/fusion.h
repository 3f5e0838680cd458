// Groups of nodes that one kernel computes without the values between them. They exist in plans alone: files
// have the nodes, and schemes quantize the nodes. A quantized node is in no group.
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
  // The node that makes a value, if no Q/DQ pair and no clamp was absorbed into it; -1: no such node.
  virtual int producer(ValueId value) const = 0;
  // One node reads it, once, and it is no output.
  virtual bool read_once(ValueId value) const = 0;
  virtual const Tensor* constant(ValueId value) const = 0;  // nullptr: the run makes it
  virtual const Shape& dims(ValueId value) const = 0;
  virtual DType dtype(ValueId value) const = 0;

  // producer(), where it is a node of ai.onnx of this type; else nullptr.
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
