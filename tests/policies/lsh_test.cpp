// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <laws.hpp>
#include <policies/lsh_cases.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>
#include <utility>
#include <vector>

using heed::Index, heed::Lsh, heed::LookBackWrap, heed::Duplicates;

struct LshFamily {
  template <class S>
  using Of = Lsh<S>;
};
const bool laws = register_laws<LshFamily>();

// --- what is special ---

namespace {

using D = Lsh<double>;
using M = heed::Matrix<double>;

M normal(Index rows, Index cols, std::uint64_t seed) {
  heed::Random random(seed);
  return heed::random_normal<double>(random, rows, cols, 1);
}

/// One call of one head.
struct Call {
  D policy;
  M qk, v, o;
  heed::Vector<double> lse;
  D::Cache cache;
  heed::Arena scratch;
  heed::NoParams none;
  D::Context context;

  Call(const D::Options& options, const M& x, const M& values)
      : policy(options, {x.cols(), values.cols(), 1}), qk(x), v(values), o(x.rows(), values.cols()), lse(x.rows()) {
    policy.choose(head(), fields(), cache, scratch);
    run();
  }
  heed::Head<D> head() const { return {none, none, context, 0, 0}; }
  heed::Tied<heed::ConstView<double>> fields() const { return {heed::view(qk), heed::view(v)}; }
  void run() { policy.forward(head(), fields(), {heed::view(o), heed::view(lse)}, cache, scratch); }
  /// dqk and dv.
  std::pair<M, M> backward(const M& d_o) {
    std::pair<M, M> d{M::Zero(qk.rows(), qk.cols()), M::Zero(v.rows(), v.cols())};
    heed::NoParams none_gradient;
    policy.backward(head(), fields(), {heed::view(std::as_const(o)), heed::view(std::as_const(lse))},
                    {heed::view(d_o), {nullptr, 0}}, cache, {heed::view(d.first), heed::view(d.second)},
                    heed::HeadGradient<D>{none_gradient, none_gradient}, scratch);
    return d;
  }
};

/// Attention of every query to every key but its own.
M dense(const M& qk, const M& v, bool causal, double scale = 1) {
  M o = M::Zero(qk.rows(), v.cols());
  for (Index i = 0; i < qk.rows(); ++i) {
    double sum = 0;
    for (Index j = 0; j < qk.rows(); ++j) {
      if (i == j || (causal && j > i)) continue;
      const double p = std::exp(scale * qk.row(i).dot(qk.row(j)) / qk.row(j).norm());
      o.row(i) += p * v.row(j);
      sum += p;
    }
    if (sum > 0)
      o.row(i) /= sum;
    else
      o.row(i) = v.row(i);
  }
  return o;
}
double distance(const M& a, const M& b) { return (a - b).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(); }

constexpr std::array<LookBackWrap, 3> wraps{LookBackWrap::per_round, LookBackWrap::flat, LookBackWrap::none};

TEST(Lsh, OneChunkIsDense) {
  const M qk = normal(61, 12, 1), v = normal(61, 9, 2);
  for (const bool causal : {false, true})
    for (const Index rounds : {1, 2, 5})
      for (const Duplicates duplicates : {Duplicates::once, Duplicates::counted})
        for (const LookBackWrap wrap : wraps)
          for (const Index chunk : {61, 64, 1000}) {
            const Call call(
                {.causal = causal, .rounds = rounds, .chunk = chunk, .look_back_wrap = wrap, .duplicates = duplicates},
                qk, v);
            EXPECT_LT(distance(call.o, dense(qk, v, causal)), 1e-14);
          }
}

TEST(Lsh, TwoChunksPerRoundWrapIsDense) {
  const M qk = normal(64, 12, 3), v = normal(64, 9, 4);
  for (const bool causal : {false, true})
    for (const Index rounds : {1, 2, 4})
      for (const Duplicates duplicates : {Duplicates::once, Duplicates::counted}) {
        const D::Options options{.causal = causal, .rounds = rounds, .chunk = 32, .duplicates = duplicates};
        EXPECT_LT(distance(Call(options, qk, v).o, dense(qk, v, causal)), 1e-14);
      }
  // With the authors' wrap pairs are met 1 to 3 times, which counts; without any some are missed.
  D::Options flat{.rounds = 2, .chunk = 32, .look_back_wrap = LookBackWrap::flat, .duplicates = Duplicates::counted};
  EXPECT_GT(distance(Call(flat, qk, v).o, dense(qk, v, false)), 1e-3);
  EXPECT_GT(
      distance(Call({.rounds = 1, .chunk = 32, .look_back_wrap = LookBackWrap::none}, qk, v).o, dense(qk, v, false)),
      1e-3);
  const Call call(flat, qk, v);
  const heed::Matrix<int> count = meetings<double>(flat, std::as_const(call.cache.buckets).view());
  EXPECT_EQ(count.template maxCoeff<Eigen::PropagateNaN>(), 3);
}

TEST(Lsh, EqualRoundsAreOneRound) {
  const M qk = normal(150, 8, 5), v = normal(150, 8, 6), d_o = normal(150, 8, 7);
  for (const bool causal : {false, true}) {
    Call one({.causal = causal, .rounds = 1, .buckets = 6, .chunk = 16}, qk, v);
    Call three({.causal = causal, .rounds = 3, .buckets = 6, .chunk = 16}, qk, v);
    auto all = three.cache.buckets.view();
    for (Index r = 0; r < 3; ++r) all.row(r) = one.cache.buckets.view().row(0);
    three.run();
    EXPECT_TRUE(same_bits(three.o, one.o));
    EXPECT_TRUE(same_bits(three.lse, one.lse));
    EXPECT_LT(distance(three.backward(d_o).first, one.backward(d_o).first), 1e-14);
    Call counted({.causal = causal, .rounds = 3, .buckets = 6, .chunk = 16, .duplicates = Duplicates::counted}, qk, v);
    counted.cache.buckets.view() = all;
    counted.run();
    EXPECT_LT(distance(counted.o, one.o), 1e-14);
  }
}

TEST(Lsh, OneselfIsTheLastResort) {
  const M qk = normal(40, 6, 8), v = normal(40, 5, 9), d_o = normal(40, 5, 10);
  const Call first({.causal = true, .rounds = 2, .chunk = 8}, qk, v);
  EXPECT_TRUE(same_bits(first.o.row(0), v.row(0)));
  EXPECT_NEAR(first.lse(0), qk.row(0).norm(), 1e-14);
  Call single({.rounds = 3}, qk.topRows(1), v.topRows(1));
  EXPECT_TRUE(same_bits(single.o, v.topRows(1)));
  const auto [dqk, dv] = single.backward(d_o.topRows(1));
  EXPECT_TRUE(same_bits(dv, d_o.topRows(1)));
  EXPECT_EQ(dqk.cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 0);
  // However large the score of the token itself, it has no weight beside another.
  M large = qk;
  large.row(7) *= 1e6;
  const Call call({.rounds = 2, .chunk = 8}, large, M(M::Identity(40, 40)));
  EXPECT_EQ(call.o.diagonal().cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 0);
  EXPECT_LT(distance(call.o.rowwise().sum(), M::Ones(40, 1)), 1e-12);
}

/// Points around a few centres: the true neighbours of a point are those of its cluster.
M clustered(Index n, Index d, Index clusters, double spread, std::uint64_t seed) {
  const M centre = normal(clusters, d, seed);
  M x = spread * normal(n, d, seed + 1);
  heed::Random random(seed + 2);
  for (Index i = 0; i < n; ++i) x.row(i) += centre.row(random.below(clusters));
  return x;
}

TEST(Lsh, RecallRisesWithRoundsAndTheErrorFalls) {
  const Index n = 1024, d = 32, top = 8;
  const M qk = 3 * clustered(n, d, 64, 0.3, 20), v = normal(n, 16, 24), exact = dense(qk, v, false);
  double recall = 0, error = std::numeric_limits<double>::infinity(), first_error = 0;
  for (const Index rounds : {1, 2, 4, 8}) {
    const D::Options options{.rounds = rounds, .chunk = 32};
    const Call call(options, qk, v);
    const heed::Matrix<int> met = meetings<double>(options, std::as_const(call.cache.buckets).view());
    Index found = 0;
    for (Index i = 0; i < n; ++i) {
      std::vector<std::pair<double, Index>> scores;
      for (Index j = 0; j < n; ++j)
        if (j != i) scores.emplace_back(-qk.row(i).dot(qk.row(j)) / qk.row(j).norm(), j);
      std::partial_sort(scores.begin(), scores.begin() + top, scores.end());
      for (Index r = 0; r < top; ++r) found += met(i, scores[static_cast<std::size_t>(r)].second) > 0;
    }
    const double now = static_cast<double>(found) / static_cast<double>(n * top);
    const double off = (call.o - exact).norm() / exact.norm();
    EXPECT_GT(now, recall) << rounds;
    EXPECT_LT(off, error) << rounds;
    if (rounds == 1) first_error = off;
    recall = now;
    error = off;
  }
  EXPECT_GE(recall, 0.95);
  EXPECT_LT(error, first_error / 4);
}

TEST(Lsh, RandomKeysComeCloserToDenseWithRounds) {
  const M qk = normal(512, 16, 30), v = normal(512, 8, 31), exact = dense(qk, v, true);
  double error = std::numeric_limits<double>::infinity();
  for (const Index rounds : {1, 4, 16}) {
    const double off = (Call({.causal = true, .rounds = rounds, .chunk = 32}, qk, v).o - exact).norm() / exact.norm();
    EXPECT_LT(off, error);
    error = off;
  }
}

TEST(Lsh, LaterKeysMayMoveEarlierRows) {
  const D::Options options{.causal = true, .rounds = 2, .buckets = 6, .chunk = 8};
  EXPECT_EQ(D(options, {6, 5, 1}).causality(), heed::Causality::values_only);
  const M v = normal(64, 5, 41);
  M qk = normal(64, 6, 40);
  const Call before(options, qk, v);
  qk.row(63) = normal(1, 6, 99);
  const Call after(options, qk, v);
  EXPECT_FALSE(same_bits(before.o.topRows(63), after.o.topRows(63)));
}

TEST(Lsh, WhatIsNotFiniteIsNeverAZeroRow) {
  for (const double poison : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                              -std::numeric_limits<double>::infinity()})
    for (const bool causal : {false, true}) {
      const D::Options options{.causal = causal, .rounds = 2, .chunk = 8};
      M qk = normal(50, 6, 50);
      qk(20, 3) = poison;
      const Call call(options, qk, normal(50, 5, 51));
      const heed::Matrix<int> met = meetings<double>(options, std::as_const(call.cache.buckets).view());
      for (Index i = 0; i < 50; ++i) {
        EXPECT_EQ(call.o.row(i).hasNaN(), i == 20 || met(i, 20) > 0) << i;
        EXPECT_GT(call.o.row(i).array().isNaN().select(1.0, call.o.row(i).array().abs()).minCoeff(), 0) << i;
      }
      const Call all(options, M::Constant(50, 6, poison), normal(50, 5, 51));
      EXPECT_TRUE(all.o.array().isNaN().all());
      EXPECT_EQ(all.cache.buckets.view().cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(),
                std::isnan(poison) ? 0 : all.cache.buckets.view().template maxCoeff<Eigen::PropagateNaN>());
    }
}

