// A protobuf message inside a file that may lie: protozero's pull parser, with every length and wire type
// checked and every error saying at which byte of the file it is. (protozero itself cuts lengths to 32 bits,
// compares them as ptrdiff_t and checks wire types only by assertions.)
#pragma once

#include <cstdint>
#include <protozero/pbf_reader.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"

namespace zp::onnx {

class Message {
 public:
  // A whole file; `what` is the message's name in onnx.proto, for errors.
  Message(const char* file, size_t size, const char* what)
      : file_{file}, file_end_{file + size}, begin_{file}, what_{what}, reader_{file, size} {}

  // Goes to the next field; false at the end of the message.
  bool next();
  uint32_t tag() const { return static_cast<uint32_t>(reader_.tag()); }

  int64_t integer();
  float float_value();
  std::string_view bytes();
  Message message(const char* what);
  void skip();

  // The bytes of a repeated number that was written as one packed block, or of this single element of it.
  std::string_view repeated_varint();
  std::string_view repeated_fixed(size_t bytes_each);

  const char* begin() const { return begin_; }
  std::string_view unread() const { return {reader_.data().data(), reader_.length()}; }
  size_t position() const { return static_cast<size_t>(field_ - file_); }  // of the field, in the file
  [[noreturn]] void fail(const Text& problem) const;

 private:
  Message(const Message& outer, std::string_view view, const char* what)
      : file_{outer.file_},
        file_end_{outer.file_end_},
        begin_{view.data()},
        what_{what},
        reader_{view.data(), view.size()} {}
  void require(protozero::pbf_wire_type type);
  // Runs a protozero call that may throw.
  template <class F>
  auto guarded(F&& f) const {
    try {
      return std::forward<F>(f)();
    } catch (const protozero::exception& e) {
      fail_broken(e.what());
    }
  }
  [[noreturn]] void fail_broken(const char* why) const;

  const char *file_, *file_end_, *begin_;
  const char* field_ = nullptr;  // where the current field's tag is
  const char* what_;
  protozero::pbf_reader reader_;
};

// Calls f(value) for each varint of a block that repeated_varint() gave; false when the block is broken.
template <class F>
bool for_each_varint(std::string_view block, F&& f) {
  const char* p = block.data();
  const char* const end = p + block.size();
  try {
    while (p != end) f(static_cast<int64_t>(protozero::decode_varint(&p, end)));
  } catch (const protozero::exception&) {
    return false;
  }
  return true;
}

bool valid_utf8(std::string_view text);
// For messages: invalid bytes as \xNN, and no more than 100 bytes.
std::string printable(std::string_view text);

}  // namespace zp::onnx
