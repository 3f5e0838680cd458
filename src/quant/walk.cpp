#include "quant/walk.h"

#include <algorithm>
#include <utility>

#include "core/stopwatch.h"
#include "quant/qdq.h"

namespace zp::quant {

Walk::Walk(std::shared_ptr<const Model> model, std::vector<std::vector<runtime::Feed>> samples, int threads)
    : model_(std::move(model)), threads_(threads), samples_(samples.size()) {
  for (ValueId v : model_->graph.inputs) {
    std::vector<Tensor>& tensors = live_[v];
    for (const auto& feeds : samples)
      for (const runtime::Feed& f : feeds)
        if (f.name == model_->graph[v].name) tensors.push_back(f.tensor);
    if (tensors.size() != samples.size()) live_.erase(v);
  }
}

std::shared_ptr<Model> Walk::piece(int32_t until, const std::vector<ValueId>& wanted) {
  const Graph& graph = model_->graph;
  const GraphIndex index(graph);
  auto model = std::make_shared<Model>();
  model->opsets = model_->opsets;
  model->graph = clone(graph);
  Graph& g = model->graph;
  // What constants alone decide (dequantized weights) belongs to each piece that reads it, as it then is.
  std::vector<bool> fixed(graph.values.size(), false);
  for (size_t v = 0; v < fixed.size(); ++v) fixed[v] = graph.values[v].constant.has_value();
  g.nodes.clear();
  for (size_t i = 0; i < graph.nodes.size() && i < static_cast<size_t>(until); ++i) {
    const Node& n = graph.nodes[i];
    const bool constant = !n.inputs.empty() && std::all_of(n.inputs.begin(), n.inputs.end(), [&](ValueId v) {
      return v == kNoValue || fixed[static_cast<size_t>(v)];
    });
    if (constant)
      for (ValueId v : n.outputs)
        if (v != kNoValue) fixed[static_cast<size_t>(v)] = true;
    if (constant || i >= static_cast<size_t>(position_)) g.nodes.push_back(n);
  }
  const auto needed_later = [&](ValueId v) {
    if (std::find(wanted.begin(), wanted.end(), v) != wanted.end()) return true;
    const auto& readers = index.consumers[static_cast<size_t>(v)];
    return std::any_of(readers.begin(), readers.end(), [&](int32_t r) { return r >= until; });
  };
  g.outputs.clear();
  for (const Node& n : g.nodes)
    for (ValueId v : n.outputs)
      if (v != kNoValue && !fixed[static_cast<size_t>(v)] && needed_later(v)) g.outputs.push_back(v);
  // Values of earlier pieces that this one reads.
  g.inputs.clear();
  for (const auto& [v, tensors] : live_) {
    const auto& readers = index.consumers[static_cast<size_t>(v)];
    const bool read =
        std::any_of(readers.begin(), readers.end(), [&](int32_t r) { return r >= position_ && r < until; });
    if (!read) continue;
    g.inputs.push_back(v);
    g[v].dtype = tensors[0].dtype();
    if (position_ > 0) g[v].shape.reset();  // what was inferred may know less than the tensors do
  }
  remove_unused(g);
  return model;
}

void Walk::go(int32_t until, const std::vector<ValueId>& wanted) {
  wanted_ = {wanted.begin(), wanted.end()};
  until_ = std::max(until, position_);
  sample_ = 0;
  running_ = false;
  piece_ = piece(until_, wanted);
  made_ = piece_->graph.outputs;
  for (ValueId v : made_) live_[v].clear();
  session_.reset();
  if (!made_.empty())
    session_ = std::make_unique<runtime::Session>(piece_, runtime::SessionOptions{.threads = threads_});
}

bool Walk::advance(double milliseconds) {
  const Stopwatch watch(milliseconds);
  while (session_ && sample_ < samples_) {
    if (!running_) {
      std::vector<runtime::Feed> feeds;
      for (ValueId v : piece_->graph.inputs) feeds.push_back({piece_->graph[v].name, live_.at(v)[sample_]});
      session_->begin(std::move(feeds));
      running_ = true;
    }
    if (!session_->advance(std::max(0.0, milliseconds - watch.milliseconds()))) return false;
    running_ = false;
    std::vector<Tensor> outputs = session_->outputs();
    for (size_t i = 0; i < made_.size(); ++i) live_[made_[i]].push_back(std::move(outputs[i]));
    ++sample_;
    if (sample_ < samples_ && watch.over()) return false;
  }
  if (!piece_) return true;
  position_ = until_;
  session_.reset();
  piece_.reset();
  const GraphIndex index(model_->graph);
  std::erase_if(live_, [&](const auto& entry) {
    if (wanted_.contains(entry.first)) return false;
    const auto& readers = index.consumers[static_cast<size_t>(entry.first)];
    return std::none_of(readers.begin(), readers.end(), [&](int32_t r) { return r >= position_; });
  });
  return true;
}

}  // namespace zp::quant
