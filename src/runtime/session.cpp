#include "runtime/session.h"

#include <algorithm>
#include <set>

#include "core/stopwatch.h"
#include "ops/infer.h"
#include "runtime/between.h"
#include "runtime/cache.h"
#include "runtime/plan.h"
#include "runtime/prepare.h"
#include "runtime/runner.h"

namespace zp::runtime {
namespace {

// A copy of a graph whose `fed` values are inputs and no constants any more, in subgraphs too: those have
// copies of a constant around them, which must be captured from now on.
Graph with_inputs(const Graph& graph, const std::set<ValueId>& fed) {
  Graph open = graph;
  for (Node& node : open.nodes) {
    for (auto& [key, attribute] : node.attributes) {
      auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute);
      if (!sub || !*sub) continue;
      std::set<ValueId> copies;
      std::vector<Capture> captures;
      for (size_t i = 0; i < (*sub)->values.size(); ++i) {
        const Value& inner = (*sub)->values[i];
        if (!inner.constant) continue;
        for (ValueId v : fed) {
          const std::optional<Tensor>& outer = graph[v].constant;
          if (inner.name != graph[v].name || !outer || inner.constant->owner() != outer->owner()) continue;
          copies.insert(static_cast<ValueId>(i));
          captures.push_back({.outer = v, .inner = static_cast<ValueId>(i)});
        }
      }
      auto own = std::make_shared<Graph>(with_inputs(**sub, copies));
      own->inputs = (*sub)->inputs;
      own->captures.insert(own->captures.end(), captures.begin(), captures.end());
      *sub = std::move(own);
    }
  }
  for (ValueId v : fed) {
    open[v].constant.reset();
    open[v].shape.reset();  // was the constant's
    open.inputs.push_back(v);
    std::erase(open.defaults, v);
  }
  return open;
}

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
      : model_(std::move(model)),
        options_(std::move(options)),
        pool_(shared_pool(options_.threads)),
        packed_(options_.packed_memory),
        plans_(options_.plan_memory),
        runner_(request()) {
    require_supported(model_->graph);
    hold_files(model_->graph);
    // The values of initializers may have gone into other constants: a run that is fed one starts from here.
    if (!model_->graph.defaults.empty()) {
      source_ = source_of(model_);
      hold_files(source_->graph);
    }
  }

  void begin(std::vector<Feed> feeds) {
    begun_ = false;
    std::set<ValueId> fed;  // of the initializers that are inputs
    std::vector<std::string> odd;
    std::map<ValueId, Item> checked = check(std::move(feeds), fed, odd);
    if (fed.empty()) {
      fed_.clear();
      with_fed_.reset();
    } else {
      begin_with(fed, std::move(checked));
      begun_ = true;
      return;
    }
    try {
      runner_.begin(std::move(checked));
    } catch (const Error& e) {
      packed_.trim();
      if (odd.empty() || e.code() == ErrorCode::kOutOfMemory) throw;
      throw_error(ErrorCode::kShapeMismatch, {odd.front(), ", and the model does not allow it: ", e.what()},
                  {.node = e.details().node,
                   .op = e.details().op,
                   .hint = "give the input the dimensions that the model declares"});
    }
    trim();
    odd_ = !odd.empty();
    for (std::string& o : odd) warn(std::move(o));
    begun_ = true;
  }

  bool advance(double milliseconds, Tap& tap) {
    if (!begun_) throw_error(ErrorCode::kInvalidArgument, "advance() was called before begin()");
    if (with_fed_) return with_fed_->advance(milliseconds, tap);
    if (runner_.finished()) return true;
    const size_t before = runner_.plans().size();
    const bool finished = runner_.advance(pool_.get(), tap, monotonic_milliseconds() + milliseconds);
    if (runner_.plans().size() != before) trim();
    if (finished) compare_outputs();
    return finished;
  }

  TensorView output(size_t i) const {
    if (with_fed_) return with_fed_->output(i);
    if (!begun_ || !runner_.finished()) {
      throw_error(ErrorCode::kInvalidArgument, "outputs() was called before the run was finished");
    }
    const ValueId id = model_->graph.outputs.at(i);
    const TensorView view = runner_.output(id);
    if (view.dtype == DType::kUndefined) {
      throw_error(ErrorCode::kUnsupportedType,
                  {"output '", model_->graph[id].name, "' is ", name_of(model_->graph[id].kind),
                   ", and a run gives out tensors only"},
                  {.tensor = model_->graph[id].name});
    }
    return view;
  }

