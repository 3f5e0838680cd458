#include "core/function.h"

#include <cstring>
#include <new>

namespace zp {

HeldCallable::HeldCallable(AnyFunction call, size_t size, const void* bytes)
    : head_(new(::operator new(sizeof(Head) + size)) Head{call, nullptr}) {
  if (bytes) std::memcpy(object(), bytes, size);
}

void HeldCallable::Release::operator()(Head* head) const {
  if (head->destroy) head->destroy(head + 1);
  ::operator delete(head);
}

}  // namespace zp
