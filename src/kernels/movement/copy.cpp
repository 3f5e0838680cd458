#include "kernels/movement/copy.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"

namespace zp::kernels {
namespace {

template <class T>
void copy_strided(const std::byte* from, std::byte* to, const BoxDimension& d) {
  const T* in = reinterpret_cast<const T*>(from);
  T* out = reinterpret_cast<T*>(to);
  for (int64_t i = 0; i < d.size; ++i) out[i * d.out_stride] = in[i * d.in_stride];
}

void copy_row(const std::byte* in, std::byte* out, const BoxDimension& d, size_t bytes) {
  if (d.in_stride == 1 && d.out_stride == 1) {
    std::memcpy(out, in, static_cast<size_t>(d.size) * bytes);
    return;
  }
  if (d.in_stride == 0 && d.out_stride == 1) return fill(out, d.size, in, bytes);
  switch (bytes) {
    case 1:
      return copy_strided<uint8_t>(in, out, d);
    case 2:
      return copy_strided<uint16_t>(in, out, d);
    case 4:
      return copy_strided<uint32_t>(in, out, d);
    case 8:
      return copy_strided<uint64_t>(in, out, d);
    default: {
      const auto b = static_cast<int64_t>(bytes);
      for (int64_t i = 0; i < d.size; ++i)
        std::memcpy(out + i * d.out_stride * b, in + i * d.in_stride * b, bytes);
    }
  }
}

}  // namespace

void fill(std::byte* out, int64_t count, const std::byte* value, size_t element_bytes) {
  if (count <= 0) return;
  if (element_bytes == 1) {
    std::memset(out, static_cast<int>(*value), static_cast<size_t>(count));
    return;
  }
  std::memmove(out, value, element_bytes);
  // Copies what is there already, twice as much each time.
  const auto total = static_cast<size_t>(count) * element_bytes;
  const size_t most = std::max<size_t>(1, 4096 / element_bytes) * element_bytes;
  for (size_t done = element_bytes; done < total;) {
    const size_t next = std::min({done, total - done, most});
    std::memcpy(out + done, out, next);
    done += next;
  }
}

BoxCopy::BoxCopy(std::span<const BoxDimension> dims, size_t element_bytes) : element_bytes_(element_bytes) {
  std::vector<BoxDimension> merged;
  for (const BoxDimension& d : dims) {
    if (d.size == 0) return;
    if (d.size == 1) continue;
    if (!merged.empty() && merged.back().in_stride == d.in_stride * d.size &&
        merged.back().out_stride == d.out_stride * d.size) {
      merged.back() = {merged.back().size * d.size, d.in_stride, d.out_stride};
    } else {
      merged.push_back(d);
    }
  }
  if (merged.empty()) merged.push_back({1, 1, 1});
  if (merged.size() > kMaxRank) {
    throw_error(ErrorCode::kUnsupportedType, {"a copy of ", dims.size(), " dimensions"});
  }
  rank_ = merged.size();
  std::copy(merged.begin(), merged.end(), dims_.begin());
  outer_ = dims_[0].size;
  outer_bytes_ = static_cast<int64_t>(element_bytes);
  for (size_t i = 1; i < rank_; ++i) outer_bytes_ *= dims_[i].size;
}

void BoxCopy::run(const std::byte* in, std::byte* out, int64_t begin, int64_t end) const {
  if (begin >= end || rank_ == 0) return;
  const auto bytes = static_cast<int64_t>(element_bytes_);
  in += begin * dims_[0].in_stride * bytes;
  out += begin * dims_[0].out_stride * bytes;
  BoxDimension first = dims_[0];
  first.size = end - begin;
  if (rank_ == 1) return copy_row(in, out, first, element_bytes_);
  const size_t last = rank_ - 1;
  std::array<int64_t, kMaxRank> at{};
  for (;;) {
    copy_row(in, out, dims_[last], element_bytes_);
    size_t i = last;
    for (;;) {
      if (i == 0) return;
      --i;
      const BoxDimension& d = i == 0 ? first : dims_[i];
      in += d.in_stride * bytes;
      out += d.out_stride * bytes;
      if (++at[i] < d.size) break;
      in -= d.size * d.in_stride * bytes;
      out -= d.size * d.out_stride * bytes;
      at[i] = 0;
    }
  }
}

void flush_denormals(std::byte* floats, size_t bytes) {
  constexpr uint32_t kExponent = 0x7f800000, kSign = 0x80000000;
  for (size_t at = 0; at + sizeof(uint32_t) <= bytes; at += sizeof(uint32_t)) {
    uint32_t bits;
    std::memcpy(&bits, floats + at, sizeof(bits));
    bits = bits & kExponent ? bits : bits & kSign;
    std::memcpy(floats + at, &bits, sizeof(bits));
  }
}

}  // namespace zp::kernels
