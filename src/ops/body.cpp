#include "ops/body.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/movement/transpose.h"

namespace zp {

using Inferred = InferContext::Inferred;

namespace {

// The value that `v` is, behind nodes of the graph that hand it on.
ValueId handed_on(const Graph& graph, ValueId v) {
  for (bool more = true; more;) {
    more = false;
    for (const Node& n : graph.nodes)
      if (n.is("Identity") && n.outputs[0] == v) v = n.inputs[0], more = true;
  }
  return v;
}

}  // namespace

bool read_from_outside(RewriteContext& c, const Carried& carried) {
  const auto* sub = std::get_if<std::shared_ptr<Graph>>(c.node().attribute(kBody));
  if (!sub || !*sub || (*sub)->inputs.size() < carried.inside + carried.count ||
      (*sub)->outputs.size() < carried.made + carried.count)
    return false;
  const Graph& before = **sub;
  std::vector<bool> same(carried.count, false);
  for (size_t i = 0; i < carried.count; ++i) {
    const ValueId inside = before.inputs[carried.inside + i], v = c.node().input(carried.given + i);
    same[i] = v != kNoValue && before[inside].kind == ValueKind::kTensor &&
              c.graph[v].kind == ValueKind::kTensor &&
              handed_on(before, before.outputs[carried.made + i]) == inside;
  }
  if (std::none_of(same.begin(), same.end(), [](bool s) { return s; })) return false;
  auto body = std::make_shared<Graph>(clone(before));
  Node node = c.node();
  std::vector<Node> nodes;
  for (size_t i = carried.count; i-- > 0;) {
    if (!same[i]) continue;
    const auto at = [i](auto& list, size_t first) {
      return list.begin() + static_cast<std::ptrdiff_t>(first + i);
    };
    const ValueId outer = *at(node.inputs, carried.given), inner = *at(body->inputs, carried.inside);
    body->inputs.erase(at(body->inputs, carried.inside));
    body->outputs.erase(at(body->outputs, carried.made));
    node.inputs.erase(at(node.inputs, carried.given));
    // Captures go by their names in files.
    const std::string& name = c.graph[outer].name;
    const ValueId taken = body->find(name);
    if (taken != kNoValue && taken != inner &&
        std::none_of(body->captures.begin(), body->captures.end(),
                     [&](const Capture& capture) { return capture.inner == taken; }))
      body->rename(taken, name + "_inside");
    (*body)[inner].name = name;
    body->captures.push_back({.outer = outer, .inner = inner});
    if (i >= node.outputs.size()) continue;
    if (node.outputs[i] != kNoValue) {
      Node given;
      given.op_type = "Identity";
      given.name = c.graph[node.outputs[i]].name + "_as_it_came";
      given.inputs = {outer};
      given.outputs = {node.outputs[i]};
      nodes.push_back(std::move(given));
    }
    node.outputs.erase(node.outputs.begin() + static_cast<std::ptrdiff_t>(i));
  }
  node.attributes[std::string(kBody)] = std::move(body);
  nodes.push_back(std::move(node));
  c.replace({c.at()}, std::move(nodes));
  return true;
}

std::vector<Inferred> infer_iterations(InferContext& c, std::vector<Inferred>& inputs, size_t given,
                                       size_t made, size_t count) {
  // Where shapes change in the second round, too, all become unknown: then nothing is left that can change.
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
           {"the body never runs, and the type of its output '", v.name, "' is not known"});
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

Tensor transposed(const Tensor& t, const std::vector<int>& order) {
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
  return transposed(t, order);
}

Tensor from_front(const Tensor& t, int axis) {
  std::vector<int> order = in_order(t);
  std::rotate(order.begin(), order.begin() + 1, order.begin() + axis + 1);
  return transposed(t, order);
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
