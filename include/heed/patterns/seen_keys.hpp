// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>

namespace heed {

/// Refinement: a pattern of few and scattered keys, which names those of one query without a search.
///
/// - `for_each_seen(p, n_k, f)` calls f(Range) for disjoint ranges that hold exactly the keys in [0, n_k) which the query
///   at p sees.
template <class T>
concept NamingPattern = KeyPattern<T> && requires(const T t, Index p, Index n_k, void (*f)(Range)) {
  t.for_each_seen(p, n_k, f);
};

/// The same for every pattern: one that does not name them is asked for its ranges, and key by key.
template <KeyPattern Pattern, class F>
void for_each_seen(const Pattern& pattern, Index p, Index n_k, const F& f) {
  if constexpr (NamingPattern<Pattern>) {
    pattern.for_each_seen(p, n_k, f);
  } else {
    Ranges named;
    pattern.keys({p, p + 1}, n_k, named);
    for (const Range range : named) {
      const Range keys = intersect(range, {0, n_k});
      if (keys.empty()) continue;
      if (pattern.all({p, p + 1}, keys)) {
        f(keys);
      } else {
        for (Index j = keys.begin; j < keys.end; ++j)
          if (pattern.sees(p, j)) f(Range{j, j + 1});
      }
    }
  }
}

}  // namespace heed
