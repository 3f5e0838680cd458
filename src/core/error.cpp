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
    case ErrorCode::kIndexOutOfRange:
      return "index-out-of-range";
    case ErrorCode::kInvalidArgument:
      return "invalid-argument";
    case ErrorCode::kOutOfMemory:
      return "out-of-memory";
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kCancelled:
      return "cancelled";
    case ErrorCode::kInternal:
      return "internal";
  }
  return "internal";
}

Error::Error(ErrorCode code, const Text& message, const ErrorPlace& place)
    : code_(code),
      message_(message.str()),
      details_{std::string(place.node), std::string(place.op), std::string(place.tensor), place.hint.str()} {}

void throw_error(ErrorCode code, const Text& message, const ErrorPlace& place) {
  throw Error(code, message, place);
}

void Error::add_details(const ErrorPlace& outer) {
  const auto fill = [](std::string& mine, std::string_view theirs) {
    if (mine.empty()) mine = theirs;
  };
  fill(details_.node, outer.node);
  fill(details_.op, outer.op);
  fill(details_.tensor, outer.tensor);
  if (details_.hint.empty()) details_.hint = outer.hint.str();
}

}  // namespace zp
