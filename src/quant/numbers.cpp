#include "quant/numbers.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/element_types.h"
#include "core/error.h"
#include "kernels/elementwise/codes.h"
#include "ops/cast.h"

namespace zp::quant {
namespace {

// Calls f with a value of the C++ type that holds one element of an unpacked integer type.
template <class F>
void with_integer_type(DType dtype, F&& f) {
  if (!visit(dtype, ElementTypes<uint8_t, int8_t, uint16_t, int16_t, int32_t>(),
             [&]<class T>(Element<T>) { f(T{}); })) {
    throw_error(ErrorCode::kUnsupportedType,
                {name_of(dtype), " is not a type that activations are quantized to"});
  }
}

int32_t middle(DType dtype) {
  const IntegerRange r = integer_range(dtype);
  return r.min < 0 ? 0 : (r.max + 1) / 2;
}

int32_t quantize_to(float x, float scale, int32_t zero_point, IntegerRange r) {
  // Saturating before the conversion keeps it defined; the bounds are whole, so rounding first or last is the
  // same.
  const float q = std::nearbyint(x / scale);
  return static_cast<int32_t>(
             std::clamp(q, static_cast<float>(r.min - zero_point), static_cast<float>(r.max - zero_point))) +
         zero_point;
}

// Where element (o, c, i) of a weight seen as [outer][extent along the axis][inner] finds its scale.
struct Groups {
  int64_t outer = 1, extent = 1, inner = 1;
  int64_t block = 0;  // 0: by channel
  int64_t blocks = 1;
  bool whole = true;
  Shape scale_dims;

  Groups(const Shape& dims, const Grouping& g) {
    whole = g.axis < 0;
    if (whole) {
      inner = element_count(dims);
      return;
    }
    if (g.axis >= static_cast<int>(dims.size()))
      throw_error(ErrorCode::kInternal, {"a weight has no axis ", g.axis});
    for (size_t d = 0; d < dims.size(); ++d) {
      int64_t& into = static_cast<int>(d) < g.axis ? outer : static_cast<int>(d) == g.axis ? extent : inner;
      into *= dims[d];
    }
    block = g.block_size;
    if (block > 0) {
      blocks = (extent + block - 1) / block;
      scale_dims = dims;
      scale_dims[static_cast<size_t>(g.axis)] = blocks;
    } else {
      scale_dims = {extent};
    }
  }

  int64_t count() const { return whole ? 1 : block > 0 ? outer * blocks * inner : extent; }

