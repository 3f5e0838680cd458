#include "runtime/plan.h"

#include "core/stopwatch.h"
#include "runtime/assembler.h"
#include "runtime/between.h"
#include "runtime/layout.h"

namespace zp::runtime {
namespace {

Specialized lowered(const PlanRequest& request) {
  Specialized s = specialize(request);
  lower(s, request);
  return s;
}

}  // namespace

Plan::Plan(const PlanRequest& request) : Plan(lowered(request), request) {}

Plan::Plan(const Specialized& s, const PlanRequest& request) {
  Assembler(*this, s, request).run();
  place_arena(request.memory_limit);
  resolve();
  if (!rest_) return;
  for (const Node& node : rest_->between) between_.push_back(std::make_unique<Between>(node, rest_, request));
}

Plan::~Plan() = default;

int Plan::root(int b) const {
  while (buffers_[static_cast<size_t>(b)].alias_of >= 0) b = buffers_[static_cast<size_t>(b)].alias_of;
  return b;
}

const std::byte* Plan::address(int b) const {
  const int r = root(b);
  const Buffer& buffer = buffers_[static_cast<size_t>(r)];
  switch (buffer.place) {
    case Buffer::Place::kConstant:
      return buffer.constant.raw();
    case Buffer::Place::kFeed: {
      const auto it = feed_address_.find(r);
      return it == feed_address_.end() ? nullptr : it->second;
    }
    case Buffer::Place::kArena:
      return arena_.get() + buffer.offset;
  }
  return nullptr;
}

std::string_view Plan::name_of_value(ValueId v) const {
  return graph_ && v != kNoValue ? std::string_view((*graph_)[v].name) : std::string_view();
}

void Plan::resolve() {
  for (Step& step : steps_) {
    step.in.clear();
    step.out.clear();
    for (int b : step.inputs) step.in.push_back(b < 0 ? nullptr : address(b));
    for (int b : step.outputs) step.out.push_back(b < 0 ? nullptr : const_cast<std::byte*>(address(b)));
    step.scratch_address = step.scratch < 0 ? nullptr : const_cast<std::byte*>(address(step.scratch));
  }
}

void Plan::bind(const std::map<ValueId, Item>& feeds) {
  for (const auto& [id, item] : feeds) {
    const auto it = feed_buffer_.find(id);
    if (it != feed_buffer_.end()) feed_address_[it->second] = item.tensor.raw();
  }
  for (Step& step : steps_) {
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      const int b = step.inputs[i];
      if (b >= 0 && buffers_[static_cast<size_t>(root(b))].place == Buffer::Place::kFeed)
        step.in[i] = address(b);
    }
  }
}

double Plan::run_step(size_t i, ThreadPool* pool, double now) {
  Step& step = steps_[i];
  if (!step.run) return now;
  RunContext r;
  r.inputs = step.in.data();
  r.outputs = step.out.data();
  r.scratch_base = step.scratch_address;
  r.pool = pool;
  RunFault fault;
  r.fault = &fault;
  step.run(r);
  const double end = monotonic_milliseconds();
  step.milliseconds = end - now;
  try {
    fault.check();
  } catch (Error& e) {
    const int input = e.input() < 0 ? -1 : step.inputs[static_cast<size_t>(e.input())];
    e.add_details({.node = step.node,
                   .op = step.op,
                   .tensor = input < 0 ? std::string_view()
                                       : name_of_value(buffers_[static_cast<size_t>(input)].value)});
    throw;
  }
  return end;
}

TensorView Plan::view(ValueId id) const {
  const int b = made_.at(id);
  const Buffer& buffer = buffers_[static_cast<size_t>(b)];
  return {buffer.dtype, buffer.dims, address(b)};
}

Tensor Plan::kept(ValueId id) const {
  const int b = made_.at(id);
  const Buffer& from = buffers_[static_cast<size_t>(root(b))];
  if (from.place == Buffer::Place::kConstant)
    return from.constant.reshaped(buffers_[static_cast<size_t>(b)].dims);
  return Tensor::copy_of(view(id));
}

ValueId Plan::feed_of(ValueId id) const {
  const Buffer& from = buffers_[static_cast<size_t>(root(made_.at(id)))];
  return from.place == Buffer::Place::kFeed ? from.value : kNoValue;
}

Tensor Plan::tapped(ValueId id) const {
  const int b = value_buffer_.at(id);
  const Buffer& buffer = buffers_[static_cast<size_t>(b)];
  // Not owned: valid until the next step overwrites it, which is what a tap needs.
  const Tensor here(buffer.dtype, buffer.dims,
                    std::shared_ptr<const std::byte>(std::shared_ptr<void>(), address(b)));
  return buffer.layout == Layout::kChannelsLast ? reordered(here, Layout::kLogical) : here;
}

}  // namespace zp::runtime
