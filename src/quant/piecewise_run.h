// Runs a graph over several samples piece by piece, so that its constants can be changed between two pieces:
// later pieces see the change, and earlier pieces are not computed again. Only values that are still needed
// are held.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "graph/graph.h"
#include "runtime/session.h"

namespace zp::quant {

class PiecewiseRun {
 public:
  // The model is looked at anew by each go(). Its nodes stay; their inputs and constants may change.
  PiecewiseRun(std::shared_ptr<const Model> model, const std::vector<std::vector<runtime::Feed>>& samples,
               int threads);

  // Runs the nodes from position() up to `until` (not included). `wanted`: values that stay readable until
  // the next go(). Then advance() until it is true.
  void go(int32_t until, const std::vector<ValueId>& wanted);
  // More samples, which run from the beginning up to position(): with what constants are by now. Only between
  // two pieces; then advance() until it is true. What had been written into values is not in theirs.
  void join(std::vector<std::vector<runtime::Feed>> samples);
  bool advance(double milliseconds);
  int32_t position() const { return position_; }

  size_t samples() const { return samples_; }
  // A value that was wanted, or that a later node reads. Writing to it changes what later nodes see.
  Tensor& value(ValueId v, size_t sample) { return live_.at(v)[sample]; }

 private:
  // The nodes from `from` up to `until` as a model that reads the `sources`, and gives what is wanted, or
  // read by later nodes.
  std::shared_ptr<Model> piece(int32_t from, int32_t until, const std::set<ValueId>& sources,
                               const std::set<ValueId>& wanted) const;
  void begin_piece();
  std::vector<runtime::Feed> feeds() const;
  void take_feeds(const std::vector<std::vector<runtime::Feed>>& samples);

  std::shared_ptr<const Model> model_;
  int threads_;
  size_t samples_;
  int32_t position_ = 0, until_ = 0;
  std::map<ValueId, std::vector<Tensor>> live_;
  std::set<ValueId> wanted_;
  std::vector<ValueId> made_;  // outputs of the piece
  std::shared_ptr<Model> piece_;
  std::unique_ptr<runtime::Session> session_;
  size_t sample_ = 0;  // that runs through the piece
  bool running_ = false;
  std::vector<std::vector<runtime::Feed>> joining_;  // the last samples, while the piece is what they missed
};

}  // namespace zp::quant
