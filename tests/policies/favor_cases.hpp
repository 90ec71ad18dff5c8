// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/policies/favor.hpp>
#include <pairwise.hpp>
#include <policies/qkv_cases.hpp>

#include <cmath>
#include <limits>

/// Cases and oracle of linear attention: `Favor` with any feature map.

namespace oracle {

/// Features of the rows of a matrix, as the definition says them: log phi, what its rounding error is proportional to,
/// and the gradient of log phi.
struct FeaturesOf {
  Grid log, size;                       // [rows, features]
  std::vector<Grid> slope, slope_size;  // per row: [features, d]
  FeaturesOf(Index rows, Index features, Index d)
      : log(rows, features),
        size(rows, features),
        slope(static_cast<std::size_t>(rows), Grid(features, d)),
        slope_size(slope) {}
};

/// One feature f(u) of u = w.x, given as log f and d log f / du, with a norm term added to the logarithm.
inline void set_feature(FeaturesOf& f, Index row, Index r, const Grid& x, const std::vector<Real>& w, Real log,
                        Real size, Real slope, Real norm_slope) {
  f.log(row, r) = log;
  f.size(row, r) = size;
  for (Index c = 0; c < x.cols(); ++c) {
    const Real along = slope * w[static_cast<std::size_t>(c)], inwards = norm_slope * x(row, c);
    f.slope[static_cast<std::size_t>(row)](r, c) = along - inwards;
    f.slope_size[static_cast<std::size_t>(row)](r, c) = std::abs(along) + std::abs(inwards);
  }
}

inline FeaturesOf features_of(const heed::SoftmaxFeatures& map, const Grid& w, Real scale, const Grid& x) {
  const Index m = w.rows(), d = x.cols();
  FeaturesOf f(x.rows(), map.hyperbolic ? 2 * m : m, d);
  const Real a = Real(map.bound);
  for (Index i = 0; i < x.rows(); ++i) {
    Real half = 0;
    for (Index c = 0; c < d; ++c) half += scale * x(i, c) * x(i, c) / 2;
    for (Index r = 0; r < f.log.cols(); ++r) {
      std::vector<Real> direction;
      Real u = 0, size = half, square = 0;
      for (Index c = 0; c < d; ++c) {
        const Real omega = w(r % m, c);
        direction.push_back((r < m ? 1 : -1) * std::sqrt(scale * (1 - 4 * a)) * omega);
        u += direction.back() * x(i, c);
        size += std::abs(direction.back() * x(i, c));
        square += omega * omega;
      }
      const Real bias = a * square + Real(d) / 4 * std::log1p(-4 * a);
      Real b = u - half + bias, part = 1;
      size += std::abs(a * square) + std::abs(bias);
      if (map.epsilon > 0) {
        const Real sum = std::log(std::exp(b) + Real(map.epsilon));
        part = std::exp(b - sum);
        size += std::abs(sum) + std::abs(std::log(Real(map.epsilon)));
        b = sum;
      }
      set_feature(f, i, r, x, direction, b, size, part, part * scale);
    }
  }
  return f;
}

/// Maps of one number: `of(u)` gives log f, f'/f, and how much the logarithm moves when |u| moves by its own size.
template <class Of>
FeaturesOf mapped_features(const Grid& w, Real scale, const Grid& x, const Of& of) {
  FeaturesOf f(x.rows(), w.rows(), x.cols());
  for (Index i = 0; i < x.rows(); ++i)
    for (Index r = 0; r < w.rows(); ++r) {
      std::vector<Real> direction;
      Real u = 0, size = 0;
      for (Index c = 0; c < x.cols(); ++c) {
        direction.push_back(std::sqrt(scale) * w(r, c));
        u += direction.back() * x(i, c);
        size += std::abs(direction.back() * x(i, c));
      }
      const auto [value, derivative] = of(u);
      set_feature(f, i, r, x, direction, std::log(value), 1 + size * std::abs(derivative / value), derivative / value,
                  0);
    }
  return f;
}
inline FeaturesOf features_of(const heed::ReluFeatures& map, const Grid& w, Real scale, const Grid& x) {
  return mapped_features(
      w, scale, x, [&](Real u) { return std::pair<Real, Real>((u > 0 ? u : 0) + Real(map.epsilon), u > 0 ? 1 : 0); });
}
inline FeaturesOf features_of(const heed::EluFeatures&, const Grid&, Real scale, const Grid& x) {
  return mapped_features(Grid::Identity(x.cols(), x.cols()), scale, x, [](Real u) {
    return u > 0 ? std::pair<Real, Real>(u + 1, 1) : std::pair<Real, Real>(std::exp(u), std::exp(u));
  });
}

/// Weights p_ij = sum_r p_irj with p_irj = phi_r(q_i) phi_r(k_j) / D_i: a softmax over keys and features together.
inline Answer linear_attention(const Problem& in, const FeaturesOf& fq, const FeaturesOf& fk, Real count) {
  const Index n_q = in.q.rows(), n_k = in.k.rows(), d = in.q.cols(), d_v = in.v.cols(), m = fq.log.cols();
  const Real never = -std::numeric_limits<Real>::infinity();
  Answer a;
  a.o = Gauged(n_q, d_v);
  a.lse = Gauged(n_q, 1);
  a.dq = Gauged(n_q, d);
  a.dk = Gauged(n_k, d);
  a.dv = Gauged(n_k, d_v);
  a.weights = Grid::Zero(n_q, n_k);
  Grid g_k = Grid::Zero(n_k, m), gauge_k = Grid::Zero(n_k, m);
  for (Index i = 0; i < n_q; ++i) {
    Real largest = never, size = 0;
    for (Index j = 0; j < n_k; ++j)
      for (Index r = 0; r < m && in.sees(i, j); ++r) {
        largest = std::max(largest, fq.log(i, r) + fk.log(j, r));
        size = std::max(size, fq.size(i, r) + fk.size(j, r));
      }
    a.lse.value(i, 0) = never;
    if (largest == never) continue;
    Grid p = Grid::Zero(n_k, m);
    Real sum = 0;
    for (Index j = 0; j < n_k; ++j)
      for (Index r = 0; r < m && in.sees(i, j); ++r) sum += p(j, r) = std::exp(fq.log(i, r) + fk.log(j, r) - largest);
    p /= sum;
    const Real log_d = largest + std::log(sum), lse = log_d - std::log(count);
    Real conditioning =
        std::sqrt(Real(n_k)) + std::sqrt(Real(m)) + std::sqrt(Real(d)) + std::sqrt(Real(d_v)) + 2 + size;
    a.lse.value(i, 0) = lse;
    a.lse.gauge(i, 0) = conditioning + std::abs(lse) + std::log(count);
    Real row = -in.d_lse(i, 0), row_size = std::abs(in.d_lse(i, 0));
    for (Index j = 0; j < n_k; ++j) {
      for (Index r = 0; r < m; ++r) a.weights(i, j) += p(j, r);
      for (Index c = 0; c < d_v; ++c)
        a.o.add(i, c, a.weights(i, j) * in.v(j, c), conditioning * a.weights(i, j) * std::abs(in.v(j, c)));
    }
    conditioning += std::abs(lse) + std::log(count);  // backward starts from it
    for (Index c = 0; c < d_v; ++c) {
      row += in.d_o(i, c) * a.o.value(i, c);
      for (Index j = 0; j < n_k; ++j) row_size += std::abs(in.d_o(i, c)) * a.weights(i, j) * std::abs(in.v(j, c));
    }
    Grid g = Grid::Zero(1, m), gauge = Grid::Zero(1, m);
    for (Index j = 0; j < n_k; ++j) {
      if (!in.sees(i, j)) continue;
      Real dp = 0, dp_size = 0;
      for (Index c = 0; c < d_v; ++c) {
        dp += in.d_o(i, c) * in.v(j, c);
        dp_size += std::abs(in.d_o(i, c) * in.v(j, c));
        a.dv.add(j, c, a.weights(i, j) * in.d_o(i, c), conditioning * a.weights(i, j) * std::abs(in.d_o(i, c)));
      }
      for (Index r = 0; r < m; ++r) {
        g(0, r) += p(j, r) * (dp - row);
        g_k(j, r) += p(j, r) * (dp - row);
        gauge(0, r) += conditioning * p(j, r) * (dp_size + row_size);
        gauge_k(j, r) += conditioning * p(j, r) * (dp_size + row_size);
      }
    }
    const auto at = static_cast<std::size_t>(i);
    for (Index r = 0; r < m; ++r)
      for (Index c = 0; c < d; ++c) a.dq.add(i, c, g(0, r) * fq.slope[at](r, c), gauge(0, r) * fq.slope_size[at](r, c));
  }
  for (Index j = 0; j < n_k; ++j)
    for (Index r = 0; r < m; ++r)
      for (Index c = 0; c < d; ++c) {
        const auto at = static_cast<std::size_t>(j);
        a.dk.add(j, c, g_k(j, r) * fk.slope[at](r, c), gauge_k(j, r) * fk.slope_size[at](r, c));
      }
  const Real rows = 1 + std::sqrt(Real(n_q)) / 8;  // sums over many rows round too
  a.dk.gauge *= rows;
  a.dv.gauge *= rows;
  return a;
}

}  // namespace oracle

