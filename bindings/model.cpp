#include "model.h"

#include <emscripten/bind.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "core/dtype.h"
#include "onnx/onnx.h"
#include "ops/infer.h"
#include "ops/op.h"
#include "quant/format.h"
#include "quant/qdq.h"
#include "quant/report.h"
#include "quant/runtimes.h"
#include "tensors.h"

namespace zp::bindings {
namespace {

// Numbers, names, and '?' for what is unknown; null when not even the rank is known.
val symbolic_dims(const std::optional<SymShape>& shape) {
  if (!shape) return val::null();
  return array_of(*shape, [](const Dim& d) {
    if (d.known()) return number(d.value());
    return text(d.symbol().empty() ? "?" : std::string_view(d.symbol()));
  });
}

val value_info(const Value& value) {
  Object info;
  info.set("name", value.name);
  info.set("type", name_of(value.dtype));
  info.set("dims", symbolic_dims(value.shape));
  return info;
}

val values_of(const Graph& graph, const std::vector<ValueId>& ids) {
  return array_of(ids, [&](ValueId id) { return value_info(graph[id]); });
}

struct Totals {
  std::map<std::string, int64_t> operators;
  int64_t nodes = 0, parameters = 0;
  size_t weight_bytes = 0;
  bool quantized = false;

  explicit Totals(const Graph& graph) {
    for (const Tensor& t : quant::stored_constants(graph)) {
      parameters += t.size();
      if (t.dtype() != DType::kString) weight_bytes += t.bytes();
    }
    add(graph);
  }

 private:
  void add(const Graph& graph) {
    for (const Node& node : graph.nodes) {
      ++nodes;
      ++operators[qualified_name(node)];
      const OpDef* op = find_op(node);
      quantized |= op && op->role != QdqRole::kNone;
      for (const auto& [key, attribute] : node.attributes) {
        if (const auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute)) add(**sub);
      }
    }
  }
};

}  // namespace

val ModelHandle::describe() const {
  return answer([&] {
    const Graph& graph = model_->graph;
    Object d;
    d.set("inputs", values_of(graph, graph.inputs));
    d.set("outputs", values_of(graph, graph.outputs));
    d.set("optionalInputs", values_of(graph, graph.defaults));
    return d;
  });
}

val ModelHandle::inspect() const {
  return answer([&] {
    const Totals totals(model_->graph);
    Object d;
    d.set("name", model_->graph.name);
    d.set("producer", model_->producer_name);
    d.set("producerVersion", model_->producer_version);
    d.set("description", model_->doc_string);
    d.set("nodes", totals.nodes);
    d.set("quantized", totals.quantized);
    d.set("warnings", array_of(all_warnings(model_->graph), [](const std::string& w) { return text(w); }));
    d.set("parameters", totals.parameters);
    d.set("weightBytes", totals.weight_bytes);
    d.set("operators", array_of(totals.operators, [](const auto& item) {
            Object entry;
            entry.set("op", item.first);
            entry.set("count", item.second);
            return entry;
          }));
    d.set("opsets", array_of(model_->opsets, [](const auto& item) {
            Object entry;
            entry.set("domain", item.first.empty() ? "ai.onnx" : std::string_view(item.first));
            entry.set("version", item.second);
            return entry;
          }));
    d.set("lowestOpset", onnx::lowest_opset(*model_).opset);
    d.set("metadata", array_of(model_->metadata, [](const auto& item) {
            Object entry;
            entry.set("key", item.first);
            entry.set("value", item.second);
            return entry;
          }));
    return d;
  });
}

val ModelHandle::require_supported() const {
  return answer([&] { zp::require_supported(model_->graph); });
}

namespace {

// The files that a model is written into.
class WrittenHandle {
 public:
  WrittenHandle(std::vector<onnx::WrittenFile> files, int64_t opset)
      : files_(std::move(files)), opset_(opset) {}
  int opset() const { return static_cast<int>(opset_); }
  val files() const {
    return array_of(files_, [](const onnx::WrittenFile& file) {
      Object o;
      o.set("name", file.name());
      o.set("size", static_cast<double>(file.size()));
      return o;
    });
  }
  // Bytes of a file from `from` on, as many as `to`, a Uint8Array, takes.
  val read(unsigned file, double from, const val& to) const {
    return answer([&] {
      const auto count = field<size_t>(to, "length");
      const std::shared_ptr<std::byte> bytes = allocate_bytes(count, Clear::kSlack);
      files_.at(file).read(static_cast<uint64_t>(from), {bytes.get(), count});
      to.call<void>("set", view_of(bytes.get(), count));
    });
  }