TEST(Lsh, ZeroAndEqualVectors) {
  const M v = normal(70, 5, 61), d_o = normal(70, 5, 62);
  for (const double x : {0.0, 1.0}) {  // one bucket for all: chunks by time
    Call call({.rounds = 2, .chunk = 16}, M::Constant(70, 6, x), v);
    for (Index r = 0; r < 2; ++r)
      EXPECT_TRUE((call.cache.buckets.view().row(r).array() == call.cache.buckets.view()(r, 0)).all());
    if (x == 0.0) {
      EXPECT_EQ(call.cache.buckets.view().cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 0);
    }
    EXPECT_LT(distance(call.o.row(20), (v.topRows(32).colwise().sum() - v.row(20)) / 31), 1e-14);
    const auto [dqk, dv] = call.backward(d_o);
    EXPECT_TRUE(dqk.allFinite() && dv.allFinite());
    const M o = call.o;
    call.policy.choose(call.head(), call.fields(), call.cache, call.scratch);
    call.run();
    EXPECT_TRUE(same_bits(o, call.o));
  }
  // A single zero vector has the key 0: score 0 for everyone, and no gradient as a key.
  M qk = normal(30, 6, 63);
  qk.row(4).setZero();
  Call call({.rounds = 1}, qk, v.topRows(30));
  EXPECT_TRUE(call.o.allFinite());
  EXPECT_TRUE(call.backward(d_o.topRows(30)).first.allFinite());
}

