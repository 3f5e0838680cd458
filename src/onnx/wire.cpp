#include "onnx/wire.h"

#include <cstring>

namespace zp::onnx {

bool Message::next() {
  field_ = reader_.data().data();
  return guarded([&] { return reader_.next(); });
}

int64_t Message::integer() {
  require(protozero::pbf_wire_type::varint);
  return guarded([&] { return reader_.get_int64(); });
}

float Message::float_value() {
  require(protozero::pbf_wire_type::fixed32);
  return guarded([&] { return reader_.get_float(); });
}

std::string_view Message::bytes() {
  require(protozero::pbf_wire_type::length_delimited);
  const char* p = reader_.data().data();
  const char* const end = p + reader_.length();
  const uint64_t length = guarded([&] { return protozero::decode_varint(&p, end); });
  const auto left = static_cast<uint64_t>(end - p);
  if (length > left) {
    if (end == file_end_) {
      throw_error(
          ErrorCode::kInvalidModel,
          {"the file is cut off: field ", tag(), " of ", what_, " at byte ", position(), " is ", length,
           " bytes long, but the file ends after ", left, " of them, at byte ", file_end_ - file_},
          {.hint = "the file is incomplete or damaged: download or export it again"});
    }
    fail({"is ", length, " bytes long, but only ", left, " are left in the message around it"});
  }
  const protozero::data_view view = guarded([&] { return reader_.get_view(); });
  return {view.data(), view.size()};
}

Message Message::message(const char* what) { return {*this, bytes(), what}; }

void Message::skip() {
  if (reader_.wire_type() == protozero::pbf_wire_type::length_delimited) {
    bytes();
  } else {
    guarded([&] { reader_.skip(); });
  }
}

std::string_view Message::repeated_varint() {
  if (reader_.wire_type() == protozero::pbf_wire_type::length_delimited) return bytes();
  require(protozero::pbf_wire_type::varint);
  const char* const from = reader_.data().data();
  skip();
  return {from, static_cast<size_t>(reader_.data().data() - from)};
}

std::string_view Message::repeated_fixed(size_t bytes_each) {
  if (reader_.wire_type() == protozero::pbf_wire_type::length_delimited) {
    const std::string_view block = bytes();
    if (block.size() % bytes_each != 0) fail({"has a length that is not a multiple of ", bytes_each});
    return block;
  }
  require(bytes_each == 4 ? protozero::pbf_wire_type::fixed32 : protozero::pbf_wire_type::fixed64);
  const char* const from = reader_.data().data();
  skip();
  return {from, bytes_each};
}

void Message::require(protozero::pbf_wire_type type) {
  if (reader_.wire_type() != type) fail("has another wire type than ONNX gives it");
}

void Message::fail(const Text& problem) const {
  throw_error(ErrorCode::kInvalidModel,
              {what_, ": field ", tag(), " at byte ", position(), " ", problem.str()});
}

void Message::fail_broken(const char* why) const {
  const bool at_end = std::strcmp(why, protozero::end_of_buffer_exception{}.what()) == 0;
  if (at_end && reader_.data().data() + reader_.length() == file_end_) {
    throw_error(ErrorCode::kInvalidModel,
                {"the file is cut off: it ends at byte ", file_end_ - file_, ", inside the field of ", what_,
                 " that begins at byte ", position()},
                {.hint = "the file is incomplete or damaged: download or export it again"});
  }
  throw_error(ErrorCode::kInvalidModel,
              {what_, ": the field at byte ", position(), " is not valid protobuf (",
               (at_end ? "it ends too early" : why), ")"});
}

bool valid_utf8(std::string_view text) {
  const auto* p = reinterpret_cast<const uint8_t*>(text.data());
  const auto* const end = p + text.size();
  while (p != end) {
    const uint8_t first = *p++;
    if (first < 0x80) continue;
    const int more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    if (first < 0xc2 || first > 0xf4 || end - p < more) return false;
    // The second byte also rules out overlong forms, surrogates and code points beyond U+10FFFF (RFC 3629).
    const uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    const uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (*p < low || *p > high) return false;
    for (int i = 1; i < more; ++i)
      if ((p[i] & 0xc0) != 0x80) return false;
    p += more;
  }
  return true;
}

std::string printable(std::string_view text) {
  constexpr size_t kLimit = 100;
  std::string out;
  size_t end = text.size();
  if (end > kLimit) {
    end = kLimit;
    while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xc0) == 0x80) --end;  // not inside a character
  }
  const std::string_view shown = text.substr(0, end);
  if (valid_utf8(shown)) {
    out = shown;
  } else {
    constexpr char kHex[] = "0123456789abcdef";
    for (char c : shown) {
      const auto byte = static_cast<uint8_t>(c);
      if (byte < 0x80) {
        out += c;
      } else {
        out += std::string("\\x") + kHex[byte >> 4] + kHex[byte & 15];
      }
    }
  }
  return end < text.size() ? out + "..." : out;
}

}  // namespace zp::onnx
