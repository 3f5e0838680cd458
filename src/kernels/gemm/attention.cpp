#include "kernels/gemm/attention.h"

#include <algorithm>
#include <limits>

#include "kernels/elementwise/math.h"
#include "kernels/gemm/float.h"

namespace zp::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Scores that a mask lowers by so much are hidden where a row sees anything else: e^-1e30 is 0.
constexpr float kFar = -1e30f;
constexpr int kSteps = 128;  // of a block
// So few rows are not worth packing k and v for.
constexpr int kFewRows = 3;

WeightLayout layout_of_k(const Attention& a, int steps) {
  return {steps, 1, 1, a.size, a.k_step, a.k_element, 0, 0};
}
WeightLayout layout_of_v(const Attention& a, int steps) {
  return {a.value_size, 1, 1, steps, 1, a.v_step, 0, 0};
}

std::size_t floats_of(const WeightLayout& layout) {
  return round_up(packed_float_weights_bytes(layout), kAlignment) / sizeof(float);
}

// Which of the steps some rows see.
class Sight {
 public:
  Sight(const Attention& a, int begin, int end) : a_(a), begin_(begin), end_(end) {
    if (a.shown == nullptr && a.bias == nullptr) return;
    limit_ = kFar;
    for (int row = begin; row < end && limit_ > -kInfinity; ++row)
      if (!sees(row, 0, a.steps)) limit_ = -kInfinity;
  }
  // Whether any row sees any of the steps.
  bool any(int from, int to) const {
    for (int row = begin_; row < end_; ++row)
      if (sees(row, from, to)) return true;
    return begin_ < end_ && a_.shown == nullptr && a_.bias == nullptr;
  }

 private:
  bool sees(int row, int from, int to) const {
    for (int n = from; n < to; ++n) {
      float score = 0;
      if (a_.shown != nullptr && a_.shown[row * a_.shown_row + n * a_.shown_step] != a_.shows)
        score = a_.hidden;
      if (a_.bias != nullptr) score += a_.bias[row * a_.bias_row + n * a_.bias_step];
      if (!(score <= limit_)) return true;
    }
    return false;
  }
  const Attention& a_;
  int begin_, end_;
  float limit_ = -kInfinity;  // what is not above it is hidden
};

// ---- one row of scores

template <class Isa>
void cap_scores(const Attention& a, float* s, size_t begin, size_t end) {
  using L = Lanes<Isa>;
  for (size_t i = begin; i < end; i += L::kCount) {
    auto x = L::mul(L::load(s + i), L::splat(a.scale));
    if (a.softcap != 0) x = L::mul(Math<Isa>::tanh(L::div(x, L::splat(a.softcap))), L::splat(a.softcap));
    L::store(s + i, x);
  }
}

template <class Isa>
float add_bias(const float* bias, std::ptrdiff_t step, float scale, float* s, size_t begin, size_t end,
               float highest) {
  using L = Lanes<Isa>;
  auto best = L::splat(highest);
  const auto factor = L::splat(scale);
  for (size_t i = begin; i < end; i += L::kCount) {
    auto x = L::mul(L::load(s + i), factor);
    if (bias != nullptr) x = L::add(x, step == 0 ? L::splat(*bias) : L::load(bias + i));
    L::store(s + i, x);
    best = L::max(x, best);
  }
  return L::highest(best);
}

template <class Isa>
float exponentials(float* s, float highest, size_t begin, size_t end) {
  using L = Lanes<Isa>;
  const auto shift = L::splat(highest);
  auto sum = L::splat(0.0f);
  for (size_t i = begin; i < end; i += L::kCount) {
    const auto e = Math<Isa>::exp(L::sub(L::load(s + i), shift));
    L::store(s + i, e);
    sum = L::add(sum, e);
  }
  return L::sum(sum);
}

template <class Isa>
void scale_row(float* y, size_t count, float factor) {
  using L = Lanes<Isa>;
  const size_t whole = count / L::kCount * L::kCount;
  for (size_t i = 0; i < whole; i += L::kCount) L::store(y + i, L::mul(L::load(y + i), L::splat(factor)));
  for (size_t i = whole; i < count; ++i) y[i] *= factor;
}

