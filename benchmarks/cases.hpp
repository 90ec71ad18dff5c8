// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include "inputs.hpp"
#include "measure.hpp"
#include "names.hpp"

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

/// What is measured.

namespace heed::bench {

struct Case {
  Name name;
  bool detail = false;                     ///< of a series (rounds, features, rank): not in every suite
  double min_time = 0;                     ///< seconds, of timed runs
  std::function<Job(const Text&)> make{};  ///< may throw
};

/// compare: how the variants' forward grows with the length, in a few minutes. series: how error and time of a variant
/// move with its rounds, features or rank. full: everything. bars: what the speed is judged by. peers: what other
/// libraries are timed against.
inline constexpr std::string_view suites[] = {"compare", "series", "full", "bars", "peers"};

/// Adds every case of the policy that stands at `i` in the registry.
template <std::size_t i>
void add_policy_at(std::vector<Case>& all);
/// Adds what is measured beside the registry: no attention at all, and a pattern of a user's own.
void add_beside(std::vector<Case>& all);

/// The cases of a suite, made from the registry, in the order in which they run: neighbours are what is compared.
std::vector<Case> cases(std::string_view suite);

}  // namespace heed::bench
