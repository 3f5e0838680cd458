#include <algorithm>
#include <cstring>
#include <iterator>
#include <limits>
#include <map>
#include <protozero/basic_pbf_writer.hpp>
#include <protozero/buffer_tmpl.hpp>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "core/error.h"
#include "graph/subgraphs.h"
#include "onnx/onnx.h"
#include "onnx/schema.h"
#include "onnx/used_values.h"
#include "onnx/versions.h"
#include "ops/op.h"

namespace protozero {

// Lets protozero write into a file whose tensors are not copied. A tensor is announced (Draft::next), and
// then added as bytes at no address.
struct Draft {
  zp::onnx::WrittenFile file;
  const zp::Tensor* next = nullptr;
};
template <>
struct buffer_customization<Draft> {
  static size_t size(const Draft* draft) noexcept { return static_cast<size_t>(draft->file.size()); }
  static void append(Draft* draft, const char* data, size_t count) {
    if (!data && draft->next) {
      draft->file.add(*std::exchange(draft->next, nullptr));
    } else {
      draft->file.add(reinterpret_cast<const std::byte*>(data), count);
    }
  }
  static void append_zeros(Draft* draft, size_t count) {
    constexpr std::byte kZeros[16] = {};
    for (; count > 0; count -= std::min(count, sizeof kZeros))
      draft->file.add(kZeros, std::min(count, sizeof kZeros));
  }
  static void resize(Draft* draft, size_t size) { draft->file.cut(size); }
  static void reserve_additional(Draft*, size_t) {}
  static void erase_range(Draft* draft, size_t from, size_t to) { draft->file.erase(from, to); }
  static char* at_pos(Draft* draft, size_t pos) { return reinterpret_cast<char*>(draft->file.own(pos)); }
  static void push_back(Draft* draft, char c) { append(draft, &c, 1); }
};

}  // namespace protozero

namespace zp::onnx {
namespace {

using Draft = protozero::Draft;
using Pbf = protozero::basic_pbf_writer<Draft>;

constexpr size_t kLargestFile = (size_t{1} << 31) - 1;  // of a protobuf message
// Smaller tensors are copied, and stay in the model's own file: they include shapes and axes, which readers
// need at once.
constexpr size_t kLeastOutside = 1024;
// Readers map large tensors into memory, which systems do at multiples of kMapped.
constexpr size_t kLarge = size_t{1} << 20, kMapped = size_t{64} << 10, kAligned = 64;

void add_text(Pbf& to, uint32_t tag, std::string_view text) { to.add_bytes(tag, text.data(), text.size()); }

// A submessage that is there even when it is empty, which protozero would drop: an unknown dimension, a
// scalar's shape.
template <class F>
void add_message(Pbf& to, uint32_t tag, bool empty, F&& fill) {
  if (empty) {
    to.add_bytes(tag, "", 0);
  } else {
    Pbf message(to, tag);
    fill(message);
  }
}

// How the values of one graph are called in the file.
struct Names {
  std::vector<std::string> of;  // by value; empty for values that nothing uses
  std::vector<bool> elsewhere;  // by value: made by a graph around this one
};

class Writer {
 public:
  Writer(const Model& model, const Graph& graph, Versions versions, const WriteOptions& options)
      : model_(model),
        graph_(graph),
        versions_(versions),
        options_(options),
        out_{WrittenFile(options.name)} {}
  std::vector<WrittenFile> write();

 private:
  Names name_values(const Graph& graph, const Names* outer);
  std::string unique(std::string_view wanted);
  void write_graph(Pbf& to, const Graph& graph, const Names* outer);
  void write_node(Pbf& to, const Node& node, const std::string& name, const Names& names);
  void write_attribute(Pbf& to, std::string_view name, const Attribute& attribute, const Names& names);
  // `initializer`: it may lie in another file.
  void write_tensor(Pbf& to, std::string_view name, const Tensor& tensor, bool initializer);
  // As entries of the tensor. Not inlined: see write_value_info.
  [[gnu::noinline]] void write_place(Pbf& to, const Tensor& tensor);
  // Not inlined: clang 19 for WebAssembly crashes (in CFG Stackify) on the clean-up paths of three open
  // messages at once.
  [[gnu::noinline]] void write_value_info(Pbf& to, std::string_view name, const Value& value);
  void write_type(Pbf& type, const Value& value, ValueKind kind);
  static size_t tensor_bytes(const Graph& graph);

