// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>

namespace heed {

/// How many (query, key) pairs a pattern holds for n_q queries and n_k keys: what an exact kernel has to compute.
template <KeyPattern Pattern>
Index visible_pairs(const Pattern& pattern, Index n_q, Index n_k) {
  Index pairs = 0;
  for (Index i = 0; i < n_q; ++i) for_each_seen(pattern, i + n_k - n_q, n_k, [&](Range keys) { pairs += keys.size(); });
  return pairs;
}

}  // namespace heed
