// Gradients. An operator that can be trained through says in its own file (OpDef::gradient) how the gradients
// of its inputs follow from those of its outputs, by adding nodes: ordinary operators, and where those would
// be slow or clumsy, kernels of the domain kOwn. train/backward.h chains them: the result is a graph like any
// other, which the runtime plans and runs.
//
// Shapes that only a run knows reach the added nodes through Shape nodes, which cost nothing in a plan.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ops/op.h"

namespace zp {

// Operators that exist in training graphs only and are never written to files.
inline constexpr std::string_view kOwn = "zeropoint";

class Gradient {
 public:
  Gradient(Graph& graph, Node node, std::vector<ValueId> dy, std::vector<bool> wanted)
      : graph(graph), node(std::move(node)), dy_(std::move(dy)), wanted_(std::move(wanted)) {
    given_.assign(this->node.inputs.size(), kNoValue);
  }

  Graph& graph;
  const Node node;  // whose gradient it is

  // The gradient of an output; kNoValue where the loss does not depend on it.
  ValueId dy(size_t output = 0) const { return output < dy_.size() ? dy_[output] : kNoValue; }
  bool wanted(size_t input) const { return input < wanted_.size() && wanted_[input]; }
  ValueId in(size_t i) const { return node.input(i); }
  ValueId out(size_t i = 0) const { return node.output(i); }
  // Dimensions of an input. Throws kUnsupportedOperator where not even their number is known.
  int rank(size_t input) const { return rank_of(in(input)); }
  int rank_of(ValueId v) const;
  // An axis attribute, brought to [0, rank of input 0).
  int64_t axis(std::string_view key, int64_t fallback) const;

  NewAttributes attributes() const;  // those of the node

  // Adds a node with one new output (or, with add_node, as many as asked for), and infers it.
  ValueId add(std::string_view type, Ids inputs);
  ValueId add(std::string_view type, Ids inputs, NewAttributes attributes, std::string_view domain = "");
  ValueId own(std::string_view type, Ids inputs, NewAttributes attributes = {});
  std::vector<ValueId> add_node(std::string_view type, Ids inputs, size_t outputs,
                                NewAttributes attributes = {}, std::string_view domain = "");
  // Adds the nodes of a formula, "Mul(dy, Sub(a, 1))", and gives its value. Names with parentheses are
  // operators; a, b, ... are the inputs; y is output 0 and dy its gradient; p, q, ... are the values `given`;
  // digits are scalars. A string takes a fraction of the code that calls would take.
  ValueId formula(std::string_view text, Ids given = {});
  ValueId scalar(float value);
  ValueId integers(std::vector<int64_t> values);
  ValueId shape_of(ValueId v) { return add("Shape", {v}); }
  // Elements of a value, as a float scalar.
  ValueId count_of(ValueId v);
  // `d` with the dimensions of `like`: the gradient of a step that only changed dimensions.
  ValueId reshaped_like(ValueId d, ValueId like) { return add("Reshape", {d, shape_of(like)}); }
  // The sum of `d` over the dimensions along which `like` was broadcast to it.
  ValueId summed_to(ValueId d, ValueId like);

  // The gradient of an input. Gradients of an input that occurs twice are added up.
  void give(size_t input, ValueId d) { given_[input] = d; }
  void give_summed(size_t input, ValueId d) { give(input, summed_to(d, in(input))); }
  // Gives each input that is wanted its formula (if there is one), summed where the input was broadcast.
  void give_formulas(std::initializer_list<std::string_view> formulas, Ids given = {});
  const std::vector<ValueId>& given() const { return given_; }

  [[noreturn]] void fail(const Text& message) const;

 private:
  std::vector<ValueId> dy_;
  std::vector<bool> wanted_;
  std::vector<ValueId> given_;
};

// For an operator that only moves values of input 0: runs it on their positions, and sums dy at these.
// `padding` is the input that fills places where no value was moved to, if there is one.
void give_moved(Gradient& g, int padding = -1);

// Shape rule of operators with one output like input 0, whose shape is the value of input `shape`.
void infer_as_given(InferContext& c, size_t shape);

// ---- derivatives of functions of one element, where formulas would be slow

// d = kDerivative(v, dy, a, b) for each element.
using Derivatives = void (*)(const float* v, const float* dy, float* d, int64_t count, float a, float b);

template <float (*kDerivative)(float, float, float, float)>
void derivatives(const float* v, const float* dy, float* d, int64_t count, float a, float b) {
  for (int64_t i = 0; i < count; ++i) d[i] = kDerivative(v[i], dy[i], a, b);
}

// Input 0 gets them, where v is the operator's input or (of_output) its output.
void give_derivative(Gradient& g, Derivatives function, bool of_output, float a = 0, float b = 0);

// That of a clamp to [lo, hi]. Of the output, so that the clamp can still be fused into the operator before
// it.
void give_clamp_derivative(Gradient& g, float lo, float hi);

}  // namespace zp
