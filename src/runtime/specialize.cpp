// Every shape becomes a number; nodes whose inputs are all known (Shape -> Slice -> Concat chains) are
// evaluated now. Where a shape follows from what only a run computes, the node is left for another plan, and
// so is everything behind it.
#include <algorithm>

#include "graph/subgraphs.h"
#include "ops/infer.h"
#include "runtime/plan.h"

namespace zp::runtime {
namespace {

// A constant that is larger than this is computed in the run, not kept beside the model.
constexpr int64_t kLargestFolded = int64_t{1} << 24;

// Feeds with more elements than this do not decide shapes through other values: the run
// computes those values, and a plan is made for the results.
constexpr int64_t kLargestShapeFeed = 64;

// Thrown by a rule's shape_argument(): the content of a value that the plan computes.
struct NeedsRun {
  ValueId value;
};

std::string op_with_version(const Node& node) { return qualified_name(node) + "-" + std::to_string(kOpset); }

void check_supported(const PlanNode& n) {
  if (n.def && n.def->runs()) return;
  if (const Refusal* refusal = n.node.refusal.get())
    throw_error(ErrorCode::kUnsupportedOperator, refusal->why, {.hint = refusal->hint});
  throw_error(ErrorCode::kUnsupportedOperator, {"operator ", qualified_name(n.node), " is not supported"});
}

// Work for a run, not for planning.
bool is_layer(const PlanNode& n) { return n.def->macs || !subgraphs(n.node).empty(); }

const std::shared_ptr<Graph>& subgraph_of(const Node& node, std::string_view attribute) {
  const Attribute* a = node.attribute(attribute);
  const auto* sub = a ? std::get_if<std::shared_ptr<Graph>>(a) : nullptr;
  if (!sub || !*sub) {
    throw_error(ErrorCode::kInvalidModel, {"subgraph '", attribute, "' is missing"},
                {.node = node.name, .op = qualified_name(node)});
  }
  return *sub;
}

class Specializer {
 public:
  explicit Specializer(const PlanRequest& request) : request_(request) {}

  Specialized run() {
    begin();
    while (!todo_.empty()) {
      Node node = std::move(todo_.back());
      todo_.pop_back();
      There least = There::kNow;
      for_each_read(node, [&](ValueId v) { least = std::max(least, there(v)); });
      if (least == There::kLater || (!put_between(node, least) && (least == There::kBetween || !add(node))))
        defer(std::move(node));
    }
    finish();
    return std::move(s_);
  }

 private:
  class Context : public PlanInferContext {
   public:
    Context(const Node& node, Specializer& s) : PlanInferContext(node, s.s_.values), specializer_(s) {}
    const Tensor* shape_argument(size_t i) const override {
      return has_input(i) ? specializer_.content_of(node_->inputs[i]) : nullptr;
    }
    std::vector<Inferred> infer_subgraph(std::string_view attribute,
                                         std::span<const Inferred>) const override {
      const PlanRequest inner =
          subgraph_request(specializer_.request_, specializer_.s_.values, *node_, attribute);
      const Specialized found = specialize(inner);
      std::vector<Inferred> outputs;
      for (ValueId v : inner.graph->outputs) {
        const PlanValue& value = found.values[static_cast<size_t>(v)];
        if (value.known) {
          outputs.push_back({value.dtype, symbolic(value.dims)});
        } else {
          outputs.push_back({(*inner.graph)[v].dtype, std::nullopt});
        }
      }
      return outputs;
    }

   protected:
    void set_output(size_t i, DType dtype, std::optional<SymShape> shape,
                    std::optional<Tensor> value) override {
      if (has_output(i)) specializer_.set(*this, node_->outputs[i], dtype, shape, std::move(value));
    }

   private:
    Specializer& specializer_;
  };

  // When a value is there, for those that read it.
  enum class There : uint8_t {
    kNow,      // in the plan
    kItem,     // it is fed and no tensor: for nodes between plans alone
    kBetween,  // when the plan is through: for nodes between plans alone
    kLater,    // for no node of this plan
  };
  There& there(ValueId v) { return there_[static_cast<size_t>(v)]; }
  PlanValue& value(ValueId v) { return s_.values[static_cast<size_t>(v)]; }
  const std::string& name(ValueId v) const { return (*s_.graph)[v].name; }

