#include "core/error.h"

namespace zp {

std::string_view name_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidModel:
      return "invalid-model";
    case ErrorCode::kUnsupportedOperator:
      return "unsupported-operator";
    case ErrorCode::kUnsupportedType:
      return "unsupported-type";
    case ErrorCode::kShapeMismatch:
      return "shape-mismatch";
    case ErrorCode::kInvalidFeed:
      return "invalid-feed";
    case ErrorCode::kInvalidArgument:
      return "invalid-argument";
    case ErrorCode::kOutOfMemory:
      return "out-of-memory";
    case ErrorCode::kCancelled:
      return "cancelled";
    case ErrorCode::kInternal:
      return "internal";
  }
  return "internal";
}

Error::Error(ErrorCode code, const Text& message) : code_(code), message_(message.str()) {}

Error::Error(ErrorCode code, const Text& message, ErrorDetails details)
    : code_(code), message_(message.str()), details_(std::move(details)) {}

void Error::add_details(const ErrorDetails& outer) {
  const auto fill = [](std::string& mine, const std::string& theirs) {
    if (mine.empty()) mine = theirs;
  };
  fill(details_.node, outer.node);
  fill(details_.op, outer.op);
  fill(details_.tensor, outer.tensor);
  fill(details_.hint, outer.hint);
}

}  // namespace zp
