# SPDX-FileCopyrightText: 2026 The heed authors
# SPDX-License-Identifier: MIT
# cmake -DROOT=folder [-DTABLE=program] -P readme.cmake: what the README shows is what is there.
file(READ ${ROOT}/README.md readme)

function(expect where text)
  string(FIND "${readme}" "${text}" at)
  if(at EQUAL -1)
    message("${text}") # as it is: an error would be wrapped
    message(SEND_ERROR "README.md: ${where} should be the text above")
  endif()
endfunction()

if(readme MATCHES "@[a-z_]+@")
  message(SEND_ERROR "README.md: ${CMAKE_MATCH_0} is not filled in")
endif()

# <!-- examples/name.cpp --> stands before a block with that file, word for word, less its licence lines.
foreach(example examples/quickstart.cpp examples/custom_policy.cpp)
  if(NOT EXISTS ${ROOT}/${example})
    message(SEND_ERROR "there is no ${example}")
    continue()
  endif()
  file(READ ${ROOT}/${example} code)
  string(REGEX REPLACE "^(// SPDX[^\n]*\n)+\n*" "" code "${code}")
  expect("the block of ${example}" "<!-- ${example} -->\n```cpp\n${code}```\n")
endforeach()

# The program prints the table of variants from the registry.
if(TABLE)
  execute_process(COMMAND ${TABLE} OUTPUT_VARIABLE table COMMAND_ERROR_IS_FATAL ANY)
  expect("the table of variants" "<!-- variants -->\n${table}<!-- /variants -->\n")
endif()

# What CI runs: <!-- command: name --> stands before a block with one command.
foreach(name compare test)
  if(NOT readme MATCHES "<!-- command: ${name} -->\n```sh\n[^`]*cmake --workflow --preset ${name}\n```\n")
    message(SEND_ERROR "README.md: no block marked <!-- command: ${name} --> that ends in its workflow")
  endif()
endforeach()
