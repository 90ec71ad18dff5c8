// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include "cases.hpp"
#include "inputs.hpp"

#include <algorithm>
#include <iterator>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

/// The command line.

namespace heed::bench {

inline constexpr const char* help = R"(heed_benchmarks: which attention pays off, and from which length on

  --suite=SUITE   compare (default): forward of every variant, 8 heads, five lengths, a few minutes
                  series: error and time of the approximations by rounds, features, rank
                  full: everything; bars: what the speed is judged by; peers: what benchmarks/peers times
  --out=DIR       writes DIR/results.json and DIR/report/index.html; without it nothing is written
  --text=FILE     the text whose bytes are attended to; default: a licence text of the system
  --cases=REGEX   only the cases of the suite whose name has a match
  --list          prints the names of these cases, and runs none
  --report=FILE   runs nothing: makes the report in DIR again from the results in FILE
  --help          prints this
  --benchmark_... flags of Google Benchmark, such as --benchmark_min_time and --benchmark_repetitions

A value may also follow its flag as the next word. Exit code: 0; 1 if a case was refused, because its result or its speed
cannot be right; 2 if an argument makes no sense, and then nothing is written.

Names are <pass>/<Policy>[/<option>:<value>...]/heads:<h>[/kv_heads:<g>]/n:<n>[/workers:<t>][/causal]. Counters: `seconds`
is the fastest run, `of_peak` useful multiply-adds per second over what a core (times workers) can do at most, measured
right beside the case; `error` is relative to dense attention in double on sampled rows,
`of_dense` the multiply-adds over those of dense attention.
)";

struct Arguments {
  std::string suite = "compare", out{}, text{}, report{};
  std::string pattern{};
  bool list = false, help = false;
  std::vector<std::string> rest{};  ///< for Google Benchmark, the program's name first

  std::vector<Case> cases() const {
    std::vector<Case> chosen = bench::cases(suite);
    std::regex pick;
    try {
      pick = std::regex(pattern);
    } catch (const std::regex_error&) {
      throw UsageError("--cases: a regular expression expected, came '" + pattern + "'");
    }
    if (!pattern.empty()) std::erase_if(chosen, [&](const Case& c) { return !std::regex_search(c.name.text(), pick); });
    if (chosen.empty()) throw UsageError("--cases: no case of suite " + suite + " matches '" + pattern + "'");
    return chosen;
  }
};

inline Arguments parse(int argc, char** argv) {
  Arguments a;
  a.rest.emplace_back(argv[0]);
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const auto value = [&](std::string_view flag, std::string& to) {
      if (!word.starts_with(flag)) return false;
      if (word.size() > flag.size() && word[flag.size()] != '=') return false;
      if (word.size() > flag.size())
        to = word.substr(flag.size() + 1);
      else if (i + 1 < argc)
        to = argv[++i];
      if (to.empty()) throw UsageError(std::string(flag) + ": a value expected, came none");
      return true;
    };
    if (value("--suite", a.suite) || value("--out", a.out) || value("--text", a.text) || value("--report", a.report) ||
        value("--cases", a.pattern))
      continue;
    if (word == "--list")
      a.list = true;
    else if (word == "--help" || word == "-h")
      a.help = true;
    else if (word.starts_with("--benchmark_") || word.starts_with("--v="))
      a.rest.emplace_back(word);
    else
      throw UsageError("'" + std::string(word) + "': no such argument; --help tells which there are");
  }
  if (std::find(std::begin(suites), std::end(suites), a.suite) == std::end(suites))
    throw UsageError("--suite: compare, series, full, bars or peers expected, came '" + a.suite + "'");
  if (!a.report.empty() && a.out.empty()) throw UsageError("--report: needs --out=DIR, the folder to write to");
  return a;
}

}  // namespace heed::bench
