// A repair that nobody needs, in one file: it says that it ran.
#include <memory>

#include "quant/stage.h"

namespace zp::test {
namespace {

class Boast : public quant::PiecewiseStage {
 public:
  Boast(quant::JobState& state, double loudness) : state_(state), loudness_(loudness) {}

 private:
  size_t start() override { return 1; }
  void piece(size_t) override {
    state_.repaired.push_back("made-up: as loud as " + std::to_string(static_cast<int>(loudness_)));
  }

  quant::JobState& state_;
  double loudness_;
};

const quant::RegisterStage kMadeUp({.name = "made-up-repair",
                                    .title = "Boast",
                                    .sentence = "Says that it ran.",
                                    .order = 110,
                                    .repair = true,
                                    .options = {{.name = "made-up-loudness",
                                                 .owner = "made-up-repair",
                                                 .fallback = 3,
                                                 .min = 1,
                                                 .max = 11,
                                                 .sentence = "How loud it says so."}},
                                    .make = [](quant::JobState& s,
                                               const quant::Options& o) -> std::unique_ptr<quant::Stage> {
                                      return std::make_unique<Boast>(s, o["made-up-loudness"]);
                                    }});

}  // namespace
}  // namespace zp::test
