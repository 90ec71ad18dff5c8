// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/types.hpp>

#include <algorithm>

namespace heed {

/// Queries and keys whose positions are equal modulo `step`: rows `query + step t` for t in [0, queries), and rows
/// `key + step t` for t in [0, keys). The last query stands at the last key, as in the whole.
struct Residue {
  Index query = 0, queries = 0, key = 0, keys = 0, step = 1;

  /// The `count` rows of m from `first` on, every step-th, without a copy.
  template <class V>
  V rows(V m, Index first, Index count) const {
    return {m.data() + (count > 0 ? first * m.outerStride() : 0), count, m.cols(),
            Eigen::OuterStride<>(m.outerStride() * step)};
  }
  template <class V>
  V of_queries(V m) const {
    return rows(m, query, queries);
  }
  template <class V>
  V of_keys(V m) const {
    return rows(m, key, keys);
  }
};

/// Calls f(Residue) for the classes that cut n_q queries and n_k keys, at positions i + n_k - n_q and j, into problems
/// that share no query. Steps beyond all positions count as one that is.
template <class F>
void for_each_residue(Index step, Index n_q, Index n_k, F&& f) {
  step = std::min(step, std::max<Index>(n_q + n_k, 1));
  const auto count = [&](Index n) { return n > 0 ? (n + step - 1) / step : 0; };
  for (Index query = 0; query < std::min(step, n_q); ++query) {
    const Index key = ((query + n_k - n_q) % step + step) % step;
    f(Residue{query, count(n_q - query), key, count(n_k - key), step});
  }
}

}  // namespace heed