 private:
  std::vector<onnx::WrittenFile> files_;
  int64_t opset_;
};

onnx::WriteOptions options_of(const val& form) {
  return {.opset = field<int>(form, "opset"),
          .name = field<std::string>(form, "name"),
          .external = field<bool>(form, "externalData"),
          .chunk = static_cast<uint64_t>(field<double>(form, "chunkSize"))};
}

}  // namespace

std::shared_ptr<const Model> ModelHandle::in_format(const std::string& format) const {
  if (in_format_ && format_ == format) return in_format_;
  auto made = std::make_shared<const Model>(quant::in_format(*model_, format, runtime_));
  if (has_files(made->graph)) in_format_ = made, format_ = format;
  return made;
}

val ModelHandle::write(const val& form) const {
  return answer([&] {
    const std::shared_ptr<const Model> written = in_format(field<std::string>(form, "format"));
    const onnx::WriteOptions options = options_of(form);
    return val(std::make_shared<WrittenHandle>(onnx::write_files(*written, options),
                                               onnx::versions_of(*written, options.opset).opset));
  });
}

val ModelHandle::measure(const val& form, const std::string& runtime) const {
  return answer([&] {
    const std::string format = field<std::string>(form, "format");
    const std::shared_ptr<const Model> written = in_format(format);
    const WrittenHandle files(onnx::write_files(*written, options_of(form)),
                              onnx::versions_of(*written, field<int>(form, "opset")).opset);
    Object d;
    d.set("files", files.files());
    d.set("opset", files.opset());
    d.set("broken", sentences(quant::broken_rules(quant::runtime_named(runtime), *written, files.opset())));
    return d;
  });
}

val ModelHandle::add_metadata(const std::string& key, const std::string& value) {
  return answer([&] {
    Model more = *model_;
    const auto taken = [&](const std::string& name) {
      return std::ranges::any_of(more.metadata, [&](const auto& entry) { return entry.first == name; });
    };
    std::string name = key;
    for (int i = 2; taken(name); ++i) name = key + "_" + std::to_string(i);
    more.metadata.emplace_back(std::move(name), value);
    model_ = std::make_shared<const Model>(std::move(more));
    in_format_ = nullptr;
  });
}

namespace {

// A graph whose named dimensions are numbers; subgraphs, which copies of a graph share, are copied too.
Graph with_dims(const Graph& graph, const std::map<std::string, int64_t>& dims) {
  Graph bound = graph;
  for (Value& value : bound.values) {
    if (!value.shape) continue;
    for (Dim& dim : *value.shape) {
      const auto it = dims.find(dim.symbol());
      if (it != dims.end()) dim = it->second;
    }
  }
  for (Node& node : bound.nodes) {
    for (auto& [key, attribute] : node.attributes) {
      if (auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute)) {
        *sub = std::make_shared<Graph>(with_dims(**sub, dims));
      }
    }
  }
  return bound;
}

// `dims`: sizes by the names of dimensions; `shapes`: all sizes of inputs, by their names. JavaScript has
// compared both with what the inputs say.
val bind_dims(const ModelHandle& model, const val& dims, const val& shapes) {
  return answer([&] {
    std::map<std::string, int64_t> by_name;
    for_entries(dims, [&](const std::string& name, const val& n) {
      by_name[name] = static_cast<int64_t>(n.as<double>());
    });
    Model bound = *model.shared();
    bound.graph = with_dims(bound.graph, by_name);
    for_entries(shapes, [&](const std::string& name, const val& sizes) {
      const ValueId id = bound.graph.find(name);
      if (id == kNoValue) throw_error(ErrorCode::kInvalidArgument, {"there is no input '", name, "'"});
      SymShape shape(field<unsigned>(sizes, "length"));
      for (unsigned i = 0; i < shape.size(); ++i) shape[i] = static_cast<int64_t>(sizes[i].as<double>());
      bound.graph[id].shape = std::move(shape);
    });
    infer_shapes(bound.graph);
    return val(std::make_shared<ModelHandle>(std::move(bound)));
  });
}

// What a model needs of other files: bindings/ts/engine/module.ts, PieceInfo.
val external_pieces(const Buffer& buffer) {
  return answer([&] {
    return array_of(onnx::external_pieces(buffer.data(), buffer.size()),
                    [](const onnx::ExternalPiece& piece) {
                      Object o;
                      o.set("tensor", piece.tensor);
                      o.set("location", piece.location);
                      o.set("offset", static_cast<double>(piece.offset));
                      o.set("bytes", static_cast<double>(piece.bytes));
                      return o;
                    });
  });
}

// JavaScript's side of weights that stay in files: bindings/ts/engine/module.ts, WeightFiles.
class WeightFiles {
 public:
  explicit WeightFiles(const val& files) : files_(files) {}
  ~WeightFiles() { files_.call<void>("close"); }
  WeightFiles(const WeightFiles&) = delete;
  WeightFiles& operator=(const WeightFiles&) = delete;

