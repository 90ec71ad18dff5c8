// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <Eigen/Core>

/// Matrix and view types: row-major everywhere, a view by value never copies.
///
/// A token matrix is `[tokens, channels]`; one head of it is a strided block. Views are `Eigen::Map`s: initialise them,
/// pass them by value, and remember that assigning one view to another copies elements, as with any Eigen object.

#if (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || defined(__FAST_MATH__)
#error "heed: masks are -inf and empty rows are told by them; compile without -ffast-math and -ffinite-math-only"
#endif

namespace heed {

using Index = Eigen::Index;
static_assert(sizeof(Index) >= 8, "heed: n * n overflows a 32-bit index at 46341 tokens");

template <class S>
using Matrix = Eigen::Matrix<S, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class S>
using Vector = Eigen::Matrix<S, Eigen::Dynamic, 1>;

template <class S>
using View = Eigen::Map<Matrix<S>, Eigen::Unaligned, Eigen::OuterStride<>>;
template <class S>
using ConstView = Eigen::Map<const Matrix<S>, Eigen::Unaligned, Eigen::OuterStride<>>;
template <class S>
using VectorView = Eigen::Map<Vector<S>>;
template <class S>
using ConstVectorView = Eigen::Map<const Vector<S>>;

/// The rows `[row, row + n_rows)` and columns `[col, col + n_cols)` of `m`, without a copy.
template <class S>
View<S> block(Matrix<S>& m, Index row, Index col, Index n_rows, Index n_cols) {
  return {m.data() + row * m.cols() + col, n_rows, n_cols, Eigen::OuterStride<>(m.cols())};
}
template <class S>
ConstView<S> block(const Matrix<S>& m, Index row, Index col, Index n_rows, Index n_cols) {
  return {m.data() + row * m.cols() + col, n_rows, n_cols, Eigen::OuterStride<>(m.cols())};
}
template <class S>
View<S> block(View<S> m, Index row, Index col, Index n_rows, Index n_cols) {
  return {m.data() + row * m.outerStride() + col, n_rows, n_cols, Eigen::OuterStride<>(m.outerStride())};
}
template <class S>
ConstView<S> block(ConstView<S> m, Index row, Index col, Index n_rows, Index n_cols) {
  return {m.data() + row * m.outerStride() + col, n_rows, n_cols, Eigen::OuterStride<>(m.outerStride())};
}

/// All of `m`, without a copy.
template <class S>
View<S> view(Matrix<S>& m) {
  return block(m, 0, 0, m.rows(), m.cols());
}
template <class S>
ConstView<S> view(const Matrix<S>& m) {
  return block(m, 0, 0, m.rows(), m.cols());
}
template <class S>
ConstView<S> view(View<S> m) {
  return {m.data(), m.rows(), m.cols(), Eigen::OuterStride<>(m.outerStride())};
}
template <class S>
VectorView<S> view(Vector<S>& v) {
  return {v.data(), v.size()};
}
template <class S>
ConstVectorView<S> view(const Vector<S>& v) {
  return {v.data(), v.size()};
}

}  // namespace heed
