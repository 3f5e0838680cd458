// What recurrent operators share.
#include "ops/recurrent.h"

#include <algorithm>

#include "kernels/movement/copy.h"
#include "ops/unary.h"

namespace zp {

using enum Recurrent::Input;

void canonicalize_recurrent(Canonicalize& c, std::initializer_list<size_t> states) {
  Node& n = c.node;
  n.attributes.erase("output_sequence");
  const bool batch_first = n.int_attribute("layout", 0) != 0;
  n.attributes.erase("layout");
  if (!batch_first) return c.keep();
  const auto swap_ends = [&](size_t input) {
    if (n.input(input) != kNoValue) {
      n.inputs[input] = c.add("Transpose", {n.inputs[input]}, {{"perm", std::vector<int64_t>{1, 0, 2}}});
    }
  };
  swap_ends(kX);
  for (const size_t state : states) swap_ends(state);
  std::vector<Node> after;
  for (size_t i = 0; i < n.outputs.size(); ++i) {
    if (n.outputs[i] == kNoValue) continue;
    const ValueId inner = c.graph.add_value(c.graph[n.outputs[i]].name + "_steps_first");
    Node transpose;
    transpose.name = c.graph[inner].name;
    transpose.op_type = "Transpose";
    transpose.inputs = {inner};
    transpose.outputs = {n.outputs[i]};
    transpose.attributes.emplace("perm",
                                 i == 0 ? std::vector<int64_t>{2, 0, 1, 3} : std::vector<int64_t>{1, 0, 2});
    n.outputs[i] = inner;
    after.push_back(std::move(transpose));
  }
  c.keep();
  for (Node& t : after) c.nodes.push_back(std::move(t));
}

void infer_recurrent(InferContext& c) {
  const Dim directions = Recurrent::directions_of(c.node());
  Dim steps, batch, hidden;
  if (const SymShape* x = c.shape(kX)) {
    c.require(x->size() == 3, "the input should have dimensions [steps, batch, features]");
    steps = (*x)[0];
    batch = (*x)[1];
  }
  if (const SymShape* r = c.shape(kR)) {
    c.require(r->size() == 3,
              "recurrent weights should have dimensions [directions, gates * hidden, hidden]");
    hidden = (*r)[2];
  } else if (const int64_t size = c.ints("hidden_size", 0); size > 0) {
    hidden = Dim(size);
  }
  const DType type = c.dtype(kX);
  if (c.has_output(0)) c.output(0, type, SymShape{steps, directions, batch, hidden});
  for (const size_t state : {size_t{1}, size_t{2}})
    if (c.has_output(state)) c.output(state, type, SymShape{directions, batch, hidden});
}

double macs_of_recurrent(const InferContext& c) {
  const SymShape *x = c.shape(kX), *r = c.shape(kR);
  if (!x || !r || x->size() != 3 || r->size() != 3) return 0;
  for (const SymShape* s : {x, r})
    for (const Dim& d : *s)
      if (!d.known()) return 0;
  const auto value = [](const Dim& d) { return static_cast<double>(d.value()); };
  return value((*x)[0]) * value((*x)[1]) * value((*r)[0]) * value((*r)[1]) *
         (value((*x)[2]) + value((*r)[2]));
}

namespace {

struct Known {
  std::string_view name;
  kernels::Unary function;
  bool required = false;  // its parameters: there is no standard for them
  int parameters = 0;     // that attributes set: alpha, then beta
  float a = 0, b = 0;     // without them
};
constexpr Known kKnown[] = {
    {"sigmoid", kernels::Unary::kSigmoid},
    {"tanh", kernels::Unary::kTanh},
    {"relu", kernels::Unary::kClamp, false, 0, 0, std::numeric_limits<float>::infinity()},
    {"leakyrelu", kernels::Unary::kLeakyRelu, false, 1, 0.01f},
    {"thresholdedrelu", kernels::Unary::kThresholdedRelu, false, 1, 1.0f},
    {"elu", kernels::Unary::kElu, false, 1, 1.0f},
    {"affine", kernels::Unary::kAffine, false, 2, 1.0f, 0.0f},
    {"scaledtanh", kernels::Unary::kScaledTanh, true, 2},
    {"hardsigmoid", kernels::Unary::kHardSigmoid, false, 2, 0.2f, 0.5f},
    {"softsign", kernels::Unary::kSoftsign},
    {"softplus", kernels::Unary::kSoftplus},
};

}  // namespace

Recurrent::Activations Recurrent::activations_of(const Node& n, const RecurrentForm& form) {
  const std::string op = qualified_name(n);
  const ErrorPlace place{.node = n.name, .op = op};
  const size_t of_direction = form.activations();
  const size_t wanted = static_cast<size_t>(directions_of(n)) * of_direction;
  const std::vector<std::string>* names = nullptr;
  if (const Attribute* a = n.attribute("activations")) {
    names = std::get_if<std::vector<std::string>>(a);
    if (!names || (!names->empty() && names->size() != wanted))
      throw_error(ErrorCode::kInvalidModel, {"there should be ", wanted, " activations"}, place);
  }
  // An activation with a parameter takes the next one in the list.
  const std::vector<float> alphas = n.floats_attribute("activation_alpha"),
                           betas = n.floats_attribute("activation_beta");
  auto alpha = alphas.begin(), beta = betas.begin();
  Activations found;
  for (size_t i = 0; i < wanted; ++i) {
    std::string name{form.names[i % of_direction]};
    if (names && !names->empty()) name = (*names)[i];
    for (char& ch : name) ch = static_cast<char>(ch | 0x20);
    const Known* known =
        std::find_if(std::begin(kKnown), std::end(kKnown), [&](const Known& k) { return k.name == name; });
    if (known == std::end(kKnown))
      throw_error(ErrorCode::kUnsupportedOperator, {"activation '", name, "' is not supported"}, place);
    found[i] = {known->function, {.a = known->a, .b = known->b}};
    const bool lacks =
        (known->parameters > 0 && alpha == alphas.end()) || (known->parameters > 1 && beta == betas.end());
    if (known->required && lacks)
      throw_error(ErrorCode::kInvalidModel, {"activation '", name, "' needs its alpha and beta"}, place);
    if (known->parameters > 0 && alpha != alphas.end()) found[i].parameters.a = *alpha++;
    if (known->parameters > 1 && beta != betas.end()) found[i].parameters.b = *beta++;
  }
  return found;
}

Recurrent Recurrent::of(const PrepareContext& c, const RecurrentForm& form) {
  Recurrent l;
  const Node& n = c.node();
  const std::string direction = n.string_attribute("direction", "forward");
  if (direction != "forward" && direction != "reverse" && direction != "bidirectional") {
    c.fail(ErrorCode::kInvalidModel, {"direction is '", direction, "'"});
  }
  l.directions = directions_of(n);
  l.blocks = form.gates;
  l.backward = direction == "reverse";
  const Shape &x = c.dims(kX), &r = c.dims(kR);
  if (x.size() != 3 || r.size() != 3)
    c.fail(ErrorCode::kShapeMismatch, "inputs should have three dimensions");
  l.steps = x[0];
  l.batch = x[1];
  l.features = x[2];
  l.hidden = r[2];
  const int64_t limit = std::numeric_limits<int32_t>::max() / 8;
  if (l.rows() > limit || l.features > limit || l.hidden > limit / 4) {
    c.fail(ErrorCode::kUnsupportedOperator, "the sequences are too long for the kernels");
  }
  // The shape of each input, in the letters of these sizes.
  const int64_t sizes[] = {l.steps,   l.batch,  l.features,    l.directions,
                           l.gates(), l.hidden, 2 * l.gates(), 3 * l.hidden};
  constexpr std::string_view kLetters = "sbfdghGp";
  for (size_t i = 0; i < form.inputs(); ++i) {
    l.has[i] = c.has_input(i);
    if (!l.has[i]) continue;
    if (c.dtype(i) != (i == kLengths ? DType::kInt32 : DType::kFloat32)) fail_type(c, i);
    Shape expected;
    for (const char letter : form.shapes[i]) expected.push_back(sizes[kLetters.find(letter)]);
    if (c.dims(i) != expected) {
      c.fail(ErrorCode::kShapeMismatch, {"input ", i, " has dimensions ", c.dims(i), ", not ", expected});
    }
  }
  l.clip = n.float_attribute("clip", l.clip);
  l.activations = activations_of(n, form);
  return l;
}

Recurrent::Weights Recurrent::weights(const PrepareContext& c, size_t input, std::string_view kind,
                                      const kernels::WeightLayout& layout, ScratchPieces& scratch,
                                      int64_t skipped) const {
  Weights w;
  w.input = input;
  w.skipped = skipped;
  w.all = element_count(c.dims(input)) / directions;
  w.layout = layout;
  w.bytes = kernels::round_up(kernels::packed_float_weights_bytes(layout), kAlignment);
  if (const Tensor* weights = c.constant(input)) {
    struct Packed {
      std::shared_ptr<std::byte> storage;
      size_t bytes;
    };
    const auto packed = c.cached<Packed>(kind, [&] {
      auto made = std::make_shared<Packed>();
      made->storage = allocate_bytes(made->bytes = w.bytes * static_cast<size_t>(directions));
      for (int64_t d = 0; d < directions; ++d) {
        kernels::pack_float_weights(weights->data<float>().data() + d * w.all + skipped, layout,
                                    made->storage.get() + static_cast<size_t>(d) * w.bytes);
      }
      kernels::flush_denormals(made->storage.get(), made->bytes);
      return made;
    });
    w.constant = {packed, packed->storage.get()};
  } else {
    w.scratch_at = scratch.reserve(w.bytes);
  }
  return w;
}

kernels::FloatWeights Recurrent::Weights::of(const RunContext& run, int64_t direction) const {
  if (constant) {
    return {reinterpret_cast<const float*>(constant.get() + static_cast<size_t>(direction) * bytes),
            layout.columns, layout.depth()};
  }
  return kernels::pack_float_weights(run.in<float>(input) + direction * all + skipped, layout,
                                     run.scratch<std::byte>(scratch_at));
}

Recurrent::Weights Recurrent::input_weights(const PrepareContext& c, ScratchPieces& scratch) const {
  return weights(
      c, kW, "w",
      kernels::WeightLayout::transposed_matrix(static_cast<int>(features), static_cast<int>(gates())),
      scratch);
}
Recurrent::Weights Recurrent::recurrent_weights(const PrepareContext& c, ScratchPieces& scratch,
                                                std::string_view kind, int64_t first, int64_t last) const {
  return weights(c, kR, kind,
                 kernels::WeightLayout::transposed_matrix(static_cast<int>(hidden),
                                                          static_cast<int>((last - first) * hidden)),
                 scratch, first * hidden * hidden);
}

namespace {

std::string wrong_length(int64_t length, int64_t steps) {
  return Text{"a sequence of ", length, " steps in an input of ", steps}.str();
}

}  // namespace

void Recurrent::check_lengths(const RunContext& run) const {
  if (!has[kLengths]) return;
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t length = run.in<int32_t>(kLengths)[b];
    if (length < 0 || length > steps) run.fault->report(kLengths, b, length, steps, wrong_length);
  }
}

