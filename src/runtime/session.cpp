#include "runtime/session.h"

#include <algorithm>
#include <list>

#include "core/stopwatch.h"
#include "ops/infer.h"
#include "runtime/plan.h"

namespace zp::runtime {
namespace {

constexpr size_t kPlansKept = 8;

class SessionCache : public PreparedCache {
 public:
  std::shared_ptr<const void> find_or_make(const std::string& key,
                                           FunctionRef<std::shared_ptr<const void>()> make) override {
    auto it = entries_.find(key);
    if (it == entries_.end()) it = entries_.emplace(key, make()).first;
    return it->second;
  }
  void clear() { entries_.clear(); }

 private:
  std::map<std::string, std::shared_ptr<const void>> entries_;
};

}  // namespace

// One pool for each number of threads, shared by the sessions: they never run at the same time.
std::shared_ptr<ThreadPool> shared_pool(int threads) {
  static std::map<int, std::weak_ptr<ThreadPool>> pools;
  if (threads <= 1) return nullptr;
  std::shared_ptr<ThreadPool> pool = pools[threads].lock();
  if (!pool) pools[threads] = pool = std::make_shared<ThreadPool>(threads);
  return pool;
}

class Session::Impl {
 public:
  Impl(std::shared_ptr<const Model> model, SessionOptions options)
      : model_(std::move(model)), options_(std::move(options)), pool_(shared_pool(options_.threads)) {
    require_supported(model_->graph);
    taps_.insert(options_.taps.begin(), options_.taps.end());
  }

  void begin(std::vector<Feed> feeds) {
    feeds_ = check(std::move(feeds));
    next_ = 0;
    plan_ = plan_for_feeds();
    std::map<ValueId, const std::byte*> addresses;
    for (const auto& [id, tensor] : feeds_) addresses[id] = tensor.raw();
    plan_->bind(addresses);
  }

  bool advance(double milliseconds) {
    if (!plan_) throw_error(ErrorCode::kInvalidArgument, "advance() was called before begin()");
    const Stopwatch watch(milliseconds);
    const size_t total = plan_->steps().size();
    while (next_ < total) {
      plan_->run_step(next_, pool_.get());
      if (tap_) {
        for (ValueId v : plan_->steps()[next_].taps) {
          const Tensor value = plan_->value(v, pool_.get());
          tap_(v, value.view());
        }
      }
      ++next_;
      if (watch.over()) break;
    }
    return next_ == total;
  }

  TensorView output(size_t i) const {
    if (!plan_ || next_ < plan_->steps().size()) {
      throw_error(ErrorCode::kInvalidArgument, "outputs() was called before the run was finished");
    }
    return plan_->output(i);
  }

  std::vector<Tensor> outputs() const {
    std::vector<Tensor> tensors;
    for (size_t i = 0; i < model_->graph.outputs.size(); ++i) tensors.push_back(Tensor::copy_of(output(i)));
    return tensors;
  }

  void set_tap(Tap tap) { tap_ = std::move(tap); }
  size_t done() const { return next_; }
  const Plan* plan() const { return plan_.get(); }

 private:
  std::map<ValueId, Tensor> check(std::vector<Feed> feeds) const {
    const Graph& graph = model_->graph;
    std::map<ValueId, Tensor> checked;
    std::map<std::string, int64_t> symbols;  // what each named dimension is in this run
    for (Feed& feed : feeds) {
      const auto it = std::find_if(graph.inputs.begin(), graph.inputs.end(),
                                   [&](ValueId v) { return graph[v].name == feed.name; });
      if (it == graph.inputs.end()) {
        std::string names;
        for (ValueId v : graph.inputs) names += (names.empty() ? "'" : ", '") + graph[v].name + "'";
        throw_error(ErrorCode::kInvalidFeed, {"the model has no input '", feed.name, "'"},
                    {.tensor = feed.name, .hint = {"its inputs are ", names}});
      }
      const Value& input = graph[*it];
      if (feed.tensor.dtype() != input.dtype) {
        throw_error(
            ErrorCode::kInvalidFeed,
            {"input '", feed.name, "' takes ", name_of(input.dtype), ", not ", name_of(feed.tensor.dtype())},
            {.tensor = feed.name});
      }
      check_dims(feed, input, symbols);
      if (!checked.emplace(*it, std::move(feed.tensor)).second) {
        throw_error(ErrorCode::kInvalidFeed, {"input '", feed.name, "' is fed twice"}, {.tensor = feed.name});
      }
    }
    for (ValueId v : graph.inputs) {
      if (!checked.contains(v)) {
        throw_error(ErrorCode::kInvalidFeed, {"input '", graph[v].name, "' is not fed"},
                    {.tensor = graph[v].name});
      }
    }
    return checked;
  }

