// A repair of integers and biases that nobody asked for by name has to prove itself: the model's outputs are
// compared with the float model's with it and without it, on samples that it has not seen, and it is taken
// back where it does not help. Where it helps, it is done once more from all samples, those held out among
// them, since a repair is as good as what it has seen; the first one stays if the second does worse on them.
// What it was worth, or that it was taken back, is said in the report.
#pragma once

#include <memory>

#include "quant/stage.h"

namespace zp::quant {

// The stage of `def` (which looks at samples, and changes what has been placed), checked. Of a single sample
// nothing can be held out: the repair is then left out, and the report says so.
std::unique_ptr<Stage> checked(JobState& state, const StageDef& def);

}  // namespace zp::quant
