// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/arena.hpp>
#include <heed/core/range.hpp>
#include <heed/kernels/score_tile.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

/// How far queries look back, with a soft end: as a key pattern, and as the logarithm of a weight that falls along a ramp,
/// with its gradient (Sukhbaatar et al. 2019, arXiv 1905.07799, equation 5).

namespace heed {

namespace detail {

/// Which keys the queries of a head see, and with what weight m_z(x) = clamp((R + z - x) / R, 0, 1). Everything is said
/// in the end of the ramp, z + R: keys at x < end are seen. m = 1 and m = 0 have the derivative 0.
template <class S>
struct SoftRamp {
  S length;      // R
  Index origin;  // x of distance 0
  Index most;    // distances there are

  S weight(S end, Index t) const {
    const S m = (end - static_cast<S>(t + origin)) / length;
    return m > S(1) ? S(1) : m;
  }
  /// How many distances t = 0, 1, ... are seen; all where the end is NaN, so that it shows.
  Index reach(S end) const {
    if (end <= static_cast<S>(origin)) return 0;
    if (!(end < static_cast<S>(most + origin))) return most;
    return static_cast<Index>(std::ceil(end)) - origin;
  }
  /// Distances on the ramp, at the most.
  Index steep() const { return length < static_cast<S>(most) ? static_cast<Index>(std::ceil(length)) + 1 : most; }
};

/// One span for all queries: the pattern, the log ramp and its gradient.
template <class S>
class HeadSpan {
 public:
  HeadSpan(SoftRamp<S> ramp, S end, Index nearest, Arena& scratch)
      : ramp_(ramp), end_(end), nearest_(nearest), reach_(ramp.reach(end)), first_(reach_) {
    while (first_ > 0 && !(ramp.weight(end, first_ - 1) == S(1))) --first_;
    log_ = scratch.take<S>(ramp.steep());
    sum_ = scratch.take<S>(ramp.steep());
    for (Index t = first_; t < reach_; ++t) log_[t - first_] = std::log(ramp.weight(end, t));
    std::fill_n(sum_, ramp.steep(), S(0));
  }
  static std::size_t scratch(SoftRamp<S> ramp) { return 2 * Arena::size_of<S>(ramp.steep()); }

  void keys(Range positions, Index, Ranges& ranges) const {
    ranges.add({positions.begin - nearest_ - reach_ + 1, positions.end - nearest_});
  }
  bool sees(Index p, Index j) const { return j <= p - nearest_ && j > p - nearest_ - reach_; }
  bool all(Range positions, Range keys) const {
    return keys.end <= positions.begin - nearest_ + 1 && keys.begin >= positions.end - nearest_ - reach_;
  }

  /// Distances that some query sees.
  Index distances() const { return reach_; }
  bool sees_distance(Index, Index t) const { return t < reach_; }
  void add(Index, Index rows, Index t, S* e) const {
    if (t < first_ || t >= reach_) return;
    for (Index r = 0; r < rows; ++r) e[r] += log_[t - first_];
  }
  void pull(Index, Index rows, Index t, const S* de) const {
    if (t < first_ || t >= reach_) return;
    S sum = 0;
    for (Index r = 0; r < rows; ++r) sum += de[r];
    sum_[t - first_] += sum;
  }
  /// The gradient of z: d log m / dz = 1 / (R m).
  S gradient() const {
    S sum = 0;
    for (Index t = first_; t < reach_; ++t) sum += sum_[t - first_] / ramp_.weight(end_, t);
    return sum / ramp_.length;
  }

 private:
  SoftRamp<S> ramp_;
  S end_;
  Index nearest_, reach_, first_;  // seen are distances [0, reach), on the ramp are [first, reach)
  S *log_, *sum_;                  // of the distances on the ramp: log m, and the sums of their cotangents
};

/// A span for every query of `rows`, whose position is its row plus `shift`.
template <class S>
class QuerySpans {
 public:
  /// `end_of(row)` for the rows of `rows`.
  template <class End>
  QuerySpans(SoftRamp<S> ramp, const End& end_of, Range rows, Index nearest, Index shift, Arena& scratch)
      : ramp_(ramp), nearest_(nearest), shift_(shift), begin_(rows.begin) {
    end_ = scratch.take<S>(rows.size());
    sum_ = scratch.take<S>(rows.size());
    reach_ = scratch.take<Index>(rows.size());
    for (Index i = rows.begin; i < rows.end; ++i) {
      end_[i - begin_] = end_of(i);
      sum_[i - begin_] = S(0);
      reach_[i - begin_] = ramp.reach(end_of(i));
      longest_ = std::max(longest_, reach_[i - begin_]);
    }
  }
  static std::size_t scratch(Index rows) { return 2 * Arena::size_of<S>(rows) + Arena::size_of<Index>(rows); }

  /// Begins at whole tiles of keys, and at least one before the query: how the keys of a row are cut must not depend on
  /// the spans of later queries.
  void keys(Range positions, Index, Ranges& ranges) const {
    Index begin = positions.begin - tile_keys;
    for (Index p = positions.begin; p < positions.end; ++p) begin = std::min(begin, p - nearest_ - reach(p) + 1);
    ranges.add({std::max<Index>(begin, 0) / tile_keys * tile_keys, positions.end - nearest_});
  }
  bool sees(Index p, Index j) const { return j <= p - nearest_ && j > p - nearest_ - reach(p); }
  bool all(Range positions, Range keys) const {
    if (keys.end > positions.begin - nearest_ + 1) return false;
    for (Index p = positions.begin; p < positions.end; ++p)
      if (keys.begin <= p - nearest_ - reach(p)) return false;
    return true;
  }

  Index distances() const { return longest_; }
  bool sees_distance(Index row, Index t) const { return t < reach_[row - begin_]; }
  void add(Index row, Index rows, Index t, S* e) const {
    std::array<S, std::size_t{tile_queries<S>}> m;
    bool flat = true;
    for (Index r = 0; r < rows; ++r) {
      const S weight = ramp_.weight(end_[row - begin_ + r], t);
      flat = flat && weight == S(1);
      m[static_cast<std::size_t>(r)] = weight < std::numeric_limits<S>::min() ? std::numeric_limits<S>::min() : weight;
    }
    if (flat) return;
    Eigen::Map<Eigen::Array<S, Eigen::Dynamic, 1>> term(e, rows);
    term += Eigen::Map<const Eigen::Array<S, Eigen::Dynamic, 1>>(m.data(), rows).log();
  }
  void pull(Index row, Index rows, Index t, const S* de) const {
    for (Index r = 0; r < rows; ++r) {
      const S m = ramp_.weight(end_[row - begin_ + r], t);
      if (!(m <= S(0) || m == S(1))) sum_[row - begin_ + r] += de[r] / m;
    }
  }
  /// The gradient of z of one row.
  S gradient(Index row) const { return sum_[row - begin_] / ramp_.length; }

 private:
  Index reach(Index p) const { return reach_[p - shift_ - begin_]; }
  SoftRamp<S> ramp_;
  Index nearest_, shift_, begin_, longest_ = 0;
  S *end_, *sum_;  // z + R; sums of dE / m on the ramp
  Index* reach_;
};

}  // namespace detail

}  // namespace heed