  // Elements that follow each other in memory: all of one group, or each of the next one.
  struct Run {
    size_t group, element, count;
    bool each;
    size_t group_of(size_t k) const { return each ? group + k : group; }
  };
  // f(run) for all elements, in order.
  template <class F>
  void for_each_run(F&& f) const {
    int64_t e = 0;
    const auto run = [&](int64_t group, int64_t count, bool each) {
      f(Run{static_cast<size_t>(group), static_cast<size_t>(e), static_cast<size_t>(count), each});
      e += count;
    };
    for (int64_t o = 0; o < outer; ++o) {
      if (whole) {
        run(0, inner, false);
      } else if (block == 0) {
        if (inner == 1) {
          run(0, extent, true);
        } else {
          for (int64_t c = 0; c < extent; ++c) run(c, inner, false);
        }
      } else if (inner == 1) {
        for (int64_t b = 0; b < blocks; ++b) run(o * blocks + b, std::min(block, extent - b * block), false);
      } else {
        for (int64_t c = 0; c < extent; ++c) run((o * blocks + c / block) * inner, inner, true);
      }
    }
  }
  // f(group, element index) for all elements, in order.
  template <class F>
  void for_each(F&& f) const {
    for_each_run([&](const Run& r) {
      for (size_t k = 0; k < r.count; ++k) f(r.group_of(k), r.element + k);
    });
  }
};

}  // namespace

QParams choose_params(Range range, DType dtype, bool symmetric) {
  return choose_params(range, dtype, symmetric, integer_range(dtype));
}

QParams choose_params(Range range, DType dtype, bool symmetric, IntegerRange codes) {
  double lo = std::min(0.0, static_cast<double>(range.min)),
         hi = std::max(0.0, static_cast<double>(range.max));
  if (lo == 0 && hi == 0) hi = 1;
  QParams p{.dtype = dtype};
  double scale;
  if (symmetric) {
    p.zero_point = middle(dtype);
    scale = std::max(-lo, hi) / (codes.max - p.zero_point);
  } else {
    scale = (hi - lo) / (static_cast<double>(codes.max) - codes.min);
    const double zero = std::nearbyint(codes.min - lo / scale);
    p.zero_point = static_cast<int32_t>(
        std::clamp(zero, static_cast<double>(codes.min), static_cast<double>(codes.max)));
  }
  // Denormal scales would be flushed to zero on some machines; nothing so small can matter.
  p.scale = std::max(static_cast<float>(scale), std::numeric_limits<float>::min());
  return p;
}

Range covered(const QParams& p) {
  const IntegerRange codes = integer_range(p.dtype);
  return {static_cast<float>(codes.min - p.zero_point) * p.scale,
          static_cast<float>(codes.max - p.zero_point) * p.scale};
}

int32_t quantize_one(float x, const QParams& p) {
  return quantize_to(x, p.scale, p.zero_point, integer_range(p.dtype));
}

Tensor quantize(const Tensor& x, const QParams& p) {
  Tensor out(p.dtype, x.dims());
  const std::span<const float> from = x.data<float>();
  const IntegerRange codes = integer_range(p.dtype);
  with_integer_type(p.dtype, [&]<class T>(T) {
    const std::span<T> to = out.mutable_data<T>();
    for (size_t i = 0; i < to.size(); ++i)
      to[i] = static_cast<T>(quantize_to(from[i], p.scale, p.zero_point, codes));
  });
  return out;
}

void dequantize(const std::byte* integers, size_t count, const QParams& p, float* x) {
  with_integer_type(p.dtype, [&]<class T>(T) {
    const T* q = reinterpret_cast<const T*>(integers);
    for (size_t i = 0; i < count; ++i)
      x[i] = static_cast<float>(static_cast<int32_t>(q[i]) - p.zero_point) * p.scale;
  });
}

namespace {

Range taken(const Extremes& e, bool* finite) {
  if (finite) *finite = e.finite;
  return {e.lo, e.hi};
}

}  // namespace

Range range_of(const Tensor& x, bool* finite) { return taken(extremes_of(x), finite); }
Range range_of(std::span<const float> x, bool* finite) { return taken(extremes_of(x), finite); }

IntegerRange weight_codes(const WeightSpec& spec) {
  IntegerRange r = integer_range(spec.dtype);
  if (spec.reduce_range && bits_of(spec.dtype) == 8)
    r = r.min < 0 ? IntegerRange{-64, 63} : IntegerRange{0, 127};
  return r;
}

std::vector<uint32_t> scale_indices(const Shape& dims, const Grouping& grouping) {
  std::vector<uint32_t> indices(static_cast<size_t>(element_count(dims)));
  Groups(dims, grouping).for_each([&](size_t g, size_t e) { indices[e] = static_cast<uint32_t>(g); });
  return indices;
}

DType stored_as(DType dtype) {
  return dtype == DType::kInt2 ? DType::kInt4 : dtype == DType::kUint2 ? DType::kUint4 : dtype;
}

Tensor pack_integers(DType dtype, Shape dims, std::span<const int32_t> values) {
  dtype = stored_as(dtype);
  Tensor out(dtype, std::move(dims));
  if (bits_of(dtype) == 4) {
    kernels::pack_nibbles(values.data(), values.size(), reinterpret_cast<uint8_t*>(out.mutable_raw()));
    return out;
  }
  with_integer_type(dtype, [&]<class T>(T) {
    const std::span<T> to = out.mutable_data<T>();
    for (size_t i = 0; i < to.size(); ++i) to[i] = static_cast<T>(values[i]);
  });
  return out;
}

namespace {

// A try at the scale of a group: of the range that the largest weight asks for, or in symmetric types of one
// with so many steps more.
struct Start {
  double part = 1, steps = 0;
  int32_t moved = 0;      // the zero point
  bool centered = false;  // in the middle of the type
};
constexpr std::array<Start, 1> kWide{{{}}};
// Steps around the middle are wider, but the largest weight is exact, and of a few weights that can be more.
constexpr std::array<Start, 2> kWideAsymmetric{{{}, {.centered = true}}};
// In few bits -8 is worth having, and a little clipping often costs less than wide steps: try a few.
constexpr std::array<Start, 5> kSymmetric{{{}, {1, 0.5}, {1, 1}, {1, 1.5}, {1, 2}}};
constexpr std::array<Start, 6> kAsymmetric{{{}, {1, 0, -1}, {1, 0, 1}, {0.85}, {0.85, 0, -1}, {0.85, 0, 1}}};

bool is_narrow(const WeightSpec& spec) { return bits_of(spec.dtype) < 8; }

std::span<const Start> starts_of(const WeightSpec& spec) {
  if (is_narrow(spec)) {
    if (spec.symmetric) return kSymmetric;
    return kAsymmetric;
  }
  if (spec.symmetric) return kWide;
  return kWideAsymmetric;
}

// Of the groups. They start at [0, 0]: a range always holds 0.
std::vector<Range> ranges_of(std::span<const float> x, const Groups& groups) {
  std::vector<Range> ranges(static_cast<size_t>(groups.count()));
  // Denormal weights are zeros: no product with them is seen, and kernels are slow on them.
  const auto seen = [](float v) { return std::fabs(v) < std::numeric_limits<float>::min() ? 0.0F : v; };
  groups.for_each_run([&](const Groups::Run& r) {
    const float* w = x.data() + r.element;
    Range* to = ranges.data() + r.group;
    if (r.each) {
      for (size_t k = 0; k < r.count; ++k) to[k].include({seen(w[k]), seen(w[k])});
      return;
    }
    const kernels::Ends ends = kernels::ends_of(w, r.count);
    to->include({ends.min, ends.max});
  });
  return ranges;
}

// The choice of a scale and a zero point for each group.
class ScaleChoice {
 public:
  std::vector<Range> ranges;
  std::vector<float> scales;
  std::vector<int32_t> zeros;
  IntegerRange codes;

