// ONNX's own test cases, and the registry of operators, for tools/conformance.mjs.
//
//   zeropoint_cases FOLDER < NAMES   runs FOLDER/NAME for each name that is read, with integer kernels and
//                                    without, and writes a line before and one after it:
//                                      run NAME
//                                      passed | differs | type | form | operator, a tab, and why
//   zeropoint_cases --shapeless FOLDER < NAMES
//                                    the same, with integer kernels alone, of models whose inputs declare no
//                                    shape: not even their rank is known before a run
//   zeropoint_cases --rewrite FOLDER TO < NAMES
//                                    writes FOLDER/NAME/model.onnx as TO/NAME.OPSET.onnx, of the lowest opset
//                                    that can say it, of the newest and of some between, unless it cannot be
//                                    read; runs them, and says what they give otherwise, a line each
//   zeropoint_cases --operators      writes the registry as JSON
//
// "operator": no file in ops/ handles it; "form", "type": it does, but says that it does not do this.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <protozero/pbf_reader.hpp>
#include <protozero/pbf_writer.hpp>
#include <set>
#include <string>
#include <vector>

#include "core/error.h"
#include "onnx/onnx.h"
#include "onnx/schema.h"
#include "ops/op.h"
#include "runtime/prepare.h"
#include "runtime/session.h"

