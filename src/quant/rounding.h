// What repairs that choose other integers for a weight share: the weights of a layer, group by group, as rows
// of a matrix with the second moments of the inputs that they meet.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "quant/bias.h"
#include "quant/layerwise.h"
#include "quant/matrix.h"
#include "quant/product_layer.h"

namespace zp::quant {

// One group of a layer. All matrices are [rows, depth]; codes are integers less their zero points. Over the
// patches X [n, depth] that the layer saw, with E = code * scale - w and R = (float outputs) - X w', the
// squared error of its outputs is
//
//   |X E' - R|^2 = sum over E * (E G) - 2 E * C + const        G = X'X        C = R'X
//
// A layer with a bias leaves it the means: X and R are then taken less theirs, and the bias moves by what is
// left of them, mean R - E mean X.
struct RoundingProblem {
  int64_t rows = 0, depth = 0;
  std::vector<float> w, scale;
  std::vector<int32_t> code, least, most;
  std::vector<float> g;  // [depth, depth], damped
  std::vector<float> c;
  double damping = 0;  // what was added to g's diagonal
  // Whether scales may move: each row then has one, for itself.
  bool scales_move = false;

  float error(size_t i) const { return static_cast<float>(code[i]) * scale[i] - w[i]; }
};

class RoundingStage : public LayerwiseStage {
 protected:
  RoundingStage(JobState& state, size_t samples, size_t patches);

  // Solves for problem.code. solve() until true; begin_group() before.
  virtual void begin_group(RoundingProblem& problem) = 0;
  virtual bool solve(RoundingProblem& problem, double milliseconds) = 0;
  ThreadPool* pool() const { return pool_.get(); }

  // "12 % of the weights of 5 layers are not rounded to the nearest, over 32 samples"
  std::string in_words() const;

 private:
  bool begin(const Layer& layer) final;
  bool work(double milliseconds) final;
  void read(size_t sample);
  void start();
  void set_up(int64_t group);
  bool add_up(double milliseconds);
  bool scales_can_move() const;
  void take(int64_t group);
  void finish();

  size_t patches_;
  std::shared_ptr<ThreadPool> pool_;
  std::set<ValueId> changed_;  // integers that several layers read are rounded for the first

  Layer layer_;
  ProductLayer product_;
  std::unique_ptr<PatchReader> reader_;
  Observations seen_;
  std::vector<uint32_t> indices_;  // by weight: its scale
  std::vector<float> scales_, scales_before_;
  bool scales_move_ = false;
  std::vector<int32_t> zeros_, codes_;
  std::optional<BiasPlace> bias_;
  std::vector<double> mean_, shift_;  // of the group's inputs; by channel: what the bias has to move by
  size_t sample_ = 0;
  int64_t group_ = 0;
  std::unique_ptr<RoundingProblem> problem_;
  std::unique_ptr<Gram> gram_;  // while problem_->g is being made

  size_t layers_ = 0;
  double moved_ = 0, weights_ = 0;
};

}  // namespace zp::quant
