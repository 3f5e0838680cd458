// A model as files.
#include <emscripten/bind.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model.h"
#include "onnx/onnx.h"
#include "quant/format.h"
#include "quant/runtimes.h"
#include "tensors.h"

namespace zp::bindings {
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

std::shared_ptr<const Model> in_format(const ModelHandle& model, const std::string& format) {
  FormatCache& kept = *model.kept();
  const std::shared_ptr<const Model> made =
      kept.has(format)
          ? kept.model
          : std::make_shared<const Model>(quant::in_format(*model.shared(), format, model.runtime()));
  kept = has_files(made->graph) ? FormatCache{format, made} : FormatCache{};
  return made;
}

// Brings a model into a format, a few layers at a time: write_model() and measure_model() find it then.
class FormingHandle {
 public:
  FormingHandle(const ModelHandle& model, std::string format)
      : kept_(model.kept()), format_(std::move(format)) {
    if (!kept_->has(format_)) forming_.emplace(*model.shared(), format_, model.runtime());
  }
  val advance(double milliseconds) {
    return answer([&] {
      if (forming_ && forming_->advance(milliseconds)) {
        *kept_ = {format_, std::make_shared<const Model>(forming_->take())};
        forming_.reset();
      }
      return val(!forming_);
    });
  }
  // Of what is under way.
  val progress() const {
    return forming_ ? progress_of(forming_->done(), forming_->total()) : progress_of(0, 0);
  }

 private:
  std::shared_ptr<FormatCache> kept_;
  std::string format_;
  std::optional<quant::Formatting> forming_;
};

val create_forming(const ModelHandle& model, const std::string& format) {
  return answer([&] { return val(std::make_shared<FormingHandle>(model, format)); });
}

// A WrittenHandle. bindings/ts/engine/module.ts: FileForm.
val write_model(const ModelHandle& model, const val& form) {
  return answer([&] {
    const std::shared_ptr<const Model> written = in_format(model, field<std::string>(form, "format"));
    const onnx::WriteOptions options = options_of(form);
    return val(std::make_shared<WrittenHandle>(onnx::write_files(*written, options),
                                               onnx::versions_of(*written, options.opset).opset));
  });
}

// What write_model() would write: its files, its opset, and what of it this runtime does not take.
val measure_model(const ModelHandle& model, const val& form, const std::string& runtime) {
  return answer([&] {
    const std::string format = field<std::string>(form, "format");
    const std::shared_ptr<const Model> written = in_format(model, format);
    const WrittenHandle files(onnx::write_files(*written, options_of(form)),
                              onnx::versions_of(*written, field<int>(form, "opset")).opset);
    Object d;
    d.set("files", files.files());
    d.set("opset", files.opset());
    d.set("broken", sentences(quant::broken_rules(quant::runtime_named(runtime), *written, files.opset())));
    return d;
  });
}

// Adds an entry to what the file says of itself. An entry of that name stays: the new one gets a number.
val add_metadata(ModelHandle& model, const std::string& key, const std::string& value) {
  return answer([&] {
    Model more = *model.shared();
    const auto taken = [&](const std::string& name) {
      return std::ranges::any_of(more.metadata, [&](const auto& entry) { return entry.first == name; });
    };
    std::string name = key;
    for (int i = 2; taken(name); ++i) name = key + "_" + std::to_string(i);
    more.metadata.emplace_back(std::move(name), value);
    model.replace(std::move(more));
  });
}

EMSCRIPTEN_BINDINGS(writing) {
  emscripten::class_<WrittenHandle>("Written")
      .smart_ptr<std::shared_ptr<WrittenHandle>>("WrittenPointer")
      .function("opset", &WrittenHandle::opset)
      .function("files", &WrittenHandle::files)
      .function("read", &WrittenHandle::read);
  emscripten::class_<FormingHandle>("Forming")
      .smart_ptr<std::shared_ptr<FormingHandle>>("FormingPointer")
      .function("advance", &FormingHandle::advance)
      .function("progress", &FormingHandle::progress);
  emscripten::function("createForming", &create_forming);
  emscripten::function("writeModel", &write_model);
  emscripten::function("measureModel", &measure_model);
  emscripten::function("addMetadata", &add_metadata);
}

}  // namespace
}  // namespace zp::bindings