  void begin() {
    const Rest* after = request_.after.get();
    s_.graph = after ? after->graph : request_.graph;
    s_.taps = request_.taps;
    wanted_ = after ? after->outputs : s_.graph->outputs;
    todo_ = after ? after->nodes : s_.graph->nodes;
    std::reverse(todo_.begin(), todo_.end());
    if (after) {
      s_.values = after->values;
    } else {
      s_.values.resize(s_.graph->values.size());
      for (size_t i = 0; i < s_.values.size(); ++i) know_constant(i);
    }
    there_.assign(s_.values.size(), There::kNow);
    for (const auto& [id, feed] : request_.feeds) {
      if (!feed.tensor) {
        there(id) = There::kItem;
        continue;
      }
      PlanValue& v = value(id);
      v = {.dtype = feed.dtype, .dims = feed.dims, .known = true, .constant = {}, .content = {}};
      if (feed.constant) {
        v.constant = feed.content;
        v.from_content = true;
      } else {
        s_.inputs.push_back(id);
      }
    }
    producer_.assign(s_.values.size(), -1);
  }

  void know_constant(size_t i) {
    const std::optional<Tensor>& t = s_.graph->values[i].constant;
    if (t) {
      s_.values[i] = {.dtype = t->dtype(),
                      .dims = t->dims(),
                      .known = true,
                      .constant = t,
                      .from_file = true,
                      .content = {}};
    }
  }

  // Whether a node runs between this plan and the next. `least`: when all that it reads is there.
  bool put_between(const Node& node, There least) {
    const OpDef* def = find_op(node);
    if (!def || !def->between || (def->prepare && least != There::kItem)) return false;
    try {
      check_inputs(*def, node);
    } catch (Error& e) {
      e.add_details({.node = node.name, .op = op_with_version(node)});
      throw;
    }
    for (ValueId v : node.outputs)
      if (v != kNoValue) there(v) = There::kBetween;
    between_.push_back(node);
    return true;
  }

  // False: its shapes depend on what the run computes.
  bool add(Node& node) {
    PlanNode n;
    n.def = find_op(node);
    n.node = std::move(node);
    try {
      if (find_form(n.node)) return true;
      check_supported(n);
      if (splice(n)) return true;
      Context context(n.node, *this);
      for_each_read(n.node, [&](ValueId v) {
        if (there(v) == There::kItem) {
          throw_error(ErrorCode::kInvalidModel,
                      {"'", name(v), "' is not a tensor, and the operator takes tensors"},
                      {.tensor = name(v)});
        }
      });
      check_inputs(*n.def, context);
      n.def->infer(context);
      if (splice(n)) return true;  // the rule asked for the condition
      for (ValueId v : n.node.outputs) {
        if (v != kNoValue && !value(v).known) {
          throw_error(ErrorCode::kInvalidModel, "the operator does not give this output",
                      {.tensor = name(v)});
        }
      }
      if (fold(n)) return true;
    } catch (const NeedsRun& needs) {
      needs_.insert(needs.value);
      node = std::move(n.node);
      return false;
    } catch (Error& e) {
      const ValueId about = e.input() < 0 ? kNoValue : n.node.input(static_cast<size_t>(e.input()));
      e.add_details({.node = n.node.name,
                     .op = op_with_version(n.node),
                     .tensor = about == kNoValue ? std::string_view() : name(about)});
      throw;
    }
    for (const auto& [key, attribute] : n.node.attributes) {
      if (const auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute)) {
        n.capture_slots[key] = n.node.inputs.size() + n.extra_inputs.size();
        for (const Capture& c : (*sub)->captures) n.extra_inputs.push_back(c.outer);
      }
    }
    n.in_quant.resize(n.node.inputs.size());
    for (ValueId v : n.node.outputs)
      if (v != kNoValue) producer_[static_cast<size_t>(v)] = static_cast<int>(s_.nodes.size());
    s_.nodes.push_back(std::move(n));
    return true;
  }

  void defer(Node node) {
    for (ValueId v : node.outputs) {
      if (v == kNoValue) continue;
      there(v) = There::kLater;
      value(v) = {};  // a rule may have set one output before it asked
    }
    left_.push_back(std::move(node));
  }

  // A node whose condition is known: its branch takes its place.
  bool splice(const PlanNode& n) {
    if (!n.def->taken || n.node.input(0) == kNoValue) return false;
    const Tensor* condition = value(n.node.inputs[0]).known_content();
    const std::optional<std::string_view> branch = condition ? n.def->taken(*condition) : std::nullopt;
    if (!branch) return false;
    const Graph& body = *subgraph_of(n.node, *branch);
    if (body.outputs.size() != n.node.outputs.size()) {
      throw_error(ErrorCode::kInvalidModel,
                  {"a branch has ", body.outputs.size(), " outputs, the node ", n.node.outputs.size()});
    }
    put_in_place(n.node, spliced(own_graph(), n.node, body));
    return true;
  }

