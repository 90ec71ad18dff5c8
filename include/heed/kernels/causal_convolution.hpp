// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/batch.hpp>
#include <heed/core/parallel.hpp>
#include <heed/core/types.hpp>
#include <heed/kernels/product.hpp>

#include <algorithm>

/// y_t = b + sum_{s < taps} x_{t-s} W_{taps-1-s} on the rows of segments, where x is 0 before its segment begins. W holds
/// the taps one below the other, the one of the row itself last: `[taps inputs, outputs]`. `b` is `[1, outputs]`, or
/// empty for none.
///
/// Each tap is one product per segment, of rows that are `s` apart; nothing is copied.

namespace heed {

namespace detail {
/// Calls f(s, w's first row) for every tap.
template <class F>
void for_each_tap(Index inputs, Index weights, const F& f) {
  for (Index s = 0, row = weights - inputs; row >= 0; ++s, row -= inputs) f(s, row);
}
}  // namespace detail

/// `past [segments (taps - 1), inputs]` holds the rows before each segment instead of zeros; null for none.
template <class S>
void causal_convolution(const std::vector<Segment>& segments, ConstView<S> x, const Matrix<S>& w, const Matrix<S>& b,
                        const Matrix<S>* past, View<S> y, Workers& workers) {
  const Index d = x.cols(), m = y.cols(), before = w.rows() / d - 1;
  detail::for_each_tap(d, w.rows(), [&](Index s, Index row) {
    const ConstView<S> tap = block(w, row, 0, d, m);
    if (s == 0) {
      for_each_run(segments, [&](Segment run) {
        View<S> rows = block(y, run.begin, 0, run.size, m);
        if (b.size() > 0) rows.rowwise() = b.row(0);
        parallel_product<Form::ab, S>(b.size() > 0 ? Into::add : Into::assign, block(x, run.begin, 0, run.size, d), tap,
                                      rows, workers);
      });
      return;
    }
    for (std::size_t i = 0; i < segments.size(); ++i) {
      const Segment all = segments[i];
      const Index first = std::min(s, all.size), left = all.size - first;
      if (past != nullptr)
        parallel_product<Form::ab, S>(Into::add, block(*past, (static_cast<Index>(i) + 1) * before - s, 0, first, d),
                                      tap, block(y, all.begin, 0, first, m), workers);
      parallel_product<Form::ab, S>(Into::add, block(x, all.begin, 0, left, d), tap,
                                    block(y, all.begin + first, 0, left, m), workers);
    }
  });
}

/// Adds to dw, db and dx, for a convolution without past.
template <class S>
void causal_convolution_backward(const std::vector<Segment>& segments, ConstView<S> x, const Matrix<S>& w,
                                 ConstView<S> dy, Matrix<S>& dw, Matrix<S>& db, View<S> dx, Workers& workers) {
  const Index d = x.cols(), m = dy.cols();
  detail::for_each_tap(d, w.rows(), [&](Index s, Index row) {
    for (const Segment all : segments) {
      const Index n = all.size - s;
      if (n <= 0) continue;
      const ConstView<S> dy_rows = block(dy, all.begin + s, 0, n, m);
      parallel_product<Form::atb, S>(Into::add, block(x, all.begin, 0, n, d), dy_rows, block(view(dw), row, 0, d, m),
                                     workers);
      parallel_product<Form::abt, S>(Into::add, dy_rows, block(w, row, 0, d, m), block(dx, all.begin, 0, n, d),
                                     workers);
      if (s == 0 && db.size() > 0)
        for (Index i = 0; i < n; ++i) db.row(0) += dy_rows.row(i);
    }
  });
}

/// The last rows of past and segments together become the past.
template <class S>
void remember_past(const std::vector<Segment>& segments, ConstView<S> x, Matrix<S>& past) {
  const Index before = segments.empty() ? 0 : past.rows() / static_cast<Index>(segments.size());
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const Index first = static_cast<Index>(i) * before, size = segments[i].size,
                kept = std::max<Index>(0, before - size);
    for (Index r = 0; r < kept; ++r) past.row(first + r) = past.row(first + r + size);
    for (Index r = kept; r < before; ++r) past.row(first + r) = x.row(segments[i].begin + size - before + r);
  }
}

}  // namespace heed
