// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/kernels/product.hpp>

#include <cmath>

namespace heed {

/// A product with weights `a`, whose entries are exactly 0 where `seen(i, j)` is false (i a query, j a key; `a` is
/// [n_q, n_k] in both forms). What is not seen contributes nothing, not even NaN: 0 * NaN is NaN, so where `b` holds
/// one the sum is taken element by element, in the order of the product and hence with the same bits.
template <Form form, class S, class Seen>
void seen_product(Into into, ConstView<S> a, ConstView<S> b, View<S> c, const Seen& seen, Arena& scratch) {
  static_assert(form == Form::ab || form == Form::atb);
  if (b.allFinite()) return product<form, S>(into, a, b, c, scratch);
  for (Index row = 0; row < c.rows(); ++row)
    for (Index col = 0; col < c.cols(); ++col) {
      S sum = into == Into::add ? c(row, col) : S(0);
      for (Index k = 0; k < b.rows(); ++k) {
        const Index i = form == Form::ab ? row : k, j = form == Form::ab ? k : row;
        if (seen(i, j)) sum = std::fma(a(i, j), b(k, col), sum);
      }
      c(row, col) = sum;
    }
}

}  // namespace heed
