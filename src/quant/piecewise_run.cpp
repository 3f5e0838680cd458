#include "quant/piecewise_run.h"

#include <algorithm>
#include <utility>

#include "core/stopwatch.h"
#include "quant/qdq.h"

namespace zp::quant {

PiecewiseRun::PiecewiseRun(std::shared_ptr<const Model> model,
                           const std::vector<std::vector<runtime::Feed>>& samples, int threads)
    : model_(std::move(model)), threads_(threads), samples_(samples.size()) {
  const std::vector<ValueId>& inputs = model_->graph.inputs;
  for (const ValueId v : inputs) live_[v];
  take_feeds(samples);
  for (const ValueId v : inputs)
    if (live_[v].size() != samples.size()) live_.erase(v);
}

void PiecewiseRun::take_feeds(const std::vector<std::vector<runtime::Feed>>& samples) {
  for (const ValueId v : model_->graph.inputs) {
    const auto live = live_.find(v);
    if (live == live_.end()) continue;
    for (const auto& feeds : samples)
      for (const runtime::Feed& f : feeds)
        if (f.name == model_->graph[v].name) live->second.push_back(f.tensor);
  }
}

std::shared_ptr<Model> PiecewiseRun::piece(int32_t from, int32_t until, const std::set<ValueId>& sources,
                                           const std::set<ValueId>& wanted) const {
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
    if (constant || i >= static_cast<size_t>(from)) g.nodes.push_back(n);
  }
  const auto needed_later = [&](ValueId v) {
    if (wanted.contains(v)) return true;
    const auto& readers = index.consumers[static_cast<size_t>(v)];
    return std::any_of(readers.begin(), readers.end(), [&](int32_t r) { return r >= until; });
  };
  g.outputs.clear();
  for (const Node& n : g.nodes)
    for (ValueId v : n.outputs)
      if (v != kNoValue && !fixed[static_cast<size_t>(v)] && needed_later(v)) g.outputs.push_back(v);
  // Values of earlier pieces that this one reads.
  g.inputs.clear();
  for (const ValueId v : sources) {
    const auto& readers = index.consumers[static_cast<size_t>(v)];
    const bool read =
        std::any_of(readers.begin(), readers.end(), [&](int32_t r) { return r >= from && r < until; });
    if (!read) continue;
    g.inputs.push_back(v);
    if (from == 0) continue;
    g[v].dtype = live_.at(v)[0].dtype();
    g[v].shape.reset();  // what was inferred may know less than the tensors do
  }
  remove_unused(g);
  return model;
}

void PiecewiseRun::go(int32_t until, const std::vector<ValueId>& wanted) {
  wanted_ = {wanted.begin(), wanted.end()};
  until_ = std::max(until, position_);
  std::set<ValueId> sources;
  for (const auto& [v, tensors] : live_) sources.insert(v);
  piece_ = piece(position_, until_, sources, wanted_);
  begin_piece();
  for (const ValueId v : made_) live_[v].clear();
}

void PiecewiseRun::join(std::vector<std::vector<runtime::Feed>> samples) {
  take_feeds(samples);
  samples_ += samples.size();
  const std::vector<ValueId>& inputs = model_->graph.inputs;
  std::set<ValueId> wanted;
  for (const auto& [v, tensors] : live_)
    if (std::find(inputs.begin(), inputs.end(), v) == inputs.end()) wanted.insert(v);
  piece_ = piece(0, position_, {inputs.begin(), inputs.end()}, wanted);
  begin_piece();
  joining_ = std::move(samples);
  sample_ = samples_ - joining_.size();
}

void PiecewiseRun::begin_piece() {
  made_ = piece_->graph.outputs;
  sample_ = 0;
  running_ = false;
  session_.reset();
  if (!made_.empty())
    session_ = std::make_unique<runtime::Session>(piece_, runtime::SessionOptions{.threads = threads_});
}

// Of the sample that is next.
std::vector<runtime::Feed> PiecewiseRun::feeds() const {
  std::vector<runtime::Feed> feeds;
  for (const ValueId v : piece_->graph.inputs) {
    const std::string& name = piece_->graph[v].name;
    if (joining_.empty()) {
      feeds.push_back({name, live_.at(v)[sample_]});
      continue;
    }
    for (const runtime::Feed& f : joining_[sample_ - (samples_ - joining_.size())])
      if (f.name == name) feeds.push_back(f);
  }
  return feeds;
}

bool PiecewiseRun::advance(double milliseconds) {
  const Stopwatch watch(milliseconds);
  while (session_ && sample_ < samples_) {
    if (!running_) {
      session_->begin(feeds());
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
  if (joining_.empty()) position_ = until_;
  joining_.clear();
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
