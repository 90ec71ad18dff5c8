// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/arena.hpp>
#include <heed/core/fields.hpp>
#include <heed/kernels/exp2.hpp>
#include <heed/kernels/pack.hpp>
#include <heed/kernels/score_terms.hpp>
#include <heed/kernels/score_tile.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

/// o_i = sum_j p_ij v_j row by row: the kernel for few rows, as in decoding one token, and for patterns of a few scattered
/// keys per row. Each (query, key) is a dot product of its own, with d in the lanes: nothing is used twice, and reading
/// the keys and values that a row sees is all the cost.
///
/// The keys of a block of rows are listed first, then passed in stages - scores, online softmax, values - so that the
/// rows hide each other's latencies. What a row does not see is in no list, and never read.

namespace heed {
namespace detail {

/// Rows of a block, and how many keys its list holds; a longer row passes in pieces.
inline constexpr Index gathered_rows = 16, gathered_keys = 512;

/// Whether so few rows are taken one after the other instead of as a tile.
inline bool takes_rows(Index rows) { return rows > 0 && rows <= 3; }

/// Keys of one row: `count` from `begin` on in the list, which repeats the last one until a packet is full.
struct Piece {
  Tile at;  // of this row
  Index row, begin, count;
};

/// Lists the keys that the rows of a block see and calls use(number of pieces) whenever the list is full, and at the
/// end. A row is cut where it fills a list of its own, whatever the rows before it see.
template <class S, KeyPattern Pattern, ScoreTerm<S> Term, class Use>
void for_each_list(const Pattern& pattern, const Term& term, Range rows, Index shift, Index n_k, Index* list,
                   Piece* pieces, const Use& use) {
  const bool hides = term.hides();
  Index used = 0, n = 0;
  const auto pass = [&] {
    if (n > 0) use(n);
    n = 0;
  };
  for (Index row = rows.begin; row < rows.end; ++row) {
    const Tile at{.row = row, .rows = 1, .stride = 1, .shift = shift};
    Index begin = used;
    const auto close = [&] {
      if (used == begin) return;
      pieces[n++] = {at, row - rows.begin, begin, used - begin};
      for (; used % lanes<S> != 0; ++used) list[used] = list[used - 1];
    };
    for_each_seen(pattern, at.position(0), n_k, [&](Range keys) {
      for (Index j = keys.begin; j < keys.end; ++j) {
        if (hides && !term.sees(at, 0, j)) continue;
        if (used == gathered_keys) {
          if (begin == 0) close();
          pass();
          used = begin == 0 ? 0 : std::copy(list + begin, list + used, list) - list;
          begin = 0;
        }
        list[used++] = j;
      }
    });
    close();
  }
  pass();
}

/// How much of the list its pieces take.
template <class S>
Index listed(const Piece* pieces, Index n) {
  return pieces[n - 1].begin + packet_padded<S>(pieces[n - 1].count);
}

/// Calls f(tile, first) for every run of adjacent keys of a piece: the first of them is number `first` of the list.
template <class F>
void for_each_run(const Piece& piece, const Index* list, const F& f) {
  Tile at = piece.at;
  const Index last = piece.begin + piece.count;
  for (Index first = piece.begin, end; first < last; first = end) {
    end = first + 1;
    while (end < last && list[end] == list[end - 1] + 1) ++end;
    at.key = list[first];
    at.keys = end - first;
    f(at, first);
  }
}

/// dot.packet[i] += q k_j elementwise for the keys j = list[i], over N packets of columns.
template <int N, class S>
EIGEN_ALWAYS_INLINE void add_products(const S* q, const S* k, Index stride, const Index* list, PacketSquare<S>& dot) {
  Packet<S> x[std::size_t{N}];
  for (int n = 0; n < N; ++n) x[n] = load(q + n * lanes<S>);
#pragma GCC unroll 16
  for (int i = 0; i < lanes<S>; ++i) {
    const S* const row = k + list[i] * stride;
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) dot.packet[i] = pmadd(x[n], load(row + n * lanes<S>), dot.packet[i]);
  }
}

/// s[c] = scale q . k_j for the `count` keys j = list[c], a packet of keys at a time.
template <class S>
void row_scores(const S* q, Index d, S scale, const S* k, Index stride, const Index* list, Index count, S* s) {
  constexpr Index side = lanes<S>;
  for (Index c = 0; c < count; c += side) {
    PacketSquare<S> dot;
#pragma GCC unroll 16
    for (int i = 0; i < side; ++i) dot.packet[i] = broadcast(S(0));
    Index e = 0;
    for (; e + 4 * side <= d; e += 4 * side) add_products<4>(q + e, k + e, stride, list + c, dot);
    for (; e + side <= d; e += side) add_products<1>(q + e, k + e, stride, list + c, dot);
    store<S>(s + c, pmul(sums_of_rows<S>(dot), broadcast(scale)));
    for (; e < d; ++e)
      for (int i = 0; i < side; ++i) s[c + i] += scale * q[e] * k[list[c + i] * stride + e];
  }
}

/// o[N packets] = alpha o + sum_c p_c v_j for the keys j = list[c]; p_c = p[c * step].
template <int N, class S>
void row_values(const S* p, Index step, const Index* list, Index count, const S* v, Index stride, S alpha, S* o) {
  Packet<S> sum[std::size_t{N}];
  for (int n = 0; n < N; ++n) sum[n] = pmul(load(o + n * lanes<S>), broadcast(alpha));
  for (Index c = 0; c < count; ++c) {
    const Packet<S> weight = broadcast(p[c * step]);
    const S* const row = v + list[c] * stride;
    for (int n = 0; n < N; ++n) sum[n] = pmadd(weight, load(row + n * lanes<S>), sum[n]);
  }
  for (int n = 0; n < N; ++n) store<S>(o + n * lanes<S>, sum[n]);
}

template <class S>
void row_values(const S* p, Index step, const Index* list, Index count, const S* v, Index stride, S alpha, S* o,
                Index d_v) {
  for (Index e = 0; e < d_v;) {
    const Index left = (d_v - e) / lanes<S>;
    if (left >= 8) {
      row_values<8>(p, step, list, count, v + e, stride, alpha, o + e), e += 8 * lanes<S>;
    } else if (left >= 4) {
      row_values<4>(p, step, list, count, v + e, stride, alpha, o + e), e += 4 * lanes<S>;
    } else if (left >= 1) {
      row_values<1>(p, step, list, count, v + e, stride, alpha, o + e), e += lanes<S>;
    } else {
      S sum = alpha * o[e];
      for (Index c = 0; c < count; ++c) sum += p[c * step] * v[list[c] * stride + e];
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
  const Index padded = packet_padded<S>(count), last = padded - lanes<S>;
  store<S>(s + last, first_lanes<S>(load(s + last), count - last, -std::numeric_limits<S>::infinity()));
  Packet<S> tops = broadcast(state.m);
  for (Index c = 0; c < padded; c += lanes<S>) tops = pmax(tops, load(s + c));
  const S top = max_of_lanes<S>(tops);
  const S safe = std::max(top, std::numeric_limits<S>::lowest());
  const S alpha = state.l == S(0) ? S(0) : exp_of(state.m - safe);
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
  if (state.l == S(0)) {
    std::fill_n(to, out.o.cols(), S(0));
  } else {
    const Packet<S> factor = broadcast(inverse);
    Index e = map_packets(out.o.cols(), sums, to, [&](const Packet<S>& x) { return pmul(x, factor); });
    for (; e < out.o.cols(); ++e) to[e] = sums[e] * inverse;
  }
  out.lse[row] = state.m + std::log(state.l * std::ldexp(S(1), weight_room));
}

/// Asks for rows that are wanted soon: no hardware sees a strided walk coming.
template <class S>
void prefetch_rows(ConstView<S> m, Index begin, Index end) {
  constexpr Index line = 64 / sizeof(S);
  for (Index r = begin; r < std::min(end, m.rows()); ++r)
    for (Index e = 0; e < m.cols(); e += line) Eigen::internal::prefetch(m.data() + r * m.outerStride() + e);
}

/// How many keys a walk down so many rows copies: all if it reads them several times.
constexpr Index gathered_copies(Index rows, Index n_k) { return n_k <= 4 * rows ? n_k : 0; }

/// The keys and values of a walk down some rows: where they are, or copied side by side as the walk comes to them. (The
/// rows of a head in a wide matrix share a few sets of every cache.)
template <class S>
struct GatheredKeys {
  const S *k, *v;
  Index ldk, ldv;
  S *copy_k, *copy_v;  // null for none
  Ranges named;        // what the walk may read
  Index copied = 0;    // everything of that below

  template <KeyPattern Pattern>
  GatheredKeys(const Pattern& pattern, const Qkv<ConstView<S>>& in, Range positions, S* copy_of_k, S* copy_of_v)
      : k(in.k.data()),
        v(in.v.data()),
        ldk(in.k.outerStride()),
        ldv(in.v.outerStride()),
        copy_k(copy_of_k),
        copy_v(copy_of_v) {
    if (copy_k == nullptr) return;
    pattern.keys(positions, in.k.rows(), named);
    k = copy_k;
    v = copy_v;
    ldk = in.k.cols();
    ldv = in.v.cols();
  }
  /// Before keys below `end` are read; calls fresh(Range) for what is copied now.
  template <class Fresh>
  void advance(const Qkv<ConstView<S>>& in, Index end, const Fresh& fresh) {
    if (copy_k == nullptr || end <= copied) return;
    const Range now = {copied, end};
    for (const Range range : named) {
      const Range part = intersect(range, now);
      if (part.empty()) continue;
      pack(part.size(), ldk, in.k.data() + part.begin * in.k.outerStride(), in.k.outerStride(),
           copy_k + part.begin * ldk, ldk);
      pack(part.size(), ldv, in.v.data() + part.begin * in.v.outerStride(), in.v.outerStride(),
           copy_v + part.begin * ldv, ldv);
      fresh(part);
    }
    copied = now.end;
    prefetch_rows(in.k, copied, copied + gathered_rows);
    prefetch_rows(in.v, copied, copied + gathered_rows);
  }
  template <class Fresh>
  void advance(const Qkv<ConstView<S>>& in, const Index* list, Index size, const Fresh& fresh) {
    if (copy_k != nullptr && copied < in.k.rows()) advance(in, *std::max_element(list, list + size) + 1, fresh);
  }
};

/// Calls take(type, count) for every buffer of a walk.
template <class S>
struct GatheredScratch {
  Index* list;
  Piece* pieces;
  RowState<S>* states;
  S *alpha, *s, *o;  // [pieces]; [keys]; [rows][d_v]
  S *k, *v;          // copies of so many keys and values
  template <class Take>
  GatheredScratch(Index copies, Index d, Index d_v, const Take& take) {
    const auto numbers = [&](Index count) { return take(static_cast<S*>(nullptr), count); };
    list = take(static_cast<Index*>(nullptr), gathered_keys);
    pieces = take(static_cast<Piece*>(nullptr), gathered_rows);
    states = take(static_cast<RowState<S>*>(nullptr), gathered_rows);
    alpha = numbers(gathered_rows);
    s = numbers(gathered_keys);
    o = numbers(gathered_rows * d_v);
    k = copies > 0 ? numbers(copies * d) : nullptr;
    v = copies > 0 ? numbers(copies * d_v) : nullptr;
  }
};

}  // namespace detail

/// Rows `rows` of o and lse; the other rows of `out` are not touched. Every row has the same bits whatever `rows` are.
template <KeyPattern Pattern, class S, ScoreTerm<S> Term>
void gathered_forward(const Pattern& pattern, const Term& term, Logits<S> logits, const Qkv<ConstView<S>>& in,
                      Range rows, Out<S> out, Arena& arena) {
  using namespace detail;
  const Arena::Frame frame(arena);
  const Index n_k = in.k.rows(), d = in.k.cols(), d_v = in.v.cols(), shift = n_k - in.q.rows();
  const GatheredScratch<S> scratch(gathered_copies(rows.size(), n_k), d, d_v,
                                   [&]<class T>(T*, Index count) { return arena.take<T>(count); });
  const Index* const list = scratch.list;
  GatheredKeys<S> keys(pattern, in, {rows.begin + shift, rows.end + shift}, scratch.k, scratch.v);
  for (Index row = rows.begin; row < rows.end; row += gathered_rows) {
    const Range block = {row, std::min(rows.end, row + gathered_rows)};
    prefetch_rows(in.q, block.end, block.end + gathered_rows);
    prefetch_rows(view(out.o), block.end, std::min(rows.end, block.end + gathered_rows));
    std::fill_n(scratch.states, block.size(), RowState<S>{});
    std::fill_n(scratch.o, block.size() * d_v, S(0));
    for_each_list<S>(pattern, term, block, shift, n_k, scratch.list, scratch.pieces, [&](Index n) {
      const Piece *const begin = scratch.pieces, *const end = begin + n;
      keys.advance(in, list, listed<S>(begin, n), [](Range) {});
      for (const Piece* x = begin; x != end; ++x)
        row_scores(in.q.data() + x->at.row * in.q.outerStride(), d, logits.scale, keys.k, keys.ldk, list + x->begin,
                   x->count, scratch.s + x->begin);
      if (logits.soft_cap > S(0)) soft_cap_tile(scratch.s, listed<S>(begin, n), logits.soft_cap);
      for (const Piece* x = begin; x != end; ++x) {
        if (term.active())
          for_each_run(*x, list, [&](const Tile& run, Index first) { term.fill(run, scratch.s + first); });
        scratch.alpha[x - begin] = row_softmax(scratch.s + x->begin, x->count, scratch.states[x->row]);
      }
      for (const Piece* x = begin; x != end; ++x)
        row_values(scratch.s + x->begin, 1, list + x->begin, x->count, keys.v, keys.ldv, scratch.alpha[x - begin],
                   scratch.o + x->row * d_v, d_v);
    });
    for (Index r = 0; r < block.size(); ++r) finish_row(scratch.o + r * d_v, scratch.states[r], row + r, out);
  }
}

/// Bytes of scratch that gathered_forward takes for up to so many rows and keys, strided or not.
template <class S>
std::size_t gathered_forward_scratch(Index rows, Index n_k, Index d, Index d_v) {
  std::size_t bytes = 0;
  detail::GatheredScratch<S>(std::min(n_k, 4 * rows), d, d_v, [&]<class T>(T* none, Index count) {
    bytes += Arena::size_of<T>(count);
    return none;
  });
  return bytes;
}

}  // namespace heed
