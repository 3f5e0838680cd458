// A job is a row of stages that hand a JobState on. The built-in ones prepare the graph, decide, calibrate,
// place and report; a repair (equalisation, bias correction, learned rounding, ...) is one more stage between
// two of them. To add one, add a file to repairs/ that registers it.
//
//   order    stage       leaves in the state
//   0        prepare     `prepared`: the simplified float graph
//   100...   (repairs that change float weights: edit `prepared`)
//   200      decide      `plan`
//   300      calibrate   `ranges`, `params`
//   350      measure     `plan`, where values become float16
//   400      place       `result`, `weights`, `biases`
//   480      narrow      `params`, `weights`: fewer integers than types have, where training asks for them
//   500...   (repairs that change integers and biases, which are constants of `result`; see layerwise.h)
//   790, 800 train       constants of `result`, from what the repairs left
//   850      halve       nodes and values of `result`, where they are float16
//   890      store       constants of `result`: those of half precision in the file are so again
//   900      report      `report`
#pragma once

#include <map>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "quant/observer.h"
#include "quant/placement.h"
#include "quant/plan.h"
#include "quant/quant.h"
#include "quant/scheme.h"

namespace zp::quant {

struct JobState {
  std::shared_ptr<const Model> source;
  Config config;
  int threads = 1;
  const Scheme* scheme = nullptr;

  std::shared_ptr<Model> prepared;  // ids of values and indices of nodes, below, are of its graph
  Plan plan;
  // Of the branches of `prepared`, by their graph there: layers in them are planned and placed on their own.
  std::map<const Graph*, Plan> branches;
  std::map<const Graph*, std::vector<PlacedWeight>> branch_weights;
  std::vector<Range> ranges;                        // by group of the plan
  std::vector<QParams> params;                      // by group of the plan
  std::map<std::string, Range, std::less<>> found;  // by name of each value observed
  std::shared_ptr<Model> result;                    // values of `prepared` keep their ids in it
  std::vector<PlacedWeight> weights;
  std::vector<PlacedBias> biases;
  std::vector<std::string> repaired;  // what each repair, and training, did, a sentence each
  Report report;
  size_t samples = 0;           // that calibrated
  size_t series = 0;            // how many there are, once a sweep went through all of them
  std::vector<size_t> numbers;  // those of the samples for the caller, from 1; empty: 1, 2, ...
  size_t number_of(size_t sample) const { return numbers.empty() ? sample : numbers[sample - 1]; }
  std::optional<TrainingProgress> training;  // once there is some
  std::map<ValueId, Shape> fed;  // shapes of the first sample's feeds, and of values that were observed
};

class Workload;    // quant/estimate.h
struct StageCost;  // likewise

class Stage {
 public:
  virtual ~Stage() = default;
  // Works for about `milliseconds`. True: nothing to do until a sample comes, or the stage is over.
  virtual bool advance(double milliseconds) = 0;
  // For stages that look at samples. After end_samples(), advance() is called again.
  virtual bool wants_samples() const { return false; }
  // Who keeps the feeds moves them.
  virtual void begin_sample(std::vector<runtime::Feed>) {}  // NOLINT(performance-unnecessary-value-param)
  // Whether the sample that is next would be looked at. One that is not may be left out: skip_sample().
  virtual bool wants_next() const { return true; }
  virtual void skip_sample() {}
  virtual bool enough() const { return false; }
  virtual void end_samples() {}
  virtual void stop() {}  // for stages that get better with time: what there is now will do
  virtual size_t done() const { return 0; }
  virtual size_t total() const { return 0; }
};

// Stages before the one that decides change the float graph.
inline constexpr int kDecideOrder = 200;

struct StageDef {
  std::string_view name;
  std::string_view title = {};     // a few words; of a repair
  std::string_view sentence = {};  // what it does; of a repair
  std::string_view more = {};      // ZP_MORE (named.h): what else there is to know, in Markdown
  int order = 0;
  bool takes_targets = false;  // samples with target:... feeds (quant/training.h); others do not see those
  bool repair = false;         // runs when Config::repairs names it; else in every job
  // Of a repair: whether it is worth its time for everyone who has such a configuration. Null: never.
  bool (*by_default)(const Config&, const Scheme&) = nullptr;
  // Of a repair of what has been placed: by default it runs checked (checked.h).
  bool checkable = false;
  // It may make the outputs worse, and cannot know: it is checked wherever there are samples, named or not.
  bool doubtful = false;
  // Chooses the integers of weights anew, of all that the type has: not of the fewer that training may ask
  // for.
  bool rounds_weights = false;
  // What rounding does to the means of channels, it takes back with biases.
  bool corrects_means = false;
  // Of a repair that is not by default: whether mode "auto" tries it with such a configuration. Null: never.
  bool (*worth_trying)(const Config&) = nullptr;
  // Of other stages: whether such a configuration has it. Null: each has.
  bool (*runs)(const Config&, const Scheme&) = nullptr;
  // What it needs samples for. Null: never.
  bool (*needs_samples)(const Config&, const Scheme&) = nullptr;
  // What it takes of memory and time. Null: nothing worth counting.
  void (*cost)(const Workload&, const Options&, StageCost&) = nullptr;
  std::vector<OptionSpec> options = {};
  // The state outlives the stage.
  std::unique_ptr<Stage> (*make)(JobState&, const Options&) = nullptr;

  bool changes_graph() const { return repair && order < kDecideOrder; }
};

// For StageDef::make: T is made of the state, and of the options if it reads some.
template <class T>
std::unique_ptr<Stage> make_stage(JobState& state, const Options& options) {
  if constexpr (std::is_constructible_v<T, JobState&, Options>) {
    return std::make_unique<T>(state, options);
  } else {
    return std::make_unique<T>(state);
  }
}

class RegisterStage {
 public:
  explicit RegisterStage(const StageDef& def);
};

std::vector<const StageDef*> all_stages();  // by order, then name
// Whether this repair, which need not be there, changes the float graph.
bool changes_graph(std::string_view repair);

// Work in pieces: piece(i) for i in [0, count), as many a slice as fit the time.
class PiecewiseStage : public Stage {
 public:
  bool advance(double milliseconds) final;
  size_t done() const final { return next_; }
  size_t total() const final { return count_; }

 protected:
  virtual size_t start() = 0;  // gives the number of pieces
  virtual void piece(size_t i) = 0;
  virtual void end() {}  // after the last one

 private:
  size_t next_ = 0, count_ = 0;
  bool started_ = false, ended_ = false;
};

}  // namespace zp::quant