namespace zp {
namespace {

namespace fs = std::filesystem;

struct FileBytes {
  std::shared_ptr<std::byte> bytes;
  size_t size;
};
FileBytes load(const fs::path& path) {
  const auto size = static_cast<size_t>(fs::file_size(path));
  auto bytes = allocate_bytes(size);
  std::ifstream(path, std::ios::binary)
      .read(reinterpret_cast<char*>(bytes.get()), static_cast<std::streamsize>(size));
  return {std::move(bytes), size};
}
Tensor load_tensor(const fs::path& path) {
  FileBytes file = load(path);
  return onnx::read_tensor(std::move(file.bytes), file.size);
}

// Fields of SequenceProto and of OptionalProto.
constexpr uint32_t kTensorField = 3, kSequenceField = 5;

Tensor tensor_in(protozero::data_view bytes) {
  auto copy = allocate_bytes(bytes.size());
  std::memcpy(copy.get(), bytes.data(), bytes.size());
  return onnx::read_tensor(std::move(copy), bytes.size());
}
Sequence sequence_in(protozero::data_view bytes) {
  Sequence sequence;
  protozero::pbf_reader reader(bytes);
  while (reader.next()) {
    if (reader.tag() == kTensorField) {
      sequence.push_back(tensor_in(reader.get_view()));
    } else {
      reader.skip();
    }
  }
  return sequence;
}
Item load_item(const fs::path& path, ValueKind kind) {
  if (kind == ValueKind::kTensor) return load_tensor(path);
  const FileBytes file = load(path);
  const protozero::data_view bytes(reinterpret_cast<const char*>(file.bytes.get()), file.size);
  if (kind == ValueKind::kSequence) return sequence_in(bytes);
  protozero::pbf_reader reader(bytes);
  while (reader.next()) {
    if (reader.tag() == kTensorField) return tensor_in(reader.get_view());
    if (reader.tag() == kSequenceField) return sequence_in(reader.get_view());
    reader.skip();
  }
  return {};
}

// A copy of a message in which `change` says what each of its messages and texts becomes; nullopt: it is left
// out.
template <class Change>
std::string copied(protozero::data_view message, Change&& change) {
  std::string copy;
  protozero::pbf_writer to(copy);
  protozero::pbf_reader from(message);
  while (from.next()) {
    const auto tag = from.tag();
    switch (from.wire_type()) {
      case protozero::pbf_wire_type::varint:
        to.add_uint64(tag, from.get_uint64());
        break;
      case protozero::pbf_wire_type::fixed64:
        to.add_fixed64(tag, from.get_fixed64());
        break;
      case protozero::pbf_wire_type::fixed32:
        to.add_fixed32(tag, from.get_fixed32());
        break;
      default: {
        const protozero::data_view part = from.get_view();
        if (const std::optional<std::string> now = change(uint32_t{tag}, part)) to.add_message(tag, *now);
      }
    }
  }
  return copy;
}

std::string as_it_is(protozero::data_view part) { return {part.data(), part.size()}; }

// A type of tensors, or of what is made of them, without their shapes.
std::string type_without_shapes(protozero::data_view type) {
  return copied(type, [](uint32_t tag, protozero::data_view part) -> std::optional<std::string> {
    if (tag == onnx::type_field::kTensor)
      return copied(part, [](uint32_t of, protozero::data_view field) -> std::optional<std::string> {
        if (of == onnx::tensor_type_field::kShape) return std::nullopt;
        return as_it_is(field);
      });
    if (tag == onnx::type_field::kSequence || tag == onnx::type_field::kOptional)
      return copied(part, [](uint32_t, protozero::data_view element) {
        return std::optional(type_without_shapes(element));
      });
    return as_it_is(part);
  });
}

// The model, of which no input declares a shape.
FileBytes without_shapes(const FileBytes& file) {
  const auto in = [](uint32_t field, auto&& change) {
    return [field, change](uint32_t tag, protozero::data_view part) {
      return std::optional(tag == field ? change(part) : as_it_is(part));
    };
  };
  const auto input = [&](protozero::data_view value) {
    return copied(value, in(onnx::value_info_field::kType, type_without_shapes));
  };
  const auto graph = [&](protozero::data_view message) {
    return copied(message, in(onnx::graph_field::kInput, input));
  };
  const std::string open = copied({reinterpret_cast<const char*>(file.bytes.get()), file.size},
                                  in(onnx::model_field::kGraph, graph));
  auto bytes = allocate_bytes(open.size());
  std::memcpy(bytes.get(), open.data(), open.size());
  return {std::move(bytes), open.size()};
}

std::vector<double> numbers(const Tensor& t) {
  std::vector<double> v;
  v.reserve(static_cast<size_t>(t.size()));
  if (t.dtype() == DType::kFloat64) {
    for (double d : t.data<double>()) v.push_back(d);
  } else if (is_float(t.dtype())) {
    for (float f : t.floats()) v.push_back(f);
  }
  return v;
}

// Empty when `got` is `want` as closely as ONNX's own runner asks: integers exactly, floats to 1e-3, bfloat16
// to two units in the last place.
std::string difference(const Tensor& got, const Tensor& want) {
  if (got.dtype() != want.dtype()) {
    return "type " + std::string(name_of(got.dtype())) + " instead of " + std::string(name_of(want.dtype()));
  }
  if (got.dims() != want.dims())
    return "shape " + to_string(got.dims()) + " instead of " + to_string(want.dims());
  if (want.dtype() == DType::kString) return got.strings() == want.strings() ? "" : "other strings";
  const auto at = [&](int64_t i, auto a, auto b) {
    return "element " + std::to_string(i) + " is " + std::to_string(a) + " instead of " + std::to_string(b);
  };
  const std::vector<double> a = numbers(got), b = numbers(want);
  if (b.empty()) {
    for (int64_t i = 0; i < want.size(); ++i)
      if (got.integer_at(i) != want.integer_at(i)) return at(i, got.integer_at(i), want.integer_at(i));
    return "";
  }
  const double relative = want.dtype() == DType::kBfloat16 ? 0x1p-6 : 1e-3;
  for (size_t i = 0; i < b.size(); ++i) {
    if (a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) continue;
    if (!(std::abs(a[i] - b[i]) <= 1e-7 + relative * std::abs(b[i])))
      return at(static_cast<int64_t>(i), a[i], b[i]);
  }
  return "";
}

std::string difference(const Item& got, const Item& want) {
  if (got.is_tensor() && want.is_tensor()) return difference(got.tensor, want.tensor);
  if (got.is_nothing() || want.is_nothing())
    return got.is_nothing() && want.is_nothing() ? ""
                                                 : "something instead of nothing, or nothing instead of it";
  if (!got.is_sequence() || !want.is_sequence())
    return "a tensor instead of a sequence, or the other way round";
  if (got.sequence->size() != want.sequence->size())
    return std::to_string(got.sequence->size()) + " tensors instead of " +
           std::to_string(want.sequence->size());
  for (size_t i = 0; i < got.sequence->size(); ++i) {
    const std::string d = difference((*got.sequence)[i], (*want.sequence)[i]);
    if (!d.empty()) return "tensor " + std::to_string(i) + ": " + d;
  }
  return "";
}

// Every operator in the graph and its subgraphs that no file in ops/ handles.
// Throws what a node's form is refused for.
void collect_unknown(const Graph& graph, std::set<std::string>& unknown) {
  for (const Node& node : graph.nodes) {
    if (const Refusal* refusal = node.refusal.get(); refusal && !refusal->waits) {
      const std::string op = qualified_name(node) + "-" + std::to_string(refusal->version);
      throw_error(ErrorCode::kUnsupportedOperator, refusal->why, {.op = op});
    }
    if (!find_op(node.domain, node.op_type)) unknown.insert(qualified_name(node));
    for (const auto& [key, attribute] : node.attributes) {
      if (const auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute)) collect_unknown(**sub, unknown);
    }
  }
}

struct Verdict {
  std::string kind = "passed", why = "";
};

Verdict run_data(const std::shared_ptr<const Model>& model, const fs::path& data, bool integer) {
  const Graph& graph = model->graph;
  runtime::SessionOptions options;
  options.integer = integer;
  runtime::Session session(model, options);
  std::vector<runtime::Feed> feeds;
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    const fs::path input = data / ("input_" + std::to_string(i) + ".pb");
    if (!fs::exists(input)) break;  // the rest have initializers
    const Value& value = graph[graph.inputs[i]];
    Item item = load_item(input, value.kind);
    feeds.push_back({value.name, std::move(item.tensor), std::move(item.sequence)});
  }
  session.begin(std::move(feeds));
  while (!session.advance(1e9)) {
  }
  for (size_t i = 0; i < graph.outputs.size(); ++i) {
    const fs::path expected = data / ("output_" + std::to_string(i) + ".pb");
    const Item want = load_item(expected, graph[graph.outputs[i]].kind);
    const std::string d = difference(session.item(i), want);
    if (!d.empty()) return {"differs", "output " + std::to_string(i) + ": " + d};
  }
  return {};
}

