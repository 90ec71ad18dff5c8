// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/batch.hpp>
#include <heed/core/parallel.hpp>
#include <heed/core/types.hpp>
#include <heed/kernels/product.hpp>

#include <algorithm>

/// y = x W + b on the rows of segments: one product per run of adjacent segments. Padding rows are neither read nor
/// written, so whatever they hold reaches no result and no gradient. `b` is `[1, columns]`, or empty for none.

namespace heed {

template <class S>
std::size_t affine_scratch(Index rows, Index inputs, Index outputs) {
  return std::max({product_scratch<S>(Form::ab, rows, inputs, outputs),
                   product_scratch<S>(Form::atb, inputs, rows, outputs),
                   product_scratch<S>(Form::abt, rows, outputs, inputs)});
}

/// y = x W + b
template <class S>
void affine(const std::vector<Segment>& segments, ConstView<S> x, const Matrix<S>& w, const Matrix<S>& b, View<S> y,
            Workers& workers) {
  for_each_run(segments, [&](Segment run) {
    View<S> rows = block(y, run.begin, 0, run.size, y.cols());
    if (b.size() > 0) rows.rowwise() = b.row(0);
    parallel_product<Form::ab, S>(b.size() > 0 ? Into::add : Into::assign, block(x, run.begin, 0, run.size, x.cols()),
                                  view(w), rows, workers);
  });
}

/// Adds to dw += x^T dy, db += 1^T dy and dx += dy W^T.
template <class S>
void affine_backward(const std::vector<Segment>& segments, ConstView<S> x, const Matrix<S>& w, ConstView<S> dy,
                     Matrix<S>& dw, Matrix<S>& db, View<S> dx, Workers& workers) {
  for_each_run(segments, [&](Segment run) {
    const ConstView<S> dy_run = block(dy, run.begin, 0, run.size, dy.cols());
    parallel_product<Form::atb, S>(Into::add, block(x, run.begin, 0, run.size, x.cols()), dy_run, view(dw), workers);
    parallel_product<Form::abt, S>(Into::add, dy_run, view(w), block(dx, run.begin, 0, run.size, dx.cols()), workers);
    if (db.size() > 0)
      for (Index i = 0; i < run.size; ++i) db.row(0) += dy_run.row(i);
  });
}

}  // namespace heed