Recurrent::Place Recurrent::place(const RunContext& run, int64_t direction, int64_t s, int64_t b) const {
  const int64_t length = has[kLengths] ? std::clamp<int64_t>(run.in<int32_t>(kLengths)[b], 0, steps) : steps;
  const bool inside = s < length, reverse = backward || direction == 1;
  return {reverse && inside ? length - 1 - s : s, inside};
}

void Recurrent::for_blocks(const RunContext& run, FunctionRef<void(int64_t begin, int64_t end)> body) const {
  const int64_t blocks = std::clamp<int64_t>(batch / kernels::kRowTile, 1, run.threads());
  run.parallel(blocks, [&](int64_t task, int) { body(batch * task / blocks, batch * (task + 1) / blocks); });
}

void Recurrent::for_steps(const RunContext& run, int64_t d, const float* h, float* y,
                          FunctionRef<void(int64_t row, int64_t b, int64_t count)> step) const {
  const bool together = !has[kLengths];  // all elements of the batch are at the same time
  for_blocks(run, [&](int64_t first, int64_t last) {
    for (int64_t s = 0; s < steps; ++s) {
      if (together) step(place(run, d, s, first).time * batch + first, first, last - first);
      for (int64_t b = first; b < last; ++b) {
        const auto [time, inside] = place(run, d, s, b);
        if (!together && inside) step(time * batch + b, b, 1);
        if (!y) continue;
        float* to = y + ((time * directions + d) * batch + b) * hidden;
        if (inside) {
          std::copy_n(h + b * hidden, hidden, to);
        } else {
          std::fill_n(to, hidden, 0.0f);
        }
      }
    }
  });
}