  // A node whose form in memory depends on what is known only now: the nodes of that form take its place.
  bool find_form(const Node& node) {
    if (!node.refusal || !node.refusal->waits) return false;
    Graph& graph = own_graph();
    for (ValueId v : node.inputs) {
      if (v == kNoValue || !value(v).known) continue;
      graph[v].dtype = value(v).dtype;
      graph[v].shape = symbolic(value(v).dims);
      if (value(v).constant && !value(v).from_content) graph[v].constant = value(v).constant;
    }
    Node free = node;
    free.refusal = nullptr;
    const OpDef& def = op_of(free);
    put_in_place(node, form_in_memory(def, graph, std::move(free), node.refusal->version));
    return true;
  }

  Graph& own_graph() {
    if (!own_graph_) {
      own_graph_ = std::make_shared<Graph>();
      own_graph_->values = s_.graph->values;
      s_.graph = own_graph_;
    }
    return *own_graph_;
  }

  // `nodes` are next, and make what `node` was to make. They may have values that the graph has got for them.
  void put_in_place(const Node& node, std::vector<Node> nodes) {
    const size_t before = s_.values.size();
    s_.values.resize(own_graph_->values.size());
    there_.resize(s_.values.size(), There::kNow);
    producer_.resize(s_.values.size(), -1);
    for (size_t i = before; i < s_.values.size(); ++i) {
      know_constant(i);
      if (node.refusal) s_.values[i].from_file = false;  // made for this plan
    }
    for (ValueId v : node.outputs)
      if (v != kNoValue) value(v) = {};
    todo_.insert(todo_.end(), std::make_move_iterator(nodes.rbegin()), std::make_move_iterator(nodes.rend()));
  }

  void set(const Context& c, ValueId id, DType dtype, const std::optional<SymShape>& shape,
           std::optional<Tensor> known) {
    const std::optional<Shape> dims = shape ? concrete(*shape) : std::nullopt;
    if (!dims) {
      c.fail(ErrorCode::kUnsupportedOperator, "the shape of the output cannot be known before the run",
             {.tensor = name(id)});
    }
    element_count(*dims);  // refuses what no memory can hold
    PlanValue& v = value(id);
    v.dtype = dtype;
    v.dims = *dims;
    v.known = true;
    if (known) {
      v.constant = std::move(known);
      v.from_content = follows_content(c.node());
    }
  }

  bool follows_content(const Node& node) {
    return std::any_of(node.inputs.begin(), node.inputs.end(),
                       [&](ValueId v) { return v != kNoValue && value(v).from_content; });
  }

  // Evaluates a node of constants. True: it need not run.
  bool fold(PlanNode& n) {
    bool known = true;  // the rule gave the values themselves (Shape)
    int64_t elements = 0;
    for (ValueId v : n.node.outputs) {
      if (v == kNoValue) continue;
      known = known && value(v).constant.has_value();
      elements += element_count(value(v).dims);
    }
    if (known && !n.node.outputs.empty()) return true;
    // A DQ of weights stays: the operator after it may want the integers.
    if (n.def->role != QdqRole::kNone || !n.def->deterministic || n.node.inputs.empty() ||
        !subgraphs(n.node).empty())
      return false;
    bool from_content = false;
    for (ValueId v : n.node.inputs) {
      if (v == kNoValue) continue;
      if (!value(v).constant) return false;
      from_content = from_content || value(v).from_content;
    }
    if (elements > (from_content ? kLargestShapeValue : kLargestFolded)) return false;
    if (from_content && is_layer(n)) return false;
    std::vector<Tensor> results = results_of(n, [&](ValueId v) { return &*value(v).constant; });
    for (size_t i = 0; i < results.size(); ++i) {
      if (n.node.outputs[i] == kNoValue) continue;
      PlanValue& v = value(n.node.outputs[i]);
      v.constant = std::move(results[i]);
      v.from_content = from_content;
    }
    return true;
  }

  template <class ContentOf>
  std::vector<Tensor> results_of(const PlanNode& node, ContentOf&& content) {
    PlanNode n = node;
    n.in_quant.resize(n.node.inputs.size());
    std::vector<const Tensor*> inputs;
    for (ValueId v : n.node.inputs) inputs.push_back(v == kNoValue ? nullptr : content(v));
    std::vector<PlanValue> outputs;
    for (ValueId v : n.node.outputs) outputs.push_back(v == kNoValue ? PlanValue{} : value(v));
    return evaluate(n, inputs, outputs);
  }

