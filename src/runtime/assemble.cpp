// From nodes to steps: the order of each value's dimensions in memory, a kernel for each node, and one arena
// in which values whose lifetimes do not meet share memory.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numeric>

#include "core/sort.h"
#include "core/stopwatch.h"
#include "kernels/elementwise/table.h"
#include "kernels/movement/transpose.h"
#include "runtime/cache.h"
#include "runtime/plan.h"
#include "runtime/runner.h"

namespace zp::runtime {
namespace {

using kernels::kTableSize;

// Channels last and logical order are the same bytes.
bool orders_agree(const Shape& logical) {
  if (logical.size() < 3) return true;
  return logical[1] == 1 || std::all_of(logical.begin() + 2, logical.end(), [](int64_t d) { return d == 1; });
}

Shape physical(const Shape& logical, Layout layout) {
  return layout == Layout::kChannelsLast ? to_channels_last(logical) : logical;
}

std::vector<int> order_to(Layout layout, int rank) {
  if (layout == Layout::kChannelsLast) return channels_last_order(rank);
  std::vector<int> perm(static_cast<size_t>(rank));  // (N, spatial..., C) back to (N, C, spatial...)
  perm[0] = 0;
  perm[1] = rank - 1;
  for (int i = 2; i < rank; ++i) perm[static_cast<size_t>(i)] = i - 1;
  return perm;
}

size_t element_bytes(DType type) { return std::max<size_t>(1, static_cast<size_t>(bits_of(type)) / 8); }

Tensor reordered(const Tensor& t, Layout to) {
  const Shape dims = to == Layout::kChannelsLast ? to_channels_last(t.dims()) : to_logical(t.dims());
  if (t.dims().size() < 3) return t;
  Tensor out(t.dtype(), dims);
  const std::vector<int> perm = order_to(to, static_cast<int>(t.dims().size()));
  kernels::transpose(t.raw(), out.mutable_raw(), t.dims(), perm, element_bytes(t.dtype()));
  return t.dtype() == DType::kString ? Tensor::copy_of(out.view()) : out;
}

Shape extended(const Shape& dims, size_t rank) {
  Shape wide(rank - dims.size(), 1);
  wide.insert(wide.end(), dims.begin(), dims.end());
  return wide;
}

// An attribute for a key: what no two different ones share.
std::string text_of(const Attribute& attribute) {
  const auto list = [](const auto& values, auto&& text) {
    std::string all = "[";
    for (const auto& v : values) all += text(v) + ",";
    return all + "]";
  };
  const auto number = [](float v) { return std::to_string(std::bit_cast<uint32_t>(v)); };
  const auto string = [](const std::string& v) { return std::to_string(v.size()) + ":" + v; };
  return std::visit(
      [&]<class T>(const T& v) -> std::string {
        if constexpr (std::is_same_v<T, int64_t>) return std::to_string(v);
        if constexpr (std::is_same_v<T, float>) return number(v);
        if constexpr (std::is_same_v<T, std::string>) return string(v);
        if constexpr (std::is_same_v<T, std::vector<float>>) return list(v, number);
        if constexpr (std::is_same_v<T, std::vector<std::string>>) return list(v, string);
        if constexpr (std::is_same_v<T, std::vector<int64_t>>)
          return list(v, [](int64_t i) { return std::to_string(i); });
        // Tensors and graphs: what lives in one place is one thing, and the model outlives the cache.
        if constexpr (std::is_same_v<T, Tensor>)
          return std::to_string(reinterpret_cast<uintptr_t>(v.raw())) + to_string(v.dims());
        if constexpr (std::is_same_v<T, std::shared_ptr<Graph>>)
          return std::to_string(reinterpret_cast<uintptr_t>(v.get()));
        if constexpr (std::is_same_v<T, RawAttribute>) return string(v.message);
        return {};
      },
      attribute);
}

[[noreturn]] void throw_too_large(uint64_t bytes) {
  throw_error(ErrorCode::kOutOfMemory,
              {"the model needs more than ", bytes >> 20, " MiB of working memory for these shapes"},
              {.hint = "use a smaller input or batch"});
}

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

// ---- a subgraph made ready

namespace {

class GraphSubPlan : public SubPlan {
 public:
  explicit GraphSubPlan(const PlanRequest& request) : graph_(request.graph), runner_(request) {
    for (const auto& [id, feed] : request.feeds) types_[id] = {feed.dtype, feed.dims};
  }

