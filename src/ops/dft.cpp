// DFT: the discrete Fourier transform along one axis, and STFT: the same of frames of a signal. Complex
// numbers are pairs in the last dimension. Sums are computed in double.
#include <algorithm>

#include "core/element_types.h"
#include "core/grain.h"
#include "kernels/reduction/fft.h"
#include "ops/moving.h"
#include "ops/respell.h"
#include "ops/shape_arguments.h"
#include "ops/unary.h"

namespace zp {
namespace {

using kernels::Complex;
using kernels::Fft;

constexpr std::string_view kWhyFloat = "spectra have parts of very different sizes";

// One number. nullopt: the input is absent or not known yet.
std::optional<int64_t> number_of(const InferContext& c, size_t input, std::string_view what) {
  const auto given = shape_integers(c, input);
  if (!given) return std::nullopt;
  c.require(given->size() == 1, {what, " is not one number"});
  return (*given)[0];
}

void require_parts(const InferContext& c, const Dim& last) {
  c.require(
      !last.known() || last.value() == 1 || last.value() == 2,
      {"the last dimension of the input should hold 1 number (real) or 2 (complex), not ", last.value()});
}

// `length` of a transform; more would not fit into memory.
void require_length(const InferContext& c, const Dim& length) {
  if (!length.known()) return;
  c.require(length.value() > 0, {"a transform of ", length.value(), " elements"});
  if (length.value() > kernels::kLargestFft) {
    c.fail(ErrorCode::kUnsupportedOperator,
           {"a transform of ", length.value(), " elements; ", kernels::kLargestFft, " are supported"});
  }
}

std::shared_ptr<const Fft> fft_of(const PrepareContext& c, int64_t length) {
  return c.cached<Fft>("fft/" + std::to_string(length), [&] { return std::make_shared<Fft>(length); });
}

// The memory of a thread: input and output of a transform, and its scratch.
struct Workspace {
  Complex *x, *y, *scratch;
};
size_t workspace_elements(const Fft& fft) {
  return 2 * static_cast<size_t>(fft.length()) + fft.scratch_elements();
}
Workspace workspace_of(const RunContext& r, const Fft& fft, int thread) {
  Complex* x = r.scratch<Complex>() + workspace_elements(fft) * static_cast<size_t>(thread);
  return {x, x + fft.length(), x + 2 * fft.length()};
}

// Calls body(i, workspace) for each of `count` transforms.
template <class F>
void for_each_transform(const RunContext& r, const Fft& fft, int64_t count, F&& body) {
  const int64_t pieces =
      std::clamp<int64_t>(fft.length() * count / 4096, 1, std::min<int64_t>(count, int64_t{r.threads()} * 4));
  r.parallel(pieces, [&](int64_t piece, int thread) {
    const Workspace work = workspace_of(r, fft, thread);
    for (int64_t i = count * piece / pieces; i < count * (piece + 1) / pieces; ++i) body(i, work);
  });
}

// ---- DFT: input [..., parts], dft_length, axis

struct Sides {
  bool inverse, onesided;
  // The input is one side of a spectrum, and the output a real signal.
  bool makes_real() const { return inverse && onesided; }
};
Sides sides_of(const Node& n) {
  return {n.int_attribute("inverse", 0) != 0, n.int_attribute("onesided", 0) != 0};
}

void infer_dft(InferContext& c) {
  const SymShape* x = c.shape(0);
  if (!x) return c.output(0, c.dtype(0));
  const int rank = c.rank(0);
  c.require(rank >= 2, {"an input of shape ", *x, " has no axis to transform"});
  const Sides sides = sides_of(c.node());
  const Dim& parts = x->back();
  require_parts(c, parts);
  if (sides.onesided) {
    c.require(!contradicts(parts, Dim(sides.inverse ? 2 : 1)),
              sides.inverse ? "one side of a spectrum should be complex, and the input is real"
                            : "onesided needs a real signal, and the input is complex");
  }
  SymShape out = *x;
  out.back() = Dim(sides.makes_real() ? 1 : 2);
  const auto axis = c.has_input(2) ? number_of(c, 2, "axis") : std::optional<int64_t>(-2);
  if (!axis) {
    for (int d = 0; d + 1 < rank; ++d) out[static_cast<size_t>(d)] = Dim();
    return c.output(0, c.dtype(0), std::move(out));
  }
  const int at = c.axis(*axis, rank);
  c.require(at != rank - 1, "the axis should not be the last dimension, which holds the parts of numbers");
  Dim& size = out[static_cast<size_t>(at)];
  Dim length = size;
  if (c.has_input(1)) {
    const auto given = number_of(c, 1, "dft_length");
    if (given) c.require(*given > 0, {"dft_length is ", *given});
    length = given ? Dim(*given) : Dim();
  } else if (sides.makes_real()) {
    if (size.known())
      c.require(size.value() > 1, {"one side of a spectrum should have more elements than ", size.value()});
    length = (size - Dim(1)) * Dim(2);
  }
  require_length(c, length);
  size = sides.onesided && !sides.inverse ? floor_div(length, 2) + Dim(1) : length;
  c.output(0, c.dtype(0), std::move(out));
}

template <class T>
Kernel dft(PrepareContext& c, size_t axis, Sides sides) {
  const Shape &x = c.dims(0), &y = c.out_dims(0);
  int64_t length = y[axis];
  if (sides.onesided && !sides.inverse) {
    length = x[axis];
    if (c.has_input(1)) length = prepared_integers(c, 1).at(0);
  }
  const std::shared_ptr<const Fft> fft = fft_of(c, length);
  c.scratch(workspace_elements(*fft) * sizeof(Complex) * static_cast<size_t>(std::max(1, c.threads())));
  const int64_t inner = element_count(x, axis + 1, x.size() - 1), count = element_count(x, 0, axis) * inner;
  const int64_t parts = x.back(), made = y[axis],
                given = std::min(x[axis], sides.makes_real() ? length / 2 + 1 : length);
  return [=, steps = x[axis]](const RunContext& r) {
    for_each_transform(r, *fft, count, [&](int64_t i, const Workspace& work) {
      const int64_t outer = i / inner, place = i % inner;
      const T* from = r.in<T>(0) + (outer * steps * inner + place) * parts;
      for (int64_t k = 0; k < given; ++k, from += inner * parts)
        work.x[k] = {static_cast<double>(from[0]), parts > 1 ? static_cast<double>(from[1]) : 0.0};
      std::fill(work.x + given, work.x + length, Complex{0, 0});
      if (sides.makes_real()) {
        // The other side mirrors this one, so that elements which mirror themselves are real.
        work.x[0].im = 0;
        if (length % 2 == 0) work.x[length / 2].im = 0;
        for (int64_t k = 1; k < (length + 1) / 2; ++k) work.x[length - k] = {work.x[k].re, -work.x[k].im};
      }
      // The inverse transform is the forward one with real and imaginary parts exchanged.
      if (sides.inverse)
        for (int64_t k = 0; k < length; ++k) std::swap(work.x[k].re, work.x[k].im);
      fft->run(work.x, work.y, work.scratch);
      const int64_t parts_made = sides.makes_real() ? 1 : 2;
      T* to = r.out<T>(0) + (outer * made * inner + place) * parts_made;
      for (int64_t k = 0; k < made; ++k, to += inner * parts_made) {
        const Complex v = work.y[k];
        const auto n = static_cast<double>(length);
        to[0] = static_cast<T>(sides.inverse ? v.im / n : v.re);
        if (parts_made > 1) to[1] = static_cast<T>(sides.inverse ? v.re / n : v.im);
      }
    });
  };
}

template <class F>
Kernel of_real_type(const PrepareContext& c, F&& make) {
  Kernel kernel;
  if (!visit(c.dtype(0), ElementTypes<float, double>(),
             [&]<class T>(Element<T>) { kernel = make(Element<T>()); }))
    fail_type(c);
  return kernel;
}

Kernel prepare_dft(PrepareContext& c) {
  const int64_t rank = std::ssize(c.dims(0));
  const int64_t axis = c.has_input(2) ? prepared_integers(c, 2).at(0) : -2;
  const Sides sides = sides_of(c.node());
  return of_real_type(c, [&]<class T>(Element<T>) {
    return dft<T>(c, static_cast<size_t>(axis < 0 ? axis + rank : axis), sides);
  });
}

// Before opset 20 the axis was an attribute, by default 1.
void canonicalize_dft(Canonicalize& c) {
  if (c.version < 20) {
    const int64_t axis = c.node.int_attribute("axis", 1);
    c.node.attributes.erase("axis");
    c.node.inputs.resize(3, kNoValue);
    c.node.inputs[2] = c.constant_value(c.node.name + "_axis", Tensor::scalar(axis));
  }
  c.keep();
}

void respell_dft(Respell& r) {
  if (!r.before(20)) return;
  int64_t axis = -2;
  if (r.node.input(2) != kNoValue) {
    const auto given = r.integers(2);
    if (!given || given->size() != 1) return r.need(20);
    axis = (*given)[0];
    r.node.inputs.resize(2);
  }
  r.node.attributes.insert_or_assign("axis", axis);
}

// ---- STFT: signal [batch, length, parts] or [batch, length], frame_step, window, frame_length

void infer_stft(InferContext& c) {
  const SymShape *x = c.shape(0), *window = c.shape(2);
  const bool onesided = c.ints("onesided", 1) != 0;
  if (x) {
    c.require(x->size() == 2 || x->size() == 3, {"a signal has the shape [batch, length, 1 or 2], not ", *x});
    if (x->size() == 3) require_parts(c, x->back());
  }
  Dim length;
  if (window) {
    c.require(window->size() == 1, {"a window has the shape [length], not ", *window});
    length = (*window)[0];
  }
  if (c.has_input(3)) {
    if (const auto given = number_of(c, 3, "frame_length")) {
      c.require(*given > 0, {"frame_length is ", *given});
      c.require(!contradicts(length, Dim(*given)),
                {"a window of ", length.value(), " elements for frames of ", *given});
      length = Dim(*given);
    }
  } else if (!c.has_input(2) && x) {
    length = (*x)[1];
  }
  require_length(c, length);
  Dim count;
  const auto step = number_of(c, 1, "frame_step");
  if (step) c.require(*step > 0, {"frame_step is ", *step});
  if (step && x && (*x)[1].known() && length.known()) {
    c.require((*x)[1].value() >= length.value(),
              {"a signal of ", (*x)[1].value(), " elements has no frame of ", length.value()});
    count = floor_div((*x)[1] - length, *step) + Dim(1);
  }
  c.output(0, c.dtype(0),
           {x ? (*x)[0] : Dim(), count, onesided ? floor_div(length, 2) + Dim(1) : length, Dim(2)});
}

template <class T>
Kernel stft(PrepareContext& c) {
  const Shape &x = c.dims(0), &y = c.out_dims(0);
  const int64_t signal = x[1], parts = x.size() > 2 ? x[2] : 1, frames = y[1], bins = y[2];
  const bool windowed = c.has_input(2);
  const int64_t length = c.has_input(3) ? prepared_integers(c, 3).at(0) : windowed ? c.dims(2)[0] : signal;
  const int64_t step = prepared_integers(c, 1).at(0);
  const std::shared_ptr<const Fft> fft = fft_of(c, length);
  c.scratch(workspace_elements(*fft) * sizeof(Complex) * static_cast<size_t>(std::max(1, c.threads())));
  return [=, count = x[0] * frames](const RunContext& r) {
    for_each_transform(r, *fft, count, [&](int64_t i, const Workspace& work) {
      const T* from = r.in<T>(0) + (i / frames * signal + i % frames * step) * parts;
      for (int64_t k = 0; k < length; ++k, from += parts) {
        const double factor = windowed ? static_cast<double>(r.in<T>(2)[k]) : 1.0;
        work.x[k] = {factor * static_cast<double>(from[0]),
                     parts > 1 ? factor * static_cast<double>(from[1]) : 0.0};
      }
      fft->run(work.x, work.y, work.scratch);
      T* to = r.out<T>(0) + i * bins * 2;
      for (int64_t k = 0; k < bins; ++k) {
        to[2 * k] = static_cast<T>(work.y[k].re);
        to[2 * k + 1] = static_cast<T>(work.y[k].im);
      }
    });
  };
}

Kernel prepare_stft(PrepareContext& c) {
  return of_real_type(c, [&]<class T>(Element<T>) { return stft<T>(c); });
}

constexpr OpDef kDft = {.name = "DFT",
                        .inputs = "input dft_length? axis?:20",
                        .opsets = "17Fb",
                        .since = 17,
                        .types = "Ti",
                        .infer = infer_dft,
                        .prepare = prepare_dft,
                        .quant = {.why_float = kWhyFloat},
                        .half = {.fine = true, .sum = HalfRule::Sum::kMean},
                        .canonicalize = canonicalize_dft,
                        .respell = respell_dft};
constexpr OpDef kStft = {.name = "STFT",
                         .inputs = "signal frame_step window? frame_length?",
                         .opsets = "17Fb",
                         .since = 17,
                         .types = "TiTi",
                         .infer = infer_stft,
                         .prepare = prepare_stft,
                         .quant = {.why_float = kWhyFloat},
                         .half = {.fine = true, .sum = HalfRule::Sum::kMean}};
const RegisterOps kRegistered({&kDft, &kStft});

}  // namespace
}  // namespace zp
