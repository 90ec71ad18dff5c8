// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <heed/policies/favor.hpp>
#include <policies/favor_run.hpp>

#include <cmath>
#include <numbers>
#include <vector>

/// Favor's weights as an estimate of the softmax kernel: over draws with fixed seeds.

using heed::Favor;
using heed::Index;
using M = heed::Matrix<double>;

/// phi(q).phi(k) as the policy estimates it: with one key it is what the weights are divided by.
template <class P = Favor<double>>
double kernel(const typename P::Options& options, const M& q, const M& k) {
  return std::exp(run<P>(options, q, k, k).second(0, 0));
}

struct Mean {
  double mean, error, deviation;
};
/// Over draws with the seeds 1, 2, ...
template <class Draw>
Mean mean_over(int draws, const Draw& draw) {
  double sum = 0, squares = 0;
  for (int seed = 1; seed <= draws; ++seed) {
    const double x = draw(static_cast<std::uint64_t>(seed));
    sum += x;
    squares += x * x;
  }
  const double mean = sum / draws, deviation = std::sqrt(squares / draws - mean * mean);
  return {mean, deviation / std::sqrt(draws), deviation};
}
/// A row of the given norm.
M row(std::uint64_t seed, Index d, double norm, bool positive) {
  heed::Random random(seed);
  M x = heed::random_normal<double>(random, 1, d, 1);
  if (positive) x = x.cwiseAbs();
  return x * (norm / x.norm());
}

TEST(Favor, MeanOverDrawsIsTheSoftmaxKernel) {
  for (const Index d : {8, 64})
    for (const bool positive : {false, true}) {
      const M q = row(1, d, 0.6, positive), k = row(2, d, 0.5, positive);
      for (const int variant : {0, 1, 2, 3}) {
        const Mean m = mean_over(400, [&](std::uint64_t seed) {
          Favor<double>::Options o{.features = 96, .scale = 1.0, .seed = seed};
          o.orthogonal = variant != 1;
          o.map.hyperbolic = variant == 2;
          o.map.bound = variant == 3 ? -0.02 : 0;
          return kernel(o, q, k);
        });
        EXPECT_NEAR(m.mean, std::exp(q.row(0).dot(k.row(0))), 4 * m.error)
            << "d " << d << ", positive " << positive << ", variant " << variant;
        EXPECT_LT(m.error, 0.02 * m.mean);  // else the line above says nothing
      }
    }
}

/// The control: rows of a Householder QR, as every reference takes them, are not uniform rotations, and this test sees
/// it.
TEST(Favor, MeanOverDrawsOfHouseholderRowsIsNot) {
  const Index d = 64;
  const M q = row(1, d, 0.6, true), k = row(2, d, 0.5, true);
  const Mean m = mean_over(400, [&](std::uint64_t seed) {
    heed::Random random(seed);
    const M gauss = heed::random_normal<double>(random, d, d, 1);
    Eigen::MatrixXd a = gauss;
    for (Index c = 0; c < d; ++c)  // reflections that make column after column a multiple of a unit vector
      a.col(c) = gauss.col(c);
    Eigen::MatrixXd rows = Eigen::MatrixXd::Identity(d, d);
    for (Index c = 0; c + 1 < d; ++c) {
      Eigen::VectorXd u = a.col(c).tail(d - c);
      u(0) += u(0) < 0 ? -u.norm() : u.norm();
      u.normalize();
      a.bottomRows(d - c) -= 2 * u * (u.transpose() * a.bottomRows(d - c));
      rows.rightCols(d - c) -= 2 * (rows.rightCols(d - c) * u) * u.transpose();
    }
    M w = rows.transpose();
    for (Index r = 0; r < d; ++r) w.row(r) *= heed::random_normal<double>(random, 1, d, 1).norm();
    return kernel({.features = d, .scale = 1.0, .directions = w}, q, k);
  });
  EXPECT_GT(std::abs(m.mean - std::exp(q.row(0).dot(k.row(0)))), 6 * m.error);
}

TEST(Favor, FixedNormsHaveTheirOwnMean) {
  const Index d = 8;
  const M q = row(1, d, 0.8, false), k = row(2, d, 0.7, true), z = q + k;
  // e^(-(|q|^2 + |k|^2) / 2) 0F1(; d / 2; d |z|^2 / 4)
  double term = 1, sum = 1;
  for (int n = 1; n < 40; ++n) sum += term *= double(d) * z.squaredNorm() / 4 / (n * (double(d) / 2 + n - 1));
  const Mean m = mean_over(400, [&](std::uint64_t seed) {
    return kernel({.features = 64, .scale = 1.0, .fixed_norms = true, .seed = seed}, q, k);
  });
  EXPECT_NEAR(m.mean, std::exp(-(q.squaredNorm() + k.squaredNorm()) / 2) * sum, 4 * m.error);
}

