// What the fuzzers of files share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string_view>

#include "onnx/onnx.h"

namespace zp::fuzz {

inline zp::Model read(const void* data, size_t size) {
  // Exactly as large as the file, so that AddressSanitizer sees reads beyond it.
  auto* const bytes = new std::byte[size];
  if (size > 0) std::memcpy(bytes, data, size);
  return onnx::read({bytes, std::default_delete<std::byte[]>()}, size);
}

[[noreturn]] inline void broken(const char* promise, const char* why) {
  std::fprintf(stderr, "broken promise: %s: %s\n", promise, why);
  std::abort();
}

inline void write_seed(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// Of LLVMFuzzerInitialize's arguments: lets `fill` write seeds to the corpus folder, if that is empty.
template <class Fill>
void fill_empty_corpus(int argc, char** argv, Fill&& fill) {
  for (int i = 1; i < argc; ++i) {
    const std::filesystem::path folder = argv[i];
    if (argv[i][0] == '-' || !std::filesystem::is_directory(folder)) continue;
    if (std::filesystem::is_empty(folder)) fill(folder);
    break;
  }
}

}  // namespace zp::fuzz
