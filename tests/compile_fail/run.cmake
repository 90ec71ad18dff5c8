# SPDX-FileCopyrightText: 2026 The heed authors
# SPDX-License-Identifier: MIT
# cmake -DROOT= -DSOURCE= -DCXX= -DEIGEN_INCLUDES= -P run.cmake: SOURCE compiles; with HEED_SHOULD_FAIL it does not, and
# the compiler says why. In the source, `// expect: regex` is what it says, `// flags: ...` are for the second run only.
list(TRANSFORM EIGEN_INCLUDES PREPEND -I)
set(compile ${CXX} -std=c++20 -fsyntax-only -I${ROOT}/include ${EIGEN_INCLUDES} ${SOURCE})
set(ENV{LC_ALL} C) # messages in English, with plain quotes
file(READ ${SOURCE} text)
if(NOT text MATCHES "// expect: ([^\n]+)")
  message(FATAL_ERROR "${SOURCE} has no line '// expect: regex'")
endif()
set(expected "${CMAKE_MATCH_1}")
set(flags)
if(text MATCHES "// flags: ([^\n]+)")
  separate_arguments(flags UNIX_COMMAND "${CMAKE_MATCH_1}")
endif()

execute_process(COMMAND ${compile} RESULT_VARIABLE failed ERROR_VARIABLE errors)
if(failed)
  message(FATAL_ERROR "${SOURCE} should compile as it is:\n${errors}")
endif()
execute_process(COMMAND ${compile} -DHEED_SHOULD_FAIL ${flags} RESULT_VARIABLE failed ERROR_VARIABLE errors)
if(NOT failed)
  message(FATAL_ERROR "${SOURCE} should not compile with HEED_SHOULD_FAIL")
elseif(NOT errors MATCHES "${expected}")
  message(FATAL_ERROR "${SOURCE} should fail with '${expected}', and fails with:\n${errors}")
endif()