  std::vector<TensorView> run(const std::vector<const std::byte*>& captured, ThreadPool* pool) override {
    std::map<ValueId, Tensor> feeds;
    for (size_t i = 0; i < graph_->captures.size() && i < captured.size(); ++i) {
      const ValueId id = graph_->captures[i].inner;
      const auto& [dtype, dims] = types_.at(id);
      feeds[id] = {dtype, dims, std::shared_ptr<const std::byte>(std::shared_ptr<void>(), captured[i])};
    }
    runner_.begin(std::move(feeds));
    Runner::Tap none;
    runner_.advance(pool, none, [] { return false; });
    std::vector<TensorView> outputs;
    for (ValueId v : graph_->outputs) outputs.push_back(runner_.output(v));
    return outputs;
  }

 private:
  std::shared_ptr<const Graph> graph_;
  std::map<ValueId, std::pair<DType, Shape>> types_;  // of what it captures
  Runner runner_;
};

}  // namespace

// ---- what an operator sees

namespace {

struct NodeIo {
  std::vector<const Buffer*> in;  // nullptr: absent
  std::vector<const Buffer*> out;
};

class NodeContext : public PrepareContext {
 public:
  NodeContext(const PlanNode& n, NodeIo io, const std::vector<PlanValue>& values, const PlanRequest& request)
      : PrepareContext(n.node, request.cache, request.threads),
        n_(n),
        io_(std::move(io)),
        values_(values),
        request_(request) {}

  DType dtype(size_t i) const override {
    return i < io_.in.size() && io_.in[i] ? io_.in[i]->dtype : DType::kUndefined;
  }
  const Shape& dims(size_t i) const override {
    if (i >= io_.in.size() || !io_.in[i]) fail(ErrorCode::kInvalidModel, {"input ", i, " is missing"});
    return io_.in[i]->dims;
  }
  const Tensor* constant(size_t i) const override {
    if (i >= io_.in.size() || !io_.in[i] || io_.in[i]->place != Buffer::Place::kConstant) return nullptr;
    return &io_.in[i]->constant;
  }
  Layout layout(size_t i) const override {
    return i < io_.in.size() && io_.in[i] ? io_.in[i]->layout : Layout::kLogical;
  }
  DType out_dtype(size_t i) const override { return io_.out.at(i)->dtype; }
  const Shape& out_dims(size_t i) const override { return io_.out.at(i)->dims; }
  Layout out_layout(size_t i) const override { return io_.out.at(i)->layout; }
  const EdgeQuant* quant(size_t i) const override {
    return i < n_.in_quant.size() && n_.in_quant[i] ? &*n_.in_quant[i] : nullptr;
  }
  const EdgeQuant* out_quant() const override { return n_.out_quant ? &*n_.out_quant : nullptr; }
  Clamp clamp() const override { return n_.clamp; }
  std::shared_ptr<SubPlan> plan_subgraph(std::string_view attribute) const override {
    return std::make_shared<GraphSubPlan>(subgraph_request(request_, values_, n_.node, attribute));
  }
  size_t capture_slot(std::string_view attribute) const override {
    return n_.capture_slots.find(attribute)->second;
  }

