// Values that follow from initializers alone become initializers. What is folded, and what not:
//
// - The DequantizeLinear of a weight stays (the operator after it wants the integers), and so does what is
//   random.
// - A folded tensor replaces its sources where nobody else reads them. It may be four times as large as they
//   are (int8 to float32). Growth beyond that (an Expand or ConstantOfShape of a mask) is allowed up to a
//   sixteenth of the model's weights and 16 KiB, all together: the rest stays computed.
// - The same operation on the same constants gives one tensor, in branches too.
// - A large weight that is also read as it stands, and transposed for a product (tied embeddings), stays
// behind
//   its Transpose: one tensor serves both.
#pragma once

#include <memory>

#include "graph/graph.h"

namespace zp::runtime {

class ConstantFolder {
 public:
  // For a model's main graph, as it is before the first fold().
  explicit ConstantFolder(const Graph& main);
  ~ConstantFolder();
  ConstantFolder(const ConstantFolder&) = delete;
  ConstantFolder& operator=(const ConstantFolder&) = delete;

  // Folds what can be, subgraphs included. True: something was.
  bool fold(Graph& graph);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace zp::runtime