template <class P>
struct FavorCases : QkvCases<P> {
  using Base = QkvCases<P>;
  using typename Base::Index, typename Base::Options, typename Base::S;
  static constexpr bool can_be_causal = true;
  using Map = decltype(Options{}.map);
  static constexpr bool softmax = std::same_as<Map, heed::SoftmaxFeatures>;

  static std::vector<Case<P>> cases(const std::vector<Index>& features, const std::vector<Index>& d,
                                    const std::vector<Index>& d_v, const std::vector<Index>& n_q,
                                    const std::vector<Index>& n_k) {
    std::vector<Case<P>> all;
    for (const auto& row : pairwise({2, 2, 2, 3, 4, features.size(), d.size(), d_v.size(), n_q.size(), n_k.size()})) {
      Case<P> c;
      c.options.causal = row[0] == 1;
      if (row[1] == 1) c.options.scale = S(0.375);
      c.options.orthogonal = row[3] != 0;
      c.options.fixed_norms = row[3] == 2;
      if constexpr (softmax) {
        c.options.map.hyperbolic = row[2] == 1;
        c.options.map.bound = row[4] == 1 ? -0.25 : row[4] == 2 ? 0.0625 : 0;
        c.options.map.epsilon = row[4] == 3 ? 0.01 : 0;
      }
      // Differences of features that are almost 0 say little.
      if constexpr (std::same_as<Map, heed::ReluFeatures>) c.options.map.epsilon = 0.25;
      c.options.features = features[row[5]];
      c.shape = {d[row[6]], d_v[row[7]], 3};
      c.call = {n_q[row[8]], n_k[row[9]]};
      c.options.seed = c.seed = all.size() + 1;
      c.sequence = 1;
      c.head = 2;
      c.label = "case " + std::to_string(c.seed) + " (causal " + std::to_string(row[0]) + ", scale " +
                std::to_string(row[1]) + ", hyperbolic " + std::to_string(row[2]) + ", directions " +
                std::to_string(row[3]) + ", variant " + std::to_string(row[4]) + ", m " +
                std::to_string(c.options.features) + ", d " + std::to_string(c.shape.key_dim) + ", d_v " +
                std::to_string(c.shape.value_dim) + ", n_q " + std::to_string(c.call.queries) + ", n_k " +
                std::to_string(c.call.keys) + ")";
      all.push_back(c);
    }
    return all;
  }
  static std::vector<Case<P>> all() {
    return cases({1, 7, 16, 48, 70}, {1, 5, 16, 33, 64}, {1, 7, 16, 40, 64}, {0, 1, 2, 17, 48, 65, 131},
                 {0, 1, 8, 33, 64, 130, 257});
  }
  static std::vector<Case<P>> small() { return cases({1, 4, 6}, {1, 3, 5}, {2, 4}, {1, 2, 9}, {1, 3, 11}); }

