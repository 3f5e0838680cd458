// The door of the quantizer: a float model, a configuration and samples go in; a model with QuantizeLinear
// and DequantizeLinear in it, and a report, come out.
//
//   Quantizer job(model, {.mode = "static"}, threads);
//   for (;;) {
//     while (!job.advance(20)) {}                     // until it wants samples, or is done
//     if (job.done()) break;
//     for (auto& feeds : samples) {
//       job.begin_sample(feeds);
//       while (!job.advance(20)) {}
//       if (job.enough()) break;
//     }
//     job.end_samples();
//   }
//   Model small = job.result();
//
// Everything long is cut into slices. To cancel, destroy the job.
//
// Such a caller gives all samples in each sweep. One who cannot do so easily has the job keep them:
// Feeding::keep.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "graph/graph.h"
#include "quant/named.h"
#include "quant/numbers.h"
#include "quant/report.h"
#include "quant/training.h"
#include "runtime/session.h"

namespace zp::quant {

struct StageCost;  // quant/estimate.h

// One node's own choice, where it differs from the rest of the model. kUndefined: float. Weights may be
// kFloat16 where activations are float.
struct Precision {
  DType activations = DType::kUint8;
  DType weights = DType::kInt8;
};

struct Config {
  std::string mode = "static";        // a scheme: see scheme_names(); or "auto": see search.cpp
  DType activations = DType::kUint8;  // kUint8, kInt8, kUint16, kInt16 ("static" only; "dynamic" is uint8)
  // kInt8, kUint8; "weight-only" and "static" also kInt4, kUint4; "weight-only" also kInt2, kUint2
  DType weights = DType::kInt8;
  bool per_channel = true;        // weights: one scale per output channel, else one per tensor
  bool symmetric_weights = true;  // zero point in the middle of the type
  bool symmetric_activations = false;
  bool reduce_range = false;            // 7-bit weights, for machines whose 8-bit products saturate
  int64_t block_size = 32;              // fewer than 8 bits: elements per scale; a power of two, 16...256
  bool quantized_inputs = false;        // the model takes integers where its inputs are quantized
  bool quantized_outputs = false;       // the model gives integers where its outputs are quantized
  std::string observer = "min-max";     // see observer_names()
  std::string format = {};              // for in_format(): "qdq" or "qoperator"; empty: as the scheme says
  std::string runtime = "onnxruntime";  // where the file is to run: see runtimes.h
  // Names of the package's options that somebody chose: what a runtime does not take of them is refused, and
  // all else made to suit it, of which `adapted` tells in sentences.
  std::set<std::string, std::less<>> chosen;
  std::vector<std::string> adapted;
  // Nodes by name and operators by type. An empty include list includes all; exclusion wins.
  std::vector<std::string> include_nodes, exclude_nodes, include_ops, exclude_ops;
  // Nothing is quantized: the result is the model as it is prepared, and what it had as integers stays so.
  bool only_prepares = false;
  // Nodes that nobody excluded, but a search or a repair leaves in float: by name, with the reason in words.
  std::map<std::string, std::string, std::less<>> left_float;
  std::map<std::string, Precision, std::less<>> precision;  // by node name
  std::map<std::string, Range, std::less<>> ranges;         // by value name: used as they are, not observed
  // Numbers that observers and stages declare, e.g. {"percentile", 99.99}: see option_specs().
  std::map<std::string, double, std::less<>> options;
  // Repairs to run, by name: see repair_names(). `default_repairs`: also those that say of themselves that
  // they suit this configuration.
  std::vector<std::string> repairs;
  bool default_repairs = false;
  // There are samples to give, though the mode may not need them: default repairs may ask for them.
  bool has_samples = false;
  // What to reach by giving the layers that are worst quantized 16 bits or float. 0: nothing.
  double target_sqnr = 0;   // dB, of the outputs
  double target_bytes = 0;  // of constants: as many layers in float as fit
  double target_drop = 0;   // of right answers, as a share of all, 0...1; without labels: of equal answers
  // The class of each sample, in the order in which they come. With them a search counts right answers.
  std::vector<int32_t> labels;
  // Measure what each layer's quantization does to the outputs, for the report. A search does so anyway.
  bool sensitivity = false;
  Training training;  // "qat" only
};

// Where a job stands. `total` is 0 when it is not known (how many samples will come).
struct Progress {
  std::string_view phase;  // "prepare", "calibrate", "place", ...
  size_t done = 0, total = 0;
  size_t samples = 0;  // seen in this phase
  std::optional<TrainingProgress> training = {};
  // Of a job that keeps samples: whether one is under way, `done` and `total` being of it; and how many there
  // are, or 0 while that is not known.
  bool running = false;
  size_t expected = 0;
};

// How samples come to a job.
struct Feeding {
  // The job keeps samples while there is room (feeder.h) and hands them on itself: it waits only for what it
  // does not have, which is the sample with the number wanted().
  bool keep = false;
  bool once = false;  // a sample that was given cannot be given again
  // On how many samples the errors of layers are measured when all else is done: on the first ones, at most
  // 64 MB. Those that the job went through, or where it needs none and the configuration has some, others.
  size_t layer_errors = 0;
};

class Quantizer {
 public:
  // The model is shared, not copied: the result points to the same weights where they stay as they are.
  // Throws kInvalidArgument for a configuration that makes no sense, kUnsupportedOperator.
  Quantizer(std::shared_ptr<const Model> model, Config config, int threads = 1, Feeding feeding = {});
  ~Quantizer();
  Quantizer(const Quantizer&) = delete;
  Quantizer& operator=(const Quantizer&) = delete;

