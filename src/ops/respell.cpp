#include "ops/respell.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "ops/fused.h"

namespace zp {
namespace {

// The letters of OpDef::opsets.
constexpr std::pair<char, DType> kLetters[] = {
    {'f', DType::kFloat32},        {'d', DType::kFloat64},        {'h', DType::kFloat16},
    {'b', DType::kBfloat16},       {'c', DType::kInt8},           {'C', DType::kUint8},
    {'s', DType::kInt16},          {'S', DType::kUint16},         {'i', DType::kInt32},
    {'I', DType::kUint32},         {'l', DType::kInt64},          {'L', DType::kUint64},
    {'o', DType::kBool},           {'t', DType::kString},         {'q', DType::kInt4},
    {'Q', DType::kUint4},          {'p', DType::kInt2},           {'P', DType::kUint2},
    {'j', DType::kFloat8E4M3FN},   {'J', DType::kFloat8E4M3FNUZ}, {'k', DType::kFloat8E5M2},
    {'K', DType::kFloat8E5M2FNUZ}, {'m', DType::kFloat4E2M1},     {'e', DType::kFloat8E8M0}};

bool lists(std::string_view letters, DType type) {
  for (const auto& [letter, is] : kLetters) {
    if (is != type) continue;
    const bool real = letter == 'f' || letter == 'd' || letter == 'h';
    const bool number = real || std::string_view("cCsSiIlL").find(letter) != std::string_view::npos;
    const auto has = [&](char c) { return letters.find(c) != std::string_view::npos; };
    return has(letter) || (has('F') && real) || (has('N') && number) ||
           (has('G') && std::string_view("jJkK").find(letter) != std::string_view::npos) ||
           (has('A') && (number || letter == 'o' || letter == 't'));
  }
  return false;
}

// The next word of a row; empty at its end.
std::string_view next_word(std::string_view& row) {
  const size_t end = std::min(row.find(' '), row.size());
  const std::string_view word = row.substr(0, end);
  row.remove_prefix(std::min(end + 1, row.size()));
  return word;
}

int64_t number_of(std::string_view& text) {
  int64_t n = 0;
  while (!text.empty() && text[0] >= '0' && text[0] <= '9') {
    n = n * 10 + (text[0] - '0');
    text.remove_prefix(1);
  }
  return n;
}

bool is_default(const Attribute& attribute, std::string_view value) {
  const auto same = [&](int64_t v) { return std::to_string(v) == (value.empty() ? "0" : value); };
  if (const auto* i = std::get_if<int64_t>(&attribute)) return same(*i);
  if (const auto* s = std::get_if<std::string>(&attribute)) return *s == value;
  const auto* list = std::get_if<std::vector<int64_t>>(&attribute);
  return list && !value.empty() && std::ranges::all_of(*list, same);
}

// A word "name=value:since" or "name<0:since".
void respell_attribute(Respell& r, std::string_view word) {
  const size_t colon = word.find(':'), equal = word.find('=');
  std::string_view digits = word.substr(colon + 1);
  const int64_t since = number_of(digits);
  const bool axis = word[colon - 1] == '0' && word[colon - 2] == '<';
  const std::string_view name = word.substr(0, axis ? colon - 2 : std::min(equal, colon));
  const auto found = r.node.attributes.find(name);
  if (!r.before(since) || found == r.node.attributes.end()) return;
  if (axis) {
    if (auto* value = std::get_if<int64_t>(&found->second)) r.from_front(*value, r.rank(0));
    return;
  }
  const bool given = equal == std::string_view::npos;
  const std::string_view value = given ? "0" : word.substr(equal + 1, colon - equal - 1);
  if (!value.empty() && is_default(found->second, value)) {
    r.node.attributes.erase(found);
  } else {
    r.need(since);
  }
}

}  // namespace

DType Respell::dtype(size_t input) const {
  const ValueId v = node.input(input);
  return v == kNoValue ? DType::kUndefined : graph[v].dtype;
}

int Respell::rank(size_t input) const {
  const ValueId v = node.input(input);
  return v != kNoValue && graph[v].shape ? static_cast<int>(graph[v].shape->size()) : -1;
}

std::optional<std::vector<int64_t>> Respell::integers(size_t input) const {
  const Tensor* t = constant(input);
  if (!t) return std::nullopt;
  return t->integers();
}

void Respell::set(size_t input, ValueId v) {
  if (node.inputs.size() <= input) node.inputs.resize(input + 1, kNoValue);
  node.inputs[input] = v;
}

void Respell::set(size_t input, std::vector<int64_t> values) {
  const auto count = static_cast<int64_t>(values.size());
  set(input, graph.add_constant(node.name + "_list", Tensor::of<int64_t>({count}, values)));
}

void Respell::from_front(int64_t& axis, int rank) {
  if (axis >= 0 || !before(11)) return;
  if (rank < 0) return need(11);
  axis += rank;
}

void Respell::input_to_attribute(size_t input, std::string_view key, int64_t since) {
  if (!before(since) || node.input(input) == kNoValue) return;
  auto values = integers(input);
  if (!values) return need(since);
  node.attributes.insert_or_assign(std::string(key), std::move(*values));
  node.inputs[input] = kNoValue;
}

void Respell::need_type(DType type) {
  std::string_view row = find_op(node)->opsets;
  int64_t last = 0;
  for (std::string_view word = next_word(row); !word.empty(); word = next_word(row)) {
    if (word[0] < '0' || word[0] > '9') continue;
    last = number_of(word);
    if (lists(word, type)) break;
  }
  // A type that no opset has here: the written file is no worse than the file that was read.
  if (type != DType::kUndefined) need(last);
}

std::optional<int64_t> takes_since(const OpDef& def, DType type) {
  std::string_view row = def.opsets;
  for (std::string_view word = next_word(row); !word.empty(); word = next_word(row)) {
    if (word[0] < '0' || word[0] > '9') continue;
    const int64_t since = number_of(word);
    if (lists(word, type)) return since;
  }
  return std::nullopt;
}

int64_t respell(Graph& graph, Node& node, int64_t opset) {
  // A fused operator of another domain: the row describes the operator's function, which a runtime runs where
  // it has no kernel.
  const bool whole = is_fused(node) && !node.domain.empty();
  const OpDef* def = whole                 ? find_op(node.domain, node.op_type)
                     : node.domain.empty() ? find_op(node)
                                           : nullptr;
  if (!def || def->opsets.empty()) return kOldestOpset;
  Respell r{.graph = graph, .node = node, .opset = opset};
  std::string_view row = def->opsets;
  std::string_view first = row;
  r.need(number_of(first));  // the operator itself
  ValueId typed = node.input(0);
  if (row[0] == '@') {
    const char where = next_word(row)[1];
    first = row;
    r.need(number_of(first));
    typed = where == 'o' ? node.output(0) : node.input(static_cast<size_t>(where - '0'));
  }
  if (typed != kNoValue) r.need_type(graph[typed].dtype);
  if (def->respell) def->respell(r);
  for (std::string_view word = next_word(row); !word.empty(); word = next_word(row))
    if (word[0] > '9') respell_attribute(r, word);
  return r.needed;
}

}  // namespace zp
