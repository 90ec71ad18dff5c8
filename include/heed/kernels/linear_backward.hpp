// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/kernels/dot_product.hpp>
#include <heed/kernels/linear_forward.hpp>

#include <algorithm>
#include <cmath>

/// The gradients of linear attention. With w_ir = phi_ir / D_i, o_i = sum_r w_ir s_r, and delta_i = do_i.o_i - dlse_i:
///
///   dphi_ir D_i = do_i.s_r - delta_i z_r            where s and z hold the keys that row i sees
///   dphi_jr     = R_r.v_j - rho_r, dv_j = sum_r phi_jr R_r,
///                 R_r = sum_i w_ir do_i, rho_r = sum_i w_ir delta_i over the rows i that see key j
///
/// Causal, a sweep forward makes s and z chunk by chunk as the forward pass does, and a sweep backward makes R and rho
/// from the last chunk on, in the same way: both exact, nothing is subtracted. Features are computed again. References
/// cancel, so they have no gradient.

namespace heed {
namespace detail {

/// Buffers of the backward pass.
template <class S>
struct LinearBackwardScratch {
  S *fq, *fk, *g, *u;            // features of a block of queries and of keys; cotangents; for pull [rows][stride]
  S *x, *v, *d_o, *dv, *t;       // the rows that features were made of last [rows][d]; [rows][padded d_v], three of
                                 // them; [rows][padded d]
  S *vt, *kt, *a, *da, *finite;  // of a chunk: transposed values and features of keys; weights and their cotangents
  S *h, *divisor, *delta;        // of each row of a block: see load_rows
  S* alpha;                      // [stride]

  /// Calls take(count) -> pointer for every buffer: the only list of them.
  template <class Take>
  LinearBackwardScratch(Index stride, Index d, Index d_v, bool causal, const Take& take) {
    const Index padded = packet_padded<S>(d_v), rows = linear_rows;
    fq = take(rows * stride);
    fk = causal ? take(rows * stride) : fq;
    g = take(rows * stride);
    u = take(rows * stride);
    x = take(rows * d);
    v = take(rows * padded);
    d_o = take(rows * padded);
    dv = take(rows * padded);
    t = take(rows * packet_padded<S>(d));
    vt = causal ? take(rows * d_v) : nullptr;
    kt = causal ? take(rows * stride) : nullptr;
    a = causal ? take(rows * rows) : nullptr;
    da = causal ? take(rows * rows) : nullptr;
    finite = causal ? take(rows * std::max(stride, padded)) : nullptr;
    h = take(rows);
    divisor = take(rows);
    delta = take(rows);
    alpha = take(stride);
  }
};

template <class S, class Map>
struct LinearBackward {
  const FeatureRows<S, Map>& features;
  const Qkv<ConstView<S>>& in;
  ConstOut<S> out, dout;
  Qkv<View<S>> din;
  LinearBackwardScratch<S> scratch;
  LinearSums<S> keys;  // s transposed, [d_v][stride], z
  LinearSums<S> rows;  // R [stride][padded d_v], rho: over e^(y - log D - c), and read by e^(y + c)

  static constexpr bool logarithmic = FeatureRows<S, Map>::logarithmic;
  static constexpr const S* none = nullptr;
  Index stride() const { return features.stride(); }
  Index feature_packets() const { return stride() / lanes<S>; }
  Index d_v() const { return in.v.cols(); }
  Index padded() const { return packet_padded<S>(d_v()); }
  Index packets() const { return padded() / lanes<S>; }

