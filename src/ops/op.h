// What an operator is. An operator lives in one file of ops/: that file fills an OpDef (its shape rule, how
// to prepare a kernel for given shapes and types, how it is quantized, how older or fused forms of it are
// brought to this one) and registers it. Nothing else has a list of operators, and nothing outside ops/ asks
// for an operator by its name.
//
//   namespace zp { namespace {
//   constexpr OpDef kTanh = {.name = "Tanh", .infer = infer_same, .prepare = prepare_tanh, .unary = true};
//   const RegisterOps kRegistered({&kTanh});
//   } }
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/error.h"
#include "core/function.h"
#include "core/item.h"
#include "core/parallel.h"
#include "core/tensor.h"
#include "core/text.h"
#include "graph/dim.h"
#include "graph/graph.h"
#include "ops/respell.h"

namespace zp {

// ---------------------------------------------------------------------------------------------------- shape
// rules

// What a shape rule sees. In a plan every input shape is known; when a model is only being inspected, shapes
// may be partly or wholly unknown, and the rule infers as much as it can.
class InferContext {
 public:
  virtual ~InferContext() = default;

  const Node& node() const { return *node_; }
  size_t inputs() const { return node_->inputs.size(); }
  size_t outputs() const { return node_->outputs.size(); }
  bool has_input(size_t i) const { return node_->input(i) != kNoValue; }
  bool has_output(size_t i) const { return node_->output(i) != kNoValue; }

  virtual DType dtype(size_t input) const = 0;
  virtual ValueKind kind(size_t) const { return ValueKind::kTensor; }
  virtual const SymShape* shape(size_t input) const = 0;   // nullptr: unknown
  virtual const Tensor* constant(size_t input) const = 0;  // nullptr: not known before the run
  // Like constant(), for values that decide a shape (the shape input of Reshape). In a plan, a value that
  // comes from a feed becomes part of the plan's key. Where only a run can know the value, the plan ends
  // before this node, and the remaining nodes are planned once the value is computed. When a model is only
  // being inspected, nullptr is possible: give the output no shape, or unknown dimensions.
  virtual const Tensor* shape_argument(size_t input) const = 0;
  // Infers a subgraph attribute that is given `inputs` (a branch is given none): type and shape of each of
  // its outputs.
  struct Inferred {
    DType dtype;
    std::optional<SymShape> shape;
    ValueKind kind = ValueKind::kTensor;
  };
  virtual std::vector<Inferred> infer_subgraph(std::string_view attribute,
                                               std::span<const Inferred> inputs) const = 0;

  void output(size_t i, DType dtype, SymShape shape) { set_output(i, dtype, std::move(shape), {}); }
  void output(size_t i, DType dtype) {
    set_output(i, dtype, std::nullopt, {});
  }  // not even the rank is known
  // Only tensors have a shape.
  void output(size_t i, const Inferred& found) {
    set_output(i, found.dtype, found.kind == ValueKind::kTensor ? found.shape : std::nullopt, {});
    set_kind(i, found.kind);
  }
  Inferred input(size_t i) const {
    return {dtype(i), shape(i) ? std::optional(*shape(i)) : std::nullopt, kind(i)};
  }
  // The output's value is known already (Shape, Size, ...).
  void output(size_t i, Tensor value) {
    SymShape shape = symbolic(value.dims());
    const DType dtype = value.dtype();
    set_output(i, dtype, std::move(shape), std::move(value));
  }

  // Shortcuts. rank(i): -1 when unknown. All throw errors that name the node.
  int rank(size_t input) const { return shape(input) ? static_cast<int>(shape(input)->size()) : -1; }
  int64_t ints(std::string_view key, int64_t fallback) const { return node_->int_attribute(key, fallback); }
  // Brings an axis in [-rank, rank) to [0, rank).
  int axis(int64_t axis, int rank) const;
  [[noreturn]] void fail(ErrorCode code, const Text& message, std::string_view hint = {}) const;
  [[noreturn]] void fail(ErrorCode code, const Text& message, const ErrorPlace& place) const;
  void require(bool condition, const Text& message) const {  // kShapeMismatch
    if (!condition) fail(ErrorCode::kShapeMismatch, message);
  }