  void read(int piece, std::byte* to, size_t bytes) const {
    const auto problem = files_.call<std::string>("read", piece, view_of(to, bytes));
    if (!problem.empty()) throw_error(ErrorCode::kIo, problem);
  }
  // The piece that they became; -1: there is no place for them.
  int put(std::span<const std::byte> bytes) const {
    const val made = files_.call<val>("put", view_of(bytes.data(), bytes.size()));
    if (made.isString()) throw_error(ErrorCode::kIo, made.as<std::string>());
    return made.as<int>();
  }

 private:
  val files_;
};

class PieceInFile : public FileBytes {
 public:
  PieceInFile(std::shared_ptr<const WeightFiles> files, int piece, size_t bytes)
      : files_(std::move(files)), piece_(piece), bytes_(bytes) {}
  std::shared_ptr<const FileBytes> put(std::span<const std::byte> bytes) const override {
    const int made = files_->put(bytes);
    return made < 0 ? nullptr : std::make_shared<PieceInFile>(files_, made, bytes.size());
  }

 protected:
  std::shared_ptr<const std::byte> read_all() const override {
    std::shared_ptr<std::byte> bytes = allocate_bytes(bytes_, Clear::kSlack);
    files_->read(piece_, bytes.get(), bytes_);
    return bytes;
  }

 private:
  std::shared_ptr<const WeightFiles> files_;
  int piece_;
  size_t bytes_;
};

// What JavaScript gives of the pieces of a model, in their order: their bytes (Buffers), or files that they
// stay in.
class Pieces : public onnx::ExternalSource {
 public:
  Pieces(const Buffer& model, const val& given)
      : pieces_(onnx::external_pieces(model.data(), model.size())),
        bytes_(pieces_.size()),
        files_(pieces_.size()) {
    if (given.isArray()) {
      const auto count = std::min(pieces_.size(), static_cast<size_t>(field<unsigned>(given, "length")));
      for (size_t i = 0; i < count; ++i) {
        auto* buffer = given[i].as<Buffer*>(emscripten::allow_raw_pointers());
        if (buffer && buffer->size() == pieces_[i].bytes) bytes_[i] = buffer->take();
      }
    } else if (!given.isNull()) {
      const auto files = std::make_shared<const WeightFiles>(given);
      for (size_t i = 0; i < pieces_.size(); ++i)
        files_[i] =
            std::make_shared<PieceInFile>(files, static_cast<int>(i), static_cast<size_t>(pieces_[i].bytes));
    }
  }

  Tensor tensor(const onnx::ExternalPiece& piece, DType dtype, Shape dims) override {
    const auto found = std::ranges::lower_bound(
        pieces_, piece, [](const auto& a, const auto& b) { return a.place() < b.place(); });
    const auto i = static_cast<size_t>(found - pieces_.begin());
    if (found != pieces_.end() && found->place() == piece.place()) {
      if (files_[i]) return {dtype, std::move(dims), files_[i]};
      if (bytes_[i]) return {dtype, std::move(dims), std::shared_ptr<const std::byte>(bytes_[i])};
    }
    throw_error(ErrorCode::kInvalidModel,
                {"tensor '", piece.tensor, "' lies in the file '", piece.location, "', which was not given"},
                {.tensor = piece.tensor});
  }

 private:
  std::vector<onnx::ExternalPiece> pieces_;
  std::vector<std::shared_ptr<std::byte>> bytes_;
  std::vector<std::shared_ptr<const FileBytes>> files_;
};

val read_model(Buffer& buffer, const val& given) {
  return answer([&] {
    Pieces pieces(buffer, given);
    const size_t size = buffer.size();
    return val(std::make_shared<ModelHandle>(onnx::read(buffer.take(), size, &pieces)));
  });
}

EMSCRIPTEN_BINDINGS(model) {
  emscripten::class_<ModelHandle>("Model")
      .smart_ptr<std::shared_ptr<ModelHandle>>("ModelPointer")
      .function("describe", &ModelHandle::describe)
      .function("inspect", &ModelHandle::inspect)
      .function("requireSupported", &ModelHandle::require_supported)
      .function("write", &ModelHandle::write)
      .function("measure", &ModelHandle::measure)
      .function("addMetadata", &ModelHandle::add_metadata);
  emscripten::class_<WrittenHandle>("Written")
      .smart_ptr<std::shared_ptr<WrittenHandle>>("WrittenPointer")
      .function("opset", &WrittenHandle::opset)
      .function("files", &WrittenHandle::files)
      .function("read", &WrittenHandle::read);
  emscripten::function("externalPieces", &external_pieces);
  emscripten::function("readModel", &read_model);
  emscripten::function("bindDims", &bind_dims);
}

}  // namespace
}  // namespace zp::bindings