TEST(Favor, ReluFeaturesHaveTheArcCosineKernel) {
  const M q = row(1, 8, 0.8, false), k = row(2, 8, 1.7, false);
  const double angle = std::acos(q.row(0).dot(k.row(0)) / q.norm() / k.norm());
  const double expected =
      q.norm() * k.norm() * (std::sin(angle) + (std::numbers::pi - angle) * std::cos(angle)) / (2 * std::numbers::pi);
  const Mean m = mean_over(400, [&](std::uint64_t seed) {
    return kernel<Favor<double, heed::ReluFeatures>>({.features = 64, .seed = seed, .map = {.epsilon = 0}}, q, k);
  });
  EXPECT_NEAR(m.mean, expected, 4 * m.error);
}

TEST(Favor, VariantsThatShouldVaryLessDo) {
  const Index d = 16;
  const M q = row(1, d, 0.5, true), k = row(2, d, 0.5, true);
  const auto deviation = [&](const Favor<double>::Options& options) {
    return mean_over(3000,
                     [&](std::uint64_t seed) {
                       auto o = options;
                       o.seed = seed;
                       return kernel(o, q, k);
                     })
        .deviation;
  };
  const double independent = deviation({.features = 16, .scale = 1.0, .orthogonal = false});
  EXPECT_LT(deviation({.features = 16, .scale = 1.0}), independent);
  EXPECT_LT(deviation({.features = 8, .scale = 1.0, .orthogonal = false, .map = {.hyperbolic = true}}), independent);
  const double bound = heed::optimal_bound((q + k).squaredNorm(), d);
  EXPECT_LT(bound, 0);
  EXPECT_LT(deviation({.features = 16, .scale = 1.0, .orthogonal = false, .map = {.bound = bound}}), independent);
  EXPECT_EQ(heed::optimal_bound(0, d), 0);
}

TEST(Favor, ErrorFallsWithTheRootOfTheFeatures) {
  const Index d = 16, n = 24;
  heed::Random random(3);
  const M q = heed::random_normal<double>(random, n, d, 0.3), k = heed::random_normal<double>(random, n, d, 0.3),
          v = heed::random_normal<double>(random, n, d, 1);
  const M weights = (q * k.transpose() / 2).array().exp();
  const M exact = weights.rowwise().sum().cwiseInverse().asDiagonal() * (weights * v);
  for (const bool orthogonal : {false, true}) {
    double x_mean = 0, y_mean = 0, xy = 0, xx = 0;
    std::vector<std::pair<double, double>> points;
    for (const Index m : {64, 256, 1024, 4096}) {
      double squares = 0;
      const int draws = 16;
      for (std::uint64_t seed = 1; seed <= draws; ++seed)
        squares +=
            (run<Favor<double>>({.features = m, .scale = 0.5, .orthogonal = orthogonal, .seed = seed}, q, k, v).first -
             exact)
                .squaredNorm();
      points.push_back({std::log(double(m)), std::log(squares / draws) / 2});
    }
    for (const auto& [x, y] : points) x_mean += x / 4, y_mean += y / 4;
    for (const auto& [x, y] : points) xy += (x - x_mean) * (y - y_mean), xx += (x - x_mean) * (x - x_mean);
    EXPECT_GE(xy / xx, -0.6) << orthogonal;
    EXPECT_LE(xy / xx, -0.4) << orthogonal;
  }
}

// --- the directions ---

TEST(Favor, DirectionsAreOrthogonalInBlocks) {
  const Index d = 7, m = 17;
  for (const bool fixed : {false, true}) {
    const M w = Favor<double>({.features = m, .fixed_norms = fixed}, {d, d, 1}).directions();
    ASSERT_EQ(w.rows(), m);
    for (Index r = 0; r < m; ++r) {
      for (Index s = r / d * d; s < r; ++s) EXPECT_NEAR(w.row(r).dot(w.row(s)), 0, 1e-13);
      EXPECT_TRUE(!fixed || std::abs(w.row(r).norm() - std::sqrt(double(d))) < 1e-14);
    }
  }
}

TEST(Favor, DirectionsComeFromTheSeedOrTheModel) {
  heed::Random random(4);
  const M x = heed::random_normal<double>(random, 9, 5, 1);
  const auto first = run<Favor<double>>({.features = 12}, x, x, x),
             again = run<Favor<double>>({.features = 12}, x, x, x);
  EXPECT_EQ(first.first, again.first);
  EXPECT_NE(first.first, run<Favor<double>>({.features = 12, .seed = 2}, x, x, x).first);
  const M w = Favor<double>({.features = 12}, {5, 5, 1}).directions();
  const auto loaded = run<Favor<double>>({.features = 12, .seed = 9, .directions = w}, x, x, x);
  EXPECT_EQ(first.first, loaded.first);
}
