// A repair of integers and biases that runs by default has to prove itself. The outputs of the model with it
// and without it are compared with the float model's, on samples that it has not seen. A repair that does not
// help is taken back. A repair that helps is done once more from all samples, since more samples make it
// better; the first result stays if the second does worse on the samples held out. The report says how much
// the repair helped, or that it was taken back.
#pragma once

#include <memory>

#include "quant/stage.h"

namespace zp::quant {

// The stage of `def` (which looks at samples, and changes what has been placed), checked. Of a single sample
// nothing can be held out: the repair is then left out, and the report says so.
std::unique_ptr<Stage> checked(JobState& state, const StageDef& def);

}  // namespace zp::quant