 protected:
  std::string cache_key(std::string_view kind) const override {
    std::string key = n_.node.domain + "." + n_.node.op_type + "/" + std::string(kind);
    for (const auto& [name, value] : n_.node.attributes) key += "/" + name + "=" + text_of(value);
    for (size_t i = 0; i < io_.in.size(); ++i) {
      const Buffer* b = io_.in[i];
      key += "/" + std::to_string(i);
      if (!b) continue;
      key += std::string(name_of(b->dtype)) + std::to_string(b->dims.size());
      if (b->place == Buffer::Place::kConstant)
        key += (b->layout == Layout::kChannelsLast ? "c" : "l") + to_string(b->dims);
      if (const EdgeQuant* q = quant(i)) {
        key += "q" + std::string(name_of(q->dtype)) + std::to_string(q->axis) + "," +
               std::to_string(q->block_size) +
               (q->at_run_time()          ? "r"
                : q->zero_point.defined() ? "z"
                                          : "s");
      }
    }
    return key;
  }
  std::vector<PreparedCache::Source> cache_sources() const override {
    std::vector<PreparedCache::Source> sources;
    for (size_t i = 0; i < io_.in.size(); ++i) {
      const Buffer* b = io_.in[i];
      if (b && b->place == Buffer::Place::kConstant) {
        // Not the buffer's own tensor, which may be a copy in another order.
        const PlanValue* v = b->value == kNoValue ? nullptr : &values_[static_cast<size_t>(b->value)];
        sources.push_back({v && v->constant ? *v->constant : b->constant, v && v->from_file});
      }
      const EdgeQuant* q = quant(i);
      if (q && q->scale.defined()) sources.push_back({q->scale, false});
      if (q && q->zero_point.defined()) sources.push_back({q->zero_point, false});
    }
    return sources;
  }

 private:
  const PlanNode& n_;
  NodeIo io_;
  const std::vector<PlanValue>& values_;
  const PlanRequest& request_;
};

}  // namespace

// ---- assembly

class Assembler {
 public:
  Assembler(Plan& plan, const Specialized& s, const PlanRequest& request)
      : plan_(plan), s_(s), request_(request) {}

