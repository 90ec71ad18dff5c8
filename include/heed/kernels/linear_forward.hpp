// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/arena.hpp>
#include <heed/core/fields.hpp>
#include <heed/core/range.hpp>
#include <heed/kernels/linear_sums.hpp>
#include <heed/kernels/pack.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

/// Linear attention: o_i = sum_j phi(q_i).phi(k_j) v_j / D_i with D_i = sum_j phi(q_i).phi(k_j), by products of tiles.
///
/// Over all keys: s = phi(K)^T V first, then phi(Q) s (Performer, arXiv 2009.14794, algorithm 1). Causal, the rows of a
/// chunk see the sums over all earlier chunks, and the keys of their own chunk by their products, masked:
///   O_c = phi(Q_c) s + tril(phi(Q_c) phi(K_c)^T) V_c,  then s += phi(K_c)^T V_c
/// which is equation 11 of the paper at the speed of products. Features live only as blocks of rows.

namespace heed {
namespace detail {

/// Buffers of the forward pass.
template <class S>
struct LinearForwardScratch {
  S *fq, *fk;      // features of a block of queries and of keys [rows][stride]
  S *kt, *a;       // those of the keys, transposed [stride][rows]; their products with the queries' [rows][rows]
  S *x, *v;        // a block of queries or keys [rows][d], and of values [rows][padded d_v]
  S *o, *finite;   // sums of a block [rows][padded d_v]; see product_where_seen
  S *h, *m, *den;  // of each row of a block
  S* alpha;        // [stride]

  /// Calls take(count) -> pointer for every buffer: the only list of them.
  template <class Take>
  LinearForwardScratch(Index stride, Index d, Index d_v, bool causal, const Take& take) {
    const Index padded = packet_padded<S>(d_v);
    fk = take(linear_rows * stride);
    x = take(linear_rows * d);
    v = take(linear_rows * padded);
    o = take(linear_rows * padded);
    h = take(linear_rows);
    m = take(linear_rows);
    den = take(linear_rows);
    alpha = take(stride);
    fq = causal ? take(linear_rows * stride) : fk;
    kt = causal ? take(linear_rows * stride) : nullptr;
    a = causal ? take(linear_rows * linear_rows) : nullptr;
    finite = causal ? take(linear_rows * padded) : nullptr;
  }
};
/// Sums in scratch.
template <class S, class Take>
LinearSums<S> take_sums(Index stride, Index d_v, const Take& take) {
  S* const s = take(stride * packet_padded<S>(d_v));
  S* const z = take(stride);
  S* const c = take(stride);
  return {s, z, c, take(stride)};
}

/// Turns y [rows][stride] of queries into features that read the sums: e^(y + c - m) 2^-query_room with the row's
/// largest exponent m. den [rows] is their product with z.
template <bool logarithmic, class S>
void weigh_queries(S* y, Index rows, Index stride, const LinearSums<const S>& sums, S* m, S* den) {
  for (Index i = 0; i < rows; ++i, y += stride) {
    m[i] = S(0);
    if constexpr (logarithmic) {
      Packet<S> most = padd(load(y), load(sums.c));
      for (Index r = lanes<S>; r < stride; r += lanes<S>) most = pmax(most, padd(load(y + r), load(sums.c + r)));
      m[i] = max_of_lanes<S>(most);
    }
    Packet<S> sum = broadcast(S(0));
    const Packet<S> less = broadcast(m[i]);
    for (Index r = 0; r < stride; r += lanes<S>) {
      Packet<S> w = load(y + r);
      if constexpr (logarithmic) {
        w = exp<S, query_room>(psub(padd(w, load(sums.c + r)), less));
        store<S>(y + r, w);
      }
      sum = pmadd(w, load(sums.z + r), sum);
    }
    den[i] = sum_of_lanes<S>(sum);
  }
}

/// Rows of the chunk's triangle that are taken together: each such strip ends at its own diagonal.
inline constexpr Index strip_rows = 16;

/// Calls f(first, rows) for the strips of a chunk.
template <class F>
void for_each_strip(Index n, F&& f) {
  for (Index r = 0; r < n; r += strip_rows) f(r, std::min(strip_rows, n - r));
}

/// What is not seen becomes 0 in a [n][width], row i seeing the keys 0 to i, up to the end of its strip.
template <class S>
void mask_chunk(S* a, Index n, Index width) {
  for_each_strip(n, [&](Index first, Index rows) {
    for (Index i = first; i < first + rows; ++i) {
      const Index end = std::min(width, packet_padded<S>(first + rows));
      std::fill(a + i * width + i + 1, a + i * width + end, S(0));
    }
  });
}

/// What would be denormal becomes 0 in a masked a [n][width]; den [n], if there is one, += its row sums.
template <class S>
void sum_chunk(S* a, Index n, Index width, S* den) {
  for (Index i = 0; i < n; ++i, a += width) {
    Packet<S> sum = broadcast(S(0));
    for (Index c = 0; c <= i; c += lanes<S>) {
      const Packet<S> x = load(a + c), w = zero_below<S>(x, x, std::numeric_limits<S>::min());
      store<S>(a + c, w);
      sum = padd(sum, w);
    }
    if (den != nullptr) den[i] += sum_of_lanes<S>(sum);
  }
}

template <class S, class Map>
struct LinearForward {
  const FeatureRows<S, Map>& features;
  Index d_v;
  LinearForwardScratch<S> scratch;
  LinearSums<S> sums;