  ScaleChoice(const WeightSpec& spec, std::vector<Range> of)
      : ranges(std::move(of)),
        scales(ranges.size()),
        codes(weight_codes(spec)),
        spec_(spec),
        center_(spec.reduce_range && bits_of(spec.dtype) == 8 ? (codes.min < 0 ? 0 : 64)
                                                              : middle(spec.dtype)) {
    zeros.assign(ranges.size(), center_);
  }

  void choose(std::span<const float> x, const Groups& groups) {
    const std::span<const Start> starts = starts_of(spec_);
    std::vector<float> tried(scales.size());
    std::vector<int32_t> points = zeros;
    if (starts.size() == 1) {
      begin(starts[0], tried, points);
      scales = std::move(tried), zeros = std::move(points);
    } else {
      // From each start the codes, and then the scale that fits them best, in turn.
      const int turns = is_narrow(spec_) && !spec_.symmetric ? 3 : 1;
      Sums sums;
      std::vector<double> best(scales.size(), std::numeric_limits<double>::infinity());
      for (const Start& start : starts) {
        begin(start, tried, points);
        for (int turn = 0; turn < turns; ++turn) {
          measure(x, groups, tried, points, codes, sums);
          for (size_t g = 0; g < tried.size(); ++g) {
            if (sums.error[g] < best[g]) best[g] = sums.error[g], scales[g] = tried[g], zeros[g] = points[g];
            if (sums.dot[g] > 0 && !is_zero(g)) tried[g] = bounded(sums.dot[g] / sums.square[g], g);
          }
        }
      }
    }
    choose_for_zeros();
  }

 private:
  // By group: squared errors, and products of the weights and their codes, from the zero point on.
  struct Sums {
    std::vector<double> error, dot, square;
  };

  bool is_zero(size_t g) const { return ranges[g].min == 0 && ranges[g].max == 0; }
  float bounded(double scale, size_t g) const {
    const float s = std::max(static_cast<float>(scale), std::numeric_limits<float>::min());
    const std::vector<float>& least = spec_.min_scale;
    return least.empty() ? s : std::max(s, least[least.size() == 1 ? 0 : g]);
  }

