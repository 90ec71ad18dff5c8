// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/fields.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

/// The definition of attention, in double, on sampled rows: what every variant is held against.
///
///   o_i = sum_j p_ij v_j,  p_ij = softmax_j(q_i.k_j / sqrt(d)),  j <= i if causal

namespace heed::bench {

using Exact = Matrix<double>;

inline constexpr Index samples = 64;

/// Up to `count` numbers in [0, n), evenly spread, first and last among them.
inline std::vector<Index> spread(Index n, Index count) {
  std::vector<Index> at;
  const Index m = std::min(n, count);
  for (Index i = 0; i < m; ++i) at.push_back(m == 1 ? n - 1 : i * (n - 1) / (m - 1));
  return at;
}

inline Exact rows_of(const Exact& m, const std::vector<Index>& rows) {
  Exact picked(static_cast<Index>(rows.size()), m.cols());
  for (std::size_t i = 0; i < rows.size(); ++i) picked.row(static_cast<Index>(i)) = m.row(rows[i]);
  return picked;
}
inline Exact rows_of(ConstView<float> m, const std::vector<Index>& rows) {
  Exact picked(static_cast<Index>(rows.size()), m.cols());
  for (std::size_t i = 0; i < rows.size(); ++i) picked.row(static_cast<Index>(i)) = m.row(rows[i]).cast<double>();
  return picked;
}

/// One head, in double.
struct ExactHead {
  Exact q, k, v;
  bool causal = false, sees_itself = true;  ///< a token that does not see itself still does if there is nothing else
  double scale = 1;

  ExactHead(ConstView<float> q_, ConstView<float> k_, ConstView<float> v_, bool causal_, bool sees_itself_ = true)
      : q(q_.cast<double>()),
        k(k_.cast<double>()),
        v(v_.cast<double>()),
        causal(causal_),
        sees_itself(sees_itself_),
        scale(1 / std::sqrt(static_cast<double>(q_.cols()))) {}

  /// How many keys row i sees (queries aligned with the last keys).
  Index seen(Index i) const { return causal ? std::clamp<Index>(i + 1 + k.rows() - q.rows(), 0, k.rows()) : k.rows(); }

  /// The weights of some rows against the first `keys` keys, which must be all that they see.
  Exact weights(const Exact& queries, const std::vector<Index>& rows, Index keys) const {
    Exact p(queries.rows(), keys);
    p.noalias() = queries * k.topRows(keys).transpose();
    for (Index r = 0; r < p.rows(); ++r) {
      const Index n = seen(rows[static_cast<std::size_t>(r)]);
      auto row = p.row(r).array();
      row.tail(keys - n).setZero();
      if (n == 0) continue;
      auto visible = row.head(n);
      if (const Index self = rows[static_cast<std::size_t>(r)]; !sees_itself && n > 1 && self < n)
        visible(self) = -std::numeric_limits<double>::infinity();
      visible = (scale * (visible - visible.maxCoeff())).exp();
      visible /= visible.sum();
    }
    return p;
  }

  /// Rows of the output.
  Exact forward(const std::vector<Index>& rows) const { return weights(rows_of(q, rows), rows, k.rows()) * v; }
};

/// Rows of the gradients.
struct ExactGradients {
  Exact dq, dk, dv;
};

/// The gradients of q at `rows` and of k and v at `keys`, for the cotangent `d_o` of the output. Passes over all rows,
/// because every one of them reaches a key.
inline ExactGradients backward(const ExactHead& head, ConstView<float> d_o, const std::vector<Index>& rows,
                               const std::vector<Index>& keys) {
  const Index n = head.q.rows(), sampled = static_cast<Index>(keys.size());
  const Exact v_keys = rows_of(head.v, keys);
  ExactGradients g{Exact::Zero(static_cast<Index>(rows.size()), head.q.cols()), Exact::Zero(sampled, head.k.cols()),
                   Exact::Zero(sampled, head.v.cols())};
  constexpr Index block_rows = 256;
  for (Index begin = 0; begin < n; begin += block_rows) {
    const Index size = std::min(block_rows, n - begin), limit = head.seen(begin + size - 1);
    std::vector<Index> all(static_cast<std::size_t>(size));
    for (Index r = 0; r < size; ++r) all[static_cast<std::size_t>(r)] = begin + r;
    const Exact q = head.q.middleRows(begin, size), cotangent = d_o.middleRows(begin, size).cast<double>();
    const Exact p = head.weights(q, all, limit), o = p * head.v.topRows(limit);
    const Eigen::VectorXd d = (cotangent.array() * o.array()).rowwise().sum();  // D_i = sum_j p_ij dP_ij

    Exact p_keys = Exact::Zero(size, sampled);
    for (Index c = 0; c < sampled; ++c)
      if (const Index j = keys[static_cast<std::size_t>(c)]; j < limit) p_keys.col(c) = p.col(j);
    Exact ds = cotangent * v_keys.transpose();
    ds.colwise() -= d;
    ds.array() *= p_keys.array();  // dS = P (dP - D)
    g.dv.noalias() += p_keys.transpose() * cotangent;
    g.dk.noalias() += head.scale * (ds.transpose() * q);

    for (std::size_t s = 0; s < rows.size(); ++s) {
      const Index r = rows[s] - begin;
      if (r < 0 || r >= size) continue;
      Eigen::VectorXd row = head.v.topRows(limit) * cotangent.row(r).transpose();
      row = p.row(r).transpose().array() * (row.array() - d(r));
      g.dq.row(static_cast<Index>(s)) = head.scale * (row.transpose() * head.k.topRows(limit));
    }
  }
  return g;
}

/// |a - b| / |b|, with the norms over all elements.
class RelativeError {
 public:
  void add(const Exact& approximate, const Exact& exact) {
    difference_ += (approximate - exact).squaredNorm();
    norm_ += exact.squaredNorm();
  }
  double value() const { return norm_ > 0 ? std::sqrt(difference_ / norm_) : std::sqrt(difference_); }

 private:
  double difference_ = 0, norm_ = 0;
};

/// How far an exact variant in float may be from the definition. Roundings are independent, so that a sum of m terms is
/// off by some u sqrt(m) of itself: scores have d of them, outputs and gradients n. The factor leaves room for the
/// exponential, the division and the cancellation in dP - D; what is wrong misses by far more.
inline double tolerance(Index n, Index d) {
  constexpr double u = 0x1p-24;
  return 4 * u * (std::sqrt(static_cast<double>(n)) + std::sqrt(static_cast<double>(d)));
}

}  // namespace heed::bench
