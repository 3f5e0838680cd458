// RandomNormal, RandomUniform, RandomNormalLike, RandomUniformLike, Bernoulli, Multinomial.
//
// A drawn number is a function of three things alone: the stream of the node, the position of the element in
// the output, and the parameters. The stream is attribute `seed` where there is one, else the name of the
// node (so that two nodes draw different numbers). It follows that:
//
// - every run of a model draws the same numbers, in every session, with any number of threads, on every
//   machine (but for the last bit of a logarithm or a cosine);
// - a float model, what calibration sees of it, each of the pieces in which a repair runs it, and the
//   quantized model all draw the same, since quantization keeps the names of nodes: what a comparison shows
//   is the error of quantization, not that of chance;
// - the iterations of a Loop draw the same numbers, too;
// - whoever wants other numbers from run to run makes them an input of the model. ONNX Runtime goes on in its
//   stream from one run to the next instead, and starts it anew in each session.
//
// Nothing is folded into a constant (OpDef::deterministic): the file that is written draws numbers where the
// model did, and another runtime draws its own.
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>

#include "core/element_types.h"
#include "core/fnv.h"
#include "core/grain.h"
#include "ops/cast.h"
#include "ops/unary.h"

namespace zp {
namespace {

constexpr std::string_view kWhyFloat = "draws random numbers, once, in float";

// ---- streams

// The numbers of a stream by position: what SplitMix64 (Steele, Lea, Flood 2014) gives from there.
class Stream {
 public:
  static Stream of(const Node& n) {
    const float seed = n.float_attribute("seed", std::numeric_limits<float>::quiet_NaN());
    Fnv1a key;  // of what names the stream
    if (std::isnan(seed)) {
      key.add(n.name.data(), n.name.size());
    } else {
      key.add(&seed, sizeof(seed));
    }
    return Stream(key.value);
  }

  // From 0 (included) to 1 (not).
  double uniform(int64_t at) const {
    uint64_t z = key_ + (static_cast<uint64_t>(at) + 1) * 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }
  // Of mean 0 and deviation 1 (Box, Muller 1958): neighbours share a radius and an angle.
  double normal(int64_t at) const {
    const int64_t pair = at & ~int64_t{1};
    const double radius = std::sqrt(-2 * std::log(1 - uniform(pair))),
                 angle = 2 * std::numbers::pi * uniform(pair + 1);
    return radius * (at == pair ? std::cos(angle) : std::sin(angle));
  }

