#include "train/samples.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace zp::train {

bool is_stackable(const Graph& graph) {
  const auto free = [&](ValueId v) {
    const auto& shape = graph[v].shape;
    return shape && !shape->empty() && !(*shape)[0].known();
  };
  return !graph.inputs.empty() && std::all_of(graph.inputs.begin(), graph.inputs.end(), free) &&
         std::all_of(graph.outputs.begin(), graph.outputs.end(), free);
}

void check_memory(double bytes, double limit) {
  if (bytes <= limit) return;
  throw_error(ErrorCode::kOutOfMemory,
              {"training keeps its samples, which take more than the ", static_cast<int64_t>(limit) >> 20,
               " MiB that are allowed"},
              {.hint = "train on fewer samples, or raise memoryLimit"});
}

Samples::Column& Samples::column_of(const std::string& feed) {
  for (Column& c : columns_)
    if (c.feed == feed) return c;
  return columns_.emplace_back(Column{.feed = feed});
}

// From now on every row is a sample by itself.
void Samples::take_apart() {
  for (Column& column : columns_) {
    Shape dims = column.row;
    dims.insert(dims.begin(), 1);
    const size_t bytes = column.data.size() / std::max<size_t>(1, count_);
    for (size_t i = 0; i < count_; ++i) {
      Tensor t(column.dtype, dims);
      std::memcpy(t.mutable_raw(), column.data.data() + i * bytes, bytes);
      column.whole.push_back(std::move(t));
    }
    column.data = {};
  }
  stackable_ = false;
}

bool Samples::fits(const std::vector<runtime::Feed>& feeds) const {
  for (const runtime::Feed& f : feeds) {
    const Shape& dims = f.tensor.dims();
    for (const Column& c : columns_)
      if (c.feed == f.name && !dims.empty() &&
          (c.dtype != f.tensor.dtype() || c.row != Shape(dims.begin() + 1, dims.end())))
        return false;
  }
  return true;
}

void Samples::add(const std::vector<runtime::Feed>& feeds) {
  if (stackable_ && !fits(feeds)) take_apart();
  int64_t rows = -1;
  for (const runtime::Feed& f : feeds) {
    bytes_ += f.tensor.bytes();
    Column& column = column_of(f.name);
    if (!stackable_) {
      column.whole.push_back(f.tensor);
      continue;
    }
    const Shape& dims = f.tensor.dims();
    if (dims.empty() || (rows >= 0 && dims[0] != rows)) {
      throw_error(ErrorCode::kInvalidFeed, "the inputs of a sample have different numbers of rows",
                  {.tensor = f.name});
    }
    rows = dims[0];
    column.dtype = f.tensor.dtype();
    column.row.assign(dims.begin() + 1, dims.end());
    column.data.insert(column.data.end(), f.tensor.raw(), f.tensor.raw() + f.tensor.bytes());
  }
  count_ += stackable_ ? static_cast<size_t>(std::max<int64_t>(rows, 0)) : 1;
}

std::vector<runtime::Feed> Samples::batch(const std::vector<size_t>& which) const {
  std::vector<runtime::Feed> feeds;
  for (const Column& column : columns_) {
    if (!stackable_) {
      feeds.push_back({column.feed, column.whole.at(which.at(0))});
      continue;
    }
    Shape dims = column.row;
    dims.insert(dims.begin(), static_cast<int64_t>(which.size()));
    Tensor t(column.dtype, dims);
    const size_t bytes = column.data.size() / std::max<size_t>(1, count_);
    for (size_t i = 0; i < which.size(); ++i)
      std::memcpy(t.mutable_raw() + i * bytes, column.data.data() + which[i] * bytes, bytes);
    feeds.push_back({column.feed, std::move(t)});
  }
  return feeds;
}

}  // namespace zp::train
