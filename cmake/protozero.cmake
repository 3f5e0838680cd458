# protozero: header-only protobuf reading and writing, from the system.
# Its folder alone is exposed, through a link in the build tree: under Emscripten the rest of the
# system's include folder would shadow the sysroot.
find_path(PROTOZERO_INCLUDE_DIR protozero/pbf_reader.hpp
  HINTS /usr/include /usr/local/include /opt/homebrew/include
  NO_CMAKE_FIND_ROOT_PATH)
mark_as_advanced(PROTOZERO_INCLUDE_DIR)
if(NOT PROTOZERO_INCLUDE_DIR)
  message(FATAL_ERROR "protozero is missing: install libprotozero-dev (Debian, Ubuntu) or protozero (Homebrew, Fedora)")
endif()
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/include)
file(CREATE_LINK ${PROTOZERO_INCLUDE_DIR}/protozero ${CMAKE_BINARY_DIR}/include/protozero SYMBOLIC)
add_library(protozero INTERFACE)
target_include_directories(protozero SYSTEM INTERFACE ${CMAKE_BINARY_DIR}/include)
