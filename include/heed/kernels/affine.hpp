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

/// y = x W + b on all rows.
template <class S>
void affine_rows(ConstView<S> x, const Matrix<S>& w, const Matrix<S>& b, View<S> y, Workers& workers) {
  if (b.size() > 0) y.rowwise() = b.row(0);
  parallel_product<Form::ab, S>(b.size() > 0 ? Into::add : Into::assign, x, view(w), y, workers);
}

/// Adds to dw += x^T dy and db += 1^T dy; dx (+)= dy W^T.
template <class S>
void affine_rows_backward(ConstView<S> x, const Matrix<S>& w, ConstView<S> dy, Matrix<S>& dw, Matrix<S>& db, Into into,
                          View<S> dx, Workers& workers) {
  parallel_product<Form::atb, S>(Into::add, x, dy, view(dw), workers);
  parallel_product<Form::abt, S>(into, dy, view(w), dx, workers);
  if (db.size() > 0)
    for (Index i = 0; i < dy.rows(); ++i) db.row(0) += dy.row(i);
}

/// y = x W + b
template <class S>
void affine(const std::vector<Segment>& segments, ConstView<S> x, const Matrix<S>& w, const Matrix<S>& b, View<S> y,
            Workers& workers) {
  for_each_run(segments, [&](Segment run) {
    affine_rows<S>(block(x, run.begin, 0, run.size, x.cols()), w, b, block(y, run.begin, 0, run.size, y.cols()),
                   workers);
  });
}

/// Adds to dw += x^T dy, db += 1^T dy and dx += dy W^T.
template <class S>
void affine_backward(const std::vector<Segment>& segments, ConstView<S> x, const Matrix<S>& w, ConstView<S> dy,
                     Matrix<S>& dw, Matrix<S>& db, View<S> dx, Workers& workers) {
  for_each_run(segments, [&](Segment run) {
    affine_rows_backward<S>(block(x, run.begin, 0, run.size, x.cols()), w, block(dy, run.begin, 0, run.size, dy.cols()),
                            dw, db, Into::add, block(dx, run.begin, 0, run.size, dx.cols()), workers);
  });
}

}  // namespace heed