enum class Inputs : uint8_t { kDeclared, kShapeless };

Verdict run_case(const fs::path& folder, const fs::path& file_name = "model.onnx",
                 Inputs inputs = Inputs::kDeclared) {
  try {
    FileBytes file = load(folder / file_name);
    if (inputs == Inputs::kShapeless) file = without_shapes(file);
    const auto model = std::make_shared<const Model>(onnx::read(std::move(file.bytes), file.size));
    std::set<std::string> unknown;
    collect_unknown(model->graph, unknown);
    if (!unknown.empty()) {
      Verdict verdict{"operator", ""};
      for (const std::string& name : unknown) verdict.why += (verdict.why.empty() ? "" : " ") + name;
      return verdict;
    }
    const auto prepared = runtime::prepared(model);  // as every door to the engine does
    fs::path data;
    for (int set = 0; fs::exists(data = folder / ("test_data_set_" + std::to_string(set))); ++set) {
      for (const bool integer : {true, false}) {
        if (!integer && inputs == Inputs::kShapeless) continue;
        Verdict verdict = run_data(prepared, data, integer);
        if (verdict.kind != "passed") return verdict;
      }
    }
    return {};
  } catch (const Error& e) {
    const std::string why = e.what() + (e.details().op.empty() ? "" : " [" + e.details().op + "]");
    if (e.code() == ErrorCode::kUnsupportedType) return {"type", why};
    if (e.code() == ErrorCode::kUnsupportedOperator) return {"form", why};
    return {"differs", std::string(name_of(e.code())) + ": " + why};
  }
}