  static std::vector<Options> options(Index) {
    std::vector<Options> all(4);
    for (Options& o : all) o.features = 20;
    all[1].causal = true;
    all[2].causal = true;
    all[2].features = 32;
    all[3].scale = S(0.5);
    all[3].orthogonal = false;
    if constexpr (softmax) {
      all[2].map.hyperbolic = true;
      all[3].map.bound = -0.25;
    }
    return all;
  }
  template <class F>
  static void bad_options(F&& refused) {
    const S infinity = std::numeric_limits<S>::infinity();
    const auto bad = Base::changed(refused);
    if constexpr (Map::projects) {
      bad("no features", "features", [&](Options& o) { o.features = 0; });
      bad("features negative", "features", [&](Options& o) { o.features = -4; });
      bad("directions of another width", "directions", [&](Options& o) { o.directions.setOnes(256, 99); });
      bad("more directions than features", "directions", [&](Options& o) { o.directions.setOnes(7, 5); });
      bad("infinite directions", "directions", [&](Options& o) {
        o.features = 7;
        o.directions.setConstant(7, 5, infinity);
      });
    } else {
      bad("directions that are not used", "directions", [&](Options& o) { o.directions.setOnes(7, 5); });
    }
    bad("infinite scale", "scale", [&](Options& o) { o.scale = infinity; });
    bad("NaN scale", "scale", [&](Options& o) { o.scale = infinity - infinity; });
    bad("negative scale", "scale", [&](Options& o) { o.scale = S(-1); });
    bad("scale 0", "scale", [&](Options& o) { o.scale = S(0); });
    if constexpr (softmax) bad("bound 1/8", "bound", [&](Options& o) { o.map.bound = 0.125; });
    if constexpr (requires(Options o) { o.map.epsilon; }) {
      bad("negative epsilon", "epsilon", [&](Options& o) { o.map.epsilon = -1e-3; });
      bad("infinite epsilon", "epsilon", [&](Options& o) { o.map.epsilon = double(infinity); });
    }
  }

