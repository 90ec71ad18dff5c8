// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/arena.hpp>
#include <heed/core/fields.hpp>
#include <heed/kernels/exp2.hpp>
#include <heed/kernels/score_terms.hpp>
#include <heed/kernels/score_tile.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

/// The softmax of a single query, as in decoding one token: nothing is used twice, so that reading K and V once is all
/// the cost. Here d, whole packets of it, lies in the lanes, and keys pass in chunks: dot products with the query,
/// online softmax over the chunk, values added up.
///
/// The keys of a chunk come as a list of those the query sees: what it does not see is never read.

namespace heed::detail {

/// Keys of a chunk.
inline constexpr Index chunk_keys = 1024;

/// Whether so few rows are taken one after the other instead of as a tile; whole packets only.
template <class S>
bool takes_rows(Index rows, Index d, Index d_v) {
  return rows > 0 && rows <= 3 && d > 0 && d_v > 0 && d % lanes<S> == 0 && d_v % lanes<S> == 0;
}

/// s[c] = scale q . k_j for the `count` keys j = list[c], a packet of keys at a time; the list is padded to whole
/// packets with any keys.
template <class S>
void row_scores(const S* q, Index d, S scale, const S* k, Index stride, const Index* list, Index count, S* s) {
  using P = Packet<S>;
  constexpr int side = lanes<S>;
  for (Index c = 0; c < count; c += side) {
    PacketSquare<S> dot;
    const S* key[std::size_t{side}];
    for (int i = 0; i < side; ++i) key[i] = k + list[c + i] * stride;
    for (int i = 0; i < side; ++i) dot.packet[i] = broadcast(S(0));
    for (Index e = 0; e < d; e += side) {
      const P x = load(q + e);
      for (int i = 0; i < side; ++i) dot.packet[i] = pmadd(x, load(key[i] + e), dot.packet[i]);
    }
    transpose<S>(dot);
    for (int step = side / 2; step > 0; step /= 2)
      for (int i = 0; i < step; ++i) dot.packet[i] = padd(dot.packet[i], dot.packet[i + step]);
    store<S>(s + c, pmul(dot.packet[0], broadcast(scale)));
  }
}

/// o[N packets] = alpha o + sum_c p[c] v_j for the keys j = list[c].
template <int N, class S>
void row_values(const S* p, const Index* list, Index count, const S* v, Index stride, S alpha, S* o) {
  Packet<S> sum[std::size_t{N}];
  for (int n = 0; n < N; ++n) sum[n] = pmul(load(o + n * lanes<S>), broadcast(alpha));
  for (Index c = 0; c < count; ++c) {
    const Packet<S> weight = broadcast(p[c]);
    const S* const row = v + list[c] * stride;
    for (int n = 0; n < N; ++n) sum[n] = pmadd(weight, load(row + n * lanes<S>), sum[n]);
  }
  for (int n = 0; n < N; ++n) store<S>(o + n * lanes<S>, sum[n]);
}

template <class S>
void row_values(const S* p, const Index* list, Index count, const S* v, Index stride, S alpha, S* o, Index d_v) {
  for (Index e = 0; e < d_v;) {
    const Index left = (d_v - e) / lanes<S>;
    if (left >= 8) {
      row_values<8>(p, list, count, v + e, stride, alpha, o + e), e += 8 * lanes<S>;
    } else if (left >= 4) {
      row_values<4>(p, list, count, v + e, stride, alpha, o + e), e += 4 * lanes<S>;
    } else {
      row_values<1>(p, list, count, v + e, stride, alpha, o + e), e += lanes<S>;
    }
  }
}

/// Running state of the row.
template <class S>
struct RowState {
  S m = -std::numeric_limits<S>::infinity(), l = S(0);
};

/// Weights are 2^-weight_room e^(s - m): as exact a number as e^(s - m), and small enough that sums of weighted values
/// stay within the values, however large these are, over 2^20 keys. The same for every length: later keys must not move
/// a bit.
inline constexpr int weight_room = 20;

/// Turns the scores s [count] into weights, padding to whole packets as 0, and takes the maximum and the sum on.
/// Returns what the sums so far are to be multiplied with.
template <class S>
S row_softmax(S* s, Index count, RowState<S>& state) {
  const Index padded = packet_padded<S>(count);
  std::fill(s + count, s + padded, -std::numeric_limits<S>::infinity());
  Packet<S> tops = broadcast(state.m);
  for (Index c = 0; c < padded; c += lanes<S>) tops = pmax(tops, load(s + c));
  const S top = max_of_lanes<S>(tops);
  const S safe = std::max(top, std::numeric_limits<S>::lowest());
  const S alpha = exp_of(state.m - safe);
  Packet<S> sum = broadcast(S(0));
  for (Index c = 0; c < padded; c += lanes<S>) {
    const Packet<S> p = exp<S, weight_room>(psub(load(s + c), broadcast(safe)));
    store<S>(s + c, p);
    sum = padd(sum, p);
  }
  state = {top, state.l * alpha + sum_of_lanes<S>(sum)};
  return alpha;
}

/// o = sums / l and lse = m + log l, less the room; a row that saw no key has o = 0 and lse = -inf.
template <class S>
void finish_row(const S* sums, RowState<S> state, Index row, Out<S>& out) {
  S* const to = out.o.data() + row * out.o.outerStride();
  const Index d_v = out.o.cols();
  if (state.l == S(0)) {
    std::fill_n(to, d_v, S(0));
  } else {
    const S inverse = S(1) / state.l;
    for (Index e = 0; e < d_v; ++e) to[e] = sums[e] * inverse;
  }
  out.lse[row] = state.m + std::log(state.l * S(Index{1} << weight_room));
}

/// Calls take(type, count) for every buffer of the row path.
template <class S>
struct RowScratch {
  Index* list;
  S *s, *bias, *o;
  template <class Take>
  RowScratch(Index d_v, const Take& take) {
    list = take(static_cast<Index*>(nullptr), packet_padded<S>(chunk_keys));
    s = take(static_cast<S*>(nullptr), packet_padded<S>(chunk_keys));
    bias = take(static_cast<S*>(nullptr), chunk_keys);
    o = take(static_cast<S*>(nullptr), d_v);
  }
};

template <KeyPattern Pattern, class S, ScoreTerm<S> Term>
void softmax_row(const Pattern& pattern, const Term& term, Logits<S> logits, const Qkv<ConstView<S>>& in, Index row,
                 Out<S>& out, Arena& arena) {
  const Arena::Frame frame(arena);
  const Index n_k = in.k.rows(), d = in.q.cols(), d_v = in.v.cols();
  const RowScratch<S> scratch(d_v, [&]<class T>(T*, Index count) { return arena.take<T>(count); });
  Tile at{.row = row, .rows = 1, .stride = 1, .shift = n_k - in.q.rows()};
  const Index p = at.position(0);
  std::fill_n(scratch.o, d_v, S(0));
  RowState<S> state;
  Ranges ranges;
  pattern.keys({p, p + 1}, n_k, ranges);
  for (const Range named : ranges) {
    const Range range = intersect(named, {0, n_k});
    for (Index from = range.begin; from < range.end; from += chunk_keys) {
      const Range keys = {from, std::min(range.end, from + chunk_keys)};
      at.key = keys.begin;
      at.keys = keys.size();
      const bool all = pattern.all({p, p + 1}, keys) && !term.hides();
      Index count = all ? keys.size() : 0;
      if (all)
        std::iota(scratch.list, scratch.list + count, keys.begin);
      else
        for (Index j = keys.begin; j < keys.end; ++j)
          if (pattern.sees(p, j) && term.sees(at, 0, j)) scratch.list[count++] = j;
      if (count == 0) continue;
      std::fill(scratch.list + count, scratch.list + packet_padded<S>(count), scratch.list[count - 1]);
      row_scores(in.q.data() + row * in.q.outerStride(), d, logits.scale, in.k.data(), in.k.outerStride(), scratch.list,
                 count, scratch.s);
      if (logits.soft_cap > S(0)) soft_cap_tile(scratch.s, packet_padded<S>(count), logits.soft_cap);
      if (term.active()) {
        std::fill_n(scratch.bias, keys.size(), S(0));
        term.fill(at, scratch.bias);
        for (Index c = 0; c < count; ++c) scratch.s[c] += scratch.bias[scratch.list[c] - keys.begin];
      }
      const S alpha = row_softmax(scratch.s, count, state);
      row_values(scratch.s, scratch.list, count, in.v.data(), in.v.outerStride(), alpha, scratch.o, d_v);
    }
  }
  finish_row(scratch.o, state, row, out);
}

}  // namespace heed::detail