  Item item(size_t i) const {
    if (with_fed_) return with_fed_->item(i);
    const ValueId id = model_->graph.outputs.at(i);
    return model_->graph[id].kind == ValueKind::kTensor ? Item(Tensor::copy_of(output(i))) : runner_.kept(id);
  }

  std::vector<Tensor> outputs() const {
    std::vector<Tensor> tensors;
    for (size_t i = 0; i < model_->graph.outputs.size(); ++i) tensors.push_back(Tensor::copy_of(output(i)));
    return tensors;
  }

  const Runner& runner() const { return with_fed_ ? with_fed_->runner() : runner_; }
  const PlanCache& plans() const { return plans_; }
  const std::vector<std::string>& warnings() const { return with_fed_ ? with_fed_->warnings() : warnings_; }

 private:
  PlanRequest request() {
    PlanRequest r;
    r.graph = {model_, &model_->graph};
    for (ValueId v : model_->graph.inputs) r.feeds[v].steady = true;
    r.taps.insert(options_.taps.begin(), options_.taps.end());
    r.integer = options_.integer;
    r.threads = options_.threads;
    r.memory_limit = options_.memory_limit;
    r.cache = &packed_;
    r.plans = &plans_;
    return r;
  }

  // A run in which initializers are fed: another session's, of a model in which they are no constants.
  void begin_with(const std::set<ValueId>& fed, std::map<ValueId, Item> feeds) {
    if (!with_fed_ || fed_ != fed) {
      auto open = std::make_shared<Model>(*source_);
      open->graph = with_inputs(source_->graph, fed);
      for (const Node& node : open->graph.nodes)
        for (ValueId v : node.outputs)
          if (v != kNoValue) open->graph[v].shape.reset();
      infer_shapes(open->graph);
      SessionOptions options = options_;
      if (source_ != model_) {
        options.taps.clear();  // of another graph
        open = std::const_pointer_cast<Model>(prepared_anew(*open));
      }
      with_fed_ = std::make_unique<Impl>(std::move(open), std::move(options));
      fed_ = fed;
    }
    std::vector<Feed> named;
    for (auto& [id, item] : feeds)
      named.push_back({model_->graph[id].name, std::move(item.tensor), std::move(item.sequence)});
    with_fed_->begin(std::move(named));
  }

