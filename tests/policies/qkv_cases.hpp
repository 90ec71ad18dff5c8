// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <cases.hpp>

#include <cmath>
#include <utility>
#include <vector>

/// What most policies' cases say alike: softmax over pairs of queries and keys, no caller's data. Those that differ in
/// one of it say their own.
template <class P>
struct QkvCases {
  using S = typename P::Scalar;
  using Options = typename P::Options;
  using Index = heed::Index;
  static constexpr bool groups = true;

  /// `bad(what, names, change)`: refuses the default options after change(options).
  template <class F>
  static auto changed(F& refused) {
    return [&refused](const char* what, const char* names, auto&& change) {
      Options o;
      change(o);
      refused(what, names, o);
    };
  }
  template <class F>
  static void bad_contexts(const heed::Batch&, F&&) {}
  static typename P::Context context(const Case<P>&, std::vector<heed::Matrix<S>>&) { return {}; }

  /// Where sees(i, j).
  template <class Sees>
  static Grid grid(const Case<P>& c, const Sees& sees) {
    Grid all(c.call.queries, c.call.keys);
    for (Index i = 0; i < c.call.queries; ++i)
      for (Index j = 0; j < c.call.keys; ++j) all(i, j) = sees(i, j);
    return all;
  }
  static std::pair<double, double> multiply_adds(const Case<P>&, double pairs, double d, double d_v) {
    return {pairs * (d + d_v), pairs * (3 * d + 2 * d_v)};
  }

  /// What the oracle is asked of one set of queries, keys and values that see each other so.
  template <class Sees>
  static oracle::Problem problem(const Case<P>& c, const Instance<P>& in, const heed::Qkv<heed::Matrix<S>>& fields,
                                 const Sees& sees) {
    using oracle::Real;
    oracle::Problem p;
    p.q = fields.q.template cast<Real>();
    p.k = fields.k.template cast<Real>();
    p.v = fields.v.template cast<Real>();
    p.d_o = in.d_o.template cast<Real>();
    p.d_lse = in.d_lse.template cast<Real>();
    p.scale = c.options.scale ? Real(*c.options.scale) : 1 / std::sqrt(Real(c.shape.key_dim));
    if constexpr (requires { c.options.soft_cap; }) p.soft_cap = Real(c.options.soft_cap);
    p.sees = sees;
    p.bias = [](Index, Index) { return Real(0); };
    return p;
  }
  template <class Answer, class F>
  static void compare_gradients(const Instance<P>&, const Results<P>& r, const Answer& a, F&& compare) {
    compare("dq", r.d.q, a.dq);
    compare("dk", r.d.k, a.dk);
    compare("dv", r.d.v, a.dv);
  }
  template <class Params>
  static void change_kv_head(Params& p, Index kv, Index kv_heads) {
    const Index d = p.wk.cols() / kv_heads, d_v = p.wv.cols() / kv_heads;
    p.wk.middleCols(kv * d, d).array() += S(0.5);
    p.wv.middleCols(kv * d_v, d_v).array() += S(0.5);
  }
};
