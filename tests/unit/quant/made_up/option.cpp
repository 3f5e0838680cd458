// An option that nobody needs, in one file: tests/unit/quant/options_test.cpp finds it where options are.
#include "quant/options.h"
#include "unit/quant/made_up/made_up.h"

namespace zp::test {

double made_up_limit = 0;

namespace {

constexpr quant::Option kRows[] = {
    {.name = "madeUpLimit",
     .kind = quant::OptionKind::kNumber,
     .title = "Made-up limit",
     .sentence = "A number that tests set.",
     .min = 0,
     .max = 10,
     .fallback = "none",
     .set = [](quant::Config&, const quant::OptionValue& v) { made_up_limit = v.number; },
     .applies = [](const quant::Scheme& s) { return s.name == "made-up"; }},
};
const quant::RegisterOptions kRegistered(kRows);

}  // namespace
}  // namespace zp::test
