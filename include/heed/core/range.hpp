// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/types.hpp>

#include <algorithm>
#include <array>
#include <cstddef>

namespace heed {

/// The integers `[begin, end)`; empty when `end <= begin`.
struct Range {
  Index begin = 0, end = 0;
  constexpr Index size() const { return end > begin ? end - begin : 0; }
  constexpr bool empty() const { return end <= begin; }
  friend constexpr bool operator==(Range, Range) = default;
};

constexpr Range intersect(Range a, Range b) { return {std::max(a.begin, b.begin), std::min(a.end, b.end)}; }

/// A sorted list of disjoint, non-adjacent ranges in a fixed store: no heap, cheap to build per block of queries.
///
/// `add` keeps it sorted and merged. A list that is full merges the two ranges with the smallest gap between them: it
/// then covers more than was asked for, never less, which a key pattern allows (membership decides, ranges only bound
/// the cost).
class Ranges {
 public:
  static constexpr std::size_t capacity = 48;

  void add(Range r) {
    if (r.empty()) return;
    std::size_t first = 0;  // the first range that ends at or after r begins: the first that r may touch
    while (first < size_ && ranges_[first].end < r.begin) ++first;
    std::size_t last = first;  // one past the last range that r touches
    while (last < size_ && ranges_[last].begin <= r.end) {
      r = {std::min(r.begin, ranges_[last].begin), std::max(r.end, ranges_[last].end)};
      ++last;
    }
    if (first == last) {
      std::copy_backward(ranges_.begin() + offset(first), ranges_.begin() + offset(size_),
                         ranges_.begin() + offset(size_ + 1));
      ++size_;
    } else {
      std::copy(ranges_.begin() + offset(last), ranges_.begin() + offset(size_), ranges_.begin() + offset(first + 1));
      size_ -= last - first - 1;
    }
    ranges_[first] = r;
    if (size_ > capacity) merge_closest();
  }
  void clear() { size_ = 0; }

  const Range* begin() const { return ranges_.data(); }
  const Range* end() const { return ranges_.data() + size_; }
  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  Range operator[](std::size_t i) const { return ranges_[i]; }
  /// How many integers the list covers.
  Index total() const {
    Index n = 0;
    for (const Range r : *this) n += r.size();
    return n;
  }

 private:
  static constexpr std::ptrdiff_t offset(std::size_t i) { return static_cast<std::ptrdiff_t>(i); }
  void merge_closest() {
    std::size_t at = 0;
    for (std::size_t i = 1; i + 1 < size_; ++i)
      if (ranges_[i + 1].begin - ranges_[i].end < ranges_[at + 1].begin - ranges_[at].end) at = i;
    ranges_[at].end = ranges_[at + 1].end;
    std::copy(ranges_.begin() + offset(at + 2), ranges_.begin() + offset(size_), ranges_.begin() + offset(at + 1));
    --size_;
  }

  std::array<Range, capacity + 1> ranges_{};
  std::size_t size_ = 0;
};

}  // namespace heed
