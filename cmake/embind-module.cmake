# The WebAssembly modules: bindings/*.cpp over the engine, each an ES module with its .wasm beside it. Two for each
# variant: all of it, and what only runs models (`zeropoint/run`).
file(GLOB_RECURSE binding_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bindings/*.cpp)
zeropoint_compile(zeropoint-bindings "zeropoint_options;protozero" "${binding_sources}" "")

# What no run needs. The rest of it goes when nothing refers to it any more (tools/run-objects.mjs): writing files, and
# the operators' own rules for gradients, older opsets and operator formats. CMake counts a precompiled header among the
# objects, and the linker takes none.
set(not_for_runs "/src/(quant|train)/|/src/kernels/gradient/|/src/ops/([a-z_]+_gradient|fake_quantize)\\.cpp")
string(APPEND not_for_runs "|/bindings/(comparison|inspection|quantizer|reports|writing)\\.cpp|/cmake_pch\\.")
find_program(ZEROPOINT_NODE node REQUIRED)
mark_as_advanced(ZEROPOINT_NODE)

# The objects of a part for runs: <name>.<part>.run.rsp names them to the linker.
function(zeropoint_run_part part)
  set(list ${CMAKE_BINARY_DIR}/${part}.run.rsp)
  set(objects "$<FILTER:$<TARGET_OBJECTS:${part}>,EXCLUDE,${not_for_runs}>")
  add_custom_command(OUTPUT ${list}
    COMMAND ${ZEROPOINT_NODE} ${CMAKE_SOURCE_DIR}/tools/run-objects.mjs ${list} "${objects}"
    DEPENDS ${CMAKE_SOURCE_DIR}/tools/run-objects.mjs ${CMAKE_SOURCE_DIR}/tools/wasm-reader.mjs "${objects}"
    COMMENT "What runs need of ${part}"
    COMMAND_EXPAND_LISTS VERBATIM)
  add_custom_target(${part}.run DEPENDS ${list})
endfunction()

function(zeropoint_module module variant)
  add_executable(${module} "")
  set_target_properties(${module} PROPERTIES SUFFIX .mjs LINKER_LANGUAGE CXX)
  target_link_options(${module} PRIVATE
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
    target_link_options(${module} PRIVATE
      -pthread
      -sPTHREAD_POOL_SIZE_STRICT=2  # too few: a pool of fewer threads, not one that waits for ever
      # Workers start only when JavaScript yields, so the loader says how many to start before the first call.
      "-sPTHREAD_POOL_SIZE=Module['threadPoolSize']||0"
      -sDEFAULT_PTHREAD_STACK_SIZE=512KB
      -sEXPORTED_RUNTIME_METHODS=PThread  # terminateAllThreads() gives the workers back on dispose
      -Wno-pthreads-mem-growth)
  endif()
endfunction()

foreach(part IN LISTS zeropoint-engine_PARTS)
  zeropoint_run_part(${part})
endforeach()
foreach(variant IN LISTS ZEROPOINT_VARIANTS)
  zeropoint_module(${variant} ${variant})
  target_link_libraries(${variant} PRIVATE zeropoint-engine-${variant} zeropoint-bindings-${variant})

  zeropoint_module(run-${variant} ${variant})
  foreach(part IN LISTS zeropoint-bindings_PARTS_${variant})
    target_sources(run-${variant} PRIVATE "$<FILTER:$<TARGET_OBJECTS:${part}>,EXCLUDE,${not_for_runs}>")
  endforeach()
  foreach(part IN LISTS zeropoint-engine_PARTS_${variant})
    target_link_options(run-${variant} PRIVATE "@${CMAKE_BINARY_DIR}/${part}.run.rsp")
    set_property(TARGET run-${variant} APPEND PROPERTY LINK_DEPENDS ${CMAKE_BINARY_DIR}/${part}.run.rsp)
    add_dependencies(run-${variant} ${part}.run)
  endforeach()
endforeach()