// Scores of the steps from `from` on, as the products gave them, become those that Softmax sees; gives the
// highest of them and `highest`.
template <class Isa>
float finish_scores(const Attention& a, int row, int from, size_t count, float* s, float highest) {
  const size_t whole = count / Lanes<Isa>::kCount * Lanes<Isa>::kCount;
  float scale = a.scale;
  if (a.softcap != 0 || a.shown != nullptr) {
    cap_scores<Isa>(a, s, 0, whole);
    cap_scores<Scalar>(a, s, whole, count);
    scale = 1;
  }
  if (a.shown != nullptr) {
    const uint8_t* shown = a.shown + row * a.shown_row + from * a.shown_step;
    for (size_t i = 0; i < count; ++i)
      if (shown[static_cast<std::ptrdiff_t>(i) * a.shown_step] != a.shows) s[i] = a.hidden;
  }
  const float* bias = a.bias == nullptr ? nullptr : a.bias + row * a.bias_row + from * a.bias_step;
  highest = add_bias<Isa>(bias, a.bias_step, scale, s, 0, whole, highest);
  return add_bias<Scalar>(bias, a.bias_step, scale, s, whole, count, highest);
}

// ---- few rows: k and v as they are

template <class Isa>
void few_scores(const Attention& a, int row, int from, int count, float* s) {
  using L = Lanes<Isa>;
  const float* q = a.q + row * a.q_row;
  const auto size = static_cast<size_t>(a.size), whole = size / L::kCount * L::kCount;
  for (int n = 0; n < count; ++n) {
    const float* k = a.k + (from + n) * a.k_step;
    auto even = L::splat(0.0f), odd = even;
    size_t i = 0;
    for (; i + 2 * L::kCount <= whole; i += 2 * L::kCount) {
      even = L::madd(L::load(q + i), L::load(k + i), even);
      odd = L::madd(L::load(q + i + L::kCount), L::load(k + i + L::kCount), odd);
    }
    if (i < whole) even = L::madd(L::load(q + i), L::load(k + i), even);
    float sum = L::sum(L::add(even, odd));
    for (i = whole; i < size; ++i) sum += q[i] * k[i];
    s[n] = sum;
  }
}

// y += p v
template <class Isa>
void few_values(const Attention& a, int from, int count, const float* p, float* y) {
  using L = Lanes<Isa>;
  constexpr size_t kAtOnce = 4 * L::kCount;
  const float* v = a.v + from * a.v_step;
  const auto size = static_cast<size_t>(a.value_size);
  size_t i = 0;
  for (; i + kAtOnce <= size; i += kAtOnce) {
    auto y0 = L::load(y + i), y1 = L::load(y + i + L::kCount), y2 = L::load(y + i + 2 * L::kCount),
         y3 = L::load(y + i + 3 * L::kCount);
    const float* row = v + i;
    for (int n = 0; n < count; ++n, row += a.v_step) {
      const auto factor = L::splat(p[n]);
      y0 = L::madd(factor, L::load(row), y0);
      y1 = L::madd(factor, L::load(row + L::kCount), y1);
      y2 = L::madd(factor, L::load(row + 2 * L::kCount), y2);
      y3 = L::madd(factor, L::load(row + 3 * L::kCount), y3);
    }
    L::store(y + i, y0);
    L::store(y + i + L::kCount, y1);
    L::store(y + i + 2 * L::kCount, y2);
    L::store(y + i + 3 * L::kCount, y3);
  }
  for (; i < size; ++i)
    for (int n = 0; n < count; ++n) y[i] += p[n] * v[n * a.v_step + static_cast<std::ptrdiff_t>(i)];
}

}  // namespace

std::size_t attention_scratch(const Attention& a) {
  return floats_of(layout_of_k(a, kSteps)) + floats_of(layout_of_v(a, kSteps)) +
         std::size_t{kAttentionRows} * kSteps + 2 * std::size_t{kAttentionRows};
}