TEST(Lsh, KeysOfAnySizeAreUnitVectors) {
  const M qk = normal(40, 6, 70), v = normal(40, 5, 71);
  const D::Options unscaled{.rounds = 2, .chunk = 8, .scale = 0.5};
  const Call one(unscaled, qk, v);
  for (const double size : {1e-200, 1e-120, 1e120, 1e200}) {  // squares underflow or overflow; scores do not
    D::Options options = unscaled;
    options.scale = 0.5 / size;
    if (!std::isfinite(options.scale)) continue;
    const Call call(options, size * qk, v);
    EXPECT_LT(distance(call.o, one.o), 1e-13) << size;
  }
}

TEST(Lsh, BucketsFollowTheLength) {
  const D automatic({.rounds = 1}, {8, 8, 1});
  EXPECT_EQ(automatic.buckets(0), 2);
  EXPECT_EQ(automatic.buckets(64), 2);
  EXPECT_EQ(automatic.buckets(1024), 16);
  EXPECT_EQ(automatic.buckets(8192), 128);
  EXPECT_EQ(automatic.buckets(16384), 256);   // 16 x 16
  EXPECT_EQ(automatic.buckets(65536), 1024);  // 32 x 32
  EXPECT_EQ(automatic.buckets(Index{1} << 24), 16384);
  for (const Index b : {2, 6, 128, 134, 256, 720}) {
    const D::Options options{.rounds = 2, .buckets = b};
    EXPECT_EQ(D(options, {8, 8, 1}).buckets(100), b);
    const Call call(options, normal(20 * b, 8, 80), normal(20 * b, 1, 81));
    const auto buckets = call.cache.buckets.view();
    EXPECT_EQ(buckets.minCoeff(), 0);
    EXPECT_GE(buckets.template maxCoeff<Eigen::PropagateNaN>(), b - b / 16 - 1);
    EXPECT_LT(buckets.template maxCoeff<Eigen::PropagateNaN>(), b);
    EXPECT_FALSE(buckets.row(0) == buckets.row(1));
  }
  // Seeds and rounds have rotations of their own, and more rounds do not change the first ones.
  const M qk = normal(200, 8, 82), v = normal(200, 1, 83);
  const Call two({.rounds = 2}, qk, v), three({.rounds = 3}, qk, v), other({.rounds = 2, .seed = 1}, qk, v);
  EXPECT_TRUE(two.cache.buckets.view() == three.cache.buckets.view().topRows(2));
  EXPECT_FALSE(two.cache.buckets.view() == other.cache.buckets.view());
}