  void begin(const Start& start, std::span<float> tried, std::span<int32_t> points) const {
    for (size_t g = 0; g < tried.size(); ++g) {
      const double lo = ranges[g].min, hi = ranges[g].max;
      tried[g] = 1;
      if (is_zero(g)) continue;
      if (spec_.symmetric || start.centered) {
        points[g] = center_;
        tried[g] = bounded(std::max(-lo, hi) / (codes.max - center_ + start.steps), g);
        continue;
      }
      tried[g] = bounded((hi - lo) * start.part / (codes.max - codes.min), g);
      points[g] = static_cast<int32_t>(
          std::clamp(std::nearbyint(codes.min - lo / static_cast<double>(tried[g])) + start.moved,
                     static_cast<double>(codes.min), static_cast<double>(codes.max)));
    }
  }

  static void measure(std::span<const float> x, const Groups& groups, std::span<const float> tried,
                      std::span<const int32_t> points, IntegerRange codes, Sums& sums) {
    for (std::vector<double>* all : {&sums.error, &sums.dot, &sums.square}) all->assign(tried.size(), 0);
    groups.for_each_run([&](const Groups::Run& r) {
      const size_t g = r.group;
      const float* w = x.data() + r.element;
      if (r.each) {
        kernels::add_fit_each(w, tried.data() + g, points.data() + g, codes, r.count, sums.error.data() + g,
                              sums.dot.data() + g, sums.square.data() + g);
        return;
      }
      const kernels::Fit of = kernels::fit(w, tried[g], points[g], codes, r.count);
      sums.error[g] += of.error;
      sums.dot[g] += of.dot;
      sums.square[g] += of.square;
    });
  }

  // A group of zeros takes the widest scale of the others: all are exact for it, and its bias stays precise.
  void choose_for_zeros() {
    float widest = 0;
    for (size_t g = 0; g < scales.size(); ++g)
      if (!is_zero(g)) widest = std::max(widest, scales[g]);
    for (size_t g = 0; g < scales.size(); ++g) {
      if (!is_zero(g)) continue;
      scales[g] = bounded(widest > 0 ? widest : 1.0 / (codes.max - center_), g);
      zeros[g] = center_;
    }
  }

  const WeightSpec& spec_;
  int32_t center_;
};

}  // namespace

QuantizedWeight quantize_weight(const Tensor& w, const WeightSpec& spec) {
  const std::span<const float> x = w.data<float>();
  const Groups groups(w.dims(), spec.grouping);
  ScaleChoice choice(spec, ranges_of(x, groups));
  choice.choose(x, groups);
  const std::vector<float>& scales = choice.scales;
  const std::vector<int32_t>& zeros = choice.zeros;
  const IntegerRange codes = choice.codes;

  QuantizedWeight out;
  std::vector<int32_t> q(x.size());
  double signal = 0, noise = 0;
  groups.for_each_run([&](const Groups::Run& r) {
    const float* w = x.data() + r.element;
    int32_t* to = q.data() + r.element;
    const kernels::Noise of =
        r.each ? kernels::encode_each(w, scales.data() + r.group, zeros.data() + r.group, codes, r.count, to)
               : kernels::encode(w, scales[r.group], zeros[r.group], codes, r.count, to);
    signal += of.signal;
    noise += of.noise;
  });
  out.integers = pack_integers(spec.dtype, w.dims(), q);
  out.scale = Tensor::of<float>(groups.scale_dims, scales);
  if (std::any_of(zeros.begin(), zeros.end(), [](int32_t z) { return z != 0; }))
    out.zero_point = pack_integers(spec.dtype, groups.scale_dims, zeros);
  for (const Range& r : choice.ranges) out.range.include(r);
  out.sqnr_db = noise > 0 ? 10 * std::log10(signal / noise) : std::numeric_limits<double>::infinity();
  return out;
}

Tensor dequantize_weight(const QuantizedWeight& q, const Grouping& grouping) {
  Tensor out = cast(q.integers, DType::kFloat32);  // exact: integers of 16 bits at most
  const Groups groups(q.integers.dims(), grouping);
  const std::span<const float> scales = q.scale.data<float>();
  const std::vector<float> zeros =
      q.zero_point.defined() ? q.zero_point.floats() : std::vector<float>(scales.size());
  const std::span<float> to = out.mutable_data<float>();
  groups.for_each([&](size_t g, size_t e) { to[e] = (to[e] - zeros[g]) * scales[g]; });
  return out;
}

}  // namespace zp::quant
