// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/policies/adaptive_span.hpp>
#include <pairwise.hpp>
#include <policies/qkv_cases.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

/// Cases and oracle of both. The oracle says who sees whom in words of its own: `x` is how far a key lies behind the
/// query, and its weight is the ramp at x; keys before the first are there only with `zero_history`.
template <class P>
struct SpanCases : QkvCases<P> {
  using Base = QkvCases<P>;
  using typename Base::Index, typename Base::Options, typename Base::S;
  using Real = oracle::Real;
  static constexpr bool can_be_causal = true, can_split_keys = false;
  static constexpr bool dynamic = P::name == "DynamicSpan";

  struct Span {
    Index most;
    double z, ramp;
  };
  static Case<P> make_case(const std::vector<std::size_t>& row, const std::vector<Span>& spans,
                           const std::vector<Index>& d, const std::vector<Index>& d_v, const std::vector<Index>& n_q,
                           const std::vector<Index>& n_k, std::size_t number) {
    Case<P> c;
    const Span& span = spans[row[0]];
    c.options.max_span = span.most;
    c.options.ramp = static_cast<S>(span.ramp);
    if (!dynamic) c.options.initial_span = static_cast<S>(span.z);
    c.options.sees_itself = row[1] == 0;
    c.options.distance_origin = static_cast<Index>(row[2]);
    if (row[3] == 1) c.options.scale = S(0.375);
    c.shape = {d[row[4]], d_v[row[5]], 3};
    c.call = {n_q[row[6]], n_k[row[7]]};
    c.seed = number + 1;
    c.sequence = 1;
    c.head = 2;
    c.label = "case " + std::to_string(c.seed) + " (max_span " + std::to_string(span.most) + ", z " +
              std::to_string(span.z) + ", ramp " + std::to_string(span.ramp) + ", itself " +
              std::to_string(c.options.sees_itself) + ", origin " + std::to_string(row[2]) + ", scale " +
              std::to_string(row[3]) + ", d " + std::to_string(c.shape.key_dim) + ", d_v " +
              std::to_string(c.shape.value_dim) + ", n_q " + std::to_string(c.call.queries) + ", n_k " +
              std::to_string(c.call.keys) + ")";
    return c;
  }
  static std::vector<Case<P>> cases(const std::vector<Span>& spans, const std::vector<Index>& d,
                                    const std::vector<Index>& d_v, const std::vector<Index>& n_q,
                                    const std::vector<Index>& n_k) {
    std::vector<Case<P>> all;
    for (const auto& row : pairwise({spans.size(), 2, 2, 2, d.size(), d_v.size(), n_q.size(), n_k.size()}))
      all.push_back(make_case(row, spans, d, d_v, n_q, n_k, all.size()));
    return all;
  }
  static std::vector<Case<P>> all() {
    return cases({{1, 0, 1}, {1, 1, 3.5}, {16, 5.25, 4}, {40, 33.3, 7.5}, {24, 24, 8}, {130, 0, 32}, {300, 97.6, 20.5}},
                 {1, 5, 16, 33, 64}, {1, 7, 16, 40, 64}, {0, 1, 2, 17, 48, 65, 131}, {0, 1, 8, 33, 64, 130, 257});
  }
  /// Off the corners of the ramp.
  static std::vector<Case<P>> small() {
    auto all =
        cases({{1, 0.3, 1.5}, {5, 2.3, 2.4}, {8, 4.7, 1.6}, {16, 0.4, 6.8}}, {1, 3, 5}, {2, 4}, {1, 2, 9}, {1, 3, 11});
    const std::size_t plain = all.size();
    for (std::size_t i = 0; i < plain; i += 3) {
      all.push_back(all[i]);
      all.back().options.zero_history = true;
    }
    return all;
  }

