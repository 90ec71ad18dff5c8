// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/policies/longformer.hpp>
#include <policies/window_cases.hpp>

#include <vector>

/// What the oracle says of local and of global rows, merged as rows.
struct LocalAndGlobal : oracle::Answer {
  oracle::Answer global;
};

template <class P>
struct LongformerCases : WindowCases<P> {
  using Base = WindowCases<P>;
  using typename Base::Index, typename Base::S;
  static std::vector<Case<P>> all() { return Base::all(4); }
  static std::vector<Case<P>> small() { return Base::small(4); }

  /// Kind 0: none. 1: first, one in the middle, last. 2: about half of them. 3: all.
  static typename P::Context context(const Case<P>& c, std::vector<heed::Matrix<S>>&) {
    typename P::Context context;
    if (c.context == 0) return context;
    context.globals.resize(2);
    heed::Random random(c.seed + 1000);
    const Index n = c.call.keys;
    for (Index p = 0; p < n; ++p)
      if (c.context == 3 || (c.context == 2 && random.below(2) == 0) ||
          (c.context == 1 && (p == 0 || p == n / 3 || p == n - 1)))
        context.globals[1].push_back(p);
    return context;
  }
  static typename P::Context layer_context(const std::vector<Index>& lengths) {
    typename P::Context context;
    for (const Index n : lengths) {
      context.globals.emplace_back();
      for (Index p = 0; p < n; ++p)
        if (p < 2 || p % 13 == 5) context.globals.back().push_back(p);
    }
    return context;
  }
  template <class F>
  static void bad_contexts(const heed::Batch& batch, F&& refused) {
    const Index n = batch.queries(1).size;
    refused("globals of the first sequence only", typename P::Context{{{0}}});
    refused("a global position past the sequence", typename P::Context{{{0}, {n}}});
    refused("a negative global position", typename P::Context{{{-1}, {}}});
    refused("a global position twice", typename P::Context{{{}, {1, 1}}});
    refused("global positions out of order", typename P::Context{{{}, {2, 0}}});
  }

  static constexpr int sets = 2;
  template <class F>
  static auto& set(F& fields, int s) {
    return s == 0 ? fields.local : fields.global;
  }
  static bool is_global(const Instance<P>& in, Index p) {
    for (std::size_t i = 0; !in.context.globals.empty() && i < in.context.globals[1].size(); ++i)
      if (in.context.globals[1][i] == p) return true;
    return false;
  }
  static bool sees(const Case<P>& c, const Instance<P>& in, int s, Index i, Index j) {
    const Index p = i + c.call.keys - c.call.queries;
    if (c.options.causal && j > p) return false;
    if (s == 1) return is_global(in, p);
    return !is_global(in, p) && (is_global(in, j) || Base::in_window(c.options, Base::step(c.options, c.head), p, j));
  }
  static Grid seen(const Case<P>& c, const Instance<P>& in, int s) {
    return Base::grid(c, [&](Index i, Index j) { return sees(c, in, s, i, j); });
  }
  /// The last row sees the first key.
  static bool sees_first(const Case<P>& c) { return c.context % 2 == 1 || Base::sees_first(c); }

  static LocalAndGlobal answer(const Case<P>& c, const Instance<P>& in) {
    const auto of = [&](int s) {
      return oracle::softmax_attention(
          Base::problem(c, in, set(in.fields, s), [&, s](Index i, Index j) { return sees(c, in, s, i, j); }));
    };
    LocalAndGlobal both{of(0), of(1)};
    for (Index i = 0; i < c.call.queries; ++i)
      if (is_global(in, i + c.call.keys - c.call.queries))
        for (oracle::Grid oracle::Gauged::*part : {&oracle::Gauged::value, &oracle::Gauged::gauge}) {
          (both.o.*part).row(i) = (both.global.o.*part).row(i);
          (both.lse.*part).row(i) = (both.global.lse.*part).row(i);
        }
    return both;
  }
  template <class F>
  static void compare_gradients(const Instance<P>&, const Results<P>& r, const LocalAndGlobal& a, F&& compare) {
    compare("dq", r.d.local.q, a.dq);
    compare("dk", r.d.local.k, a.dk);
    compare("dv", r.d.local.v, a.dv);
    compare("dqg", r.d.global.q, a.global.dq);
    compare("dkg", r.d.global.k, a.global.dk);
    compare("dvg", r.d.global.v, a.global.dv);
  }
  static void change_kv_head(typename P::Projection::Params& p, Index kv, Index kv_heads) {
    for (auto* set : {&p.local, &p.global}) {
      const Index d = set->wk.cols() / kv_heads, d_v = set->wv.cols() / kv_heads;
      set->wk.middleCols(kv * d, d).array() += S(0.5);
      set->wv.middleCols(kv * d_v, d_v).array() += S(0.5);
    }
  }
};
template <class S>
struct Cases<heed::Longformer<S>> : LongformerCases<heed::Longformer<S>> {};