 private:
  explicit Stream(uint64_t key) : key_(key) {}
  uint64_t key_;
};

// ---- RandomNormal, RandomUniform, and like another tensor

DType made_type(const InferContext& c, DType fallback, bool (*allowed)(DType), std::string_view what) {
  const auto type = static_cast<DType>(c.ints("dtype", static_cast<int64_t>(fallback)));
  if (type != DType::kUndefined && !allowed(type)) {
    c.fail(ErrorCode::kInvalidModel, {"the output would be ", name_of(type), ", and ", what},
           "give the type as attribute dtype");
  }
  return type;
}

void infer_of_shape(InferContext& c) {
  const std::vector<int64_t> shape = c.node().ints_attribute("shape");
  if (!c.node().attribute("shape")) c.fail(ErrorCode::kInvalidModel, "attribute 'shape' is missing");
  for (const int64_t d : shape) c.require(d >= 0, {"there is no tensor of shape ", shape});
  c.output(0, made_type(c, DType::kFloat32, is_float, "floats are drawn"), symbolic(shape));
}

void infer_like(InferContext& c) {
  const DType type = made_type(c, c.dtype(0), is_float, "floats are drawn");
  if (const SymShape* shape = c.shape(0)) return c.output(0, type, *shape);
  c.output(0, type);
}

template <bool kNormal>
Kernel prepare_draw(PrepareContext& c) {
  const Node& n = c.node();
  const auto number = [&](std::string_view key, float fallback) {
    return static_cast<double>(n.float_attribute(key, fallback));
  };
  // first + second * the drawn number
  const double first = kNormal ? number("mean", 0) : number("low", 0),
               second = kNormal ? number("scale", 1) : number("high", 1) - first;
  const Stream stream = Stream::of(n);
  const int64_t count = element_count(c.out_dims(0));
  Kernel kernel;
  const bool known = visit(c.out_dtype(0), ElementTypes<float, double>(), [&]<class T>(Element<T>) {
    kernel = [=](const RunContext& r) {
      r.parallel_range(count, grain_for({.work = 64}), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          r.out<T>(0)[i] = static_cast<T>(first + second * (kNormal ? stream.normal(i) : stream.uniform(i)));
      });
    };
  });
  if (!known) c.fail(ErrorCode::kUnsupportedType, {"random numbers of type ", name_of(c.out_dtype(0))});
  return kernel;
}

// Half precision (quant/half.h) goes by the attribute.
void write_type(Canonicalize& c) {
  c.node.attributes.try_emplace("dtype", static_cast<int64_t>(DType::kFloat32));
  c.keep();
}

// ---- Bernoulli: 1 with the probability that the input says, else 0

bool is_number_or_bool(DType type) {
  return is_float(type) || type == DType::kBool || is_one_of(type, IntegerTypes());
}

void infer_bernoulli(InferContext& c) {
  const DType type = made_type(c, c.dtype(0), is_number_or_bool, "numbers and bools are drawn");
  if (const SymShape* shape = c.shape(0)) return c.output(0, type, *shape);
  c.output(0, type);
}

Kernel prepare_bernoulli(PrepareContext& c) {
  const Stream stream = Stream::of(c.node());
  const int64_t count = element_count(c.dims(0));
  const Tensor one = cast(Tensor::scalar(1.0f), c.out_dtype(0));
  Kernel kernel;
  const bool known = visit(c.dtype(0), ElementTypes<float, double>(), [&]<class T>(Element<T>) {
    kernel = [=](const RunContext& r) {
      const auto bytes = static_cast<int64_t>(one.bytes());
      r.parallel_range(count, grain_for({.work = 8}), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          std::byte* to = r.outputs[0] + i * bytes;
          if (stream.uniform(i) < static_cast<double>(r.in<T>(0)[i])) {
            std::memcpy(to, one.raw(), one.bytes());
          } else {
            std::memset(to, 0, one.bytes());
          }
        }
      });
    };
  });
  if (!known) fail_type(c);
  return kernel;
}

// ---- Multinomial: classes, by the logarithms of their probabilities, which need not sum up to 1

bool is_index(DType type) { return type == DType::kInt32 || type == DType::kInt64; }

void infer_multinomial(InferContext& c) {
  const DType type = made_type(c, DType::kInt32, is_index, "classes are int32 or int64");
  const int64_t samples = c.ints("sample_size", 1);
  c.require(samples > 0, {"sample_size is ", samples});
  const SymShape* x = c.shape(0);
  if (x) {
    c.require(x->size() == 2, {"the input has the shape [batch, classes], not ", *x});
    c.require((*x)[1] != Dim(0) || (*x)[0] == Dim(0), "there is no class to draw");
  }
  c.output(0, type, {x ? (*x)[0] : Dim(), Dim(samples)});
}

std::string no_class(int64_t row, int64_t rows) {
  return Text({"no class of row ", row, " (of ", rows, ") is possible: its input has no finite number"})
      .str();
}

