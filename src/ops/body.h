// What Loop and Scan share: a body that gives in each iteration what the next one begins with.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/item.h"
#include "ops/op.h"
#include "ops/rewrite.h"

namespace zp {

inline constexpr std::string_view kBody = "body";

// Infers the body of a node. `count` outputs of the body, from `made` on, are its inputs from `given` on in
// the next iteration. `inputs`: facts about the inputs of the first iteration; become the facts that hold in
// all iterations. Shapes that change between iterations are unknown.
std::vector<InferContext::Inferred> infer_iterations(InferContext& c,
                                                     std::vector<InferContext::Inferred>& inputs,
                                                     size_t given, size_t made, size_t count);

// A rewrite: the body reads values that all iterations hand on unchanged from the graph around it instead
// (loops of TensorFlow carry their weights like that). A constant then is a constant in the body, too.
// `given`, `inside`: the first carried input of the node, and of the body; `made`: the first carried output
// of the body; `count`: how many are carried.
struct Carried {
  size_t given, inside, made, count;
};
bool read_from_outside(RewriteContext& c, const Carried& carried);

// The values of all iterations, one behind the other, along a new first dimension.
class Stack {
 public:
  void add(const Tensor& t);  // throws kShapeMismatch where `t` differs from the first
  bool empty() const { return count_ == 0; }
  // An empty stack takes type and dimensions of its elements from `dtype` and `dims`.
  Tensor finish(DType dtype, const Shape& dims);

 private:
  DType dtype_ = DType::kUndefined;
  Shape dims_;
  int64_t count_ = 0;
  size_t each_ = 0, room_ = 0;  // bytes
  std::shared_ptr<std::byte> bytes_;
  std::vector<std::string> strings_;
};

// Runs a body again and again. The outputs of the body from `first` on are the values that an iteration hands
// to the next, then the values that are stacked.
struct Iterations : BetweenContext::State {
  explicit Iterations(size_t first) : first(first) {}

  size_t first;
  int64_t done = 0;
  bool running = false;
  std::vector<Item> carried;
  std::vector<Stack> stacks;

  virtual bool goes_on() const = 0;  // to another iteration
  virtual void begin(BetweenContext& c, SubRun& body) = 0;
  virtual void end(BetweenContext& c, const SubRun& body);
  // The middle of OpDef::between: true when no iteration is left.
  bool run(BetweenContext& c, SubRun& body);
};

// An output of a body that never ran: its type and its shape, with 0 for unknown dimensions, as ONNX Runtime
// has it.
std::pair<DType, Shape> never_made(const BetweenContext& c, const Graph& body, size_t output);

// Elements of whole bytes; throws kUnsupportedType.
void require_bytes(const BetweenContext& c, size_t input, const Tensor& t);

// The tensor with dimension `axis` moved to the front, or the front moved to `axis`.
Tensor to_front(const Tensor& t, int axis);
Tensor from_front(const Tensor& t, int axis);
Tensor reversed(const Tensor& t);  // along dimension 0

}  // namespace zp
