// SVMClassifier and SVMRegressor of ai.onnx.ml. X is (rows, features). A kernel function compares each row
// with each support vector, and its values are summed with coefficients; without support vectors the
// coefficients are those of a linear model. Details that the specification leaves open are ONNX Runtime's.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/grain.h"
#include "kernels/gemm/float.h"
#include "ops/ml.h"
#include "ops/ml_scores.h"
#include "ops/op.h"

namespace zp {
namespace {

constexpr std::string_view kFunctions[] = {"LINEAR", "POLY", "RBF", "SIGMOID"};
enum class Function : uint8_t { kLinear, kPoly, kRbf, kSigmoid };

bool is_classifier(const Node& node) { return node.op_type == "SVMClassifier"; }

// The attributes of a node, checked against each other.
struct Svm {
  Function function = Function::kLinear;
  Transform transform = Transform::kNone;
  float gamma = 0, coef0 = 0, degree = 0;
  int64_t classes = 1;                  // of a regressor: its one target
  int64_t vectors = 0, features = 0;    // no vectors: a linear model
  std::vector<int64_t> first;           // where the vectors of each class start, and where the last end
  std::span<const float> matrix;        // support vectors, or the coefficients of a linear model
  std::span<const float> coefficients;  // of a classifier: rows of `vectors`, one fewer than classes
  std::span<const float> rho, prob_a, prob_b;