template <class T>
Kernel multinomial(PrepareContext& c) {
  const int64_t rows = c.dims(0)[0], classes = c.dims(0)[1], samples = c.out_dims(0)[1];
  const Stream stream = Stream::of(c.node());
  const bool wide = c.out_dtype(0) == DType::kInt64;
  c.scratch(static_cast<size_t>(classes) * sizeof(double));
  return [=](const RunContext& r) {
    auto* below = r.scratch<double>();  // by class: what it and those before it weigh
    for (int64_t row = 0; row < rows; ++row) {
      const T* x = r.in<T>(0) + row * classes;
      auto largest = -std::numeric_limits<double>::infinity();
      for (int64_t k = 0; k < classes; ++k)
        if (std::isfinite(x[k])) largest = std::max(largest, static_cast<double>(x[k]));
      double sum = 0;
      int64_t last = -1;  // that is possible
      for (int64_t k = 0; k < classes; ++k) {
        const double weight = std::isfinite(x[k]) ? std::exp(static_cast<double>(x[k]) - largest) : 0;
        if (weight > 0) last = k;
        below[k] = sum += weight;
      }
      if (last < 0) {
        r.fault->report(0, row * classes, row, rows, no_class);
        last = 0;
      }
      for (int64_t s = 0; s < samples; ++s) {
        const int64_t at = row * samples + s;
        const int64_t found = std::min<int64_t>(
            std::upper_bound(below, below + classes, stream.uniform(at) * sum) - below, last);
        if (wide) {
          r.out<int64_t>(0)[at] = found;
        } else {
          r.out<int32_t>(0)[at] = static_cast<int32_t>(found);
        }
      }
    }
  };
}

Kernel prepare_multinomial(PrepareContext& c) {
  Kernel kernel;
  if (!visit(c.dtype(0), ElementTypes<float, double>(),
             [&]<class T>(Element<T>) { kernel = multinomial<T>(c); }))
    fail_type(c);
  return kernel;
}

// ---- entries

constexpr OpDef kNormal = {.name = "RandomNormal",
                           .inputs = "",
                           .opsets = "@o 7F 22b",
                           .infer = infer_of_shape,
                           .prepare = prepare_draw<true>,
                           .quant = {.why_float = kWhyFloat},
                           .canonicalize = write_type,
                           .deterministic = false};
constexpr OpDef kUniform = {.name = "RandomUniform",
                            .inputs = "",
                            .opsets = "@o 7F 22b",
                            .infer = infer_of_shape,
                            .prepare = prepare_draw<false>,
                            .quant = {.why_float = kWhyFloat},
                            .canonicalize = write_type,
                            .deterministic = false};
constexpr OpDef kNormalLike = {.name = "RandomNormalLike",
                               .inputs = "input",
                               .opsets = "@o 7F 22b",
                               .types = "*",
                               .infer = infer_like,
                               .prepare = prepare_draw<true>,
                               .quant = {.why_float = kWhyFloat},
                               .deterministic = false};
constexpr OpDef kUniformLike = {.name = "RandomUniformLike",
                                .inputs = "input",
                                .opsets = "@o 7F 22b",
                                .types = "*",
                                .infer = infer_like,
                                .prepare = prepare_draw<false>,
                                .quant = {.why_float = kWhyFloat},
                                .deterministic = false};
// The probabilities of these stay float32 in a model of half precision, so that the same is drawn.
constexpr OpDef kBernoulli = {.name = "Bernoulli",
                              .inputs = "input",
                              .opsets = "15F 22b",
                              .since = 15,
                              .infer = infer_bernoulli,
                              .prepare = prepare_bernoulli,
                              .quant = {.why_float = kWhyFloat},
                              .half = {.fine = true},
                              .deterministic = false};
constexpr OpDef kMultinomial = {.name = "Multinomial",
                                .inputs = "input",
                                .opsets = "7F 22b",
                                .since = 7,
                                .infer = infer_multinomial,
                                .prepare = prepare_multinomial,
                                .quant = {.why_float = kWhyFloat},
                                .half = {.fine = true},
                                .deterministic = false};
const RegisterOps kRegistered({&kNormal, &kUniform, &kNormalLike, &kUniformLike, &kBernoulli, &kMultinomial});

}  // namespace
}  // namespace zp