  /// Features of the rows `at` of x, gathered first: rows of a head may lie a page apart.
  void make_features(ConstView<S> x, Range at, bool with_norm, S* y) {
    pack(at.size(), features.dim(), x.data() + at.begin * x.outerStride(), x.outerStride(), scratch.x, features.dim());
    features.rows(scratch.x, features.dim(), at.size(), with_norm, y, scratch.h);
  }
  /// The keys `at`: y into fk, values into v.
  void load_keys(Range at) {
    const Index ldv = in.v.outerStride();
    make_features(in.k, at, true, scratch.fk);
    pack(at.size(), d_v(), in.v.data() + at.begin * ldv, ldv, scratch.v, padded());
  }
  /// The query rows `at`: y - log D into fq, or the features over D; what else belongs to a row.
  void load_rows(Range at) {
    const Index ldo = dout.o.outerStride();
    make_features(in.q, at, false, scratch.fq);
    pack(at.size(), d_v(), dout.o.data() + at.begin * ldo, ldo, scratch.d_o, padded());
    const S count = std::log(static_cast<S>(features.count()));
    for (Index i = 0; i < at.size(); ++i) {
      const Index row = at.begin + i;
      const S* const o = out.o.data() + row * out.o.outerStride();
      scratch.delta[i] =
          dot_product(scratch.d_o + i * padded(), o, d_v()) - (dout.lse.size() > 0 ? dout.lse[row] : S(0));
      const S log_d = out.lse[row] + scratch.h[i] + count;
      const S by = logarithmic ? log_d : std::exp(-log_d);
      scratch.divisor[i] = by;
      S* const y = scratch.fq + i * stride();
      for (Index r = 0; r < stride(); r += lanes<S>)
        store<S>(y + r, logarithmic ? psub(load(y + r), broadcast(by)) : pmul(load(y + r), broadcast(by)));
    }
  }
  /// y [n][stride] becomes e^(y + c).
  void exponentiate(S* y, Index n, const S* c) {
    if constexpr (logarithmic)
      for (Index i = 0; i < n; ++i, y += stride())
        for (Index r = 0; r < stride(); r += lanes<S>) store<S>(y + r, exp<S>(padd(load(y + r), load(c + r))));
  }
  /// g = f g, or factor_i g: from cotangents of features times their scale to those of y, or of features.
  void scale_cotangents(const S* f, Index n, const S* factor, S* g) {
    for (Index i = 0; i < n; ++i)
      for (Index r = 0; r < stride(); r += lanes<S>) {
        S* const at = g + i * stride() + r;
        if constexpr (logarithmic)
          store<S>(at, pmul(load(at), load(f + i * stride() + r)));
        else if (factor != nullptr)
          store<S>(at, pmul(load(at), broadcast(factor[i])));
      }
  }
  /// g [n][stride] = -factor_i z, or -z.
  void start_cotangents(Index n, const S* factor, const S* z, S* g) {
    for (Index i = 0; i < n; ++i) {
      const Packet<S> by = broadcast(factor == nullptr ? S(-1) : -factor[i]);
      for (Index r = 0; r < stride(); r += lanes<S>) store<S>(g + i * stride() + r, pmul(by, load(z + r)));
    }
  }

  /// From g to the rows `at` of dx, whose x was gathered last.
  void pull(Range at, View<S> dx) {
    const Index ld = dx.outerStride();
    features.pull(scratch.x, features.dim(), at.size(), scratch.g, dx.data() + at.begin * ld, ld, scratch.u, scratch.t);
  }

  // --- the sweep forward: dq ---

