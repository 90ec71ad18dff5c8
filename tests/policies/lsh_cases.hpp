// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/policies/lsh.hpp>
#include <pairwise.hpp>
#include <policies/qkv_cases.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

/// In how many slots of all rounds query i meets key j, itself not counted: [n, n], counted slot by slot from the
/// `buckets [rounds, n]`.
template <class S>
heed::Matrix<int> meetings(const typename heed::Lsh<S>::Options& o, heed::ConstView<std::int32_t> buckets) {
  const heed::Index n = buckets.cols(), chunks = (n + o.chunk - 1) / o.chunk;
  std::vector<std::vector<heed::Index>> all;  // chunks of every round
  for (heed::Index r = 0; r < buckets.rows(); ++r) {
    std::vector<heed::Index> tokens(static_cast<std::size_t>(n));
    std::iota(tokens.begin(), tokens.end(), heed::Index{0});
    std::sort(tokens.begin(), tokens.end(),
              [&](heed::Index a, heed::Index b) { return std::pair(buckets(r, a), a) < std::pair(buckets(r, b), b); });
    for (heed::Index c = 0; c < chunks; ++c)
      all.emplace_back(tokens.begin() + c * o.chunk, tokens.begin() + std::min(n, (c + 1) * o.chunk));
  }
  heed::Matrix<int> count = heed::Matrix<int>::Zero(n, n);
  const auto meet = [&](heed::Index from, heed::Index to) {
    for (const heed::Index i : all[static_cast<std::size_t>(from)])
      for (const heed::Index j : all[static_cast<std::size_t>(to)]) count(i, j) += i != j && (!o.causal || j < i);
  };
  for (heed::Index at = 0; at < static_cast<heed::Index>(all.size()); ++at) {
    meet(at, at);
    heed::Index before = at - 1;
    if (at % chunks == 0) {
      if (o.look_back_wrap == heed::LookBackWrap::none) continue;
      before = o.look_back_wrap == heed::LookBackWrap::per_round ? at + chunks - 1
               : at == 0                                         ? static_cast<heed::Index>(all.size()) - 1
                                                                 : at - 1;
    }
    if (before != at) meet(at, before);
  }
  for (heed::Index i = 0; i < n; ++i)
    if (count.row(i).sum() == 0) count(i, i) = 1;  // the last resort
  return count;
}

template <class P>
struct LshCases : QkvCases<P> {
  using Base = QkvCases<P>;
  using typename Base::Index, typename Base::Options, typename Base::S;
  using Duplicates = heed::Duplicates;
  using LookBackWrap = heed::LookBackWrap;
  static constexpr bool can_be_causal = true;
  static constexpr bool groups = false;

  static std::vector<Case<P>> cases(const std::vector<Index>& d, const std::vector<Index>& d_v,
                                    const std::vector<Index>& chunk, const std::vector<Index>& n) {
    const std::array<LookBackWrap, 3> wraps{LookBackWrap::per_round, LookBackWrap::flat, LookBackWrap::none};
    std::vector<Case<P>> all;
    for (const auto& row : pairwise({2, 2, 2, 3, 3, 3, d.size(), d_v.size(), chunk.size(), n.size()})) {
      Case<P> c;
      c.options.causal = row[0] == 1;
      c.options.duplicates = row[1] == 1 ? Duplicates::counted : Duplicates::once;
      if (row[2] == 1) c.options.scale = S(0.375);
      c.options.rounds = static_cast<Index>(row[3]) + 1;
      c.options.buckets = std::array<Index, 3>{0, 2, 6}[row[4]];
      c.options.look_back_wrap = wraps[row[5]];
      c.options.chunk = chunk[row[8]];
      c.shape = {d[row[6]], d_v[row[7]], 3};
      c.call = {n[row[9]], n[row[9]]};
      c.seed = all.size() + 1;
      c.options.seed = c.seed;
      c.sequence = 1;
      c.head = 2;
      c.label = "case " + std::to_string(c.seed) + " (causal " + std::to_string(row[0]) + ", counted " +
                std::to_string(row[1]) + ", scale " + std::to_string(row[2]) + ", rounds " +
                std::to_string(c.options.rounds) + ", buckets " + std::to_string(c.options.buckets) + ", wrap " +
                std::to_string(row[5]) + ", chunk " + std::to_string(c.options.chunk) + ", d " +
                std::to_string(c.shape.key_dim) + ", d_v " + std::to_string(c.shape.value_dim) + ", n " +
                std::to_string(c.call.queries) + ")";
      all.push_back(c);
    }
    return all;
  }
  static std::vector<Case<P>> all() {
    return cases({1, 5, 16, 33, 64}, {1, 7, 16, 40, 64}, {1, 3, 16, 64, 500}, {0, 1, 2, 17, 48, 65, 130, 257});
  }
  static std::vector<Case<P>> small() { return cases({2, 3, 5}, {2, 4}, {1, 2, 3, 20}, {1, 2, 9, 11}); }

