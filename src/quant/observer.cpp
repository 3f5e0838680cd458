#include "quant/observer.h"

#include "core/error.h"
#include "quant/registry.h"

namespace zp::quant {

Options::Options(std::vector<OptionSpec> specs, const std::map<std::string, double, std::less<>>& given) {
  for (const OptionSpec& s : specs) {
    const auto it = given.find(s.name);
    values_.emplace(s.name, it == given.end() ? s.fallback : it->second);
  }
}

double Options::operator[](std::string_view name) const {
  const auto it = values_.find(name);
  if (it == values_.end()) throw_error(ErrorCode::kInternal, {"option '", name, "' was not declared"});
  return it->second;
}

RegisterObserver::RegisterObserver(const ObserverDef& def) { Registry<ObserverDef>::instance().add(def); }

const ObserverDef& observer_named(std::string_view name) {
  return Registry<ObserverDef>::instance().get(name, "observer");
}

const std::vector<ObserverDef>& all_observers() { return Registry<ObserverDef>::instance().all(); }

std::vector<std::string_view> observer_names() {
  std::vector<std::string_view> names;
  for (const ObserverDef& d : all_observers()) names.push_back(d.name);
  return names;
}

std::vector<Named> observers() {
  std::vector<Named> all;
  for (const ObserverDef& d : all_observers()) all.push_back({d.name, d.title, d.sentence, {}});
  return all;
}

}  // namespace zp::quant
