// The options of mode "qat": rows of the schema (quant/options.h).
#pragma once

#include "quant/quant.h"

namespace zp::train {

// Throws kInvalidArgument where a value is not what its row allows.
void check_options(const quant::Config& config);

}  // namespace zp::train
