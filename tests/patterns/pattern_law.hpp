// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/core/random.hpp>
#include <verdict.hpp>

/// A pattern's three answers agree: its ranges cover all that it sees, and what it calls seen by all is. For blocks of
/// positions that begin before the first key and end after the last.
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
