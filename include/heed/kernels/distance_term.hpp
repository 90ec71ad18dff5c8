// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/arena.hpp>
#include <heed/core/fields.hpp>
#include <heed/kernels/pack.hpp>
#include <heed/kernels/score_tile.hpp>
#include <heed/kernels/softmax_backward.hpp>
#include <heed/kernels/thin_product.hpp>

#include <algorithm>
#include <bit>
#include <memory>

/// The score term of a table of distances, at the speed of the other products of a tile:
///   e_ij += scale q_i . table[t] + ramp(i, t),  t = p_i - j - nearest,  for t in [0, distances).
///
/// A tile of queries meets its keys in order, and so its distances: each is multiplied with all queries of the tile once,
/// E^T [distances][queries] = table Q^T, and kept in a ring for the next keys. Scores are diagonals of it, which are read
/// packet by packet (`shear`). Backward writes the cotangents of the scores along the same diagonals into another ring,
/// and multiplies what leaves it with the table (dq) and the queries (d table). Kernels may take a tile in parts, some
/// lanes of it at a time: the rings are of the whole tile.

namespace heed::detail {

/// Hands to(i, packet) for i in [begin, end), whose lane l is that of from(i + l): a diagonal of what `from` reads.
/// `from` is asked for [begin, end + lanes - 1).
template <class S, class From, class To>
void shear(Index begin, Index end, const From& from, const To& to) {
  constexpr int side = lanes<S>;
  for (Index i = begin; i < end; i += side) {
    const Index n = std::min<Index>(side, end - i);
    Packet<S> x[std::size_t{2 * side - 1}];
#pragma GCC unroll 32
    for (int r = 0; r < 2 * side - 1; ++r) x[r] = from(std::min(i + r, end + side - 2));
    // After step s, lane l of row r is that of row r + l % 2s.
    const auto step = [&]<int s>(std::integral_constant<int, s>) {
      if constexpr (s < side)
#pragma GCC unroll 32
        for (int r = 0; r < 2 * (side - s); ++r) x[r] = alternate<s, S>(x[r], x[r + s]);
    };
    static_assert(side <= 16);
    step(std::integral_constant<int, 1>{});
    step(std::integral_constant<int, 2>{});
    step(std::integral_constant<int, 4>{});
    step(std::integral_constant<int, 8>{});
    if (n == side) {
#pragma GCC unroll 16
      for (int r = 0; r < side; ++r) to(i + r, x[r]);
    } else {
      for (Index r = 0; r < n; ++r) to(i + r, x[r]);
    }
  }
}

/// Rows of a ring of distances: a tile of scores has no more.
template <class S>
inline constexpr Index distance_ring = Index{std::bit_ceil(std::size_t{tile_queries<S> + tile_keys})};

/// Which distances of which tile of queries a ring holds.
struct RingHold {
  Index row = -1, rows = 0;
  Range distances;

  bool has(Range range) const { return intersect(distances, range) == range; }
  /// What can stay when `range` comes in: what touches it and has room beside it, else an empty range at its end.
  Range staying(Range range, Index ring) const {
    const Range near = intersect(distances, {range.end - ring, range.begin + ring});
    return near.empty() || near.end < range.begin || near.begin > range.end ? Range{range.end, range.end} : near;
  }
};

/// Buffers of a DistanceTerm.
template <class S>
struct DistanceBuffers {
  RingHold *scores, *cotangents;
  S *qt, *e;                 // scale * q, transposed [d][tile_queries]; ring of E^T
  S *table, *q, *dq;         // the table, if its rows are not whole packets; scale * q, and sums of dq / scale
  S *de, *d_table, *finite;  // ring of the cotangents; sums of d table; see product_where_seen

