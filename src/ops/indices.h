// Indices that pick elements along axes: those of Gather, Scatter and their kin. They may count from the end.
// One outside its axis is an error: a constant one when the kernel is prepared, any other when it is read.
#pragma once

#include <cstdint>

#include "ops/op.h"

namespace zp {

struct Indices {
  const RunContext* run = nullptr;
  size_t input = 0;
  const std::byte* data = nullptr;
  bool wide = false;  // int64, or int32

  // Input `input` of the node, while it runs.
  static Indices of(const RunContext& run, size_t input, bool wide) {
    return {&run, input, run.inputs[input], wide};
  }

  // Index `i`, brought into [0, size). One that is outside is reported, and 0 stands for it.
  int64_t at(int64_t i, int64_t size) const {
    const int64_t v =
        wide ? reinterpret_cast<const int64_t*>(data)[i] : reinterpret_cast<const int32_t*>(data)[i];
    const int64_t from_start = v < 0 ? v + size : v;
    if (static_cast<uint64_t>(from_start) < static_cast<uint64_t>(size)) [[likely]]
      return from_start;
    return refuse(i, v, size);
  }

 private:
  int64_t refuse(int64_t i, int64_t index, int64_t size) const;
};

// int32 or int64, or not known yet; else kUnsupportedType.
void require_index_type(const InferContext& c, size_t input);
// Throws kIndexOutOfRange if input `input` is a constant with an index outside its axis. sizes: of the axes
// that the indices walk through in turn.
void check_constant_indices(const PrepareContext& c, size_t input, const Shape& sizes);

}  // namespace zp
