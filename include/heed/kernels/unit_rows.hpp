// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/kernels/softmax_backward.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace heed::detail {

/// k = q / |q|; gives |q|. Right for every finite q, however large or small: squares that leave the range are taken of
/// q / max |q|. A zero vector gives k = 0, one that is not finite NaN.
template <class S>
S unit_row(const S* q, Index d, S* k) {
  // From here on what underflows in the squares is less than their rounding.
  constexpr S small = std::numeric_limits<S>::min() / std::numeric_limits<S>::epsilon();
  const S square = dot_product(q, q, d);
  if (square >= small && square <= std::numeric_limits<S>::max()) {
    const S norm = std::sqrt(square), inverse = S(1) / norm;
    for (Index e = 0; e < d; ++e) k[e] = q[e] * inverse;
    return norm;
  }
  S top = 0;
  bool finite = true;
  for (Index e = 0; e < d; ++e) {
    top = std::max(top, std::abs(q[e]));
    finite = finite && std::isfinite(q[e]);
  }
  if (top == 0 || !finite) {
    const S all = finite ? S(0) : std::numeric_limits<S>::quiet_NaN();
    std::fill_n(k, d, all);
    return all;
  }
  for (Index e = 0; e < d; ++e) k[e] = q[e] / top;
  const S norm = std::sqrt(dot_product(k, k, d));
  for (Index e = 0; e < d; ++e) k[e] /= norm;
  return top * norm;
}

/// dq += (dk - k (k.dk)) / |q|; a zero vector takes no gradient.
template <class S>
void unit_row_backward(const S* k, S norm, const S* dk, Index d, S* dq) {
  if (norm == S(0)) return;
  const S along = dot_product(k, dk, d);
  for (Index e = 0; e < d; ++e) dq[e] += (dk[e] - k[e] * along) / norm;
}

}  // namespace heed::detail
