// Einsum: sums of products, as an equation says which dimensions belong together ("bqd,bkd->bqk"). It becomes
// matrix products and operators around them, operand by operand from the left, so that a constant factor is
// quantized like the weight of any other product.
#include <algorithm>
#include <map>
#include <numeric>
#include <optional>

#include "ops/cast.h"
#include "ops/expansion.h"

namespace zp {
namespace {

// A dimension: a letter, or -1, -2, ... from the last one for the dimensions of an ellipsis.
using Label = int;
using Labels = std::vector<Label>;
constexpr Label kEllipsis = 0;  // until its dimensions are known

bool has(const Labels& labels, Label l) { return std::find(labels.begin(), labels.end(), l) != labels.end(); }

struct Operand {
  ValueId value;
  Labels labels;  // one for each dimension
  bool constant = false;
};

class Expansion {
 public:
  explicit Expansion(Canonicalize& c) : c_(c) {}

  void run() {
    const size_t count = c_.node.inputs.size();
    read(c_.node.string_attribute("equation", ""));
    for (size_t i = 0; i < count; ++i) drop_ones(i);
    Operand made = operands_[0];
    diagonals(made);
    for (size_t i = 1; i < count; ++i) {
      diagonals(operands_[i]);
      made = product(made, operands_[i], [&](Label l) {
        return has(result_, l) ||
               std::any_of(operands_.begin() + static_cast<std::ptrdiff_t>(i) + 1, operands_.end(),
                           [&](const Operand& later) { return has(later.labels, l); });
      });
    }
    sum(made, [&](Label l) { return !has(result_, l); });
    arrange(made, result_);
    if (c_.nodes.empty()) return c_.finish("Identity", {made.value});
    gives_output(c_, 0);
  }

 private:
  // ---- the equation

  [[noreturn]] void fail_equation(const Text& why) const {
    c_.fail(ErrorCode::kInvalidModel,
            {"equation '", c_.node.string_attribute("equation", ""), "': ", why.str()});
  }

