// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/core/require.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

/// The causal index sets of the LogSparse Transformer (Li et al. 2019, arXiv 1907.00235), counted from 0. Distances are
/// told by their bits, not by a floating logarithm.

namespace heed {

namespace detail {
inline bool is_power_of_two(Index x) { return x > 0 && std::has_single_bit(static_cast<std::uint64_t>(x)); }
/// The largest power of two up to x; 0 if x is less than 1.
inline Index power_of_two_below(Index x) {
  return x < 1 ? 0 : static_cast<Index>(std::bit_floor(static_cast<std::uint64_t>(x)));
}
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
  template <class F>
  void for_each_seen(Index p, Index n_k, const F& f) const {
    if (p < 0) return;
    const Index edge = p - window_ + 1;
    for (Index offset = detail::power_of_two_below(edge); offset > 0; offset /= 2)
      if (edge - offset < n_k) f(Range{edge - offset, edge - offset + 1});
    const Range window = {std::max<Index>(edge, 0), std::min(p + 1, n_k)};
    if (!window.empty()) f(window);
  }

 private:
  Index window_;
};
static_assert(NamingPattern<LogOffsets>);

/// The same set again from every `stride`-th position before the query: with anchors a = p - r stride, r >= 0,
/// { a - window + 1 ... a } and { a - window + 1 - 2^e : e < window, not more than `stride` before a }.
///
/// `without_last_anchor` leaves out the key at the last anchor, if this is not p and its window begins before key 0, and no
/// other anchor's set holds it: so does the code that circulates.
class LogRestart {
 public:
  static constexpr Index longest_window = 60;
  LogRestart(Index window = 1, Index stride = 1, bool without_last_anchor = false) : window_(window), stride_(stride) {
    require<OptionError>(window >= 1, "LogRestart: a window of at least 1 key expected, came ", window);
    require<OptionError>(window <= longest_window, "LogRestart: a window of at most ", longest_window,
                         " keys expected, came ", window);
    require<OptionError>(stride >= 1, "LogRestart: a stride of at least 1 expected, came ", stride);
    without_last_anchor_ = without_last_anchor && !holds(stride);
  }
  void keys(Range positions, Index, Ranges& ranges) const {
    // A list is full after some anchors; a pattern of so many is named as all the past.
    if (positions.end / stride_ >= static_cast<Index>(Ranges::capacity)) return ranges.add({0, positions.end});
    for (Index shift = 0; shift < positions.end; shift += stride_) {
      ranges.add({positions.begin - shift - window_ + 1, positions.end - shift});
      for (Index e = 0; e < window_ && distance(e) <= stride_; ++e)
        ranges.add({positions.begin - shift - distance(e), positions.end - shift - distance(e)});
    }
  }
  bool sees(Index p, Index j) const {
    if (j > p || drops(p, j)) return false;
    // Distance d from the anchors p - r stride that are not before j: only these can reach it.
    for (Index d = (p - j) % stride_; d <= p - j && d <= std::max(stride_, window_ - 1); d += stride_)
      if (holds(d)) return true;
    return false;
  }
  bool all(Range positions, Range keys) const {
    return !without_last_anchor_ && keys.end - 1 <= positions.begin && keys.begin > positions.end - 1 - window_;
  }
  template <class F>
  void for_each_seen(Index p, Index n_k, const F& f) const {
    for (Index a = p; a >= 0; a -= stride_) {
      // The key `stride` before an anchor is an anchor again, and what lies before it is left to its own set.
      const Index begin = a - std::min(window_, a >= stride_ ? stride_ : a + 1) + 1, end = drops(p, a) ? a : a + 1;
      const Range window = {std::max<Index>(begin, 0), std::min(end, n_k)};
      if (!window.empty()) f(window);
      for (Index e = 0; e < window_ && distance(e) < stride_ && distance(e) <= a; ++e)
        if (const Index j = a - distance(e); j < n_k) f(Range{j, j + 1});
    }
  }
  /// Whether the last anchor is left out where it makes a difference.
  bool drops_anchors() const { return without_last_anchor_; }

 private:
  /// Of the e-th logarithmic key from its anchor.
  Index distance(Index e) const { return window_ - 1 + (Index{1} << e); }
  /// Whether an anchor's set reaches the key d before it.
  bool holds(Index d) const {
    if (d < window_) return true;
    const Index offset = d - window_ + 1;
    return d <= stride_ && detail::is_power_of_two(offset) && offset < (Index{1} << window_);
  }
  /// Whether j is the anchor that is left out.
  bool drops(Index p, Index j) const {
    return without_last_anchor_ && j != p && j < window_ - 1 && (p - j) % stride_ == 0;
  }

  Index window_, stride_;
  bool without_last_anchor_;  // and it makes a difference
};
static_assert(NamingPattern<LogRestart>);

}  // namespace heed
