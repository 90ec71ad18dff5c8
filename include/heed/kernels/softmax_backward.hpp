// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/arena.hpp>
#include <heed/core/fields.hpp>
#include <heed/kernels/dot_product.hpp>
#include <heed/kernels/exp2.hpp>
#include <heed/kernels/score_terms.hpp>
#include <heed/kernels/score_tile.hpp>
#include <heed/kernels/tile_steps.hpp>

#include <algorithm>
#include <limits>
#include <memory>

/// Gradients of the softmax over a key pattern (FlashAttention, arXiv:2205.14135, algorithm 4): the weights come again
/// from the scores and the saved log-sum-exp, tile by tile. With p_ij = e^(e_ij - lse_i):
///   dv_j += sum_i p_ij do_i,     dp_ij = do_i . v_j,     D_i = do_i . o_i,
///   de_ij = p_ij (dp_ij - D_i + dlse_i),    du_ij = de_ij (1 - (t_ij / soft_cap)^2),
///   dq_i += scale sum_j du_ij k_j,     dk_j += scale sum_i du_ij q_i.
///
/// Superblocks and tiles of queries as in the forward pass, keys in blocks. dq of a superblock and dk, dv of a block
/// add up in scratch and reach the caller once per superblock and block, in the order of both.

namespace heed {
namespace detail {

/// One tile of queries while its superblock passes over the keys.
template <class S>
struct BackwardTile {
  Tile at;           // where it stands; `at.stride` lanes
  S *qt, *dot;       // scale * q and do, transposed: [d][stride], [d_v][stride]
  S *q, *d_o, *dq;   // [rows][padded d], [rows][padded d_v], sums of dq / scale [rows][padded d]
  S *lse, *delta;    // [stride]; delta = D - dlse
  Index* positions;  // [stride]; padding repeats the last
  bool finite;       // no NaN and no infinity in q and do
  Ranges ranges;     // the keys it may see
  Spans<S> spans;    // of the range it is in
};

/// Turns scores s and dp into weights p = e^(s - lse) and cotangents de = p (dp - delta), both in place.
template <class S>
void weights_and_cotangents(S* s, S* dp, Index keys, Index width, const S* lse, const S* delta) {
  for (Index r = 0; r < width; r += lanes<S>) {
    const Packet<S> shift = load(lse + r), less = load(delta + r);
    for (Index c = r; c < keys * width; c += width) {
      const Packet<S> p = exp<S>(psub(load(s + c), shift));
      store<S>(s + c, p);
      store<S>(dp + c, pmul(p, psub(load(dp + c), less)));
    }
  }
}

/// Buffers of a superblock.
template <class S>
struct BackwardScratch {
  BackwardTile<S>* tiles;
  Index* positions;
  S *qt, *dot, *q, *d_o, *dq, *lse, *delta;
  S *s, *ds, *slope, *finite;  // score tiles; 1 - (t / cap)^2; see product_where_seen
  S *dk, *dv;                  // sums of a block of keys
  S *k, *v;                    // a block of keys, gathered; null where the caller's rows serve

