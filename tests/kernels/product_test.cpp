// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/core/random.hpp>
#include <heed/kernels/product.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace heed {
namespace {

constexpr Form forms[] = {Form::ab, Form::atb, Form::abt};

/// A matrix in a block of memory of exactly its own size: what reads or writes outside it is caught by the address
/// sanitizer before and behind, and in the gaps between its rows by `gaps_intact`.
template <class S>
struct Strided {
  Index rows, cols, stride, offset;
  std::vector<S> store;

  Strided(Index r, Index c, Index gap, Index off)
      : rows(r), cols(c), stride(c + gap), offset(off), store(static_cast<std::size_t>(size()), gap_value()) {}
  Strided(Random& random, Index r, Index c, Index gap = 0, Index off = 0) : Strided(r, c, gap, off) {
    for (Index i = 0; i < rows; ++i)
      for (Index j = 0; j < cols; ++j) at(i, j) = static_cast<S>(random.normal());
  }
  static S gap_value() { return S(-77); }
  Index size() const { return offset + (rows > 0 ? (rows - 1) * stride + cols : 0); }
  S& at(Index i, Index j) { return store[static_cast<std::size_t>(offset + i * stride + j)]; }
  S at(Index i, Index j) const { return store[static_cast<std::size_t>(offset + i * stride + j)]; }
  View<S> view() { return {store.data() + offset, rows, cols, Eigen::OuterStride<>(stride)}; }
  ConstView<S> view() const { return {store.data() + offset, rows, cols, Eigen::OuterStride<>(stride)}; }
  bool gaps_intact() const {
    Strided clean = *this;
    for (Index i = 0; i < rows; ++i)
      for (Index j = 0; j < cols; ++j) clean.at(i, j) = gap_value();
    for (const S x : clean.store)
      if (!(x == gap_value())) return false;
    return true;
  }
};

template <class S>
void run(Form form, Into into, ConstView<S> a, ConstView<S> b, View<S> c, Arena& arena) {
  switch (form) {
    case Form::ab:
      return product<Form::ab>(into, a, b, c, arena);
    case Form::atb:
      return product<Form::atb>(into, a, b, c, arena);
    case Form::abt:
      return product<Form::abt>(into, a, b, c, arena);
  }
}
template <class S>
void run(Form form, Into into, ConstView<S> a, ConstView<S> b, View<S> c, Workers& workers) {
  switch (form) {
    case Form::ab:
      return parallel_product<Form::ab>(into, a, b, c, workers);
    case Form::atb:
      return parallel_product<Form::atb>(into, a, b, c, workers);
    case Form::abt:
      return parallel_product<Form::abt>(into, a, b, c, workers);
  }
}

/// The operands of one product and where they lie.
template <class S>
struct Case {
  Form form;
  Index m, k, n;
  Strided<S> a, b, c;

