# SPDX-FileCopyrightText: 2026 The heed authors
# SPDX-License-Identifier: MIT
# cmake -DROOT= -DWORK= ... -P policy_without_test.cmake: configuring stops at a policy that has no test.
set(tree ${WORK}/policy_without_test)
file(REMOVE_RECURSE ${tree})
file(COPY ${ROOT}/CMakeLists.txt ${ROOT}/include ${ROOT}/tests DESTINATION ${tree})
file(WRITE ${tree}/include/heed/policies/foo.hpp "#pragma once\n")
execute_process(COMMAND ${CMAKE_COMMAND} -S ${tree} -B ${tree}/build -G ${GENERATOR} -DCMAKE_MAKE_PROGRAM=${MAKE}
  -DCMAKE_CXX_COMPILER=${CXX} -DCMAKE_DISABLE_FIND_PACKAGE_Eigen3=ON -DFETCHCONTENT_SOURCE_DIR_EIGEN3=${tree}
  RESULT_VARIABLE failed OUTPUT_QUIET ERROR_VARIABLE errors)
if(NOT failed OR NOT errors MATCHES "policy 'foo' has no test")
  message(FATAL_ERROR "expected: policy 'foo' has no test\n${errors}")
endif()