  // The labels of one operand, or of the result.
  Labels term(std::string_view text) const {
    Labels labels;
    for (size_t i = 0; i < text.size(); ++i) {
      const char ch = text[i];
      if ((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')) {
        labels.push_back(ch);
      } else if (text.substr(i, 3) == "..." && !has(labels, kEllipsis)) {
        labels.push_back(kEllipsis);
        i += 2;
      } else {
        fail_equation({"'", text, "' is no list of dimensions"});
      }
    }
    return labels;
  }

  void read(std::string equation) {
    std::erase(equation, ' ');
    const size_t arrow = equation.find("->");
    std::vector<Labels> terms;
    for (std::string_view rest = std::string_view(equation).substr(0, arrow);;) {
      const size_t end = std::min(rest.find(','), rest.size());
      terms.push_back(term(rest.substr(0, end)));
      if (end == rest.size()) break;
      rest.remove_prefix(end + 1);
    }
    const size_t count = c_.node.inputs.size();
    if (terms.size() != count) fail_equation({"it has ", terms.size(), " operands, and there are ", count});
    bool any = false;
    for (size_t i = 0; i < count; ++i) {
      any |= has(terms[i], kEllipsis);
      add_operand(i, terms[i]);
    }
    if (arrow != std::string::npos) {
      result_ = term(std::string_view(equation).substr(arrow + 2));
      if (any && !has(result_, kEllipsis)) fail_equation("the result has no ellipsis");
    } else {
      if (any) result_.push_back(kEllipsis);
      for (const auto& [label, times] : times_)
        if (label > 0 && times == 1) result_.push_back(label);
    }
    spread(result_, ellipsis_);
    for (size_t i = 0; i < result_.size(); ++i) {
      if (!times_.contains(result_[i])) fail_equation("the result has a dimension that no operand has");
      if (std::find(result_.begin(), result_.begin() + static_cast<std::ptrdiff_t>(i), result_[i]) !=
          result_.begin() + static_cast<std::ptrdiff_t>(i))
        fail_equation("the result has a dimension twice");
    }
  }

  // Puts `count` dimensions in the place of the ellipsis.
  static void spread(Labels& labels, int64_t count) {
    const auto at = std::find(labels.begin(), labels.end(), kEllipsis);
    if (at == labels.end()) return;
    Labels dims;
    for (auto l = static_cast<Label>(-count); l < 0; ++l) dims.push_back(l);
    labels.insert(labels.erase(at), dims.begin(), dims.end());
  }

  void add_operand(size_t i, Labels labels) {
    const int64_t rank = rank_of(c_, i), named = std::ssize(labels) - (has(labels, kEllipsis) ? 1 : 0);
    if (rank < named || (rank > named && !has(labels, kEllipsis)))
      fail_equation({"it gives operand ", i, " ", named, " dimensions, and there are ", rank});
    ellipsis_ = std::max(ellipsis_, rank - named);
    spread(labels, rank - named);
    const SymShape& shape = *c_.shape(i);
    for (size_t d = 0; d < labels.size(); ++d) {
      ++times_[labels[d]];
      const auto [known, added] = lengths_.try_emplace(labels[d], Length{shape[d], i, d});
      Dim& length = known->second.dim;
      const auto require_same = [&](const Dim& other) {
        if (contradicts(other, shape[d]))
          c_.fail(ErrorCode::kShapeMismatch,
                  {"dimensions of ", other.value(), " and ", shape[d].value(), " have one label"});
      };
      for (size_t e = 0; e < d; ++e)
        if (labels[e] == labels[d]) require_same(shape[e]);
      if (added || shape[d] == Dim(1)) continue;
      if (length != Dim(1)) require_same(length);
      if (length == Dim(1) || (!length.known() && shape[d].known())) known->second = {shape[d], i, d};
    }
    operands_.push_back({c_.node.inputs[i], std::move(labels), c_.constant(i) != nullptr});
  }

  // ---- steps

  ValueId axes(const std::vector<int64_t>& list) { return add_ints(c_, list); }

  // A dimension of one element broadcasts: it goes where another operand has the dimension.
  void drop_ones(size_t i) {
    Operand& o = operands_[i];
    const SymShape shape = *c_.shape(i);
    std::vector<int64_t> ones;
    Labels rest;
    for (size_t d = 0; d < o.labels.size(); ++d) {
      const Label l = o.labels[d];
      const Length& length = lengths_.at(l);
      const bool elsewhere = length.input != i && (length.dim != Dim(1) || length.input < i);
      if (shape[d] == Dim(1) && elsewhere) {
        ones.push_back(static_cast<int64_t>(d));
      } else {
        rest.push_back(l);
      }
    }
    if (ones.empty()) return;
    o.value = c_.add("Squeeze", {o.value, axes(ones)});
    o.labels = std::move(rest);
  }

  // Brings the dimensions into an order.
  void arrange(Operand& o, const Labels& order) {
    if (o.labels == order) return;
    std::vector<int64_t> perm;
    for (const Label l : order)
      perm.push_back(std::find(o.labels.begin(), o.labels.end(), l) - o.labels.begin());
    o.value = c_.add("Transpose", {o.value}, {{"perm", perm}});
    o.labels = order;
  }

  template <class F>
  void sum(Operand& o, F&& goes) {
    std::vector<int64_t> gone;
    Labels rest;
    for (size_t d = 0; d < o.labels.size(); ++d) {
      if (goes(o.labels[d])) {
        gone.push_back(static_cast<int64_t>(d));
      } else {
        rest.push_back(o.labels[d]);
      }
    }
    if (gone.empty()) return;
    o.value = c_.add("ReduceSum", {o.value, axes(gone)}, {{"keepdims", int64_t{0}}});
    o.labels = std::move(rest);
  }

  // Of a label that an operand has twice, the elements where both are the same.
  void diagonals(Operand& o) {
    for (size_t d = 0; d < o.labels.size();) {
      const Label l = o.labels[d];
      const auto first = o.labels.begin() + static_cast<std::ptrdiff_t>(d);
      const auto second = std::find(first + 1, o.labels.end(), l);
      if (second == o.labels.end()) {
        ++d;
        continue;
      }
      // [..., n, n] as [..., n * n]: every (n + 1)-th element.
      std::vector<int64_t> perm(o.labels.size());
      std::iota(perm.begin(), perm.end(), 0);
      const auto at = second - o.labels.begin();
      perm.erase(perm.begin() + at);
      perm.erase(perm.begin() + static_cast<std::ptrdiff_t>(d));
      perm.insert(perm.end(), {static_cast<int64_t>(d), static_cast<int64_t>(at)});
      o.value = c_.add("Transpose", {o.value}, {{"perm", perm}});
      o.labels.erase(second);
      o.labels.erase(o.labels.begin() + static_cast<std::ptrdiff_t>(d));
      std::vector<Labels> apart, together;
      for (const Label other : o.labels) apart.push_back({other});
      together = apart;
      apart.push_back({l});
      apart.push_back({l});
      together.push_back({l, l});
      o.value = reshaped(o.value, apart, together);
      const Dim n = lengths_.at(l).dim;
      const ValueId step = n.known() ? axes({n.value() + 1}) : c_.add("Add", {length(l), axes({1})});
      o.value = c_.add("Slice", {o.value, axes({0}), axes({std::numeric_limits<int64_t>::max()}),
                                 axes({std::ssize(o.labels)}), step});
      o.labels.push_back(l);
      d = 0;
    }
  }

  // The length of a dimension, [1].
  ValueId length(Label l) {
    const Length& known = lengths_.at(l);
    if (known.dim.known()) return axes({known.dim.value()});
    const auto at = static_cast<int64_t>(known.axis);
    return c_.add("Shape", {c_.node.inputs[known.input]}, {{"start", at}, {"end", at + 1}});
  }

  // Brings dimensions that are products of labels to other such dimensions.
  ValueId reshaped(ValueId x, const std::vector<Labels>& from, const std::vector<Labels>& to) {
    if (from == to) return x;
    std::vector<int64_t> fixed;
    for (size_t i = 0; i < to.size(); ++i) {
      const bool same = i < from.size() && from[i] == to[i];
      int64_t count = same ? 0 : 1;  // 0: as it is
      for (const Label l : to[i]) {
        const Dim n = lengths_.at(l).dim;
        if (!same && count > 0)
          count = n.known() && n.value() > 0 && n.value() <= kLargestDim / count ? count * n.value() : -1;
      }
      fixed.push_back(count);
    }
    if (std::none_of(fixed.begin(), fixed.end(), [](int64_t n) { return n < 0; }))
      return c_.add("Reshape", {x, axes(fixed)});
    std::vector<ValueId> parts;
    for (size_t i = 0; i < to.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      if (fixed[i] > 0) {
        parts.push_back(axes({fixed[i]}));
      } else if (fixed[i] == 0) {
        parts.push_back(c_.add("Shape", {x}, {{"start", at}, {"end", at + 1}}));
      } else {
        ValueId count = length(to[i][0]);
        for (size_t k = 1; k < to[i].size(); ++k) count = c_.add("Mul", {count, length(to[i][k])});
        parts.push_back(count);
      }
    }
    return c_.add("Reshape", {x, c_.add("Concat", parts, {{"axis", int64_t{0}}})},
                  {{"allowzero", int64_t{1}}});
  }

  // Dimensions of one element where `o` has none of `order`.
  ValueId widened(const Operand& o, const Labels& order) {
    std::vector<int64_t> missing;
    for (size_t d = 0; d < order.size(); ++d)
      if (!has(o.labels, order[d])) missing.push_back(static_cast<int64_t>(d));
    return missing.empty() ? o.value : c_.add("Unsqueeze", {o.value, axes(missing)});
  }

  // Whether MatMul takes this type.
  bool has_matrices() const {
    const DType t = c_.graph[c_.node.inputs[0]].dtype;
    return t == DType::kUndefined || is_float(t);
  }

  template <class F>
  Operand product(Operand a, Operand b, F&& kept) {
    if (a.constant && !b.constant) std::swap(a, b);  // a weight is the second factor
    sum(a, [&](Label l) { return !has(b.labels, l) && !kept(l); });
    sum(b, [&](Label l) { return !has(a.labels, l) && !kept(l); });
    Labels batch, rows, columns, summed;
    for (const Label l : a.labels) (!has(b.labels, l) ? rows : kept(l) ? batch : summed).push_back(l);
    for (const Label l : b.labels)
      if (!has(a.labels, l)) columns.push_back(l);
    const auto joined = [](std::initializer_list<const Labels*> lists) {
      Labels all;
      for (const Labels* list : lists) all.insert(all.end(), list->begin(), list->end());
      return all;
    };
    Operand y{kNoValue, joined({&batch, &rows, &columns}), a.constant && b.constant};
    arrange(a, joined({&batch, &rows, &summed}));
    if (summed.empty() || !has_matrices()) {
      arrange(b, joined({&batch, &columns, &summed}));
      y.labels.insert(y.labels.end(), summed.begin(), summed.end());
      y.value = c_.add("Mul", {widened(a, y.labels), widened(b, y.labels)});
      sum(y, [&](Label l) { return has(summed, l); });
      return y;
    }
    arrange(b, joined({&batch, &summed, &columns}));

    // [batch, rows, summed] and [batch, summed, columns]. Without a batch, rows stay apart, and vectors are
    // vectors.
    std::vector<Labels> left, right, whole, apart;
    const auto separate = [](std::vector<Labels>& to, const Labels& labels) {
      for (const Label l : labels) to.push_back({l});
    };
    const bool matrix = !batch.empty();
    separate(left, batch);
    separate(apart, batch);
    right = left;
    if (matrix) {
      left.push_back(rows);
    } else {
      separate(left, rows);
    }
    whole = left;
    left.push_back(summed);
    right.push_back(summed);
    if (matrix || !columns.empty()) {
      right.push_back(columns);
      whole.push_back(columns);
    }
    separate(apart, rows);
    separate(apart, columns);
    const auto as = [&](const Operand& o, const std::vector<Labels>& to) {
      std::vector<Labels> from;
      separate(from, o.labels);
      return reshaped(o.value, from, to);
    };
    const ValueId l = as(a, left), r = as(b, right);
    y.value = reshaped(c_.add("MatMul", {l, r}), whole, apart);
    return y;
  }

  struct Length {
    Dim dim;
    size_t input, axis;  // an operand that has it
  };
  Canonicalize& c_;
  std::vector<Operand> operands_;
  Labels result_;
  int64_t ellipsis_ = 0;  // dimensions that it stands for
  std::map<Label, int> times_;
  std::map<Label, Length> lengths_;
};

void expand(Canonicalize& c) { Expansion(c).run(); }

constexpr OpDef kEinsum = {.name = "Einsum", .inputs = "Inputs*", .since = 12, .canonicalize = expand};
const RegisterOps kRegistered({&kEinsum});

}  // namespace
}  // namespace zp
