# The WebAssembly modules: bindings/*.cpp over the engine, each an ES module with its .wasm beside it.
file(GLOB_RECURSE binding_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bindings/*.cpp)
zeropoint_compile(zeropoint-bindings "zeropoint_options;protozero" "${binding_sources}")

foreach(variant IN LISTS ZEROPOINT_VARIANTS)
  add_executable(${variant} "")
  target_link_libraries(${variant} PRIVATE zeropoint-engine-${variant} zeropoint-bindings-${variant})
  set_target_properties(${variant} PROPERTIES SUFFIX .mjs LINKER_LANGUAGE CXX)
  target_link_options(${variant} PRIVATE
    -Oz
    -lembind
    -sMODULARIZE
    -sEXPORT_ES6
    -sENVIRONMENT=web,worker,node
    -sDYNAMIC_EXECUTION=0  # Embind without `new Function`: pages with a content security policy can use it
    -sFILESYSTEM=0
    -sALLOW_MEMORY_GROWTH
    -sINITIAL_MEMORY=32MB
    -sMAXIMUM_MEMORY=4GB
    -sSTACK_SIZE=1MB
    -sMALLOC=dlmalloc)  # large, long-lived blocks, few of them: neither emmalloc's size nor mimalloc's speed pays here
  if(variant MATCHES "-threads$")
    target_link_options(${variant} PRIVATE
      -pthread
      -sPTHREAD_POOL_SIZE_STRICT=2  # too few: a pool of fewer threads, not one that waits for ever
      # Workers start only when JavaScript yields, so the loader says how many to start before the first call.
      "-sPTHREAD_POOL_SIZE=Module['threadPoolSize']||0"
      -sDEFAULT_PTHREAD_STACK_SIZE=512KB
      -sEXPORTED_RUNTIME_METHODS=PThread  # terminateAllThreads() gives the workers back on dispose
      -Wno-pthreads-mem-growth)
  endif()
endforeach()
