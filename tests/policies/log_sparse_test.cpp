// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/policies/log_sparse.hpp>
#include <heed/policies/tiled.hpp>
#include <laws.hpp>
#include <pairwise.hpp>
#include <policies/qkv_cases.hpp>

#include <limits>
#include <set>

/// The sets in the words of the paper and of the code that circulates: all of a row's keys, one after the other.
template <class Options>
std::set<heed::Index> log_sparse_keys(const Options& o, heed::Index l) {
  using heed::Index;
  std::set<Index> keys;
  const auto past = [&](Index end) {
    for (Index j = 0; j < end; ++j) keys.insert(j);
  };
  const Index stride = o.restart > 0 ? o.restart : o.dense_head;
  if (o.dense_head > 0 && o.dense_head / stride * 2 * o.local > l) {
    past(l + 1);
    return keys;
  }
  for (Index a = l; a >= 0; a -= o.restart) {
    for (Index j = a - o.local + 1; j <= a; ++j)
      if (j >= 0 && !(o.drop_anchor && j == a && a != l && a < o.local - 1)) keys.insert(j);
    Index e = 0;
    for (Index power = 1; power <= l; power *= 2, ++e) {
      const Index j = a - o.local + 1 - power;
      if (j >= 0 && (o.restart == 0 || (e < o.local && a - j <= o.restart))) keys.insert(j);
    }
    if (o.restart == 0) break;
  }
  return keys;
}

template <class S>
struct Cases<heed::LogSparse<S>> : QkvCases<heed::LogSparse<S>> {
  using P = heed::LogSparse<S>;
  using Base = QkvCases<P>;
  using typename Base::Index, typename Base::Options;
  static constexpr bool can_be_causal = true;

  static std::vector<Options> kinds() {
    std::vector<Options> all(6);
    all[1].local = 7;
    all[2].local = 4;
    all[2].restart = 16;
    all[3].local = 3;
    all[3].restart = 8;
    all[3].drop_anchor = true;
    all[3].dense_head = 24;
    all[4].local = 6;
    all[4].restart = 4;  // windows overlap
    all[5].local = 5;
    all[5].restart = 11;
    all[5].drop_anchor = true;
    return all;
  }
  static std::vector<Case<P>> cases(const std::vector<Index>& d, const std::vector<Index>& d_v,
                                    const std::vector<Index>& n_q, const std::vector<Index>& n_k) {
    std::vector<Case<P>> all;
    for (const auto& row : pairwise({kinds().size(), 2, d.size(), d_v.size(), n_q.size(), n_k.size()})) {
      Case<P> c;
      c.options = kinds()[row[0]];
      if (row[1] == 1) c.options.scale = S(0.375);
      c.shape = {d[row[2]], d_v[row[3]], 3};
      c.call = {n_q[row[4]], n_k[row[5]]};
      c.seed = all.size() + 1;
      c.sequence = 1;
      c.head = 2;
      c.label = "case " + std::to_string(c.seed) + " (set " + std::to_string(row[0]) + ", scale " +
                std::to_string(row[1]) + ", d " + std::to_string(c.shape.key_dim) + ", d_v " +
                std::to_string(c.shape.value_dim) + ", n_q " + std::to_string(c.call.queries) + ", n_k " +
                std::to_string(c.call.keys) + ")";
      all.push_back(c);
    }
    return all;
  }
  static std::vector<Case<P>> all() {
    return cases({1, 5, 16, 33, 64, 80}, {1, 7, 16, 40, 64, 136}, {0, 1, 2, 17, 48, 131}, {0, 1, 8, 33, 130, 257});
  }
  static std::vector<Case<P>> small() { return cases({1, 3, 5}, {2, 4}, {1, 2, 9}, {1, 3, 11}); }

  static std::vector<Options> options(Index) {
    std::vector<Options> all = kinds();
    all[1].scale = S(0.5);
    return all;
  }
  template <class F>
  static void bad_options(F&& refused) {
    const S infinity = std::numeric_limits<S>::infinity();
    const auto bad = Base::changed(refused);
    bad("infinite scale", "scale", [&](Options& o) { o.scale = infinity; });
    bad("NaN scale", "scale", [&](Options& o) { o.scale = infinity - infinity; });
    bad("no local token", "options.local", [](Options& o) { o.local = 0; });
    bad("negative local", "options.local", [](Options& o) { o.local = -4; });
    bad("negative restart", "options.restart", [](Options& o) { o.restart = -1; });
    bad("too wide a window between restarts", "options.local", [](Options& o) {
      o.restart = 100;
      o.local = 61;
    });
    bad("negative head", "options.dense_head", [](Options& o) { o.dense_head = -1; });
    bad("no anchors to drop", "options.drop_anchor", [](Options& o) { o.drop_anchor = true; });
  }

  static Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic> seen(const Case<P>& c, const Instance<P>&) {
    Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic> all(c.call.queries, c.call.keys);
    all.setConstant(false);
    for (Index i = 0; i < c.call.queries; ++i)
      for (const Index j : log_sparse_keys(c.options, i + c.call.keys - c.call.queries)) all(i, j) = true;
    return all;
  }
  static bool sees_first(const Case<P>& c) { return log_sparse_keys(c.options, c.call.keys - 1).count(0) > 0; }
  static Index seen_pairs(const Case<P>& c) { return seen(c, {}).count(); }
  static bool keys_split(const Case<P>& c) { return c.call.queries == 0; }  // every row knows its position

