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
/// dk and dv are added up in the order of the rows.

namespace heed {
namespace detail {

/// to_j [N packets] += w_c row for the keys j = list[c]; w_c = weight[c * step].
template <int N, class S>
void row_scatter(const S* weight, Index step, const Index* list, Index count, const S* row, S* to, Index stride) {
  Packet<S> x[std::size_t{N}];
  for (int n = 0; n < N; ++n) x[n] = load(row + n * lanes<S>);
  for (Index c = 0; c < count; ++c) {
    const Packet<S> w = broadcast(weight[c * step]);
    S* const sum = to + list[c] * stride;
    for (int n = 0; n < N; ++n) store<S>(sum + n * lanes<S>, pmadd(w, x[n], load(sum + n * lanes<S>)));
  }
}

template <class S>
void row_scatter(const S* weight, Index step, const Index* list, Index count, const S* row, S* to, Index stride,
                 Index d) {
  for (Index e = 0; e < d;) {
    const Index left = (d - e) / lanes<S>;
    if (left >= 4) {
      row_scatter<4>(weight, step, list, count, row + e, to + e, stride), e += 4 * lanes<S>;
    } else if (left >= 1) {
      row_scatter<1>(weight, step, list, count, row + e, to + e, stride), e += lanes<S>;
    } else {
      for (Index c = 0; c < count; ++c) to[list[c] * stride + e] += weight[c * step] * row[e];
      ++e;
    }
  }
}

/// Where a walk adds the gradients of the keys and values: in place, or side by side as their copies (GatheredKeys).
template <class S>
struct GatheredGradients {
  S *k, *v;
  Index ldk, ldv;
  bool copies;

