// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/fields.hpp>

#include <cmath>
#include <limits>

namespace heed {

/// Merges results over disjoint sets of keys: `a` becomes the result over both. With L = log(e^La + e^Lb), o = e^(La -
/// L) oa + e^(Lb - L) ob; a row that one of them does not see is the other's, unchanged.
template <class S>
void merge(Out<S> a, ConstOut<S> b) {
  constexpr S nothing = -std::numeric_limits<S>::infinity();
  for (Index i = 0; i < a.o.rows(); ++i) {
    if (b.lse(i) == nothing) continue;
    if (a.lse(i) == nothing) {
      a.o.row(i) = b.o.row(i);
      a.lse(i) = b.lse(i);
      continue;
    }
    const S m = a.lse(i) > b.lse(i) ? a.lse(i) : b.lse(i);
    const S wa = std::exp(a.lse(i) - m), wb = std::exp(b.lse(i) - m), sum = wa + wb;
    a.o.row(i) = (wa / sum) * a.o.row(i) + (wb / sum) * b.o.row(i);
    a.lse(i) = m + std::log(sum);
  }
}

}  // namespace heed