void rewrite_case(const fs::path& folder, const fs::path& to, const std::string& name) {
  std::optional<Model> model;
  try {
    FileBytes file = load(folder / name / "model.onnx");
    model = onnx::read(std::move(file.bytes), file.size);
    std::set<std::string> unknown;
    collect_unknown(model->graph, unknown);
    if (!unknown.empty()) return;
  } catch (const Error&) {
    return;  // run_case says why
  }
  // The ends, and where many forms changed.
  const int64_t lowest = onnx::lowest_opset(*model).opset;
  std::set<int64_t> wanted{lowest, onnx::kNewestOpset};
  for (const int64_t opset : {11, 13, 17, 18, 21})
    if (opset > lowest) wanted.insert(opset);
  const auto file_of = [&](int64_t opset) { return to / (name + "." + std::to_string(opset) + ".onnx"); };
  for (const int64_t opset : wanted) {
    const std::vector<std::byte> bytes = onnx::write(*model, opset);
    std::ofstream(file_of(opset), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  if (run_case(folder / name).kind != "passed") return;
  for (const int64_t opset : wanted) {
    const Verdict verdict = run_case(folder / name, file_of(opset));
    if (verdict.kind != "passed")
      std::cout << name << ", written as opset " << opset << ": " << verdict.why << std::endl;
  }
}

void write_operators() {
  constexpr std::string_view kinds[] = {"float", "product", "same scale", "own scale"};
  std::cout << R"({"newestOpset": )" << onnx::kNewestOpset << R"(, "operators": )";
  std::string separator = "[\n";
  for (const OpDef* def : all_ops()) {
    const auto flag = [](bool on) { return on ? "true" : "false"; };
    const QuantRule& rule = def->quant;
    const bool moves = rule.kind == QuantRule::Kind::kSameScale;
    std::cout << separator << R"({"domain": ")" << (def->domain.empty() ? "ai.onnx" : def->domain)
              << R"(", "name": ")" << def->name << R"(", "inputs": ")" << def->inputs << R"(", "opsets": ")"
              << def->opsets << R"(", "respells": )" << flag(def->respell) << R"(, "since": )" << def->since
              << R"(, "kernel": )" << flag(def->runs()) << R"(, "integer": )"
              << flag(def->integer || def->unary || moves || def->role != QdqRole::kNone)
              << R"(, "gradient": )" << flag(def->gradient) << R"(, "rule": ")"
              << (def->role == QdqRole::kNone ? kinds[static_cast<size_t>(rule.kind)] : "quantization itself")
              << R"("})";
    separator = ",\n";
  }
  std::cout << "\n]}\n";
}

}  // namespace
}  // namespace zp

int main(int argc, char** argv) {
  if (argc == 4 && std::string(argv[1]) == "--rewrite") {
    for (std::string name; std::getline(std::cin, name);) zp::rewrite_case(argv[2], argv[3], name);
    return 0;
  }
  const bool shapeless = argc == 3 && std::string(argv[1]) == "--shapeless";
  if (argc != 2 && !shapeless) {
    std::cerr
        << "zeropoint_cases [--shapeless] FOLDER < NAMES, zeropoint_cases --rewrite FOLDER TO < NAMES, or "
           "zeropoint_cases --operators\n";
    return 2;
  }
  if (std::string(argv[1]) == "--operators") {
    zp::write_operators();
    return 0;
  }
  const auto inputs = shapeless ? zp::Inputs::kShapeless : zp::Inputs::kDeclared;
  for (std::string name; std::getline(std::cin, name);) {
    std::cout << "run " << name << std::endl;  // flushed: a crash has a name
    zp::Verdict verdict = zp::run_case(std::filesystem::path(argv[argc - 1]) / name, "model.onnx", inputs);
    std::ranges::replace_if(verdict.why, [](char c) { return static_cast<unsigned char>(c) < ' '; }, ' ');
    std::cout << verdict.kind << '\t' << verdict.why << std::endl;
  }
  return 0;
}