  GatheredGradients(Qkv<View<S>> din, S* sums_of_k, S* sums_of_v)
      : k(din.k.data()),
        v(din.v.data()),
        ldk(din.k.outerStride()),
        ldv(din.v.outerStride()),
        copies(sums_of_k != nullptr) {
    if (!copies) return;
    k = sums_of_k;
    v = sums_of_v;
    ldk = din.k.cols();
    ldv = din.v.cols();
  }
  /// Begins with these.
  void clear(Range keys) {
    std::fill_n(k + keys.begin * ldk, keys.size() * ldk, S(0));
    std::fill_n(v + keys.begin * ldv, keys.size() * ldv, S(0));
  }
  /// Adds what stands aside, after the last row.
  void add_to(Qkv<View<S>> din, const GatheredKeys<S>& keys) const {
    if (!copies) return;
    for (const Range range : keys.named) {
      const Range part = intersect(range, {0, keys.copied});
      if (part.empty()) continue;
      add_rows(k + part.begin * ldk, ldk, S(1), part.size(), ldk, din.k.data() + part.begin * din.k.outerStride(),
               din.k.outerStride());
      add_rows(v + part.begin * ldv, ldv, S(1), part.size(), ldv, din.v.data() + part.begin * din.v.outerStride(),
               din.v.outerStride());
    }
  }
};

/// Calls take(type, count) for every buffer of a walk.
template <class S>
struct GatheredGradientScratch {
  Index* list;
  Piece* pieces;
  S *p, *de, *slope;   // of the keys of a list: weights, cotangents of the scores, 1 - (t / cap)^2
  S *delta, *q, *dq;   // of the rows: D - dlse; scale * q; sums of du k
  S *k, *v, *dk, *dv;  // copies of so many keys and values, and sums for them
  template <class Take>
  GatheredGradientScratch(Index copies, Index d, Index d_v, const Take& take) {
    const auto numbers = [&](Index count) { return take(static_cast<S*>(nullptr), count); };
    list = take(static_cast<Index*>(nullptr), gathered_keys);
    pieces = take(static_cast<Piece*>(nullptr), gathered_rows);
    p = numbers(gathered_keys);
    de = numbers(gathered_keys);
    slope = numbers(gathered_keys);
    delta = numbers(gathered_rows);
    q = numbers(gathered_rows * d);
    dq = numbers(gathered_rows * d);
    const auto copy = [&](Index columns) { return copies > 0 ? numbers(copies * columns) : nullptr; };
    k = copy(d);
    v = copy(d_v);
    dk = copy(d);
    dv = copy(d_v);
  }
};

}  // namespace detail

/// Adds the gradients of gathered_forward to `din`, and hands the cotangents of the scores to `term.pull`. `out` is what
/// forward made, `dout` its cotangent; an empty `dout.lse` stands for zeros.
template <KeyPattern Pattern, class S, ScoreTerm<S> Term>
void gathered_backward(const Pattern& pattern, const Term& term, Logits<S> logits, const Qkv<ConstView<S>>& in,
                       ConstOut<S> out, ConstOut<S> dout, Qkv<View<S>> din, Arena& arena) {
  using namespace detail;
  const Arena::Frame frame(arena);
  const Index n_q = in.q.rows(), n_k = in.k.rows(), d = in.k.cols(), d_v = in.v.cols(), shift = n_k - n_q;
  const GatheredGradientScratch<S> scratch(gathered_copies(n_q, n_k), d, d_v,
                                           [&]<class T>(T*, Index count) { return arena.take<T>(count); });
  GatheredKeys<S> keys(pattern, in, {shift, n_k}, scratch.k, scratch.v);
  GatheredGradients<S> gradients(din, scratch.dk, scratch.dv);
  S *const p = scratch.p, *const de = scratch.de;
  const Index* const list = scratch.list;
  const bool capped = logits.soft_cap > S(0);
  const auto d_o = [&](Index row) { return dout.o.data() + row * dout.o.outerStride(); };

  for (Index row = 0; row < n_q; row += gathered_rows) {
    const Range block = {row, std::min(n_q, row + gathered_rows)};
    prefetch_rows(in.q, block.end, block.end + gathered_rows);
    prefetch_rows(out.o, block.end, block.end + gathered_rows);
    prefetch_rows(dout.o, block.end, block.end + gathered_rows);
    for (Index i = block.begin, r = 0; i < block.end; ++i, ++r) {
      scratch.delta[r] =
          dot_product(d_o(i), out.o.data() + i * out.o.outerStride(), d_v) - (dout.lse.size() > 0 ? dout.lse[i] : S(0));
      for (Index e = 0; e < d; ++e) scratch.q[r * d + e] = logits.scale * in.q.data()[i * in.q.outerStride() + e];
    }
    std::fill_n(scratch.dq, block.size() * d, S(0));
    for_each_list<S>(pattern, term, block, shift, n_k, scratch.list, scratch.pieces, [&](Index n) {
      Piece *const begin = scratch.pieces, *const end = begin + n;
      keys.advance(in, list, listed<S>(begin, n), [&](Range fresh) { gradients.clear(fresh); });
      for (const Piece* x = begin; x != end; ++x) {
        row_scores(in.q.data() + x->at.row * in.q.outerStride(), d, logits.scale, keys.k, keys.ldk, list + x->begin,
                   x->count, p + x->begin);
        row_scores(d_o(x->at.row), d_v, S(1), keys.v, keys.ldv, list + x->begin, x->count, de + x->begin);
      }
      if (capped) {
        const Index size = listed<S>(begin, n);
        soft_cap_tile(p, size, logits.soft_cap);
        for (Index c = 0; c < size; ++c) scratch.slope[c] = logits.slope(p[c]);
      }
      for (Piece* x = begin; x != end; ++x) {
        if (out.lse[x->at.row] == -std::numeric_limits<S>::infinity()) {  // no score above -inf: no gradients
          x->count = 0;
          continue;
        }
        const Index last = x->begin + packet_padded<S>(x->count);
        if (term.active()) for_each_run(*x, list, [&](const Tile& run, Index first) { term.fill(run, p + first); });
        for (Index c = x->begin; c < last; c += lanes<S>) {
          const Packet<S> weight = exp<S>(psub(load(p + c), broadcast(out.lse[x->at.row])));
          store<S>(p + c, weight);
          store<S>(de + c, pmul(weight, psub(load(de + c), broadcast(scratch.delta[x->row]))));
        }
        if (term.active()) for_each_run(*x, list, [&](const Tile& run, Index first) { term.pull(run, de + first); });
        for (Index c = x->begin; capped && c < last; ++c) de[c] *= scratch.slope[c];
      }
      for (const Piece* x = begin; x != end; ++x) {
        row_values(de + x->begin, 1, list + x->begin, x->count, keys.k, keys.ldk, S(1), scratch.dq + x->row * d, d);
        row_scatter(de + x->begin, 1, list + x->begin, x->count, scratch.q + x->row * d, gradients.k, gradients.ldk, d);
        row_scatter(p + x->begin, 1, list + x->begin, x->count, d_o(x->at.row), gradients.v, gradients.ldv, d_v);
      }
    });
    add_rows(scratch.dq, d, logits.scale, block.size(), d, din.q.data() + row * din.q.outerStride(),
             din.q.outerStride());
  }
  gradients.add_to(din, keys);
}

/// Bytes of scratch that gathered_backward takes for up to so many rows and keys, strided or not.
template <class S>
std::size_t gathered_backward_scratch(Index rows, Index n_k, Index d, Index d_v) {
  std::size_t bytes = 0;
  detail::GatheredGradientScratch<S>(std::min(n_k, 4 * rows), d, d_v, [&]<class T>(T* none, Index count) {
    bytes += Arena::size_of<T>(count);
    return none;
  });
  return bytes;
}

}  // namespace heed