  const Model& model_;
  const Graph& graph_;  // the model's, in the form of the opset
  const Versions versions_;
  const WriteOptions& options_;
  bool outside_ = false;  // large tensors lie in other files
  Draft out_;
  std::vector<WrittenFile> data_;
  struct Place {
    size_t file;
    uint64_t offset;
  };
  std::map<std::pair<const void*, size_t>, Place> placed_;  // by memory and bytes
  std::set<std::string> domains_;                           // in use
  std::set<std::string> taken_;  // value names of the graph being written and of those around it
  std::map<std::string, int> last_suffix_;
  struct Constant {
    const Value* value;
    std::string name;  // in the file
  };
  std::map<std::string_view, Constant> constants_;  // of the graphs around the one being written
  // Large constants that several graphs have (branches, which do not see into each other): the main graph
  // holds them, whether it reads them itself or not. By memory, type and dimensions; the name in the file.
  using Key = std::tuple<const void*, DType, Shape>;
  static Key key_of(const Tensor& t) { return {t.identity(), t.dtype(), t.dims()}; }
  static bool is_large(const Tensor& t) { return t.dtype() != DType::kString && t.bytes() >= 256; }
  struct Shared {
    size_t order = 0;  // in which they are met: addresses differ from run to run
    const Value* value = nullptr;
    size_t graphs = 0;
    std::string name;
  };
  void find_shared(const Graph& graph);
  std::map<Key, Shared> shared_;
};

void Writer::find_shared(const Graph& graph) {
  const std::vector<bool> used = used_values(graph);
  std::set<Key> here;
  for (size_t v = 0; v < used.size(); ++v) {
    const Value& value = graph.values[v];
    if (!used[v] || !value.constant || !is_large(*value.constant)) continue;
    const Key key = key_of(*value.constant);
    if (!here.insert(key).second) continue;
    Shared& s = shared_[key];
    if (!s.value) s.value = &value, s.order = shared_.size();
    ++s.graphs;
  }
  for (const Node& node : graph.nodes)
    for (const Graph& sub : subgraphs(node)) find_shared(sub);
}

size_t Writer::tensor_bytes(const Graph& graph) {
  size_t bytes = 0;
  const auto add = [&](size_t more) {
    bytes = bytes > kLargestFile ? bytes : bytes + std::min(more, kLargestFile);
  };
  for (const Value& value : graph.values)
    add(value.name.size() + 64 + (value.constant ? value.constant->bytes() : 0));
  for (const Node& node : graph.nodes) {
    add(128);
    for (const auto& [key, attribute] : node.attributes) {
      if (const auto* tensor = std::get_if<Tensor>(&attribute)) add(tensor->bytes());
    }
    for (const Graph& sub : subgraphs(node)) add(tensor_bytes(sub));
  }
  return bytes;
}

[[noreturn]] void too_large(std::string_view tensor) {
  throw_error(
      ErrorCode::kInvalidArgument, "the model is larger than the 2 GiB that an ONNX file can have",
      {.tensor = tensor,
       .hint = "write its weights into files beside it (externalData), or quantize them to fewer bits"});
}

std::vector<WrittenFile> Writer::write() {
  outside_ = options_.chunk > 0 && (options_.external || tensor_bytes(graph_) > kLargestFile);
  find_shared(graph_);
  std::erase_if(shared_, [](const auto& entry) { return entry.second.graphs < 2; });
  Pbf to(out_);
  to.add_int64(model_field::kIrVersion, versions_.ir);
  if (!model_.producer_name.empty()) add_text(to, model_field::kProducerName, model_.producer_name);
  if (!model_.producer_version.empty()) add_text(to, model_field::kProducerVersion, model_.producer_version);
  if (!model_.doc_string.empty()) add_text(to, model_field::kDocString, model_.doc_string);
  {
    Pbf graph(to, model_field::kGraph);
    write_graph(graph, graph_, nullptr);
  }
  if (out_.file.size() > kLargestFile) too_large({});
  domains_.insert("");
  for (const std::string& domain : domains_) {
    const auto known = model_.opsets.find(domain);
    Pbf opset(to, model_field::kOpsetImport);
    add_text(opset, opset_field::kDomain, domain);
    opset.add_int64(opset_field::kVersion, domain.empty()                 ? versions_.opset
                                           : known == model_.opsets.end() ? 1
                                                                          : known->second);
  }
  for (const auto& [key, value] : model_.metadata) {
    Pbf entry(to, model_field::kMetadataProps);
    add_text(entry, entry_field::kKey, key);
    add_text(entry, entry_field::kValue, value);
  }
  if (out_.file.size() > kLargestFile) too_large({});
  std::vector<WrittenFile> files;
  files.push_back(std::move(out_.file));
  std::ranges::move(data_, std::back_inserter(files));
  return files;
}

// `wanted`, or with the first suffix that makes it a new name; the name is then taken.
std::string Writer::unique(std::string_view wanted) {
  std::string name(wanted.empty() ? "value" : wanted);
  if (taken_.insert(name).second) return name;
  const std::string base = name;
  int& suffix = last_suffix_[base];
  do {
    name = base + "_" + std::to_string(++suffix);
  } while (!taken_.insert(name).second);
  return name;
}

Names Writer::name_values(const Graph& graph, const Names* outer) {
  Names names;
  names.of.resize(graph.values.size());
  names.elsewhere.resize(graph.values.size(), false);
  const std::vector<bool> used = used_values(graph);
  for (const Capture& c : graph.captures) {
    names.of[static_cast<size_t>(c.inner)] = outer->of[static_cast<size_t>(c.outer)];
    names.elsewhere[static_cast<size_t>(c.inner)] = true;
  }
  for (size_t v = 0; v < names.of.size(); ++v) {
    if (!used[v] || names.elsewhere[v]) continue;
    const Value& value = graph.values[v];
    if (value.constant) {
      if (const auto found = shared_.find(key_of(*value.constant));
          is_large(*value.constant) && found != shared_.end()) {
        // The first value of the main graph that has it names it; all others are read from there.
        names.elsewhere[v] = !found->second.name.empty();
        if (found->second.name.empty()) found->second.name = unique(value.name);
        names.of[v] = found->second.name;
        continue;
      }
      // A constant that a graph around this one has too is written there alone, and read by its name.
      if (const auto found = constants_.find(value.name);
          found != constants_.end() && same_constant(value, *found->second.value)) {
        names.of[v] = found->second.name;
        names.elsewhere[v] = true;
        continue;
      }
    }
    names.of[v] = unique(value.name);
  }
  return names;
}

void Writer::write_graph(Pbf& to, const Graph& graph, const Names* outer) {
  const Names names = name_values(graph, outer);
  std::vector<const Shared*> held;  // for subgraphs alone
  if (!outer) {
    std::map<size_t, Shared*> unnamed;
    for (auto& [key, s] : shared_)
      if (s.name.empty()) unnamed.emplace(s.order, &s);
    for (const auto& [order, s] : unnamed) {
      s->name = unique(s->value->name);
      held.push_back(s);
    }
  }
  const auto is_constant = [&](size_t v) { return graph.values[v].constant.has_value(); };
  std::vector<std::string_view> mine;  // the constants that subgraphs find here
  for (size_t v = 0; v < names.of.size(); ++v) {
    if (!is_constant(v) || names.of[v].empty() || names.elsewhere[v]) continue;
    const Value& value = graph.values[v];
    if (constants_.emplace(value.name, Constant{&value, names.of[v]}).second) mine.push_back(value.name);
  }

  std::set<std::string> node_names;
  const auto unique_node_name = [&](const std::string& wanted) {
    std::string name = wanted;
    for (int i = 1; name.empty() || !node_names.insert(name).second; ++i)
      name = wanted + "_" + std::to_string(i);
    return name;
  };
  for (const Node& node : graph.nodes) write_node(to, node, unique_node_name(node.name), names);
  // A subgraph must make its outputs itself (ONNX Runtime insists).
  std::vector<std::string> output_names;
  for (ValueId v : graph.outputs) {
    const auto i = static_cast<size_t>(v);
    if (!names.elsewhere[i]) {
      output_names.push_back(names.of[i]);
      continue;
    }
    output_names.push_back(unique(graph.values[i].name));
    Pbf node(to, graph_field::kNode);
    add_text(node, node_field::kInput, names.of[i]);
    add_text(node, node_field::kOutput, output_names.back());
    add_text(node, node_field::kName, unique_node_name(output_names.back()));
    add_text(node, node_field::kOpType, "Identity");
  }
  add_text(to, graph_field::kName, graph.name.empty() ? "graph" : graph.name);
  for (size_t v = 0; v < names.of.size(); ++v) {
    if (is_constant(v) && !names.of[v].empty() && !names.elsewhere[v]) {
      Pbf tensor(to, graph_field::kInitializer);
      write_tensor(tensor, names.of[v], *graph.values[v].constant, true);
    }
  }
  for (const Shared* s : held) {
    Pbf tensor(to, graph_field::kInitializer);
    write_tensor(tensor, s->name, *s->value->constant, true);
  }
  std::vector<bool> declared(graph.values.size(), false);
  const auto declare = [&](uint32_t tag, ValueId v, std::string_view name) {
    declared[static_cast<size_t>(v)] = true;
    Pbf info(to, tag);
    write_value_info(info, name, graph[v]);
  };
  for (ValueId v : graph.inputs) declare(graph_field::kInput, v, names.of[static_cast<size_t>(v)]);
  for (size_t i = 0; i < graph.outputs.size(); ++i)
    declare(graph_field::kOutput, graph.outputs[i], output_names[i]);
  // In the order of their nodes, so that a file that is read is written the same.
  for (const Node& node : graph.nodes) {
    for (ValueId output : node.outputs) {
      const auto v = static_cast<size_t>(output);
      if (output == kNoValue || names.of[v].empty() || declared[v]) continue;
      const Value& value = graph.values[v];
      if (value.dtype != DType::kUndefined && value.shape)
        declare(graph_field::kValueInfo, output, names.of[v]);
    }
  }
  // Sibling graphs may use this graph's names again.
  for (std::string_view name : mine) constants_.erase(name);
  for (size_t v = 0; v < names.of.size(); ++v)
    if (!names.elsewhere[v]) taken_.erase(names.of[v]);
  for (size_t i = 0; i < graph.outputs.size(); ++i)
    if (names.elsewhere[static_cast<size_t>(graph.outputs[i])]) taken_.erase(output_names[i]);
}

void Writer::write_node(Pbf& to, const Node& node, const std::string& name, const Names& names) {
  domains_.insert(node.domain);
  Pbf message(to, graph_field::kNode);
  const auto add_values = [&](uint32_t tag, const std::vector<ValueId>& values) {
    size_t count = values.size();
    while (count > 0 && values[count - 1] == kNoValue) --count;
    for (size_t i = 0; i < count; ++i) {
      add_text(message, tag,
               values[i] == kNoValue ? std::string_view() : names.of[static_cast<size_t>(values[i])]);
    }
  };
  add_values(node_field::kInput, node.inputs);
  add_values(node_field::kOutput, node.outputs);
  add_text(message, node_field::kName, name);
  add_text(message, node_field::kOpType, node.op_type);
  for (const auto& [key, attribute] : node.attributes) write_attribute(message, key, attribute, names);
  if (!node.domain.empty()) add_text(message, node_field::kDomain, node.domain);
}

void Writer::write_attribute(Pbf& to, std::string_view name, const Attribute& attribute, const Names& names) {
  if (const auto* raw = std::get_if<RawAttribute>(&attribute)) {
    add_text(to, node_field::kAttribute, raw->message);
    return;
  }
  Pbf message(to, node_field::kAttribute);
  add_text(message, attribute_field::kName, name);
  const auto add = [&]<class T>(const T& value) {
    if constexpr (std::is_same_v<T, float>) {
      message.add_float(attribute_field::kFloat, value);
      return AttributeType::kFloat;
    } else if constexpr (std::is_same_v<T, int64_t>) {
      message.add_int64(attribute_field::kInt, value);
      return AttributeType::kInt;
    } else if constexpr (std::is_same_v<T, std::string>) {
      add_text(message, attribute_field::kString, value);
      return AttributeType::kString;
    } else if constexpr (std::is_same_v<T, Tensor>) {
      Pbf tensor(message, attribute_field::kTensor);
      write_tensor(tensor, {}, value, false);
      return AttributeType::kTensor;
    } else if constexpr (std::is_same_v<T, std::shared_ptr<Graph>>) {
      Pbf graph(message, attribute_field::kGraph);
      write_graph(graph, *value, &names);
      return AttributeType::kGraph;
    } else if constexpr (std::is_same_v<T, std::vector<float>>) {
      for (float v : value) message.add_float(attribute_field::kFloats, v);
      return AttributeType::kFloats;
    } else if constexpr (std::is_same_v<T, std::vector<int64_t>>) {
      for (int64_t v : value) message.add_int64(attribute_field::kInts, v);
      return AttributeType::kInts;
    } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
      for (const std::string& v : value) add_text(message, attribute_field::kStrings, v);
      return AttributeType::kStrings;
    } else {
      return AttributeType::kUndefined;  // RawAttribute: written above
    }
  };
  const AttributeType type = std::visit(add, attribute);
  message.add_int64(attribute_field::kType, static_cast<int64_t>(type));
}

void Writer::write_place(Pbf& to, const Tensor& tensor) {
  const size_t bytes = tensor.bytes();
  const auto [it, added] = placed_.try_emplace({tensor.identity(), bytes});
  if (added) {
    const size_t unit = bytes >= kLarge ? kMapped : kAligned;
    const uint64_t at = data_.empty() ? 0 : (data_.back().size() + unit - 1) / unit * unit;
    if (data_.empty() || (at > 0 && at + bytes > options_.chunk)) {
      std::string name = options_.name + "_data";
      if (!data_.empty()) name += "_" + std::to_string(data_.size());
      data_.emplace_back(std::move(name));
    } else {
      data_.back().pad(at);
    }
    WrittenFile& file = data_.back();
    it->second = {data_.size() - 1, file.size()};
    file.add(tensor);
  }
  const auto entry = [&](std::string_view key, std::string_view value) {
    Pbf message(to, tensor_field::kExternalData);
    add_text(message, entry_field::kKey, key);
    add_text(message, entry_field::kValue, value);
  };
  const std::string& path = data_[it->second.file].name();
  entry("location", path);
  entry("offset", std::to_string(it->second.offset));
  entry("length", std::to_string(bytes));
  to.add_int64(tensor_field::kDataLocation, 1);  // EXTERNAL
}

void Writer::write_tensor(Pbf& to, std::string_view name, const Tensor& tensor, bool initializer) {
  for (int64_t d : tensor.dims()) to.add_int64(tensor_field::kDims, d);
  to.add_int64(tensor_field::kDataType, static_cast<int64_t>(tensor.dtype()));
  if (tensor.dtype() == DType::kString) {
    for (const std::string& s : tensor.strings()) add_text(to, tensor_field::kStringData, s);
  }
  if (!name.empty()) add_text(to, tensor_field::kName, name);
  if (tensor.dtype() != DType::kString) {
    if (tensor.bytes() < kLeastOutside) {
      to.add_bytes(tensor_field::kRawData, reinterpret_cast<const char*>(tensor.raw()), tensor.bytes());
      return;
    }
    if (outside_ && initializer) return write_place(to, tensor);
    // Checked before the file grows beyond what its lengths can say.
    if (out_.file.size() + tensor.bytes() > kLargestFile) too_large(name);
    out_.next = &tensor;
    to.add_bytes(tensor_field::kRawData, nullptr, tensor.bytes());
  }
}

void Writer::write_value_info(Pbf& to, std::string_view name, const Value& value) {
  add_text(to, value_info_field::kName, name);
  if (value.dtype == DType::kUndefined) return;
  Pbf type(to, value_info_field::kType);
  write_type(type, value, value.kind);
}

void Writer::write_type(Pbf& type, const Value& value, ValueKind kind) {
  if (kind != ValueKind::kTensor) {
    const bool sequence = kind == ValueKind::kSequence;
    Pbf outer(type, sequence ? type_field::kSequence : type_field::kOptional);
    Pbf inner(outer, sequence_type_field::kElemType);
    write_type(inner, value,
               kind == ValueKind::kOptionalSequence ? ValueKind::kSequence : ValueKind::kTensor);
    return;
  }
  Pbf tensor(type, type_field::kTensor);
  tensor.add_int64(tensor_type_field::kElemType, static_cast<int64_t>(value.dtype));
  if (!value.shape) return;
  add_message(tensor, tensor_type_field::kShape, value.shape->empty(), [&](Pbf& shape) {
    for (const Dim& dim : *value.shape) {
      add_message(shape, shape_field::kDim, !dim.known() && dim.symbol().empty(), [&](Pbf& message) {
        if (dim.known()) {
          message.add_int64(dim_field::kValue, dim.value());
        } else {
          add_text(message, dim_field::kParam, dim.symbol());
        }
      });
    }
  });
}

}  // namespace

std::vector<WrittenFile> write_files(const Model& model, const WriteOptions& options) {
  const Versions versions = versions_of(model, options.opset);
  Graph graph = clone(model.graph);
  respell_graph(graph, versions.opset);
  return Writer(model, graph, versions, options).write();
}

std::vector<std::byte> write(const Model& model, int64_t opset) {
  const std::vector<WrittenFile> files = write_files(model, {.opset = opset});
  std::vector<std::byte> bytes(static_cast<size_t>(files[0].size()));
  files[0].read(0, bytes);
  return bytes;
}

size_t size_of(const Model& model, int64_t opset) {
  size_t size = 0;
  for (const WrittenFile& file : write_files(model, {.opset = opset}))
    size += static_cast<size_t>(file.size());
  return size;
}

}  // namespace zp::onnx