  static std::vector<Options> options(Index) {
    std::vector<Options> all(4);
    for (Options& o : all) o.max_span = 16, o.ramp = S(4);
    all[1].sees_itself = false;
    all[1].distance_origin = 1;
    all[1].scale = S(0.5);
    all[2].sees_itself = false;
    all[2].zero_history = true;
    all[3].max_span = 24;
    all[3].ramp = S(8.5);
    if (!dynamic)
      for (Options& o : all) o.initial_span = o.max_span == 16 ? S(5.3) : S(20.3);
    return all;
  }
  template <class F>
  static void bad_options(F&& refused) {
    const S infinity = std::numeric_limits<S>::infinity();
    const auto bad = Base::changed(refused);
    bad("no span", "max_span", [](Options& o) { o.max_span = 0; });
    bad("negative max_span", "max_span", [](Options& o) { o.max_span = -5; });
    bad("distances that S cannot count", "max_span", [](Options& o) { o.max_span = Index{1} << 60; });
    bad("ramp below 1", "ramp", [](Options& o) { o.ramp = S(0.5); });
    bad("infinite ramp", "ramp", [&](Options& o) { o.ramp = infinity; });
    bad("NaN ramp", "ramp", [&](Options& o) { o.ramp = infinity - infinity; });
    bad("negative span", "initial_span", [](Options& o) { o.initial_span = S(-1); });
    bad("span beyond the longest", "initial_span", [](Options& o) { o.max_span = 8, o.initial_span = S(8.5); });
    bad("NaN span", "initial_span", [&](Options& o) { o.initial_span = infinity - infinity; });
    if (dynamic) bad("initial span of a dynamic one", "initial_span", [](Options& o) { o.initial_span = S(3); });
    bad("origin 2", "distance_origin", [](Options& o) { o.distance_origin = 2; });
    bad("origin -1", "distance_origin", [](Options& o) { o.distance_origin = -1; });
    bad("infinite scale", "scale", [&](Options& o) { o.scale = infinity; });
  }

  static Real part(const Instance<P>& in, Index i) {
    if constexpr (dynamic)
      return 1 / (1 + std::exp(-Real(in.fields.span(i, 0))));
    else
      return static_cast<void>(i), Real(in.own.span(0, 0));
  }
  /// What the ramp has at x for row i; m and end - x.
  static Real left(const Case<P>& c, const Instance<P>& in, Index i, Index x) {
    return Real(c.options.max_span) * part(in, i) + Real(c.options.ramp) - Real(x);
  }
  static Real m(const Case<P>& c, const Instance<P>& in, Index i, Index x) {
    return std::clamp(left(c, in, i, x) / Real(c.options.ramp), Real(0), Real(1));
  }
  /// Row of the table, and x, of key j (negative: history) for row i; whether there is such a row.
  static Index distance(const Case<P>& c, Index i, Index j) {
    return i + c.call.keys - c.call.queries - j - (c.options.sees_itself ? 0 : 1);
  }
  static bool sees(const Case<P>& c, const Instance<P>& in, Index i, Index j) {
    const Index t = distance(c, i, j);
    return t >= 0 && t < c.options.max_span && m(c, in, i, t + c.options.distance_origin) > 0;
  }
  static Grid seen(const Case<P>& c, const Instance<P>& in) {
    return Base::grid(c, [&](Index i, Index j) { return sees(c, in, i, j); });
  }
  /// For sure, and with some weight.
  static bool sees_first(const Case<P>& c) {
    const Index t = distance(c, c.call.queries - 1, 0);
    return t >= 0 && t < c.options.max_span &&
           static_cast<S>(t + c.options.distance_origin) < c.options.initial_span + c.options.ramp / 2;
  }
  /// At the longest span: what `cost` promises not to exceed.
  static Index seen_pairs(const Case<P>& c) {
    Index pairs = 0;
    for (Index i = 0; i < c.call.queries; ++i)
      for (Index j = 0; j < c.call.keys; ++j)
        pairs += distance(c, i, j) >= 0 && distance(c, i, j) < c.options.max_span ? 1 : 0;
    return pairs;
  }
  static std::pair<double, double> multiply_adds(const Case<P>&, double pairs, double d, double d_v) {
    return {pairs * (2 * d + d_v), pairs * (6 * d + 2 * d_v)};
  }
  static bool keys_split(const Case<P>&) { return false; }

