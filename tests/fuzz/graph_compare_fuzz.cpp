// A random graph made from the bytes gives the same numbers in all the ways of computing it that must agree
// exactly (graphs/compare.h).
//
//   graph_compare_fuzz CORPUS/ [-max_total_time=60]
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "core/error.h"
#include "graphs/compare.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  zp::fuzz::Choices choices(std::span<const uint8_t>(data, size));
  std::string why;
  try {
    why = zp::fuzz::disagreement(zp::fuzz::random_graph(choices, 8, 2), choices, false);
  } catch (const zp::Error& e) {
    why = std::string(zp::name_of(e.code())) + ": " + e.what() + " (node " + e.details().node + ")";
  }
  if (why.empty()) return 0;
  std::fprintf(stderr, "disagreement: %s\n", why.c_str());
  std::abort();
}