TEST(Lsh, RecomputationSeesTheSameBuckets) {
  using A = heed::Attention<D>;
  A::Options options;
  options.d_model = 24;
  options.heads = 2;
  options.policy = {.rounds = 2, .chunk = 8};
  Layer<D> layer(options);
  const heed::Batch batch = heed::Batch::ragged({50, 30});
  const M x = normal(80, 24, 90), near = x + 1e-9 * normal(80, 24, 91);
  const M y = layer.forward(x, batch);
  const D::Cache kept = layer.attention.head_cache(layer.cache, 1, 0);
  EXPECT_TRUE(same_bits(layer.replay(x, batch), y));
  EXPECT_LT(distance(layer.replay(near, batch), y), 1e-6);
  EXPECT_TRUE(kept.buckets.view() == layer.attention.head_cache(layer.cache, 1, 0).buckets.view());
}

TEST(Lsh, RefusesWhatItCannotDo) {
  heed::Attention<D>::Options options;
  options.d_model = 8;
  options.heads = 4;
  options.kv_heads = 2;
  try {
    heed::Attention<D> attention(options);
    FAIL() << "grouped heads accepted";
  } catch (const heed::OptionError& e) {
    EXPECT_NE(std::string(e.what()).find("kv_heads"), std::string::npos);
  }
  const D policy({.rounds = 4}, {8, 8, 1});
  const heed::NoParams none;
  const D::Context context;
  const heed::Head<D> head{none, none, context, 0, 0};
  EXPECT_THROW(policy.check(head, {3, 4}), heed::ShapeError);
  EXPECT_THROW(policy.check(head, {Index{1} << 30, Index{1} << 30}), heed::ShapeError);
  EXPECT_NO_THROW(policy.check(head, {1 << 20, 1 << 20}));
}

TEST(Lsh, MemoryGrowsWithTheLength) {
  for (const Index rounds : {1, 4}) {
    const D policy({.rounds = rounds}, {64, 64, 1});
    const auto bytes = [&](Index n) {
      const heed::Cost c = policy.cost({n, n});
      return static_cast<double>(c.saved + std::max(c.forward_scratch, c.backward_scratch));
    };
    for (Index n = 512; n < 100000; n *= 2) EXPECT_LE(std::log2(bytes(2 * n) / bytes(n)), 1.05) << n;
  }
}

}  // namespace
