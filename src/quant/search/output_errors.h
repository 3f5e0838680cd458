// The measure of a search: outputs of a candidate against those of the float model.
#pragma once

#include <memory>
#include <vector>

#include "quant/integer_io.h"
#include "quant/report.h"
#include "runtime/session.h"

namespace zp::quant {

// The outputs of many models over the same few samples, against the float model's, which are computed once.
class OutputErrors {
 public:
  using Samples = std::vector<std::vector<runtime::Feed>>;
  // `labels`: the class of each sample, or empty.
  OutputErrors(std::shared_ptr<const Model> reference, Samples samples, std::vector<int32_t> labels,
               int threads);

  // The next model, over the first `most` samples; then advance() until true.
  void begin(std::shared_ptr<const Model> candidate, size_t most);
  bool advance(double milliseconds);
  // Noise against signal, of all outputs alike: the mean of their ratios.
  double noise() const;
  double sqnr_db() const;
  double cosine() const;                   // the smallest of any output
  std::vector<double> outputs_db() const;  // signal to noise of each; infinite: nothing to hear
  // Of answers: the index of the largest element in each row of the first output that has rows of several.
  // Share of right ones lost against the float model, or without labels of those that differ. NaN: no
  // answers.
  double drop() const;
  double accuracy() const;  // share of right ones; NaN: no labels
  int64_t answers() const { return answers_; }
  size_t samples() const { return samples_.size(); }

 private:
  void compare(const std::vector<Tensor>& outputs);
  void count_answers(const Tensor& expected, const std::vector<float>& values);

  std::shared_ptr<const Model> reference_;
  Samples samples_;
  int threads_;
  std::vector<std::vector<Tensor>> expected_;  // by sample
  std::unique_ptr<runtime::Session> session_;
  bool running_ = false, is_reference_ = true;
  size_t sample_ = 0, most_ = 0;
  EdgeParams inputs_, integers_;
  std::vector<std::string> names_;  // of the candidate's outputs
  std::vector<ErrorSums> sums_;
  std::vector<int32_t> labels_;
  int64_t answers_ = 0, same_ = 0, right_ = 0, right_before_ = 0;
};

}  // namespace zp::quant
