// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <heed/train/sample.hpp>

#include <array>
#include <limits>
#include <string>

using heed::Index, heed::Matrix, heed::Random;

namespace {
constexpr float never = -std::numeric_limits<float>::infinity();
template <class Error, class F>
std::string error(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no such error";
}
}  // namespace

TEST(Sample, DrawsAsOftenAsTheSoftmaxSays) {
  const Matrix<float> scores = (Matrix<float>(1, 4) << 1, 3, never, 2).finished();
  for (const double temperature : {0.5, 1.0, 3.0}) {
    std::array<double, 4> expected{}, drawn{};
    double sum = 0;
    for (const std::size_t i : {0u, 1u, 3u})
      sum += expected[i] = std::exp(static_cast<double>(scores(0, static_cast<Index>(i))) / temperature);
    Random random(4);
    constexpr int n = 20000;
    for (int i = 0; i < n; ++i) drawn[static_cast<std::size_t>(heed::sample(scores, temperature, random))] += 1.0 / n;
    for (std::size_t i = 0; i < 4; ++i) {
      const double p = expected[i] / sum;
      EXPECT_NEAR(drawn[i], p, 5 * std::sqrt(p * (1 - p) / n)) << i << " at " << temperature;
    }
  }
}

TEST(Sample, AtTemperatureZeroTakesTheFirstOfTheLargest) {
  Random random(1), untouched(1);
  EXPECT_EQ(heed::sample((Matrix<float>(4, 1) << 1, 3, 3, 2).finished(), 0, random), 1);
  EXPECT_EQ(heed::sample((Matrix<double>(1, 1) << -7).finished(), 0, random), 0);
  EXPECT_EQ(random.bits(), untouched.bits());
}

TEST(Sample, LargeScoresStayFinite) {
  Random random(1);
  for (int i = 0; i < 100; ++i)
    EXPECT_EQ(heed::sample((Matrix<float>(1, 3) << -1e30f, 1e30f, never).finished(), 1e-3, random), 1);
}

TEST(Sample, RefusesWhatMakesNoSense) {
  Random random(1);
  const Matrix<float> scores = Matrix<float>::Zero(1, 3), none(1, 0), table = Matrix<float>::Zero(2, 3);
  EXPECT_EQ(error<heed::ShapeError>([&] { heed::sample(none, 1, random); }), "scores: one or more expected, came none");
  EXPECT_EQ(error<heed::ShapeError>([&] { heed::sample(table, 1, random); }),
            "scores: one row or one column expected, came [2, 3]");
  EXPECT_EQ(error<heed::OptionError>([&] { heed::sample(scores, -1, random); }),
            "temperature: finite and not negative expected, came -1");
  EXPECT_EQ(error<heed::ShapeError>([&] { heed::sample(Matrix<float>::Constant(1, 3, never), 1, random); }),
            "scores: a finite largest expected, came -inf");
  for (const Index at : {0, 1, 2}) {
    Matrix<float> hole = scores;
    hole(0, at) = std::nanf("");
    EXPECT_EQ(error<heed::ShapeError>([&] { heed::sample(hole, 1, random); }),
              "scores: numbers expected, came nan at " + std::to_string(at));
  }
}
