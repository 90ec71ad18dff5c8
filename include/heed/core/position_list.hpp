// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/range.hpp>

#include <algorithm>
#include <cstddef>
#include <span>

namespace heed {

/// Positions in ascending order, each once; a view.
class PositionList {
 public:
  PositionList() = default;
  explicit PositionList(std::span<const Index> all) : all_(all) {}

  Index size() const { return static_cast<Index>(all_.size()); }
  bool empty() const { return all_.empty(); }
  Index operator[](Index i) const { return all_[static_cast<std::size_t>(i)]; }
  auto begin() const { return all_.begin(); }
  auto end() const { return all_.end(); }

  /// How many lie before p.
  Index before(Index p) const { return std::lower_bound(all_.begin(), all_.end(), p) - all_.begin(); }
  bool holds(Index p) const {
    return !all_.empty() && p >= all_.front() && p <= all_.back() && std::binary_search(all_.begin(), all_.end(), p);
  }
  bool any_in(Range range) const { return before(range.begin) < before(range.end); }
  /// Those in a range of positions.
  PositionList in(Range range) const { return part(before(range.begin), before(range.end) - before(range.begin)); }
  /// At most `count` from the i-th on.
  PositionList part(Index i, Index count) const {
    return PositionList{
        all_.subspan(static_cast<std::size_t>(i), static_cast<std::size_t>(std::min(count, size() - i)))};
  }

 private:
  std::span<const Index> all_;
};

}  // namespace heed