 protected:
  explicit InferContext(const Node& node) : node_(&node) {}
  virtual void set_output(size_t i, DType dtype, std::optional<SymShape> shape,
                          std::optional<Tensor> value) = 0;
  virtual void set_kind(size_t, ValueKind) {}
  const Node* node_;
};

// ----------------------------------------------------------------------------------------------------
// kernels

// Order of dimensions in memory. Logical: as the model says (N, C, H, W). Channels last: (N, H, W, C); for
// any rank >= 3 dimension 1 comes last. Only the planner moves values from one to the other.
enum class Layout : uint8_t { kLogical, kChannelsLast };

// Which orders a node's kernel takes.
enum class LayoutRule : uint8_t {
  kLogical,  // logical only
  // Inputs and outputs all in one order, either of them; axes through PrepareContext::axis(). Values of fewer
  // than three dimensions have one order only; a broadcasting operator's operands of lower rank are extended
  // to the highest.
  kAny,
  kChannelsLast,     // channels last only (convolution, pooling): input 0 and output 0; other inputs logical
  kReadsAny,         // input 0 in either order, output logical (Transpose, Shape-like)
  kAllChannelsLast,  // channels last for every input and output of three or more dimensions (gradients of
                     // kernels that want channels last)
};

// A quantized edge: the Q or DQ next to an operator, absorbed into the operator's kernel. x = (q -
// zero_point) * scale.
struct EdgeQuant {
  DType dtype = DType::kUndefined;  // of the integers: kUint8, kInt8, kInt4, ... (kInt32 for a bias)
  Tensor scale;         // float32, of one element or per axis/block; undefined when known only at run time
  Tensor zero_point;    // of `dtype`, or undefined for 0 (or when known only at run time)
  int scale_slot = -1;  // RunContext input that holds a run-time scale (float32 scalar), or -1
  int zero_point_slot = -1;  // likewise, for the zero point
  int axis = 1;              // of a scale with more than one element, in logical order
  int64_t block_size = 0;    // along `axis`; 0: none

  bool at_run_time() const { return scale_slot >= 0; }
  bool per_tensor() const { return at_run_time() || scale.size() == 1; }
  float scalar_scale() const { return scale.floats()[0]; }
  int32_t scalar_zero_point() const {
    return zero_point.defined() ? static_cast<int32_t>(zero_point.integer_at(0)) : 0;
  }
  // One zero point for each element of `scale`.
  std::vector<int32_t> zero_points() const;
};

// A fused activation: min(max(y, lo), hi).
struct Clamp {
  float lo = -std::numeric_limits<float>::infinity();
  float hi = std::numeric_limits<float>::infinity();
  bool identity() const {
    return lo == -std::numeric_limits<float>::infinity() && hi == std::numeric_limits<float>::infinity();
  }
};

// A fault that a kernel found in values that only the run knows, such as a fed index. Kernels do not throw,
// and several threads may run in one kernel: each reports the fault and goes on with an allowed value. The
// plan throws when the step is over.
class RunFault {
 public:
  using Words = std::string (*)(int64_t value, int64_t limit);
  // Of several reports the error tells the one at the lowest `position` (an element of `input`, which has the
  // value), so that it does not depend on the number of threads.
  void report(size_t input, int64_t position, int64_t value, int64_t limit, Words words);
  // Throws kIndexOutOfRange with what was reported, if anything was.
  void check() const {
    if (words_) raise();
  }

 private:
  [[noreturn]] void raise() const;
  std::mutex mutex_;
  size_t input_ = 0;
  int64_t position_ = 0, value_ = 0, limit_ = 0;
  Words words_ = nullptr;
};

// What a kernel sees when it runs. Pointers are aligned to at least the element and over-readable by
// kReadSlack.
class RunContext {
 public:
  template <class T>
  const T* in(size_t i) const {
    return reinterpret_cast<const T*>(inputs[i]);
  }
  template <class T>
  T* out(size_t i) const {
    return reinterpret_cast<T*>(outputs[i]);
  }
  template <class T>
  T* scratch(size_t offset = 0) const {
    return reinterpret_cast<T*>(scratch_base + offset);
  }
  int threads() const { return pool ? pool->threads() : 1; }
  // body(task, thread); see ThreadPool::run.
  void parallel(int64_t tasks, FunctionRef<void(int64_t task, int thread)> body) const;
  // body(begin, end) over [0, count) in pieces of at least `grain`.
  void parallel_range(int64_t count, int64_t grain, FunctionRef<void(int64_t begin, int64_t end)> body) const;

