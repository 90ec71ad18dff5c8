// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/kernels/gathered_backward.hpp>
#include <heed/kernels/gathered_forward.hpp>
#include <heed/kernels/logits.hpp>
#include <heed/kernels/softmax_forward.hpp>

#include <algorithm>
#include <functional>
#include <limits>

/// Softmax over patterns in which all queries see their past at the same distances, as far as there are keys: the query
/// at p sees key p - t for every t that the last query sees, and no other. No two rows share many keys, as in
/// gathered_forward; but at one distance the keys of neighbouring queries are neighbours too, a diagonal of the scores.
/// So one list of distances serves all rows, scores are computed along rows that follow each other in memory, and lie
/// [distances][rows]: the softmax runs down them, a packet of queries at a time.
///
/// The equations are those of gathered_forward and gathered_backward. dk and dv are added up in the order of the rows.

namespace heed {
namespace detail {

/// Rows of a block: whole packets of every scalar.
inline constexpr Index diagonal_rows = 16;

/// dot.packet[i] += a_i b_{at + i} elementwise for a packet of rows i, over N packets of columns. Only the rows `some`
/// are read: others repeat the nearest.
template <bool whole, int N, class S>
EIGEN_ALWAYS_INLINE void add_diagonal(const S* a, Index lda, const S* b, Index ldb, Index at, Range some,
                                      PacketSquare<S>& dot) {
#pragma GCC unroll 16
  for (Index i = 0; i < lanes<S>; ++i) {
    const Index r = whole ? i : std::clamp(i, some.begin, some.end - 1);
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n)
      dot.packet[i] = pmadd(load(a + r * lda + n * lanes<S>), load(b + (at + r) * ldb + n * lanes<S>), dot.packet[i]);
  }
}

/// s[r] = scale a_r . b_{at + r} for a packet of rows r, of which only `some` are read; lanes of others have numbers too.
template <bool whole, class S>
void diagonal_packet(const S* a, Index lda, const S* b, Index ldb, Index at, Index d, S scale, Range some, S* s) {
  constexpr Index side = lanes<S>;
  PacketSquare<S> dot;
#pragma GCC unroll 16
  for (Index i = 0; i < side; ++i) dot.packet[i] = broadcast(S(0));
  Index e = 0;
  for (; e + 4 * side <= d; e += 4 * side) add_diagonal<whole, 4>(a + e, lda, b + e, ldb, at, some, dot);
  for (; e + side <= d; e += side) add_diagonal<whole, 1>(a + e, lda, b + e, ldb, at, some, dot);
  store<S>(s, pmul(sums_of_rows<S>(dot), broadcast(scale)));
  for (; e < d; ++e)
    for (Index r = some.begin; r < some.end; ++r) s[r] += scale * a[r * lda + e] * b[(at + r) * ldb + e];
}

/// The block of rows that a walk is at.
struct DiagonalBlock {
  Range rows;
  Index position;     // of the first row
  const Index* list;  // keys that a query sees, counted from itself: 0 and below, descending
  Index count;        // of the last row: those before it see so many of the list at most

