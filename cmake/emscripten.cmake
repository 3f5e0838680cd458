# Toolchain file: finds the emcc on the PATH, or that of an active emsdk, and uses its own toolchain file.
find_program(ZEROPOINT_EMCC emcc HINTS $ENV{EMSDK}/upstream/emscripten)
mark_as_advanced(ZEROPOINT_EMCC)
if(NOT ZEROPOINT_EMCC)
  message(FATAL_ERROR "emcc is not on the PATH: run `eval \"$(node tools/setup.mjs --env)\"`, or activate emsdk (3.1.69 or newer)")
endif()
file(REAL_PATH ${ZEROPOINT_EMCC} emcc)
cmake_path(GET emcc PARENT_PATH emscripten)
if(NOT EXISTS ${emscripten}/cmake/Modules/Platform/Emscripten.cmake)
  set(emscripten /usr/share/emscripten)  # Debian puts a wrapper in /usr/bin
endif()
include(${emscripten}/cmake/Modules/Platform/Emscripten.cmake)