  const std::byte* const* inputs =
      nullptr;  // as the node's inputs (nullptr where absent), then run-time scales
  std::byte* const* outputs = nullptr;
  std::byte* scratch_base = nullptr;  // PrepareContext::scratch() bytes, uninitialised, aligned to 64
  ThreadPool* pool = nullptr;
  RunFault* fault = nullptr;  // never null in a plan
};

using Kernel = UniqueFunction<void(const RunContext&)>;

// Packed weights and tables, made once and shared by all plans of a session. Internal to runtime/.
class PreparedCache {
 public:
  // A constant that an object was made from. `held`: the model holds it, whether or not the cache does.
  struct Source {
    Tensor tensor;
    bool held;
  };
  // The object that was made, and the bytes that it takes.
  struct Made {
    std::shared_ptr<const void> object;
    size_t bytes;
  };
  virtual ~PreparedCache() = default;
  // The object that was made for the same key from the same constants (compared by their elements); else
  // `make` makes it.
  virtual std::shared_ptr<const void> find_or_make(const std::string& key, std::span<const Source> sources,
                                                   FunctionRef<Made()> make) = 0;
};

// A subgraph made ready to run (the branches of If). It is planned when it first runs, so that a branch that
// does not fit and is never taken does no harm. run() gives pointers to its outputs, valid until the next
// run.
class SubPlan {
 public:
  virtual ~SubPlan() = default;
  virtual std::vector<TensorView> run(const std::vector<const std::byte*>& captured, ThreadPool* pool) = 0;
};

// A subgraph that an operator runs between plans, as often as it likes.
class SubRun {
 public:
  virtual ~SubRun() = default;
  virtual const Graph& graph() const = 0;
  // Starts a run with values for the subgraph's inputs. Captured values are there already.
  virtual void begin(std::vector<Item> inputs) = 0;
  // Goes on with it; false when the time is over. Then call it again.
  virtual bool advance() = 0;
  // After advance() gave true: an output of the subgraph, which owns what it holds.
  virtual Item output(size_t i) const = 0;
};

// What an operator between plans sees: whole values, and no kernel.
class BetweenContext {
 public:
  virtual ~BetweenContext() = default;

  const Node& node() const { return *node_; }
  bool has_input(size_t i) const { return node_->input(i) != kNoValue; }
  // Nothing where the input is absent.
  virtual Item in(size_t i) const = 0;
  // The input where it has to be a tensor, or a sequence. Throws kInvalidModel.
  Tensor tensor(size_t i) const;
  std::shared_ptr<const Sequence> sequence(size_t i) const;
  // An input of one int32, int64 or bool. Throws kShapeMismatch, kUnsupportedType.
  int64_t scalar(size_t i) const;
  virtual void give(size_t output, Item item) = 0;

  virtual SubRun& subgraph(std::string_view attribute) = 0;
  // The time of this call is over: return false soon.
  virtual bool late() const = 0;
  // What an operator keeps until its run is over; null when it begins.
  struct State {
    virtual ~State() = default;
  };
  std::unique_ptr<State> state;

  [[noreturn]] void fail(ErrorCode code, const Text& message, std::string_view hint = {}) const;
  [[noreturn]] void fail_input(size_t input, ErrorCode code, const Text& message) const;

 protected:
  explicit BetweenContext(const Node& node) : node_(&node) {}
  const Node* node_;
};

// What an operator sees when a kernel is prepared: every shape is known. Dimensions are PHYSICAL: of a value
// in channels last order, dims() are (N, H, W, C).
class PrepareContext {
 public:
  virtual ~PrepareContext() = default;

  const Node& node() const { return *node_; }
  size_t inputs() const { return node_->inputs.size(); }
  size_t outputs() const { return node_->outputs.size(); }
  bool has_input(size_t i) const { return node_->input(i) != kNoValue; }
  bool has_output(size_t i) const { return node_->output(i) != kNoValue; }