void Recurrent::add_products(const float* from, int64_t stride, const kernels::FloatWeights& weights,
                             float* gates, int64_t row, int64_t count, int64_t column) const {
  kernels::FloatGemmOutput into;
  into.data = gates + row * this->gates() + column;
  into.rows.stride = static_cast<std::ptrdiff_t>(this->gates());
  into.accumulate = true;
  kernels::float_gemm<>({.data = from, .row_stride = static_cast<std::ptrdiff_t>(stride)}, weights, into,
                        {0, static_cast<int>(count), 0, weights.columns}, nullptr);
}

void Recurrent::input_products(const RunContext& run, int64_t d, const kernels::FloatWeights& w, float* gates,
                               int64_t both) const {
  const int64_t width = this->gates(), with_both = both * hidden;
  const float* bias = has[kBias] ? run.in<float>(kBias) + d * 2 * width : nullptr;
  const int64_t block =
      std::max<int64_t>(kernels::kRowTile, (rows() + run.threads() * 2 - 1) / (run.threads() * 2));
  // The biases first, then the products on top.
  run.parallel((rows() + block - 1) / block, [&](int64_t task, int) {
    const int64_t begin = task * block, end = std::min(rows(), begin + block);
    for (int64_t row = begin; row < end; ++row) {
      float* to = gates + row * width;
      for (int64_t k = 0; k < width; ++k)
        to[k] = !bias ? 0.0f : k < with_both ? bias[k] + bias[width + k] : bias[k];
    }
    add_products(run.in<float>(kX) + begin * features, features, w, gates, begin, end - begin);
  });
}

void Recurrent::start(const RunContext& run, size_t input, int64_t d, float* to) const {
  if (has[input]) {
    std::copy_n(run.in<float>(input) + d * state(), state(), to);
  } else {
    std::fill_n(to, state(), 0.0f);
  }
  if (!has[kLengths]) return;
  for (int64_t b = 0; b < batch; ++b)
    if (run.in<int32_t>(kLengths)[b] <= 0) std::fill_n(to + b * hidden, hidden, 0.0f);
}

}  // namespace zp
