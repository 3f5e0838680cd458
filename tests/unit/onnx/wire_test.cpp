#include "onnx/wire.h"

#include <gtest/gtest.h>

namespace zp::onnx {
namespace {

TEST(OnnxWire, KnowsUtf8) {
  for (const char* good :
       {"", "abc", "caf\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf"}) {
    EXPECT_TRUE(valid_utf8(good)) << good;
  }
  // stray and missing continuations, overlong forms, surrogates, beyond U+10FFFF
  for (const char* bad : {"\x80", "\xc3", "\xc3(", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80",
                          "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xff", "\xe2\x82"}) {
    EXPECT_FALSE(valid_utf8(bad)) << printable(bad);
  }
}

TEST(OnnxWire, PrintsWhatCannotBePrinted) {
  EXPECT_EQ(printable("caf\xc3\xa9"), "caf\xc3\xa9");
  EXPECT_EQ(printable("a\xff"), "a\\xff");
  EXPECT_EQ(printable(std::string(200, 'x')), std::string(100, 'x') + "...");
  std::string wide;
  for (int i = 0; i < 80; ++i) wide += "\xc3\xa9";
  wide.insert(0, "x");  // so that byte 100 is inside a character
  EXPECT_TRUE(valid_utf8(printable(wide)));
}

}  // namespace
}  // namespace zp::onnx
