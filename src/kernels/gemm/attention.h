// Attention of one head, without the matrix of all scores:
//
//   y[m] = sum over n of p[m, n] v[n],   p[m, :] = softmax(cap(scale q[m] . k[n]) (hidden by `shown`) +
//   bias[m, n])
//
// A block of rows goes over the steps n a block at a time. It keeps the highest score of each row so far, and
// the sum of e^(score - highest); where a block has a higher one, what is there shrinks (Milakov and
// Gimelshein 2018, Dao et al. 2022). Blocks that are hidden from all of the rows are not computed.

#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/isa.h"

namespace zp::kernels {

struct Attention {
  int steps = 0, size = 0, value_size = 0;
  float scale = 1;
  float softcap = 0;  // scores become softcap tanh(score / softcap); 0: they do not
  // Rows of q, v and y have their elements side by side; of k, either the elements of a step (k_element 1) or
  // the steps do (k_step 1).
  const float* q = nullptr;
  std::ptrdiff_t q_row = 0;
  const float* k = nullptr;
  std::ptrdiff_t k_step = 0, k_element = 1;
  const float* v = nullptr;
  std::ptrdiff_t v_step = 0;
  float* y = nullptr;
  std::ptrdiff_t y_row = 0;
  // Scores where `shown` is not `shows` become `hidden`. Null: all are shown. Strides may be 0.
  const uint8_t* shown = nullptr;
  std::ptrdiff_t shown_row = 0, shown_step = 0;
  uint8_t shows = 1;
  float hidden = 0;
  const float* bias = nullptr;  // null: none
  std::ptrdiff_t bias_row = 0, bias_step = 0;
  const float* sink = nullptr;  // a score of a step whose v is 0; null: there is none
  // What becomes of rows whose probabilities are no numbers: zeros where all their steps are hidden, or
  // whatever the reason is.
  enum class Zeros : uint8_t { kNever, kHidden, kNoNumber } zeros = Zeros::kNever;
};

inline constexpr int kAttentionRows = 64;  // rows of a block, for which one call is made at most

// Scratch of one call, in floats.
std::size_t attention_scratch(const Attention& a);

// Rows [row_begin, row_end) of y.
template <class Isa = Best>
void attend(const Attention& a, int row_begin, int row_end, float* scratch);

}  // namespace zp::kernels
