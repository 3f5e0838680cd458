#include "onnx/written.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace zp::onnx {

size_t WrittenFile::own_before(uint64_t at) const {
  const auto next =
      std::ranges::lower_bound(tensors_, at, {}, [](const Placed& placed) { return placed.offset; });
  if (next == tensors_.begin()) return static_cast<size_t>(at);
  const Placed& last = next[-1];
  return static_cast<size_t>(at - last.before - last.tensor.bytes());
}

void WrittenFile::add(const std::byte* bytes, size_t count) {
  own_.insert(own_.end(), bytes, bytes + count);
  size_ += count;
}

void WrittenFile::add(Tensor tensor) {
  const uint64_t before = tensors_.empty() ? 0 : tensors_.back().before + tensors_.back().tensor.bytes();
  const size_t bytes = tensor.bytes();
  tensors_.push_back({size_, std::move(tensor), before});
  size_ += bytes;
}

void WrittenFile::erase(uint64_t from, uint64_t to) {
  const size_t first = own_before(from), count = static_cast<size_t>(to - from);
  own_.erase(own_.begin() + static_cast<ptrdiff_t>(first),
             own_.begin() + static_cast<ptrdiff_t>(first + count));
  for (auto placed = tensors_.rbegin(); placed != tensors_.rend() && placed->offset >= to; ++placed)
    placed->offset -= count;
  size_ -= count;
}

void WrittenFile::cut(uint64_t size) {
  own_.resize(own_before(size));
  size_ = size;
}

void WrittenFile::read(uint64_t from, std::span<std::byte> to) const {
  std::ranges::fill(to, std::byte{0});
  const uint64_t end = from + to.size();
  // Own bytes between two tensors; behind the last of them, zeros.
  const auto copy_own = [&](uint64_t first, uint64_t last) {
    const uint64_t low = std::max(first, from), high = std::min(last, end);
    if (low >= high) return;
    const size_t at = own_before(low);
    if (at >= own_.size()) return;
    const size_t count = std::min(static_cast<size_t>(high - low), own_.size() - at);
    std::memcpy(to.data() + (low - from), own_.data() + at, count);
  };
  uint64_t done = 0;
  for (const Placed& placed : tensors_) {
    if (placed.offset >= end) break;
    const uint64_t bytes = placed.tensor.bytes();
    if (placed.offset + bytes <= from) {
      done = placed.offset + bytes;
      continue;
    }
    if (!own_.empty()) copy_own(done, placed.offset);
    done = placed.offset + bytes;
    const uint64_t low = std::max(placed.offset, from), high = std::min(done, end);
    std::memcpy(to.data() + (low - from), placed.tensor.raw() + (low - placed.offset),
                static_cast<size_t>(high - low));
    if (high == done) placed.tensor.forget();
  }
  if (!own_.empty()) copy_own(done, size_);
}

}  // namespace zp::onnx