  /// Calls take(type, count) -> pointer for every buffer: the only list of them.
  template <class Take>
  DistanceBuffers(Index distances, Index d, bool backward, const Take& take) {
    constexpr Index width = tile_queries<S>, ring = distance_ring<S>;
    const Index padded = packet_padded<S>(d);
    const auto numbers = [&](Index count) { return take(static_cast<S*>(nullptr), count); };
    scores = take(static_cast<RingHold*>(nullptr), 1);
    cotangents = take(static_cast<RingHold*>(nullptr), 1);
    qt = numbers(d * width);
    e = numbers(ring * width);
    if (!backward) return;
    table = d == padded ? nullptr : numbers(distances * padded);
    q = numbers(width * padded);
    dq = numbers(width * padded);
    de = numbers(ring * width);
    d_table = numbers(distances * padded);
    finite = numbers(ring * padded);
  }
  static std::size_t bytes(Index distances, Index d, bool backward) {
    std::size_t bytes = 0;
    DistanceBuffers(distances, d, backward, [&bytes]<class T>(T* none, Index count) {
      bytes += Arena::size_of<T>(count);
      return none;
    });
    return bytes;
  }
};

}  // namespace heed::detail

namespace heed {

/// See above; for one head (`Tile::group` 1). `Ramp` says what is added besides, and which distances a query sees:
/// - `sees_distance(row, t)`: whether query row `row` sees distance t; the caller's pattern says the same;
/// - `add(row, rows, t, e)` adds to e[r], the term of query row `row + r` and distance t, for r in [0, rows);
/// - `pull(row, rows, t, de)` is given the cotangents of the same; it may get those of one distance in parts.
template <class S, class Ramp>
class DistanceTerm {
 public:
  /// Forward, for the query rows `rows`; `table` has a row for each distance.
  DistanceTerm(ConstView<S> q, Range rows, ConstView<S> table, Index distances, Index nearest, S scale,
               const Ramp& ramp, Arena& scratch)
      : DistanceTerm(q, rows, table, distances, nearest, scale, ramp, {nullptr, 0, 0, Eigen::OuterStride<>(0)}, false,
                     scratch) {}
  /// Backward: `pull` adds to `dq`, and `finish` adds the gradient of the table.
  DistanceTerm(ConstView<S> q, ConstView<S> table, Index distances, Index nearest, S scale, const Ramp& ramp,
               View<S> dq, Arena& scratch)
      : DistanceTerm(q, {0, q.rows()}, table, distances, nearest, scale, ramp, dq, true, scratch) {}
  /// Bytes of scratch that one takes.
  static std::size_t scratch(Index distances, Index d, bool backward) {
    return detail::DistanceBuffers<S>::bytes(distances, d, backward);
  }

  bool active() const { return true; }
  bool hides() const { return false; }
  bool sees(const Tile&, Index, Index) const { return true; }

  void fill(const Tile& tile, S* s) const {
    if (tile.stride % detail::lanes<S> != 0) {
      for (Index r = 0; r < tile.rows; ++r) fill_row(tile, r, s + r);
      return;
    }
    for_each_part(tile, [&](Index base, Index keys, Index c) {
      const S* const e = at_.e + hold(tile, {base - keys + 1, base + tile.stride});
      for (Index v = 0; v < tile.stride; v += detail::lanes<S>) {
        S* const to = s + c * tile.stride + v;
        detail::shear<S>(
            base + v - keys + 1, base + v + 1, [&](Index t) { return detail::load(slot(e, t) + v); },
            [&](Index t, const detail::Packet<S>& x) {
              S* const at = to + (base + v - t) * tile.stride;
              detail::store<S>(at, detail::padd(detail::load(at), x));
            });
      }
    });
  }

  void pull(const Tile& tile, const S* ds) const {
    for_each_part(tile, [&](Index base, Index keys, Index c) {
      S* const de = at_.de + open(tile, {base - keys + 1, base + tile.stride});
      for (Index v = 0; v < tile.stride; v += detail::lanes<S>) {
        const S* const from = ds + c * tile.stride + v;
        detail::shear<S>(
            1 - detail::lanes<S>, keys,
            [&](Index i) {
              return i >= 0 && i < keys ? detail::load(from + i * tile.stride) : detail::broadcast(S(0));
            },
            [&](Index i, const detail::Packet<S>& x) {
              S* const at = slot(de, base + v - i) + v;
              detail::store<S>(at, detail::padd(detail::load(at), x));
            });
      }
    });
  }

