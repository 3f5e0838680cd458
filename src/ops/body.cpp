#include "ops/body.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/movement/transpose.h"

namespace zp {

using Inferred = InferContext::Inferred;

std::vector<Inferred> infer_iterations(InferContext& c, std::vector<Inferred>& inputs, size_t given,
                                       size_t made, size_t count) {
  // What changes in the second round too may change in any way: then nothing is left that could.
  for (int round = 0;; ++round) {
    std::vector<Inferred> found = c.infer_subgraph(kBody, inputs);
    if (found.size() < made + count) {
      c.fail(ErrorCode::kInvalidModel,
             {"the body has ", found.size(), " outputs, and needs at least ", made + count});
    }
    bool stable = true;
    for (size_t i = 0; i < count; ++i) {
      Inferred& before = inputs[given + i];
      const Inferred& after = found[made + i];
      if (before.dtype == DType::kUndefined && after.dtype != DType::kUndefined) {
        before.dtype = after.dtype;
        stable = false;
      }
      if (after.dtype != DType::kUndefined && before.dtype != after.dtype) {
        c.fail(ErrorCode::kInvalidModel, {"the body makes ", name_of(after.dtype), " of its input ",
                                          given + i, ", which is ", name_of(before.dtype)});
      }
      std::optional<SymShape> both = common_shape(before.shape, after.shape);
      if (both == before.shape) continue;
      before.shape = std::move(both);
      stable = false;
    }
    if (stable) return found;
    if (round > 0)
      for (size_t i = 0; i < count; ++i) inputs[given + i].shape.reset();
  }
}

void Stack::add(const Tensor& t) {
  if (empty()) {
    dtype_ = t.dtype();
    dims_ = t.dims();
    each_ = t.bytes();
    if (t.dtype() != DType::kUndefined && t.size() * bits_of(t.dtype()) % 8 != 0)
      throw_error(ErrorCode::kUnsupportedType, {"iterations cannot give an odd number of ", name_of(dtype_)});
  }
  if (t.dtype() != dtype_ || t.dims() != dims_) {
    throw_error(ErrorCode::kShapeMismatch, {"an iteration gives ", name_of(t.dtype()), " ", t.dims(),
                                            ", those before it gave ", name_of(dtype_), " ", dims_});
  }
  if (dtype_ == DType::kString) {
    for (std::string& s : strings_of(t.view())) strings_.push_back(std::move(s));
  } else {
    const size_t filled = static_cast<size_t>(count_) * each_;
    if (filled + each_ > room_ || !bytes_) {
      room_ = std::max(2 * room_, filled + each_);
      std::shared_ptr<std::byte> larger = allocate_bytes(room_, Clear::kSlack);
      if (filled > 0) std::memcpy(larger.get(), bytes_.get(), filled);
      bytes_ = std::move(larger);
    }
    if (each_ > 0) std::memcpy(bytes_.get() + filled, t.raw(), each_);
  }
  ++count_;
}

Tensor Stack::finish(DType dtype, const Shape& dims) {
  Shape all = empty() ? dims : dims_;
  all.insert(all.begin(), count_);
  if (empty()) return {dtype, std::move(all)};
  if (dtype_ == DType::kString) return Tensor::of_strings(std::move(all), std::move(strings_));
  return {dtype_, std::move(all), std::move(bytes_)};
}

void Iterations::end(BetweenContext& c, const SubRun& body) {
  for (size_t i = 0; i < carried.size(); ++i) carried[i] = body.output(first + i);
  for (size_t i = 0; i < stacks.size(); ++i) {
    const Item item = body.output(first + carried.size() + i);
    if (!item.is_tensor()) c.fail(ErrorCode::kInvalidModel, "the body gives no tensor to stack");
    stacks[i].add(item.tensor);
  }
  ++done;
}

bool Iterations::run(BetweenContext& c, SubRun& body) {
  while (running || goes_on()) {
    if (!running) begin(c, body);
    running = true;
    if (!body.advance()) return false;
    end(c, body);
    running = false;
    if (c.late()) return false;
  }
  return true;
}

std::pair<DType, Shape> never_made(const BetweenContext& c, const Graph& body, size_t output) {
  const Value& v = body[body.outputs[output]];
  if (v.dtype == DType::kUndefined || v.kind != ValueKind::kTensor) {
    c.fail(ErrorCode::kInvalidModel,
           {"the body never runs, and nothing says of which type its output '", v.name, "' would be"});
  }
  Shape dims;
  if (v.shape)
    for (const Dim& d : *v.shape) dims.push_back(d.known() ? d.value() : 0);
  return {v.dtype, std::move(dims)};
}

void require_bytes(const BetweenContext& c, size_t input, const Tensor& t) {
  if (bits_of(t.dtype()) % 8 != 0)
    c.fail_input(input, ErrorCode::kUnsupportedType, {"input ", input, " is ", name_of(t.dtype())});
}

namespace {

Tensor turned(const Tensor& t, const std::vector<int>& order) {
  Shape dims;
  for (int d : order) dims.push_back(t.dims()[static_cast<size_t>(d)]);
  Tensor to(t.dtype(), std::move(dims));
  const auto bytes = static_cast<size_t>(bits_of(t.dtype()) / 8);
  if (t.size() > 0) kernels::transpose(t.raw(), to.mutable_raw(), t.dims(), order, bytes);
  // Strings have an owner of their own.
  return t.dtype() == DType::kString ? Tensor::copy_of(to.view()) : to;
}

std::vector<int> in_order(const Tensor& t) {
  std::vector<int> order;
  for (size_t d = 0; d < t.dims().size(); ++d) order.push_back(static_cast<int>(d));
  return order;
}

}  // namespace

Tensor to_front(const Tensor& t, int axis) {
  std::vector<int> order = in_order(t);
  std::rotate(order.begin(), order.begin() + axis, order.begin() + axis + 1);
  return turned(t, order);
}

Tensor from_front(const Tensor& t, int axis) {
  std::vector<int> order = in_order(t);
  std::rotate(order.begin(), order.begin() + 1, order.begin() + axis + 1);
  return turned(t, order);
}

Tensor reversed(const Tensor& t) {
  Tensor to(t.dtype(), t.dims());
  const auto count = static_cast<size_t>(t.dims()[0]);
  const size_t each = count > 0 ? t.bytes() / count : 0;
  for (size_t i = 0; i < count && each > 0; ++i)
    std::memcpy(to.mutable_raw() + i * each, t.raw() + (count - 1 - i) * each, each);
  return t.dtype() == DType::kString ? Tensor::copy_of(to.view()) : to;
}

}  // namespace zp
