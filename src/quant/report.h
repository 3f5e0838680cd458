// Reports: each layer of a model, its quantization and the cost of it; errors of layers; the agreement of two
// models.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "graph/graph.h"
#include "quant/findings.h"
#include "quant/numbers.h"
#include "runtime/session.h"

namespace zp::quant {

struct Config;

struct WeightReport {
  std::string name;
  DType dtype = DType::kUndefined;
  std::string granularity;  // "tensor", "channel", "block"
  int64_t elements = 0;
  int64_t scales = 0;      // how many
  int64_t block_size = 0;  // 0: no blocks
  float min = 0, max = 0;  // of the float weight
  double sqnr_db = 0;  // of the dequantized weight against the float one; NaN: not measured, infinite: exact
  ChannelSpread spread;  // of output channels, where it was measured
};

struct ActivationReport {
  std::string value;   // its name in the float model
  bool input = false;  // of the layer; else its output
  DType dtype = DType::kUndefined;
  float min = 0, max = 0;  // the range it covers
  float scale = 0;         // 0: not known yet, or found at run time
  int64_t zero_point = 0;
  bool dynamic = false;  // found at run time
};

// How values are distributed: at most 64 bins. Bin i holds [left + i * width, left + (i + 1) * width).
struct Distribution {
  double left = 0, width = 0;  // 0: all values were 0, or there were none
  std::vector<uint64_t> counts;
  uint64_t zeros = 0;  // values that are exactly 0, which no bin has
};

struct LayerError {
  std::string node, op, output;
  bool quantized = false;  // the value compared is one that the quantized model holds as integers, or float16
  double sqnr_db = 0;      // of the quantized model's value against the float one: errors accumulated so far
  double own_sqnr_db = 0;  // of rounding the float value itself to its integers; infinite: not rounded
  double cosine = 0;
  double max_abs = 0;
  double saturated = 0;  // share of float values outside the covered range, 0...1
  int64_t outside = 0;   // how many those are
  // Of the float model's values:
  Distribution values;
  ChannelSpread spread;   // where the value has the channels of a product
  double half_steps = 0;  // integers that the middle half of the values other than 0 covers; 0: not rounded
  double shifted = 0;     // share of the error's energy that is a shift of each channel's mean, 0...1
  DType dtype = DType::kUndefined;  // of the integers, with the range that they cover; or float16
  std::optional<Range> clip;
  std::vector<Finding> findings;  // what is wrong, and what helps
};

struct LayerReport {
  std::string node, op;  // the node's name and its operator, as "Conv" or "com.microsoft.Gelu"
  std::string output;    // name of its first output: what LayerErrors is keyed by
  bool quantized = false;
  bool by_name = false;           // left in float by its name: excluded, or by a search or a repair
  std::string why;                // one sentence in plain words
  std::vector<Finding> findings;  // what is wrong with its weight, and what helps
  std::optional<WeightReport> weight;
  std::vector<ActivationReport> activations;
  double macs = 0;        // multiply-accumulates of one run; 0: none, or shapes unknown
  double macs_share = 0;  // of the model's, 0...1
  // What quantizing this layer alone does to the model's outputs, where it was measured.
  struct Sensitivity {
    double sqnr_db = 0, cosine = 0;
  };
  std::optional<Sensitivity> sensitivity;
  std::optional<LayerError> error;  // of its output, where it was measured
};

// A way of quantizing that a search tried.
struct Trial {
  std::string what;    // in plain words
  double sqnr_db = 0;  // of the outputs, over the samples held out
  double cosine = 0;
  size_t weight_bytes = 0;
  double drop = 0;      // share of right answers lost (Config::labels), or of answers that differ; NaN: none
  double accuracy = 0;  // share of right answers; NaN: no labels
  size_t float_layers = 0;               // of those with weights, whose activations are float
  size_t wide_layers = 0;                // whose activations have 16 bits
  std::shared_ptr<const Config> config;  // makes it again
  bool kept = false;
};

struct Report {
  std::string mode;
  std::string format;               // how the result is to be written: see in_format()
  std::vector<LayerReport> layers;  // in the order of the (simplified) graph
  std::vector<std::string> warnings;
  std::vector<std::string> repairs;      // what each repair, and training, did, a sentence each
  std::vector<std::string> repairs_run;  // their names
  std::vector<Trial> trials;             // of a search, in order
  size_t layers_quantized = 0;
  size_t weight_bytes_before = 0, weight_bytes_after = 0;  // of all constants, scales included
  double macs = 0, macs_quantized = 0;
  size_t samples = 0;  // that calibration saw, or by which a search chose what calibrates nothing
};

// ------------------------------------------------------------------------------------------------
// comparisons

// Sums of squares of a signal and of its error, streamed. Where the signal is NaN or infinite (padded rows,
// masks), nothing is expected of the other, and nothing counted.
struct ErrorSums {
  double signal = 0, noise = 0;  // sum of x^2, sum of (x - y)^2
  double dot = 0, other = 0;     // sum of x*y, sum of y^2
  double max_abs = 0;            // largest |x - y|
  int64_t count = 0;
  // 10 log10(signal / noise); infinite when they are equal, NaN when nothing was seen.
  double sqnr_db() const;
  double cosine() const;  // 1 when both are all zero
  void add(const float* x, const float* y, size_t n);
  void merge(const ErrorSums& other);
};

// Runs a float model and its quantized form side by side, in step, so that few values are held at a time.
class LayerErrors {
 public:
  // `quantized` is the Q/DQ form that Quantizer gave for `reference` (or any model whose values have the same
  // names).
  LayerErrors(std::shared_ptr<const Model> reference, std::shared_ptr<const Model> quantized,
              int threads = 1);
  ~LayerErrors();
  LayerErrors(const LayerErrors&) = delete;
  LayerErrors& operator=(const LayerErrors&) = delete;

  void begin(std::vector<runtime::Feed> feeds);
  bool advance(double milliseconds);  // true when this sample is through
  size_t done() const;                // steps of this sample
  size_t total() const;
  std::vector<LayerError> result() const;  // over the samples so far, in the order of the graph

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

struct OutputAgreement {
  std::string output;
  double sqnr_db = 0, cosine = 0, max_abs = 0;
  // Share of rows (along the last dimension) whose largest element is the same, 0...1; NaN: the output has
  // one element a row. For integer and bool outputs: share of equal elements.
  double top1 = 0;
  int64_t rows = 0;
  // Samples in which the output has other dimensions in the two models (a length that a layer computes): they
  // are in none of the other figures, which are NaN where there is no other sample.
  int64_t other_shapes = 0;
};

struct AgreementResult {
  std::vector<OutputAgreement> outputs;
  size_t samples = 0;
  // Median of a run, as run here in slices: an indication, not a benchmark.
  double reference_ms = 0, candidate_ms = 0;
};

// How two models agree over samples.
class Agreement {
 public:
  Agreement(std::shared_ptr<const Model> reference, std::shared_ptr<const Model> candidate, int threads = 1);
  ~Agreement();
  Agreement(const Agreement&) = delete;
  Agreement& operator=(const Agreement&) = delete;

  // Feeds are the reference's; where the candidate takes integers (Config::quantized_inputs), they are
  // quantized.
  void begin(std::vector<runtime::Feed> feeds);
  bool advance(double milliseconds);
  size_t done() const;
  size_t total() const;
  AgreementResult result() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace zp::quant