  static constexpr bool logarithmic = FeatureRows<S, Map>::logarithmic;
  static constexpr const S* none = nullptr;
  Index stride() const { return features.stride(); }
  Index padded() const { return packet_padded<S>(d_v); }
  Index packets() const { return padded() / lanes<S>; }

  void gather_values(ConstView<S> v, Range rows) const {
    pack(rows.size(), d_v, v.data() + rows.begin * v.outerStride(), v.outerStride(), scratch.v, padded());
  }
  /// Features of the rows `rows` of x, gathered first: rows of a head may lie a page apart.
  void make_features(ConstView<S> x, Range rows, bool with_norm, S* y) const {
    const Index d = features.dim();
    pack(rows.size(), d, x.data() + rows.begin * x.outerStride(), x.outerStride(), scratch.x, d);
    features.rows(scratch.x, d, rows.size(), with_norm, y, scratch.h);
  }
  /// s += phi^T V and z += phi for rows [at, at + n) of the block.
  void absorb(Index at, Index n) const {
    S* const f = scratch.fk + at * stride();
    take_features<logarithmic, key_room>(f, n, stride(), none, sums);
    tile_product<Operand::transposed>(stride(), packets(), n, f, stride(), scratch.v + at * padded(), padded(), sums.s,
                                      padded(), Start::add);
  }
  /// All of the keys `rows`, in no order.
  void absorb_keys(ConstView<S> k, ConstView<S> v, Range rows) const {
    for (Index j = rows.begin, end; j < rows.end; j = end) {
      end = std::min(rows.end, j + linear_rows);
      make_features(k, {j, end}, true, scratch.fk);
      if constexpr (logarithmic) {
        take_maxima(scratch.fk, end - j, stride(), sums.top);
        raise_references(sums, stride(), padded(), false, scratch.alpha);
      }
      gather_values(v, {j, end});
      absorb(0, end - j);
    }
  }
  /// Rows [at, at + n) of the block, which are the query rows from `row` on, from their sums.
  void finish(Index at, Index n, Index row, Out<S> out) const {
    constexpr S nan = std::numeric_limits<S>::quiet_NaN();
    const S room = logarithmic ? S(key_room + query_room) * S(0.693147180559945309417232121458176568L) : S(0);
    const S count = std::log(static_cast<S>(features.count()));
    for (Index i = at; i < at + n; ++i, ++row) {
      // Keys were seen: a denominator that is not positive and finite is none, whatever made it so.
      const bool sound = scratch.den[i] > S(0) && std::isfinite(scratch.den[i]) && std::isfinite(scratch.h[i]);
      const S d = sound ? scratch.den[i] : nan, inverse = S(1) / d;
      S* const to = out.o.data() + row * out.o.outerStride();
      for (Index e = 0; e < d_v; ++e) to[e] = scratch.o[i * padded() + e] * inverse;
      out.lse[row] = scratch.m[i] - scratch.h[i] + (std::log(d) + room - count);
    }
  }
  /// Query rows `rows`, which see all that `from` holds.
  void read_rows(ConstView<S> q, Range rows, const LinearSums<const S>& from, Out<S> out) const {
    for (Index i = rows.begin, end; i < rows.end; i = end) {
      end = std::min(rows.end, i + linear_rows);
      make_features(q, {i, end}, false, scratch.fq);
      weigh_queries<logarithmic, S>(scratch.fq, end - i, stride(), from, scratch.m, scratch.den);
      tile_product<Operand::plain>(end - i, packets(), stride(), scratch.fq, stride(), from.s, padded(), scratch.o,
                                   padded(), Start::zero);
      finish(0, end - i, i, out);
    }
  }
  /// Rows [at, at + n) of a block, queries and keys: a chunk. `first`: the sums are still empty; `last`: nobody reads
  /// them any more.
  void chunk(Index at, Index n, bool first, bool last) const {
    S *const fq = scratch.fq + at * stride(), *const fk = scratch.fk + at * stride();
    S *const o = scratch.o + at * padded(), *const v = scratch.v + at * padded(), *const den = scratch.den + at;
    weigh_queries<logarithmic, S>(fq, n, stride(), sums, scratch.m + at, den);
    if (!first)
      tile_product<Operand::plain>(n, packets(), stride(), fq, stride(), sums.s, padded(), o, padded(), Start::zero);
    take_features<logarithmic, key_room>(fk, n, stride(), none, sums);
    const Index width = packet_padded<S>(n);
    pack_transposed(n, stride(), fk, stride(), scratch.kt, width);
    for_each_strip(n, [&](Index r, Index rows) {
      tile_product<Operand::plain>(rows, packet_padded<S>(r + rows) / lanes<S>, stride(), fq + r * stride(), stride(),
                                   scratch.kt, width, scratch.a + r * width, width, Start::zero);
    });
    mask_chunk(scratch.a, n, width);
    sum_chunk(scratch.a, n, width, den);
    for_each_strip(n, [&](Index r, Index rows) {
      product_where_seen<Operand::plain>(rows, packets(), r + rows, scratch.a + r * width, width, v, padded(),
                                         o + r * padded(), padded(), first ? Start::zero : Start::add, none,
                                         scratch.finite, [&](Index i, Index j) { return j <= r + i; });
    });
    if (!last)
      tile_product<Operand::transposed>(stride(), packets(), n, fk, stride(), v, padded(), sums.s, padded(),
                                        Start::add);
  }
  /// Keys `keys` and as many query rows from `row` on, the first of which sees the first key and all in the sums.
  void causal_rows(const Qkv<ConstView<S>>& in, Range keys, Index row, bool empty, Out<S> out) const {
    for (Index j = keys.begin, end; j < keys.end; row += end - j, j = end) {
      end = std::min(keys.end, j + linear_rows);
      const Index n = end - j;
      make_features(in.k, {j, end}, true, scratch.fk);
      make_features(in.q, {row, row + n}, false, scratch.fq);
      gather_values(in.v, {j, end});
      for (Index at = 0, part; at < n; at += part) {
        part = n - at;
        if constexpr (logarithmic) {
          const S* const y = scratch.fk + at * stride();
          take_maxima(y, 1, stride(), sums.top);
          raise_references(sums, stride(), padded(), false, scratch.alpha);
          part = rows_within_slack(y, part, stride(), 1, sums.c);
        }
        chunk(at, part, empty, end == keys.end && at + part == n);
        empty = false;
      }
      finish(0, n, row, out);
    }
  }
};

}  // namespace detail

/// o and lse. Causal, row i of n_q sees keys j <= i + n_k - n_q.
template <class S, class Map>
void linear_forward(const FeatureRows<S, Map>& features, bool causal, const Qkv<ConstView<S>>& in, Out<S> out,
                    Arena& arena) {
  const Arena::Frame frame(arena);
  const Index n_q = in.q.rows(), n_k = in.k.rows(), d_v = in.v.cols(), stride = features.stride();
  const auto take = [&](Index count) { return arena.take<S>(count); };
  const detail::LinearForward<S, Map> run{
      features, d_v, {stride, features.dim(), d_v, causal, take}, detail::take_sums<S>(stride, d_v, take)};
  detail::clear(run.sums, stride, run.padded());
  const Index empty = n_k == 0 ? n_q : causal ? std::max<Index>(0, n_q - n_k) : 0;
  for (Index i = 0; i < empty; ++i) {
    std::fill_n(out.o.data() + i * out.o.outerStride(), d_v, S(0));
    out.lse[i] = -std::numeric_limits<S>::infinity();
  }
  if (empty == n_q) return;
  const Index prefix = causal ? std::max<Index>(0, n_k - n_q) : n_k;
  run.absorb_keys(in.k, in.v, {0, prefix});
  if (causal)
    run.causal_rows(in, {prefix, n_k}, empty, prefix == 0, out);
  else
    run.read_rows(in.q, {0, n_q}, run.sums, out);
}

/// Bytes of scratch that linear_forward takes.
template <class S>
std::size_t linear_forward_scratch(Index stride, Index d, Index d_v, bool causal) {
  std::size_t bytes = 0;
  const auto add = [&](Index count) {
    bytes += Arena::size_of<S>(count);
    return static_cast<S*>(nullptr);
  };
  detail::LinearForwardScratch<S>(stride, d, d_v, causal, add);
  detail::take_sums<S>(stride, d_v, add);
  return bytes;
}

}  // namespace heed
