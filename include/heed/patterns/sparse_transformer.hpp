// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/core/require.hpp>

#include <algorithm>

/// The two causal patterns of the Sparse Transformer (Child et al. 2019, arXiv 1904.10509), each as the union of its
/// two sets: what both hold counts once.

namespace heed {

/// The last `stride` keys besides its own, and every stride-th before: p - stride <= j <= p, or (p - j) mod stride = 0.
class Strided {
 public:
  Strided(Index stride = 1) : stride_(stride) {
    require<OptionError>(stride >= 1, "Strided: a stride of at least 1 expected, came ", stride);
  }
  void keys(Range positions, Index, Ranges& ranges) const {
    ranges.add({positions.begin - stride_, positions.end});
    const Index bands = positions.end / stride_;
    if (bands >= static_cast<Index>(Ranges::capacity)) return ranges.add({0, positions.end});
    for (Index b = 1; b <= bands; ++b) ranges.add({positions.begin - b * stride_, positions.end - b * stride_});
  }
  bool sees(Index p, Index j) const { return j <= p && (j >= p - stride_ || (p - j) % stride_ == 0); }
  bool all(Range positions, Range keys) const {
    return keys.end - 1 <= positions.begin && (stride_ == 1 || keys.begin >= positions.end - 1 - stride_);
  }

 private:
  Index stride_;
};
static_assert(KeyPattern<Strided>);

/// The own block up to the own position, and the last `summary` keys of every block before.
class FixedBlocks {
 public:
  FixedBlocks(Index block = 1, Index summary = 1) : block_(block), summary_(summary) {
    require<OptionError>(block >= 1, "FixedBlocks: a block of at least 1 key expected, came ", block);
    require<OptionError>(summary >= 1 && summary <= block, "FixedBlocks: a summary of 1 to ", block,
                         " keys expected, came ", summary);
  }
  void keys(Range positions, Index, Ranges& ranges) const {
    const Index first = std::max<Index>(positions.begin, 0) / block_;
    ranges.add({first * block_, positions.end});
    if (first >= static_cast<Index>(Ranges::capacity)) return ranges.add({0, positions.end});
    for (Index b = 0; b < first; ++b) ranges.add({(b + 1) * block_ - summary_, (b + 1) * block_});
  }
  bool sees(Index p, Index j) const { return j <= p && (j / block_ == p / block_ || j % block_ >= block_ - summary_); }
  bool all(Range positions, Range keys) const {
    if (keys.end - 1 > positions.begin) return false;
    const bool own = keys.begin / block_ == (positions.end - 1) / block_;
    const bool summaries = keys.begin % block_ >= block_ - summary_ && keys.begin / block_ == (keys.end - 1) / block_;
    return own || summaries;
  }
  Index query_block() const { return block_; }

 private:
  Index block_, summary_;
};
static_assert(KeyPattern<FixedBlocks>);

}  // namespace heed
