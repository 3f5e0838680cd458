// A list of named things that files add to before main, kept in one order whatever order the linker starts
// files in.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace zp::quant {

template <class T>
class Registry {
 public:
  static Registry& instance() {
    static Registry registry;
    return registry;
  }
  void add(const T& entry) {
    const auto before = [](const T& a, const T& b) { return a.name < b.name; };
    entries_.insert(std::upper_bound(entries_.begin(), entries_.end(), entry, before), entry);
  }
  const std::vector<T>& all() const { return entries_; }
  const T* find(std::string_view name) const {
    const auto it =
        std::find_if(entries_.begin(), entries_.end(), [&](const T& e) { return e.name == name; });
    return it == entries_.end() ? nullptr : &*it;
  }
  // Throws kInvalidArgument that lists what there is. `what`: "mode", "observer", ...
  const T& get(std::string_view name, std::string_view what) const {
    if (const T* found = find(name)) return *found;
    std::string list;
    for (const T& e : entries_) list += (list.empty() ? "'" : ", '") + std::string(e.name) + "'";
    throw_error(ErrorCode::kInvalidArgument, {"unknown ", what, " '", name, "'"},
                {.hint = {"one of ", list}});
  }

 private:
  std::vector<T> entries_;
};

}  // namespace zp::quant
