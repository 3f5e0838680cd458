// From nodes to steps: a kernel for each node, its inputs in the order of dimensions that it wants.
#include <algorithm>
#include <string>
#include <utility>

#include "core/error.h"
#include "runtime/assembler.h"
#include "runtime/layout.h"

namespace zp::runtime {
namespace {

std::string kernel_name(const PlanNode& n, DType in, DType out) {
  if (!n.table.empty()) return "table";
  const bool quantized = n.out_quant || std::any_of(n.in_quant.begin(), n.in_quant.end(),
                                                    [](const auto& q) { return q.has_value(); });
  if (quantized) {
    const bool activations = n.in_quant.empty() || n.in_quant[0].has_value();
    return activations ? "int8"
                       : "float32 x " + std::string(name_of(n.in_quant[1] ? n.in_quant[1]->dtype : in));
  }
  return std::string(name_of(in == DType::kUndefined ? out : in));
}

}  // namespace

void Assembler::run() {
  by_layout_.resize(s_.values.size(), {-1, -1});
  plan_.rest_ = s_.rest;
  plan_.graph_ = s_.graph;
  for (ValueId v : s_.inputs) {
    const int b = add_buffer(Buffer::Place::kFeed, v, Layout::kLogical);
    plan_.feed_buffer_[v] = b;
    tap(v, b);
  }
  for (ValueId v : s_.taps)
    if (value(v).constant && !value(v).from_file) tap(v, get(v, Layout::kLogical));
  for (const PlanNode& n : s_.nodes) {
    try {
      add_node(n);
    } catch (Error& e) {
      const int input = e.input();
      e.add_details({.node = n.node.name,
                     .op = qualified_name(n.node) + "-" + std::to_string(kOpset),
                     .tensor = input < 0 ? std::string_view()
                                         : plan_.name_of_value(n.node.input(static_cast<size_t>(input)))});
      throw;
    }
  }
  for (ValueId v : s_.outputs) plan_.made_[v] = get(v, Layout::kLogical);
  for (const Buffer& b : plan_.buffers_) {
    const bool own = b.value == kNoValue || !value(b.value).from_file;
    if (b.place == Buffer::Place::kConstant && b.alias_of < 0 && own) plan_.constant_bytes_ += b.bytes();
  }
  find_lifetimes();
}

int Assembler::add_buffer(Buffer::Place place, ValueId v, Layout layout) {
  const PlanValue& from = value(v);
  const bool ranked = from.dims.size() >= 3;
  Buffer b;
  b.place = place;
  b.value = v;
  b.dtype = from.dtype;
  b.layout = ranked ? layout : Layout::kLogical;
  b.dims = physical(from.dims, b.layout);
  plan_.buffers_.push_back(std::move(b));
  const int id = static_cast<int>(plan_.buffers_.size()) - 1;
  slot(v, plan_.buffers_.back().layout) = id;
  return id;
}

int Assembler::add_alias(int of, Shape dims, Layout layout, ValueId v) {
  Buffer b = buffer(of);
  b.alias_of = of;
  if (b.place == Buffer::Place::kConstant) b.constant = b.constant.reshaped(dims);
  b.dims = std::move(dims);
  b.layout = layout;
  b.value = v;
  plan_.buffers_.push_back(std::move(b));
  return static_cast<int>(plan_.buffers_.size()) - 1;
}

int Assembler::add_scratch(size_t bytes) {
  Buffer b;
  b.dtype = DType::kUint8;
  b.dims = {static_cast<int64_t>(bytes)};
  plan_.buffers_.push_back(std::move(b));
  return static_cast<int>(plan_.buffers_.size()) - 1;
}

void Assembler::add_node(const PlanNode& n) {
  const Orders orders = orders_of(n);
  Step step;
  step.node = n.node.name;
  step.op = n.node.op_type;
  for (size_t i = 0; i < n.node.inputs.size(); ++i) step.inputs.push_back(get_input(n, i, orders));
  for (ValueId v : n.extra_inputs) step.inputs.push_back(get(v, Layout::kLogical));
  for (ValueId v : n.node.outputs) {
    if (v == kNoValue) {
      step.outputs.push_back(-1);
      continue;
    }
    const bool last = (orders.any == Layout::kChannelsLast && follows_order(n, v, orders.rank)) ||
                      orders.rule == LayoutRule::kChannelsLast;
    step.outputs.push_back(
        add_buffer(Buffer::Place::kArena, v, last ? Layout::kChannelsLast : Layout::kLogical));
  }
  // Before a kernel makes its tables for what no memory will hold.
  for (int b : step.outputs)
    if (b >= 0 && request_.memory_limit > 0 && buffer(b).bytes() > request_.memory_limit)
      throw_too_large(buffer(b).bytes(), request_.memory_limit);
  NodeIo io;
  for (size_t i = 0; i < n.node.inputs.size(); ++i) io.in.push_back(buffer_or_null(step.inputs[i]));
  for (int b : step.outputs) io.out.push_back(buffer_or_null(b));
  step.kernel_name = kernel_name(n, io.in.empty() || !io.in[0] ? DType::kUndefined : io.in[0]->dtype,
                                 io.out.empty() || !io.out[0] ? DType::kUndefined : io.out[0]->dtype);
  if (is_empty_and_wide(step.outputs)) {
    step.run = [](const RunContext&) {};
  } else if (n.table.empty()) {
    prepare(n, std::move(io), step);
  } else {
    step.run = table_kernel(n, io);
  }
  for (size_t i = 0; i < n.node.outputs.size(); ++i) {
    const ValueId v = n.node.outputs[i];
    if (v != kNoValue && s_.taps.contains(v)) {
      step.taps.push_back(v);
      plan_.value_buffer_[v] = step.outputs[i];
    }
  }
  if (step.run || !step.taps.empty()) plan_.steps_.push_back(std::move(step));
}

// Results without elements, one of whose dimensions is so large that a kernel's table for each of its places
// (Pad, Resize) would take the memory that the result does not.
bool Assembler::is_empty_and_wide(const std::vector<int>& outputs) const {
  constexpr int64_t kWide = int64_t{1} << 20;
  bool wide = false;
  for (const int b : outputs) {
    if (b < 0) continue;
    const Shape& dims = plan_.buffers_[static_cast<size_t>(b)].dims;
    if (element_count(dims) > 0) return false;
    wide = wide || std::ranges::any_of(dims, [](int64_t d) { return d > kWide; });
  }
  return wide;
}

void Assembler::prepare(const PlanNode& n, NodeIo io, Step& step) {
  NodeContext context(n, std::move(io), s_.values, request_);
  step.run = n.def->prepare(context);
  if (context.alias_input() >= 0) {
    const int of = step.inputs[static_cast<size_t>(context.alias_input())];
    Buffer& out = buffer(step.outputs[0]);
    out.alias_of = of;
    out.place = buffer(of).place;
    if (out.place == Buffer::Place::kConstant) {
      const Tensor& t = buffer(of).constant;
      t.raw();  // storage() has what was read
      out.constant = t.dtype() == out.dtype ? t.reshaped(out.dims) : Tensor(out.dtype, out.dims, t.storage());
    }
    step.run = nullptr;
    return;
  }
  if (!step.run) throw_error(ErrorCode::kInternal, "the operator prepared no kernel");
  if (context.in_place_input() >= 0) in_place_[plan_.steps_.size()] = context.in_place_input();
  if (context.scratch_bytes() > 0) step.scratch = add_scratch(context.scratch_bytes());
}

void Assembler::tap(ValueId v, int b) {
  if (!s_.taps.contains(v)) return;
  plan_.value_buffer_[v] = b;
  Step step;
  step.op = "tap";
  step.inputs = {b};
  step.taps = {v};
  plan_.steps_.push_back(std::move(step));
}

}  // namespace zp::runtime