  static void check_dims(const Feed& feed, const Value& input, std::map<std::string, int64_t>& symbols) {
    if (!input.shape) return;
    const Shape& dims = feed.tensor.dims();
    bool fits = dims.size() == input.shape->size();
    std::string why;
    for (size_t i = 0; fits && i < dims.size(); ++i) {
      const Dim& wanted = (*input.shape)[i];
      if (wanted.known()) fits = wanted.value() == dims[i];
      if (!wanted.known() && !wanted.symbol().empty()) {
        const auto [it, first] = symbols.emplace(wanted.symbol(), dims[i]);
        if (!first && it->second != dims[i]) {
          fits = false;
          why = ": '" + wanted.symbol() + "' is already " + std::to_string(it->second);
        }
      }
    }
    if (!fits) {
      throw_error(ErrorCode::kShapeMismatch,
                  {"input '", feed.name, "' takes ", *input.shape, ", not ", dims, why},
                  {.tensor = feed.name, .hint = "give the input the dimensions that the model declares"});
    }
  }

  // Shapes of all feeds, and the content of those that decide shapes.
  std::string plan_key() const {
    std::string key;
    for (const auto& [id, tensor] : feeds_) {
      for (int64_t d : tensor.dims()) key += std::to_string(d) + ",";
      if (constant_feeds_.contains(id)) {
        key += "=";
        if (tensor.dtype() == DType::kString) {
          for (const std::string& s : tensor.strings()) key += std::to_string(s.size()) + ":" + s;
          continue;
        }
        key.append(reinterpret_cast<const char*>(tensor.raw()), tensor.bytes());
      }
      key += ";";
    }
    return key;
  }

  std::shared_ptr<Plan> plan_for_feeds() {
    for (;;) {
      const std::string key = plan_key();
      for (auto it = plans_.begin(); it != plans_.end(); ++it) {
        if (it->first != key) continue;
        plans_.splice(plans_.begin(), plans_, it);  // the latest used is first
        return plans_.front().second;
      }
      PlanRequest request;
      request.graph = &model_->graph;
      for (const auto& [id, tensor] : feeds_) request.feeds[id] = {tensor.dtype(), tensor.dims(), &tensor};
      request.constant_feeds = constant_feeds_;
      request.taps = taps_;
      request.integer = options_.integer;
      request.threads = options_.threads;
      request.memory_limit = options_.memory_limit;
      request.cache = &cache_;
      try {
        auto plan = std::make_shared<Plan>(request);
        plans_.emplace_front(key, plan);
        if (plans_.size() > kPlansKept) plans_.pop_back();
        return plan;
      } catch (const NeedsContent& needs) {
        const size_t before = constant_feeds_.size();
        constant_feeds_.insert(needs.feeds.begin(), needs.feeds.end());
        if (constant_feeds_.size() == before) {
          throw_error(ErrorCode::kUnsupportedOperator,
                      "a shape depends on values that are not computed when planning",
                      {.hint = "export the model with fixed shapes"});
        }
      }
    }
  }

  std::shared_ptr<const Model> model_;
  SessionOptions options_;
  std::set<ValueId> taps_;
  std::shared_ptr<ThreadPool> pool_;
  SessionCache cache_;
  std::list<std::pair<std::string, std::shared_ptr<Plan>>> plans_;
  std::set<ValueId> constant_feeds_;
  std::map<ValueId, Tensor> feeds_;  // kept while the run uses them
  std::shared_ptr<Plan> plan_;
  size_t next_ = 0;  // step
  Tap tap_;
};

Session::Session(std::shared_ptr<const Model> model, SessionOptions options)
    : impl_(std::make_unique<Impl>(std::move(model), std::move(options))) {}
Session::~Session() = default;

void Session::begin(std::vector<Feed> feeds) { impl_->begin(std::move(feeds)); }
bool Session::advance(double milliseconds) { return impl_->advance(milliseconds); }
TensorView Session::output(size_t i) const { return impl_->output(i); }
std::vector<Tensor> Session::outputs() const { return impl_->outputs(); }
void Session::set_tap(Tap tap) { impl_->set_tap(std::move(tap)); }

std::vector<Tensor> Session::run(std::vector<Feed> feeds) {
  begin(std::move(feeds));
  while (!advance(1e9)) {
  }
  return outputs();
}

size_t Session::done() const { return impl_->done(); }
size_t Session::total() const { return impl_->plan() ? impl_->plan()->steps().size() : 0; }

std::vector<StepInfo> Session::steps() const {
  std::vector<StepInfo> infos;
  if (!impl_->plan()) return infos;
  for (const Step& step : impl_->plan()->steps())
    infos.push_back({step.node, step.op, step.kernel_name, step.milliseconds});
  return infos;
}

size_t Session::arena_bytes() const { return impl_->plan() ? impl_->plan()->arena_bytes() : 0; }

}  // namespace zp::runtime
