// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/bytes.hpp>
#include <heed/kernels/key_panels.hpp>

#include <algorithm>
#include <cstddef>

namespace heed {

/// The latest keys and values of a stream whose queries look back no further than `reach`: what the longest stream holds
/// does not depend on its length.
///
/// They lie side by side, as kernels want them. Where the room ends, the keys that are still in reach move to its
/// beginning; there is room enough that this costs each token no more than the copies of two.
template <class S>
class RecentPanels {
 public:
  RecentPanels() = default;
  /// For streams of up to `capacity` tokens in chunks of up to `longest_chunk`.
  RecentPanels(Index reach, Index capacity, Index longest_chunk, Index d, Index d_v)
      : reach_(std::min(reach, capacity)),
        room_(std::min(capacity, reach_ + longest_chunk + panel + (reach_ + longest_chunk) / 2)),
        k_(room_, d),
        v_(Matrix<S>::Zero(room_, d_v)) {}

  /// Takes the rows of k and v as the next.
  void append(ConstView<S> k, ConstView<S> v) {
    if (k_.size() + k.rows() > room_) {
      const Index dropped = (k_.size() - reach_) / panel * panel, kept = k_.size() - dropped;
      std::copy_n(v_.data() + dropped * v_.cols(), kept * v_.cols(), v_.data());
      k_.drop(dropped / panel);
    }
    v_.middleRows(k_.size(), v.rows()) = v;
    k_.append(k);
  }
  const KeyPanels<S>& keys() const { return k_; }
  ConstView<S> values() const { return block(v_, 0, 0, k_.size(), v_.cols()); }
  /// Tokens that there is room for.
  Index room() const { return room_; }
  /// Bytes held.
  std::size_t bytes() const { return k_.bytes() + heed::bytes(v_); }

 private:
  static constexpr Index panel = KeyPanels<S>::width;
  Index reach_ = 0, room_ = 0;
  KeyPanels<S> k_;
  Matrix<S> v_;
};

}  // namespace heed
