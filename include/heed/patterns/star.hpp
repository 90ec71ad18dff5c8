// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/core/require.hpp>

namespace heed {

/// Star-Transformer's graph (Guo et al. 2019, arXiv 1902.09113, section 3): position 0 is the relay, which sees all and
/// is seen by all; every other position, a satellite, also sees itself and its two neighbours. With `length` positions
/// given the satellites 1 ... length - 1 form a ring, in which the first and the last are neighbours; with 0 they form a
/// line.
class Star {
 public:
  Star(Index length = 0) : length_(length) {
    require<OptionError>(length >= 0, "Star: the length must not be negative, came ", length);
  }
  void keys(Range positions, Index n_k, Ranges& ranges) const {
    if (positions.begin <= 0 && positions.end > 0) return ranges.add({0, n_k});
    ranges.add({0, 1});
    ranges.add({positions.begin - 1, positions.end + 1});
    if (length_ < 3) return;
    if (positions.begin <= 1 && positions.end > 1) ranges.add({length_ - 1, length_});
    if (positions.begin < length_ && positions.end >= length_) ranges.add({1, 2});
  }
  bool sees(Index p, Index j) const {
    return p == 0 || j == 0 || (j >= p - 1 && j <= p + 1) ||
           (length_ > 2 && ((p == 1 && j == length_ - 1) || (p == length_ - 1 && j == 1)));
  }
  bool all(Range positions, Range keys) const {
    const bool relay = (positions.begin == 0 && positions.end == 1) || (keys.begin == 0 && keys.end == 1);
    return relay || (keys.begin >= positions.end - 2 && keys.end <= positions.begin + 2);
  }

 private:
  Index length_;
};
static_assert(KeyPattern<Star>);

}  // namespace heed
