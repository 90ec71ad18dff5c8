// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/core/random.hpp>
#include <heed/core/require.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace heed {

/// Every block of queries sees `count` blocks of keys, drawn without repetition from those of a sequence of `length`
/// positions: a function of the seed alone. Positions past the length see, and are seen by, nothing of this pattern.
class RandomBlocks {
 public:
  RandomBlocks() = default;
  RandomBlocks(Index length, Index block, Index count, std::uint64_t seed) : block_(block) {
    require<OptionError>(length >= 0, "RandomBlocks: the length must not be negative, came ", length);
    require<OptionError>(block >= 1, "RandomBlocks: blocks of at least 1 position expected, came ", block);
    require<OptionError>(count >= 0, "RandomBlocks: the count must not be negative, came ", count);
    length_ = length;
    const Index blocks = (length + block - 1) / block;
    count_ = std::min(count, blocks);
    std::vector<Index> deck(static_cast<std::size_t>(blocks));
    for (Index q = 0; q < blocks; ++q) {
      Random random = Random(seed).stream(static_cast<std::uint64_t>(q));
      for (Index b = 0; b < blocks; ++b) deck[static_cast<std::size_t>(b)] = b;
      for (Index i = 0; i < count_; ++i)
        std::swap(deck[static_cast<std::size_t>(i)], deck[static_cast<std::size_t>(i + random.below(blocks - i))]);
      chosen_.insert(chosen_.end(), deck.begin(), deck.begin() + count_);
    }
  }
  void keys(Range positions, Index, Ranges& ranges) const {
    const Range inside = intersect(positions, {0, length_});
    if (inside.empty()) return;
    for (Index q = inside.begin / block_; q <= (inside.end - 1) / block_; ++q)
      for (Index i = 0; i < count_; ++i) ranges.add(range_of(chosen(q, i)));
  }
  bool sees(Index p, Index j) const {
    if (p < 0 || p >= length_ || j < 0 || j >= length_) return false;
    for (Index i = 0; i < count_; ++i)
      if (chosen(p / block_, i) == j / block_) return true;
    return false;
  }
  bool all(Range positions, Range keys) const {
    if (positions.begin < 0 || positions.end > length_ || keys.begin < 0 || keys.end > length_) return false;
    for (Index q = positions.begin / block_; q <= (positions.end - 1) / block_; ++q)
      for (Index k = keys.begin / block_; k <= (keys.end - 1) / block_; ++k)
        if (!sees(std::max(positions.begin, q * block_), std::max(keys.begin, k * block_))) return false;
    return true;
  }
  Index query_block() const { return block_; }

 private:
  Range range_of(Index b) const { return {b * block_, std::min(length_, (b + 1) * block_)}; }
  Index chosen(Index q, Index i) const { return chosen_[static_cast<std::size_t>(q * count_ + i)]; }

  Index block_ = 1, length_ = 0, count_ = 0;
  std::vector<Index> chosen_;  // [blocks][count]
};
static_assert(KeyPattern<RandomBlocks>);

}  // namespace heed
