#include <algorithm>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "onnx/canonicalize.h"
#include "onnx/functions.h"
#include "onnx/graph_reader.h"
#include "onnx/onnx.h"
#include "onnx/schema.h"
#include "onnx/sniff.h"

namespace zp::onnx {
namespace {

constexpr std::string_view kChooseModel = "choose the .onnx file of the model";
constexpr std::string_view kDownloadAgain = "the file is incomplete or damaged: download or export it again";

std::pair<std::string, std::string> read_entry(Message message) {
  std::pair<std::string, std::string> entry;
  while (message.next()) {
    switch (message.tag()) {
      case entry_field::kKey:
        entry.first = free_text(message.bytes());
        break;
      case entry_field::kValue:
        entry.second = free_text(message.bytes());
        break;
      default:
        message.skip();
    }
  }
  return entry;
}

class Reader {
 public:
  Reader(std::shared_ptr<std::byte> bytes, size_t size, ExternalSource* external)
      : file_{std::move(bytes), size, external} {}
  Model read();

 private:
  void read_fields(Message message);
  void read_opset(Message message);
  void read_function(Message message);
  void check_versions() const;

  File file_;
  Model model_;
  std::optional<Message> graph_;
  int64_t ir_version_ = 0;
  Functions functions_;
};

Model Reader::read() {
  const char* const text = reinterpret_cast<const char*>(file_.bytes.get());
  if (file_.size == 0) fail("the file is empty", {.hint = kChooseModel});
  if (const FileKind* kind = sniff({text, file_.size})) {
    fail({"this is not an ONNX model but ", kind->what}, {.hint = kind->hint});
  }
  read_fields({text, file_.size, "ModelProto"});
  if (!graph_) {
    if (ir_version_ == 0) {
      fail("this is not an ONNX model: it has neither an IR version nor a graph", {.hint = kChooseModel});
    }
    fail({"the model has no graph: the file ends at byte ", file_.size}, {.hint = kDownloadAgain});
  }
  check_versions();
  if (model_.opsets.empty()) model_.opsets[""] = 1;  // what files from before IR version 3 mean
  // Operator sets that only functions import become imports of the model.
  for (const auto& [key, function] : functions_)
    model_.opsets.insert(function.opsets.begin(), function.opsets.end());
  DeclaredShapes shapes;
  NodeVersions versions;
  GraphReader(file_, model_, functions_, shapes, versions).read(*graph_, model_.graph);
  canonicalize(model_, shapes, versions);
  return std::move(model_);
}

void Reader::read_fields(Message message) {
  bool first = true;
  try {
    for (; message.next(); first = false) {
      switch (message.tag()) {
        case model_field::kIrVersion:
          ir_version_ = message.integer();
          break;
        case model_field::kProducerName:
          model_.producer_name = free_text(message.bytes());
          break;
        case model_field::kProducerVersion:
          model_.producer_version = free_text(message.bytes());
          break;
        case model_field::kDocString:
          model_.doc_string = free_text(message.bytes());
          break;
        case model_field::kGraph:
          if (graph_) message.fail("is a second graph");
          graph_ = message.message("GraphProto");
          break;
        case model_field::kOpsetImport:
          read_opset(message.message("OperatorSetIdProto"));
          break;
        case model_field::kMetadataProps:
          model_.metadata.push_back(read_entry(message.message("StringStringEntryProto")));
          break;
        case model_field::kFunctions:
          read_function(message.message("FunctionProto"));
          break;
        default:
          message.skip();
      }
    }
  } catch (const Error& e) {
    // ONNX has no magic number, but a file of another kind soon contradicts the form of a ModelProto.
    const bool cut_off = !e.details().hint.empty();
    if (first || (e.code() == ErrorCode::kInvalidModel && !cut_off && !graph_ && model_.opsets.empty())) {
      fail({"this is not an ONNX model: ", e.what()}, {.hint = kChooseModel});
    }
    throw;
  }
}

void Reader::read_opset(Message message) {
  auto [domain, version] = onnx::read_opset(message);
  const auto [at, added] = model_.opsets.emplace(domain, version);
  if (!added && at->second != version) {
    fail({"the model imports versions ", at->second, " and ", version, " of the operator set ",
          domain.empty() ? "ai.onnx" : printable(domain)});
  }
}

void Reader::read_function(Message message) {
  Function function = onnx::read_function(message);
  const std::string key = function_key(function.domain, function.name, function.overload);
  if (!functions_.emplace(key, std::move(function)).second)
    fail({"the model defines the function ", quoted(key), " twice"});
}

void Reader::check_versions() const {
  if (ir_version_ == 0) fail("the model does not say its IR version", {.hint = kDownloadAgain});
  if (ir_version_ < 0 || ir_version_ > kNewestIrVersion) {
    fail({"the model has IR version ", ir_version_, "; versions 1 to ", kNewestIrVersion, " are supported"},
         {.hint = {"export the model again, for opset ", kNewestOpset, " or older"}});
  }
  if (model_.opsets.empty() && ir_version_ >= 3) {
    fail({"the model does not say its opset: no opset_import before the file ends, at byte ", file_.size},
         {.hint = kDownloadAgain});
  }
}

}  // namespace

Model read(std::shared_ptr<std::byte> bytes, size_t size, ExternalSource* external) {
  try {
    Model model = Reader(std::move(bytes), size, external).read();
    forget_files(model.graph);
    return model;
  } catch (const std::bad_alloc&) {
    throw_error(ErrorCode::kOutOfMemory, {"no memory to read a model of ", size, " bytes"},
                {.hint = "close other models and tabs, or use a smaller model"});
  }
}

}  // namespace zp::onnx
