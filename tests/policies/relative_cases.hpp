// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <cases.hpp>
#include <heed/policies/relative_bias.hpp>
#include <pairwise.hpp>

#include <cmath>
#include <limits>

/// T5's definition of a bucket, as it is written there, in the key's position relative to the query's. The slack is for
/// borders that are whole numbers: logarithms may come out below them.
inline heed::Index t5_bucket(heed::Index relative, bool two_sided, heed::Index buckets, heed::Index most) {
  heed::Index n = buckets, begin = 0, x = relative < 0 ? -relative : 0;
  if (two_sided) {
    n /= 2;
    if (relative > 0) begin = n, x = relative;
  }
  const heed::Index exact = n / 2;
  if (x < exact) return begin + x;
  const long double steps = std::log(static_cast<long double>(x) / static_cast<long double>(exact)) /
                            std::log(static_cast<long double>(most) / static_cast<long double>(exact)) *
                            static_cast<long double>(n - exact);
  return begin + std::min(n - 1, exact + static_cast<heed::Index>(std::floor(steps + 1e-12L)));
}

/// Cases and oracle, over any pattern. `Rule::sees(p, j)` says in words of its own which key a query sees.
template <class P, class Rule>
struct RelativeCases {
  using S = typename P::Scalar;
  using Real = oracle::Real;
  using Options = typename P::Options;
  using Index = heed::Index;
  static constexpr bool can_be_causal = true, can_split_keys = false, groups = true;

  struct Size {
    Index buckets, most;
  };
  static std::vector<Case<P>> cases(const std::vector<Size>& sizes, const std::vector<Index>& d,
                                    const std::vector<Index>& d_v, const std::vector<Index>& n_q,
                                    const std::vector<Index>& n_k) {
    std::vector<Case<P>> all;
    for (const auto& row : pairwise({2, sizes.size(), 2, d.size(), d_v.size(), n_q.size(), n_k.size()})) {
      Case<P> c;
      c.options.causal = row[0] == 1;
      c.options.num_buckets = sizes[row[1]].buckets + (c.options.causal ? 1 : 0);  // one side may have an odd number
      c.options.max_distance = sizes[row[1]].most;
      if (row[2] == 1) c.options.scale = S(0.375);
      c.shape = {d[row[3]], d_v[row[4]], 3};
      c.call = {n_q[row[5]], n_k[row[6]]};
      c.seed = all.size() + 1;
      c.sequence = 1;
      c.head = 2;
      c.label = "case " + std::to_string(c.seed) + " (causal " + std::to_string(row[0]) + ", buckets " +
                std::to_string(c.options.num_buckets) + ", max_distance " + std::to_string(c.options.max_distance) +
                ", scale " + std::to_string(row[2]) + ", d " + std::to_string(c.shape.key_dim) + ", d_v " +
                std::to_string(c.shape.value_dim) + ", n_q " + std::to_string(c.call.queries) + ", n_k " +
                std::to_string(c.call.keys) + ")";
      all.push_back(c);
    }
    return all;
  }
  static std::vector<Case<P>> all() {
    return cases({{32, 128}, {4, 3}, {6, 50}, {14, 20}, {40, 1000}}, {1, 5, 16, 33, 64}, {1, 7, 16, 40, 64},
                 {0, 1, 2, 17, 48, 65, 131}, {0, 1, 8, 33, 64, 130, 257});
  }
  static std::vector<Case<P>> small() {
    return cases({{4, 3}, {8, 6}, {12, 40}}, {1, 3, 5}, {2, 4}, {1, 2, 9}, {1, 3, 11});
  }

  static std::vector<Options> options(Index) {
    std::vector<Options> all(4);
    all[1].causal = true;
    all[2].causal = true;
    all[2].num_buckets = 7;
    all[2].max_distance = 11;
    all[2].scale = S(0.5);
    all[3].num_buckets = 10;
    all[3].max_distance = 9;
    return all;
  }
  template <class F>
  static void bad_options(F&& refused) {
    const S infinity = std::numeric_limits<S>::infinity();
    const Index huge = std::numeric_limits<Index>::max();
    const auto bad = [&](const char* what, const char* names, auto&& change) {
      Options o;
      change(o);
      refused(what, names, o);
    };
    bad("no buckets", "num_buckets", [](Options& o) { o.num_buckets = 0; });
    bad("negative buckets", "num_buckets", [](Options& o) { o.num_buckets = -32; });
    bad("one bucket a side", "num_buckets", [](Options& o) { o.num_buckets = 2; });
    bad("one bucket, causal", "num_buckets", [](Options& o) { o.num_buckets = 1, o.causal = true; });
    bad("sides of unequal size", "num_buckets", [](Options& o) { o.num_buckets = 33; });
    bad("more buckets than memory", "num_buckets", [&](Options& o) { o.num_buckets = huge, o.causal = true; });
    bad("no distance", "max_distance", [](Options& o) { o.max_distance = 0; });
    bad("negative max_distance", "max_distance", [](Options& o) { o.max_distance = -1; });
    bad("nothing left for logarithms", "max_distance", [](Options& o) { o.max_distance = 8; });
    bad("nothing left for logarithms, causal", "max_distance",
        [](Options& o) { o.max_distance = 16, o.causal = true; });
    bad("distances without end", "max_distance", [&](Options& o) { o.max_distance = huge; });
    bad("infinite scale", "scale", [&](Options& o) { o.scale = infinity; });
    bad("NaN scale", "scale", [&](Options& o) { o.scale = infinity - infinity; });
  }
  template <class F>
  static void bad_contexts(const heed::Batch&, F&&) {}
  static typename P::Context context(const Case<P>&, std::vector<heed::Matrix<S>>&) { return {}; }

