// What a value is while a model runs: a tensor, a sequence of tensors, or nothing.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace zp {

using Sequence = std::vector<Tensor>;

// Cheap to copy: copies share the data. An optional that holds a value is that value; an empty one is
// nothing.
struct Item {
  Item() = default;
  Item(Tensor t) : tensor(std::move(t)) {}  // NOLINT(google-explicit-constructor): nearly every item is one
  Item(Sequence s)                          // NOLINT(google-explicit-constructor)
      : sequence(std::make_shared<const Sequence>(std::move(s))) {}

  bool is_tensor() const { return tensor.defined(); }
  bool is_sequence() const { return sequence != nullptr; }
  bool is_nothing() const { return !is_tensor() && !is_sequence(); }

  Tensor tensor;                             // undefined: it is none
  std::shared_ptr<const Sequence> sequence;  // its tensors own what they hold; null: it is none
};

// The tensor, or a copy where nobody keeps its memory: values in a plan lie in the plan's.
inline Tensor owned(const Tensor& t) { return t.storage().use_count() > 0 ? t : Tensor::copy_of(t.view()); }
inline Tensor not_owned(const TensorView& view) {
  return {view.dtype, Shape(view.dims.begin(), view.dims.end()),
          std::shared_ptr<const std::byte>(std::shared_ptr<void>(), view.data)};
}

}  // namespace zp
