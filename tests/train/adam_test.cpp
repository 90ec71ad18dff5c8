// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <heed/core/random.hpp>
#include <heed/train/adam.hpp>

#include <limits>
#include <numbers>

/// The optimiser against its paper, number by number; clipping and the schedule.

namespace {

using heed::Index;
using heed::Matrix;

template <class S>
struct Weights {
  Matrix<S> w, b;
  template <class F, class... X>
  static void visit(F&& f, X&... x) {
    f("w", x.w...);
    f("b", x.b...);
  }
};
template <class S>
Weights<S> draw(std::uint64_t seed, Index rows = 5, Index cols = 7) {
  heed::Random random(seed);
  return {heed::random_normal<S>(random, rows, cols, 1), heed::random_normal<S>(random, 1, cols, 1)};
}

TEST(Adam, IsThePapersAlgorithm) {
  const heed::Adam adam({.beta1 = 0.8, .beta2 = 0.95, .epsilon = 1e-3, .weight_decay = 0.1});
  Weights<double> w = draw<double>(1);
  auto state = adam.start(w);
  Matrix<long double> theta = w.w.cast<long double>(), m = theta * 0, v = theta * 0;
  Matrix<long double> bias = w.b.cast<long double>(), mb = bias * 0, vb = bias * 0;
  for (int t = 1; t <= 4; ++t) {
    const Weights<double> g = draw<double>(static_cast<std::uint64_t>(10 + t));
    const double rate = 0.01 * t;
    adam.step(w, g, state, rate);
    const auto by_hand = [&](Matrix<long double>& x, Matrix<long double>& first, Matrix<long double>& second,
                             const Matrix<double>& grad, long double decay) {
      for (Index i = 0; i < x.size(); ++i) {
        const auto d = static_cast<long double>(grad.data()[i]);
        first.data()[i] = 0.8L * first.data()[i] + 0.2L * d;
        second.data()[i] = 0.95L * second.data()[i] + 0.05L * d * d;
        const long double up = first.data()[i] / (1 - std::pow(0.8L, t)),
                          down = std::sqrt(second.data()[i] / (1 - std::pow(0.95L, t))) + 1e-3L;
        x.data()[i] -= static_cast<long double>(rate) * (up / down + decay * x.data()[i]);
      }
    };
    by_hand(theta, m, v, g.w, 0.1L);
    by_hand(bias, mb, vb, g.b, 0);  // a single row does not decay
  }
  EXPECT_EQ(state.steps(0, 0), 4);
  // Some ten roundings a step, each of a number up to a few.
  EXPECT_LT((w.w - theta.cast<double>()).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 4 * 10 * 4 * 1.2e-16);
  EXPECT_LT((w.b - bias.cast<double>()).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 4 * 10 * 4 * 1.2e-16);
}

TEST(Adam, HasTheSameBitsForAnyThreads) {
  Weights<float> one = draw<float>(1, 300, 501), three = one;
  const heed::Adam serial, parallel({.threads = 3});
  auto a = serial.start(one), b = parallel.start(three);
  for (std::uint64_t t = 0; t < 3; ++t) {
    const Weights<float> g = draw<float>(20 + t, 300, 501);
    serial.step(one, g, a, 0.1);
    parallel.step(three, g, b, 0.1);
  }
  EXPECT_EQ(one.w, three.w);
  EXPECT_EQ(a.v.b, b.v.b);
}

TEST(Adam, RefusesWhatMakesNoSense) {
  const double infinity = std::numeric_limits<double>::infinity();
  const heed::Adam adam;
  const Weights<double> before = draw<double>(1);
  Weights<double> w = before;
  auto state = adam.start(w);
  for (const double rate : {infinity, -infinity, std::nan(""), -1.0})
    EXPECT_THROW(adam.step(w, before, state, rate), heed::OptionError);
  EXPECT_THROW(adam.step(w, draw<double>(1, 4), state, 0.1), heed::ShapeError);
  auto other = adam.start(draw<double>(1, 4));
  EXPECT_THROW(adam.step(w, before, other, 0.1), heed::ShapeError);
  EXPECT_EQ(w.w, before.w);
  EXPECT_EQ(state.steps(0, 0), 0);
  EXPECT_THROW(heed::Adam({.beta1 = 1}), heed::OptionError);
  EXPECT_THROW(heed::Adam({.beta2 = -0.1}), heed::OptionError);
  EXPECT_THROW(heed::Adam({.epsilon = 0}), heed::OptionError);
  EXPECT_THROW(heed::Adam({.weight_decay = -1}), heed::OptionError);
  EXPECT_THROW(heed::Adam({.threads = 0}), heed::OptionError);
}

TEST(ClipNorm, BoundsTheNorm) {
  Weights<double> g = draw<double>(3);
  const Weights<double> before = g;
  const double norm = std::sqrt(g.w.squaredNorm() + g.b.squaredNorm());
  EXPECT_DOUBLE_EQ(heed::clip_norm(g, 100), norm);
  EXPECT_EQ(g.w, before.w);
  EXPECT_DOUBLE_EQ(heed::clip_norm(g, 0.5), norm);
  EXPECT_NEAR(std::sqrt(g.w.squaredNorm() + g.b.squaredNorm()), 0.5, 1e-15);
  g.w(0, 0) = std::nan("");
  const double b = g.b(0, 0);
  EXPECT_TRUE(std::isnan(heed::clip_norm(g, 0.1)));
  EXPECT_EQ(g.b(0, 0), b);
  EXPECT_THROW(heed::clip_norm(g, 0), heed::OptionError);
}

TEST(WarmUpCosine, RisesAndFalls) {
  const heed::WarmUpCosine rate{.peak = 2, .warm_up = 10, .total = 110, .floor = 0.5};
  EXPECT_DOUBLE_EQ(rate(0), 0.2);
  EXPECT_DOUBLE_EQ(rate(9), 2);
  EXPECT_DOUBLE_EQ(rate(10), 2);
  EXPECT_DOUBLE_EQ(rate(60), 0.5 + 1.5 * 0.5);
  EXPECT_NEAR(rate(85), 0.5 + 0.75 * (1 + std::cos(0.75 * std::numbers::pi)), 1e-15);
  EXPECT_DOUBLE_EQ(rate(110), 0.5);
  EXPECT_DOUBLE_EQ(rate(1000), 0.5);
  EXPECT_THROW((heed::WarmUpCosine{.warm_up = 5, .total = 4}(0)), heed::OptionError);
  EXPECT_THROW((heed::WarmUpCosine{.peak = std::nan("")}(0)), heed::OptionError);
}

}  // namespace
