#include <algorithm>
#include <memory>

#include "core/error.h"
#include "core/grain.h"
#include "kernels/movement/transpose.h"
#include "runtime/assembler.h"
#include "runtime/layout.h"

namespace zp::runtime {
namespace {

size_t rank_of(const PlanValue& v) { return v.dims.size(); }

}  // namespace

Assembler::Orders Assembler::orders_of(const PlanNode& n) {
  Orders orders;
  if (!n.table.empty()) {
    orders.rule = LayoutRule::kAny;
  } else if (n.def->layout) {
    PlanInferContext context(n.node, s_.values);
    orders.rule = n.def->layout(context);
  }
  bool packed = false;
  for (const std::vector<ValueId>* list : {&n.node.inputs, &n.node.outputs})
    for (ValueId v : *list)
      if (v != kNoValue) {
        orders.rank = std::max(orders.rank, rank_of(value(v)));
        const int bits = bits_of(value(v).dtype);
        packed = packed || (bits > 0 && bits < 8);
      }
  if (packed && orders.rule == LayoutRule::kAny) orders.rule = LayoutRule::kLogical;  // parts of bytes stay
  if (orders.rank >= 3 && orders.rule == LayoutRule::kAny) orders.any = choose(n, orders.rank);
  if (orders.rank >= 3 && orders.rule == LayoutRule::kAllChannelsLast) orders.any = Layout::kChannelsLast;
  return orders;
}

bool Assembler::follows_order(const PlanNode& n, ValueId v, size_t rank) const {
  return n.def->broadcasts ? rank_of(value(v)) == rank : rank_of(value(v)) >= 3;
}

Layout Assembler::choose(const PlanNode& n, size_t rank) {
  int64_t logical = 0, last = 0;
  bool seen_last = false;
  for (ValueId v : n.node.inputs) {
    if (v == kNoValue || value(v).constant || !follows_order(n, v, rank)) continue;
    const bool has_logical = slot(v, Layout::kLogical) >= 0, has_last = slot(v, Layout::kChannelsLast) >= 0;
    const int64_t size = orders_agree(value(v).dims) ? 0 : element_count(value(v).dims);
    seen_last = seen_last || has_last;
    if (has_logical && !has_last) logical += size;
    if (has_last) last += size;
  }
  if (last == 0 && logical == 0) return seen_last ? Layout::kChannelsLast : Layout::kLogical;
  return last >= logical && last > 0 ? Layout::kChannelsLast : Layout::kLogical;
}

int Assembler::get(ValueId v, Layout layout) {
  const PlanValue& from = value(v);
  if (from.dims.size() < 3) layout = Layout::kLogical;
  if (const int there = slot(v, layout); there >= 0) return there;
  if (from.constant) {
    const Tensor t = layout == Layout::kLogical ? *from.constant : reordered(*from.constant, layout);
    const int b = add_buffer(Buffer::Place::kConstant, v, layout);
    buffer(b).constant = t;
    return b;
  }
  const Layout other = layout == Layout::kLogical ? Layout::kChannelsLast : Layout::kLogical;
  const int source = slot(v, other);
  if (source < 0) throw_error(ErrorCode::kInternal, "a value is read before it is made");
  if (orders_agree(from.dims)) {
    const int b = add_alias(source, physical(from.dims, layout), layout, v);
    slot(v, layout) = b;
    return b;
  }
  const int b = add_buffer(Buffer::Place::kArena, v, layout);
  add_reorder(source, b, layout);
  return b;
}

int Assembler::get_any(ValueId v) {
  const int last = slot(v, Layout::kChannelsLast);
  return slot(v, Layout::kLogical) < 0 && last >= 0 ? last : get(v, Layout::kLogical);
}

int Assembler::get_extended(ValueId v, size_t rank) {
  const PlanValue& from = value(v);
  const Shape wide = extended(from.dims, rank);
  if (from.constant) {
    Buffer b;
    b.place = Buffer::Place::kConstant;
    b.value = v;
    b.dtype = from.dtype;
    b.layout = Layout::kChannelsLast;
    b.dims = to_channels_last(wide);
    b.constant = reordered(from.constant->reshaped(wide), Layout::kChannelsLast);
    plan_.buffers_.push_back(std::move(b));
    return static_cast<int>(plan_.buffers_.size()) - 1;
  }
  const int source = get(v, Layout::kLogical);
  const int logical = add_alias(source, wide, Layout::kLogical, v);
  if (orders_agree(wide)) return add_alias(logical, to_channels_last(wide), Layout::kChannelsLast, v);
  Buffer b = buffer(logical);
  b.alias_of = -1;
  b.place = Buffer::Place::kArena;
  b.dims = to_channels_last(wide);
  b.layout = Layout::kChannelsLast;
  plan_.buffers_.push_back(std::move(b));
  const int target = static_cast<int>(plan_.buffers_.size()) - 1;
  add_reorder(logical, target, Layout::kChannelsLast);
  return target;
}

int Assembler::get_input(const PlanNode& n, size_t i, const Orders& orders) {
  const ValueId v = n.node.inputs[i];
  if (v == kNoValue) return -1;
  if (orders.any == Layout::kChannelsLast) {
    if (follows_order(n, v, orders.rank)) return get(v, Layout::kChannelsLast);
    if (n.def->broadcasts && rank_of(value(v)) > 0) return get_extended(v, orders.rank);
  }
  if (orders.rule == LayoutRule::kChannelsLast && i == 0) return get(v, Layout::kChannelsLast);
  if (orders.rule == LayoutRule::kReadsAny && i == 0) return get_any(v);
  return get(v, Layout::kLogical);
}

void Assembler::add_reorder(int source, int target, Layout layout) {
  const Buffer& from = buffer(source);
  const auto plan = std::make_shared<kernels::TransposePlan>(
      from.dims, order_to(layout, static_cast<int>(from.dims.size())), bytes_of_element(from.dtype));
  Step step;
  step.op = layout == Layout::kLogical ? "to logical order" : "to channels last";
  step.kernel_name = name_of(from.dtype);
  step.inputs = {source};
  step.outputs = {target};
  step.run = [plan](const RunContext& r) {
    const int64_t grain = grain_for({.bytes = plan->outer_bytes()});
    r.parallel_range(plan->outer(), grain, [&](int64_t begin, int64_t end) {
      plan->run(r.in<std::byte>(0), r.out<std::byte>(0), begin, end);
    });
  };
  plan_.steps_.push_back(std::move(step));
}

}  // namespace zp::runtime