  /// s^T += V^T phi for rows [at, at + n) of the block, and z += phi; phi is made from y.
  void absorb_keys(Index at, Index n) {
    take_features<logarithmic, 0>(scratch.fk + at * stride(), n, stride(), none, keys);
    add_keys(at, n);
  }
  void add_keys(Index at, Index n) {
    tile_product<Operand::transposed>(d_v(), feature_packets(), n, scratch.v + at * padded(), padded(),
                                      scratch.fk + at * stride(), stride(), keys.s, stride(), Start::add);
  }
  void absorb_keys(Range all) {
    for (Index j = all.begin, end; j < all.end; j = end) {
      end = std::min(all.end, j + linear_rows);
      load_keys({j, end});
      if constexpr (logarithmic) {
        take_maxima(scratch.fk, end - j, stride(), keys.top);
        raise_references(keys, stride(), d_v(), true, scratch.alpha);
      }
      absorb_keys(0, end - j);
    }
  }
  /// g of rows [at, at + n) of the block, as far as the sums go: do s^T - delta z^T.
  void read_keys(Index at, Index n) {
    start_cotangents(n, scratch.delta + at, keys.z, scratch.g + at * stride());
    tile_product<Operand::plain>(n, feature_packets(), d_v(), scratch.d_o + at * padded(), padded(), keys.s, stride(),
                                 scratch.g + at * stride(), stride(), Start::add);
  }
  void pull_queries(Range at) {
    scale_cotangents(scratch.fq, at.size(), scratch.divisor, scratch.g);
    pull(at, din.q);
  }
  /// Query rows that see all keys; their R and rho are made on the way.
  void all_queries() {
    for (Index r = 0; r < stride(); ++r) rows.c[r] = -keys.c[r];
    for (Index i = 0, end; i < in.q.rows(); i = end) {
      end = std::min(in.q.rows(), i + linear_rows);
      load_rows({i, end});
      exponentiate(scratch.fq, end - i, keys.c);
      read_keys(0, end - i);
      add_rows(0, end - i);
      for (Index r = 0; r < end - i; ++r) add_scaled(scratch.fq + r * stride(), scratch.delta[r], rows.z);
      pull_queries({i, end});
    }
  }
  void add_scaled(const S* f, S factor, S* z) {
    for (Index r = 0; r < stride(); r += lanes<S>) store<S>(z + r, pmadd(load(f + r), broadcast(factor), load(z + r)));
  }
  /// The cotangents of the products within a chunk: da_ij = do_i.v_j - delta_i where row i sees key j.
  void chunk_cotangents(Index at, Index n) {
    const Index width = packet_padded<S>(n);
    pack_transposed(n, d_v(), scratch.v + at * padded(), padded(), scratch.vt, width);
    for_each_strip(n, [&](Index r, Index m) {
      tile_product<Operand::plain>(m, packet_padded<S>(r + m) / lanes<S>, d_v(), scratch.d_o + (at + r) * padded(),
                                   padded(), scratch.vt, width, scratch.da + r * width, width, Start::zero);
    });
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j <= i; ++j) scratch.da[i * width + j] -= scratch.delta[at + i];
    mask_chunk(scratch.da, n, width);
  }
  void chunk_queries(Index at, Index n) {
    const Index width = packet_padded<S>(n);
    exponentiate(scratch.fq + at * stride(), n, keys.c);
    read_keys(at, n);
    const S* const fk = scratch.fk + at * stride();
    take_features<logarithmic, 0>(scratch.fk + at * stride(), n, stride(), none, keys);
    chunk_cotangents(at, n);
    for_each_strip(n, [&](Index r, Index m) {
      product_where_seen<Operand::plain>(m, feature_packets(), r + m, scratch.da + r * width, width, fk, stride(),
                                         scratch.g + (at + r) * stride(), stride(), Start::add, none, scratch.finite,
                                         [&](Index i, Index j) { return j <= r + i; });
    });
    add_keys(at, n);
  }
  void causal_queries(Range all, Index row) {
    for (Index j = all.begin, end; j < all.end; row += end - j, j = end) {
      end = std::min(all.end, j + linear_rows);
      const Index n = end - j;
      load_keys({j, end});
      load_rows({row, row + n});
      for (Index at = 0, part; at < n; at += part) {
        part = n - at;
        if constexpr (logarithmic) {
          const S* const y = scratch.fk + at * stride();
          take_maxima(y, 1, stride(), keys.top);
          raise_references(keys, stride(), d_v(), true, scratch.alpha);
          part = rows_within_slack(y, part, stride(), 1, keys.c);
        }
        chunk_queries(at, part);
      }
      pull_queries({row, row + n});
    }
  }

  // --- the sweep backward: dk and dv ---

