// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <heed/kernels/register_tile.hpp>

#include <cmath>
#include <random>
#include <vector>

namespace {

using heed::Index;
using heed::detail::lanes;
using heed::detail::Operand;
using heed::detail::Start;

template <class S>
class RegisterTile : public testing::Test {};
using Scalars = testing::Types<float, double, long double>;
TYPED_TEST_SUITE(RegisterTile, Scalars);

template <class S>
std::vector<S> numbers(Index n, std::mt19937& random) {
  std::normal_distribution<double> normal;
  std::vector<S> x(static_cast<std::size_t>(n));
  for (S& v : x) v = static_cast<S>(normal(random));
  return x;
}

/// One product against a plain sum; every buffer has exactly the size the kernel may touch, at an odd address.
template <Operand form, class S>
void check(Index m, Index packets, Index depth, Index pad, Start start, bool scaled, std::mt19937& random) {
  SCOPED_TRACE(testing::Message() << m << " rows, " << packets << " packets, depth " << depth << ", pad " << pad);
  constexpr bool plain = form == Operand::plain;
  const Index n = packets * lanes<S>;
  const Index lda = (plain ? depth : m) + pad, ldb = n + pad, ldc = n + 2 * pad;
  const Index a_rows = plain ? m : depth, a_cols = plain ? depth : m;
  const auto size = [](Index rows, Index cols, Index ld) { return rows > 0 ? (rows - 1) * ld + cols : 0; };
  const auto a = numbers<S>(1 + size(a_rows, a_cols, lda), random), b = numbers<S>(1 + size(depth, n, ldb), random);
  const auto before = numbers<S>(1 + size(m, n, ldc), random), alpha = numbers<S>(m, random);
  auto c = before;
  heed::detail::tile_product<form>(m, packets, depth, a.data() + 1, lda, b.data() + 1, ldb, c.data() + 1, ldc, start,
                                   scaled ? alpha.data() : nullptr);
  const auto at = [](const std::vector<S>& x, Index i) { return static_cast<long double>(x[std::size_t(1 + i)]); };
  const long double u = static_cast<long double>(std::numeric_limits<S>::epsilon()) / 2;
  auto untouched = before;
  for (Index r = 0; r < m; ++r)
    for (Index j = 0; j < n; ++j) {
      const long double factor = scaled ? static_cast<long double>(alpha[std::size_t(r)]) : 1;
      long double sum = start == Start::zero ? 0 : factor * at(before, r * ldc + j), gauge = std::abs(sum);
      for (Index k = 0; k < depth; ++k) {
        const long double x = at(a, plain ? r * lda + k : k * lda + r) * at(b, k * ldb + j);
        sum += x;
        gauge += std::abs(x);
      }
      const std::size_t i = std::size_t(1 + r * ldc + j);
      ASSERT_LE(std::abs(static_cast<long double>(c[i]) - sum), u * static_cast<long double>(depth + 2) * gauge);
      untouched[i] = c[i];
    }
  EXPECT_EQ(untouched, c) << "wrote outside of C";
}

TYPED_TEST(RegisterTile, AllShapesOfTiles) {
  std::mt19937 random(1);
  for (Index m = 0; m <= 19; ++m)
    for (Index packets = 0; packets <= 9; ++packets) {
      const Index depth = m % 3 == 0 ? packets : 17, pad = m % 4;
      const Start start = packets % 2 == 0 ? Start::zero : Start::add;
      check<Operand::plain, TypeParam>(m, packets, depth, pad, start, false, random);
      check<Operand::transposed, TypeParam>(m, packets, depth, pad, start, false, random);
      check<Operand::plain, TypeParam>(m, packets, depth, pad, Start::add, true, random);
      check<Operand::transposed, TypeParam>(m, packets, depth, pad, Start::add, true, random);
    }
}

TYPED_TEST(RegisterTile, AnyDepth) {
  std::mt19937 random(2);
  for (const Index depth : {0, 1, 2, 63, 64, 127, 128, 129, 256, 300}) {
    check<Operand::plain, TypeParam>(13, 5, depth, 3, Start::zero, false, random);
    check<Operand::transposed, TypeParam>(13, 5, depth, 3, Start::add, false, random);
    check<Operand::transposed, TypeParam>(7, 4, depth, 0, Start::add, true, random);
  }
}

TYPED_TEST(RegisterTile, BitsDoNotDependOnTheTile) {
  using S = TypeParam;
  std::mt19937 random(3);
  constexpr Index m = 23, packets = 7, n = packets * lanes<S>, depth = 150;
  const auto a = numbers<S>(m * depth, random), b = numbers<S>(depth * n, random);
  std::vector<S> whole(m * n), pieces(m * n);
  heed::detail::tile_product<Operand::plain>(m, packets, depth, a.data(), depth, b.data(), n, whole.data(), n,
                                             Start::zero);
  for (Index r = 0; r < m; ++r)
    for (Index v = 0; v < n; v += lanes<S>)
      heed::detail::tile_product<Operand::plain>(1, 1, depth, a.data() + r * depth, depth, b.data() + v, n,
                                                 pieces.data() + r * n + v, n, Start::zero);
  EXPECT_EQ(whole, pieces);
}

}  // namespace
