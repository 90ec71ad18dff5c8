// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/core/random.hpp>
#include <verdict.hpp>

#include <algorithm>
#include <vector>

/// A pattern's answers agree: its ranges cover all that it sees, what it calls seen by all is, and what it names for one
/// query is what that sees, each key once. For blocks of positions that begin before the first key and end after the
/// last.
template <heed::KeyPattern Pattern>
Verdict answers_agree(const Pattern& pattern, heed::Index longest) {
  using heed::Index, heed::Range, heed::Ranges;
  Verdict v;
  heed::Random random(3);
  for (int round = 0; round < 400; ++round) {
    const Index n_k = random.below(longest) + 1;
    const Range positions{random.below(n_k + 4) - 3, 0};
    const Range block{positions.begin, positions.begin + 1 + random.below(round % 2 == 0 ? 3 : 60)};
    Ranges ranges;
    pattern.keys(block, n_k, ranges);
    for (Index p = block.begin; p < block.end; ++p)
      for (Index j = 0; j < n_k; ++j) {
        if (!pattern.sees(p, j)) continue;
        bool covered = false;
        for (const Range r : ranges) covered = covered || (r.begin <= j && j < r.end);
        v.expect(covered, "position ", p, " sees key ", j, " of ", n_k, ", which no range of [", block.begin, ", ",
                 block.end, ") covers");
      }
    if (block.begin < n_k) {
      std::vector<int> times(static_cast<std::size_t>(n_k), 0);
      heed::for_each_seen(pattern, block.begin, n_k, [&](Range r) {
        v.expect(!r.empty() && r.begin >= 0 && r.end <= n_k, "position ", block.begin, " names [", r.begin, ", ", r.end,
                 ") of ", n_k, " keys");
        for (Index j = std::max<Index>(r.begin, 0); j < std::min(r.end, n_k); ++j) ++times[static_cast<std::size_t>(j)];
      });
      for (Index j = 0; j < n_k; ++j)
        v.expect(times[static_cast<std::size_t>(j)] == (pattern.sees(block.begin, j) ? 1 : 0), "position ", block.begin,
                 " names key ", j, " of ", n_k, " ", times[static_cast<std::size_t>(j)], " times");
    }
    const Index begin = random.below(n_k);
    const Range keys{begin, begin + 1 + random.below(std::min<Index>(n_k - begin, 70))};
    if (pattern.all(block, keys))
      for (Index p = block.begin; p < block.end; ++p)
        for (Index j = keys.begin; j < keys.end; ++j)
          v.expect(pattern.sees(p, j), "all([", block.begin, ", ", block.end, "), [", keys.begin, ", ", keys.end,
                   ")) is true, but position ", p, " does not see key ", j);
  }
  return v;
}

/// It sees exactly what `rule(p, j)` says, for all positions and keys below `longest`.
template <heed::KeyPattern Pattern, class Rule>
Verdict sees_exactly(const Pattern& pattern, heed::Index longest, const Rule& rule) {
  Verdict v;
  for (heed::Index p = -3; p < longest; ++p)
    for (heed::Index j = 0; j < longest; ++j)
      v.expect(pattern.sees(p, j) == rule(p, j), "position ", p, rule(p, j) ? " does not see key " : " sees key ", j);
  return v;
}