  // How often this configuration may go through the samples; 0: it needs none. Known from the start.
  size_t sweeps() const;

  // Works for about `milliseconds`. True when there is nothing to do until the caller acts: the sample of
  // begin_sample is through, or the job wants samples, or it is done().
  bool advance(double milliseconds);
  // The job waits for samples (another sweep over the same ones, if it had them before).
  bool wants_samples() const;
  // Where the job keeps samples: the number of the one that it waits for, from 0, in the order of the series.
  // end_samples() then says that there is no such sample.
  size_t wanted() const;
  // How often the job went through all samples that it wanted.
  size_t sweep() const;
  // Throws kInvalidFeed, kShapeMismatch. Not while a sample is under way.
  void begin_sample(std::vector<runtime::Feed> feeds);
  // More samples would change nothing worth the time; the sweep may end early.
  bool enough() const;
  // The sweep is over. Throws kInvalidArgument if there was not one sample.
  void end_samples();
  // Ends training after the step under way; the best so far is the result. Without effect on other work.
  void stop();
  // True if only the errors of layers are left to measure: the job waits for measure(), which starts the
  // threads of two sessions.
  bool measures() const;
  void measure();
  bool done() const;
  Progress progress() const;

  // When done(). The model is in Q/DQ form; quant/format.h brings it to another one for writing.
  Model result() const;
  Report report() const;
  // What calibration found, by value name: for Config::ranges of another job.
  std::map<std::string, Range, std::less<>> ranges() const;

  class Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

// Whether a job of this configuration asks for samples, as the rows of its stages say. Throws what the
// constructor of Quantizer throws.
bool needs_samples(std::shared_ptr<const Model> model, Config config);

// What would be quantized, what not, and why, before anything runs. Its layers have no numbers of
// activations, and weight numbers only with `measure_weights` (which quantizes them all, and takes as long as
// that takes).
Report plan_of(std::shared_ptr<const Model> model, const Config& config, bool measure_weights = false);

// What is known of the samples of a job before it begins.
struct Expected {
  size_t samples = 0;  // in the series
  // Of one sample, by the name of the input. Of what is missing, the dimensions that the model declares.
  std::map<std::string, Shape, std::less<>> dims;
  size_t layer_errors = 0;  // Feeding::layer_errors
  bool once = false;        // Feeding::once
};

// What a job will take, about. Bytes are beside what the model takes as it was read.
struct Estimate {
  struct Phase {
    std::string name;
    double bytes = 0;    // of all that is in memory at its worst moment
    double macs = 0;     // multiply-accumulates of products on float kernels
    double touched = 0;  // numbers that are looked at or written one by one
  };
  std::vector<Phase> phases;                               // in order; of a search, all runs of each together
  double result_bytes = 0;                                 // of constants that the result has for itself
  size_t weight_bytes_before = 0, weight_bytes_after = 0;  // as Report has them
  double node_bytes = 0;  // that a file gains for nodes, their names, and the record of how it was made
  double sample_bytes = 0;
  double run_macs = 0, run_values = 0;  // of a run of the model: numbers that it computes
  size_t layers = 0;                    // whose weights become integers
  // False: the shapes of samples do not give the size of every value. Unknown sizes count as nothing.
  bool whole = true;
  void add(std::string_view phase, double held, const StageCost& cost);
  const Phase* worst() const;  // the one with the most bytes; null: there are none
  double macs() const;
  double touched() const;
};

// Only prepares the graph and decides. Throws what the constructor of Quantizer throws.
Estimate estimate(std::shared_ptr<const Model> model, Config config, const Expected& expected,
                  int threads = 1);

// What this machine does in a millisecond.
struct Speed {
  double macs = 0, touched = 0;  // see Estimate::Phase
};
// Measures for about so many milliseconds. Engines of browsers compile code twice, so that the second
// answer is the better one.
Speed measure_speed(double milliseconds, int threads);
// What a phase will take, about.
double milliseconds_of(const Estimate::Phase& phase, const Speed& speed);

// What is registered.
std::vector<Named> modes();  // the schemes, and "auto"
std::vector<Named> observers();
std::vector<Named> repairs();
std::vector<std::string_view> scheme_names();
std::vector<std::string_view> observer_names();
std::vector<std::string_view> repair_names();
// A number of Config::options.
struct OptionSpec {
  std::string_view name, owner;  // owner: the observer or stage that reads it
  double fallback, min, max;
  std::string_view sentence = {};  // what it does
};
std::vector<OptionSpec> option_specs();

}  // namespace zp::quant
