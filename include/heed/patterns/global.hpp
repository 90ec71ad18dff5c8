// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/core/require.hpp>

#include <algorithm>
#include <cstddef>
#include <vector>

namespace heed {

/// The first `count` positions are global: they see every key, and every query sees them.
class GlobalFirst {
 public:
  GlobalFirst(Index count = 0) : count_(count) {
    require<OptionError>(count >= 0, "GlobalFirst: the count must not be negative, came ", count);
  }
  void keys(Range positions, Index n_k, Ranges& ranges) const {
    ranges.add({0, positions.begin < count_ ? n_k : count_});
  }
  bool sees(Index p, Index j) const { return p < count_ || j < count_; }
  bool all(Range positions, Range keys) const { return positions.end <= count_ || keys.end <= count_; }

 private:
  Index count_;
};
static_assert(KeyPattern<GlobalFirst>);

/// Chosen positions are global. They must not be negative, nor repeat.
class GlobalAt {
 public:
  GlobalAt(std::vector<Index> positions = {}) : sorted_(std::move(positions)) {
    std::sort(sorted_.begin(), sorted_.end());
    for (std::size_t i = 0; i < sorted_.size(); ++i) {
      require<OptionError>(sorted_[i] >= 0, "GlobalAt: positions must not be negative, came ", sorted_[i]);
      require<OptionError>(i == 0 || sorted_[i] != sorted_[i - 1], "GlobalAt: each position once expected, came ",
                           sorted_[i], " twice");
    }
    if (!sorted_.empty()) global_.assign(static_cast<std::size_t>(sorted_.back()) + 1, 0);
    for (const Index p : sorted_) global_[static_cast<std::size_t>(p)] = 1;
  }
  void keys(Range positions, Index n_k, Ranges& ranges) const {
    const auto first = std::lower_bound(sorted_.begin(), sorted_.end(), positions.begin);
    if (first != sorted_.end() && *first < positions.end) return ranges.add({0, n_k});
    for (const Index p : sorted_) ranges.add({p, p + 1});
  }
  bool sees(Index p, Index j) const { return is_global(p) || is_global(j); }
  bool all(Range positions, Range keys) const { return all_global(positions) || all_global(keys); }

 private:
  bool is_global(Index i) const {
    return i >= 0 && i < static_cast<Index>(global_.size()) && global_[static_cast<std::size_t>(i)] != 0;
  }
  bool all_global(Range range) const {
    for (Index i = range.begin; i < range.end; ++i)
      if (!is_global(i)) return false;
    return true;
  }

  std::vector<Index> sorted_;
  std::vector<char> global_;  // by position
};
static_assert(KeyPattern<GlobalAt>);

}  // namespace heed
