#include "runtime/between.h"

#include <algorithm>
#include <utility>

#include "core/stopwatch.h"
#include "runtime/runner.h"

namespace zp::runtime {

// A subgraph, run with what the node gives it and what it captures.
class BodyRun : public SubRun {
 public:
  BodyRun(PlanRequest request, const Rest& rest)
      : graph_(request.graph), rest_(rest), runner_(std::move(request)) {}

  // What the runs to come are given, and how long they may take.
  void set(const std::map<ValueId, Item>& around, ThreadPool* pool, double until) {
    around_ = &around;
    pool_ = pool;
    until_ = until;
  }
  const Graph& graph() const override { return *graph_; }

  void begin(std::vector<Item> inputs) override {
    std::map<ValueId, Item> feeds;
    for (size_t i = 0; i < graph_->inputs.size(); ++i) feeds[graph_->inputs[i]] = std::move(inputs.at(i));
    for (const Capture& c : graph_->captures)
      if (!rest_.values[static_cast<size_t>(c.outer)].constant) feeds[c.inner] = around_->at(c.outer);
    runner_.begin(std::move(feeds));
  }
  bool advance() override {
    Runner::Tap none;
    return runner_.advance(pool_, none, until_);
  }
  Item output(size_t i) const override { return runner_.kept(graph_->outputs.at(i)); }

 private:
  std::shared_ptr<const Graph> graph_;
  const Rest& rest_;
  Runner runner_;
  const std::map<ValueId, Item>* around_ = nullptr;
  ThreadPool* pool_ = nullptr;
  double until_ = 0;
};

class Between::Context : public BetweenContext {
 public:
  Context(Between& between, std::map<ValueId, Item>& values, ThreadPool* pool, double until)
      : BetweenContext(between.node_), between_(between), values_(values), pool_(pool), until_(until) {
    for (auto& [attribute, body] : between_.bodies_) body->set(values_, pool_, until_);
    state = std::move(between_.state_);
  }

  Item in(size_t i) const override {
    if (!has_input(i)) return {};
    const ValueId v = node_->inputs[i];
    const std::optional<Tensor>& constant = between_.rest_->values[static_cast<size_t>(v)].constant;
    return constant ? Item(*constant) : values_.at(v);
  }
  void give(size_t i, Item item) override {
    if (node_->output(i) != kNoValue) values_[node_->outputs[i]] = std::move(item);
  }
  SubRun& subgraph(std::string_view attribute) override {
    auto found = between_.bodies_.find(attribute);
    if (found == between_.bodies_.end()) {
      const Rest& rest = *between_.rest_;
      PlanRequest request = subgraph_request(between_.request_, rest.values, *node_, attribute);
      found = between_.bodies_
                  .emplace(std::string(attribute), std::make_unique<BodyRun>(std::move(request), rest))
                  .first;
      found->second->set(values_, pool_, until_);
    }
    return *found->second;
  }
  bool late() const override { return monotonic_milliseconds() >= until_; }

 private:
  Between& between_;
  std::map<ValueId, Item>& values_;
  ThreadPool* pool_;
  double until_;
};

Between::Between(const Node& node, std::shared_ptr<const Rest> rest, const PlanRequest& request)
    : node_(node), def_(op_of(node)), rest_(std::move(rest)), request_(request) {
  request_.after = nullptr;
  request_.feeds.clear();
  request_.taps.clear();
}

Between::~Between() = default;

void Between::begin() {
  state_ = nullptr;
  milliseconds_ = 0;
}

bool Between::advance(std::map<ValueId, Item>& values, ThreadPool* pool, double until) {
  const Stopwatch time;
  bool done = false;
  try {
    Context context(*this, values, pool, until);
    done = def_.between(context);
    if (!done) {
      state_ = std::move(context.state);
    } else {
      for (ValueId v : node_.outputs) {
        if (v == kNoValue || values.contains(v)) continue;
        throw_error(ErrorCode::kInvalidModel, "the operator does not give this output",
                    {.tensor = (*rest_->graph)[v].name});
      }
    }
  } catch (Error& e) {
    const ValueId about = e.input() < 0 ? kNoValue : node_.input(static_cast<size_t>(e.input()));
    e.add_details({.node = node_.name,
                   .op = qualified_name(node_) + "-" + std::to_string(kOpset),
                   .tensor = about == kNoValue ? std::string_view() : (*rest_->graph)[about].name});
    throw;
  }
  milliseconds_ += time.milliseconds();
  return done;
}

}  // namespace zp::runtime
