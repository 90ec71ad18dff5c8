# SPDX-FileCopyrightText: 2026 The heed authors
# SPDX-License-Identifier: MIT
# cmake -DWORK=folder -P layering_planted.cmake: layering.cmake passes a good tree, and each planted fault is told.
set(root ${WORK}/layering)
set(spdx "// SPDX-FileCopyrightText: 2026 The heed authors\n// SPDX-License-Identifier: MIT\n")

# A good tree, with `text` in `file` instead of what belongs there; an empty `expected` means that it passes.
function(plant file text expected)
  file(REMOVE_RECURSE ${root})
  foreach(header core/a concepts patterns/a kernels/a kernels/b projections/a policies/a policies/b attention layers/a
      layers/b policies encoder train/a io/a heed)
    file(WRITE ${root}/include/heed/${header}.hpp "${spdx}#pragma once\n")
  endforeach()
  file(WRITE ${root}/${file} "${text}")
  execute_process(COMMAND ${CMAKE_COMMAND} -DROOT=${root} -P ${CMAKE_CURRENT_LIST_DIR}/layering.cmake
    RESULT_VARIABLE failed ERROR_VARIABLE errors)
  string(REGEX REPLACE "[ \n]+" " " errors "${errors}") # messages are wrapped
  if(NOT expected AND failed)
    message(SEND_ERROR "${file} should pass:\n${text}\n${errors}")
  elseif(expected AND NOT (failed AND errors MATCHES "${expected}"))
    message(SEND_ERROR "${file} should fail with '${expected}':\n${text}\n${errors}")
  endif()
endfunction()
function(plant_include from to expected)
  plant(include/heed/${from}.hpp "${spdx}#pragma once\n#include <heed/${to}.hpp>\n" "${expected}")
endfunction()

foreach(edge concepts:core/a kernels/a:kernels/b projections/a:kernels/a policies/a:patterns/a policies/a:projections/a
    attention:concepts layers/a:layers/b policies:policies/a encoder:attention io/a:core/a heed:policies)
  string(REPLACE : ";" edge ${edge})
  plant_include(${edge} "")
endforeach()
foreach(edge core/a:concepts concepts:kernels/a kernels/a:patterns/a patterns/a:kernels/a kernels/a:projections/a
    policies/a:policies/b policies/a:attention attention:policies/a layers/a:policies/a attention:policies layers/a:encoder policies:encoder
    io/a:heed heed:heed)
  string(REPLACE : ";" edge ${edge})
  plant_include(${edge} "only go downwards")
endforeach()
plant(include/heed/core/a.hpp "${spdx}#pragma once\n#include <Eigen/Core>\n" "")
plant_include(kernels/a kernels/gone "which is not there")
plant(include/heed/core/a.hpp "${spdx}#pragma once\n#include \"../concepts.hpp\"\n" "write #include <heed/")
plant(include/heed/core/a.hpp "${spdx}" "no #pragma once")
plant(include/heed/core/a.hpp "#pragma once\n" "two SPDX lines")
plant(include/heed/misc/a.hpp "${spdx}#pragma once\n" "'misc' has no level")
plant(include/heed/heed.hpp "${spdx}#pragma once\nnamespace heed {}\n" "the umbrella only includes")
plant(tests/a_test.cpp "int main() {}\n" "two SPDX lines")
