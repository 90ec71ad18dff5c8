// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/kernels/gathered_forward.hpp>

#include <algorithm>
#include <limits>

/// The gradients of gathered_forward, row by row as there: weights come again from the scores and the saved log-sum-exp.
/// With p_ij = e^(e_ij - lse_i), D_i = do_i . o_i:
///   de_ij = p_ij (do_i . v_j - D_i + dlse_i),    du_ij = de_ij (1 - (t_ij / soft_cap)^2),
///   dq_i += scale sum_j du_ij k_j,     dk_j += scale du_ij q_i,     dv_j += p_ij do_i.
///
/// dk and dv are added up where the caller has them, in the order of the rows.

namespace heed {
namespace detail {

/// to_j [N packets] += weight[c] row for the keys j = list[c].
template <int N, class S>
void row_scatter(const S* weight, const Index* list, Index count, const S* row, S* to, Index stride) {
  Packet<S> x[std::size_t{N}];
  for (int n = 0; n < N; ++n) x[n] = load(row + n * lanes<S>);
  for (Index c = 0; c < count; ++c) {
    const Packet<S> w = broadcast(weight[c]);
    S* const sum = to + list[c] * stride;
    for (int n = 0; n < N; ++n) store<S>(sum + n * lanes<S>, pmadd(w, x[n], load(sum + n * lanes<S>)));
  }
}

template <class S>
void row_scatter(const S* weight, const Index* list, Index count, const S* row, S* to, Index stride, Index d) {
  for (Index e = 0; e < d;) {
    const Index left = (d - e) / lanes<S>;
    if (left >= 4) {
      row_scatter<4>(weight, list, count, row + e, to + e, stride), e += 4 * lanes<S>;
    } else if (left >= 1) {
      row_scatter<1>(weight, list, count, row + e, to + e, stride), e += lanes<S>;
    } else {
      for (Index c = 0; c < count; ++c) to[list[c] * stride + e] += weight[c] * row[e];
      ++e;
    }
  }
}

/// Calls take(type, count) for every buffer of a row.
template <class S>
struct RowGradientScratch {
  Index* list;
  S *p, *de, *slope;  // weights, cotangents of the scores, 1 - (t / cap)^2
  S *dq, *q;          // sum of du k; scale * q
  template <class Take>
  RowGradientScratch(Index d, const Take& take) {
    list = take(static_cast<Index*>(nullptr), packet_padded<S>(chunk_keys));
    const auto numbers = [&](Index count) { return take(static_cast<S*>(nullptr), count); };
    p = numbers(packet_padded<S>(chunk_keys));
    de = numbers(packet_padded<S>(chunk_keys));
    slope = numbers(packet_padded<S>(chunk_keys));
    dq = numbers(d);
    q = numbers(d);
  }
};

template <KeyPattern Pattern, class S, ScoreTerm<S> Term>
void softmax_row_backward(const Pattern& pattern, const Term& term, Logits<S> logits, const Qkv<ConstView<S>>& in,
                          const ConstOut<S>& out, const ConstOut<S>& dout, Index row, Qkv<View<S>>& din,
                          const RowGradientScratch<S>& scratch) {
  const S lse = out.lse[row];
  if (lse == -std::numeric_limits<S>::infinity()) return;
  const Index n_k = in.k.rows(), d = in.q.cols(), d_v = in.v.cols();
  const Tile at{.row = row, .rows = 1, .stride = 1, .shift = n_k - in.q.rows()};
  const S *const q = in.q.data() + row * in.q.outerStride(), *const d_o = dout.o.data() + row * dout.o.outerStride();
  const S delta = dot_product(d_o, out.o.data() + row * out.o.outerStride(), d_v) -
                  (dout.lse.size() > 0 ? dout.lse[row] : S(0));
  const Index* const list = scratch.list;
  S *const p = scratch.p, *const de = scratch.de;
  for (Index e = 0; e < d; ++e) scratch.q[e] = logits.scale * q[e];
  std::fill_n(scratch.dq, d, S(0));
  for_each_chunk<S>(pattern, term, at, n_k, scratch.list, [&](Index count) {
    const Index padded = packet_padded<S>(count);
    row_scores(q, d, logits.scale, in.k.data(), in.k.outerStride(), list, count, p);
    row_scores(d_o, d_v, S(1), in.v.data(), in.v.outerStride(), list, count, de);
    if (logits.soft_cap > S(0)) {
      soft_cap_tile(p, padded, logits.soft_cap);
      for (Index c = 0; c < padded; ++c) scratch.slope[c] = logits.slope(p[c]);
    }
    if (term.active()) for_each_run(at, list, count, [&](const Tile& run, Index first) { term.fill(run, p + first); });
    for (Index c = 0; c < padded; c += lanes<S>) {
      const Packet<S> weight = exp<S>(psub(load(p + c), broadcast(lse)));
      store<S>(p + c, weight);
      store<S>(de + c, pmul(weight, psub(load(de + c), broadcast(delta))));
    }
    if (term.active()) for_each_run(at, list, count, [&](const Tile& run, Index first) { term.pull(run, de + first); });
    if (logits.soft_cap > S(0))
      for (Index c = 0; c < count; ++c) de[c] *= scratch.slope[c];
    row_values(de, list, count, in.k.data(), in.k.outerStride(), S(1), scratch.dq, d);
    row_scatter(de, list, count, scratch.q, din.k.data(), din.k.outerStride(), d);
    row_scatter(p, list, count, d_o, din.v.data(), din.v.outerStride(), d_v);
  });
  S* const dq = din.q.data() + row * din.q.outerStride();
  for (Index e = 0; e < d; ++e) dq[e] += logits.scale * scratch.dq[e];
}

}  // namespace detail

/// Adds the gradients of gathered_forward to `din`, and hands the cotangents of the scores to `term.pull`. `out` is what
/// forward made, `dout` its cotangent; an empty `dout.lse` stands for zeros.
template <KeyPattern Pattern, class S, ScoreTerm<S> Term>
void gathered_backward(const Pattern& pattern, const Term& term, Logits<S> logits, const Qkv<ConstView<S>>& in,
                       ConstOut<S> out, ConstOut<S> dout, Qkv<View<S>> din, Arena& arena) {
  const Arena::Frame frame(arena);
  const detail::RowGradientScratch<S> scratch(in.q.cols(),
                                              [&]<class T>(T*, Index count) { return arena.take<T>(count); });
  for (Index row = 0; row < in.q.rows(); ++row)
    detail::softmax_row_backward(pattern, term, logits, in, out, dout, row, din, scratch);
}

/// Bytes of scratch that gathered_backward takes.
template <class S>
std::size_t gathered_backward_scratch(Index d) {
  std::size_t bytes = 0;
  detail::RowGradientScratch<S>(d, [&]<class T>(T* none, Index count) {
    bytes += Arena::size_of<T>(count);
    return none;
  });
  return bytes;
}

}  // namespace heed