  /// R += w^T dO for rows [at, at + n) of the block.
  void add_rows(Index at, Index n) {
    tile_product<Operand::transposed>(stride(), packets(), n, scratch.fq + at * stride(), stride(),
                                      scratch.d_o + at * padded(), padded(), rows.s, padded(), Start::add);
  }
  /// R^T, where s^T was: that sweep is over.
  void transpose_sums() { pack_transposed(stride(), d_v(), rows.s, padded(), keys.s, stride()); }
  /// g and dv of keys [at, at + n) of the block, as far as the sums go: V R^T - rho^T, and phi R.
  void read_rows(Index at, Index n) {
    start_cotangents(n, nullptr, rows.z, scratch.g + at * stride());
    tile_product<Operand::plain>(n, feature_packets(), d_v(), scratch.v + at * padded(), padded(), keys.s, stride(),
                                 scratch.g + at * stride(), stride(), Start::add);
    tile_product<Operand::plain>(n, packets(), stride(), scratch.fk + at * stride(), stride(), rows.s, padded(),
                                 scratch.dv + at * padded(), padded(), Start::zero);
  }
  void pull_keys(Range at) {
    scale_cotangents(scratch.fk, at.size(), none, scratch.g);
    pull(at, din.k);
    for (Index j = 0; j < at.size(); ++j) {
      S* const to = din.v.data() + (at.begin + j) * din.v.outerStride();
      for (Index e = 0; e < d_v(); ++e) to[e] += scratch.dv[j * padded() + e];
    }
  }
  /// Keys `all`, which are seen by all rows in the sums.
  void all_keys(Range all) {
    if constexpr (logarithmic) raise_references(rows, stride(), padded(), false, scratch.alpha);
    transpose_sums();
    for (Index j = all.begin, end; j < all.end; j = end) {
      end = std::min(all.end, j + linear_rows);
      load_keys({j, end});
      exponentiate(scratch.fk, end - j, rows.c);
      read_rows(0, end - j);
      pull_keys({j, end});
    }
  }
  void chunk_keys(Index at, Index n) {
    const Index width = packet_padded<S>(n);
    S *const fq = scratch.fq + at * stride(), *const fk = scratch.fk + at * stride();
    exponentiate(fk, n, rows.c);
    transpose_sums();
    read_rows(at, n);
    take_features<logarithmic, 0>(fq, n, stride(), scratch.delta + at, rows);
    chunk_cotangents(at, n);
    pack_transposed(n, stride(), fk, stride(), scratch.kt, width);
    for_each_strip(n, [&](Index r, Index m) {
      tile_product<Operand::plain>(m, packet_padded<S>(r + m) / lanes<S>, stride(), fq + r * stride(), stride(),
                                   scratch.kt, width, scratch.a + r * width, width, Start::zero);
    });
    mask_chunk(scratch.a, n, width);
    sum_chunk<S>(scratch.a, n, width, nullptr);
    for_each_strip(n, [&](Index c, Index m) {
      const Index corner = c * width + c;
      const auto seen = [](Index j, Index i) { return j <= i; };
      product_where_seen<Operand::transposed>(m, feature_packets(), n - c, scratch.da + corner, width,
                                              fq + c * stride(), stride(), scratch.g + (at + c) * stride(), stride(),
                                              Start::add, none, scratch.finite, seen);
      product_where_seen<Operand::transposed>(
          m, packets(), n - c, scratch.a + corner, width, scratch.d_o + (at + c) * padded(), padded(),
          scratch.dv + (at + c) * padded(), padded(), Start::add, none, scratch.finite, seen);
    });
    add_rows(at, n);
  }
  void causal_keys(Range all, Index row) {
    row += all.size();
    for (Index end = all.end, j; end > all.begin; end = j) {
      j = std::max(all.begin, end - linear_rows);
      const Index n = end - j;
      row -= n;
      load_rows({row, row + n});
      load_keys({j, end});
      for (Index to = n, part; to > 0; to -= part) {
        part = to;
        if constexpr (logarithmic) {
          const S* const y = scratch.fq + (to - 1) * stride();
          take_maxima(y, 1, stride(), rows.top);
          raise_references(rows, stride(), padded(), false, scratch.alpha);
          part = rows_within_slack(y, part, stride(), -1, rows.c);
        }
        chunk_keys(to - part, part);
      }
      pull_keys({j, end});
    }
  }
};

}  // namespace detail

/// Adds the gradients of linear_forward to `din`. `out` is what forward made, `dout` its cotangent; an empty `dout.lse`
/// stands for zeros.
template <class S, class Map>
void linear_backward(const FeatureRows<S, Map>& features, bool causal, const Qkv<ConstView<S>>& in, ConstOut<S> out,
                     ConstOut<S> dout, const Qkv<View<S>>& din, Arena& arena) {
  const Arena::Frame frame(arena);
  const Index n_q = in.q.rows(), n_k = in.k.rows(), d_v = in.v.cols(), stride = features.stride();
  if (n_q == 0 || n_k == 0) return;
  const auto take = [&](Index count) { return arena.take<S>(count); };
  detail::LinearBackward<S, Map> run{features,
                                     in,
                                     out,
                                     dout,
                                     din,
                                     {stride, features.dim(), d_v, causal, take},
                                     detail::take_sums<S>(stride, d_v, take),
                                     detail::take_sums<S>(stride, d_v, take)};
  detail::clear(run.keys, stride, run.padded());
  detail::clear(run.rows, stride, run.padded());
  const Index prefix = causal ? std::max<Index>(0, n_k - n_q) : n_k, first = causal ? std::max<Index>(0, n_q - n_k) : 0;
  run.absorb_keys({0, prefix});
  if (causal) {
    run.causal_queries({prefix, n_k}, first);
    run.causal_keys({prefix, n_k}, first);
  } else {
    run.all_queries();
  }
  if (prefix > 0) run.all_keys({0, prefix});
}

/// Bytes of scratch that linear_backward takes.
template <class S>
std::size_t linear_backward_scratch(Index stride, Index d, Index d_v, bool causal) {
  std::size_t bytes = 0;
  const auto add = [&](Index count) {
    bytes += Arena::size_of<S>(count);
    return static_cast<S*>(nullptr);
  };
  detail::LinearBackwardScratch<S>(stride, d, d_v, causal, add);
  detail::take_sums<S>(stride, d_v, add);
  detail::take_sums<S>(stride, d_v, add);
  return bytes;
}

}  // namespace heed
