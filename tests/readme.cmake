# SPDX-FileCopyrightText: 2026 The heed authors
# SPDX-License-Identifier: MIT
# cmake -DROOT=folder [-DTABLE=program] [-DPICTURES=program -DWORK=folder] -P readme.cmake: what the README shows is what is there.
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

# The pictures are those that the example draws.
if(PICTURES)
  file(REMOVE_RECURSE ${WORK}/pictures)
  file(MAKE_DIRECTORY ${WORK}/pictures)
  execute_process(COMMAND ${PICTURES} ${WORK}/pictures OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
  file(GLOB pictures RELATIVE ${WORK}/pictures ${WORK}/pictures/*.svg)
  foreach(picture IN LISTS pictures)
    file(READ ${WORK}/pictures/${picture} drawn)
    set(shown)
    if(EXISTS ${ROOT}/examples/pictures/${picture})
      file(READ ${ROOT}/examples/pictures/${picture} shown)
    endif()
    if(NOT drawn STREQUAL shown OR NOT readme MATCHES "examples/pictures/${picture}")
      message(SEND_ERROR "examples/pictures/${picture} is not what pattern_pictures draws, or README.md does not show it")
    endif()
  endforeach()
endif()

# What CI runs: <!-- command: name --> stands before a block with one command.
foreach(name compare test)
  if(NOT readme MATCHES "<!-- command: ${name} -->\n```sh\n[^`]*cmake --workflow --preset ${name}\n```\n")
    message(SEND_ERROR "README.md: no block marked <!-- command: ${name} --> that ends in its workflow")
  endif()
endforeach()