  int64_t pairs() const { return classes * (classes - 1) / 2; }
  bool has_chances() const { return !prob_a.empty(); }
  // A score for each class, or, of raw ones, for each pair of classes; both of two classes have one.
  int64_t scores() const { return vectors == 0 || has_chances() || classes == 2 ? classes : pairs(); }
  int64_t columns() const { return vectors > 0 ? vectors : classes; }
};

// Like ONNX Runtime, this kernel ignores elements beyond these.
void require_at_least(std::string_view key, size_t size, int64_t wanted) {
  if (static_cast<int64_t>(size) < wanted)
    fail_ml({"attribute '", key, "' has ", size, " elements, and should have ", wanted});
}

// The rows of a matrix: so many, of the same length.
int64_t features_of(std::string_view key, size_t size, int64_t rows) {
  if (size == 0 || static_cast<int64_t>(size) % rows != 0)
    fail_ml({"attribute '", key, "' has ", size, " elements, which are no ", rows, " rows"});
  return static_cast<int64_t>(size) / rows;
}

// The support vectors of each class, where there are any.
void count_vectors(const Node& node, Svm& svm) {
  const size_t most = list_of<float>(node, "support_vectors").size();
  if (!is_classifier(node)) {
    svm.vectors = node.int_attribute("n_supports", 0);
    if (svm.vectors < 0 || static_cast<uint64_t>(svm.vectors) > most)
      fail_ml({"attribute 'n_supports' is ", svm.vectors, ", and 'support_vectors' has ", most, " elements"});
    return;
  }
  const std::vector<int64_t>& counts = list_of<int64_t>(node, "vectors_per_class");
  svm.first = {0};
  for (const int64_t count : counts) {
    if (count < 0 || static_cast<uint64_t>(count) > most) {
      fail_ml({"attribute 'vectors_per_class' has the element ", count, ", and 'support_vectors' has ", most,
               " elements"});
    }
    svm.first.push_back(svm.first.back() + count);
    if (static_cast<uint64_t>(svm.first.back()) > most)
      fail_ml({"attribute 'vectors_per_class' counts more vectors than 'support_vectors' has elements"});
  }
  svm.vectors = svm.first.back();
  if (svm.vectors > 0) require_size("vectors_per_class", counts.size(), static_cast<size_t>(svm.classes));
}

Svm svm_of(const Node& node) {
  Svm svm;
  svm.function = choice_of(node, "kernel_type", kFunctions, Function::kLinear);
  svm.transform = choice_of(node, "post_transform", kTransforms, Transform::kNone);
  if (const std::vector<float>& numbers = list_of<float>(node, "kernel_params"); !numbers.empty()) {
    require_size("kernel_params", numbers.size(), 3);
    svm.gamma = numbers[0];
    svm.coef0 = numbers[1];
    svm.degree = numbers[2];
  }
  if (is_classifier(node)) {
    svm.classes = class_labels(node).size();
    if (svm.classes == 0) fail_ml("attributes 'classlabels_ints' and 'classlabels_strings' name no class");
    constexpr int64_t kMost = 65535;
    if (svm.classes > kMost) fail_ml({"the classifier has ", svm.classes, " classes, more than ", kMost});
  }
  count_vectors(node, svm);
  svm.coefficients = list_of<float>(node, "coefficients");
  svm.rho = list_of<float>(node, "rho");
  svm.prob_a = list_of<float>(node, "prob_a");
  svm.prob_b = list_of<float>(node, "prob_b");
  require_size("prob_b", svm.prob_b.size(), svm.prob_a.size());
  if (svm.vectors == 0) {
    svm.function = Function::kLinear;
    svm.matrix = svm.coefficients;
    svm.features = features_of("coefficients", svm.matrix.size(), svm.classes);
    require_at_least("rho", svm.rho.size(), 1);
    return svm;
  }
  svm.matrix = list_of<float>(node, "support_vectors");
  svm.features = features_of("support_vectors", svm.matrix.size(), svm.vectors);
  if (!is_classifier(node)) {
    require_at_least("coefficients", svm.coefficients.size(), svm.vectors);
    require_at_least("rho", svm.rho.size(), 1);
    return svm;
  }
  if (svm.classes < 2)
    fail_ml("the classifier has support vectors for a class alone, and compares it with none");
  require_at_least("coefficients", svm.coefficients.size(), (svm.classes - 1) * svm.vectors);
  require_at_least("rho", svm.rho.size(), svm.pairs());
  if (svm.has_chances()) require_at_least("prob_a", svm.prob_a.size(), svm.pairs());
  // Its probit is a number for the first class alone in ONNX Runtime, and memory as it was for the second.
  if (svm.classes == 2 && !svm.has_chances() && svm.transform == Transform::kProbit)
    fail_ml("attribute 'post_transform' is PROBIT, which is not defined for the one score of two classes");
  return svm;
}

// Numbers of the node that the kernel keeps.
struct Kept {
  std::shared_ptr<std::byte> tiles;  // the matrix as products read it: eight rows each, [features][8]
  std::vector<float> coefficients, rho, prob_a, prob_b;
  size_t bytes = 0;
};

// Lets `svm` point to the kept numbers.
std::shared_ptr<const Kept> keep(const PrepareContext& c, Svm& svm) {
  const auto kept = c.cached<Kept>("svm", [&] {
    const auto layout = kernels::WeightLayout::transposed_matrix(static_cast<int>(svm.features),
                                                                 static_cast<int>(svm.columns()));
    auto made = std::make_shared<Kept>();
    made->bytes = kernels::packed_float_weights_bytes(layout);
    made->tiles = allocate_bytes(made->bytes);
    kernels::pack_float_weights(svm.matrix.data(), layout, made->tiles.get());
    const auto copy = [&](std::span<const float> from, std::vector<float>& to) {
      to.assign(from.begin(), from.end());
      made->bytes += from.size_bytes();
    };
    copy(svm.coefficients, made->coefficients);
    copy(svm.rho, made->rho);
    copy(svm.prob_a, made->prob_a);
    copy(svm.prob_b, made->prob_b);
    return made;
  });
  svm.matrix = {};
  svm.coefficients = kept->coefficients;
  svm.rho = kept->rho;
  svm.prob_a = kept->prob_a;
  svm.prob_b = kept->prob_b;
  return kept;
}

// exp(-gamma |x - v|^2) of a row and each vector.
void radial(const Svm& svm, const float* tiles, const float* x, float* to) {
  constexpr int64_t kWide = kernels::kColumnTile;
  for (int64_t at = 0; at < svm.vectors; at += kWide, tiles += svm.features * kWide) {
    std::array<float, kWide> sums{};
    for (int64_t f = 0; f < svm.features; ++f) {
      const float* v = tiles + f * kWide;
      for (size_t i = 0; i < kWide; ++i) sums[i] += (x[f] - v[i]) * (x[f] - v[i]);
    }
    for (int64_t i = 0; i < std::min(kWide, svm.vectors - at); ++i)
      to[at + i] = std::exp(-svm.gamma * sums[static_cast<size_t>(i)]);
  }
}

float power(float v, float degree) {
  return degree == 2 ? v * v : degree == 3 ? v * v * v : std::pow(v, degree);
}

// The values of the kernel function for `rows` rows and each vector; for a linear model, its scores.
void compare(const Svm& svm, const Kept& kept, const float* x, int64_t rows, float* to) {
  const auto* tiles = reinterpret_cast<const float*>(kept.tiles.get());
  const int64_t columns = svm.columns();
  if (svm.function == Function::kRbf) {
    for (int64_t row = 0; row < rows; ++row) radial(svm, tiles, x + row * svm.features, to + row * columns);
    return;
  }
  kernels::FloatGemmOutput output;
  output.data = to;
  output.rows.stride = static_cast<std::ptrdiff_t>(columns);
  kernels::float_gemm<>({.data = x, .row_stride = static_cast<std::ptrdiff_t>(svm.features)},
                        {tiles, static_cast<int>(columns), static_cast<int>(svm.features)}, output,
                        {0, static_cast<int>(rows), 0, static_cast<int>(columns)}, nullptr);
  for (float& v : std::span(to, static_cast<size_t>(rows * columns))) {
    if (svm.vectors == 0) {
      v += svm.rho[0];
    } else if (svm.function == Function::kPoly) {
      v = power(svm.gamma * v + svm.coef0, svm.degree);
    } else if (svm.function == Function::kSigmoid) {
      v = std::tanh(svm.gamma * v + svm.coef0);
    }
  }
}

// The score of each pair of classes, and for how many each class was the better one.
void score_pairs(const Svm& svm, const float* values, std::span<float> scores, std::span<int64_t> votes) {
  std::fill(votes.begin(), votes.end(), 0);
  size_t pair = 0;
  const auto sum_of = [&](int64_t row, size_t of) {
    double sum = 0;
    for (int64_t m = svm.first[of]; m < svm.first[of + 1]; ++m)
      sum += static_cast<double>(svm.coefficients[static_cast<size_t>(row * svm.vectors + m)] * values[m]);
    return sum;
  };
  for (int64_t i = 0; i + 1 < svm.classes; ++i) {
    for (int64_t j = i + 1; j < svm.classes; ++j, ++pair) {
      // A class has no coefficients against itself, so that those against class j are one row above it.
      const double sum = sum_of(j - 1, static_cast<size_t>(i)) + sum_of(i, static_cast<size_t>(j)) +
                         static_cast<double>(svm.rho[pair]);
      scores[pair] = static_cast<float>(sum);
      ++votes[static_cast<size_t>(sum > 0 ? i : j)];
    }
  }
}

// Probabilities of classes from those of pairs: the second method of Wu, Lin and Weng, “Probability estimates
// for multi-class classification by pairwise coupling” (2004), in the steps and to the error of LIBSVM, which
// stops early enough for these to be seen in the results. r: [classes, classes].
void couple(std::span<const float> r, std::span<float> p, std::vector<float>& q, std::vector<float>& qp) {
  const size_t n = p.size();
  q.assign(n * n, 0.0f);
  qp.assign(n, 0.0f);
  for (size_t i = 0; i < n; ++i) {
    p[i] = 1.0f / static_cast<float>(n);
    for (size_t j = 0; j < n; ++j) {
      if (j == i) continue;
      q[i * n + i] += r[j * n + i] * r[j * n + i];
      q[i * n + j] = j < i ? q[j * n + i] : -r[j * n + i] * r[i * n + j];
    }
  }
  const float enough = 0.005f / static_cast<float>(n);
  for (int round = 0; round < 100; ++round) {
    float pqp = 0;
    for (size_t i = 0; i < n; ++i) {
      qp[i] = 0;
      for (size_t j = 0; j < n; ++j) qp[i] += q[i * n + j] * p[j];
      pqp += p[i] * qp[i];
    }
    float error = 0;
    for (const float v : qp) error = std::max(error, std::abs(v - pqp));
    if (error < enough) return;
    for (size_t i = 0; i < n; ++i) {
      const float step = (pqp - qp[i]) / q[i * n + i], whole = 1 + step;
      p[i] += step;
      pqp = (pqp + step * (step * q[i * n + i] + 2 * qp[i])) / whole / whole;
      for (size_t j = 0; j < n; ++j) {
        qp[j] = (qp[j] + step * q[i * n + j]) / whole;
        p[j] /= whole;
      }
    }
  }
}

// What a thread needs to classify rows.
struct Scratch {
  explicit Scratch(const Svm& svm)
      : pairs(static_cast<size_t>(svm.vectors > 0 ? svm.pairs() : 0)),
        votes(static_cast<size_t>(svm.classes)),
        scores(static_cast<size_t>(svm.scores())) {}
  std::vector<float> pairs;
  std::vector<int64_t> votes;
  std::vector<float> scores;
  std::vector<float> r, q, qp;
};

// The class of a row and its scores, from the values of the kernel function.
size_t classify(const Svm& svm, const float* values, bool all_positive, Scratch& s) {
  if (svm.vectors == 0) {
    std::copy_n(values, s.scores.size(), s.scores.begin());
    auto best = static_cast<size_t>(std::max_element(s.scores.begin(), s.scores.end()) - s.scores.begin());
    // Of two classes ONNX Runtime takes the second as soon as any score is high.
    const float most = s.scores[best];
    if (svm.classes == 2 && !svm.has_chances() && (all_positive ? most >= 0.5f : most > 0)) best = 1;
    transform<float>(
        svm.classes > 1 || svm.transform == Transform::kProbit ? svm.transform : Transform::kNone, s.scores);
    return best;
  }
  score_pairs(svm, values, s.pairs, s.votes);
  const auto best = static_cast<size_t>(std::max_element(s.votes.begin(), s.votes.end()) - s.votes.begin());
  if (svm.has_chances()) {
    const auto n = static_cast<size_t>(svm.classes);
    s.r.resize(n * n);
    size_t pair = 0;
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = i + 1; j < n; ++j, ++pair) {
        const float chance = 1 - logistic(s.pairs[pair] * svm.prob_a[pair] + svm.prob_b[pair]);
        s.r[i * n + j] = std::min(std::max(chance, 1e-7f), 1 - 1e-7f);
        s.r[j * n + i] = 1 - s.r[i * n + j];
      }
    }
    couple(s.r, s.scores, s.q, s.qp);
  } else if (svm.classes == 2) {
    // One score serves both classes. With a softmax ONNX Runtime takes it for a probability, as it is.
    const float score = s.pairs[0];
    const bool chance = svm.transform == Transform::kSoftmax || svm.transform == Transform::kSoftmaxZero;
    s.scores[0] = chance ? 1 - score : -score;
    s.scores[1] = score;
    if (svm.transform == Transform::kLogistic) transform<float>(svm.transform, s.scores);
    return best;
  } else {
    s.scores = s.pairs;
  }
  transform<float>(svm.transform, s.scores);
  return best;
}

