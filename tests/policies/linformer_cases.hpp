// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/policies/linformer.hpp>
#include <policies/softmax_cases.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

/// Cases and oracle: E and F as dense matrices, whatever they are made of.
template <class P, heed::LinformerSharing sharing>
struct LinformerCases : QkvCases<P> {
  using Base = QkvCases<P>;
  using typename Base::Index, typename Base::Options, typename Base::S;
  using LengthProjection = heed::LengthProjection;
  using LinformerSharing = heed::LinformerSharing;
  using Real = oracle::Real;
  using Grid = oracle::Grid;
  using Plain = SoftmaxCases<heed::Tiled<S>, SeesEverything>;
  static constexpr bool can_be_causal = false;

  static std::vector<Case<P>> cases(const std::vector<Index>& k, const std::vector<Index>& d,
                                    const std::vector<Index>& d_v, const std::vector<Index>& n_q,
                                    const std::vector<Index>& n_k) {
    constexpr LengthProjection kinds[] = {LengthProjection::learned, LengthProjection::mean,
                                          LengthProjection::convolution};
    std::vector<Case<P>> all;
    for (const auto& row : pairwise({3, 2, 2, k.size(), d.size(), d_v.size(), n_q.size(), n_k.size()})) {
      Case<P> c;
      c.call = {n_q[row[6]], n_k[row[7]]};
      c.options.length_projection = kinds[row[0]];
      c.options.max_length = std::max<Index>(1, c.call.keys) + (row[1] == 1 ? 9 : 0);
      if (row[2] == 1) c.options.scale = S(0.375);
      c.options.k = k[row[3]];
      c.shape = {d[row[4]], d_v[row[5]], 3};
      c.seed = all.size() + 1;
      c.sequence = 1;
      c.head = 2;
      c.label = "case " + std::to_string(c.seed) + " (kind " + std::to_string(row[0]) + ", longest " +
                std::to_string(c.options.max_length) + ", scale " + std::to_string(row[2]) + ", k " +
                std::to_string(c.options.k) + ", d " + std::to_string(c.shape.key_dim) + ", d_v " +
                std::to_string(c.shape.value_dim) + ", n_q " + std::to_string(c.call.queries) + ", n_k " +
                std::to_string(c.call.keys) + ")";
      all.push_back(c);
    }
    return all;
  }
  static std::vector<Case<P>> all() {
    return cases({1, 5, 16, 70, 300}, {1, 5, 16, 33, 64}, {1, 7, 16, 40, 64}, {0, 1, 2, 17, 48, 65, 131},
                 {0, 1, 8, 33, 130, 257, 401});
  }
  static std::vector<Case<P>> small() { return cases({1, 2, 5, 20}, {1, 3, 5}, {2, 4}, {1, 2, 9}, {1, 3, 11}); }

  static std::vector<Options> options(Index) {
    constexpr Index longest = 720;
    return {{.k = 8, .max_length = longest},
            {.k = 33, .max_length = longest, .scale = S(0.5)},
            {.k = 100, .max_length = longest, .length_projection = LengthProjection::mean},
            {.k = 90, .max_length = longest, .length_projection = LengthProjection::convolution}};
  }
  template <class F>
  static void bad_options(F&& refused) {
    refused("no slots", "options.k", Options{.k = 0});
    refused("negative slots", "options.k", Options{.k = -4});
    refused("no length", "options.max_length", Options{.max_length = 0});
    refused("negative length", "options.max_length", Options{.max_length = -512});
    refused("infinite scale", "options.scale", Options{.scale = std::numeric_limits<S>::infinity()});
  }

  static Index width(const Options& o) { return (o.max_length + o.k - 1) / o.k; }
  static Index slots(const Case<P>& c) {
    const Index n = c.call.keys;
    return c.options.length_projection == LengthProjection::learned ? (n > 0 ? c.options.k : 0)
                                                                    : (n + width(c.options) - 1) / width(c.options);
  }
  static auto& weights(const Instance<P>& in) {
    if constexpr (sharing == LinformerSharing::none)
      return in.own;
    else
      return in.shared;
  }
  /// [n_k, slots]
  static Grid matrix(const Case<P>& c, const heed::Matrix<S>& e) {
    const Index n = c.call.keys, w = width(c.options);
    Grid m = Grid::Zero(n, slots(c));
    for (Index j = 0; j < n; ++j) {
      const Index r = j / w;
      if (c.options.length_projection == LengthProjection::learned)
        m.row(j) = e.row(j).template cast<Real>();
      else if (c.options.length_projection == LengthProjection::mean)
        m(j, r) = 1 / Real(std::min(w, n - r * w));
      else
        m(j, r) = Real(e(j % w, 0));
    }
    return m;
  }
  static Grid e_matrix(const Case<P>& c, const Instance<P>& in) { return matrix(c, weights(in).e); }
  static Grid f_matrix(const Case<P>& c, const Instance<P>& in) {
    if constexpr (sharing == LinformerSharing::key_value)
      return e_matrix(c, in);
    else
      return matrix(c, weights(in).f);
  }