  static bool sees(const Case<P>& c, Index i, Index j) {
    const Index p = i + c.call.keys - c.call.queries;
    return (!c.options.causal || j <= p) && Rule::sees(p, j);
  }
  static Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic> seen(const Case<P>& c, const Instance<P>&) {
    Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic> all(c.call.queries, c.call.keys);
    for (Index i = 0; i < c.call.queries; ++i)
      for (Index j = 0; j < c.call.keys; ++j) all(i, j) = sees(c, i, j);
    return all;
  }
  static bool sees_first(const Case<P>& c) { return Rule::sees(c.call.keys - 1, 0); }
  static Index seen_pairs(const Case<P>& c) {
    Index pairs = 0;
    for (Index i = 0; i < c.call.queries; ++i)
      for (Index j = 0; j < c.call.keys; ++j) pairs += sees(c, i, j) ? 1 : 0;
    return pairs;
  }
  static std::pair<double, double> multiply_adds(const Case<P>&, double pairs, double d, double d_v) {
    return {pairs * (d + d_v), pairs * (3 * d + 2 * d_v)};
  }
  static bool keys_split(const Case<P>&) { return false; }

  struct Answer : oracle::Answer {
    oracle::Gauged dtable;
  };
  static Answer answer(const Case<P>& c, const Instance<P>& in) {
    const auto bucket = [&](Index i, Index j) {
      return t5_bucket(j - (i + c.call.keys - c.call.queries), !c.options.causal, c.options.num_buckets,
                       c.options.max_distance);
    };
    oracle::Problem problem;
    problem.q = in.fields.q.template cast<Real>();
    problem.k = in.fields.k.template cast<Real>();
    problem.v = in.fields.v.template cast<Real>();
    problem.d_o = in.d_o.template cast<Real>();
    problem.d_lse = in.d_lse.template cast<Real>();
    problem.scale = c.options.scale ? Real(*c.options.scale) : 1 / std::sqrt(Real(c.shape.key_dim));
    problem.sees = [&](Index i, Index j) { return sees(c, i, j); };
    problem.bias = [&](Index i, Index j) { return Real(in.shared.table(bucket(i, j), c.head)); };
    Answer a{oracle::softmax_attention(problem), oracle::Gauged(c.options.num_buckets, c.shape.heads)};
    for (Index i = 0; i < c.call.queries; ++i)
      for (Index j = 0; j < c.call.keys; ++j)
        if (sees(c, i, j)) a.dtable.add(bucket(i, j), c.head, a.db.value(i, j), a.db.gauge(i, j));
    a.dtable.gauge *= 1 + std::sqrt(Real(c.call.queries)) / 8;
    return a;
  }
  template <class F>
  static void compare_gradients(const Instance<P>&, const Results<P>& r, const Answer& a, F&& compare) {
    compare("dq", r.d.q, a.dq);
    compare("dk", r.d.k, a.dk);
    compare("dv", r.d.v, a.dv);
    compare("dtable", r.d_shared.table, a.dtable);
  }

  static void change_kv_head(typename P::Projection::Params& p, Index kv, Index kv_heads) {
    const Index d = p.wk.cols() / kv_heads, d_v = p.wv.cols() / kv_heads;
    p.wk.middleCols(kv * d, d).array() += S(0.5);
    p.wv.middleCols(kv * d_v, d_v).array() += S(0.5);
  }
};

struct EveryKey {
  static bool sees(heed::Index, heed::Index) { return true; }
};
template <class S>
struct Cases<heed::RelativeBias<S>> : RelativeCases<heed::RelativeBias<S>, EveryKey> {};
