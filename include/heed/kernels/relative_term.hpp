// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/arena.hpp>
#include <heed/kernels/relative_buckets.hpp>
#include <heed/kernels/score_terms.hpp>
#include <heed/kernels/score_tile.hpp>

#include <algorithm>
#include <numeric>

/// The score term of a bias by distance, which a table gives for buckets of distances:
///   e_ij += table(bucket(t), head),  t = p_i - j.
///
/// For the time of a call the bias is spelled out by distance: each row of a tile of scores [keys][queries] adds a piece
/// of it, one step further back than the row before. The bias is constant from the last border on, so a piece that lies
/// further away is read where the spelling ends. Backward adds the cotangents of a tile to sums by distance in the same
/// way, and those to their buckets.

namespace heed {

/// See above; for one head (`Tile::group` 1).
template <class S>
class RelativeTerm {
 public:
  /// Forward, for a call; `table` has a row for each bucket and a column for each head.
  RelativeTerm(const RelativeBuckets& buckets, ConstView<S> table, Index head, CallShape call, Arena& scratch)
      : RelativeTerm(buckets, table, head, call, {nullptr, 0, 0, Eigen::OuterStride<>(0)}, nullptr, scratch) {}
  /// Backward: `pull` adds to `d_table`.
  RelativeTerm(const RelativeBuckets& buckets, ConstView<S> table, Index head, CallShape call, View<S> d_table,
               Arena& scratch)
      : RelativeTerm(buckets, table, head, call, d_table, scratch.take<S>(spelled(buckets, call).size()), scratch) {}
  /// Bytes of scratch that one takes.
  static std::size_t scratch(const RelativeBuckets& buckets, CallShape call, bool backward) {
    return (backward ? 2 : 1) * Arena::size_of<S>(spelled(buckets, call).size());
  }

  bool active() const { return true; }
  bool hides() const { return false; }
  bool sees(const Tile&, Index, Index) const { return true; }

  void fill(const Tile& tile, S* s) const {
    for (Index c = 0; c < tile.keys; ++c) {
      const S* const b = bias_ + first(tile, c);
      S* const e = s + c * tile.stride;
      Index r = 0;
      for (; r + detail::lanes<S> <= tile.stride; r += detail::lanes<S>)
        detail::store<S>(e + r, detail::padd(detail::load(e + r), detail::load(b + r)));
      for (; r < tile.stride; ++r) e[r] += b[r];
    }
  }

  void pull(const Tile& tile, const S* ds) const {
    const Range touched = {first(tile, tile.keys - 1), first(tile, 0) + tile.rows};
    std::fill_n(sums_ + touched.begin, touched.size(), S(0));
    for (Index c = 0; c < tile.keys; ++c) {
      S* const db = sums_ + first(tile, c);
      const S* const de = ds + c * tile.stride;
      Index r = 0;  // padding is no query, and may hold NaN
      for (; r + detail::lanes<S> <= tile.rows; r += detail::lanes<S>)
        detail::store<S>(db + r, detail::padd(detail::load(db + r), detail::load(de + r)));
      for (; r < tile.rows; ++r) db[r] += de[r];
    }
    View<S> d_table = d_table_;
    buckets_.for_each_run({spelled_.begin + touched.begin, spelled_.begin + touched.end}, [&](Index bucket, Range run) {
      const S* const db = sums_ + (run.begin - spelled_.begin);
      d_table(bucket, head_) += std::accumulate(db, db + run.size(), S(0));
    });
  }

 private:
  RelativeTerm(const RelativeBuckets& buckets, ConstView<S> table, Index head, CallShape call, View<S> d_table, S* sums,
               Arena& scratch)
      : buckets_(buckets),
        head_(head),
        spelled_(spelled(buckets, call)),
        bias_(scratch.take<S>(spelled_.size())),
        d_table_(d_table),
        sums_(sums) {
    buckets.for_each_run(spelled_, [&](Index bucket, Range run) {
      std::fill_n(bias_ + (run.begin - spelled_.begin), run.size(), table(bucket, head));
    });
  }

  static constexpr Index width = detail::tile_queries<S>;
  /// Distances that are spelled out: on both sides those of the call up to the last border, and so many more that a
  /// piece begins or ends there.
  static Range spelled(const RelativeBuckets& buckets, CallShape call) {
    const Index last = buckets.last_start();
    const Index before = std::min(last, std::max<Index>(call.keys - 1, 0));
    const Index after = buckets.two_sided() ? std::min(last, std::max<Index>(call.queries - 1, 0)) : 0;
    return {-after - width + 1, before + width};
  }
  /// Where the distance of the tile's first query from its key c is spelled out, or one in the same bucket and, with
  /// it, those of all queries after it.
  Index first(const Tile& tile, Index c) const {
    const Index t = tile.position(0) - tile.key - c;
    return std::clamp(t, spelled_.begin, spelled_.end - width) - spelled_.begin;
  }

  const RelativeBuckets& buckets_;
  Index head_;
  Range spelled_;
  S* bias_;  // by distance, from that of spelled_.begin on
  View<S> d_table_;
  S* sums_;  // of cotangents, as bias_
};
static_assert(ScoreTerm<RelativeTerm<float>, float>);

}  // namespace heed
