# SPDX-FileCopyrightText: 2026 The heed authors
# SPDX-License-Identifier: MIT
#
# The program of the benchmarks as its users meet it: names, bad arguments, a case, the report.
# PROGRAM: heed_benchmarks. ROOT: the repository. WORK: a folder to work in.
set(work ${WORK}/benchmarks)
file(REMOVE_RECURSE ${work})
file(MAKE_DIRECTORY ${work})

function(run expected_code expected_output)
  execute_process(COMMAND ${PROGRAM} ${ARGN} WORKING_DIRECTORY ${work} RESULT_VARIABLE code OUTPUT_VARIABLE out
    ERROR_VARIABLE error)
  if(NOT code EQUAL expected_code)
    message(SEND_ERROR "heed_benchmarks ${ARGN}\nexit code ${expected_code} expected, came ${code}\n${out}${error}")
  elseif(NOT "${out}${error}" MATCHES "${expected_output}")
    message(SEND_ERROR "heed_benchmarks ${ARGN}\n'${expected_output}' expected, came\n${out}${error}")
  endif()
  set(out "${out}" PARENT_SCOPE)
endfunction()

# --- every name is pass, policy and key:value pairs, and comes once ----------------------------------------------------
foreach(suite compare series full bars peers)
  run(0 "forward/Tiled/heads:8/n:" --list --suite=${suite})
  string(STRIP "${out}" names)
  string(REPLACE "\n" ";" names "${names}")
  list(LENGTH names count)
  list(REMOVE_DUPLICATES names)
  list(LENGTH names different)
  if(NOT count EQUAL different)
    message(SEND_ERROR "suite ${suite}: some names come twice")
  endif()
  foreach(name IN LISTS names)
    set(pairs "(/[a-z_]+:[^/:]+)*")
    if(NOT name MATCHES "^((forward|backward|decode)/[A-Z][A-Za-z0-9]*${pairs}/heads:[0-9]+(/kv_heads:[0-9]+)?/n:[0-9]+(/workers:[0-9]+)?(/causal)?|(product|bandwidth|fma|norm|encoder|train)(/[a-z_]+)?${pairs})$")
      message(SEND_ERROR "suite ${suite}: '${name}' is no name of a case")
    endif()
  endforeach()
endforeach()

# --- what makes no sense is refused by name, and nothing is written ----------------------------------------------------
file(WRITE ${work}/empty.txt "")
run(2 "--text: .*'missing.txt', which does not exist" --text=missing.txt --out=out)
run(2 "--text: .*'missing.txt', which does not exist" --text missing.txt --out out)
run(2 "--text: .*'empty.txt', which is empty" --text=empty.txt --out=out)
run(2 "--text: .*'.', which is a folder" --text=. --out=out)
run(2 "--text: a value expected" --text= --out=out)
run(2 "--suite: compare, series, full, bars or peers expected, came 'some'" --suite=some --out=out)
run(2 "--cases: a regular expression expected" "--cases=(" --out=out)
run(2 "--cases: no case of suite compare matches 'Nothing'" --cases=Nothing --out=out)
run(2 "'--txt=x': no such argument" --txt=x --out=out)
run(2 "'--benchmark_nothing': no such argument" --benchmark_nothing --out=out)
run(2 "--report: the results.json of an earlier run expected" --report=empty.txt --out=out)
run(2 "--report: needs --out" --report=${ROOT}/tests/benchmarks/results.json)
if(EXISTS ${work}/out)
  message(SEND_ERROR "a refused call has written to its folder")
endif()
file(WRITE ${work}/file "")
run(2 "--out: cannot make the folder" --out=file/out)
run(0 "--text=FILE" --help)

# --- the report of known results ---------------------------------------------------------------------------------------
run(0 "report: " --report=${ROOT}/tests/benchmarks/results.json --out=known)
file(READ ${work}/known/report/index.html page)
# Window: twice as slow at 256, twice as fast at 1024, so both meet half-way between on logarithmic axes, at 512.
foreach(part "<td>Dense</td><td class=\"text \">never up to 1024</td>" "<td>Window/w:64</td>"
    "from about 512</td><td>2.00× at 1024" "A &lt;processor&gt; &amp; more" "forward/Broken/heads:8/n:256"
    "a relative error of 0.5" "prefers-color-scheme: dark" "\"title\":\"forward, 8 heads\"")
  string(FIND "${page}" "${part}" at)
  if(at EQUAL -1)
    message(SEND_ERROR "the report does not hold '${part}'")
  endif()
endforeach()
if(page MATCHES "(src|href)=|@import|url\\(|{{")
  message(SEND_ERROR "the report needs something else, or a mark in it was not replaced: '${CMAKE_MATCH_0}'")
endif()

# --- one real case: slow builds are refused no time, only the numbers may be poor --------------------------------------
file(WRITE ${work}/text.txt "Attention is what the mind takes possession of.\n")
execute_process(COMMAND ${PROGRAM} --cases=^forward/Tiled/heads:8/n:256 --text=text.txt --out=run
  --benchmark_min_time=0.01 WORKING_DIRECTORY ${work} RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE error)
file(READ ${work}/run/results.json results)
string(JSON first GET "${results}" benchmarks 0 name)
string(JSON bytes GET "${results}" context "text bytes")
if(NOT first STREQUAL "forward/Tiled/heads:8/n:256" OR NOT bytes EQUAL 48 OR NOT EXISTS ${work}/run/report/index.html)
  message(SEND_ERROR "a run left no results: ${out}${error}")
endif()
if(NOT out MATCHES "\\[1/2\\] +forward/Tiled/heads:8/n:256 ")
  message(SEND_ERROR "no line of progress: ${out}${error}")
endif()
if("${out}${error}" MATCHES "wrong: ")
  message(SEND_ERROR "a wrong result: ${out}${error}")
endif()