  static Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic> seen(const Case<P>& c, const Instance<P>&) {
    return Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic>::Constant(c.call.queries, c.call.keys, true);
  }
  static bool sees_first(const Case<P>&) { return true; }
  static Index seen_pairs(const Case<P>& c) { return c.call.queries * slots(c); }
  static std::pair<double, double> multiply_adds(const Case<P>& c, double pairs, double d, double d_v) {
    const bool learned = c.options.length_projection == LengthProjection::learned;
    const bool constant = c.options.length_projection == LengthProjection::mean;
    const double n = static_cast<double>(c.call.keys), k = learned ? static_cast<double>(c.options.k) : 1.0;
    return {(n * k + pairs) * (d + d_v), (constant ? 1 : 2) * n * k * (d + d_v) + pairs * (3 * d + 2 * d_v)};
  }
  /// Only means of one row keep keys apart.
  static bool keys_split(const Case<P>& c) {
    return c.options.length_projection == LengthProjection::mean && width(c.options) == 1;
  }
  static heed::Matrix<S> values(const Case<P>& c, const Instance<P>& in) {
    return (f_matrix(c, in).transpose() * in.fields.v.template cast<Real>()).template cast<S>();
  }
  static S reach(const Case<P>& c, const Instance<P>& in) {
    return std::max(
        S(1), static_cast<S>(f_matrix(c, in).cwiseAbs().colwise().sum().template maxCoeff<Eigen::PropagateNaN>()));
  }

  struct Answer {
    oracle::Gauged o, lse, dq, dk, dv, de, df;
  };
  static Real root(Index n) { return std::sqrt(Real(n)) + 2; }
  static Grid size(const Grid& m) { return m.cwiseAbs(); }
  /// The gradient of what e is made of, from that of E.
  static oracle::Gauged fold(const Case<P>& c, const oracle::Gauged& d, const heed::Matrix<S>& e) {
    oracle::Gauged to(e.rows(), e.cols());
    for (Index j = 0; j < d.value.rows(); ++j)
      for (Index r = 0; r < d.value.cols(); ++r)
        if (c.options.length_projection == LengthProjection::learned)
          to.add(j, r, d.value(j, r), d.gauge(j, r));
        else if (c.options.length_projection == LengthProjection::convolution && j / width(c.options) == r)
          to.add(j % width(c.options), 0, d.value(j, r), d.gauge(j, r));
    if (c.options.length_projection == LengthProjection::convolution) to.gauge *= root(slots(c));
    return to;
  }
  static Answer answer(const Case<P>& c, const Instance<P>& in) {
    const Grid e = e_matrix(c, in), f = f_matrix(c, in);
    const Grid k = in.fields.k.template cast<Real>(), v = in.fields.v.template cast<Real>();
    const Index n = c.call.keys, d = c.shape.key_dim, d_v = c.shape.value_dim;
    oracle::Problem problem;
    problem.q = in.fields.q.template cast<Real>();
    problem.k = e.transpose() * k;
    problem.v = f.transpose() * v;
    problem.k_gauge = root(n) * size(e).transpose() * size(k);
    problem.v_gauge = root(n) * size(f).transpose() * size(v);
    problem.d_o = in.d_o.template cast<Real>();
    problem.d_lse = in.d_lse.template cast<Real>();
    problem.scale = c.options.scale ? Real(*c.options.scale) : 1 / std::sqrt(Real(d));
    problem.sees = [](Index, Index) { return true; };
    problem.bias = [](Index, Index) { return Real(0); };
    const oracle::Answer slot = oracle::softmax_attention(problem);

    // y = x m with x = E or K (to the left) and m from the slots.
    const auto through = [](const Grid& x, const Grid& m, const Grid& gauge, Real terms) {
      oracle::Gauged y(x.rows(), m.cols());
      y.value = x * m;
      y.gauge = size(x) * gauge + terms * (size(x) * size(m));
      return y;
    };
    Answer a;
    a.o = slot.o;
    a.lse = slot.lse;
    a.dq = slot.dq;
    a.dk = through(e, slot.dk.value, slot.dk.gauge, root(slots(c)));
    a.dv = through(f, slot.dv.value, slot.dv.gauge, root(slots(c)));
    a.de = fold(c, through(k, slot.dk.value.transpose(), slot.dk.gauge.transpose(), root(d)), weights(in).e);
    a.df = fold(c, through(v, slot.dv.value.transpose(), slot.dv.gauge.transpose(), root(d_v)), weights(in).e);
    if constexpr (sharing == LinformerSharing::key_value) {
      a.de.value += a.df.value;
      a.de.gauge += a.df.gauge;
    }
    return a;
  }
  template <class F>
  static void compare_gradients(const Instance<P>&, const Results<P>& r, const Answer& a, F&& compare) {
    compare("dq", r.d.q, a.dq);
    compare("dk", r.d.k, a.dk);
    compare("dv", r.d.v, a.dv);
    if constexpr (sharing == LinformerSharing::key_value) {
      compare("de", r.d_shared.e, a.de);
    } else {
      const auto& d = [&]() -> auto& {
        if constexpr (sharing == LinformerSharing::none)
          return r.d_own;
        else
          return r.d_shared;
      }
      ();
      compare("de", d.e, a.de);
      compare("df", d.f, a.df);
    }
  }
};
template <class S, heed::LinformerSharing sharing>
struct Cases<heed::Linformer<S, sharing>> : LinformerCases<heed::Linformer<S, sharing>, sharing> {};