  // The content of a value that decides a shape: known, or evaluated now, or asked of the caller or of the
  // run.
  const Tensor* content_of(ValueId id) {
    if (const Tensor* known = value(id).known_content()) return known;
    // Nodes of small values that stay in the plan (DequantizeLinear), back to constants and feeds.
    std::vector<int> makers;
    NeedsContent needs;
    std::vector<ValueId> open{id};
    std::set<ValueId> seen;
    while (!open.empty()) {
      const ValueId v = open.back();
      open.pop_back();
      if (!seen.insert(v).second || value(v).known_content()) continue;
      const int maker = producer_[static_cast<size_t>(v)];
      if (maker < 0) {
        const auto feed = request_.feeds.find(v);
        const bool given = feed != request_.feeds.end() && feed->second.content.defined();
        const bool small = given && feed->second.content.size() <= kLargestShapeFeed;
        if (!given || (v != id && !(feed->second.steady && small))) throw NeedsRun{id};
        needs.feeds.insert(v);
        continue;
      }
      const PlanNode& n = s_.nodes[static_cast<size_t>(maker)];
      int64_t elements = 0;
      for (ValueId output : n.node.outputs)
        if (output != kNoValue) elements += element_count(value(output).dims);
      if (!n.def->deterministic || is_layer(n) || n.node.inputs.empty() || elements > kLargestShapeValue)
        throw NeedsRun{id};
      makers.push_back(maker);
      for (ValueId input : n.node.inputs)
        if (input != kNoValue) open.push_back(input);
    }
    if (!needs.feeds.empty()) throw NeedsContent(needs);
    std::sort(makers.begin(), makers.end());
    makers.erase(std::unique(makers.begin(), makers.end()), makers.end());
    for (int maker : makers) {
      const PlanNode& n = s_.nodes[static_cast<size_t>(maker)];
      std::vector<Tensor> results = results_of(n, [&](ValueId v) { return value(v).known_content(); });
      for (size_t i = 0; i < results.size(); ++i)
        if (n.node.outputs[i] != kNoValue) value(n.node.outputs[i]).content = std::move(results[i]);
    }
    return value(id).known_content();
  }

  void finish() {
    const auto keep = [&](ValueId v) {
      if (there(v) == There::kNow && std::ranges::find(s_.outputs, v) == s_.outputs.end())
        s_.outputs.push_back(v);
    };
    if (left_.empty() && between_.empty()) {
      for (ValueId v : wanted_) keep(v);
      return;
    }
    auto rest = std::make_shared<Rest>();
    rest->graph = s_.graph;
    rest->needs = needs_;
    for (ValueId v : wanted_) {
      keep(v);
      if (there(v) == There::kLater) rest->outputs.push_back(v);
    }
    for (const Node& node : between_)
      for_each_read(node, [&](ValueId v) {
        if (!value(v).constant && producer_[static_cast<size_t>(v)] >= 0) keep(v);
      });
    rest->between = std::move(between_);
    // Taps of nodes that are left; those of a DQ that both plans have are shown here.
    for (auto it = s_.taps.begin(); it != s_.taps.end();) {
      if (there(*it) == There::kNow) {
        ++it;
        continue;
      }
      if (there(*it) == There::kLater) rest->taps.insert(*it);
      it = s_.taps.erase(it);
    }
    std::vector<Node> again;  // DQs whose values the rest reads: its operators want the integers
    std::set<int> moved;
    std::vector<ValueId> open(needs_.begin(), needs_.end());
    for (const Node& node : left_) for_each_read(node, [&](ValueId v) { open.push_back(v); });
    while (!open.empty()) {
      const ValueId v = open.back();
      open.pop_back();
      if (there(v) == There::kLater || value(v).constant) continue;
      const int maker = producer_[static_cast<size_t>(v)];
      const PlanNode* n = maker < 0 ? nullptr : &s_.nodes[static_cast<size_t>(maker)];
      if (!n || n->def->role != QdqRole::kDequantize || needs_.contains(v)) {
        rest->reads.insert(v);
      } else if (moved.insert(maker).second) {
        again.push_back(n->node);
        for (ValueId input : n->node.inputs)
          if (input != kNoValue) open.push_back(input);
      }
    }
    rest->nodes = std::move(again);
    rest->nodes.insert(rest->nodes.end(), std::make_move_iterator(left_.begin()),
                       std::make_move_iterator(left_.end()));
    rest->values = s_.values;
    for (const Node& node : rest->nodes)
      for (ValueId v : node.outputs)
        if (v != kNoValue) rest->values[static_cast<size_t>(v)] = {};
    std::set<ValueId> kept(s_.outputs.begin(), s_.outputs.end());
    for (ValueId v : rest->reads) {
      const bool made = producer_[static_cast<size_t>(v)] >= 0;
      if (made && kept.insert(v).second) s_.outputs.push_back(v);
    }
    s_.rest = std::move(rest);
  }

