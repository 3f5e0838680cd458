# The WebAssembly module: bindings/*.cpp over the engine, as an ES module with its .wasm beside it.
file(GLOB_RECURSE binding_sources CONFIGURE_DEPENDS bindings/*.cpp)
if(NOT binding_sources)
  return()
endif()

add_executable(zeropoint ${binding_sources})
target_link_libraries(zeropoint PRIVATE zeropoint_objects)
set_target_properties(zeropoint PROPERTIES SUFFIX .mjs)

target_link_options(zeropoint PRIVATE
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

if(ZEROPOINT_THREADS)
  target_link_options(zeropoint PRIVATE
    -sPTHREAD_POOL_SIZE_STRICT=2  # too few: a pool of fewer threads, not one that waits for ever
    # Workers start only when JavaScript yields, so the loader says how many to start before the first call.
    "-sPTHREAD_POOL_SIZE=Module['threadPoolSize']||0"
    -sDEFAULT_PTHREAD_STACK_SIZE=512KB
    -sEXPORTED_RUNTIME_METHODS=PThread  # terminateAllThreads() gives the workers back on dispose
    -Wno-pthreads-mem-growth)
  find_program(NODE NAMES node nodejs REQUIRED NO_CMAKE_FIND_ROOT_PATH)
  mark_as_advanced(NODE)
  add_custom_command(TARGET zeropoint POST_BUILD
    COMMAND ${NODE} ${CMAKE_SOURCE_DIR}/tools/literal-worker-options.mjs $<TARGET_FILE:zeropoint>
    VERBATIM)
  set_property(TARGET zeropoint APPEND PROPERTY LINK_DEPENDS ${CMAKE_SOURCE_DIR}/tools/literal-worker-options.mjs)
endif()
