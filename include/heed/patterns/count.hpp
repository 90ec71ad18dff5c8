// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>

namespace heed {

/// How many (query, key) pairs a pattern holds for n_q queries and n_k keys: what an exact kernel has to compute.
template <KeyPattern Pattern>
Index visible_pairs(const Pattern& pattern, Index n_q, Index n_k) {
  Index pairs = 0;
  Ranges ranges;
  for (Index i = 0; i < n_q; ++i) {
    const Index p = i + n_k - n_q;
    ranges.clear();
    pattern.keys({p, p + 1}, n_k, ranges);
    for (const Range range : ranges) {
      const Range keys = intersect(range, {0, n_k});
      if (keys.empty()) continue;
      if (pattern.all({p, p + 1}, keys)) {
        pairs += keys.size();
      } else {
        for (Index j = keys.begin; j < keys.end; ++j) pairs += pattern.sees(p, j) ? 1 : 0;
      }
    }
  }
  return pairs;
}

}  // namespace heed
