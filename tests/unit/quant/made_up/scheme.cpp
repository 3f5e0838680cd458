// A scheme that nobody needs, in one file: it does what "static" does.
#include "quant/scheme.h"

namespace zp::test {
namespace {

const quant::RegisterScheme kMadeUp(
    {.name = "made-up",
     .title = "made-up integers",
     .sentence = "What tests quantize with.",
     .needs_calibration = true,
     .decide = [](quant::Planner& planner) { quant::scheme_named("static").decide(planner); },
     .place = [](quant::Placement& placement,
                 int32_t i) { quant::scheme_named("static").place(placement, i); }});

}  // namespace
}  // namespace zp::test
