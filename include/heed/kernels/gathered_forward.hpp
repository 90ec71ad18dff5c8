// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/arena.hpp>
#include <heed/core/fields.hpp>
#include <heed/kernels/exp2.hpp>
#include <heed/kernels/score_terms.hpp>
#include <heed/kernels/score_tile.hpp>
#include <heed/patterns/seen_keys.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

/// o_i = sum_j p_ij v_j row by row: the kernel for few rows, as in decoding one token, and for patterns of a few scattered
/// keys per row. Nothing is used twice, so that reading the keys and values of a row once is all the cost. d lies in the
/// lanes, and keys pass in chunks: dot products with the query, online softmax over the chunk, values added up.
///
/// A chunk is a list of keys that the query sees: what it does not see is never read.

namespace heed {
namespace detail {

/// Keys of a chunk.
inline constexpr Index chunk_keys = 1024;

/// Whether so few rows are taken one after the other instead of as a tile.
inline bool takes_rows(Index rows) { return rows > 0 && rows <= 3; }

/// Fills `list` with up to chunk_keys keys that the row of `at` sees, padded to whole packets with any of them, and
/// calls use(count), until all had their turn.
template <class S, KeyPattern Pattern, ScoreTerm<S> Term, class Use>
void for_each_chunk(const Pattern& pattern, const Term& term, const Tile& at, Index n_k, Index* list, const Use& use) {
  const bool hides = term.hides();
  Index count = 0;
  const auto take = [&] {
    if (count == 0) return;
    std::fill(list + count, list + packet_padded<S>(count), list[count - 1]);
    use(count);
    count = 0;
  };
  for_each_seen(pattern, at.position(0), n_k, [&](Range keys) {
    for (Index j = keys.begin; j < keys.end; ++j) {
      if (hides && !term.sees(at, 0, j)) continue;
      if (count == chunk_keys) take();
      list[count++] = j;
    }
  });
  take();
}

/// Calls f(tile, first) for every run of adjacent keys of a list: `tile` is `at` with these keys, the first of which is
/// list[first].
template <class F>
void for_each_run(Tile at, const Index* list, Index count, const F& f) {
  for (Index first = 0, end; first < count; first = end) {
    end = first + 1;
    while (end < count && list[end] == list[end - 1] + 1) ++end;
    at.key = list[first];
    at.keys = end - first;
    f(at, first);
  }
}

/// s[c] = scale q . k_j for the `count` keys j = list[c], a packet of keys at a time; the list is padded to whole
/// packets with any keys.
template <class S>
void row_scores(const S* q, Index d, S scale, const S* k, Index stride, const Index* list, Index count, S* s) {
  using P = Packet<S>;
  constexpr int side = lanes<S>;
  const Index whole = d / side * side;
  for (Index c = 0; c < count; c += side) {
    PacketSquare<S> dot;
    const S* key[std::size_t{side}];
    for (int i = 0; i < side; ++i) key[i] = k + list[c + i] * stride;
    for (int i = 0; i < side; ++i) dot.packet[i] = broadcast(S(0));
    for (Index e = 0; e < whole; e += side) {
      const P x = load(q + e);
      for (int i = 0; i < side; ++i) dot.packet[i] = pmadd(x, load(key[i] + e), dot.packet[i]);
    }
    store<S>(s + c, pmul(sums_of_rows<S>(dot), broadcast(scale)));
    if (whole == d) continue;
    for (int i = 0; i < side; ++i) {
      S rest = S(0);
      for (Index e = whole; e < d; ++e) rest += q[e] * key[i][e];
      s[c + i] += scale * rest;
    }
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
    } else if (left >= 1) {
      row_values<1>(p, list, count, v + e, stride, alpha, o + e), e += lanes<S>;
    } else {
      S sum = alpha * o[e];
      for (Index c = 0; c < count; ++c) sum += p[c] * v[list[c] * stride + e];
      o[e++] = sum;
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
void finish_row(const S* sums, const RowState<S>& state, Index row, Out<S>& out) {
  S* const to = out.o.data() + row * out.o.outerStride();
  const S inverse = S(1) / state.l;
  for (Index e = 0; e < out.o.cols(); ++e) to[e] = state.l == S(0) ? S(0) : sums[e] * inverse;
  out.lse[row] = state.m + std::log(std::ldexp(state.l, weight_room));
}

/// Calls take(type, count) for every buffer of a row.
template <class S>
struct RowScratch {
  Index* list;
  S *s, *o;
  template <class Take>
  RowScratch(Index d_v, const Take& take) {
    list = take(static_cast<Index*>(nullptr), packet_padded<S>(chunk_keys));
    s = take(static_cast<S*>(nullptr), packet_padded<S>(chunk_keys));
    o = take(static_cast<S*>(nullptr), d_v);
  }
};

/// The scores of the row of `at` against a list of keys, after soft cap and term.
template <class S, ScoreTerm<S> Term>
void row_logits(const Term& term, Logits<S> logits, const Tile& at, const S* q, ConstView<S> k, const Index* list,
                Index count, S* s) {
  row_scores(q, k.cols(), logits.scale, k.data(), k.outerStride(), list, count, s);
  if (logits.soft_cap > S(0)) soft_cap_tile(s, packet_padded<S>(count), logits.soft_cap);
  if (term.active()) for_each_run(at, list, count, [&](const Tile& run, Index first) { term.fill(run, s + first); });
}

template <KeyPattern Pattern, class S, ScoreTerm<S> Term>
void softmax_row(const Pattern& pattern, const Term& term, Logits<S> logits, const Qkv<ConstView<S>>& in, Index row,
                 Out<S>& out, const RowScratch<S>& scratch) {
  const Index n_k = in.k.rows(), d_v = in.v.cols();
  const Tile at{.row = row, .rows = 1, .stride = 1, .shift = n_k - in.q.rows()};
  std::fill_n(scratch.o, d_v, S(0));
  RowState<S> state;
  for_each_chunk<S>(pattern, term, at, n_k, scratch.list, [&](Index count) {
    row_logits(term, logits, at, in.q.data() + row * in.q.outerStride(), in.k, scratch.list, count, scratch.s);
    const S alpha = row_softmax(scratch.s, count, state);
    row_values(scratch.s, scratch.list, count, in.v.data(), in.v.outerStride(), alpha, scratch.o, d_v);
  });
  finish_row(scratch.o, state, row, out);
}

}  // namespace detail

/// Rows `rows` of o and lse; the other rows of `out` are not touched. Every row has the same bits whatever `rows` are.
template <KeyPattern Pattern, class S, ScoreTerm<S> Term>
void gathered_forward(const Pattern& pattern, const Term& term, Logits<S> logits, const Qkv<ConstView<S>>& in,
                      Range rows, Out<S> out, Arena& arena) {
  const Arena::Frame frame(arena);
  const detail::RowScratch<S> scratch(in.v.cols(), [&]<class T>(T*, Index count) { return arena.take<T>(count); });
  for (Index row = rows.begin; row < rows.end; ++row) detail::softmax_row(pattern, term, logits, in, row, out, scratch);
}

/// Bytes of scratch that gathered_forward takes.
template <class S>
std::size_t gathered_forward_scratch(Index d_v) {
  std::size_t bytes = 0;
  detail::RowScratch<S>(d_v, [&]<class T>(T* none, Index count) {
    bytes += Arena::size_of<T>(count);
    return none;
  });
  return bytes;
}

}  // namespace heed