  const PlanRequest& request_;
  Specialized s_;
  std::shared_ptr<Graph> own_graph_;  // s_.graph, once branches are in it
  std::vector<Node> todo_;            // the next one last
  std::vector<Node> left_;
  std::vector<Node> between_;
  std::set<ValueId> needs_;
  std::vector<ValueId> wanted_;  // outputs of the graph that are not made yet
  std::vector<There> there_;     // by value
  std::vector<int> producer_;    // by value: index into s_.nodes; -1: constant, or given
};

}  // namespace

DType PlanInferContext::dtype(size_t i) const {
  return has_input(i) ? values_[static_cast<size_t>(node_->inputs[i])].dtype : DType::kUndefined;
}

const SymShape* PlanInferContext::shape(size_t i) const {
  if (!has_input(i)) return nullptr;
  const PlanValue& v = values_[static_cast<size_t>(node_->inputs[i])];
  if (!v.known) return nullptr;
  return &shapes_.insert_or_assign(i, symbolic(v.dims)).first->second;
}

const Tensor* PlanInferContext::constant(size_t i) const {
  if (!has_input(i)) return nullptr;
  const PlanValue& v = values_[static_cast<size_t>(node_->inputs[i])];
  return v.constant ? &*v.constant : nullptr;
}

const Tensor* PlanInferContext::shape_argument(size_t i) const {
  return has_input(i) ? values_[static_cast<size_t>(node_->inputs[i])].known_content() : nullptr;
}

std::vector<InferContext::Inferred> PlanInferContext::infer_subgraph(std::string_view,
                                                                     std::span<const Inferred>) const {
  return {};
}

void PlanInferContext::set_output(size_t, DType, std::optional<SymShape>, std::optional<Tensor>) {}

PlanRequest subgraph_request(const PlanRequest& outer, const std::vector<PlanValue>& values, const Node& node,
                             std::string_view attribute) {
  PlanRequest inner;
  inner.graph = subgraph_of(node, attribute);
  for (ValueId v : inner.graph->inputs) inner.feeds[v] = {};
  for (const Capture& c : inner.graph->captures) {
    const PlanValue& v = values[static_cast<size_t>(c.outer)];
    inner.feeds[c.inner] = {.dtype = v.dtype,
                            .dims = v.dims,
                            .content = v.constant.value_or(Tensor()),
                            .constant = v.constant.has_value()};
  }
  inner.integer = outer.integer;
  inner.threads = outer.threads;
  inner.memory_limit = outer.memory_limit;
  inner.cache = outer.cache;
  inner.plans = outer.plans;
  return inner;
}

namespace {

class KnownContext : public PlanInferContext {
 public:
  KnownContext(const Node& node, const std::vector<PlanValue>& values, std::vector<PlanValue>& outputs)
      : PlanInferContext(node, values), outputs_(outputs) {}

 protected:
  void set_output(size_t i, DType dtype, std::optional<SymShape> shape,
                  std::optional<Tensor> value) override {
    const std::optional<Shape> dims = shape ? concrete(*shape) : std::nullopt;
    if (!has_output(i) || !dims) return;
    element_count(*dims);  // refuses what no memory can hold
    outputs_.at(i) = {
        .dtype = dtype, .dims = *dims, .known = true, .constant = std::move(value), .content = {}};
  }

 private:
  std::vector<PlanValue>& outputs_;
};

}  // namespace

std::vector<PlanValue> infer_known(const Node& node, const OpDef& def, const std::vector<PlanValue>& values) {
  std::vector<PlanValue> outputs(node.outputs.size());
  KnownContext context(node, values, outputs);
  check_inputs(def, context);
  def.infer(context);
  return outputs;
}

Specialized specialize(const PlanRequest& request) { return Specializer(request).run(); }

}  // namespace zp::runtime
