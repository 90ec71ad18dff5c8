// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/kernels/product.hpp>

#include <cmath>

namespace heed {

/// Scratch of `seen_product` over b `[rows, cols]`, besides that of the product.
template <class S>
std::size_t seen_product_scratch(Index rows, Index cols) {
  return Arena::size_of<S>(rows * cols);
}

/// A product with weights `a`, whose entries are exactly 0 where `seen(i, j)` is false (i a query, j a key; `a` is
/// [n_q, n_k] in both forms). What is not seen contributes nothing, not even NaN, though 0 * NaN is NaN: where `b`
/// holds a number that is not finite, the product is taken over a copy with 0 in its place, which has the same bits for
/// all who do not see it, and those who see it get it afterwards.
template <Form form, class S, class Seen>
void seen_product(Into into, ConstView<S> a, ConstView<S> b, View<S> c, const Seen& seen, Arena& scratch) {
  static_assert(form == Form::ab || form == Form::atb);
  if (b.allFinite()) return product<form, S>(into, a, b, c, scratch);
  const Arena::Frame frame(scratch);
  View<S> finite = scratch.matrix<S>(b.rows(), b.cols());
  finite = b.unaryExpr([](S x) { return std::isfinite(x) ? x : S(0); });
  product<form, S>(into, a, view(finite), c, scratch);
  for (Index k = 0; k < b.rows(); ++k)
    for (Index col = 0; col < b.cols(); ++col) {
      if (std::isfinite(b(k, col))) continue;
      for (Index row = 0; row < c.rows(); ++row) {
        const Index i = form == Form::ab ? row : k, j = form == Form::ab ? k : row;
        if (seen(i, j)) c(row, col) += a(i, j) * b(k, col);
      }
    }
}

}  // namespace heed
