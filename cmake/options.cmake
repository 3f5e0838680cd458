# How everything is compiled. What must agree between the engine, GoogleTest and the system libraries
# (exceptions, threads, sanitizers, floating point) is set for the whole tree; warnings and definitions
# belong to zeropoint_options, which only our own code links.

# For all but the kernels, whose flags are in CMakeLists.txt. In WebAssembly a user waits for the download first, so
# size comes first; and at -O1 and -O2 clang 19 crashes in "WebAssembly CFG Stackify" on some functions with cleanups (llvm-project issue 126916).
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
if(EMSCRIPTEN)
  set(CMAKE_CXX_FLAGS_RELEASE "-Oz -DNDEBUG")
endif()
set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g1")
# Assertions stay in what tests run.
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1")

# A contracted multiply-add rounds once where ONNX rounds twice, and only on some machines.
add_compile_options(-ffp-contract=off -fno-math-errno)

if(EMSCRIPTEN)
  # Without the names of types, which would be an eighth of the module.
  add_compile_options(-fwasm-exceptions -msimd128 -fno-rtti)
  add_compile_definitions(EMSCRIPTEN_HAS_UNBOUND_TYPE_NAMES=0)
  add_link_options(-fwasm-exceptions -fno-rtti)  # of Embind's two libraries, that without type information
else()
  find_package(Threads REQUIRED)
  link_libraries(Threads::Threads)
  # SIMDe needs pmulld, pshufb and roundps to say what a WebAssembly instruction says in one or two of its own.
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    add_compile_options(-march=x86-64-v2)
  endif()
  if(ZEROPOINT_SANITIZE)
    if(ZEROPOINT_SANITIZE STREQUAL memory)
      set(sanitizers -fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all -fno-omit-frame-pointer)
    elseif(ZEROPOINT_SANITIZE STREQUAL threads)
      set(sanitizers -fsanitize=thread -fno-omit-frame-pointer)
    else()
      message(FATAL_ERROR "ZEROPOINT_SANITIZE is memory, threads or empty, and not '${ZEROPOINT_SANITIZE}'")
    endif()
    add_compile_options(${sanitizers})
    add_link_options(${sanitizers})
  endif()
  if(ZEROPOINT_FUZZ AND NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(STATUS "libFuzzer comes with clang: no fuzzers are built")
    set(ZEROPOINT_FUZZ OFF)
  endif()
  if(ZEROPOINT_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link)
  endif()
endif()

# With the time of its headers in it, a precompiled header would be another one after each checkout.
if(ZEROPOINT_PRECOMPILED)
  add_compile_options("SHELL:-Xclang -fno-pch-timestamp")
endif()

add_library(zeropoint_options INTERFACE)
target_compile_options(zeropoint_options INTERFACE
  -Wall -Wextra
  -Wno-missing-designated-field-initializers  # leaving a field out of a designated list is how its default is chosen
  $<$<BOOL:${ZEROPOINT_WERROR}>:-Werror>)
target_include_directories(zeropoint_options INTERFACE ${CMAKE_SOURCE_DIR}/src)
