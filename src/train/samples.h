// The samples of a run, kept in memory: they are seen again in every epoch, in another order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "runtime/session.h"

namespace zp::train {

// Any number of samples can be one batch: dimension 0 of every input and output is free.
bool is_stackable(const Graph& graph);

// Throws kOutOfMemory where kept samples take more bytes than allowed.
void check_memory(double bytes, double limit);

class Samples {
 public:
  // `stackable`: samples are rows along dimension 0 of every feed, and any number of them makes a batch, as
  // long as all rows have one shape. Else each one is run by itself, as it came.
  explicit Samples(bool stackable) : stackable_(stackable) {}

  // Throws kInvalidFeed where the feeds do not fit together, or those that came before.
  void add(const std::vector<runtime::Feed>& feeds);
  size_t count() const { return count_; }
  size_t bytes() const { return bytes_; }
  bool stackable() const { return stackable_; }
  // These samples as one batch: of one sample, if they cannot be stacked.
  std::vector<runtime::Feed> batch(const std::vector<size_t>& which) const;

 private:
  struct Column {
    std::string feed;
    DType dtype = DType::kUndefined;
    Shape row;                    // dimensions behind the first
    std::vector<std::byte> data;  // rows after rows
    std::vector<Tensor> whole;    // or the tensors, where they are not stacked
  };
  bool stackable_;
  Column& column_of(const std::string& feed);
  bool fits(const std::vector<runtime::Feed>& feeds) const;  // rows like those before
  void take_apart();

  std::vector<Column> columns_;
  size_t count_ = 0, bytes_ = 0;
};

}  // namespace zp::train
