#include <algorithm>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "onnx/canonicalize.h"
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
  Reader(std::shared_ptr<std::byte> bytes, size_t size) : file_{std::move(bytes), size} {}
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
  TextSet functions_;  // "domain.name"
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
  DeclaredShapes shapes;
  GraphReader(file_, model_, functions_, shapes).read(*graph_, model_.graph);
  canonicalize(model_, shapes);
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
  std::string domain;
  int64_t version = 0;
  while (message.next()) {
    switch (message.tag()) {
      case opset_field::kDomain:
        domain = domain_field(message);
        break;
      case opset_field::kVersion:
        version = message.integer();
        break;
      default:
        message.skip();
    }
  }
  const std::string shown = domain.empty() ? "ai.onnx" : printable(domain);
  if (version < 1) fail({"the model imports version ", version, " of the operator set ", shown});
  if (domain.empty() && version > kNewestOpset) {
    throw_error(ErrorCode::kUnsupportedOperator,
                {"the model uses opset ", version, "; opsets 1 to ", kNewestOpset, " are supported"},
                {.hint = {"export the model again, for opset ", kNewestOpset, " or older"}});
  }
  const auto [at, added] = model_.opsets.emplace(domain, version);
  if (!added && at->second != version) {
    fail({"the model imports versions ", at->second, " and ", version, " of the operator set ", shown});
  }
}

void Reader::read_function(Message message) {
  std::string name, domain;
  while (message.next()) {
    switch (message.tag()) {
      case function_field::kName:
        name = message.bytes();
        break;
      case function_field::kDomain:
        domain = domain_field(message);
        break;
      default:
        message.skip();
    }
  }
  functions_.insert(domain + "." + name);
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

Model read(std::shared_ptr<std::byte> bytes, size_t size) {
  try {
    return Reader(std::move(bytes), size).read();
  } catch (const std::bad_alloc&) {
    throw_error(ErrorCode::kOutOfMemory, {"no memory to read a model of ", size, " bytes"},
                {.hint = "close other models and tabs, or use a smaller model"});
  }
}

}  // namespace zp::onnx