  /// After the last `pull`: adds what is still in the ring, and the gradient of the table.
  void finish(View<S> d_table) const {
    close();
    detail::add_rows(at_.d_table, padded_, S(1), distances_, q_.cols(), d_table.data(), d_table.outerStride());
  }

 private:
  DistanceTerm(ConstView<S> q, Range rows, ConstView<S> table, Index distances, Index nearest, S scale,
               const Ramp& ramp, View<S> dq, bool backward, Arena& scratch)
      : q_(q),
        rows_(rows),
        dq_(dq),
        table_(table),
        ramp_(ramp),
        distances_(distances),
        nearest_(nearest),
        scale_(scale),
        padded_(detail::packet_padded<S>(q.cols())),
        at_(distances, q.cols(), backward, [&]<class T>(T*, Index count) { return scratch.take<T>(count); }) {
    std::construct_at(at_.scores);
    std::construct_at(at_.cotangents);
    if (!backward) return;
    if (at_.table != nullptr) detail::pack(distances, q.cols(), table.data(), table.outerStride(), at_.table, padded_);
    std::fill_n(at_.d_table, distances * padded_, S(0));
  }

  static constexpr Index width = detail::tile_queries<S>, ring = detail::distance_ring<S>;
  template <class T>
  static T* slot(T* of, Index t) {
    return of + (t & (ring - 1)) * width;
  }
  /// The tile that these lanes are of; or, if they are of two, themselves.
  Range whole(const Tile& part) const {
    const Index row = rows_.begin + (part.row - rows_.begin) / width * width;
    return part.row + part.stride <= row + width ? Range{row, std::min(row + width, rows_.end)}
                                                 : Range{part.row, part.row + part.rows};
  }

  /// f(distance of the first query and the first key, keys, first key) for parts of the tile that fit the ring.
  template <class F>
  void for_each_part(const Tile& tile, const F& f) const {
    for (Index c = 0; c < tile.keys; c += detail::tile_keys)
      f(tile.position(0) - nearest_ - tile.key - c, std::min(detail::tile_keys, tile.keys - c), c);
  }
  /// f(t, n) for the distances [t, t + n) of `range` that the table has, in pieces that lie side by side in the ring.
  template <class F>
  void for_each_piece(Range range, const F& f) const {
    range = intersect(range, {0, distances_});
    for (Index t = range.begin, end; t < range.end; t = end) {
      end = std::min(range.end, (t / ring + 1) * ring);
      f(t, end - t);
    }
  }

  /// A query alone: distances lie in the lanes.
  void fill_row(const Tile& tile, Index r, S* s) const {
    const Index base = tile.position(r) - nearest_ - tile.key, row = tile.row + r;
    const Range all = intersect({base - tile.keys + 1, base + 1}, {0, distances_});
    for (Index t = all.begin; t < all.end; t += ring) {
      const Index n = std::min(ring, all.end - t);
      detail::thin_product(1, q_.cols(), n, q_.data() + row * q_.outerStride(), q_.outerStride(),
                           table_.data() + t * table_.outerStride(), table_.outerStride(), at_.e, n, false);
      for (Index i = 0; i < n; ++i) {
        at_.e[i] *= scale_;
        ramp_.add(row, 1, t + i, at_.e + i);
        s[(base - t - i) * tile.stride] += at_.e[i];
      }
    }
  }

  /// Has E^T of the tile's queries and all distances of `range`; distances that the table does not have are 0. Returns
  /// the lane of the first of these queries.
  Index hold(const Tile& part, Range range) const {
    detail::RingHold& held = *at_.scores;
    const Range tile = whole(part);
    if (held.row != tile.begin || held.rows != tile.size()) {
      held = {tile.begin, tile.size(), {range.end, range.end}};
      detail::transpose_rows(q_.data() + tile.begin * q_.outerStride(), q_.outerStride(), tile.size(), q_.cols(),
                             scale_, at_.qt, detail::packet_padded<S>(tile.size()));
    }
    if (!held.has(range)) {
      const Range stays = held.staying(range, ring);
      multiply({range.begin, stays.begin});
      multiply({stays.end, range.end});
      held.distances = {std::min(range.begin, stays.begin), std::max(range.end, stays.end)};
    }
    return part.row - tile.begin;
  }
  void multiply(Range range) const {
    const Index row = at_.scores->row, rows = at_.scores->rows, padded = detail::packet_padded<S>(rows);
    for (Index t = range.begin; t < range.end; ++t)
      if (t < 0 || t >= distances_) std::fill_n(slot(at_.e, t), padded, S(0));
    for_each_piece(range, [&](Index t, Index n) {
      detail::tile_product<detail::Operand::plain>(n, padded / detail::lanes<S>, q_.cols(),
                                                   table_.data() + t * table_.outerStride(), table_.outerStride(),
                                                   at_.qt, padded, slot(at_.e, t), width, detail::Start::zero);
      for (Index i = t; i < t + n; ++i) ramp_.add(row, rows, i, slot(at_.e, i));
    });
  }

