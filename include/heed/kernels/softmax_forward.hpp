// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/arena.hpp>
#include <heed/core/fields.hpp>
#include <heed/kernels/exp2.hpp>
#include <heed/kernels/gathered_forward.hpp>
#include <heed/kernels/score_terms.hpp>
#include <heed/kernels/score_tile.hpp>
#include <heed/kernels/tile_steps.hpp>

#include <algorithm>
#include <limits>
#include <memory>

/// o_i = sum_j p_ij v_j with p_ij = e^(s_ij - lse_i) over the keys j that query i sees, without the [n_q, n_k] matrix:
/// one pass over the keys with a running maximum m and sum l (FlashAttention, arXiv:2205.14135, algorithm 1).
///
/// The rows are cut into superblocks and these into tiles of up to 3 packets of queries. A superblock passes its keys
/// in blocks; every tile takes of a block what its own ranges name, 64 keys at a time:
///   S^T [keys][queries] = K Q^T, online softmax down the lanes, O [queries][d_v] = alpha O + P^T^T V.

namespace heed {

/// Rows of a task: results do not depend on where a call is cut if every cut is a multiple of it.
template <class S>
inline constexpr Index softmax_rows_per_task = detail::superblock_rows;

namespace detail {

/// One tile of queries while its superblock passes over the keys.
template <class S>
struct ForwardTile {
  Tile at;            // where it stands; `at.stride` lanes
  S *qt, *o, *m, *l;  // scale * q, transposed [d][stride]; sums [rows][padded d_v]; running maximum and sum [stride]
  Index* positions;   // [stride]; padding repeats the last
  Ranges ranges;      // the keys it may see
  Spans<S> spans;     // of the range it is in
};

/// One step of the online softmax on s [keys][N packets]: takes the maxima m and sums l on, turns the scores into
/// weights (see weight_room). True if a maximum moved: then alpha = e^(old m - new m), and l is rescaled already.
template <int N, class S>
bool softmax_step(S* s, Index keys, S* m, S* l, S* alpha) {
  using P = Packet<S>;
  constexpr Index width = N * lanes<S>;
  P top[std::size_t{N}], sum[std::size_t{N}];
  for (int v = 0; v < N; ++v) top[v] = load(m + v * lanes<S>);
  for (int v = 0; v < N; ++v) store<S>(alpha + v * lanes<S>, top[v]);
  for (Index c = 0; c < keys; ++c)
    for (int v = 0; v < N; ++v) top[v] = pmax(top[v], load(s + c * width + v * lanes<S>));
  for (int v = 0; v < N; ++v) store<S>(m + v * lanes<S>, top[v]);
  bool moved = false;
  for (Index i = 0; i < width; ++i) moved |= alpha[i] < m[i];
  // A query that has seen no key yet has the maximum -inf: taken as the lowest number, -inf - m stays -inf and not NaN.
  for (int v = 0; v < N; ++v) top[v] = pmax(top[v], broadcast(std::numeric_limits<S>::lowest()));
  for (int v = 0; v < N; ++v) sum[v] = load(l + v * lanes<S>);
  if (moved)
    for (int v = 0; v < N; ++v) {
      const P a = exp<S>(psub(load(alpha + v * lanes<S>), top[v]));
      store<S>(alpha + v * lanes<S>, a);
      sum[v] = pmul(sum[v], a);
    }
  for (Index c = 0; c < keys; ++c)
    for (int v = 0; v < N; ++v) {
      S* const at = s + c * width + v * lanes<S>;
      const P p = exp<S, weight_room>(psub(load(at), top[v]));
      store<S>(at, p);
      sum[v] = padd(sum[v], p);
    }
  for (int v = 0; v < N; ++v) store<S>(l + v * lanes<S>, sum[v]);
  return moved;
}

template <class S>
bool softmax_step(S* s, Index keys, Index width, S* m, S* l, S* alpha) {
  switch (width / lanes<S>) {
    case 1:
      return softmax_step<1>(s, keys, m, l, alpha);
    case 2:
      return softmax_step<2>(s, keys, m, l, alpha);
    default:
      return softmax_step<3>(s, keys, m, l, alpha);
  }
}

/// Buffers of a superblock.
template <class S>
struct ForwardScratch {
  ForwardTile<S>* tiles;
  Index* positions;
  S *qt, *o, *m, *l, *alpha, *s, *finite;
  S *k, *v;  // a block of keys, gathered; null where the caller's rows serve

  static bool gathers_k(Index rows, bool strided) { return strided && rows > tile_queries<S>; }
  static bool gathers_v(Index rows, Index d_v, bool strided) { return gathers_k(rows, strided) || d_v % lanes<S> != 0; }

