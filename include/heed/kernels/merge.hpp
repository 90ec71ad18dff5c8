// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/fields.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace heed {

/// Merges results over disjoint sets of keys, for one row: `o [n]` and `lse` become those over both. With
/// L = log(e^La + e^Lb), o = e^(La - L) oa + e^(Lb - L) ob; where one sees nothing it is the other's, unchanged.
template <class S>
void merge_row(S* o, S& lse, const S* other, S other_lse, Index n) {
  constexpr S nothing = -std::numeric_limits<S>::infinity();
  if (other_lse == nothing) return;
  if (lse == nothing) {
    std::copy_n(other, n, o);
    lse = other_lse;
    return;
  }
  const bool more = lse > other_lse;
  const S m = more ? lse : other_lse, less = std::exp((more ? other_lse : lse) - m), sum = S(1) + less;
  const S a = (more ? S(1) : less) / sum, b = (more ? less : S(1)) / sum;
  for (Index e = 0; e < n; ++e) o[e] = a * o[e] + b * other[e];
  lse = m + std::log(sum);
}

/// The same for all rows: `a` becomes the result over both.
template <class S>
void merge(Out<S> a, ConstOut<S> b) {
  for (Index i = 0; i < a.o.rows(); ++i)
    merge_row(a.o.data() + i * a.o.outerStride(), a.lse(i), b.o.data() + i * b.o.outerStride(), b.lse(i), a.o.cols());
}

}  // namespace heed
