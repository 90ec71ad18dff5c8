// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/bytes.hpp>
#include <heed/core/types.hpp>

#include <algorithm>
#include <cstddef>

namespace heed {

/// The keys of a stream, in panels of 64: element e of key j is at `panel(j)[e * 64 + j % 64]`.
///
/// Keys then lie in SIMD lanes as they are read. A query that stands alone, or a few heads that share their keys, need
/// no sums across lanes and no transposition, and memory is read in one line from beginning to end.
template <class S>
class KeyPanels {
 public:
  static constexpr Index width = 64;

  KeyPanels() = default;
  /// Room for `capacity` keys of width d.
  KeyPanels(Index capacity, Index d) : store_(Vector<S>::Zero((capacity + width - 1) / width * width * d)), d_(d) {}

  /// Takes the rows of k as the next keys.
  void append(ConstView<S> k) {
    for (Index i = 0; i < k.rows(); ++i, ++size_) {
      S* const to = store_.data() + size_ / width * width * d_ + size_ % width;
      const S* const from = k.data() + i * k.outerStride();
      for (Index e = 0; e < d_; ++e) to[e * width] = from[e];
    }
  }
  /// Forgets the first panels.
  void drop(Index panels) {
    const Index n = panels * width * d_, used = (size_ + width - 1) / width * width * d_;
    std::copy(store_.data() + n, store_.data() + used, store_.data());
    size_ -= panels * width;
  }
  Index size() const { return size_; }
  Index dim() const { return d_; }
  /// Bytes held.
  std::size_t bytes() const { return heed::bytes(store_); }
  /// The panel that holds key j.
  const S* panel(Index j) const { return store_.data() + j / width * width * d_; }

 private:
  Vector<S> store_;
  Index d_ = 0, size_ = 0;
};

}  // namespace heed
