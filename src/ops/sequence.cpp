// Sequences of tensors: operators that make, change and read them. All of them run between plans, since only
// a run knows the shapes of the tensors in a sequence.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "ops/body.h"
#include "ops/op.h"

namespace zp {
namespace {

using Inferred = InferContext::Inferred;

constexpr std::string_view kWhyFloat = "a sequence, whose tensors only a run knows";

void give_sequence(InferContext& c, size_t i, DType dtype) {
  c.output(i, Inferred{dtype, std::nullopt, ValueKind::kSequence});
}

void require_sequence(const InferContext& c, size_t input) {
  // Only a run knows the kind of optionals and of the outputs of branches.
  if (c.kind(input) == ValueKind::kTensor && c.shape(input))
    c.fail(ErrorCode::kInvalidModel, {"input ", input, " is a tensor, not a sequence"});
}

void require_type(const BetweenContext& c, const Sequence& sequence, DType type) {
  if (!sequence.empty() && sequence[0].dtype() != type) {
    c.fail(ErrorCode::kInvalidModel,
           {"a tensor of ", name_of(type), " does not go into a sequence of ", name_of(sequence[0].dtype())});
  }
}

// Where input `i` points in a sequence of `count`, and, with `end`, behind it.
size_t position(const BetweenContext& c, size_t i, size_t count, bool end) {
  const int64_t at = c.scalar(i);
  const auto size = static_cast<int64_t>(count);
  if (at < -size || at >= size + (end ? 1 : 0)) {
    c.fail_input(i, ErrorCode::kIndexOutOfRange,
                 {"position ", at, " is outside a sequence of ", count, " tensors"});
  }
  return static_cast<size_t>(at < 0 ? at + size : at);
}

// ---- SequenceConstruct, SequenceEmpty

void infer_construct(InferContext& c) { give_sequence(c, 0, c.dtype(0)); }

bool construct(BetweenContext& c) {
  Sequence made;
  for (size_t i = 0; i < c.node().inputs.size(); ++i) {
    Tensor t = c.tensor(i);
    require_type(c, made, t.dtype());
    made.push_back(owned(t));
  }
  c.give(0, std::move(made));
  return true;
}

void infer_empty(InferContext& c) {
  give_sequence(c, 0, static_cast<DType>(c.ints("dtype", static_cast<int64_t>(DType::kFloat32))));
}

bool make_empty(BetweenContext& c) {
  c.give(0, Sequence());
  return true;
}

// ---- SequenceInsert, SequenceErase

void infer_changed(InferContext& c) {
  require_sequence(c, 0);
  give_sequence(c, 0, c.dtype(0));
}

bool insert(BetweenContext& c) {
  Sequence changed = *c.sequence(0);
  Tensor t = c.tensor(1);
  require_type(c, changed, t.dtype());
  const size_t at = c.has_input(2) ? position(c, 2, changed.size(), true) : changed.size();
  changed.insert(changed.begin() + static_cast<int64_t>(at), owned(t));
  c.give(0, std::move(changed));
  return true;
}

bool erase(BetweenContext& c) {
  Sequence changed = *c.sequence(0);
  if (changed.empty()) c.fail_input(0, ErrorCode::kIndexOutOfRange, "the sequence is empty");
  const size_t at = c.has_input(1) ? position(c, 1, changed.size(), false) : changed.size() - 1;
  changed.erase(changed.begin() + static_cast<int64_t>(at));
  c.give(0, std::move(changed));
  return true;
}

// ---- SequenceAt, SequenceLength

void infer_at(InferContext& c) {
  require_sequence(c, 0);
  c.output(0, c.dtype(0));
}

bool give_at(BetweenContext& c) {
  const auto sequence = c.sequence(0);
  c.give(0, (*sequence)[position(c, 1, sequence->size(), false)]);
  return true;
}

void infer_length(InferContext& c) {
  require_sequence(c, 0);
  c.output(0, DType::kInt64, {});
}

bool give_length(BetweenContext& c) {
  c.give(0, Tensor::scalar(static_cast<int64_t>(c.sequence(0)->size())));
  return true;
}

// ---- SplitToSequence

size_t axis_of(const BetweenContext& c, int64_t rank) {
  const int64_t axis = c.node().int_attribute("axis", 0);
  if (axis < -rank || axis >= rank)
    c.fail(ErrorCode::kShapeMismatch, {"axis ", axis, " is outside a tensor of ", rank, " dimensions"});
  return static_cast<size_t>(axis < 0 ? axis + rank : axis);
}

// The lengths of the parts.
std::vector<int64_t> parts_of(const BetweenContext& c, int64_t all) {
  const Tensor split = c.has_input(1) ? c.tensor(1) : Tensor();
  if (!split.defined() || split.dims().empty()) {
    const int64_t each = split.defined() ? c.scalar(1) : 1;
    if (each < 1) c.fail_input(1, ErrorCode::kInvalidModel, {"parts of ", each, " elements"});
    std::vector<int64_t> parts(static_cast<size_t>(all / each), each);
    if (all % each != 0) parts.push_back(all % each);
    return parts;
  }
  std::vector<int64_t> parts = split.integers();
  int64_t sum = 0;
  for (const int64_t part : parts) {
    if (part < 0 || part > all - sum)
      c.fail_input(1, ErrorCode::kShapeMismatch, {"the parts do not fit a dimension of ", all});
    sum += part;
  }
  if (sum != all)
    c.fail_input(1, ErrorCode::kShapeMismatch, {"the parts are ", sum, " long in all, the dimension ", all});
  return parts;
}

// Of rows of `row` bytes, those from `begin` on, `bytes` of each.
void copy_rows(const std::byte* from, size_t from_row, std::byte* to, size_t to_row, size_t bytes,
               int64_t rows) {
  for (int64_t r = 0; r < rows && bytes > 0; ++r)
    std::memcpy(to + static_cast<size_t>(r) * to_row, from + static_cast<size_t>(r) * from_row, bytes);
}

bool split(BetweenContext& c) {
  const Tensor in = c.tensor(0);
  require_bytes(c, 0, in);
  const size_t axis = axis_of(c, static_cast<int64_t>(in.dims().size()));
  const bool keep = c.has_input(1) || c.node().int_attribute("keepdims", 1) != 0;
  const std::span<const int64_t> dims = in.dims();
  const int64_t rows = element_count(dims.first(axis));
  const size_t each = bytes_of(in.dtype(), element_count(dims.subspan(axis + 1)));
  const size_t row = each * static_cast<size_t>(dims[axis]);
  Sequence made;
  const std::byte* from = in.raw();
  for (const int64_t part : parts_of(c, dims[axis])) {
    Shape shape = in.dims();
    shape[axis] = part;
    if (!keep) shape.erase(shape.begin() + static_cast<int64_t>(axis));
    Tensor t(in.dtype(), std::move(shape));
    const size_t bytes = each * static_cast<size_t>(part);
    copy_rows(from, row, t.mutable_raw(), bytes, bytes, rows);
    from += bytes;
    made.push_back(in.dtype() == DType::kString ? Tensor::copy_of(t.view()) : std::move(t));
  }
  c.give(0, std::move(made));
  return true;
}

// ---- ConcatFromSequence

void infer_concat(InferContext& c) {
  require_sequence(c, 0);
  c.output(0, c.dtype(0));
}

bool concat(BetweenContext& c) {
  const auto sequence = c.sequence(0);
  if (sequence->empty()) c.fail_input(0, ErrorCode::kShapeMismatch, "the sequence is empty");
  if (!c.node().attribute("axis")) c.fail(ErrorCode::kInvalidModel, "the attribute 'axis' is missing");
  const bool stack = c.node().int_attribute("new_axis", 0) != 0;
  const Tensor& first = (*sequence)[0];
  require_bytes(c, 0, first);
  const size_t axis = axis_of(c, static_cast<int64_t>(first.dims().size()) + (stack ? 1 : 0));
  Shape dims = first.dims();
  if (stack) dims.insert(dims.begin() + static_cast<int64_t>(axis), 1);
  Shape all = dims;
  all[axis] = 0;
  std::vector<int64_t> parts;
  for (const Tensor& t : *sequence) {
    Shape own = t.dims();
    if (stack && own == first.dims()) own = dims;
    bool fits = own.size() == dims.size() && t.dtype() == first.dtype();
    for (size_t d = 0; fits && d < dims.size(); ++d) fits = d == axis || own[d] == dims[d];
    if (!fits) {
      c.fail_input(0, ErrorCode::kShapeMismatch,
                   {"tensors of shapes ", first.dims(), " and ", t.dims(), " do not go together"});
    }
    parts.push_back(own[axis]);
    all[axis] += own[axis];
  }
  Tensor made(first.dtype(), all);
  const int64_t rows = element_count(std::span<const int64_t>(all).first(axis));
  const size_t each = bytes_of(made.dtype(), element_count(std::span<const int64_t>(all).subspan(axis + 1)));
  std::byte* to = made.mutable_raw();
  for (size_t i = 0; i < parts.size(); ++i) {
    const size_t bytes = each * static_cast<size_t>(parts[i]);
    copy_rows((*sequence)[i].raw(), bytes, to, each * static_cast<size_t>(all[axis]), bytes, rows);
    to += bytes;
  }
  c.give(0, made.dtype() == DType::kString ? Tensor::copy_of(made.view()) : std::move(made));
  return true;
}

// ---- SequenceMap: the body for each tensor of a sequence

void infer_map(InferContext& c) {
  require_sequence(c, 0);
  std::vector<Inferred> inputs;
  for (size_t i = 0; i < c.inputs(); ++i) {
    inputs.push_back(c.input(i));
    // An element of a sequence; the first input is one even where nothing says so.
    if (i > 0 && inputs.back().kind == ValueKind::kTensor) continue;
    inputs.back().kind = ValueKind::kTensor;
    inputs.back().shape.reset();
  }
  const std::vector<Inferred> found = c.infer_subgraph(kBody, inputs);
  if (found.size() < c.outputs()) {
    c.fail(ErrorCode::kInvalidModel, {"the body has ", found.size(), " outputs, the node ", c.outputs()});
  }
  for (size_t i = 0; i < c.outputs(); ++i) give_sequence(c, i, found[i].dtype);
}

struct Mapped : BetweenContext::State {
  size_t done = 0;
  bool running = false;
  std::vector<Sequence> made;
};

bool map(BetweenContext& c) {
  SubRun& body = c.subgraph(kBody);
  const size_t count = c.sequence(0)->size(), outputs = c.node().outputs.size();
  if (!c.state) {
    if (body.graph().inputs.size() != c.node().inputs.size() || body.graph().outputs.size() < outputs)
      c.fail(ErrorCode::kInvalidModel, "the inputs and outputs of the body do not fit the node");
    auto start = std::make_unique<Mapped>();
    start->made.resize(outputs);
    c.state = std::move(start);
  }
  auto& s = static_cast<Mapped&>(*c.state);
  while (s.done < count) {
    if (!s.running) {
      std::vector<Item> inputs;
      for (size_t i = 0; i < c.node().inputs.size(); ++i) {
        Item item = c.in(i);
        if (item.is_sequence()) {
          if (item.sequence->size() != count) {
            c.fail_input(i, ErrorCode::kShapeMismatch,
                         {"input ", i, " has ", item.sequence->size(), " tensors, input 0 has ", count});
          }
          item = (*item.sequence)[s.done];
        }
        inputs.push_back(std::move(item));
      }
      body.begin(std::move(inputs));
      s.running = true;
    }
    if (!body.advance()) return false;
    for (size_t i = 0; i < outputs; ++i) {
      const Item item = body.output(i);
      if (!item.is_tensor()) c.fail(ErrorCode::kInvalidModel, {"output ", i, " of the body is no tensor"});
      s.made[i].push_back(item.tensor);
    }
    ++s.done;
    s.running = false;
    if (c.late()) return false;
  }
  for (size_t i = 0; i < outputs; ++i) c.give(i, std::move(s.made[i]));
  return true;
}

constexpr OpDef sequence_op(std::string_view name, std::string_view inputs, std::string_view opsets,
                            void (*infer)(InferContext&), bool (*between)(BetweenContext&)) {
  return {.name = name,
          .inputs = inputs,
          .opsets = opsets,
          .types = "*",
          .infer = infer,
          .between = between,
          .quant = {.why_float = kWhyFloat}};
}

constexpr OpDef kConstruct = sequence_op("SequenceConstruct", "inputs*", "11A", infer_construct, construct);
constexpr OpDef kEmpty = sequence_op("SequenceEmpty", "", "@o 11", infer_empty, make_empty);
constexpr OpDef kInsert =
    sequence_op("SequenceInsert", "input_sequence tensor position?", "@1 11A", infer_changed, insert);
constexpr OpDef kErase =
    sequence_op("SequenceErase", "input_sequence position?", "@1 11il", infer_changed, erase);
constexpr OpDef kAt = sequence_op("SequenceAt", "input_sequence position", "@1 11il", infer_at, give_at);
constexpr OpDef kLength = sequence_op("SequenceLength", "input_sequence", "11", infer_length, give_length);
constexpr OpDef kSplit = sequence_op("SplitToSequence", "input split?", "11A 24b", infer_construct, split);
constexpr OpDef kConcat = sequence_op("ConcatFromSequence", "input_sequence", "@o 11A", infer_concat, concat);
constexpr OpDef kMap = sequence_op("SequenceMap", "input_sequence additional_inputs*?", "17", infer_map, map);
const RegisterOps kRegistered({&kConstruct, &kEmpty, &kInsert, &kErase, &kAt, &kLength, &kSplit, &kConcat,
                               &kMap});

}  // namespace
}  // namespace zp
