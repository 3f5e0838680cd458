// What can go wrong, as a closed list. C++ throws Error; the bindings turn it into a ZeropointError with the
// same code and details. Kernels never throw.
#pragma once

#include <cstddef>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include "core/text.h"

namespace zp {

enum class ErrorCode {
  kInvalidModel,         // not ONNX, truncated, or inconsistent with itself
  kUnsupportedOperator,  // an operator, or a form of it, that no file in ops/ handles
  kUnsupportedType,      // an element type that the operation does not take
  kShapeMismatch,        // shapes that contradict each other or the model's declaration
  kInvalidFeed,          // a feed that is missing, unknown, or of the wrong type
  kIndexOutOfRange,      // an index or length that is fed, computed or constant, outside the tensor it is for
  kInvalidArgument,      // an option or argument outside its documented range
  kOutOfMemory,          // an allocation that the machine or the 4 GiB address space refuses
  kIo,                   // a file that cannot be read, or written, any more
  kCancelled,            // the caller asked to stop
  kInternal,             // a broken promise of our own: please report
};

// The code's name as JavaScript sees it: 'invalid-model', 'unsupported-operator', ...
std::string_view name_of(ErrorCode code);

// Where an error happened; every field may be empty.
struct ErrorPlace {
  std::string_view node = {};    // node's name in the model
  std::string_view op = {};      // operator with domain and version: "ai.onnx.Conv-11"
  std::string_view tensor = {};  // value's name
  Text hint = "";                // what the user can do
};

// The same, kept.
struct ErrorDetails {
  std::string node = {}, op = {}, tensor = {}, hint = {};
  operator ErrorPlace() const { return {node, op, tensor, hint}; }  // NOLINT(google-explicit-constructor)
};

class Error : public std::exception {
 public:
  Error(ErrorCode code, const Text& message, const ErrorPlace& place = {});

  const char* what() const noexcept override { return message_.c_str(); }
  ErrorCode code() const { return code_; }
  const ErrorDetails& details() const { return details_; }
  // Fills the fields of the details that are still empty: the frame that knows the node adds it.
  void add_details(const ErrorPlace& outer);
  // Which of the node's inputs it is about; -1: none. The frame that knows names fills `tensor` from it.
  int input() const { return input_; }
  void set_input(size_t input) { input_ = static_cast<int>(input); }

 private:
  ErrorCode code_;
  int input_ = -1;
  std::string message_;
  ErrorDetails details_;
};

// Not inlined, as there are hundreds of errors.
[[noreturn]] void throw_error(ErrorCode code, const Text& message, const ErrorPlace& place = {});

}  // namespace zp
