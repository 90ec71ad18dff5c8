// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>

#include <algorithm>

namespace heed {

/// Every key up to the query's own position, j <= p; with `on = false` every key.
struct Causal {
  bool on = true;
  void keys(Range positions, Index n_k, Ranges& ranges) const {
    ranges.add({0, on ? std::min(n_k, positions.end) : n_k});
  }
  bool sees(Index p, Index j) const { return !on || j <= p; }
  bool all(Range positions, Range keys) const { return !on || keys.end <= positions.begin + 1; }
};
static_assert(KeyPattern<Causal>);

}  // namespace heed
