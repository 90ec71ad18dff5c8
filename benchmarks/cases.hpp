// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include "inputs.hpp"
#include "measure.hpp"
#include "names.hpp"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

/// What is measured.

namespace heed::bench {

struct Case {
  Name name;
  double min_time = 0;                     ///< seconds, of timed runs
  std::function<Job(const Text&)> make{};  ///< may throw
};

/// compare: how the variants' forward grows with the length, in a few minutes. full: everything. bars: what the speed
/// of the exact kernels is judged by. peers: what other libraries are timed against.
inline constexpr std::string_view suites[] = {"compare", "full", "bars", "peers"};

/// The cases of a suite, made from the registry, in the order in which they run: neighbours are what is compared.
std::vector<Case> cases(std::string_view suite);

}  // namespace heed::bench
