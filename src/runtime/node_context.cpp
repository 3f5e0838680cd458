#include "runtime/node_context.h"

#include <bit>
#include <cstdint>
#include <limits>
#include <map>

#include "runtime/cache.h"
#include "runtime/runner.h"

namespace zp::runtime {
namespace {

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

// A subgraph made ready.
class GraphSubPlan : public SubPlan {
 public:
  explicit GraphSubPlan(const PlanRequest& request) : graph_(request.graph), runner_(request) {
    for (const auto& [id, feed] : request.feeds) types_[id] = {feed.dtype, feed.dims};
  }

  std::vector<TensorView> run(const std::vector<const std::byte*>& captured, ThreadPool* pool) override {
    std::map<ValueId, Item> feeds;
    for (size_t i = 0; i < graph_->captures.size() && i < captured.size(); ++i) {
      const ValueId id = graph_->captures[i].inner;
      const auto& [dtype, dims] = types_.at(id);
      feeds[id] = not_owned({dtype, dims, captured[i]});
    }
    runner_.begin(std::move(feeds));
    Runner::Tap none;
    runner_.advance(pool, none, std::numeric_limits<double>::infinity());
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

const Shape& NodeContext::dims(size_t i) const {
  if (i >= io_.in.size() || !io_.in[i]) fail(ErrorCode::kInvalidModel, {"input ", i, " is missing"});
  return io_.in[i]->dims;
}

std::shared_ptr<SubPlan> NodeContext::plan_subgraph(std::string_view attribute) const {
  return std::make_shared<GraphSubPlan>(subgraph_request(request_, values_, n_.node, attribute));
}

std::string NodeContext::cache_key(std::string_view kind) const {
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

std::vector<PreparedCache::Source> NodeContext::cache_sources() const {
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

}  // namespace zp::runtime
