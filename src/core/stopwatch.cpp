#include "core/stopwatch.h"

#include <time.h>  // NOLINT(modernize-deprecated-headers): clock_gettime is POSIX's

namespace zp {

double Stopwatch::now() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) * 1e-6;
}

}  // namespace zp