  static std::vector<Options> options(Index) {
    std::vector<Options> all(4);
    all[0] = {.rounds = 2, .chunk = 16};
    all[1] = {.causal = true, .rounds = 1, .chunk = 8};
    all[2] = {.causal = true,
              .rounds = 3,
              .chunk = 7,
              .look_back_wrap = LookBackWrap::flat,
              .duplicates = Duplicates::counted};
    all[3] = {.rounds = 3, .buckets = 4, .chunk = 5, .scale = S(0.5), .look_back_wrap = LookBackWrap::flat};
    return all;
  }
  template <class F>
  static void bad_options(F&& refused) {
    const auto bad = Base::changed(refused);
    bad("no rounds", "rounds", [](Options& o) { o.rounds = 0; });
    bad("rounds negative", "rounds", [](Options& o) { o.rounds = -1; });
    bad("an odd number of buckets", "buckets", [](Options& o) { o.buckets = 7; });
    bad("one bucket", "buckets", [](Options& o) { o.buckets = 1; });
    bad("buckets negative", "buckets", [](Options& o) { o.buckets = -2; });
    bad("no chunk", "chunk", [](Options& o) { o.chunk = 0; });
    bad("chunk negative", "chunk", [](Options& o) { o.chunk = -64; });
    bad("infinite scale", "scale", [](Options& o) { o.scale = std::numeric_limits<S>::infinity(); });
    bad("NaN scale", "scale", [](Options& o) { o.scale = std::numeric_limits<S>::quiet_NaN(); });
  }

  /// The policy's own choices: which bucket is nearest is decided in its precision, and given to the oracle.
  static heed::Matrix<int> counted(const Case<P>& c, const Instance<P>& in) {
    const P policy(c.options, c.shape);
    typename P::Cache cache;
    heed::Arena scratch;
    choose(policy, c, in, cache, scratch);
    return meetings<S>(c.options, std::as_const(cache.buckets).view());
  }
  static Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic> seen(const Case<P>& c, const Instance<P>& in) {
    return counted(c, in).array() > 0;
  }
  static bool sees_first(const Case<P>&) { return false; }  // only if hashing says so
  /// Slots met: what is hidden in a tile is computed all the same.
  static Index seen_pairs(const Case<P>& c) {
    const Index n = c.call.queries, chunks = (n + c.options.chunk - 1) / c.options.chunk;
    const auto size = [&](Index at) { return std::min(c.options.chunk, n - at % chunks * c.options.chunk); };
    Index pairs = 0;
    for (Index at = 0; at < chunks * c.options.rounds; ++at) {
      pairs += size(at) * size(at);
      if (at % chunks > 0)
        pairs += size(at) * size(at - 1);
      else if (c.options.look_back_wrap == LookBackWrap::per_round
                   ? chunks > 1
                   : c.options.look_back_wrap == LookBackWrap::flat && chunks * c.options.rounds > 1)
        pairs += size(at) * size(chunks - 1);
    }
    return pairs;
  }
  static std::pair<double, double> multiply_adds(const Case<P>& c, double pairs, double d, double d_v) {
    const Index n = c.call.queries, share = n / c.options.chunk;
    const auto even = [](Index x) { return std::max<Index>(2, x + x % 2); };
    Index columns = c.options.buckets / 2;
    if (columns == 0) columns = even(share) / 2;
    if (c.options.buckets == 0 && share > 128) {  // in two digits
      const Index first = even(static_cast<Index>(std::sqrt(double(share))));
      columns = (first + even(share / first)) / 2;
    }
    const double hash = static_cast<double>(c.options.rounds * n * columns) * d;
    return {pairs * (d + d_v) + hash, pairs * (3 * d + 2 * d_v)};
  }

  /// Softmax over all pairs that meet, N times where that counts, and the gradient through the normalised keys:
  /// dq += (dk - k (k.dk)) / |q|.
  struct Answer : oracle::Answer {
    oracle::Gauged dqk;
  };
  static Answer answer(const Case<P>& c, const Instance<P>& in) {
    using oracle::Real;
    const heed::Matrix<int> count = counted(c, in);
    oracle::Problem problem;
    problem.q = in.fields.qk.template cast<Real>();
    problem.k = problem.q;
    for (Index i = 0; i < problem.k.rows(); ++i) problem.k.row(i) /= problem.q.row(i).norm();
    problem.v = in.fields.v.template cast<Real>();
    problem.d_o = in.d_o.template cast<Real>();
    problem.d_lse = in.d_lse.template cast<Real>();
    problem.scale = Real(c.options.scale);
    problem.sees = [&](Index i, Index j) { return count(i, j) > 0; };
    problem.bias = [&](Index i, Index j) {
      return c.options.duplicates == Duplicates::counted ? std::log(Real(count(i, j))) : Real(0);
    };
    Answer a{oracle::softmax_attention(problem), {}};
    a.dqk = a.dq;
    for (Index t = 0; t < a.dk.value.rows(); ++t) {
      const Real norm = problem.q.row(t).norm();
      const Real along = problem.k.row(t).dot(a.dk.value.row(t));
      const Real along_gauge = problem.k.row(t).cwiseAbs().dot(a.dk.gauge.row(t));
      for (Index e = 0; e < a.dk.value.cols(); ++e)
        a.dqk.add(t, e, (a.dk.value(t, e) - problem.k(t, e) * along) / norm,
                  (a.dk.gauge(t, e) + std::abs(problem.k(t, e)) * along_gauge) / norm);
    }
    return a;
  }
  template <class F>
  static void compare_gradients(const Instance<P>&, const Results<P>& r, const Answer& a, F&& compare) {
    compare("dqk", r.d.qk, a.dqk);
    compare("dv", r.d.v, a.dv);
  }
  static void change_kv_head(typename P::Projection::Params& p, Index kv, Index kv_heads) {
    const Index d = p.wqk.cols() / kv_heads, d_v = p.wv.cols() / kv_heads;
    p.wqk.middleCols(kv * d, d).array() += S(0.5);
    p.wv.middleCols(kv * d_v, d_v).array() += S(0.5);
  }
};
template <class S>
struct Cases<heed::Lsh<S>> : LshCases<heed::Lsh<S>> {};