// body(rows of X from `row` on, `count` of them, the values of the kernel function for each).
template <class Body>
void for_rows(const RunContext& r, const Svm& svm, const Kept& kept, int64_t rows, Body&& body) {
  const int64_t columns = svm.columns();
  // So many at once that products reuse what they read, and the values of a block stay small.
  const int64_t most = std::clamp<int64_t>(65536 / columns, 1, 48);
  const int64_t work = columns * svm.features + svm.classes * svm.vectors;
  r.parallel_range(rows, grain_for({.work = work}), [&](int64_t begin, int64_t end) {
    std::vector<float> values(static_cast<size_t>(std::min(most, end - begin) * columns));
    Scratch scratch(svm);
    for (int64_t row = begin; row < end; row += most) {
      const int64_t count = std::min(most, end - row);
      compare(svm, kept, r.in<float>(0) + row * svm.features, count, values.data());
      for (int64_t i = 0; i < count; ++i) body(row + i, values.data() + i * columns, scratch);
    }
  });
}

int64_t rows_in(const PrepareContext& c, const Svm& svm) {
  const Shape& x = c.dims(0);
  if (x.empty() || x.back() != svm.features) {
    c.fail_input(0, ErrorCode::kShapeMismatch,
                 {"the input has dimensions ", x, ", and rows should have ", svm.features, " numbers"});
  }
  return x.size() == 2 ? x[0] : 1;
}

