// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <heed/core/random.hpp>

#include <array>
#include <cmath>

using heed::Index, heed::Random;

TEST(Random, BitsAreThoseOfEveryPlatform) {
  // SplitMix64 of counters from a mixed seed, by an independent program.
  const auto mix = [](unsigned long long z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  };
  const unsigned long long golden = 0x9e3779b97f4a7c15ull, key = mix(42 + golden);
  Random r(42);
  for (unsigned long long i = 1; i <= 100; ++i) EXPECT_EQ(r.bits(), mix(key + golden * i));
  Random n(7);
  const std::array<double, 3> first{n.normal(), n.normal(), n.normal()};
  Random again(7);
  for (const double x : first) EXPECT_EQ(again.normal(), x);
}

TEST(Random, NormalHasTheRightMoments) {
  Random r(3);
  const int n = 400000;
  std::array<double, 5> moment{};
  int beyond = 0;
  for (int i = 0; i < n; ++i) {
    const double x = r.normal();
    for (std::size_t p = 1; p < 5; ++p) moment[p] += std::pow(x, static_cast<double>(p)) / n;
    beyond += std::abs(x) > 1.959964;
  }
  // Five standard errors each.
  EXPECT_NEAR(moment[1], 0, 5 / std::sqrt(double(n)));
  EXPECT_NEAR(moment[2], 1, 5 * std::sqrt(2.0 / n));
  EXPECT_NEAR(moment[3], 0, 5 * std::sqrt(15.0 / n));
  EXPECT_NEAR(moment[4], 3, 5 * std::sqrt(96.0 / n));
  EXPECT_NEAR(beyond / double(n), 0.05, 5 * std::sqrt(0.05 * 0.95 / n));
}

TEST(Random, StreamsAreIndependent) {
  const Random r(5);
  Random a = r.stream(0), b = r.stream(1), again = r.stream(0);
  double correlation = 0;
  for (int i = 0; i < 10000; ++i) {
    const double x = a.normal();
    EXPECT_EQ(x, again.normal());
    correlation += x * b.normal() / 10000;
  }
  EXPECT_NEAR(correlation, 0, 0.05);
}

TEST(Random, BelowIsInRange) {
  Random r(9);
  std::array<int, 7> count{};
  for (int i = 0; i < 7000; ++i) ++count.at(static_cast<std::size_t>(r.below(7)));
  for (const int c : count) EXPECT_NEAR(c, 1000, 150);
}