  DiagonalBlock(Range of, Index shift, const Index* all, Index listed)
      : rows(of), position(of.begin + shift), list(all), count(listed) {
    count = count_of(rows.size() - 1);
  }
  /// How much of the list row r of the block sees.
  Index count_of(Index r) const {
    const auto there = [&](Index key) { return position + r + key >= 0; };
    return count == 0 || there(list[count - 1]) ? count : std::partition_point(list, list + count, there) - list;
  }
  /// s [count][diagonal_rows] = scale a_r . b_j for the rows r and keys j, -inf where there is no key and no row.
  template <class S>
  void scores(const S* a, Index lda, const S* b, Index ldb, Index d, S scale, S* s) const {
    constexpr Index side = lanes<S>;
    for (Index c = 0; c < count; ++c)
      for (Index r = 0; r < diagonal_rows; r += side) {
        const Index key = position + r + list[c];
        const Range some = {std::clamp<Index>(-key, 0, side), std::min(side, rows.size() - r)};
        S* const to = s + c * diagonal_rows + r;
        if (some.size() == side)
          diagonal_packet<true>(a + r * lda, lda, b, ldb, key, d, scale, some, to);
        else if (!some.empty())
          diagonal_packet<false>(a + r * lda, lda, b, ldb, key, d, scale, some, to);
        std::fill_n(to, some.begin, -std::numeric_limits<S>::infinity());
        std::fill(to + std::max<Index>(some.end, 0), to + side, -std::numeric_limits<S>::infinity());
      }
  }
};

/// Lists what the last of n_k queries sees; gives how many keys that are. Null counts only.
template <KeyPattern Pattern>
Index list_distances(const Pattern& pattern, Index n_k, Index* list) {
  Index n = 0;
  for_each_seen(pattern, n_k - 1, n_k, [&](Range keys) {
    for (Index j = keys.begin; j < keys.end; ++j, ++n)
      if (list != nullptr) list[n] = j - (n_k - 1);
  });
  if (list != nullptr) std::sort(list, list + n, std::greater<>());
  return n;
}

/// Calls take(type, count) for every buffer of a walk.
template <class S>
struct DiagonalScratch {
  Index* list;
  S *s, *m, *l, *alpha, *o;  // [distances][rows]; [rows]; [d_v]
  S *k, *v;                  // copies of so many keys and values
  template <class Take>
  DiagonalScratch(Index distances, Index copies, Index d, Index d_v, const Take& take) {
    const auto numbers = [&](Index count) { return take(static_cast<S*>(nullptr), count); };
    list = take(static_cast<Index*>(nullptr), distances);
    s = numbers(distances * diagonal_rows);
    m = numbers(diagonal_rows);
    l = numbers(diagonal_rows);
    alpha = numbers(diagonal_rows);
    o = numbers(d_v);
    k = copies > 0 ? numbers(copies * d) : nullptr;
    v = copies > 0 ? numbers(copies * d_v) : nullptr;
  }
};
template <class S>
struct DiagonalGradientScratch {
  Index* list;
  S *p, *de;           // [distances][rows]
  S *lse, *delta;      // [rows]
  S *q, *dq;           // scale * q; sums of de k: of one row
  S *k, *v, *dk, *dv;  // copies of so many keys and values, and sums for them
  template <class Take>
  DiagonalGradientScratch(Index distances, Index copies, Index d, Index d_v, const Take& take) {
    const auto numbers = [&](Index count) { return take(static_cast<S*>(nullptr), count); };
    list = take(static_cast<Index*>(nullptr), distances);
    p = numbers(distances * diagonal_rows);
    de = numbers(distances * diagonal_rows);
    lse = numbers(diagonal_rows);
    delta = numbers(diagonal_rows);
    q = numbers(d);
    dq = numbers(d);
    const auto copy = [&](Index columns) { return copies > 0 ? numbers(copies * columns) : nullptr; };
    k = copy(d);
    v = copy(d_v);
    dk = copy(d);
    dv = copy(d_v);
  }
};

}  // namespace detail

/// Rows `rows` of o and lse; the other rows of `out` are not touched. Every row has the same bits whatever `rows` are.
template <KeyPattern Pattern, class S>
void diagonal_forward(const Pattern& pattern, Logits<S> logits, const Qkv<ConstView<S>>& in, Range rows, Out<S> out,
                      Arena& arena) {
  using namespace detail;
  const Arena::Frame frame(arena);
  const Index n_k = in.k.rows(), d = in.k.cols(), d_v = in.v.cols(), shift = n_k - in.q.rows();
  const DiagonalScratch<S> scratch(list_distances(pattern, n_k, nullptr), gathered_copies(rows.size(), n_k), d, d_v,
                                   [&]<class T>(T*, Index count) { return arena.take<T>(count); });
  const Index listed = list_distances(pattern, n_k, scratch.list);
  GatheredKeys<S> keys(pattern, in, {rows.begin + shift, rows.end + shift}, scratch.k, scratch.v);
  for (Index row = rows.begin; row < rows.end; row += diagonal_rows) {
    const DiagonalBlock block({row, std::min(rows.end, row + diagonal_rows)}, shift, scratch.list, listed);
    prefetch_rows(in.q, block.rows.end, block.rows.end + diagonal_rows);
    prefetch_rows(view(out.o), block.rows.end, std::min(rows.end, block.rows.end + diagonal_rows));
    keys.advance(in, block.rows.end + shift, [](Range) {});
    block.scores(in.q.data() + row * in.q.outerStride(), in.q.outerStride(), keys.k, keys.ldk, d, logits.scale,
                 scratch.s);
    std::fill_n(scratch.m, diagonal_rows, -std::numeric_limits<S>::infinity());
    std::fill_n(scratch.l, diagonal_rows, S(0));
    softmax_step<diagonal_rows / lanes<S>>(scratch.s, block.count, scratch.m, scratch.l, scratch.alpha);
    for (Index r = 0; r < block.rows.size(); ++r) {
      std::fill_n(scratch.o, d_v, S(0));
      if (const Index count = block.count_of(r); count > 0)
        row_values(scratch.s + r, diagonal_rows, scratch.list, count, keys.v + (block.position + r) * keys.ldv,
                   keys.ldv, S(1), scratch.o, d_v);
      finish_row(scratch.o, RowState<S>{scratch.m[r], scratch.l[r]}, row + r, out);
    }
  }
}

