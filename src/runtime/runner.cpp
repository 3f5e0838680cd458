#include "runtime/runner.h"

#include <algorithm>

#include "core/stopwatch.h"
#include "runtime/between.h"

namespace zp::runtime {
namespace {

// Numbers and lengths as they lie in memory: keys are compared, never read.
void append(std::string& key, int64_t number) {
  key.append(reinterpret_cast<const char*>(&number), sizeof(number));
}

void append_shape(std::string& key, ValueId id, const Tensor& tensor) {
  append(key, id);
  append(key, static_cast<int64_t>(tensor.dims().size()));
  for (int64_t d : tensor.dims()) append(key, d);
}

void append_content(std::string& key, ValueId id, const Tensor& tensor) {
  append_shape(key, id, tensor);
  if (tensor.dtype() == DType::kString) {
    for (const std::string& s : strings_of(tensor.view())) {
      append(key, static_cast<int64_t>(s.size()));
      key += s;
    }
    return;
  }
  key.append(reinterpret_cast<const char*>(tensor.raw()), tensor.bytes());
}

// What is no tensor, plans do not depend on.
void append_shape(std::string& key, ValueId id, const Item& item) {
  if (item.is_tensor()) {
    append_shape(key, id, item.tensor);
  } else {
    append(key, id);
    append(key, item.is_sequence() ? -1 : -2);
  }
}

}  // namespace

Runner::Runner(PlanRequest request) : request_(std::move(request)), prefix_(request_.plans->fresh_prefix()) {}

void Runner::begin(std::map<ValueId, Item> feeds) {
  plans_.clear();
  done_ = 0;
  next_ = 0;
  finished_ = false;
  values_ = std::move(feeds);
  std::string key = prefix_;
  for (const auto& [id, item] : values_) append_shape(key, id, item);
  start(std::move(key), nullptr);
}

void Runner::start(std::string key, const std::shared_ptr<const Rest>& after) {
  std::set<ValueId> constants;
  const auto make_constant = [&](const std::set<ValueId>& ids) {
    for (ValueId id : ids)
      if (constants.insert(id).second) append_content(key, id, values_.at(id).tensor);
  };
  if (after) {
    key += '|';
    for (const Node& node : after->between)
      for (ValueId v : node.outputs)
        if (after->reads.contains(v)) append_shape(key, v, values_.at(v));
    make_constant(after->needs);
  }
  std::shared_ptr<Plan> plan;
  while (!plan) {
    if (const PlanCache::Entry* kept = request_.plans->find(key)) {
      plan = kept->plan;
      if (!plan) make_constant(std::set<ValueId>(kept->needs));
      continue;
    }
    PlanRequest request = request_;
    request.after = after;
    if (after) {
      request.feeds.clear();
      for (ValueId id : after->reads) request.feeds[id];
      request.taps = after->taps;
      for (const auto& earlier : plans_)
        if (request.memory_limit > 0)  // 0: none, so that 1 is the least
          request.memory_limit -= std::min(request.memory_limit - 1, earlier->arena_bytes());
    }
    for (auto& [id, feed] : request.feeds) {
      if (feed.constant) continue;  // as this graph captures it
      const Item& item = values_.at(id);
      feed.tensor = item.is_tensor();
      if (!feed.tensor) continue;
      const Tensor& value = item.tensor;
      feed.dtype = value.dtype();
      feed.dims = value.dims();
      feed.constant = constants.contains(id);
      // A plan outlives what lies in the memory of another.
      feed.content = feed.constant ? Tensor::copy_of(value.view()) : value;
    }
    try {
      plan = std::make_shared<Plan>(request);
      request_.plans->add(key, {{}, plan});
    } catch (const NeedsContent& more) {
      request_.plans->add(key, {more.feeds, nullptr});
    }
  }
  plan->bind(values_);
  for (const auto& between : plan->between()) between->begin();
  plans_.push_back(std::move(plan));
  key_ = std::move(key);
  next_ = 0;
}

bool Runner::advance(ThreadPool* pool, Tap& tap, double until) {
  double now = monotonic_milliseconds();
  while (!finished_) {
    Plan& plan = *plans_.back();
    const std::vector<Step>& steps = plan.steps();
    while (next_ < steps.size()) {
      now = plan.run_step(next_, pool, now);
      const std::vector<ValueId>& taps = steps[next_].taps;
      ++next_;
      for (ValueId v : taps) {
        if (!tap) break;
        const Tensor value = plan.tapped(v);
        tap(v, value.view());
        now = monotonic_milliseconds();
      }
      if (next_ < steps.size() && now >= until) return false;
    }
    if (!plan.rest()) {
      finished_ = true;
      break;
    }
    if (!advance_between(pool, tap, until)) return false;
    const std::shared_ptr<const Rest> rest = plan.rest();
    if (rest->nodes.empty()) {
      finished_ = true;
      break;
    }
    done_ += next_;
    start(key_, rest);
    now = monotonic_milliseconds();
    if (now >= until) return false;
  }
  return true;
}

bool Runner::advance_between(ThreadPool* pool, Tap& tap, double until) {
  const Plan& plan = *plans_.back();
  const size_t steps = plan.steps().size();
  if (next_ == steps) {
    // An output that is an input is there already, and owned.
    for (const auto& [id, buffer] : plan.made())
      if (!values_.contains(id)) values_[id] = not_owned(plan.view(id));
  }
  for (; next_ < steps + plan.between().size(); ++next_) {
    Between& between = *plan.between()[next_ - steps];
    if (!between.advance(values_, pool, until)) return false;
    for (ValueId v : between.node().outputs) {
      if (v == kNoValue || !request_.taps.contains(v) || !tap) continue;
      if (const Item& item = values_.at(v); item.is_tensor()) tap(v, item.tensor.view());
    }
  }
  return true;
}

TensorView Runner::output(ValueId id) const {
  const auto found = values_.find(id);
  return found != values_.end() ? found->second.tensor.view() : plans_.back()->view(id);
}

Item Runner::kept(ValueId id) const {
  const auto found = values_.find(id);
  if (found != values_.end())
    return found->second.is_tensor() ? Item(owned(found->second.tensor)) : found->second;
  const Plan& plan = *plans_.back();
  const auto fed = values_.find(plan.feed_of(id));
  if (fed == values_.end()) return plan.kept(id);
  const TensorView view = plan.view(id);
  return owned(fed->second.tensor).reshaped(Shape(view.dims.begin(), view.dims.end()));
}

size_t Runner::total() const {
  if (plans_.empty()) return 0;
  const Plan& last = *plans_.back();
  return done_ + last.steps().size() + last.between().size() + (last.rest() ? last.rest()->nodes.size() : 0);
}

}  // namespace zp::runtime