  // The element type in memory: of a quantized edge, that of the integers.
  virtual DType dtype(size_t input) const = 0;
  virtual const Shape& dims(size_t input) const = 0;
  virtual const Tensor* constant(
      size_t input) const = 0;  // in physical order, like dims(); nullptr: computed
  virtual Layout layout(size_t input) const = 0;
  virtual DType out_dtype(size_t output) const = 0;
  virtual const Shape& out_dims(size_t output) const = 0;
  virtual Layout out_layout(size_t output) const = 0;

  // The DQ absorbed from an input, the Q absorbed from output 0; nullptr where there is none.
  virtual const EdgeQuant* quant(size_t input) const = 0;
  virtual const EdgeQuant* out_quant() const = 0;
  // The activation fused into this node (only if OpDef::fuses_clamp).
  virtual Clamp clamp() const = 0;

  // Where logical axis `axis` (of a value with `rank` dimensions, in [-rank, rank)) is in memory, for the
  // order that input 0 (or, with of_output, output 0) has.
  int axis(int64_t axis, int rank) const;
  int threads() const { return threads_; }

  // Reserves bytes that the kernel gets as RunContext::scratch; the last call counts.
  void scratch(size_t bytes) { scratch_bytes_ = bytes; }
  // Output 0 may be written over this input, if nobody else needs it.
  void in_place(size_t input) { in_place_ = static_cast<int>(input); }
  // Output 0 is this input under other dimensions: no kernel runs; return {} after it.
  void alias(size_t input) { alias_ = static_cast<int>(input); }

  // Made once per session for `kind` and this node (operator, attributes, types, quantized edges, constants
  // with their dimensions), whatever the dimensions of its inputs: packed weights, tables. `make` returns a
  // std::shared_ptr<T>; the member `bytes` of T is its size in memory.
  template <class T, class Make>
  std::shared_ptr<const T> cached(std::string_view kind, Make&& make) const {
    return std::static_pointer_cast<const T>(
        cache_->find_or_make(cache_key(kind), cache_sources(), [&]() -> PreparedCache::Made {
          const std::shared_ptr<const T> made = make();
          return {made, made->bytes};
        }));
  }
  virtual std::shared_ptr<SubPlan> plan_subgraph(std::string_view attribute) const = 0;
  // The RunContext input that holds the first value that this subgraph captures; the others follow in order.
  virtual size_t capture_slot(std::string_view attribute) const = 0;

  [[noreturn]] void fail(ErrorCode code, const Text& message, std::string_view hint = {}) const;
  // About what is in an input.
  [[noreturn]] void fail_input(size_t input, ErrorCode code, const Text& message) const;

  size_t scratch_bytes() const { return scratch_bytes_; }
  int in_place_input() const { return in_place_; }
  int alias_input() const { return alias_; }

 protected:
  PrepareContext(const Node& node, PreparedCache* cache, int threads)
      : node_(&node), cache_(cache), threads_(threads) {}
  virtual std::string cache_key(std::string_view kind) const = 0;
  virtual std::vector<PreparedCache::Source> cache_sources() const = 0;
  const Node* node_;
  PreparedCache* cache_;
  int threads_;
  size_t scratch_bytes_ = 0;
  int in_place_ = -1, alias_ = -1;
};

// ----------------------------------------------------------------------------------------------------
// quantization

struct KnownRange;   // ops/known_range.h
class RangeContext;  // likewise

// How the schemes in quant/ treat an operator.
struct QuantRule {
  // A few positions of inputs: a vector that can be a constant.
  class Inputs {
   public:
    constexpr Inputs(std::initializer_list<int> inputs) : size_(static_cast<uint8_t>(inputs.size())) {
      std::copy(inputs.begin(), inputs.end(), at_.begin());
    }
    constexpr const int8_t* begin() const { return at_.data(); }
    constexpr const int8_t* end() const { return at_.data() + size_; }
    constexpr bool has(int input) const { return std::find(begin(), end(), input) != end(); }
    constexpr int first() const { return at_[0]; }
    constexpr bool all() const { return size_ == 1 && at_[0] < 0; }

