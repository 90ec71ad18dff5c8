// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/range.hpp>
#include <heed/core/require.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace heed {

namespace detail {

/// The n-th root of x if it is whole, else 0.
inline Index whole_root(Index x, Index n) {
  const Index root = static_cast<Index>(std::llround(std::pow(static_cast<long double>(x), 1.0L / n)));
  Index power = 1;
  for (Index i = 0; i < n && root > 1 && power <= x; ++i) power *= root;
  return power == x ? root : 0;
}

/// The smallest whole number that is not below from (to / from)^(k / n), where from < to. Where that power is whole, no
/// rounding of logarithms decides: it is rational only if the reduced fraction is the power of another.
inline Index geometric_step(Index from, Index to, Index k, Index n) {
  const Index common = std::gcd(k, n), whole = std::gcd(from, to);
  const Index above = whole_root(to / whole, n / common), below = whole_root(from / whole, n / common);
  if (above == 0 || below == 0)
    return static_cast<Index>(std::ceil(static_cast<long double>(from) *
                                        std::pow(static_cast<long double>(to) / static_cast<long double>(from),
                                                 static_cast<long double>(k) / static_cast<long double>(n))));
  Index number = from, divisor = 1;
  for (Index i = 0; i < k / common; ++i) number *= above, divisor *= below;
  return (number + divisor - 1) / divisor;
}

}  // namespace detail

/// T5's buckets of relative positions. A side of n buckets has one for each of the distances 0 ... e - 1, e = n / 2;
/// above, bucket e + floor(log(x / e) / log(max_distance / e) (n - e)) has distance x, and the last one all the rest.
///
/// One-sided, all keys after the query are at distance 0. Two-sided, the first half of the buckets is for keys up to the
/// query, the other half for those after it.
class RelativeBuckets {
 public:
  static constexpr Index longest = Index{1} << 24;

  /// Throws OptionError.
  RelativeBuckets(Index count, Index max_distance, bool two_sided) : count_(count), two_sided_(two_sided) {
    const Index n = two_sided ? count / 2 : count, e = n / 2;
    require<OptionError>(!two_sided || count % 2 == 0,
                         "options.num_buckets: as many for keys before a query as after it expected, came ", count);
    require<OptionError>(n >= 2 && n <= longest, "options.num_buckets: between ", two_sided ? 4 : 2, " and ",
                         two_sided ? 2 * longest : longest, " expected, came ", count);
    require<OptionError>(max_distance > e && max_distance <= longest, "options.max_distance: between ", e + 1,
                         " (beyond those that have a bucket each) and ", longest, " expected, came ", max_distance);
    for (Index b = 0; b < e; ++b) starts_.push_back(b);
    for (Index b = e; b < n; ++b) starts_.push_back(detail::geometric_step(e, max_distance, b - e, n - e));
  }

  Index count() const { return count_; }
  /// All distances from here on are in one bucket.
  Index last_start() const { return starts_.back(); }
  bool two_sided() const { return two_sided_; }

  /// Of the key at p - t, for the query at p.
  Index operator()(Index t) const {
    if (t < 0) return two_sided_ ? count_ / 2 + on_side(-t) : 0;
    return on_side(t);
  }
  /// f(bucket, distances) for the runs of `distances` that have one bucket, in order.
  template <class F>
  void for_each_run(Range distances, const F& f) const {
    for (Index t = distances.begin, end; t < distances.end; t = end) {
      if (t >= 0) {
        const auto next = std::upper_bound(starts_.begin(), starts_.end(), t);
        end = next == starts_.end() ? distances.end : *next;
      } else {
        end = two_sided_ ? 1 - starts_[static_cast<std::size_t>(on_side(-t))] : 0;
      }
      end = std::min(end, distances.end);
      f((*this)(t), Range{t, end});
    }
  }

 private:
  Index on_side(Index x) const { return std::upper_bound(starts_.begin(), starts_.end(), x) - starts_.begin() - 1; }

  Index count_;
  bool two_sided_;
  std::vector<Index> starts_;  // the first distance of each bucket of a side
};

}  // namespace heed