Kernel prepare_classifier(PrepareContext& c) {
  Svm svm = svm_of(c.node());
  const int64_t rows = rows_in(c, svm);
  const bool gives_label = c.has_output(0), gives_scores = c.has_output(1);
  const bool all_positive =
      std::all_of(svm.coefficients.begin(), svm.coefficients.end(), [](float v) { return v >= 0; });
  const std::shared_ptr<const Kept> kept = keep(c, svm);
  return [=, labels = class_labels(c.node()), svm = std::move(svm)](const RunContext& r) {
    const size_t bytes = bytes_of(labels.dtype(), 1);
    for_rows(r, svm, *kept, rows, [&](int64_t row, const float* values, Scratch& scratch) {
      const size_t found = classify(svm, values, all_positive, scratch);
      if (gives_label)
        std::memcpy(r.outputs[0] + static_cast<size_t>(row) * bytes, labels.raw() + found * bytes, bytes);
      if (gives_scores)
        std::copy(scratch.scores.begin(), scratch.scores.end(), r.out<float>(1) + row * svm.scores());
    });
  };
}

// The one target keeps its score whatever `post_transform` says, as in ONNX Runtime.
Kernel prepare_regressor(PrepareContext& c) {
  Svm svm = svm_of(c.node());
  const int64_t rows = rows_in(c, svm);
  const bool one_class = c.node().int_attribute("one_class", 0) != 0;
  const std::shared_ptr<const Kept> kept = keep(c, svm);
  return [=, svm = std::move(svm)](const RunContext& r) {
    for_rows(r, svm, *kept, rows, [&](int64_t row, const float* values, Scratch&) {
      float y = values[0];
      if (svm.vectors > 0)
        y = std::inner_product(values, values + svm.vectors, svm.coefficients.begin(), svm.rho[0]);
      r.out<float>(0)[row] = one_class ? (y > 0 ? 1.0f : -1.0f) : y;
    });
  };
}