   private:
    std::array<int8_t, 3> at_ = {};
    uint8_t size_;
  };
  enum class Kind : uint8_t {
    kFloat,      // keeps float inputs and outputs
    kProduct,    // integer products with a weight (Conv, Gemm, MatMul): worth quantizing for its own sake
    kSameScale,  // moves or selects values: output has the scale of input 0 (MaxPool, Reshape, Transpose,
                 // ...). With `integer` and all inputs data (Concat), inputs may have scales of their own
    kRescaled,   // has an integer form with an output scale of its own (Add, Mul, AveragePool, Sigmoid, ...)
  };
  Kind kind = Kind::kFloat;
  Inputs data = {0};   // inputs that are activations; {-1}: all of them
  int8_t weight = -1;  // kProduct: the input that is a weight when it is constant
  int8_t bias = -1;    // kProduct: quantized to int32 at scale s_x * s_w
  // kProduct: the dimension of the weight that counts output channels, and the one along which products are
  // summed (where 4-bit blocks run). Null: no per-channel or no blocked form.
  int (*channel_axis)(const Node& node, int weight_rank) = nullptr;
  int (*block_axis)(const Node& node, int weight_rank) = nullptr;
  // The dimensions before channel_axis have channels of their own (the directions of an LSTM).
  bool leading_channels = false;
  // kProduct: the dimension of the weight that counts input channels (of one group). Null: none does.
  int (*input_axis)(const Node& node, int weight_rank) = nullptr;
  // kProduct: the dimension of data input and output that counts channels; negative: from the end.
  int channel_dim = -1;
  // kSameScale: makes values between those of its input (Resize), which have to be rounded again.
  bool blends = false;
  // kRescaled: a sum, so that a constant operand is the bias of a product before it.
  bool sums = false;
  // kFloat: why, in words that a user reads ("Softmax needs more than 8 bits on its output").
  std::string_view why_float = "";
  // kSameScale: an input whose constant stands in the output beside the values of `data` (Pad's). -1: none.
  int8_t inserts = -1;
  // Why this very node stays float though its operator has a form for integers (a cubic Resize overshoots the
  // range of its input). Empty: it need not. Null: none has to.
  std::string_view (*why_not)(const InferContext&) = nullptr;
  // The range of output 0 that is known without samples: see ops/known_range.h. Null: for operators that
  // clamp or only move values it follows from the inputs; for others nothing is known.
  KnownRange (*range)(const RangeContext&) = nullptr;
  // The fate of an error that is large only beside small values: it stays so (kKept; kSameScale and products
  // do that too), it becomes large beside all values (in a logarithm), or neither.
  enum class OfSmall : uint8_t { kLost, kKept, kMagnified } of_small = OfSmall::kLost;
};

// How an operator behaves with float16 values (quant/half.h). `opsets` tells whether it takes them.
struct HalfRule {
  bool fine = false;  // small differences of large inputs count (Sin of an angle): inputs stay float32
  // The sum that it makes before its result is small again: of the numbers of a mean, or of squares before a
  // root. Runtimes may sum in float16, too.
  enum class Sum : uint8_t { kNone, kMean, kSquares };
  Sum sum = Sum::kNone;
  bool selects = false;  // gives elements of its inputs as they are
  bool scales = false;   // multiplies elements: a mask of 0 and 1 with the value of masked elements
  bool drowns = false;   // elements far below the others count for nothing (Softmax, attention)
  bool roots = false;    // its result of x is the root of x
  int8_t inverts = -1;   // the input that it divides by
};

// The inputs and attributes of a node that is being made.
class Ids {
 public:
  Ids(std::initializer_list<ValueId> ids) : begin_(ids.begin()), end_(ids.end()) {}
  Ids(const std::vector<ValueId>& ids) : begin_(ids.data()), end_(ids.data() + ids.size()) {}  // NOLINT
  const ValueId* begin() const { return begin_; }
  const ValueId* end() const { return end_; }

