#include "answers.h"

#include <emscripten/bind.h>
#include <emscripten/heap.h>
#include <malloc.h>

#include <cstdint>
#include <exception>
#include <map>
#include <new>
#include <string>

namespace zp::bindings {

val text(std::string_view s) { return val(std::string(s)); }
val number(int64_t n) { return val(static_cast<double>(n)); }

const val& property(Name name) {
  static auto& names = *new std::map<const char*, val>;
  auto it = names.find(name.text);
  if (it == names.end()) it = names.emplace(name.text, val(name.text)).first;
  return it->second;
}

namespace {

// What there is of memory, for one who asks in vain for more of it.
std::string memory_in_words() {
  const auto megabytes = [](uint64_t bytes) { return std::to_string((bytes + 500'000) / 1'000'000) + " MB"; };
  return " (of the engine's " + megabytes(emscripten_get_heap_max()) + " of memory, " +
         megabytes(static_cast<size_t>(mallinfo().uordblks)) + " are in use)";
}

val failure(ErrorCode code, std::string_view message, const ErrorDetails& details = {}) {
  Object error;
  error.set("code", name_of(code));
  error.set("message", code == ErrorCode::kOutOfMemory ? std::string(message) + memory_in_words()
                                                       : std::string(message));
  error.set("node", details.node);
  error.set("op", details.op);
  error.set("tensor", details.tensor);
  error.set("hint", details.hint);
  Object answer;
  answer.set("error", error);
  return answer;
}
}  // namespace

val answer_of(FunctionRef<val()> body) {
  try {
    Object result;
    result.set("value", body());
    return result;
  } catch (const Error& e) {
    return failure(e.code(), e.what(), e.details());
  } catch (const std::bad_alloc&) {
    return failure(
        ErrorCode::kOutOfMemory, "the engine is out of memory",
        {.hint = "use a smaller input or batch, or dispose of models and sessions that are not needed"});
  } catch (const std::exception& e) {
    return failure(ErrorCode::kInternal, e.what(), {.hint = "please report this, with the model if you can"});
  }
}
val sentences(const std::vector<std::string>& all) {
  return array_of(all, [](const std::string& s) { return val(s); });
}

Object progress_of(size_t done, size_t total) {
  Object p;
  p.set("done", done);
  p.set("total", total);
  return p;
}

val view_of(const std::byte* data, size_t bytes) {
  return val(
      emscripten::typed_memory_view(bytes, reinterpret_cast<const unsigned char*>(data)));  // NOLINT: bytes
}

val copied(const std::byte* data, size_t bytes) {
  // Not slice(): V8 would clear the memory first, and for large arrays take it from the system anew each
  // time.
  static const auto& constructor = *new val(val::global("Uint8Array"));
  return constructor.new_(view_of(data, bytes));
}

}  // namespace zp::bindings
