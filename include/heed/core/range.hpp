// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/types.hpp>

#include <algorithm>
#include <cstddef>
#include <new>

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
    if (size_ == 0 || (last()[-1].end < r.begin && size_ < capacity)) {
      last()[0] = r;
      ++size_;
      return;
    }
    Range* first = data();  // the first range that ends at or after r begins: the first that r may touch
    while (first != last() && first->end < r.begin) ++first;
    Range* next = first;  // one past the last range that r touches
    for (; next != last() && next->begin <= r.end; ++next)
      r = {std::min(r.begin, next->begin), std::max(r.end, next->end)};
    if (first == next) {
      std::copy_backward(first, last(), last() + 1);
      ++size_;
    } else {
      std::copy(next, last(), first + 1);
      size_ -= static_cast<std::size_t>(next - first - 1);
    }
    *first = r;
    if (size_ > capacity) merge_closest();
  }
  void clear() { size_ = 0; }

  const Range* begin() const { return std::launder(reinterpret_cast<const Range*>(store_)); }
  const Range* end() const { return begin() + size_; }
  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  Range operator[](std::size_t i) const { return begin()[i]; }
  /// How many integers the list covers.
  Index total() const {
    Index n = 0;
    for (const Range r : *this) n += r.size();
    return n;
  }

 private:
  Range* data() { return std::launder(reinterpret_cast<Range*>(store_)); }
  Range* last() { return data() + size_; }
  void merge_closest() {
    Range* at = data();
    for (Range* i = at; i + 1 != last(); ++i)
      if (i[1].begin - i->end < at[1].begin - at->end) at = i;
    at->end = at[1].end;
    std::copy(at + 2, last(), at + 1);
    --size_;
  }

  // Bytes, which nobody clears: that would take longer than most patterns need to name their ranges.
  alignas(Range) std::byte store_[(capacity + 1) * sizeof(Range)];
  std::size_t size_ = 0;
};

}  // namespace heed
