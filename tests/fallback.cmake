# SPDX-FileCopyrightText: 2026 The heed authors
# SPDX-License-Identifier: MIT
# cmake -DROOT= -DWORK= -DGOOGLETEST= -DEIGEN_INCLUDES= ... -P fallback.cmake: on a machine without the packages, what
# is fetched serves as well. find_package is blinded, and copies on this machine stand for the downloads.
set(work ${WORK}/fallback)
file(REMOVE_RECURSE ${work})
if(NOT EXISTS ${GOOGLETEST}/CMakeLists.txt)
  message(FATAL_ERROR "no source of GoogleTest in '${GOOGLETEST}': Debian's package googletest has one")
endif()
# A header may be in any of a package's folders: finds the folder.
function(folder_of header folders out)
  find_path(found ${header} PATHS ${folders} /usr/include /usr/local/include NO_CACHE NO_DEFAULT_PATH REQUIRED)
  set(${out} ${found} PARENT_SCOPE)
endfunction()
folder_of(Eigen/Core "${EIGEN_INCLUDES}" eigen)
folder_of(nlohmann/json.hpp "${JSON_INCLUDES}" json)
file(MAKE_DIRECTORY ${work}/json/include)
file(CREATE_LINK ${json}/nlohmann ${work}/json/include/nlohmann SYMBOLIC)
set(options -DHEED_BUILD_EXAMPLES=OFF -DFETCHCONTENT_FULLY_DISCONNECTED=ON -DFETCHCONTENT_SOURCE_DIR_EIGEN3=${eigen}
  -DFETCHCONTENT_SOURCE_DIR_GTEST=${GOOGLETEST} -DFETCHCONTENT_SOURCE_DIR_NLOHMANN_JSON=${work}/json)
foreach(package Eigen3 GTest benchmark nlohmann_json)
  list(APPEND options -DCMAKE_DISABLE_FIND_PACKAGE_${package}=ON)
endforeach()

if(BENCHMARK_LIBRARY)
  # Debian has no source of Google Benchmark: a project with the same target around the library stands for it.
  folder_of(benchmark/benchmark.h "${BENCHMARK_INCLUDES}" include)
  file(WRITE ${work}/benchmark/CMakeLists.txt "
    add_library(benchmark::benchmark UNKNOWN IMPORTED GLOBAL)
    set_target_properties(benchmark::benchmark PROPERTIES IMPORTED_LOCATION ${BENCHMARK_LIBRARY}
      INTERFACE_INCLUDE_DIRECTORIES ${include})\n")
  list(APPEND options -DFETCHCONTENT_SOURCE_DIR_BENCHMARK=${work}/benchmark)
else()
  list(APPEND options -DHEED_BUILD_BENCHMARKS=OFF)
endif()

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()
run(${CMAKE_COMMAND} -S ${ROOT} -B ${work}/build -G ${GENERATOR} -DCMAKE_MAKE_PROGRAM=${MAKE}
  -DCMAKE_CXX_COMPILER=${CXX} ${options})
run(${CMAKE_COMMAND} --build ${work}/build --target core_range_test)
run(${work}/build/tests/core_range_test --gtest_brief=1)
