#include "train/samples.h"

#include <cstring>

#include "core/error.h"

namespace zp::train {

void Samples::add(const std::vector<runtime::Feed>& feeds) {
  int64_t rows = -1;
  for (const runtime::Feed& f : feeds) {
    bytes_ += f.tensor.bytes();
    Column& column = columns_[f.name];
    if (!stackable_) {
      column.whole.push_back(f.tensor);
      continue;
    }
    const Shape& dims = f.tensor.dims();
    if (dims.empty() || (rows >= 0 && dims[0] != rows)) {
      throw Error(ErrorCode::kInvalidFeed, "the feeds of a sample do not have as many rows as each other",
                  {.tensor = f.name});
    }
    rows = dims[0];
    const Shape row(dims.begin() + 1, dims.end());
    if (column.dtype == DType::kUndefined) {
      column.dtype = f.tensor.dtype();
      column.row = row;
    }
    if (column.row != row || column.dtype != f.tensor.dtype()) {
      throw Error(ErrorCode::kInvalidFeed,
                  {"a sample has rows of shape ", row, " where those before had ", column.row},
                  {.tensor = f.name, .hint = "bring the samples to one size"});
    }
    column.data.insert(column.data.end(), f.tensor.raw(), f.tensor.raw() + f.tensor.bytes());
  }
  count_ += stackable_ ? static_cast<size_t>(std::max<int64_t>(rows, 0)) : 1;
}

std::vector<runtime::Feed> Samples::batch(const std::vector<size_t>& which) const {
  std::vector<runtime::Feed> feeds;
  for (const auto& [name, column] : columns_) {
    if (!stackable_) {
      feeds.push_back({name, column.whole.at(which.at(0))});
      continue;
    }
    Shape dims = column.row;
    dims.insert(dims.begin(), static_cast<int64_t>(which.size()));
    Tensor t(column.dtype, dims);
    const size_t bytes = column.data.size() / std::max<size_t>(1, count_);
    for (size_t i = 0; i < which.size(); ++i)
      std::memcpy(t.mutable_raw() + i * bytes, column.data.data() + which[i] * bytes, bytes);
    feeds.push_back({name, std::move(t)});
  }
  return feeds;
}

}  // namespace zp::train
