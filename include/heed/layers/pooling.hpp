// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/batch.hpp>
#include <heed/core/buffer.hpp>
#include <heed/core/front_door.hpp>

namespace heed {

/// What stands for a whole sequence.
enum class Pooling {
  mean,  ///< of its tokens: padding does not count
  first  ///< its first token
};

/// One row per sequence, `[sequences, columns]`, 0 for an empty one.
template <class S, class X>
ConstView<S> pool(Pooling how, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Buffer<S>& y) {
  const ConstView<S> x = front_door<S>(tokens, "x");
  batch.check(x.rows(), x.rows());
  View<S> to = y.resize(batch.size(), x.cols());
  to.setZero();
  for (Index s = 0; s < batch.size(); ++s) {
    const Segment rows = batch.queries(s);
    if (rows.size == 0) continue;
    const Index n = how == Pooling::first ? 1 : rows.size;
    for (Index i = 0; i < n; ++i) to.row(s) += x.row(rows.begin + i);
    to.row(s) /= static_cast<S>(n);
  }
  return view(to);
}

/// The gradient of x `[rows, columns]`, given that of the pooled rows.
template <class S, class Y>
ConstView<S> pool_backward(Pooling how, Index rows, const Batch& batch, const Eigen::MatrixBase<Y>& cotangent,
                           Buffer<S>& dx) {
  const ConstView<S> dy = front_door<S>(cotangent, "dy");
  batch.check(rows, rows);
  require<ShapeError>(dy.rows() == batch.size(), "dy: one row for each of the ", batch.size(),
                      " sequences expected, came ", dy.rows());
  View<S> to = dx.resize(rows, dy.cols());
  to.setZero();
  for (Index s = 0; s < batch.size(); ++s) {
    const Segment segment = batch.queries(s);
    const Index n = how == Pooling::first ? std::min<Index>(1, segment.size) : segment.size;
    for (Index i = 0; i < n; ++i) to.row(segment.begin + i) = dy.row(s) / static_cast<S>(n);
  }
  return view(to);
}

}  // namespace heed