  /// Makes room for the cotangents of `range`. What has to leave is complete, if keys come in order. Returns the lane of
  /// the first of these queries.
  Index open(const Tile& part, Range range) const {
    detail::RingHold& held = *at_.cotangents;
    const Range tile = whole(part);
    if (held.row != tile.begin || held.rows != tile.size()) {
      close();
      held = {tile.begin, tile.size(), {range.end, range.end}};
      for (Index r = 0; r < tile.size(); ++r) {
        const S* const from = q_.data() + (tile.begin + r) * q_.outerStride();
        S* const to = at_.q + r * padded_;
        for (Index e = 0; e < q_.cols(); ++e) to[e] = scale_ * from[e];
        std::fill_n(to + q_.cols(), padded_ - q_.cols(), S(0));
      }
      std::fill_n(at_.dq, tile.size() * padded_, S(0));
    }
    if (!held.has(range)) {
      const Range stays = held.staying(range, ring);
      flush({held.distances.begin, std::min(held.distances.end, stays.begin)});
      flush({std::max(held.distances.begin, stays.end), held.distances.end});
      for (Index t = range.begin; t < range.end; ++t)
        if (t < stays.begin || t >= stays.end) std::fill_n(slot(at_.de, t), width, S(0));
      held.distances = {std::min(range.begin, stays.begin), std::max(range.end, stays.end)};
    }
    return part.row - tile.begin;
  }
  void close() const {
    detail::RingHold& held = *at_.cotangents;
    if (held.row < 0) return;
    flush(held.distances);
    View<S> dq = dq_;
    detail::add_rows(at_.dq, padded_, scale_, held.rows, q_.cols(), dq.data() + held.row * dq.outerStride(),
                     dq.outerStride());
    held = {};
  }
  void flush(Range range) const {
    const Index row = at_.cotangents->row, rows = at_.cotangents->rows, packets = padded_ / detail::lanes<S>;
    const S* const as_is = nullptr;
    const S* const table = at_.table != nullptr ? at_.table : table_.data();
    const Index ldt = at_.table != nullptr ? padded_ : table_.outerStride();
    for_each_piece(range, [&](Index t, Index n) {
      const S* const de = slot(at_.de, t);
      const auto row_sees = [&](Index r, Index i) { return ramp_.sees_distance(row + r, t + i); };
      const auto is_seen = [&](Index i, Index r) { return ramp_.sees_distance(row + r, t + i); };
      detail::product_where_seen<detail::Operand::transposed>(rows, packets, n, de, width, table + t * ldt, ldt, at_.dq,
                                                              padded_, detail::Start::add, as_is, at_.finite, row_sees);
      detail::product_where_seen<detail::Operand::plain>(n, packets, rows, de, width, at_.q, padded_,
                                                         at_.d_table + t * padded_, padded_, detail::Start::add, as_is,
                                                         at_.finite, is_seen);
      for (Index i = 0; i < n; ++i) ramp_.pull(row, rows, t + i, slot(at_.de, t + i));
    });
  }

  ConstView<S> q_;
  Range rows_;
  View<S> dq_;
  ConstView<S> table_;
  const Ramp& ramp_;
  Index distances_, nearest_;
  S scale_;
  Index padded_;
  detail::DistanceBuffers<S> at_;
};

}  // namespace heed