  /// Calls take(type, count) -> pointer for every buffer: the only list of them.
  template <class Take>
  BackwardScratch(Index rows, Index block, Index n_k, Index d, Index d_v, bool k_strided, bool v_strided,
                  const Take& take) {
    const TileCount<S> most(rows, block);
    const Index width = most.lanes, tile = std::min(width, tile_queries<S>);
    const Index keys = std::min(n_k, block_keys), padded = packet_padded<S>(d), padded_v = packet_padded<S>(d_v);
    tiles = take(static_cast<BackwardTile<S>*>(nullptr), most.tiles);
    positions = take(static_cast<Index*>(nullptr), width);
    const auto numbers = [&](Index count) { return take(static_cast<S*>(nullptr), count); };
    qt = numbers(width * d);
    dot = numbers(width * d_v);
    q = numbers(rows * padded);
    d_o = numbers(rows * padded_v);
    dq = numbers(rows * padded);
    lse = numbers(width);
    delta = numbers(width);
    s = numbers(std::min(n_k, tile_keys) * tile);
    ds = numbers(std::min(n_k, tile_keys) * tile);
    slope = numbers(std::min(n_k, tile_keys) * tile);
    finite = numbers(std::max(std::min(n_k, tile_keys), std::min(rows, tile)) * std::max(padded, padded_v));
    dk = numbers(keys * padded);
    dv = numbers(keys * padded_v);
    k = k_strided || d != padded ? numbers(keys * padded) : nullptr;
    v = v_strided ? numbers(keys * d_v) : nullptr;
  }
};

/// The tiles of the superblock `rows`, ready for their first key.
template <KeyPattern Pattern, class S>
OpenTiles open_tiles(const Pattern& pattern, S scale, const Qkv<ConstView<S>>& in, const ConstOut<S>& out,
                     const ConstOut<S>& dout, Range rows, const BackwardScratch<S>& scratch) {
  const Index n_k = in.k.rows(), d = in.q.cols(), d_v = in.v.cols();
  const Index padded = packet_padded<S>(d), padded_v = packet_padded<S>(d_v);
  OpenTiles all;
  for (Index row = rows.begin, lane = 0; row < rows.end;) {
    BackwardTile<S>& tile = *std::construct_at(scratch.tiles + all.count++);
    tile.at = {.row = row, .shift = n_k - in.q.rows()};
    const Index n = rows_of_tile<S>(tile.at, query_block_of(pattern), rows.end - row), width = packet_padded<S>(n);
    const Index first = row - rows.begin;
    tile.at.rows = n;
    tile.at.stride = width;
    tile.qt = scratch.qt + lane * d;
    tile.dot = scratch.dot + lane * d_v;
    tile.q = scratch.q + first * padded;
    tile.d_o = scratch.d_o + first * padded_v;
    tile.dq = scratch.dq + first * padded;
    tile.lse = scratch.lse + lane;
    tile.delta = scratch.delta + lane;
    tile.positions = scratch.positions + lane;
    pack(n, d, in.q.data() + row * in.q.outerStride(), in.q.outerStride(), tile.q, padded);
    pack(n, d_v, dout.o.data() + row * dout.o.outerStride(), dout.o.outerStride(), tile.d_o, padded_v);
    std::fill_n(tile.dq, n * padded, S(0));
    for (Index r = 0; r < width; ++r) {
      const Index i = row + r;
      tile.positions[r] = tile.at.position(std::min(r, n - 1));
      if (r < n && out.lse[i] != -std::numeric_limits<S>::infinity()) {
        tile.lse[r] = out.lse[i];
        tile.delta[r] = dot_product(tile.d_o + r * padded_v, out.o.data() + i * out.o.outerStride(), d_v) -
                        (dout.lse.size() > 0 ? dout.lse[i] : S(0));
      } else {  // padding, or a row that sees nothing: every weight e^(s - inf) is 0, and so is all it is multiplied
                // with
        tile.lse[r] = std::numeric_limits<S>::infinity();
        tile.delta[r] = S(0);
        if (r < n) std::fill_n(tile.q + r * padded, padded, S(0));
        if (r < n) std::fill_n(tile.d_o + r * padded_v, padded_v, S(0));
      }
    }
    tile.finite =
        all_finite(tile.q, padded, n, padded / lanes<S>) && all_finite(tile.d_o, padded_v, n, padded_v / lanes<S>);
    tile.spans.of = {0, 0};
    transpose_rows(tile.q, padded, n, d, scale, tile.qt, width);
    transpose_rows(tile.d_o, padded_v, n, d_v, S(1), tile.dot, width);
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

/// The keys of a step: rows of k, v, dk and dv.
template <class S>
struct KeyRows {
  const S *k, *v;
  Index ldk, ldv;
  S *dk, *dv;
  bool finite;  // no NaN and no infinity in k
};

/// All five products of one step of a tile of queries.
template <KeyPattern Pattern, class S, ScoreTerm<S> Term>
void backward_step(const Pattern& pattern, const Term& term, Logits<S> logits, const BackwardTile<S>& tile,
                   const Step<S>& step, const KeyRows<S>& at, Index d, Index d_v, const BackwardScratch<S>& scratch) {
  const Index first = step.lanes.begin, width = step.lanes.size(), keys = step.keys.size(), size = keys * width;
  const Index padded = packet_padded<S>(d), padded_v = packet_padded<S>(d_v);
  const Index packets = padded / lanes<S>, packets_v = padded_v / lanes<S>;
  const Tile here = tile.at.part(step.lanes, step.keys);
  const Index n = here.rows;
  S *const p = scratch.s, *const ds = scratch.ds;
  const S *const q = tile.q + first * padded, *const d_o = tile.d_o + first * padded_v;
  tile_product<Operand::plain>(keys, width / lanes<S>, d, at.k, at.ldk, tile.qt + first, tile.at.stride, p, width,
                               Start::zero);
  tile_product<Operand::plain>(keys, width / lanes<S>, d_v, at.v, at.ldv, tile.dot + first, tile.at.stride, ds, width,
                               Start::zero);
  const bool capped = logits.soft_cap > S(0);
  if (capped) {
    soft_cap_tile(p, size, logits.soft_cap);
    const S inverse = S(1) / logits.soft_cap;
    for (Index i = 0; i < size; ++i) scratch.slope[i] = S(1) - (p[i] * inverse) * (p[i] * inverse);
  }
  if (term.active()) term.fill(here, p);
  weights_and_cotangents(p, ds, keys, width, tile.lse + first, tile.delta + first);
  const bool all = step.all(pattern, tile.positions);
  if (!all) {
    step.mask(pattern, tile.positions, S(0), p);
    step.mask(pattern, tile.positions, S(0), ds);
    if (capped) step.mask(pattern, tile.positions, S(0), scratch.slope);
  }
  if (term.hides())
    for (Index c = 0; c < keys; ++c)
      for (Index r = 0; r < n; ++r)
        if (!term.sees(here, r, step.keys.begin + c)) {
          p[c * width + r] = ds[c * width + r] = S(0);
          if (capped) scratch.slope[c * width + r] = S(0);
        }
  if (term.active()) term.pull(here, ds);
  if (capped)
    for (Index i = 0; i < size; ++i) ds[i] *= scratch.slope[i];
  S* const dq = tile.dq + first * padded;
  if ((all && !term.hides()) || (tile.finite && at.finite)) {
    tile_product<Operand::plain>(keys, packets_v, n, p, width, d_o, padded_v, at.dv, padded_v, Start::add);
    tile_product<Operand::plain>(keys, packets, n, ds, width, q, padded, at.dk, padded, Start::add);
    tile_product<Operand::transposed>(n, packets, keys, ds, width, at.k, at.ldk, dq, padded, Start::add);
  } else {
    const auto sees_key = [&](Index r, Index c) {
      const Index j = step.keys.begin + c;
      return pattern.sees(tile.positions[first + r], j) && term.sees(here, r, j);
    };
    const auto key_seen = [&](Index c, Index r) { return sees_key(r, c); };
    const S* const as_is = nullptr;
    product_where_seen<Operand::plain>(keys, packets_v, n, p, width, d_o, padded_v, at.dv, padded_v, Start::add, as_is,
                                       scratch.finite, key_seen);
    product_where_seen<Operand::plain>(keys, packets, n, ds, width, q, padded, at.dk, padded, Start::add, as_is,
                                       scratch.finite, key_seen);
    product_where_seen<Operand::transposed>(n, packets, keys, ds, width, at.k, at.ldk, dq, padded, Start::add, as_is,
                                            scratch.finite, sees_key);
  }
}

/// Query rows `rows`, at most a superblock.
template <KeyPattern Pattern, class S, ScoreTerm<S> Term>
void backward_superblock(const Pattern& pattern, const Term& term, Logits<S> logits, const Qkv<ConstView<S>>& in,
                         const ConstOut<S>& out, const ConstOut<S>& dout, Range rows, Qkv<View<S>>& din, Arena& arena) {
  const Arena::Frame frame(arena);
  const Index d = in.q.cols(), d_v = in.v.cols();
  const Index padded = packet_padded<S>(d), padded_v = packet_padded<S>(d_v);
  const BackwardScratch<S> scratch(rows.size(), query_block_of(pattern), in.k.rows(), d, d_v, in.k.outerStride() != d,
                                   in.v.outerStride() != d_v,
                                   [&]<class T>(T*, Index count) { return arena.take<T>(count); });
  const OpenTiles tiles = open_tiles(pattern, logits.scale, in, out, dout, rows, scratch);
  for (const Range range : tiles.keys)
    for (Index from = range.begin; from < range.end; from += block_keys) {
      const Range block = {from, std::min(range.end, from + block_keys)};
      const S *k = in.k.data() + from * in.k.outerStride(), *v = in.v.data() + from * in.v.outerStride();
      if (scratch.k) pack(block.size(), d, k, in.k.outerStride(), scratch.k, padded);
      if (scratch.v) pack(block.size(), d_v, v, in.v.outerStride(), scratch.v, d_v);
      if (scratch.k) k = scratch.k;
      if (scratch.v) v = scratch.v;
      const Index ldk = scratch.k ? padded : in.k.outerStride(), ldv = scratch.v ? d_v : in.v.outerStride();
      std::fill_n(scratch.dk, block.size() * padded, S(0));
      std::fill_n(scratch.dv, block.size() * padded_v, S(0));
      const bool finite = all_finite(k, ldk, block.size(), padded / lanes<S>);
      for (Index t = 0; t < tiles.count; ++t) {
        BackwardTile<S>& tile = scratch.tiles[t];
        for (const Range named : tile.ranges)
          for_each_step(
              pattern, in.k.rows(), tile.positions, tile.at.rows, tile.at.stride, named, intersect(named, block),
              tile.spans, [&](Index) { return block.end; },
              [&](const Step<S>& step) {
                const Index c = step.keys.begin - from;
                const KeyRows<S> keys = {.k = k + c * ldk,
                                         .v = v + c * ldv,
                                         .ldk = ldk,
                                         .ldv = ldv,
                                         .dk = scratch.dk + c * padded,
                                         .dv = scratch.dv + c * padded_v,
                                         .finite = finite};
                backward_step(pattern, term, logits, tile, step, keys, d, d_v, scratch);
              });
      }
      add_rows(scratch.dk, padded, logits.scale, block.size(), d, din.k.data() + from * din.k.outerStride(),
               din.k.outerStride());
      add_rows(scratch.dv, padded_v, S(1), block.size(), d_v, din.v.data() + from * din.v.outerStride(),
               din.v.outerStride());
    }
  add_rows(scratch.dq, padded, logits.scale, rows.size(), d, din.q.data() + rows.begin * din.q.outerStride(),
           din.q.outerStride());
}

}  // namespace detail

/// Adds the gradients of softmax_forward (group 1) to `din`, and hands the cotangents of the scores to `term.pull`.
/// `out` is what forward made, `dout` its cotangent; an empty `dout.lse` stands for zeros.
template <KeyPattern Pattern, class S, ScoreTerm<S> Term>
void softmax_backward(const Pattern& pattern, const Term& term, Logits<S> logits, const Qkv<ConstView<S>>& in,
                      ConstOut<S> out, ConstOut<S> dout, Qkv<View<S>> din, Arena& scratch) {
  for (Index row = 0; row < in.q.rows(); row += detail::superblock_rows) {
    const Range rows = {row, std::min(in.q.rows(), row + detail::superblock_rows)};
    detail::backward_superblock(pattern, term, logits, in, out, dout, rows, din, scratch);
  }
}

/// Bytes of scratch that softmax_backward takes. `strided`: rows of k and v do not lie side by side. `query_block`:
/// the pattern's (query_block_of).
template <class S>
std::size_t softmax_backward_scratch(Index n_q, Index n_k, Index d, Index d_v, bool strided, Index query_block = 0) {
  std::size_t bytes = 0;
  detail::BackwardScratch<S>(std::min(n_q, detail::superblock_rows), query_block, n_k, d, d_v, strided, strided,
                             [&]<class T>(T* none, Index count) {
                               bytes += Arena::size_of<T>(count);
                               return none;
                             });
  return bytes;
}

}  // namespace heed