  static bool sees(const Case<P>& c, Index i, Index j) {
    return !c.options.causal || j <= i + c.call.keys - c.call.queries;
  }
  static Grid seen(const Case<P>& c, const Instance<P>&) {
    return Base::grid(c, [&](Index i, Index j) { return sees(c, i, j); });
  }
  static bool sees_first(const Case<P>&) { return true; }
  static Index seen_pairs(const Case<P>& c) { return seen(c, {}).count(); }
  /// Rows and keys that anything sees or that see anything, each projected and multiplied into the sums once forward.
  static std::pair<double, double> multiply_adds(const Case<P>& c, double pairs, double d, double d_v) {
    double rows = 0, m = Map::projects ? double(c.options.features) : d, width = m;
    for (Index i = 0; i < c.call.queries; ++i) rows += c.call.keys > 0 && sees(c, i, 0) ? 1 : 0;
    const double keys = pairs > 0 ? double(c.call.keys) : 0;
    if constexpr (softmax) width *= c.options.map.hyperbolic ? 2 : 1;
    const double project = Map::projects ? m * d : 0;
    return {(rows + keys) * (project + width * d_v), 2 * (rows + keys) * (project + width * d_v) + keys * width * d_v};
  }
  static bool keys_split(const Case<P>& c) { return !c.options.causal; }

  static oracle::Answer answer(const Case<P>& c, const Instance<P>& in) {
    using oracle::Real;
    oracle::Problem problem;
    problem.q = in.fields.q.template cast<Real>();
    problem.k = in.fields.k.template cast<Real>();
    problem.v = in.fields.v.template cast<Real>();
    problem.d_o = in.d_o.template cast<Real>();
    problem.d_lse = in.d_lse.template cast<Real>();
    problem.scale = c.options.scale ? Real(*c.options.scale) : softmax ? 1 / std::sqrt(Real(c.shape.key_dim)) : Real(1);
    problem.sees = [&](Index i, Index j) { return sees(c, i, j); };
    const oracle::Grid w = P(c.options, c.shape).directions().template cast<Real>();
    using oracle::features_of;
    const auto fq = features_of(c.options.map, w, problem.scale, problem.q);
    const auto fk = features_of(c.options.map, w, problem.scale, problem.k);
    return oracle::linear_attention(problem, fq, fk, Map::projects ? Real(fq.log.cols()) : Real(1));
  }
};
template <class S, class Map>
struct Cases<heed::Favor<S, Map>> : FavorCases<heed::Favor<S, Map>> {};

template <class Map>
struct FavorFamily {
  template <class S>
  using Of = heed::Favor<S, Map>;
};