void infer_svm(InferContext& c) {
  const Svm svm = svm_of(c.node());
  const SymShape* x = c.shape(0);
  const Dim rows = rows_of(c);
  if (x && contradicts(x->back(), Dim(svm.features))) {
    c.fail(ErrorCode::kShapeMismatch,
           {"the input has dimensions ", *x, ", and rows should have ", svm.features, " numbers"});
  }
  if (!is_classifier(c.node())) return c.output(0, DType::kFloat32, {rows, Dim(1)});
  if (c.has_output(0)) c.output(0, class_labels(c.node()).dtype(), {rows});
  if (c.has_output(1)) c.output(1, DType::kFloat32, {rows, Dim(svm.scores())});
}

void canonicalize_svm(Canonicalize& c) {
  c.node.inputs[0] = as_float(c, c.node.inputs[0]);
  c.keep();
}

constexpr OpDef svm(std::string_view name, Kernel (*prepare)(PrepareContext&)) {
  return {.domain = kMl,
          .name = name,
          .infer = infer_svm,
          .prepare = prepare,
          .quant = {.why_float = "compares with support vectors, or has few products"},
          .canonicalize = canonicalize_svm};
}
constexpr OpDef kClassifier = svm("SVMClassifier", prepare_classifier);
constexpr OpDef kRegressor = svm("SVMRegressor", prepare_regressor);
const RegisterOps kRegistered({&kClassifier, &kRegressor});

}  // namespace
}  // namespace zp
