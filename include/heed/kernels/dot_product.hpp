// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/simd.hpp>

namespace heed::detail {

/// sum_e a[e] b[e], in an order that depends on n only.
template <class S>
S dot_product(const S* a, const S* b, Index n) {
  Packet<S> sum = broadcast(S(0));
  Index e = 0;
  for (; e + lanes<S> <= n; e += lanes<S>) sum = pmadd(load(a + e), load(b + e), sum);
  S total = sum_of_lanes<S>(sum);
  for (; e < n; ++e) total += a[e] * b[e];
  return total;
}

}  // namespace heed::detail