  Case(Random& random, Form f, Index rows, Index depth, Index cols, Index gap = 0, Index off = 0)
      : form(f),
        m(rows),
        k(depth),
        n(cols),
        a(random, f == Form::atb ? k : m, f == Form::atb ? m : k, gap, off),
        b(random, f == Form::abt ? n : k, f == Form::abt ? k : n, gap + (gap != 0), off + (off != 0)),
        c(random, m, n, 2 * gap, 2 * off) {}
  ConstView<S> a_view() const { return a.view(); }
  ConstView<S> b_view() const { return b.view(); }
  ConstView<S> a_rows(Index row, Index rows) const {
    return form == Form::atb ? block(a_view(), 0, row, k, rows) : block(a_view(), row, 0, rows, k);
  }
  ConstView<S> b_cols(Index col, Index cols) const {
    return form == Form::abt ? block(b_view(), col, 0, cols, k) : block(b_view(), 0, col, k, cols);
  }
  S a_at(Index i, Index l) const { return form == Form::atb ? a.at(l, i) : a.at(i, l); }
  S b_at(Index l, Index j) const { return form == Form::abt ? b.at(j, l) : b.at(l, j); }
  std::string name() const {
    return std::string(form == Form::ab    ? "ab "
                       : form == Form::atb ? "atb "
                                           : "abt ") +
           std::to_string(m) + " x " + std::to_string(k) + " x " + std::to_string(n) + ", stride of b " +
           std::to_string(b.stride);
  }
};

template <class S>
bool same_bits(const Matrix<S>& x, const Matrix<S>& y) {
  if (x.rows() != y.rows() || x.cols() != y.cols()) return false;
  for (Index i = 0; i < x.size(); ++i)  // by value: a long double has padding, and no NaN comes here
    if (!(x.data()[i] == y.data()[i]) || std::signbit(x.data()[i]) != std::signbit(y.data()[i])) return false;
  return true;
}

/// Rounding errors of a chain of k multiply-adds are at most k (two roundings where they are not fused: 2 k) half ulps
/// of sum |a b|, and random ones some sqrt(k).
template <class S>
void expect_close(const Case<S>& t, const Strided<S>& before, Into into) {
  // The reference is such a chain too, of long doubles.
  const long double u =
      (static_cast<long double>(std::numeric_limits<S>::epsilon()) + std::numeric_limits<long double>::epsilon()) / 2;
  const long double growth = 4 * u * std::sqrt(static_cast<long double>(t.k) + 1);
  for (Index i = 0; i < t.m; ++i)
    for (Index j = 0; j < t.n; ++j) {
      long double sum = into == Into::add ? static_cast<long double>(before.at(i, j)) : 0.0L, size = std::abs(sum);
      for (Index l = 0; l < t.k; ++l) {
        const long double x = static_cast<long double>(t.a_at(i, l)) * static_cast<long double>(t.b_at(l, j));
        sum += x;
        size += std::abs(x);
      }
      ASSERT_LE(std::abs(static_cast<long double>(t.c.at(i, j)) - sum), growth * size)
          << t.name() << " at " << i << ", " << j;
    }
}

template <class S>
void check(Case<S>& t, Into into) {
  const Strided<S> before = t.c;
  Arena arena;
  run(t.form, into, t.a_view(), t.b_view(), t.c.view(), arena);
  expect_close(t, before, into);
  EXPECT_TRUE(t.c.gaps_intact()) << t.name();
  EXPECT_LE(arena.peak(), product_scratch<S>(t.form, t.m, t.k, t.n)) << t.name();
}

template <class S>
class Product : public testing::Test {};
using Scalars = testing::Types<float, double, long double>;
TYPED_TEST_SUITE(Product, Scalars);

TYPED_TEST(Product, MatchesTheSumsForSmallShapes) {
  using S = TypeParam;
  Random random(1);
  const Index sizes[] = {0, 1, 2, 3, 5, 8, 15, 17, 33};
  for (const Form form : forms)
    for (const Index m : sizes)
      for (const Index k : sizes)
        for (const Index n : sizes) {
          const Into into = random.below(2) == 0 ? Into::assign : Into::add;
          Case<S> t(random, form, m, k, n, random.below(4), random.below(3));
          check(t, into);
          if (this->HasFatalFailure()) return;
        }
}

TYPED_TEST(Product, MatchesTheSumsForRandomShapes) {
  using S = TypeParam;
  Random random(2);
  for (int i = 0; i < 60; ++i) {
    const auto size = [&] { return Index{1} << random.below(8); };
    const Index m = 1 + random.below(size()), k = 1 + random.below(2 * size()), n = 1 + random.below(size());
    Case<S> t(random, forms[random.below(3)], m, k, n, random.below(20), random.below(9));
    check(t, random.below(2) == 0 ? Into::assign : Into::add);
    if (this->HasFatalFailure()) return;
  }
}

// Each of these is cut or packed in its own way: several blocks of rows, columns and depth, strides of a page, operands
// that straddle cache lines, packed blocks of A^T.
TYPED_TEST(Product, MatchesTheSumsHoweverItIsCut) {
  using S = TypeParam;
  Random random(3);
  struct Shape {
    Index m, k, n, gap, off;
  };
  for (const Form form : forms)
    for (const Shape s : {Shape{401, 37, 70, 0, 0},
                          {390, 9, 1000, 0, 0},
                          {200, 30, 65, 1100, 1},
                          {197, 60, 64, 0, 1},
                          {7, 700, 40, 1024, 0},
                          {40, 530, 33, 5, 3},
                          {50, 20, 600, 1024, 0}}) {
      Case<S> t(random, form, s.m, s.k, s.n, s.gap, s.off);
      check(t, Into::add);
      if (this->HasFatalFailure()) return;
    }
}

TYPED_TEST(Product, NothingToSumIsZeroOrNothing) {
  using S = TypeParam;
  Random random(4);
  for (const Form form : forms) {
    Case<S> t(random, form, 5, 0, 19, 3, 1);
    const Strided<S> before = t.c;
    Arena arena;
    run(form, Into::add, t.a_view(), t.b_view(), t.c.view(), arena);
    EXPECT_TRUE(same_bits<S>(t.c.view(), std::as_const(before).view()));
    run(form, Into::assign, t.a_view(), t.b_view(), t.c.view(), arena);
    EXPECT_TRUE(same_bits<S>(t.c.view(), Matrix<S>::Zero(5, 19)));
    EXPECT_TRUE(t.c.gaps_intact());
    EXPECT_EQ(arena.peak(), 0u);
  }
}

TYPED_TEST(Product, AnElementDependsOnItsRowAndColumnOnly) {
  using S = TypeParam;
  Random random(5);
  struct Shape {
    Index m, k, n;
  };
  for (const Form form : forms)
    for (const Shape s : {Shape{31, 70, 83}, {210, 150, 40}, {5, 300, 100}})
      for (const Into into : {Into::assign, Into::add}) {
        Case<S> t(random, form, s.m, s.k, s.n);
        const Matrix<S> before = t.c.view();
        Arena arena;
        run(form, into, t.a_view(), t.b_view(), t.c.view(), arena);
        for (int i = 0; i < 12; ++i) {
          const Index row = random.below(s.m), rows = 1 + random.below(s.m - row);
          const Index col = random.below(s.n), cols = 1 + random.below(s.n - col);
          Strided<S> part(rows, cols, random.below(40), random.below(5));
          part.view() = before.block(row, col, rows, cols);
          run(form, into, t.a_rows(row, rows), t.b_cols(col, cols), part.view(), arena);
          EXPECT_TRUE(same_bits<S>(part.view(), t.c.view().block(row, col, rows, cols))) << t.name();
        }
      }
}

TYPED_TEST(Product, ASumCanBeContinued) {
  using S = TypeParam;
  Random random(9);
  for (const Form form : forms)
    for (const Index m : {2, 40}) {
      const Index k = 300, n = 50;
      Case<S> t(random, form, m, k, n);
      Matrix<S> c = t.c.view();
      Arena arena;
      run(form, Into::add, t.a_view(), t.b_view(), t.c.view(), arena);
      for (Index l = 0, depth; l < k; l += depth) {
        depth = std::min(k - l, 1 + random.below(60));
        run(form, Into::add, form == Form::atb ? block(t.a_view(), l, 0, depth, m) : block(t.a_view(), 0, l, m, depth),
            form == Form::abt ? block(t.b_view(), 0, l, n, depth) : block(t.b_view(), l, 0, depth, n), view(c), arena);
      }
      EXPECT_TRUE(same_bits<S>(c, t.c.view())) << t.name();
    }
}

TYPED_TEST(Product, TheFormsAgreeBitwise) {
  using S = TypeParam;
  Random random(6);
  for (const Index m : {1, 3, 8, 9, 50, 250}) {
    const Index k = 140 + m, n = 90;
    Case<S> t(random, Form::ab, m, k, n);
    const Matrix<S> at = t.a.view().transpose(), bt = t.b.view().transpose();
    Matrix<S> from_atb = t.c.view(), from_abt = t.c.view();
    Arena arena;
    product<Form::atb, S>(Into::add, view(std::as_const(at)), t.b_view(), view(from_atb), arena);
    product<Form::abt, S>(Into::add, t.a_view(), view(std::as_const(bt)), view(from_abt), arena);
    product<Form::ab, S>(Into::add, t.a_view(), t.b_view(), t.c.view(), arena);
    EXPECT_TRUE(same_bits<S>(from_atb, t.c.view())) << m;
    EXPECT_TRUE(same_bits<S>(from_abt, t.c.view())) << m;
  }
}

TYPED_TEST(Product, ThreadsChangeNoBit) {
  using S = TypeParam;
  Random random(7);
  struct Shape {
    Index m, k, n;
  };
  for (const Form form : forms)
    for (const Shape s : {Shape{0, 4, 4}, {4, 0, 4}, {1, 9, 7}, {300, 120, 75}, {5, 600, 700}, {210, 90, 560}})
      for (const Into into : {Into::assign, Into::add}) {
        Case<S> t(random, form, s.m, s.k, s.n, 3, 1);
        const Strided<S> before = t.c;
        Arena arena;
        run(form, into, t.a_view(), t.b_view(), t.c.view(), arena);
        for (const int threads : {1, 2, 3, 8}) {
          Workers workers;
          const std::size_t scratch = product_scratch<S>(form, s.m, s.k, s.n);
          workers.prepare(threads, scratch);
          Strided<S> c = before;
          run(form, into, t.a_view(), t.b_view(), c.view(), workers);
          EXPECT_TRUE(same_bits<S>(c.view(), t.c.view())) << t.name() << ", threads " << threads;
          EXPECT_TRUE(c.gaps_intact());
          EXPECT_LE(workers.peak(), scratch) << t.name();
        }
      }
}

TEST(ProductCut, CoversEveryElementOnce) {
  for (const Form form : forms)
    for (const Index m : {0, 1, 97, 256, 1000, 4096})
      for (const Index k : {0, 1, 64, 5000})
        for (const Index n : {0, 1, 130, 300, 2048}) {
          const detail::Grid grid = detail::grid_of(form, m, k, n);
          for (const auto& [pieces, size, step] :
               {std::tuple(grid.down, m, detail::row_step), std::tuple(grid.across, n, detail::tile_columns<float>)}) {
            Index end = 0;
            for (Index i = 0; i < pieces; ++i) {
              const Range piece = detail::nth_piece(i, pieces, size, step);
              EXPECT_EQ(piece.begin, end);
              EXPECT_TRUE(pieces == 1 || !piece.empty()) << size << " in " << pieces;
              end = piece.end;
            }
            EXPECT_EQ(end, size);
          }
        }
}

TEST(ProductCut, GivesSeveralWorkersTheirShare) {
  const auto blocks = [](Form form, Index m, Index k, Index n) {
    const detail::Grid grid = detail::grid_of(form, m, k, n);
    return grid.down * grid.across;
  };
  EXPECT_GE(blocks(Form::ab, 4096, 256, 256), 8);
  EXPECT_GE(blocks(Form::atb, 256, 4096, 256), 8);   // few rows and columns, a long sum
  EXPECT_GE(blocks(Form::atb, 64, 4096, 1024), 8);   // few rows: along the columns
  EXPECT_EQ(blocks(Form::ab, 64, 64, 64), 1);        // not worth a second task
  EXPECT_GE(blocks(Form::ab, 8192, 512, 2048), 64);  // blocks of C fit the second cache
}

TYPED_TEST(Product, NotANumberStaysInItsRowAndColumn) {
  using S = TypeParam;
  const S bad[] = {std::numeric_limits<S>::quiet_NaN(), std::numeric_limits<S>::infinity()};
  Random random(8);
  for (const Form form : forms)
    for (const Index m : {3, 29})
      for (const S x : bad) {
        const Index k = 21, n = 37, row = m - 1, col = n - 2;
        Case<S> t(random, form, m, k, n, 1, 1);
        (form == Form::atb ? t.a.at(7, row) : t.a.at(row, 7)) = x;
        (form == Form::abt ? t.b.at(col, k - 1) : t.b.at(k - 1, col)) = x;
        Arena arena;
        run(form, Into::assign, t.a_view(), t.b_view(), t.c.view(), arena);
        for (Index i = 0; i < m; ++i)
          for (Index j = 0; j < n; ++j)
            EXPECT_EQ(std::isfinite(t.c.at(i, j)), i != row && j != col) << t.name() << " at " << i << ", " << j;
      }
}

}  // namespace
}  // namespace heed