  void run() {
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

 private:
  const PlanValue& value(ValueId v) const { return s_.values[static_cast<size_t>(v)]; }
  Buffer& buffer(int b) { return plan_.buffers_[static_cast<size_t>(b)]; }
  int& slot(ValueId v, Layout layout) {
    return by_layout_[static_cast<size_t>(v)][layout == Layout::kChannelsLast ? 1 : 0];
  }

  int add_buffer(Buffer::Place place, ValueId v, Layout layout) {
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

  int add_alias(int of, Shape dims, Layout layout, ValueId v) {
    Buffer b = buffer(of);
    b.alias_of = of;
    if (b.place == Buffer::Place::kConstant) b.constant = b.constant.reshaped(dims);
    b.dims = std::move(dims);
    b.layout = layout;
    b.value = v;
    plan_.buffers_.push_back(std::move(b));
    return static_cast<int>(plan_.buffers_.size()) - 1;
  }

  // A buffer of `v` in the order asked for; a step that reorders is added when there is none.
  int get(ValueId v, Layout layout) {
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

  void add_reorder(int source, int target, Layout layout) {
    const Buffer& from = buffer(source);
    const auto plan = std::make_shared<kernels::TransposePlan>(
        from.dims, order_to(layout, static_cast<int>(from.dims.size())), element_bytes(from.dtype));
    Step step;
    step.op = layout == Layout::kLogical ? "to logical order" : "to channels last";
    step.kernel_name = name_of(from.dtype);
    step.inputs = {source};
    step.outputs = {target};
    step.run = [plan](const RunContext& r) {
      const int64_t grain = std::max<int64_t>(1, 65536 / std::max<int64_t>(1, plan->outer_bytes()));
      r.parallel_range(plan->outer(), grain, [&](int64_t begin, int64_t end) {
        plan->run(r.in<std::byte>(0), r.out<std::byte>(0), begin, end);
      });
    };
    plan_.steps_.push_back(std::move(step));
  }

  // An operand of a broadcasting operator in channels last order, that has fewer dimensions than the others.
  int get_extended(ValueId v, size_t rank) {
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

  // Whichever order the value is already in.
  int get_any(ValueId v) {
    const int last = slot(v, Layout::kChannelsLast);
    return slot(v, Layout::kLogical) < 0 && last >= 0 ? last : get(v, Layout::kLogical);
  }

  static size_t rank_of(const PlanValue& v) { return v.dims.size(); }

  // Whether a value of a kAny node has the order that is chosen for it.
  bool follows_order(const PlanNode& n, ValueId v, size_t rank) const {
    return n.def->broadcasts ? rank_of(value(v)) == rank : rank_of(value(v)) >= 3;
  }

  // For an operator that takes either order: that in which most of its bytes already are.
  Layout choose(const PlanNode& n, size_t rank) {
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

  void add_node(const PlanNode& n) {
    LayoutRule rule = LayoutRule::kLogical;
    if (!n.table.empty()) {
      rule = LayoutRule::kAny;
    } else if (n.def->layout) {
      PlanInferContext context(n.node, s_.values);
      rule = n.def->layout(context);
    }
    size_t rank = 0;
    for (const std::vector<ValueId>* list : {&n.node.inputs, &n.node.outputs})
      for (ValueId v : *list)
        if (v != kNoValue) rank = std::max(rank, rank_of(value(v)));
    Layout any = Layout::kLogical;
    if (rank >= 3 && rule == LayoutRule::kAny) any = choose(n, rank);
    if (rank >= 3 && rule == LayoutRule::kAllChannelsLast) any = Layout::kChannelsLast;

    Step step;
    step.node = n.node.name;
    step.op = n.node.op_type;
    for (size_t i = 0; i < n.node.inputs.size(); ++i) {
      const ValueId v = n.node.inputs[i];
      int b = -1;
      if (v != kNoValue) {
        if (any == Layout::kChannelsLast && follows_order(n, v, rank)) {
          b = get(v, Layout::kChannelsLast);
        } else if (any == Layout::kChannelsLast && n.def->broadcasts && rank_of(value(v)) > 0) {
          b = get_extended(v, rank);
        } else if (rule == LayoutRule::kChannelsLast && i == 0) {
          b = get(v, Layout::kChannelsLast);
        } else if (rule == LayoutRule::kReadsAny && i == 0) {
          b = get_any(v);
        } else {
          b = get(v, Layout::kLogical);
        }
      }
      step.inputs.push_back(b);
    }
    for (ValueId v : n.extra_inputs) step.inputs.push_back(get(v, Layout::kLogical));
    for (ValueId v : n.node.outputs) {
      if (v == kNoValue) {
        step.outputs.push_back(-1);
        continue;
      }
      const bool last =
          (any == Layout::kChannelsLast && follows_order(n, v, rank)) || rule == LayoutRule::kChannelsLast;
      step.outputs.push_back(
          add_buffer(Buffer::Place::kArena, v, last ? Layout::kChannelsLast : Layout::kLogical));
    }

    const auto buffer_or_null = [&](int b) { return b < 0 ? nullptr : &buffer(b); };
    // Before a kernel makes its tables for what no memory will hold.
    for (int b : step.outputs)
      if (b >= 0 && request_.memory_limit > 0 && buffer(b).bytes() > request_.memory_limit)
        throw_too_large(buffer(b).bytes());
    NodeIo io;
    for (size_t i = 0; i < n.node.inputs.size(); ++i) io.in.push_back(buffer_or_null(step.inputs[i]));
    for (int b : step.outputs) io.out.push_back(buffer_or_null(b));
    step.kernel_name = kernel_name(n, io.in.empty() || !io.in[0] ? DType::kUndefined : io.in[0]->dtype,
                                   io.out.empty() || !io.out[0] ? DType::kUndefined : io.out[0]->dtype);
    if (!n.table.empty()) {
      step.run = table_kernel(n, io);
    } else {
      NodeContext context(n, std::move(io), s_.values, request_);
      step.run = n.def->prepare(context);
      if (context.alias_input() >= 0) {
        const int of = step.inputs[static_cast<size_t>(context.alias_input())];
        Buffer& out = buffer(step.outputs[0]);
        out.alias_of = of;
        out.place = buffer(of).place;
        if (out.place == Buffer::Place::kConstant) out.constant = buffer(of).constant.reshaped(out.dims);
        step.run = nullptr;
      } else {
        if (!step.run) throw_error(ErrorCode::kInternal, "the operator prepared no kernel");
        if (context.in_place_input() >= 0) in_place_[plan_.steps_.size()] = context.in_place_input();
        if (context.scratch_bytes() > 0) step.scratch = add_scratch(context.scratch_bytes());
      }
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

  void tap(ValueId v, int b) {
    if (!s_.taps.contains(v)) return;
    plan_.value_buffer_[v] = b;
    Step step;
    step.op = "tap";
    step.inputs = {b};
    step.taps = {v};
    plan_.steps_.push_back(std::move(step));
  }

  int add_scratch(size_t bytes) {
    Buffer b;
    b.dtype = DType::kUint8;
    b.dims = {static_cast<int64_t>(bytes)};
    plan_.buffers_.push_back(std::move(b));
    return static_cast<int>(plan_.buffers_.size()) - 1;
  }

  // What the functions make of each of the 256 values that the quantized input can have.
  Kernel table_kernel(const PlanNode& n, const NodeIo& io) {
    const EdgeQuant& in = *n.in_quant[0];
    const EdgeQuant& out = *n.out_quant;
    Tensor x(DType::kFloat32, {static_cast<int64_t>(kTableSize)});
    const float in_scale = in.scalar_scale();
    const int32_t in_zero = in.scalar_zero_point();
    for (size_t i = 0; i < kTableSize; ++i) {
      const int32_t q = in.dtype == DType::kInt8 ? static_cast<int8_t>(i) : static_cast<int32_t>(i);
      x.mutable_data<float>()[i] = static_cast<float>(q - in_zero) * in_scale;
    }
    for (const TableStep& f : n.table) {
      PlanNode plain;
      plain.node = f.node;
      plain.def = f.def;
      plain.clamp = f.clamp;
      plain.in_quant.resize(f.node.inputs.size());
      // A number may be written with more dimensions than the 256 values have here.
      std::vector<Tensor> constants(f.node.inputs.size());
      std::vector<const Tensor*> inputs(f.node.inputs.size(), nullptr);
      for (size_t i = 0; i < inputs.size(); ++i) {
        if (i == f.input) {
          inputs[i] = &x;
        } else if (const ValueId v = f.node.inputs[i]; v != kNoValue) {
          const Tensor& constant = *s_.values[static_cast<size_t>(v)].constant;
          constants[i] = f.def->broadcasts && constant.size() == 1 ? constant.reshaped({1}) : constant;
          inputs[i] = &constants[i];
        }
      }
      const PlanValue result{
          .dtype = DType::kFloat32, .dims = x.dims(), .known = true, .constant = {}, .content = {}};
      std::vector<Tensor> y = evaluate(plain, inputs, {result});
      x = std::move(y[0]);
    }
    const float out_scale = out.scalar_scale();
    const auto out_zero = static_cast<float>(out.scalar_zero_point());
    const IntegerRange range = integer_range(out.dtype);
    std::array<uint8_t, kTableSize> table;
    for (size_t i = 0; i < kTableSize; ++i) {
      const float q = std::nearbyint(x.data<float>()[i] / out_scale) + out_zero;
      // The bound first: of NaN it is the result, as QuantizeLinear's.
      const float clamped =
          std::min(std::max(static_cast<float>(range.min), q), static_cast<float>(range.max));
      table[i] = static_cast<uint8_t>(static_cast<int32_t>(clamped));
    }
    const int64_t count = element_count(io.out[0]->dims);
    return [table, count](const RunContext& r) {
      r.parallel_range(count, 16384, [&](int64_t begin, int64_t end) {
        kernels::look_up(table.data(), r.in<uint8_t>(0) + begin, r.out<uint8_t>(0) + begin,
                         static_cast<size_t>(end - begin));
      });
    };
  }

  int root(int b) const { return plan_.root(b); }

  // Buffers live from the step that writes them to the last that reads them; in-place outputs take their
  // input's memory.
  void find_lifetimes() {
    const int end = static_cast<int>(plan_.steps_.size());
    const auto extend = [&](int b, int step) {
      Buffer& r = buffer(root(b));
      if (r.first < 0) r.first = step;
      r.last = std::max(r.last, step);
    };
    for (int s = 0; s < end; ++s) {
      const Step& step = plan_.steps_[static_cast<size_t>(s)];
      for (int b : step.outputs)
        if (b >= 0) extend(b, s);
      for (int b : step.inputs)
        if (b >= 0) extend(b, s);
      if (step.scratch >= 0) extend(step.scratch, s);
    }
    for (const auto& [v, b] : plan_.made_) extend(b, end);

    for (const auto& [at, input] : in_place_) {
      const Step& step = plan_.steps_[at];
      const int in = step.inputs[static_cast<size_t>(input)], out = step.outputs[0];
      const int in_root = root(in);
      Buffer& from = buffer(in_root);
      Buffer& to = buffer(out);
      bool alone = from.place == Buffer::Place::kArena && from.last == static_cast<int>(at) &&
                   to.alias_of < 0 && to.bytes() <= from.bytes() && buffer(in).bytes() == to.bytes();
      for (size_t i = 0; i < step.inputs.size(); ++i) {
        const int b = step.inputs[i];
        alone = alone && (b < 0 || b == in || root(b) != in_root);
      }
      if (!alone) continue;
      to.alias_of = in;
      from.last = to.last;
    }
  }

  Plan& plan_;
  const Specialized& s_;
  const PlanRequest& request_;
  std::vector<std::array<int, 2>> by_layout_;  // by value: buffer in logical, in channels last order
  std::map<size_t, int> in_place_;             // by step: the input that output 0 may overwrite
};

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
}

int Plan::root(int b) const {
  while (buffers_[static_cast<size_t>(b)].alias_of >= 0) b = buffers_[static_cast<size_t>(b)].alias_of;
  return b;
}

// Greedy by size: the largest first, each at the lowest offset where no buffer with a meeting lifetime is
// (Pisarchyk & Lee 2020, "Efficient Memory Management for Deep Neural Net Inference").
void Plan::place_arena(size_t limit) {
  struct Block {
    int buffer;
    uint64_t size;  // 64 bits also where size_t has 32: sums are checked before they are used
  };
  std::vector<Block> blocks;
  for (size_t i = 0; i < buffers_.size(); ++i) {
    const Buffer& b = buffers_[i];
    if (b.place != Buffer::Place::kArena || b.alias_of >= 0 || b.first < 0) continue;
    const uint64_t size = (uint64_t{b.bytes()} + Tensor::kReadSlack + 63) / 64 * 64;
    blocks.push_back({static_cast<int>(i), size});
  }
  sort_small(blocks, [](const Block& a, const Block& b) {
    return a.size != b.size ? a.size > b.size : a.buffer < b.buffer;
  });
  const uint64_t most = std::min<uint64_t>(limit > 0 ? limit : SIZE_MAX, SIZE_MAX - 2 * Tensor::kReadSlack);
  std::vector<Block> placed;  // by offset
  for (const Block& block : blocks) {
    Buffer& b = buffers_[static_cast<size_t>(block.buffer)];
    uint64_t offset = 0;
    for (const Block& other : placed) {
      const Buffer& o = buffers_[static_cast<size_t>(other.buffer)];
      if (o.last < b.first || b.last < o.first) continue;
      if (offset + block.size <= o.offset) break;
      offset = std::max(offset, o.offset + other.size);
    }
    if (offset + block.size > most) {
      throw_too_large(offset + block.size);
    }
    b.offset = static_cast<size_t>(offset);
    arena_bytes_ = std::max(arena_bytes_, static_cast<size_t>(offset + block.size));
    const auto at =
        std::upper_bound(placed.begin(), placed.end(), offset, [&](uint64_t value, const Block& p) {
          return value < buffers_[static_cast<size_t>(p.buffer)].offset;
        });
    placed.insert(at, block);
  }
  arena_ = allocate_bytes(arena_bytes_);
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

void Plan::bind(const std::map<ValueId, const std::byte*>& feeds) {
  for (const auto& [id, data] : feeds) {
    const auto it = feed_buffer_.find(id);
    if (it != feed_buffer_.end()) feed_address_[it->second] = data;
  }
  for (Step& step : steps_) {
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      const int b = step.inputs[i];
      if (b >= 0 && buffers_[static_cast<size_t>(root(b))].place == Buffer::Place::kFeed)
        step.in[i] = address(b);
    }
  }
}

void Plan::run_step(size_t i, ThreadPool* pool) {
  Step& step = steps_[i];
  if (!step.run) return;
  const Stopwatch watch;
  RunContext r;
  r.inputs = step.in.data();
  r.outputs = step.out.data();
  r.scratch_base = step.scratch_address;
  r.pool = pool;
  RunFault fault;
  r.fault = &fault;
  step.run(r);
  step.milliseconds = watch.milliseconds();
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

Tensor Plan::tapped(ValueId id) const {
  const int b = value_buffer_.at(id);
  const Buffer& buffer = buffers_[static_cast<size_t>(b)];
  // Not owned: valid until the next step overwrites it, which is what a tap needs.
  const Tensor here(buffer.dtype, buffer.dims,
                    std::shared_ptr<const std::byte>(std::shared_ptr<void>(), address(b)));
  return buffer.layout == Layout::kChannelsLast ? reordered(here, Layout::kLogical) : here;
}

std::vector<Tensor> evaluate(const PlanNode& node, const std::vector<const Tensor*>& inputs,
                             const std::vector<PlanValue>& outputs) {
  // A graph of one node, whose inputs are fed.
  Specialized s;
  PlanNode n = node;
  PlanRequest request;
  NoCache cache;
  request.cache = &cache;
  const auto add = [&](PlanValue value) {
    s.values.push_back(std::move(value));
    return static_cast<ValueId>(s.values.size()) - 1;
  };
  n.node.inputs.clear();
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i]) {
      n.node.inputs.push_back(kNoValue);
      continue;
    }
    PlanValue value{.dtype = inputs[i]->dtype(),
                    .dims = inputs[i]->dims(),
                    .known = true,
                    .constant = *inputs[i],
                    .content = {}};
    const ValueId v = add(std::move(value));
    n.node.inputs.push_back(v);
  }
  n.node.outputs.clear();
  for (const PlanValue& value : outputs) {
    if (!value.known) {
      n.node.outputs.push_back(kNoValue);
      continue;
    }
    const ValueId v =
        add({.dtype = value.dtype, .dims = value.dims, .known = true, .constant = {}, .content = {}});
    n.node.outputs.push_back(v);
    s.outputs.push_back(v);
  }
  s.nodes.push_back(std::move(n));
  Plan plan(s, request);
  for (size_t i = 0; i < plan.steps().size(); ++i) plan.run_step(i, nullptr);
  std::vector<Tensor> results;
  size_t next = 0;
  for (const PlanValue& value : outputs)
    results.push_back(value.known ? plan.kept(s.outputs[next++]) : Tensor());
  return results;
}

}  // namespace zp::runtime
