#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "core/sort.h"
#include "core/text.h"
#include "quant/search/search.h"
#include "quant/stage.h"

namespace zp::quant {
namespace {

// Bytes that float16 weights add to a layer.
double bytes_in_half(const LayerReport& l) {
  return l.weight ? static_cast<double>(l.weight->elements) * (2.0 - bits_of(l.weight->dtype) / 8.0) : 0;
}

}  // namespace

std::optional<Candidate> Search::plan_effects() {
  if (only_a_few() && (single_ || best_->sqnr_db > kGood)) return std::nullopt;
  phase_ = "sensitivity";
  const auto& repairs = best_->candidate.config.repairs;
  const bool graph_changed =
      std::any_of(repairs.begin(), repairs.end(), [](const std::string& r) { return changes_graph(r); });
  if (!graph_changed) {
    float_source_ = source_;
    plan_layers();
    return std::nullopt;
  }
  Candidate c = best_->candidate;
  std::set<std::string> ops;
  for (const LayerReport& l : best_->report.layers) ops.insert(l.op);
  c.config.exclude_ops.assign(ops.begin(), ops.end());
  c.trial = false;
  c.samples = 1;
  c.config.training.epochs = 0;
  on_outcome_ = [this](std::unique_ptr<Outcome> o) {
    float_source_ = o->model;
    plan_layers();
  };
  return c;
}

Config Search::on_float_source() const {
  Config c = best_->candidate.config;
  std::erase_if(c.repairs, [](const std::string& r) { return changes_graph(r); });
  for (const auto& [name, range] : best_->ranges) c.ranges.emplace(name, range);
  // What a repair added and wants left alone.
  std::set<std::string> known;
  for (const LayerReport& l : best_->report.layers)
    if (l.quantized || !l.by_name) known.insert(l.node);
  for (const Node& n : float_source_->graph.nodes)
    if (!known.contains(n.name)) c.left_float.emplace(n.name, "a repair needs it as it is");
  if (float_source_ == source_) c.left_float = best_->candidate.config.left_float;
  return c;
}

Candidate Search::alone(const std::string& node) const {
  Candidate c{.what = node, .config = on_float_source()};
  c.source = float_source_;
  c.config.repairs.clear();
  c.config.training.epochs = 0;  // what its integers do, not what training makes of them
  c.config.include_nodes = {node};
  c.config.include_ops.clear();
  c.samples = only_a_few() ? kQuickSamples : kSensitivitySamples;
  c.trial = false;
  return c;
}

void Search::plan_layers() {
  std::vector<Step> layers;
  double all = 0;
  for (const LayerReport& l : best_->report.layers) all += l.quantized ? macs_of(l) : 0;
  const double most = only_a_few() ? kFewFloat * all : all;
  for (const LayerReport& l : best_->report.layers) {
    if (!l.quantized || macs_of(l) == 0 || macs_of(l) > most ||
        (only_a_few() && bytes_in_half(l) > most_bytes()))
      continue;
    layers.push_back([this, l]() -> std::optional<Candidate> {
      Candidate c = alone(l.node);
      on_outcome_ = [this, l](std::unique_ptr<Outcome> o) {
        effects_.push_back(
            {.node = l.node, .noise = o->noise, .macs = macs_of(l), .bytes = bytes_in_half(l)});
        sensitivity_[l.node] = {o->sqnr_db, o->cosine};
      };
      return c;
    });
  }
  layers.push_back([this]() -> std::optional<Candidate> {
    plan_mixed();
    return std::nullopt;
  });
  steps_.insert(steps_.begin() + static_cast<std::ptrdiff_t>(at_), std::make_move_iterator(layers.begin()),
                std::make_move_iterator(layers.end()));
  expected_ = tried_ + layers.size();
}

Candidate Search::sparing(const std::vector<const Effect*>& layers, bool wide) const {
  Candidate c = best_->candidate;
  const DType wider = is_signed_integer(c.config.activations) ? DType::kInt16 : DType::kUint16;
  for (const Effect* e : layers) {
    Precision& p = c.config.precision.try_emplace(e->node, Precision{{}, c.config.weights}).first->second;
    if (wide && e->wide) {
      p.activations = wider;
      ++c.wide_layers;
    } else {
      p = {DType::kUndefined, DType::kFloat16};
      ++c.float_layers;
    }
  }
  const auto say = [&](size_t count, std::string_view what) {
    if (count > 0) c.what += Text({" + ", count, count == 1 ? " layer " : " layers ", what}).str();
  };
  say(c.wide_layers, "with 16-bit activations");
  say(c.float_layers, "in float (float16 weights)");
  return c;
}

void Search::plan_mixed() {
  phase_ = "mixed precision";
  sort_small(effects_, [](const Effect& a, const Effect& b) { return a.noise > b.noise; });
  if (config_.target_sqnr > 0 || for_answers()) {
    for_quality();
  } else if (config_.target_bytes > 0) {
    for_size();
  } else if (auto_) {
    a_few();
  }
}

std::vector<const Effect*> Search::worst(size_t count) const {
  std::vector<const Effect*> layers;
  for (size_t i = 0; i < count; ++i) layers.push_back(&effects_[i]);
  return layers;
}

}  // namespace zp::quant
