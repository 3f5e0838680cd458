// What a registered thing is called, and what it is good for.
#pragma once

#include <string_view>

// Texts of the documents alone: builds for the web leave them out.
#ifdef __EMSCRIPTEN__
#define ZP_MORE(text) ""
#else
#define ZP_MORE(text) text
#endif

namespace zp::quant {

struct Named {
  std::string_view name;
  std::string_view title;     // a few words
  std::string_view sentence;  // what it does
  std::string_view more;      // ZP_MORE: what else there is to know, in Markdown
};

}  // namespace zp::quant
