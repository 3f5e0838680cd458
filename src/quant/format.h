// Other ways to write a quantized model than the Q/DQ pairs it has in memory.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "graph/graph.h"

namespace zp::quant {

struct RuntimeRules;

inline constexpr std::string_view kQdq = "qdq", kQoperator = "qoperator";

// Throws kInvalidArgument for a name that is neither.
void require_format(std::string_view format);

// The model for writing, with the opset that its readers need (Model::least_opset). "qdq": as it is.
// "qoperator": Q/DQ folded into the operators by OpDef::fold (QLinearConv, MatMulInteger, MatMulNBits, ...)
// wherever an operator has such a form; the rest stays Q/DQ. Throws kInvalidArgument for another name.
// `runtime`: the one that a result is for (quant/runtimes.h), or its rules; empty or null: pairs stay where
// they are. Tensors are shared with `model`.
Model in_format(const Model& model, std::string_view format, std::string_view runtime = {});
Model in_format(const Model& model, std::string_view format, const RuntimeRules* rules);

// The same, a few layers at a time: of gigabytes of weights it takes seconds.
class Formatting {
 public:
  Formatting(const Model& model, std::string_view format, std::string_view runtime);
  Formatting(const Model& model, std::string_view format, const RuntimeRules* rules);
  ~Formatting();
  Formatting(const Formatting&) = delete;
  Formatting& operator=(const Formatting&) = delete;

  // Works for about `milliseconds`. True: the model is there.
  bool advance(double milliseconds);
  size_t done() const;   // layers
  size_t total() const;  // 0: no layer is folded
  Model take();          // once

 private:
  class Steps;
  std::unique_ptr<Steps> steps_;
};

}  // namespace zp::quant
