# SPDX-FileCopyrightText: 2026 The heed authors
# SPDX-License-Identifier: MIT
# cmake -DHOW=package|subdirectory|fetchcontent|pkgconfig ... -P run.cmake: gets the library as HOW says, then
# configures, builds and runs the user's project beside this file.
set(work ${WORK}/consumer_${HOW})
file(REMOVE_RECURSE ${work})
function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

if(HOW MATCHES "package|pkgconfig")
  run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${work}/at_first)
  file(RENAME ${work}/at_first ${work}/prefix) # what is installed can be moved
  set(ENV{PKG_CONFIG_PATH} ${work}/prefix/share/pkgconfig)
endif()
run(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR} -B ${work}/build -G ${GENERATOR} -DCMAKE_MAKE_PROGRAM=${MAKE}
  -DCMAKE_CXX_COMPILER=${CXX} -DHOW=${HOW} -DHEED=${ROOT} -DCMAKE_PREFIX_PATH=${work}/prefix ${EIGEN})
run(${CMAKE_COMMAND} --build ${work}/build)
run(${work}/build/consumer)