  struct Answer : oracle::Answer {
    oracle::Gauged dtable, dspan;  // dspan [1, 1], or [n_q, 1]
  };
  static Answer answer(const Case<P>& c, const Instance<P>& in) {
    using oracle::Grid;
    const Index zeros =
        c.options.zero_history ? c.options.max_span + std::max<Index>(0, c.call.queries - c.call.keys) : 0;
    const auto with_history = [&](const heed::Matrix<S>& x) {
      Grid all = Grid::Zero(zeros + x.rows(), x.cols());
      all.bottomRows(x.rows()) = x.template cast<Real>();
      return all;
    };
    oracle::Problem problem;
    problem.q = in.fields.q.template cast<Real>();
    problem.k = with_history(in.fields.k);
    problem.v = with_history(in.fields.v);
    problem.d_o = in.d_o.template cast<Real>();
    problem.d_lse = in.d_lse.template cast<Real>();
    problem.scale = c.options.scale ? Real(*c.options.scale) : 1 / std::sqrt(Real(c.shape.key_dim));
    const Grid table = in.shared.table.template cast<Real>();
    const auto x = [&](Index i, Index j) { return distance(c, i, j - zeros) + c.options.distance_origin; };
    problem.sees = [&](Index i, Index j) { return sees(c, in, i, j - zeros); };
    problem.bias = [&](Index i, Index j) {
      return problem.scale * problem.q.row(i).dot(table.row(distance(c, i, j - zeros))) +
             std::log(m(c, in, i, x(i, j)));
    };
    problem.bias_gauge = [&](Index i, Index j) {  // log m is as uncertain as z and the sum z + R are
      const Real weight = m(c, in, i, x(i, j)), log_m = std::abs(std::log(weight));
      const Real magnitude = problem.q.row(i).cwiseAbs().dot(table.row(distance(c, i, j - zeros)).cwiseAbs());
      const Real z = (dynamic ? 4 : 1) * Real(c.options.max_span) * part(in, i);
      return problem.scale * magnitude + log_m +
             (weight < 1 ? (z + Real(c.options.ramp)) / left(c, in, i, x(i, j)) : Real(0));
    };

    Answer a{oracle::softmax_attention(problem), oracle::Gauged(c.options.max_span, c.shape.key_dim),
             oracle::Gauged(dynamic ? c.call.queries : 1, 1)};
    for (Index i = 0; i < c.call.queries; ++i)
      for (Index j = 0; j < problem.k.rows(); ++j) {
        if (!problem.sees(i, j)) continue;
        const Index t = distance(c, i, j - zeros);
        const Real de = a.db.value(i, j), gauge = a.db.gauge(i, j), weight = m(c, in, i, x(i, j));
        for (Index e = 0; e < c.shape.key_dim; ++e) {
          a.dq.add(i, e, problem.scale * de * table(t, e), problem.scale * gauge * std::abs(table(t, e)));
          a.dtable.add(t, e, problem.scale * de * problem.q(i, e), problem.scale * gauge * std::abs(problem.q(i, e)));
        }
        if (weight == 1) continue;
        const Real p = part(in, i);
        const Real factor =
            Real(c.options.max_span) / Real(c.options.ramp) / weight * (dynamic ? p * (1 - p) : Real(1));
        a.dspan.add(dynamic ? i : 0, 0, factor * de, factor * gauge);
      }
    const Real rows = 1 + std::sqrt(Real(c.call.queries)) / 8;
    a.dtable.gauge *= rows;
    a.dspan.gauge *= rows;
    a.dk.value = a.dk.value.bottomRows(c.call.keys).eval();
    a.dk.gauge = a.dk.gauge.bottomRows(c.call.keys).eval();
    a.dv.value = a.dv.value.bottomRows(c.call.keys).eval();
    a.dv.gauge = a.dv.gauge.bottomRows(c.call.keys).eval();
    return a;
  }
  template <class F>
  static void compare_gradients(const Instance<P>&, const Results<P>& r, const Answer& a, F&& compare) {
    compare("dq", r.d.q, a.dq);
    compare("dk", r.d.k, a.dk);
    compare("dv", r.d.v, a.dv);
    compare("dtable", r.d_shared.table, a.dtable);
    if constexpr (dynamic)
      compare("dspan", r.d.span, a.dspan);
    else
      compare("dspan", r.d_own.span, a.dspan);
  }

  static void change_kv_head(typename P::Projection::Params& p, Index kv, Index kv_heads) {
    auto& qkv = [&]() -> auto& {
      if constexpr (dynamic)
        return p.qkv;
      else
        return p;
    }
    ();
    const Index d = qkv.wk.cols() / kv_heads, d_v = qkv.wv.cols() / kv_heads;
    qkv.wk.middleCols(kv * d, d).array() += S(0.5);
    qkv.wv.middleCols(kv * d_v, d_v).array() += S(0.5);
  }
};
template <class S, heed::SpanFrom from>
struct Cases<heed::AdaptiveSpan<S, from>> : SpanCases<heed::AdaptiveSpan<S, from>> {};

struct AdaptiveSpanFamily {
  template <class S>
  using Of = heed::AdaptiveSpan<S>;
};
struct DynamicSpanFamily {
  template <class S>
  using Of = heed::DynamicSpan<S>;
};
