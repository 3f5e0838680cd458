#include "quant/scheme.h"

#include "quant/quantization_job.h"
#include "quant/registry.h"
#include "quant/runtimes.h"

namespace zp::quant {

RegisterScheme::RegisterScheme(const Scheme& scheme) { Registry<Scheme>::instance().add(scheme); }

const Scheme& scheme_named(std::string_view name) { return Registry<Scheme>::instance().get(name, "mode"); }

const Scheme& scheme_of_branches(const Scheme& scheme, const Config& config) {
  if (!scheme.needs_calibration && !scheme.trains) return scheme;
  const Scheme& dynamic = scheme_named("dynamic");
  const bool possible = config.activations == DType::kUint8 && bits_of(config.weights) == 8 &&
                        takes_mode(runtime_named(config.runtime), dynamic.name);
  return possible ? dynamic : scheme_named("weight-only");
}

std::vector<std::string_view> scheme_names() {
  std::vector<std::string_view> names;
  for (const Scheme& s : Registry<Scheme>::instance().all()) names.push_back(s.name);
  return names;
}

std::vector<Named> modes() {
  std::vector<Named> all{about_auto()};
  for (const Scheme& s : Registry<Scheme>::instance().all())
    all.push_back({s.name, s.title, s.sentence, s.more});
  return all;
}

}  // namespace zp::quant
