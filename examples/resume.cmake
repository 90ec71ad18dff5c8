# SPDX-FileCopyrightText: 2026 The heed authors
# SPDX-License-Identifier: MIT
# TRAIN: the program and its arguments. FILE: where weights may be kept.
file(REMOVE ${FILE}.whole ${FILE}.parts)
function(train)
  execute_process(COMMAND ${TRAIN} ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()
train(--model=${FILE}.whole)
train(--model=${FILE}.parts --stop=3)
train(--model=${FILE}.parts)
execute_process(COMMAND ${CMAKE_COMMAND} -E compare_files ${FILE}.whole ${FILE}.parts COMMAND_ERROR_IS_FATAL ANY)
