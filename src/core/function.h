// Callables without what std::function adds: standard libraries have neither std::function_ref (C++26) nor
// std::move_only_function (C++23) everywhere yet, and the copies and type names that std::function keeps for
// each of some four hundred kernels were a tenth of the WebAssembly module.
#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

namespace zp {

template <class Signature>
class FunctionRef;

// Refers to a callable that outlives the call: a parameter, never a member.
template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F>
    requires(!std::same_as<std::remove_cvref_t<F>, FunctionRef> && std::is_invocable_r_v<R, F&, Args...>)
  FunctionRef(F&& f)  // NOLINT(google-explicit-constructor): lambdas are passed as they are
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(std::forward<Args>(args)...);
        }) {}
  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

// A callable in memory of its own, without its type.
class HeldCallable {
 public:
  using AnyFunction = void (*)();
  using Destroy = void (*)(void* object);

  HeldCallable() = default;
  // Room for an object of `size` bytes, which are copied from `bytes` unless that is null.
  HeldCallable(AnyFunction call, size_t size, const void* bytes);
  void destroy_with(Destroy destroy) { head_->destroy = destroy; }  // once the object is there

  explicit operator bool() const { return head_ != nullptr; }
  void* object() const { return head_.get() + 1; }
  AnyFunction call() const { return head_->call; }

 private:
  struct alignas(std::max_align_t) Head {
    AnyFunction call;
    Destroy destroy;
  };
  struct Release {
    void operator()(Head* head) const;
  };
  std::unique_ptr<Head, Release> head_;
};

template <class Signature>
class UniqueFunction;

// Owns a callable; moves, and does not copy. Calling an empty one is undefined. Most kernels capture numbers
// only: of these nothing is compiled for each but the call itself.
template <class R, class... Args>
class UniqueFunction<R(Args...)> {
 public:
  UniqueFunction() = default;
  UniqueFunction(std::nullptr_t) {}  // NOLINT(google-explicit-constructor): as std::function
  template <class F>
    requires(!std::same_as<std::remove_cvref_t<F>, UniqueFunction> && std::is_invocable_r_v<R, F&, Args...>)
  UniqueFunction(F&& f)  // NOLINT(google-explicit-constructor): as std::function
  {
    using Own = std::decay_t<F>;
    static_assert(alignof(Own) <= alignof(std::max_align_t));
    const Call call = [](void* object, Args... args) -> R {
      return (*static_cast<Own*>(object))(std::forward<Args>(args)...);
    };
    const auto any = reinterpret_cast<HeldCallable::AnyFunction>(call);
    if constexpr (std::is_trivially_copyable_v<Own> && std::is_trivially_destructible_v<Own>) {
      held_ = HeldCallable(any, sizeof(Own), std::addressof(f));
    } else {
      held_ = HeldCallable(any, sizeof(Own), nullptr);
      new (held_.object()) Own(std::forward<F>(f));
      held_.destroy_with([](void* object) { static_cast<Own*>(object)->~Own(); });
    }
  }
  R operator()(Args... args) const {
    return reinterpret_cast<Call>(held_.call())(held_.object(), std::forward<Args>(args)...);
  }
  explicit operator bool() const { return static_cast<bool>(held_); }

 private:
  using Call = R (*)(void*, Args...);
  HeldCallable held_;
};

}  // namespace zp