 private:
  const ValueId *begin_, *end_;
};
using NewAttributes = std::vector<std::pair<std::string, Attribute>>;

// Turns one node of the file into nodes of the in-memory form: older versions into opset kOpset, fused and
// QOperator nodes into Q/DQ. Nodes go to `nodes` in order; values may be added to `graph`.
struct Canonicalize {
  Graph& graph;
  Node node;
  int64_t version;  // of the node's domain in the file
  std::vector<Node> nodes;

  const SymShape* shape(size_t input) const;   // as inferred so far; nullptr: unknown
  const Tensor* constant(size_t input) const;  // nullptr: not a constant
  void keep() { nodes.push_back(node); }       // the node, as it now stands
  // Moves attribute `key` (an int list) to a constant int64 input at position `input`, if it is there.
  void attribute_to_input(std::string_view key, size_t input);
  ValueId constant_value(std::string_view name, Tensor tensor) {
    return graph.add_constant(name, std::move(tensor));
  }
  // A constant of the type that input 0 has, a float one.
  ValueId number(float value);
  // Adds `type`(inputs) with one new output, and returns that output.
  ValueId add(std::string_view type, Ids inputs);
  ValueId add(std::string_view type, Ids inputs, NewAttributes attributes, std::string_view domain = "");
  // The same, but with the original node's output 0 and name: the last node of an expansion.
  void finish(std::string_view type, Ids inputs);
  void finish(std::string_view type, Ids inputs, NewAttributes attributes, std::string_view domain = "");
  [[noreturn]] void fail(ErrorCode code, const Text& message, std::string_view hint = {}) const;
  // Throws NotKnownYet: a shape or a type is missing, which a run will know.
  [[noreturn]] void wait(const Text& message) const;
};

// A function of one element, spelled in operators for which more runtimes have integer kernels, with 8-bit
// pairs between them.
struct Pieces {
  // Rounding saturates the value at lo and hi; its readers see it times `factor`.
  struct Rounded {
    ValueId value;
    float lo, hi, factor;
    // The value that readers see in its place; kNoValue: itself.
    ValueId as = kNoValue;
  };
  Canonicalize to;  // the node, and the operators in its stead, in order
  std::vector<Rounded> rounded;
};

// Folds DQ -> op -> Q into one operator-format node (QLinearConv, MatMulInteger, MatMulNBits, ...) for files
// in that format. Inputs and output that are quantized are given as edges. Push the replacement to `nodes`
// and return true, or return false to leave the Q/DQ as they are. The last node must make `node.outputs[0]`,
// or `output->quantized`.
struct QuantizedEdge {
  ValueId quantized, scale, zero_point;  // zero_point may be kNoValue
  int axis;
  int64_t block_size;
  bool dynamic;  // made by a DynamicQuantizeLinear
};
struct Fold {
  Graph& graph;
  const Node& node;
  std::vector<std::optional<QuantizedEdge>> inputs;
  std::optional<QuantizedEdge> output;
  std::vector<Node> nodes;
  ValueId add(std::string_view type, Ids inputs);
  ValueId add(std::string_view type, Ids inputs, NewAttributes attributes, std::string_view domain = "");
};

// ---------------------------------------------------------------------------------------------------- the
// entry

// The operators that are the representation of quantization itself: the planner absorbs them into their
// neighbours, the schemes place them.
enum class QdqRole : uint8_t {
  kNone,
  kQuantize,
  kDequantize,
  kDynamicQuantize,
  kRound,  // float32 that stands for float16: only where a model is measured (runtime/prepare.h)
};

class Gradient;  // ops/gradient.h
struct Respell;  // ops/respell.h

struct OpDef {
  std::string_view domain = "";
  std::string_view name;
  // The names of the inputs, with a word for each. "B?" may be left out, "inputs*" (the last) is one or more
  // ("inputs*?": of which some may be left out), "pads:11" came with opset 11 (before, an attribute said it),
  // "axis<6" (the last) went with opset 6. Code that reads a node with an OpDef may rely on it:
  // check_inputs() refuses other nodes first. ONNX's own schemas are the judge, as of `opsets`.
  std::string_view inputs = "X";
  // Of ai.onnx: which opsets have the operator in the form that it has in memory, and since when. Words:
  //   "13cC"          since opset 13 with these types of input 0: f float32, d float64, h float16, b
  //   bfloat16,
  //                   c int8, s int16, i int32, l int64, C S I L the same unsigned, o bool, t string,
  //                   q Q int4 and uint4, p P int2 and uint2, j J k K float8e4m3fn, float8e4m3fnuz,
  //                   float8e5m2, float8e5m2fnuz, m float4e2m1, e float8e8m0; F for fdh, N for F and all 8 to
  //                   64 bit integers, A for N, o and t, G for jJkK. The first says since when there is the
  //                   operator at all, 7 for "always".
  //   "@1", "@o"      first of all: types are those of input 1, of the output
  //   "mode=DCR:11"   the attribute came with opset 11; before, it was as if it had this value (without "=":
  //   0;
  //                   with nothing behind it: none)
  //   "axis<0:11"     an attribute that may count from the back since opset 11
  // ONNX's own schemas are the judge: tools/conformance.mjs compares.
  std::string_view opsets = "";
  int since =
      1;  // the oldest version of the domain whose form `canonicalize` (or the kernel itself) understands

