// One random graph, computed in all the ways that have to agree.
#pragma once

#include <memory>
#include <string>

#include "random_graph.h"

namespace zp::fuzz {

// Written and read.
std::shared_ptr<const Model> through_bytes(const Model& model);

// What does not agree, in a sentence; empty when all does. Float: as it is and prepared, with one thread and
// two, written and read. Quantized by one scheme, in one form, with settings that `choices` picks: the same
// integers with one thread and two and after writing and reading. With `numbers`, also nearly the same
// numbers as with every Q and DQ by itself in float, and at 8 bits numbers near the float model's: rules of
// thumb, which a rare graph may break with good reason.
std::string disagreement(const RandomGraph& graph, Choices& choices, bool numbers = true);

}  // namespace zp::fuzz