  static oracle::Answer answer(const Case<P>& c, const Instance<P>& in) {
    const auto all = seen(c, in);
    return oracle::softmax_attention(Base::problem(c, in, in.fields, [&](Index i, Index j) { return all(i, j); }));
  }
};

struct LogSparseFamily {
  template <class S>
  using Of = heed::LogSparse<S>;
};
const bool laws = register_laws<LogSparseFamily>();

namespace {
using namespace heed;
using Log = LogSparse<double>;

Index pairs(const Log::Options& o, Index n) {
  const Log policy(o, {1, 1, 1});
  return static_cast<Index>(policy.cost({n, n}).forward) / 2;
}
}  // namespace

TEST(LogSparse, VisitsNLogNPairs) {
  Index expected = 0, log = 0;  // row l sees itself and floor(log2 l) + 1 others
  for (Index l = 0; l < 16384; ++l) {
    while ((Index{1} << log) <= l) ++log;
    expected += 1 + log;
  }
  EXPECT_EQ(pairs({}, 16384), expected);
  EXPECT_LE(pairs({}, 16384), 16384 * 15);
  for (const Index n : {1024, 4096, 16384})  // twice the rows, and about one key more for each
    for (const Index w : {1, 10}) EXPECT_LE(pairs({.local = w}, 2 * n), 2 * pairs({.local = w}, n) + 2 * n + 4 * w * w);
  for (const Index n : {1024, 4096, 16384})  // restarts in proportion to n
    EXPECT_LE(pairs({.local = 10, .restart = n / 4}, n), n * 4 * 20);
}

TEST(LogSparse, AWindowOverAllIsDense) {
  const Index n = 150, d = 16;
  const LogSparse<double> sparse({.local = n}, {d, d, 1});
  const Tiled<double> dense({.causal = true}, {d, d, 1});
  Random random(1);
  const Matrix<double> q = random_normal<double>(random, n, d, 1), k = random_normal<double>(random, n, d, 1),
                       v = random_normal<double>(random, n, d, 1);
  const Qkv<ConstView<double>> in{view(q), view(k), view(v)};
  Matrix<double> o[2] = {Matrix<double>(n, d), Matrix<double>(n, d)};
  Vector<double> lse[2] = {Vector<double>(n), Vector<double>(n)};
  Arena scratch;
  sparse.forward_rows({{}, {}, {}, 0, 0}, in, {0, n}, {view(o[0]), view(lse[0])}, scratch);
  dense.forward_rows({{}, {}, {}, 0, 0}, in, {0, n}, {view(o[1]), view(lse[1])}, scratch);
  EXPECT_LE((o[0] - o[1]).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-13);
  EXPECT_LE((lse[0] - lse[1]).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-13);
}

TEST(LogSparse, RowsOfAnyCutAndOfStridedHeadsHaveTheSameBits) {
  const Index n = 700, d = 24;  // longer than one list of keys with a wide window
  for (const LogSparse<float>::Options& o :
       {LogSparse<float>::Options{}, {.local = 600}, {.local = 8, .restart = 50, .drop_anchor = true}}) {
    const LogSparse<float> policy(o, {d, d, 1});
    Random random(2);
    Matrix<float> wide = random_normal<float>(random, n, 3 * d + 8, 1), d_o = random_normal<float>(random, n, d, 1);
    const Matrix<float> q = wide.leftCols(d), k = wide.middleCols(d, d), v = wide.middleCols(2 * d, d);
    const Matrix<float>& all = wide;
    const Qkv<ConstView<float>> strided{block(all, 0, 0, n, d), block(all, 0, d, n, d), block(all, 0, 2 * d, n, d)};
    const Qkv<ConstView<float>> dense{view(q), view(k), view(v)};
    Matrix<float> a(n, d), b(n, d);
    Vector<float> lse_a(n), lse_b(n);
    Arena scratch;
    const Head<LogSparse<float>> head{{}, {}, {}, 0, 0};
    policy.forward_rows(head, strided, {0, n}, {view(a), view(lse_a)}, scratch);
    for (const Index step : {1, 130, 300, 700}) {
      b.setZero();
      for (Index row = 0; row < n; row += step)
        policy.forward_rows(head, step == 300 ? dense : strided, {row, std::min(n, row + step)}, {view(b), view(lse_b)},
                            scratch);
      EXPECT_TRUE(same_bits(a, b) && same_bits(lse_a, lse_b)) << step;
    }
    Qkv<Matrix<float>> g[2];
    LogSparse<float>::Cache cache;
    NoParams none;
    for (const int i : {0, 1}) {
      g[i] = {Matrix<float>::Zero(n, d), Matrix<float>::Zero(n, d), Matrix<float>::Zero(n, d)};
      policy.backward(head, i == 0 ? dense : strided, {view(std::as_const(a)), view(std::as_const(lse_a))},
                      {view(std::as_const(d_o)), {nullptr, 0}}, cache, {view(g[i].q), view(g[i].k), view(g[i].v)},
                      {none, none}, scratch);
    }
    EXPECT_TRUE(same_bits(g[0].q, g[1].q) && same_bits(g[0].k, g[1].k) && same_bits(g[0].v, g[1].v));
  }
}
