#include "model.h"

#include <emscripten/bind.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "onnx/onnx.h"
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

}  // namespace

val ModelHandle::describe() const {
  return answer([&] {
    const Graph& graph = model_->graph;
    Object d;
    d.set("inputs", values_of(graph, graph.inputs));
    d.set("outputs", values_of(graph, graph.outputs));
    d.set("optionalInputs", values_of(graph, graph.defaults));
    d.set("folded", model_->folded);
    return d;
  });
}

namespace {

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
  // Null, or a list of what `note` was given: it comes out of a file, and may be anything.
  val noted(int piece, const std::string& how) const { return files_.call<val>("noted", piece, how); }
  void note(int piece, const std::string& how, const val& made) const {
    const auto problem = files_.call<std::string>("note", piece, how, made);
    if (!problem.empty()) throw_error(ErrorCode::kIo, problem);
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
  std::vector<Tensor> noted(const std::string& how) const override {
    std::vector<Tensor> tensors;
    const val found = files_->noted(piece_, how);
    if (!found.isArray()) return tensors;
    const auto count = field<unsigned>(found, "length");
    for (unsigned i = 0; i < count; ++i) {
      const val each = found[i];
      const DType dtype = dtype_named(field<std::string>(each, "type"));
      Shape dims = shape_of(each[property("dims")]);
      const auto bytes = static_cast<size_t>(field<double>(each, "bytes"));
      if (dtype == DType::kUndefined || bytes_of(dtype, element_count(dims)) != bytes) return {};
      tensors.emplace_back(dtype, std::move(dims),
                           std::make_shared<const PieceInFile>(files_, field<int>(each, "piece"), bytes));
    }
    return tensors;
  }
  void note(const std::string& how, std::span<const Tensor> made) const override {
    Array all;
    for (const Tensor& t : made) {
      // All that is in a file here is a piece of the same files.
      const int piece =
          t.file() ? static_cast<const PieceInFile&>(*t.file()).piece_ : files_->put({t.raw(), t.bytes()});
      if (piece < 0) return;
      Object o;
      o.set("type", name_of(t.dtype()));
      o.set("dims", array_of(t.dims(), number));
      o.set("piece", piece);
      o.set("bytes", static_cast<double>(t.bytes()));
      all.push(o);
    }
    files_->note(piece_, how, all);
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
      .function("describe", &ModelHandle::describe);
  emscripten::function("externalPieces", &external_pieces);
  emscripten::function("readModel", &read_model);
}

}  // namespace
}  // namespace zp::bindings
