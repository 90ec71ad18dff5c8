// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/types.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

/// Softmax attention as the definition says it, in long double, one number after another. It shares no code with the
/// kernels. Beside every number stands its gauge: what the rounding error of an honest computation is proportional to
/// (the sum of the magnitudes that went into it, weighed by the conditioning of its row).

namespace oracle {

using Real = long double;
using heed::Index;
using Grid = heed::Matrix<Real>;
static_assert(std::numeric_limits<Real>::digits >= 64);

struct Gauged {
  Grid value, gauge;
  Gauged() = default;
  Gauged(Index rows, Index cols) : value(Grid::Zero(rows, cols)), gauge(Grid::Zero(rows, cols)) {}
  void add(Index i, Index j, Real x, Real magnitude) {
    value(i, j) += x;
    gauge(i, j) += magnitude;
  }
};

struct Problem {
  Grid q, k, v, d_o, d_lse;  // d_lse is [n_q, 1]
  Grid k_gauge, v_gauge;     // where k and v are results themselves: their gauges; empty if they are exact
  Real scale = 1, soft_cap = 0;
  std::function<bool(Index, Index)> sees;  // row i, key j
  std::function<Real(Index, Index)> bias;
  std::function<Real(Index, Index)> bias_gauge{};  // of a bias that was computed; if empty, its magnitude
};

struct Answer {
  Gauged o, lse;          // [n_q, d_v], [n_q, 1]
  Gauged dq, dk, dv, db;  // db [n_q, n_k]: the gradient of the bias
  Grid weights;           // [n_q, n_k]
};

inline Answer softmax_attention(const Problem& in) {
  const Index n_q = in.q.rows(), n_k = in.k.rows(), d = in.q.cols(), d_v = in.v.cols();
  const Real never = -std::numeric_limits<Real>::infinity();
  Answer a;
  a.o = Gauged(n_q, d_v);
  a.lse = Gauged(n_q, 1);
  a.dq = Gauged(n_q, d);
  a.dk = Gauged(n_k, d);
  a.dv = Gauged(n_k, d_v);
  a.db = Gauged(n_q, n_k);
  a.weights = Grid::Zero(n_q, n_k);

  const auto of = [](const Grid& gauge, Index j, Index c) { return gauge.size() == 0 ? Real(0) : gauge(j, c); };
  for (Index i = 0; i < n_q; ++i) {
    Grid t(1, n_k), e(1, n_k);
    Real largest = never, size = 0;  // of the logits: how ill-conditioned the exponentials are
    for (Index j = 0; j < n_k; ++j) {
      e(0, j) = never;
      if (!in.sees(i, j)) continue;
      Real dot = 0, magnitude = 0;
      for (Index c = 0; c < d; ++c) {
        dot += in.q(i, c) * in.k(j, c);
        magnitude += std::abs(in.q(i, c)) * (std::abs(in.k(j, c)) + of(in.k_gauge, j, c));
      }
      const Real u = in.scale * dot;
      t(0, j) = in.soft_cap > 0 ? in.soft_cap * std::tanh(u / in.soft_cap) : u;
      e(0, j) = t(0, j) + in.bias(i, j);
      if (e(0, j) == never) continue;
      largest = std::max(largest, e(0, j));
      const Real rounded = in.bias_gauge ? in.bias_gauge(i, j) : std::abs(in.bias(i, j));
      size = std::max(size, std::abs(in.scale) * magnitude + rounded);
    }
    a.lse.value(i, 0) = never;
    if (largest == never) continue;

    Real sum = 0;
    for (Index j = 0; j < n_k; ++j)
      if (e(0, j) != never) sum += std::exp(e(0, j) - largest);
    a.lse.value(i, 0) = largest + std::log(sum);
    const Real conditioning = std::sqrt(Real(n_k)) + std::sqrt(Real(d)) + std::sqrt(Real(d_v)) + 2 + size;
    a.lse.gauge(i, 0) = conditioning + std::abs(a.lse.value(i, 0));
    Real row = 0, row_magnitude = std::abs(in.d_lse(i, 0));  // D_i - dlse_i
    for (Index j = 0; j < n_k; ++j) {
      if (e(0, j) == never) continue;
      const Real p = std::exp(e(0, j) - a.lse.value(i, 0));
      a.weights(i, j) = p;
      for (Index c = 0; c < d_v; ++c)
        a.o.add(i, c, p * in.v(j, c), p * (conditioning * std::abs(in.v(j, c)) + of(in.v_gauge, j, c)));
    }
    for (Index c = 0; c < d_v; ++c) {
      row += in.d_o(i, c) * a.o.value(i, c);
      row_magnitude += std::abs(in.d_o(i, c)) * a.o.gauge(i, c) / conditioning;
    }
    row -= in.d_lse(i, 0);
    for (Index j = 0; j < n_k; ++j) {
      if (e(0, j) == never) continue;
      const Real p = a.weights(i, j);
      Real dp = 0, dp_magnitude = 0;
      for (Index c = 0; c < d_v; ++c) {
        dp += in.d_o(i, c) * in.v(j, c);
        dp_magnitude += std::abs(in.d_o(i, c)) * (std::abs(in.v(j, c)) + of(in.v_gauge, j, c));
        a.dv.add(j, c, p * in.d_o(i, c), conditioning * p * std::abs(in.d_o(i, c)));
      }
      const Real de = p * (dp - row), de_gauge = conditioning * p * (dp_magnitude + row_magnitude);
      a.db.add(i, j, de, de_gauge);
      const Real slope = in.soft_cap > 0 ? 1 - (t(0, j) / in.soft_cap) * (t(0, j) / in.soft_cap) : Real(1);
      for (Index c = 0; c < d; ++c) {
        a.dq.add(i, c, in.scale * slope * de * in.k(j, c),
                 std::abs(in.scale) * (std::abs(in.k(j, c)) * de_gauge + std::abs(de) * of(in.k_gauge, j, c)));
        a.dk.add(j, c, in.scale * slope * de * in.q(i, c), std::abs(in.scale * in.q(i, c)) * de_gauge);
      }
    }
  }
  // Sums over many rows round too.
  const Real rows = 1 + std::sqrt(Real(n_q)) / 8;
  a.dk.gauge *= rows;
  a.dv.gauge *= rows;
  return a;
}

}  // namespace oracle
