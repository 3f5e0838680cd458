#include "quant/stage.h"

#include <algorithm>
#include <utility>

#include "core/sort.h"
#include "core/stopwatch.h"
#include "quant/quantization_job.h"
#include "quant/registry.h"

namespace zp::quant {

RegisterStage::RegisterStage(const StageDef& def) { Registry<StageDef>::instance().add(def); }

std::vector<const StageDef*> all_stages() {
  std::vector<const StageDef*> stages;
  for (const StageDef& d : Registry<StageDef>::instance().all()) stages.push_back(&d);
  sort_small(stages, [](const auto* a, const auto* b) {
    return a->order != b->order ? a->order < b->order : a->name < b->name;
  });
  return stages;
}

std::vector<std::string_view> repair_names() {
  std::vector<std::string_view> names;
  for (const StageDef* d : all_stages())
    if (d->repair) names.push_back(d->name);
  return names;
}

std::vector<Named> repairs() {
  std::vector<Named> all;
  for (const StageDef* d : all_stages())
    if (d->repair) all.push_back({d->name, d->title, d->sentence, d->more});
  return all;
}

bool changes_graph(std::string_view repair) {
  const StageDef* d = Registry<StageDef>::instance().find(repair);
  return d && d->changes_graph();
}

Config with_default_repairs(Config config) {
  if (!std::exchange(config.default_repairs, false)) return config;
  const Scheme& scheme = scheme_named(config.mode);
  if (scheme.trains) return config;
  std::vector<std::string>& named = config.repairs;
  for (const StageDef* d : all_stages())
    if (d->by_default && d->by_default(config, scheme) &&
        std::find(named.begin(), named.end(), d->name) == named.end())
      named.emplace_back(d->name);
  return config;
}

std::vector<OptionSpec> option_specs() {
  std::vector<OptionSpec> specs;
  const auto take = [&](const std::vector<OptionSpec>& of) {
    specs.insert(specs.end(), of.begin(), of.end());
  };
  for (const ObserverDef& d : all_observers()) take(d.options);
  for (const StageDef* d : all_stages()) take(d->options);
  return specs;
}

bool PiecewiseStage::advance(double milliseconds) {
  const Stopwatch watch(milliseconds);
  if (!started_) {
    count_ = start();
    started_ = true;
  }
  while (next_ < count_) {
    piece(next_++);
    if (next_ < count_ && watch.over()) return false;
  }
  if (!ended_) {
    end();
    ended_ = true;
  }
  return true;
}

}  // namespace zp::quant
