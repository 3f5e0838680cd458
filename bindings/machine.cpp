// Facts about the machine under the engine, and the memory that it takes of it.
#include "kernels/machine.h"

#include <emscripten/bind.h>
#include <emscripten/heap.h>
#include <malloc.h>

#include <cstddef>
#include <string>

#include "answers.h"

namespace zp::bindings {
namespace {

val info() {
  const kernels::Machine machine = kernels::machine();
  Object o;
  o.set("instructionSet", std::string(machine.instruction_set));
  o.set("relaxedDot", std::string(machine.relaxed_dot));
  o.set("fusedMultiplyAdd", machine.fused_multiply_add);
  return o;
}

// `reserved` only grows: WebAssembly memory never shrinks. `used` is what is allocated in it, `limit` what it
// can have.
val memory() {
  Object o;
  o.set("reserved", static_cast<size_t>(emscripten_get_heap_size()));
  o.set("used", static_cast<size_t>(mallinfo().uordblks));
  o.set("limit", static_cast<double>(emscripten_get_heap_max()));
  return o;
}

EMSCRIPTEN_BINDINGS(machine) {
  emscripten::function("info", &info);
  emscripten::function("memory", &memory);
}

}  // namespace
}  // namespace zp::bindings