template <class Isa>
void attend(const Attention& a, int row_begin, int row_end, float* scratch) {
  const int rows = row_end - row_begin;
  float *packed_k = scratch, *packed_v = packed_k + floats_of(layout_of_k(a, kSteps)),
        *scores = packed_v + floats_of(layout_of_v(a, kSteps)), *highest = scores + kAttentionRows * kSteps,
        *sums = highest + kAttentionRows;
  const auto y_of = [&](int row) { return a.y + (row_begin + row) * a.y_row; };
  for (int row = 0; row < rows; ++row) {
    highest[row] = a.sink != nullptr ? *a.sink : -kInfinity;
    sums[row] = a.sink != nullptr && *a.sink > -kInfinity ? 1.0f : 0.0f;
    std::fill_n(y_of(row), a.value_size, 0.0f);
  }
  if (a.steps == 0) return;
  const Sight sight(a, row_begin, row_end);
  const bool few = rows <= kFewRows && a.k_element == 1;
  for (int from = 0; from < a.steps; from += kSteps) {
    const int count = std::min(kSteps, a.steps - from);
    if (!sight.any(from, from + count)) continue;
    if (few) {
      for (int row = 0; row < rows; ++row)
        few_scores<Isa>(a, row_begin + row, from, count, scores + row * kSteps);
    } else {
      const FloatWeights k = pack_float_weights(a.k + from * a.k_step, layout_of_k(a, count), packed_k);
      FloatGemmOutput to;
      to.data = scores;
      to.rows.stride = kSteps;
      float_gemm<Isa>({a.q + row_begin * a.q_row, a.q_row, nullptr}, k, to, {0, rows, 0, count}, nullptr);
    }
    for (int row = 0; row < rows; ++row) {
      float* s = scores + row * kSteps;
      const auto steps = static_cast<size_t>(count), whole = steps / Lanes<Isa>::kCount * Lanes<Isa>::kCount;
      const float before = highest[row], now = finish_scores<Isa>(a, row_begin + row, from, steps, s, before);
      if (now == -kInfinity) {
        // Hidden, or NaN, which the highest of some numbers does not show.
        if (std::any_of(s, s + count, [](float x) { return x != x; }))
          sums[row] = std::numeric_limits<float>::quiet_NaN();
        std::fill_n(s, count, 0.0f);
        continue;
      }
      if (now != before && before != -kInfinity) {
        const float factor = Math<Scalar>::exp(before - now);
        sums[row] *= factor;
        scale_row<Isa>(y_of(row), static_cast<size_t>(a.value_size), factor);
      }
      highest[row] = now;
      sums[row] += exponentials<Isa>(s, now, 0, whole);
      sums[row] += exponentials<Scalar>(s, now, whole, steps);
    }
    if (few) {
      for (int row = 0; row < rows; ++row) few_values<Isa>(a, from, count, scores + row * kSteps, y_of(row));
    } else {
      const FloatWeights v = pack_float_weights(a.v + from * a.v_step, layout_of_v(a, count), packed_v);
      FloatGemmOutput to;
      to.data = a.y + row_begin * a.y_row;
      to.rows.stride = a.y_row;
      to.accumulate = true;
      float_gemm<Isa>({scores, kSteps, nullptr}, v, to, {0, rows, 0, a.value_size}, nullptr);
    }
  }
  for (int row = 0; row < rows; ++row) {
    const bool hidden = sums[row] == 0, number = sums[row] == sums[row];
    const bool zeros = a.zeros == Attention::Zeros::kNoNumber
                           ? hidden || !number
                           : a.zeros == Attention::Zeros::kHidden && hidden;
    if (zeros) {
      std::fill_n(y_of(row), a.value_size, 0.0f);
    } else if (hidden) {
      std::fill_n(y_of(row), a.value_size, std::numeric_limits<float>::quiet_NaN());
    } else {
      scale_row<Isa>(y_of(row), static_cast<size_t>(a.value_size), 1.0f / sums[row]);
    }
  }
}

#define ZP_INSTANTIATE(Isa) template void attend<Isa>(const Attention&, int, int, float*);
ZP_FOR_EACH_ISA(ZP_INSTANTIATE)
#undef ZP_INSTANTIATE

}  // namespace zp::kernels
