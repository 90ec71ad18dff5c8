// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <heed/kernels/exp2.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace {

using heed::Index;
using heed::detail::lanes;

template <class S>
S exp2_of(S x) {
  return heed::detail::first_lane<S>(heed::detail::exp2<S>(heed::detail::broadcast(x)));
}

/// Distance in units in the last place of the exact value, which is a normal number.
template <class S>
double ulp(S got, long double exact) {
  const int exponent = std::ilogb(exact);
  return static_cast<double>(std::abs((static_cast<long double>(got) - exact) /
                                      std::ldexp(1.0L, exponent - std::numeric_limits<S>::digits + 1)));
}

template <class S>
class Exp2 : public testing::Test {};
using Scalars = testing::Types<float, double, long double>;
TYPED_TEST_SUITE(Exp2, Scalars);

TYPED_TEST(Exp2, IsWithinTwoUlpOverAllBinades) {
  using S = TypeParam;
  const S lowest = S(std::numeric_limits<S>::min_exponent - 1);
  double worst = 0;
  // From the smallest denormal to the lowest exponent, 4000 steps a range, evenly by bit pattern: by binade.
  for (int e = std::numeric_limits<S>::min_exponent - 20; std::ldexp(S(1), e) < -lowest; ++e) {
    if (e < -80 && e % 16 != 0) continue;  // 2^x is 1 there
    for (int i = 0; i < 4000; ++i) {
      const S x = -std::ldexp(S(1) + S(i) / S(4000), e);
      if (x >= lowest) worst = std::max(worst, ulp(exp2_of(x), std::exp2(static_cast<long double>(x))));
      if (x >= S(-64)) worst = std::max(worst, ulp(exp2_of(-x), std::exp2(static_cast<long double>(-x))));
    }
  }
  EXPECT_LE(worst, 2.0);
}

TYPED_TEST(Exp2, BordersAreExact) {
  using S = TypeParam;
  using limits = std::numeric_limits<S>;
  const S lowest = S(limits::min_exponent - 1);
  EXPECT_EQ(exp2_of(S(0)), S(1));
  EXPECT_EQ(exp2_of(S(-0.0)), S(1));
  for (int n = -100; n < 100; ++n) EXPECT_EQ(exp2_of(S(n)), std::ldexp(S(1), n));
  EXPECT_EQ(exp2_of(lowest), limits::min());
  for (const S x : {std::nextafter(lowest, -limits::infinity()), lowest - S(0.5), lowest - S(1), 2 * lowest, S(-1e30),
                    limits::lowest(), -limits::infinity()}) {
    EXPECT_EQ(exp2_of(x), S(0)) << x;
    EXPECT_FALSE(std::signbit(exp2_of(x))) << x;
    EXPECT_EQ(heed::detail::exp_of(x), S(0)) << x;
  }
  EXPECT_TRUE(std::isnan(exp2_of(limits::quiet_NaN())));
  EXPECT_TRUE(std::isnan(exp2_of(-limits::quiet_NaN())));
  EXPECT_TRUE(std::isnan(heed::detail::exp_of(limits::quiet_NaN())));
  EXPECT_EQ(heed::detail::exp_of(S(0)), S(1));
}

TEST(Exp2Float, NaNsOfEveryPayloadStayNaN) {
  for (std::uint32_t bits : {0x7f800001u, 0x7fc00001u, 0x7fffffffu, 0xff800001u, 0xffc12345u, 0xffffffffu})
    EXPECT_TRUE(std::isnan(exp2_of(std::bit_cast<float>(bits)))) << std::hex << bits;
}

TYPED_TEST(Exp2, NaturalExponentialIsCloseAndNeverDenormal) {
  using S = TypeParam;
  for (int i = 0; i < 20000; ++i) {
    const S x = S(std::numeric_limits<S>::min_exponent) * S(0.75) * S(i) / S(20000);
    const S got = heed::detail::exp_of(x);
    if (got == S(0)) {
      EXPECT_LT(x, S(std::numeric_limits<S>::min_exponent) * S(0.69));
    } else {
      EXPECT_GE(got, std::numeric_limits<S>::min());
      EXPECT_LE(ulp(got, std::exp(static_cast<long double>(x))), 2.0 + 1.5 * std::abs(static_cast<double>(x)));
    }
  }
}

TYPED_TEST(Exp2, EveryLaneHasTheSameBits) {
  using S = TypeParam;
  const std::size_t n = std::size_t{lanes<S>};
  std::vector<S> x(n), y(n);
  for (int i = 0; i < 1000; ++i) {
    for (std::size_t lane = 0; lane < n; ++lane)
      x[lane] = lane == std::size_t(i) % n ? S(-0.0713) * S(i) : S(lane) - S(40);
    heed::detail::store<S>(y.data(), heed::detail::exp2<S>(heed::detail::load(x.data())));
    for (std::size_t lane = 0; lane < n; ++lane) EXPECT_EQ(y[lane], exp2_of(x[lane]));
  }
}

}  // namespace
