// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/require.hpp>
#include <heed/core/types.hpp>

#include <algorithm>
#include <cmath>
#include <optional>

namespace heed {

/// From a query and a key to their score: u = scale q.k, then t = cap tanh(u / cap) where a soft cap is set (0: none).
/// A score term adds to t.
template <class S>
struct Logits {
  S scale = 1, soft_cap = 0;

  S operator()(S dot) const {
    const S u = scale * dot;
    return soft_cap > 0 ? soft_cap * std::tanh(u / soft_cap) : u;
  }
  /// dt/du in terms of t.
  S slope(S t) const { return soft_cap > 0 ? 1 - (t / soft_cap) * (t / soft_cap) : S(1); }
};

/// From a policy's options: the scale is 1 / sqrt(d) unless given. Throws OptionError.
template <class S>
Logits<S> make_logits(std::optional<S> scale, S soft_cap, Index key_dim) {
  require<OptionError>(!scale || std::isfinite(*scale), "options.scale: a finite number expected, came ",
                       scale.value_or(S(0)));
  require<OptionError>(std::isfinite(soft_cap) && soft_cap >= 0,
                       "options.soft_cap: 0 (none) or a positive number expected, came ", soft_cap);
  return {scale.value_or(1 / std::sqrt(static_cast<S>(std::max<Index>(key_dim, 1)))), soft_cap};
}

}  // namespace heed
