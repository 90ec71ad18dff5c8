// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include "fma_peak.hpp"
#include "inputs.hpp"

#include <build_facts.hpp>  // made by CMake: compiler, flags, commit

#include <cstdio>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <thread>

/// Under what conditions the numbers of a run came about.

namespace heed::bench {

inline std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name") && line.find(": ") != line.npos) return line.substr(line.find(": ") + 2);
  return "unknown";
}

inline std::map<std::string, std::string> facts(std::string_view suite, const Text& text) {
  FmaPeak peak;
  peak.sample(10);
  char rate[32];
  std::snprintf(rate, sizeof rate, "%.1f GFLOP/s", 2e-9 * peak.best());
  const auto number = [](auto x) { return std::to_string(x); };
  return {
      {"suite", std::string(suite)},
      {"commit", *HEED_COMMIT == '\0' ? "unknown" : HEED_COMMIT},
      {"compiler", HEED_COMPILER},
      {"flags", HEED_FLAGS},
      {"build", HEED_BUILD_TYPE},
      {"processor", processor()},
      {"cores", number(std::thread::hardware_concurrency())},
      {"peak of one core", rate},
      {"instruction sets", Eigen::SimdInstructionSetsInUse()},
      {"floats per vector", number(detail::lanes<float>)},
      {"Eigen", number(EIGEN_WORLD_VERSION) + "." + number(EIGEN_MAJOR_VERSION) + "." + number(EIGEN_MINOR_VERSION)},
#ifdef _OPENMP
      {"threads", "OpenMP, one unless a case says workers"},
#else
      {"threads", "one: compiled without OpenMP"},
#endif
      {"text", text.path},
      {"text bytes", number(text.bytes.size())},
  };
}

}  // namespace heed::bench