  // Which types the inputs have, a letter for each, the last for all that follow: T, U and V stand for any
  // one type, the same wherever the letter is; f: float32; i: int32 or int64; b: bool; *: any. Checked when a
  // model is read and where a plan is made; which types T can be, prepare() decides.
  std::string_view types = "T";
  // Gives every output a type and what is known of its shape.
  void (*infer)(InferContext&) = nullptr;
  // Chooses a kernel for concrete shapes, types, layouts, quantized edges. Null for operators that only
  // canonicalize.
  Kernel (*prepare)(PrepareContext&) = nullptr;
  // For operators whose output shapes are not known before they ran (Loop), and for operators of sequences
  // and optionals: runs the node, between the plan that makes its inputs and the plan that reads its outputs.
  // True: all outputs are given; false: time is over, and it is called again. With `prepare` too (Identity):
  // where an input is no tensor.
  bool (*between)(BetweenContext&) = nullptr;
  // Null: logical.
  LayoutRule (*layout)(const InferContext&) = nullptr;
  // With these quantized edges (PrepareContext::quant, out_quant), is there an integer kernel? Asked before
  // edges are absorbed. Null: none. Not asked of kSameScale operators whose edges agree, nor of `unary` ones:
  // see below.
  bool (*integer)(const PrepareContext&) = nullptr;

  // Works on each element of its one non-constant input alone and keeps type and shape, so that a table of
  // 256 entries serves as integer form. The planner makes that table by running the float kernel.
  bool unary = false;
  // Moves whole dimensions of input 0 and nothing else: where dimension `axis` of the output (of so many) is
  // in the input. Null: it does more, or less than that.
  int (*moved_axis)(const Node& node, int rank, int axis) = nullptr;
  bool homogeneous = false;  // works on each element alone, and f(s x) = s f(x) for positive s
  bool broadcasts =
      false;  // inputs broadcast like numpy's (layout kAny then extends lower ranks with leading ones)
  bool reads_bits = false;   // a float of another width would be another input: half precision stays
  bool fuses_clamp = false;  // prepare() honours PrepareContext::clamp()
  // This node as a clamp of its input (Relu, Clip with constant bounds), so that the node before can absorb
  // it.
  std::optional<Clamp> (*as_clamp)(const InferContext&) = nullptr;
  // Multiply-accumulates of one run, for what `inspect` and the reports show. Null: 0. Shapes may be unknown:
  // then 0.
  double (*macs)(const InferContext&) = nullptr;

  // Inputs that multiply and shift each channel (the last dimension) of output 0, last of all that is done to
  // it: a normalization's. A factor of the output can go into them when they are constants.
  int gamma = -1, beta = -1;
  // Inputs that training changes where they are constants, besides gamma, beta and inputs that `quant` names.
  QuantRule::Inputs weights = {}, biases = {};

