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

  static bool sees(const Case<P>& c, Index i, Index j) {
    return Base::in_window(c.options, Base::step(c.options, c.head), i + c.call.keys - c.call.queries, j);
  }
  static Grid seen(const Case<P>& c, const Instance<P>&) {
    return Base::grid(c, [&](Index i, Index j) { return sees(c, i, j); });
  }
  static oracle::Answer answer(const Case<P>& c, const Instance<P>& in) {
    return oracle::softmax_attention(Base::problem(c, in, in.fields, [&](Index i, Index j) { return sees(c, i, j); }));
  }
};
struct SlidingWindowFamily {
  template <class S>
  using Of = heed::SlidingWindow<S>;
};
const bool laws = register_laws<SlidingWindowFamily>();

namespace {

using P = heed::SlidingWindow<double>;
using Dense = heed::Dense<double>;

struct Qkv {
  Matrix<double> q, k, v;
  Qkv(Index n_q, Index n_k, Index d, std::uint64_t seed = 1) {
    heed::Random random(seed);
    q = heed::random_normal<double>(random, n_q, d, 1);
    k = heed::random_normal<double>(random, n_k, d, 1);
    v = heed::random_normal<double>(random, n_k, d, 1);
  }
};

TEST(SlidingWindow, AsWideAsTheSequenceIsDenseAttention) {
  for (const Index n : {1, 2, 17, 70})
    for (const bool causal : {false, true}) {
      const Qkv x(n, n, 8);
      heed::HeadCache<P> cache;
      heed::HeadCache<Dense> dense;
      // One key less on each side is enough: a window counts the token itself besides.
      const P window({.window = n - 1, .causal = causal}, {8, 8, 1});
      const Dense all({.causal = causal}, {8, 8, 1});
      const auto got = heed::attend(window, x.q, x.k, x.v, cache);
      const auto expected = heed::attend(all, x.q, x.k, x.v, dense);
      EXPECT_LT((got.o - expected.o).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-14) << n;
      EXPECT_LT((got.lse - expected.lse).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-14) << n;
      const auto d = heed::attend_backward(window, x.q, x.k, x.v, cache, x.q);
      const auto e = heed::attend_backward(all, x.q, x.k, x.v, dense, x.q);
      EXPECT_LT((d.q - e.q).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-13) << n;
      EXPECT_LT((d.k - e.k).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-13) << n;
      EXPECT_LT((d.v - e.v).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-13) << n;
    }
}

TEST(SlidingWindow, OfTheTokenItselfGivesItsValue) {
  for (const bool causal : {false, true})
    for (const Index step : {1, 3}) {
      const Qkv x(29, 29, 5);
      heed::HeadCache<P> cache;
      const P window({.window = 0, .dilation = {step}, .causal = causal}, {5, 5, 1});
      EXPECT_EQ(Matrix<double>(heed::attend(window, x.q, x.k, x.v, cache).o), x.v);
    }
}

TEST(SlidingWindow, CountsKeysOnEachSide) {  // 2 w + 1 keys, causal w + 1; dilated as many, further apart
  const Index n = 41, w = 4, i = 20;
  for (const bool causal : {false, true})
    for (const Index step : {1, 3}) {
      Qkv x(n, n, n);
      x.q.setZero();
      x.v.setIdentity();
      heed::HeadCache<P> cache;
      const P window({.window = w, .dilation = {step}, .causal = causal}, {n, n, 1});
      const auto weights = heed::attend(window, x.q, x.k, x.v, cache).o;
      for (Index j = 0; j < n; ++j) {
        const bool seen = (j - i) % step == 0 && i - w * step <= j && j <= (causal ? i : i + w * step);
        EXPECT_NEAR(weights(i, j), seen ? (causal ? 1.0 / (w + 1) : 1.0 / (2 * w + 1)) : 0.0, 1e-15) << j;
      }
    }
}

TEST(SlidingWindow, TakesAnyWidthAndStep) {
  const Index huge = std::numeric_limits<Index>::max();
  const Qkv x(9, 12, 4);
  heed::HeadCache<P> cache;
  heed::HeadCache<Dense> dense;
  const auto expected = heed::attend(Dense({}, {4, 4, 1}), x.q, x.k, x.v, dense);
  const auto wide = heed::attend(P({.window = huge}, {4, 4, 1}), x.q, x.k, x.v, cache);
  EXPECT_LT((wide.o - expected.o).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-14);
  const P apart({.window = huge, .dilation = {huge}, .causal = true}, {4, 4, 1});
  EXPECT_EQ(Matrix<double>(heed::attend(apart, x.q, x.k, x.v, cache).o), x.v.bottomRows(9));
  P::State stream = apart.start(12, huge);
  EXPECT_EQ(stream.k().rows(), 0);
}

/// Longer than what is kept by far, in chunks of all sizes, with other steps for heads that share their keys.
TEST(SlidingWindow, StreamsForeverInTheSameMemory) {
  using A = heed::Attention<P>;
  const Index n = 900;
  const A layer(
      {.d_model = 8, .heads = 4, .kv_heads = 2, .policy = {.window = 9, .dilation = {1, 4, 2, 3}, .causal = true}});
  heed::Random random(3);
  const A::Params params = layer.init(random);
  const Matrix<double> x = heed::random_normal<double>(random, n, 8, 1);
  A::Cache cache;
  const Matrix<double> y = layer.forward(params, x, heed::Batch::one(n), cache);
  A::State state = layer.start(1, 100000, 7);
  const double* const memory = state.heads[0].k().data();
  for (Index at = 0, size = 0; at < n; at += size) {
    size = std::min(n - at, random.below(7) + 1);
    const Matrix<double> got = layer.step(params, state, x.middleRows(at, size), heed::Batch::one(size));
    EXPECT_LT((got - y.middleRows(at, size)).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-13) << at;
    EXPECT_LE(state.heads[0].k().rows(), 9 * 4 + 7);  // dilation times window, and the longest chunk
    EXPECT_EQ(state.heads[0].k().data(), memory);
  }
}

TEST(SlidingWindow, RowsInTasksHaveTheBitsOfTheWhole) {
  for (const bool causal : {false, true})
    for (const Index head : {0, 1, 3})
      expect_same_bits_in_tasks<heed::SlidingWindow<float>>({.window = 7, .dilation = {1, 2, 1, 3}, .causal = causal},
                                                            {}, head);
}

TEST(SlidingWindow, CostsTheWindowAndNotTheLength) {
  const P window({.window = 256}, {64, 64, 1});
  for (const Index n : {1024, 2048, 4096, 8192, 16384})  // the windows of the first and the last 256 tokens are cut
    EXPECT_EQ(window.cost({n, n}).forward, static_cast<double>((n * 513 - 256 * 257) * (64 + 64)));
}

}  // namespace
