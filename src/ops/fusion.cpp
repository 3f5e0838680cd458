#include "ops/fusion.h"

namespace zp {
namespace {

std::vector<Fusion>& registry() {
  static std::vector<Fusion> fusions;
  return fusions;
}

}  // namespace

RegisterFusion::RegisterFusion(const Fusion& fusion) { registry().push_back(fusion); }

const std::vector<Fusion>& all_fusions() { return registry(); }

const Node* FusionContext::maker(ValueId value, std::string_view type) const {
  const int at = value == kNoValue ? -1 : producer(value);
  return at >= 0 && node(at).is(type) ? &node(at) : nullptr;
}

std::optional<float> FusionContext::number(ValueId value) const {
  const Tensor* t = value == kNoValue ? nullptr : constant(value);
  if (!t || t->size() != 1 || t->dtype() != DType::kFloat32) return std::nullopt;
  return t->data<float>()[0];
}

}  // namespace zp