  QuantRule quant = {};
  HalfRule half = {};
  QdqRole role = QdqRole::kNone;
  // Why ONNX Runtime 1.32 fails on this node in float16, though it has a kernel for it; empty: it does not.
  // (It casts for kernels that it does not have.) `readers`: of output 0.
  std::string_view (*fails_in_half)(const Graph& graph, const Node& node,
                                    const std::vector<const Node*>& readers) = nullptr;
  void (*canonicalize)(Canonicalize&) = nullptr;  // null: keep as it is
  // It becomes pieces, and runtimes that know it compute it faster as one: files for these runtimes keep it
  // whole (ops/fused.h). With `pieces_have_ranges` only where activations get no ranges: else its pieces are
  // quantized, and repairs put factors into them (a normalization's).
  bool fused = false, pieces_have_ranges = false;
  // Brings a node to the form of an older opset where `opsets` does not suffice. Null: it suffices.
  void (*respell)(Respell&) = nullptr;
  // Spells a node out in older operators, for files of opsets that do not have it. Leaves `nodes` empty where
  // that is not possible. Null: it never is.
  void (*expand)(Canonicalize&) = nullptr;
  bool (*fold)(Fold&) = nullptr;
  // Whether ONNX has no operators for what the node computes: files of every format then have the nodes that
  // `fold` makes. Null: ONNX always has some.
  bool (*unsayable)(const Node&) = nullptr;
  // For runtimes that have an integer kernel for the pieces but none for the operator. Null: there are no
  // such pieces.
  void (*pieces)(Pieces&) = nullptr;
  bool deterministic = true;  // false: never folded into a constant (RandomNormal)
  // The subgraph that stands for the node when input 0 is known (If); nullopt: none does.
  std::optional<std::string_view> (*taken)(const Tensor& input) = nullptr;
  // Adds the nodes that compute the gradients of the inputs from those of the outputs. Null: not
  // differentiable.
  void (*gradient)(Gradient&) = nullptr;

  bool runs() const { return prepare || between; }  // it does not only canonicalize
};

// Definitions are constants: the registry keeps their addresses.
class RegisterOps {
 public:
  explicit RegisterOps(std::initializer_list<const OpDef*> ops);
};

// What holds for both.
std::optional<SymShape> common_shape(const std::optional<SymShape>& a, const std::optional<SymShape>& b);

// nullptr when no file in ops/ handles the operator.
const OpDef* find_op(std::string_view domain, std::string_view name);
// The same, and nullptr where it does not handle this form of it (Node::refusal).
const OpDef* find_op(const Node& node);
QdqRole role_of(const Node& node);  // kNone: of other and of unknown operators
// Whether a run can compute the node, as far as that is known before shapes are.
bool may_run(const Node& node);
// find_op, or kUnsupportedOperator naming the node.
const OpDef& op_of(const Node& node);
std::vector<const OpDef*> all_ops();  // by domain and name

// Since which opset an operator takes `type` where OpDef::opsets lists types; nullopt: never, as far as the
// row says.
std::optional<int64_t> takes_since(const OpDef& def, DType type);

// The nodes in memory for a node of a file, in a version of its domain: see OpDef::canonicalize. There is one
// at least. Throws as check_inputs() does.
std::vector<Node> form_in_memory(const OpDef& def, Graph& graph, Node node, int64_t version);

// Thrown where a node cannot have its form in memory before more is known of its inputs.
class NotKnownYet : public Error {
 public:
  using Error::Error;
};

// Throws kInvalidModel, with the input's name, where a node leaves out an input that OpDef::inputs requires
// in this version of its domain, or has too many inputs.
void check_inputs(const OpDef& def, const Node& node, int64_t version = kOpset);
// The same, and where inputs have types that OpDef::types does not allow.
void check_inputs(const OpDef& def, const InferContext& c);

// Shape rules that many operators share.
void output_like(InferContext&, size_t output, size_t input);  // type and shape, as far as they are known
void infer_same(InferContext& c);                              // output 0 as input 0
void infer_broadcast(InferContext& c);  // numpy broadcast of all inputs, type of input 0
// layout rules
LayoutRule any_layout(const InferContext&);
LayoutRule channels_last(const InferContext&);
LayoutRule all_channels_last(const InferContext&);

// "logical -> physical" permutation of channels last order: (0, 2, ..., rank-1, 1).
std::vector<int> channels_last_order(int rank);
Shape to_channels_last(const Shape& logical);
Shape to_logical(const Shape& channels_last);

}  // namespace zp
