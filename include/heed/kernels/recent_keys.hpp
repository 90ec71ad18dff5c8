// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/bytes.hpp>
#include <heed/core/fields.hpp>

#include <algorithm>
#include <cstddef>

namespace heed {

/// The newest keys and values of a stream, at least those of the last `reach` tokens, in the order they came.
///
/// A ring that is kept straight: the buffer has room for some tokens more than needed, and when it is full the needed
/// ones move to its beginning. With room for an eighth more, that moves 8 rows per token, where a step reads them all.
template <class S>
class RecentKeys {
 public:
  RecentKeys() = default;
  /// Room for streams of up to `capacity` tokens in chunks of up to `longest_chunk`, each of which sees `reach` tokens
  /// before it.
  RecentKeys(Index reach, Index capacity, Index longest_chunk, Index d, Index d_v)
      : reach_(reach),
        k_(std::min(capacity, reach + std::max(std::min(longest_chunk, capacity), reach / 8)), d),
        v_(k_.rows(), d_v) {}

  void append(ConstView<S> k, ConstView<S> v) {
    if (size_ + k.rows() > k_.rows()) {
      const Index kept = std::min(reach_, size_), from = size_ - kept;
      std::copy_n(k_.data() + from * k_.cols(), kept * k_.cols(), k_.data());
      std::copy_n(v_.data() + from * v_.cols(), kept * v_.cols(), v_.data());
      size_ = kept;
    }
    k_.middleRows(size_, k.rows()) = k;
    v_.middleRows(size_, v.rows()) = v;
    size_ += k.rows();
  }
  ConstView<S> k() const { return block(k_, 0, 0, size_, k_.cols()); }
  ConstView<S> v() const { return block(v_, 0, 0, size_, v_.cols()); }
  /// Bytes held.
  std::size_t bytes() const { return heed::bytes(k_) + heed::bytes(v_); }

 private:
  Index reach_ = 0, size_ = 0;
  Matrix<S> k_, v_;
};

}  // namespace heed
