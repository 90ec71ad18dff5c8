// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/core/require.hpp>

#include <bit>
#include <cstdint>

/// The causal index sets of the LogSparse Transformer (Li et al. 2019, arXiv 1907.00235), counted from 0. Distances are
/// told by their bits, not by a floating logarithm.

namespace heed {

namespace detail {
inline bool is_power_of_two(Index x) { return x > 0 && std::has_single_bit(static_cast<std::uint64_t>(x)); }
}  // namespace detail

/// Itself and the `window - 1` keys before it, then distances that grow as powers of two from the window's left edge:
/// { p - window + 1 ... p } and { p - window + 1 - 2^e }. A window of 1 is the plain logarithmic set.
class LogOffsets {
 public:
  LogOffsets(Index window = 1) : window_(window) {
    require<OptionError>(window >= 1, "LogOffsets: a window of at least 1 key expected, came ", window);
  }
  void keys(Range positions, Index, Ranges& ranges) const {
    ranges.add({positions.begin - window_ + 1, positions.end});
    for (Index offset = 1; positions.end - window_ - offset >= 0; offset *= 2) {
      const Index shift = window_ - 1 + offset;
      ranges.add({positions.begin - shift, positions.end - shift});
    }
  }
  bool sees(Index p, Index j) const {
    const Index distance = p - j;
    return distance >= 0 && (distance < window_ || detail::is_power_of_two(distance - window_ + 1));
  }
  bool all(Range positions, Range keys) const {
    return keys.end - 1 <= positions.begin && keys.begin > positions.end - 1 - window_;
  }

 private:
  Index window_;
};
static_assert(KeyPattern<LogOffsets>);

/// The same set again from every `stride`-th position before the query: with anchors a = p - r stride, r >= 0,
/// { a - window + 1 ... a } and { a - window + 1 - 2^e : e < window, not more than `stride` before a }.
class LogRestart {
 public:
  LogRestart(Index window = 1, Index stride = 1) : window_(window), stride_(stride) {
    require<OptionError>(window >= 1, "LogRestart: a window of at least 1 key expected, came ", window);
    require<OptionError>(window <= 60, "LogRestart: a window of at most 60 keys expected, came ", window);
    require<OptionError>(stride >= 1, "LogRestart: a stride of at least 1 expected, came ", stride);
  }
  void keys(Range positions, Index, Ranges& ranges) const { ranges.add({0, positions.end}); }
  bool sees(Index p, Index j) const {
    if (j > p) return false;
    // Distance d from the anchors p - r stride that are not before j: only these can reach it.
    for (Index d = (p - j) % stride_; d <= p - j && d <= stride_ + window_; d += stride_) {
      if (d < window_) return true;
      const Index offset = d - window_ + 1;
      if (d <= stride_ && detail::is_power_of_two(offset) && offset < (Index{1} << window_)) return true;
    }
    return false;
  }
  bool all(Range, Range) const { return false; }

 private:
  Index window_, stride_;
};
static_assert(KeyPattern<LogRestart>);

}  // namespace heed