  /// Calls take(type, count) -> pointer for every buffer: the only list of them.
  template <class Take>
  ForwardScratch(Index rows, Index block, Index n_k, Index d, Index d_v, bool k_strided, bool v_strided,
                 const Take& take) {
    const TileCount<S> most(rows, block);
    const Index width = most.lanes, padded = packet_padded<S>(d_v), keys = std::min(n_k, block_keys);
    tiles = take(static_cast<ForwardTile<S>*>(nullptr), most.tiles);
    positions = take(static_cast<Index*>(nullptr), width);
    const auto numbers = [&](Index count) { return take(static_cast<S*>(nullptr), count); };
    qt = numbers(width * d);
    o = numbers(rows * padded);
    m = numbers(width);
    l = numbers(width);
    alpha = numbers(tile_queries<S>);
    s = numbers(std::min(n_k, tile_keys) * std::min(width, tile_queries<S>));
    finite = numbers(std::min(n_k, tile_keys) * padded);
    k = gathers_k(rows, k_strided) ? numbers(keys * d) : nullptr;
    v = gathers_v(rows, d_v, v_strided) ? numbers(keys * padded) : nullptr;
  }
};

/// The tiles of the superblock `rows`, ready for their first key.
template <KeyPattern Pattern, class S>
OpenTiles open_tiles(const Pattern& pattern, S scale, ConstView<S> q, Index n_k, Index padded, Range rows, Index group,
                     const ForwardScratch<S>& scratch) {
  const Index d = q.cols(), shift = n_k - q.rows() / group;
  OpenTiles all;
  for (Index row = rows.begin, lane = 0; row < rows.end;) {
    ForwardTile<S>& tile = *std::construct_at(scratch.tiles + all.count++);
    tile.at = {.row = row, .group = group, .shift = shift};
    const Index n = rows_of_tile<S>(tile.at, query_block_of(pattern), rows.end - row), width = packet_padded<S>(n);
    tile.at.rows = n;
    tile.at.stride = width;
    tile.qt = scratch.qt + lane * d;
    tile.o = scratch.o + (row - rows.begin) * padded;
    tile.m = scratch.m + lane;
    tile.l = scratch.l + lane;
    tile.positions = scratch.positions + lane;
    tile.spans.of = {0, 0};
    std::fill_n(tile.m, width, -std::numeric_limits<S>::infinity());
    std::fill_n(tile.l, width, S(0));
    std::fill_n(tile.o, n * padded, S(0));
    for (Index r = 0; r < width; ++r) tile.positions[r] = tile.at.position(std::min(r, n - 1));
    transpose_rows(q.data() + row * q.outerStride(), q.outerStride(), n, d, scale, tile.qt, width);
    Ranges named;
    pattern.keys({tile.positions[0], tile.positions[n - 1] + 1}, n_k, named);
    for (const Range r : named) {
      tile.ranges.add(intersect(r, {0, n_k}));
      all.keys.add(intersect(r, {0, n_k}));
    }
    row += n;
    lane += width;
  }
  return all;
}

/// All keys: key j is row j of `data`, or, in panels (KeyPanels), a column of panel j / stride.
template <class S>
struct Keys {
  const S* data;
  Index n, d, stride;
  bool panels;
  const S* at(Index j) const { return panels ? data + j / stride * stride * d + j % stride : data + j * stride; }
};

/// The keys of a step: with `ldk` from one to the next, or along one if `k_transposed`.
template <class S>
struct KeyBlock {
  const S *k, *v;
  Index ldk, ldv;
  bool k_transposed, finite;  // no NaN and no infinity in v
};

/// One step of a tile of queries.
template <KeyPattern Pattern, class S, ScoreTerm<S> Term>
void forward_step(const Pattern& pattern, const Term& term, Logits<S> logits, const ForwardTile<S>& tile,
                  const Step<S>& step, const KeyBlock<S>& at, Index d, Index padded, const ForwardScratch<S>& scratch) {
  const Index first = step.lanes.begin, width = step.lanes.size(), keys = step.keys.size();
  const Index packets = padded / lanes<S>;
  const Tile here = tile.at.part(step.lanes, step.keys);
  S *const s = scratch.s, *const qt = tile.qt + first, *const o = tile.o + first * padded;
  if (at.k_transposed)
    tile_product<Operand::transposed>(keys, width / lanes<S>, d, at.k, at.ldk, qt, tile.at.stride, s, width,
                                      Start::zero);
  else
    tile_product<Operand::plain>(keys, width / lanes<S>, d, at.k, at.ldk, qt, tile.at.stride, s, width, Start::zero);
  if (logits.soft_cap > S(0)) soft_cap_tile(s, keys * width, logits.soft_cap);
  if (term.active()) term.fill(here, s);
  const bool all = step.all(pattern, tile.positions);
  if (!all) step.mask(pattern, tile.positions, -std::numeric_limits<S>::infinity(), s);
  const bool moved = softmax_step(s, keys, width, tile.m + first, tile.l + first, scratch.alpha);
  const S* const alpha = moved ? scratch.alpha : nullptr;
  if ((all && !term.hides()) || at.finite)
    tile_product<Operand::transposed>(here.rows, packets, keys, s, width, at.v, at.ldv, o, padded, Start::add, alpha);
  else
    product_where_seen<Operand::transposed>(here.rows, packets, keys, s, width, at.v, at.ldv, o, padded, Start::add,
                                            alpha, scratch.finite, [&](Index r, Index c) {
                                              const Index j = step.keys.begin + c;
                                              return pattern.sees(tile.positions[first + r], j) &&
                                                     term.sees(here, r, j);
                                            });
}

/// Query rows `rows`, at most a superblock.
template <KeyPattern Pattern, class S, ScoreTerm<S> Term>
void softmax_superblock(const Pattern& pattern, const Term& term, Logits<S> logits, ConstView<S> q,
                        const Keys<S>& all_keys, ConstView<S> all_values, Range rows, Index group, Out<S>& out,
                        Arena& arena) {
  const Arena::Frame frame(arena);
  const Index n_k = all_keys.n, d = q.cols(), d_v = all_values.cols(), padded = packet_padded<S>(d_v);
  const ForwardScratch<S> scratch(rows.size(), query_block_of(pattern) * group, n_k, d, d_v,
                                  !all_keys.panels && all_keys.stride != d, all_values.outerStride() != d_v,
                                  [&]<class T>(T*, Index count) { return arena.take<T>(count); });
  const OpenTiles tiles = open_tiles(pattern, logits.scale, q, n_k, padded, rows, group, scratch);
  for (const Range range : tiles.keys)
    for (Index from = range.begin, next; from < range.end; from = next) {
      next = (from / block_keys + 1) * block_keys;  // wherever the range begins: cuts must not depend on later rows
      const Range block = {from, std::min(range.end, next)};
      const S* v = all_values.data() + from * all_values.outerStride();
      if (scratch.k) pack(block.size(), d, all_keys.at(from), all_keys.stride, scratch.k, d);
      if (scratch.v) pack(block.size(), d_v, v, all_values.outerStride(), scratch.v, padded);
      if (scratch.v) v = scratch.v;
      const Index ldv = scratch.v ? padded : all_values.outerStride();
      const bool finite = all_finite(v, ldv, block.size(), padded / lanes<S>);
      const auto cut = [&](Index j) {
        return all_keys.panels ? (j / all_keys.stride + 1) * all_keys.stride : block.end;
      };
      for (Index t = 0; t < tiles.count; ++t) {
        ForwardTile<S>& tile = scratch.tiles[t];
        for (const Range named : tile.ranges)
          for_each_step(pattern, n_k, tile.positions, tile.at.rows, tile.at.stride, named, intersect(named, block),
                        tile.spans, cut, [&](const Step<S>& step) {
                          const Index j = step.keys.begin;
                          const KeyBlock<S> at = {.k = scratch.k ? scratch.k + (j - from) * d : all_keys.at(j),
                                                  .v = v + (j - from) * ldv,
                                                  .ldk = scratch.k ? d : all_keys.stride,
                                                  .ldv = ldv,
                                                  .k_transposed = all_keys.panels,
                                                  .finite = finite};
                          forward_step(pattern, term, logits, tile, step, at, d, padded, scratch);
                        });
      }
    }
  for (Index t = 0; t < tiles.count; ++t) {
    const ForwardTile<S>& tile = scratch.tiles[t];
    for (Index r = 0; r < tile.at.rows; ++r)
      finish_row(tile.o + r * padded, RowState<S>{tile.m[r], tile.l[r]}, tile.at.row + r, out);
  }
}

}  // namespace detail

/// Rows `rows` of o and lse; the other rows of `out` are not touched. `scratch` grows to `softmax_forward_scratch`
/// bytes.
template <KeyPattern Pattern, class S, ScoreTerm<S> Term>
void softmax_forward(const Pattern& pattern, const Term& term, Logits<S> logits, const Qkv<ConstView<S>>& in,
                     Range rows, Out<S> out, Arena& scratch) {
  const detail::Keys<S> keys = {
      .data = in.k.data(), .n = in.k.rows(), .d = in.k.cols(), .stride = in.k.outerStride(), .panels = false};
  for (Index row = rows.begin; row < rows.end; row += detail::superblock_rows) {
    const Range part = {row, std::min(rows.end, row + detail::superblock_rows)};
    if (detail::takes_rows(part.size()))
      gathered_forward(pattern, term, logits, in, part, out, scratch);
    else
      detail::softmax_superblock(pattern, term, logits, in.q, keys, in.v, part, 1, out, scratch);
  }
}

/// Bytes of scratch that softmax_forward takes for up to n_q rows and n_k keys. `strided`: rows of k and v do not lie
/// side by side. `query_block`: the pattern's (query_block_of).
template <class S>
std::size_t softmax_forward_scratch(Index n_q, Index n_k, Index d, Index d_v, bool strided, Index query_block = 0) {
  std::size_t tiles = 0;
  detail::ForwardScratch<S>(std::min(n_q, detail::superblock_rows), query_block, n_k, d, d_v, strided, strided,
                            [&]<class T>(T* none, Index count) {
                              tiles += Arena::size_of<T>(count);
                              return none;
                            });
  // A call of fewer rows may take them one by one.
  return std::max(tiles, gathered_forward_scratch<S>(std::min<Index>(n_q, 3), n_k, d, d_v));
}

}  // namespace heed
