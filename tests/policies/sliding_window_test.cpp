// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/attend.hpp>
#include <heed/policies/dense.hpp>
#include <heed/policies/sliding_window.hpp>
#include <laws.hpp>
#include <policies/window_cases.hpp>

using heed::Index, heed::Matrix;

template <class S>
struct Cases<heed::SlidingWindow<S>> : WindowCases<heed::SlidingWindow<S>> {
  using P = heed::SlidingWindow<S>;
  using Base = WindowCases<P>;
  static std::vector<Case<P>> all() { return Base::all(1); }
  static std::vector<Case<P>> small() { return Base::small(1); }
  template <class F>
  static void bad_contexts(const heed::Batch&, F&&) {}
  static typename P::Context context(const Case<P>&, std::vector<Matrix<S>>&) { return {}; }

  static bool sees(const Case<P>& c, Index i, Index j) {
    return Base::in_window(c.options, Base::step(c.options, c.head), i + c.call.keys - c.call.queries, j);
  }
  static Grid seen(const Case<P>& c, const Instance<P>&) {
    Grid all(c.call.queries, c.call.keys);
    for (Index i = 0; i < c.call.queries; ++i)
      for (Index j = 0; j < c.call.keys; ++j) all(i, j) = sees(c, i, j);
    return all;
  }
  static oracle::Answer answer(const Case<P>& c, const Instance<P>& in) {
    return Base::answer(c, in, in.fields, [&](Index i, Index j) { return sees(c, i, j); });
  }
  template <class F>
  static void compare_gradients(const Instance<P>&, const Results<P>& r, const oracle::Answer& a, F&& compare) {
    compare("dq", r.d.q, a.dq);
    compare("dk", r.d.k, a.dk);
    compare("dv", r.d.v, a.dv);
  }
  static void change_kv_head(typename P::Projection::Params& p, Index kv, Index kv_heads) {
    const Index d = p.wk.cols() / kv_heads, d_v = p.wv.cols() / kv_heads;
    p.wk.middleCols(kv * d, d).array() += S(0.5);
    p.wv.middleCols(kv * d_v, d_v).array() += S(0.5);
  }
};
struct SlidingWindowFamily {
  template <class S>
  using Of = heed::SlidingWindow<S>;
};
const bool laws = register_laws<SlidingWindowFamily>();
