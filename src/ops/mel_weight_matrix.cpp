// MelWeightMatrix: triangles that sum up the bins of a spectrum, evenly spaced on the mel scale
//
//   mel(f) = 2595 log10(1 + f / 700)
//
// It is a constant in all models that people have, so that its arguments have to be constants.
#include <algorithm>
#include <cmath>

#include "ops/op.h"

namespace zp {
namespace {

enum : size_t { kBins, kLength, kRate, kLower, kUpper, kInputs };

struct Arguments {
  int64_t bins, length;
  double rate, lower, upper;
  int64_t spectrum() const { return length / 2 + 1; }
  // The bin of the spectrum that a frequency falls into.
  double bin_of(double hertz) const { return std::floor(static_cast<double>(length + 1) * hertz / rate); }
};

double mel_of(double hertz) { return 2595 * std::log10(1 + hertz / 700); }
double hertz_of(double mel) { return 700 * (std::pow(10, mel / 2595) - 1); }

double number_in(const Tensor& t) {
  return t.dtype() == DType::kFloat64 ? t.data<double>()[0] : static_cast<double>(t.floats()[0]);
}

void infer(InferContext& c) {
  const Tensor* t[kInputs];
  bool known = true;
  for (size_t i = 0; i < kInputs; ++i) {
    t[i] = c.shape_argument(i);
    known = known && t[i];
    if (t[i]) c.require(t[i]->size() == 1, {"input ", i, " is not one number"});
  }
  const Dim bins = t[kBins] ? Dim(t[kBins]->integer_at(0)) : Dim(),
            length = t[kLength] ? Dim(t[kLength]->integer_at(0)) : Dim();
  if (t[kBins]) c.require(t[kBins]->integer_at(0) >= 0, {"there are ", t[kBins]->integer_at(0), " mel bins"});
  if (t[kLength]) c.require(t[kLength]->integer_at(0) >= 0, {"dft_length is ", t[kLength]->integer_at(0)});
  if (known) {
    c.require(t[kRate]->integer_at(0) > 0, {"sample_rate is ", t[kRate]->integer_at(0)});
    const Arguments a{bins.value(), length.value(), static_cast<double>(t[kRate]->integer_at(0)),
                      number_in(*t[kLower]), number_in(*t[kUpper])};
    for (const double edge : {a.lower, a.upper}) {
      const double bin = a.bin_of(edge);
      c.require(bin >= 0 && bin < static_cast<double>(a.spectrum()),
                "an edge of the mel scale lies outside the spectrum");
    }
  }
  c.output(0, DType::kFloat32, {floor_div(length, 2) + Dim(1), bins});
}

Kernel prepare(PrepareContext& c) {
  const Tensor* t[kInputs];
  for (size_t i = 0; i < kInputs; ++i) {
    t[i] = c.constant(i);
    if (!t[i]) c.fail(ErrorCode::kUnsupportedOperator, {"input ", i, " is only known while the model runs"});
  }
  const Arguments a{t[kBins]->integer_at(0), t[kLength]->integer_at(0),
                    static_cast<double>(t[kRate]->integer_at(0)), number_in(*t[kLower]),
                    number_in(*t[kUpper])};
  return [a](const RunContext& r) {
    auto* y = r.out<float>(0);
    std::fill_n(y, a.spectrum() * a.bins, 0.0f);
    const double low = mel_of(a.lower), step = (mel_of(a.upper) - low) / static_cast<double>(a.bins + 2);
    const auto edge = [&](int64_t i) {
      const double bin = a.bin_of(hertz_of(low + step * static_cast<double>(i)));
      return static_cast<int64_t>(std::clamp(bin, 0.0, static_cast<double>(a.spectrum() - 1)));
    };
    for (int64_t i = 0; i < a.bins; ++i) {
      const int64_t left = edge(i), top = edge(i + 1), right = edge(i + 2);
      const auto at = [&](int64_t bin) -> float& { return y[bin * a.bins + i]; };
      const auto share = [](int64_t part, int64_t of) {
        return static_cast<float>(static_cast<double>(part) / static_cast<double>(of));
      };
      if (left == top) at(top) = 1;
      for (int64_t k = left; left < top && k <= top; ++k) at(k) = share(k - left, top - left);
      for (int64_t k = top; k < right; ++k) at(k) = share(right - k, right - top);
    }
  };
}

// Of other types by way of float32.
void canonicalize(Canonicalize& c) {
  const int64_t type = c.node.int_attribute("output_datatype", static_cast<int64_t>(DType::kFloat32));
  c.node.attributes.erase("output_datatype");
  if (type == static_cast<int64_t>(DType::kFloat32)) return c.keep();
  c.finish("Cast", {c.add("MelWeightMatrix", c.node.inputs)}, {{"to", type}});
}

constexpr OpDef kMelWeightMatrix = {
    .name = "MelWeightMatrix",
    .inputs = "num_mel_bins dft_length sample_rate lower_edge_hertz upper_edge_hertz",
    .opsets = "@o 17Nb",
    .since = 17,
    .types = "iiiUU",
    .infer = infer,
    .prepare = prepare,
    .quant = {.why_float = "makes constants"},
    .half = {.fine = true},
    .canonicalize = canonicalize};
const RegisterOps kRegistered({&kMelWeightMatrix});

}  // namespace
}  // namespace zp