  std::map<ValueId, Item> check(std::vector<Feed> feeds, std::set<ValueId>& fed,
                                std::vector<std::string>& odd) const {
    const Graph& graph = model_->graph;
    const auto named = [&](const std::vector<ValueId>& ids, const std::string& name) {
      const auto it = std::find_if(ids.begin(), ids.end(), [&](ValueId v) { return graph[v].name == name; });
      return it == ids.end() ? kNoValue : *it;
    };
    std::map<ValueId, Item> checked;
    for (Feed& feed : feeds) {
      ValueId id = named(graph.inputs, feed.name);
      if (id == kNoValue) {
        id = named(graph.defaults, feed.name);
        if (id != kNoValue) fed.insert(id);
      }
      if (id == kNoValue) {
        std::string names;
        for (ValueId v : graph.inputs) names += (names.empty() ? "'" : ", '") + graph[v].name + "'";
        throw_error(ErrorCode::kInvalidFeed, {"the model has no input '", feed.name, "'"},
                    {.tensor = feed.name, .hint = {"its inputs are ", names}});
      }
      const Value& input = graph[id];
      if (input.kind != ValueKind::kTensor) {
        check_item(feed, input);
      } else if (feed.tensor.dtype() != input.dtype) {
        throw_error(
            ErrorCode::kInvalidFeed,
            {"input '", feed.name, "' takes ", name_of(input.dtype), ", not ", name_of(feed.tensor.dtype())},
            {.tensor = feed.name});
      }
      if (!fed.contains(id)) check_dims(feed, input, odd);
      Item item;
      item.tensor = std::move(feed.tensor);
      item.sequence = std::move(feed.sequence);
      if (!checked.emplace(id, std::move(item)).second) {
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

  static void check_item(const Feed& feed, const Value& input) {
    const bool optional = input.kind != ValueKind::kSequence;
    const bool tensor = input.kind == ValueKind::kOptionalTensor;
    bool fits = feed.tensor.defined() ? tensor : feed.sequence ? !tensor : optional;
    if (feed.tensor.defined()) fits = fits && feed.tensor.dtype() == input.dtype && !feed.sequence;
    for (size_t i = 0; fits && feed.sequence && i < feed.sequence->size(); ++i)
      fits = (*feed.sequence)[i].dtype() == input.dtype;
    if (!fits) {
      throw_error(ErrorCode::kInvalidFeed,
                  {"input '", feed.name, "' takes ", name_of(input.kind), " of ", name_of(input.dtype)},
                  {.tensor = feed.name});
    }
  }

  // Numbers must be as declared, but for a first dimension of 1 or 0: many models are exported with one
  // sample and run with any number. Names do not bind: exporters give one name to dimensions that differ.
  static void check_dims(const Feed& feed, const Value& input, std::vector<std::string>& odd) {
    if (!input.shape) return;
    const Shape& dims = feed.tensor.dims();
    bool fits = dims.size() == input.shape->size(), batch = false;
    for (size_t i = 0; fits && i < dims.size(); ++i) {
      const Dim& wanted = (*input.shape)[i];
      if (!wanted.known() || wanted.value() == dims[i]) continue;
      batch = i == 0 && wanted.value() <= 1;
      fits = batch;
    }
    if (!fits) {
      throw_error(ErrorCode::kShapeMismatch, {"input '", feed.name, "' takes ", *input.shape, ", not ", dims},
                  {.tensor = feed.name, .hint = "give the input the dimensions that the model declares"});
    }
    if (batch)
      odd.push_back(Text({"input '", feed.name, "' is declared ", *input.shape, " but fed ", dims}).str());
  }

  // What a file says of its outputs is not always so.
  void compare_outputs() {
    if (odd_) return;  // said of the inputs already
    const Graph& graph = model_->graph;
    for (ValueId v : graph.outputs) {
      if (!graph[v].shape) continue;
      const TensorView made = runner_.output(v);
      const SymShape& declared = *graph[v].shape;
      const bool same = std::equal(declared.begin(), declared.end(), made.dims.begin(), made.dims.end(),
                                   [](const Dim& d, int64_t is) { return !d.known() || d.value() == is; });
      if (!same) {
        warn(Text({"output '", graph[v].name, "' is declared ", declared, " but is ", made.dims}).str());
      }
    }
  }

  void warn(std::string warning) {
    if (std::find(warnings_.begin(), warnings_.end(), warning) == warnings_.end() &&
        warnings_.size() < kMostWarnings)
      warnings_.push_back(std::move(warning));
  }

  // After plans came, and others went for them.
  void trim() {
    if (plans_.made() == trimmed_) return;
    packed_.trim();
    trimmed_ = plans_.made();
  }

  static constexpr size_t kMostWarnings = 100;

  std::shared_ptr<const Model> model_, source_;
  SessionOptions options_;
  std::shared_ptr<ThreadPool> pool_;
  PackedCache packed_;
  PlanCache plans_;
  Runner runner_;
  size_t trimmed_ = 0;  // plans made before the last trim()
  bool begun_ = false, odd_ = false;
  std::vector<std::string> warnings_;
  std::set<ValueId> fed_;  // what `with_fed_` was made for
  std::unique_ptr<Impl> with_fed_;
};

Session::Session(std::shared_ptr<const Model> model, SessionOptions options)
    : impl_(std::make_unique<Impl>(std::move(model), std::move(options))) {}
Session::~Session() = default;

void Session::begin(std::vector<Feed> feeds) { impl_->begin(std::move(feeds)); }
bool Session::advance(double milliseconds) { return impl_->advance(milliseconds, tap_); }
TensorView Session::output(size_t i) const { return impl_->output(i); }
Item Session::item(size_t i) const { return impl_->item(i); }
std::vector<Tensor> Session::outputs() const { return impl_->outputs(); }
void Session::set_tap(Tap tap) { tap_ = std::move(tap); }

std::vector<Tensor> Session::run(std::vector<Feed> feeds) {
  begin(std::move(feeds));
  while (!advance(1e9)) {
  }
  return outputs();
}

size_t Session::done() const { return impl_->runner().done(); }
size_t Session::total() const { return impl_->runner().total(); }

std::vector<StepInfo> Session::steps() const {
  std::vector<StepInfo> infos;
  for (const auto& plan : impl_->runner().plans()) {
    for (const Step& step : plan->steps())
      infos.push_back({step.node, step.op, step.kernel_name, step.milliseconds});
    for (const auto& between : plan->between())
      infos.push_back({between->node().name, between->node().op_type, "between", between->milliseconds()});
  }
  return infos;
}

size_t Session::arena_bytes() const {
  size_t bytes = 0;
  for (const auto& plan : impl_->runner().plans()) bytes += plan->arena_bytes();
  return bytes;
}

size_t Session::plans_kept() const { return impl_->plans().size(); }
const std::vector<std::string>& Session::warnings() const { return impl_->warnings(); }

}  // namespace zp::runtime
