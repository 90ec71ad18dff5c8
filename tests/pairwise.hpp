// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>
#include <set>
#include <utility>
#include <vector>

/// Rows of level indices in which every pair of levels of every two factors occurs at least once: option combinations
/// are generated, not listed by hand. Greedy: each row takes, factor by factor, the level that covers most pairs still
/// missing.
inline std::vector<std::vector<std::size_t>> pairwise(const std::vector<std::size_t>& levels) {
  struct Pair {
    std::size_t factor, level, other_factor, other_level;
    auto operator<=>(const Pair&) const = default;
  };
  std::set<Pair> missing;
  for (std::size_t f = 0; f < levels.size(); ++f)
    for (std::size_t g = f + 1; g < levels.size(); ++g)
      for (std::size_t a = 0; a < levels[f]; ++a)
        for (std::size_t b = 0; b < levels[g]; ++b) missing.insert({f, a, g, b});

  std::vector<std::vector<std::size_t>> rows;
  while (!missing.empty()) {
    // Start from a pair that is missing, so that every row makes progress.
    const Pair seed = *missing.begin();
    std::vector<std::size_t> row(levels.size(), levels.size() + 1000);
    std::vector<bool> set(levels.size(), false);
    row[seed.factor] = seed.level;
    row[seed.other_factor] = seed.other_level;
    set[seed.factor] = set[seed.other_factor] = true;
    for (std::size_t f = 0; f < levels.size(); ++f) {
      if (set[f]) continue;
      std::size_t best = 0, best_gain = 0;
      for (std::size_t i = 0; i < levels[f]; ++i) {
        const std::size_t level = (i + rows.size()) % levels[f];  // ties go round
        std::size_t gain = 0;
        for (std::size_t g = 0; g < levels.size(); ++g) {
          if (!set[g]) continue;
          gain += missing.count(g < f ? Pair{g, row[g], f, level} : Pair{f, level, g, row[g]});
        }
        if (i == 0 || gain > best_gain) best = level, best_gain = gain;
      }
      row[f] = best;
      set[f] = true;
    }
    for (std::size_t f = 0; f < levels.size(); ++f)
      for (std::size_t g = f + 1; g < levels.size(); ++g) missing.erase({f, row[f], g, row[g]});
    rows.push_back(row);
  }
  return rows;
}