/// Adds the gradients of diagonal_forward to `din`. `out` is what forward made, `dout` its cotangent; an empty
/// `dout.lse` stands for zeros.
template <KeyPattern Pattern, class S>
void diagonal_backward(const Pattern& pattern, Logits<S> logits, const Qkv<ConstView<S>>& in, ConstOut<S> out,
                       ConstOut<S> dout, Qkv<View<S>> din, Arena& arena) {
  using namespace detail;
  const Arena::Frame frame(arena);
  const Index n_q = in.q.rows(), n_k = in.k.rows(), d = in.k.cols(), d_v = in.v.cols(), shift = n_k - n_q;
  const Index copies = gathered_copies(n_q, n_k);
  const DiagonalGradientScratch<S> scratch(list_distances(pattern, n_k, nullptr), copies, d, d_v,
                                           [&]<class T>(T*, Index count) { return arena.take<T>(count); });
  const Index listed = list_distances(pattern, n_k, scratch.list);
  GatheredKeys<S> keys(pattern, in, {shift, n_k}, scratch.k, scratch.v);
  GatheredGradients<S> gradients(din, scratch.dk, scratch.dv);
  const auto d_o = [&](Index row) { return dout.o.data() + row * dout.o.outerStride(); };

  for (Index row = 0; row < n_q; row += diagonal_rows) {
    const DiagonalBlock block({row, std::min(n_q, row + diagonal_rows)}, shift, scratch.list, listed);
    const Index end = block.rows.end, last = end + diagonal_rows;
    prefetch_rows(in.q, end, last);
    prefetch_rows(out.o, end, last);
    prefetch_rows(dout.o, end, last);
    prefetch_rows(view(din.q), end, last);
    keys.advance(in, end + shift, [&](Range fresh) { gradients.clear(fresh); });
    std::fill_n(scratch.lse, diagonal_rows, S(0));
    std::fill_n(scratch.delta, diagonal_rows, S(0));
    for (Index i = row, r = 0; i < end; ++i, ++r) {
      scratch.lse[r] = out.lse[i];
      scratch.delta[r] =
          dot_product(d_o(i), out.o.data() + i * out.o.outerStride(), d_v) - (dout.lse.size() > 0 ? dout.lse[i] : S(0));
    }
    block.scores(in.q.data() + row * in.q.outerStride(), in.q.outerStride(), keys.k, keys.ldk, d, logits.scale,
                 scratch.p);
    block.scores(d_o(row), dout.o.outerStride(), keys.v, keys.ldv, d_v, S(1), scratch.de);
    for (Index i = 0; i < block.count * diagonal_rows; i += lanes<S>) {
      const Index r = i % diagonal_rows;
      const Packet<S> p = exp<S>(psub(load(scratch.p + i), load(scratch.lse + r)));
      store<S>(scratch.p + i, p);
      store<S>(scratch.de + i, pmul(p, psub(load(scratch.de + i), load(scratch.delta + r))));
    }
    for (Index r = 0; r < block.rows.size(); ++r) {
      const Index count = block.count_of(r), first = block.position + r;
      // No score above -inf: no gradients.
      if (count == 0 || scratch.lse[r] == -std::numeric_limits<S>::infinity()) continue;
      const S* const q = in.q.data() + (row + r) * in.q.outerStride();
      for (Index e = 0; e < d; ++e) scratch.q[e] = logits.scale * q[e];
      std::fill_n(scratch.dq, d, S(0));
      row_values(scratch.de + r, diagonal_rows, scratch.list, count, keys.k + first * keys.ldk, keys.ldk, S(1),
                 scratch.dq, d);
      row_scatter(scratch.de + r, diagonal_rows, scratch.list, count, scratch.q, gradients.k + first * gradients.ldk,
                  gradients.ldk, d);
      row_scatter(scratch.p + r, diagonal_rows, scratch.list, count, d_o(row + r), gradients.v + first * gradients.ldv,
                  gradients.ldv, d_v);
      add_rows(scratch.dq, d, logits.scale, 1, d, din.q.data() + (row + r) * din.q.outerStride(), din.q.outerStride());
    }
  }
  gradients.add_to(din, keys);
}

/// Bytes of scratch that they take for up to so many rows and keys, strided or not.
template <class S, KeyPattern Pattern>
std::size_t diagonal_forward_scratch(const Pattern& pattern, Index rows, Index n_k, Index d, Index d_v) {
  std::size_t bytes = 0;
  detail::DiagonalScratch<S>(detail::list_distances(pattern, n_k, nullptr), std::min(n_k, 4 * rows), d, d_v,
                             [&]<class T>(T* none, Index count) {
                               bytes += Arena::size_of<T>(count);
                               return none;
                             });
  return bytes;
}
template <class S, KeyPattern Pattern>
std::size_t diagonal_backward_scratch(const Pattern& pattern, Index rows, Index n_k, Index d, Index d_v) {
  std::size_t bytes = 0;
  detail::DiagonalGradientScratch<S>(detail::list_distances(pattern, n_k, nullptr), std::min(n_k, 4 * rows), d, d_v,
                                     [&]<class T>(T* none, Index count) {
                                       bytes += Arena::size_of<T>(count);
                                       return none;
                                     });
  return bytes;
}

}  // namespace heed
