// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include "../../benchmarks/crossover.hpp"

#include <gtest/gtest.h>

namespace heed::bench {
namespace {

using Kind = Crossover::Kind;

// The base takes n^2, the variant 1000 n: they meet at n = 1000, which straight lines on logarithmic axes hit exactly.
TEST(crossover, of_powers_is_exact) {
  std::vector<Point> base, variant;
  for (const double n : {16384., 256., 1024., 4096.}) {
    base.push_back({n, n * n});
    variant.push_back({n, 1000 * n});
  }
  const Crossover c = crossover(variant, base);
  EXPECT_EQ(c.kind, Kind::from);
  EXPECT_NEAR(c.n, 1000, 1e-6);
  EXPECT_EQ(c.first, 256);
  EXPECT_EQ(c.last, 16384);
}

TEST(crossover, always_and_never) {
  const std::vector<Point> slow{{128, 2}, {256, 8}}, fast{{128, 1}, {256, 7}};
  EXPECT_EQ(crossover(fast, slow).kind, Kind::always);
  EXPECT_EQ(crossover(slow, fast).kind, Kind::never);
  EXPECT_EQ(crossover(slow, slow).kind, Kind::never);
}

TEST(crossover, counts_from_where_it_stays_faster) {
  const std::vector<Point> base{{128, 1}, {256, 1}, {512, 1}, {1024, 1}},
      variant{{128, .5}, {256, 2}, {512, .5}, {1024, .5}};
  const Crossover c = crossover(variant, base);
  EXPECT_EQ(c.kind, Kind::from);
  EXPECT_NEAR(c.n, 256 * std::sqrt(2.0), 1e-9);
}

TEST(crossover, only_at_common_lengths) {
  const std::vector<Point> base{{128, 1}, {256, 4}, {16384, 1e4}}, variant{{256, 5}, {512, 6}};
  const Crossover c = crossover(variant, base);
  EXPECT_EQ(c.kind, Kind::never);
  EXPECT_EQ(c.last, 256);
  EXPECT_EQ(crossover({{64, 1}}, base).kind, Kind::unknown);
  EXPECT_EQ(crossover({}, base).kind, Kind::unknown);
}

}  // namespace
}  // namespace heed::bench
