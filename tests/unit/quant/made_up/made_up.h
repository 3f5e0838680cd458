// What the made-up option sets.
#pragma once

namespace zp::test {

extern double made_up_limit;

}  // namespace zp::test
