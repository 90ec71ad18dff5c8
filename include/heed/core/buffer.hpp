// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/types.hpp>

namespace heed {

/// A matrix whose memory only grows: shaping it as something no larger than before allocates nothing.
template <class S>
class Buffer {
 public:
  /// Gives it a shape; the elements are then unspecified.
  View<S> resize(Index rows, Index cols) {
    reserve(rows * cols);
    rows_ = rows;
    cols_ = cols;
    return view();
  }
  /// Makes room for `size` elements; a growing buffer loses what it held.
  void reserve(Index size) {
    if (store_.size() < size) store_.resize(size);
  }
  View<S> view() { return {store_.data(), rows_, cols_, Eigen::OuterStride<>(cols_)}; }
  ConstView<S> view() const { return {store_.data(), rows_, cols_, Eigen::OuterStride<>(cols_)}; }
  Index rows() const { return rows_; }
  Index cols() const { return cols_; }
  /// Bytes held.
  std::size_t bytes() const { return static_cast<std::size_t>(store_.size()) * sizeof(S); }

 private:
  Vector<S> store_;
  Index rows_ = 0, cols_ = 0;
};

template <class S>
View<S> view(Buffer<S>& b) {
  return b.view();
}
template <class S>
ConstView<S> view(const Buffer<S>& b) {
  return b.view();
}

}  // namespace heed
