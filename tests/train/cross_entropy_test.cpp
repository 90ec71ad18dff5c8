// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <allocations.hpp>
#include <heed/core/random.hpp>
#include <heed/train/check_gradient.hpp>
#include <heed/train/cross_entropy.hpp>

#include <limits>
#include <regex>

/// The loss and its gradient, against the definition and against differences; and the check of gradients itself.

namespace {

using heed::Index;
using heed::Matrix;

struct Inputs {
  Matrix<double> w, x, b{};
  template <class F, class... X>
  static void visit(F&& f, X&... x) {
    f("w", x.w...);
    f("x", x.x...);
    f("b", x.b...);
  }
};
Inputs draw(Index rows, Index d, Index classes) {
  heed::Random random(7);
  return {heed::random_normal<double>(random, classes, d, 1), heed::random_normal<double>(random, rows, d, 1)};
}
std::vector<Index> targets(Index rows, Index classes) {
  std::vector<Index> t;
  for (Index i = 0; i < rows; ++i) t.push_back(i % 5 == 3 ? -1 : (3 * i) % classes);
  return t;
}
long double by_definition(const Inputs& in, const std::vector<Index>& t) {
  long double sum = 0;
  Index counted = 0;
  for (Index i = 0; i < in.x.rows(); ++i) {
    const Index target = t[static_cast<std::size_t>(i)];
    if (target < 0) continue;
    ++counted;
    long double total = 0, chosen = 0;
    for (Index c = 0; c < in.w.rows(); ++c) {
      long double z = in.b.size() > 0 ? static_cast<long double>(in.b(0, c)) : 0;
      for (Index e = 0; e < in.w.cols(); ++e)
        z += static_cast<long double>(in.x(i, e)) * static_cast<long double>(in.w(c, e));
      total += std::exp(z);
      if (c == target) chosen = z;
    }
    sum += std::log(total) - chosen;
  }
  return counted == 0 ? 0 : sum / counted;
}

TEST(CrossEntropy, IsTheDefinitionWithItsGradient) {
  for (const Index rows : {Index{0}, Index{1}, Index{37}})
    for (const Index classes : {Index{1}, Index{3}, Index{19}}) {
      Inputs in = draw(rows, 5, classes);
      const std::vector<Index> t = targets(rows, classes);
      const heed::CrossEntropy<double> loss({.chunk = 8, .threads = 2});
      heed::CrossEntropy<double>::Cache cache;
      Inputs g{Matrix<double>::Constant(classes, 5, 2), {}};
      const auto result = loss(in.w, in.x, t, cache, g.w);
      EXPECT_NEAR(result.loss, static_cast<double>(by_definition(in, t)), 1e-14);
      EXPECT_EQ(result.tokens, rows - (rows + 1) / 5);
      g.w.array() -= 2;  // it adds
      g.x = result.dx;
      const heed::GradientCheck check =
          heed::check_gradient(in, g, [&] { return by_definition(in, t); }, {.samples = 0});
      EXPECT_LT(check.error, 1e-7) << check.path << "(" << check.row << ", " << check.col << ")";
      EXPECT_EQ(check.checked, in.w.size() + in.x.size());
      heed::CrossEntropy<double>::Cache other;
      EXPECT_EQ(loss(in.w, in.x, t, other).loss, result.loss);
    }
}

TEST(CrossEntropy, OfATiedHeadHasItsBias) {
  using Head = heed::Embedding<double>::Params;
  for (const Index classes : {Index{1}, Index{3}, Index{19}}) {
    Inputs in = draw(37, 5, classes);
    heed::Random random(8);
    in.b = heed::random_normal<double>(random, 1, classes, 2);
    const std::vector<Index> t = targets(37, classes);
    const heed::CrossEntropy<double> loss({.chunk = 8, .threads = 2});
    heed::CrossEntropy<double>::Cache cache, other;
    const Head head{in.w, in.b};
    Head dhead{Matrix<double>::Constant(classes, 5, 2), Matrix<double>::Constant(1, classes, 3)};
    const auto result = loss(head, in.x, t, cache, dhead);
    EXPECT_NEAR(result.loss, static_cast<double>(by_definition(in, t)), 1e-14);
    EXPECT_EQ(loss(head, in.x, t, other).loss, result.loss);
    const Inputs g{dhead.table.array() - 2, result.dx, dhead.bias.array() - 3};  // it adds
    const heed::GradientCheck check = heed::check_gradient(in, g, [&] { return by_definition(in, t); }, {.samples = 0});
    EXPECT_LT(check.error, 1e-7) << check.path << "(" << check.row << ", " << check.col << ")";
    EXPECT_EQ(check.checked, in.w.size() + in.x.size() + in.b.size());
    // Without a bias it is the same as with the table alone.
    Head without{in.w, {}}, dwithout = heed::zeros_like(without);
    Matrix<double> dw = in.w * 0;
    EXPECT_EQ(loss(without, in.x, t, other, dwithout).loss, loss(in.w, in.x, t, cache, dw).loss);
    EXPECT_EQ(dwithout.table, dw);
    EXPECT_EQ(dwithout.bias.size(), 0);
  }
}

TEST(CrossEntropy, OfATiedHeadIsThatOfItsLogits) {
  const heed::Embedding<double> embedding({.vocabulary = 7, .d_model = 5, .bias = true});
  heed::Random random(3);
  heed::Embedding<double>::Params head = embedding.init(random), g = heed::zeros_like(head);
  head.bias = heed::random_normal<double>(random, 1, 7, 1);
  const Matrix<double> x = heed::random_normal<double>(random, 4, 5, 1);
  heed::Embedding<double>::Cache cache;
  heed::CrossEntropy<double>::Cache loss_cache;
  const Matrix<double> z = embedding.logits(head, x, heed::Batch::one(4), cache);
  const auto loss = heed::CrossEntropy<double>()(head, x, {2, 0, 6, -1}, loss_cache, g);
  Matrix<double> dz = Matrix<double>::Zero(4, 7);
  double sum = 0;
  for (const auto& [i, target] : {std::pair<Index, Index>{0, 2}, {1, 0}, {2, 6}}) {
    dz.row(i) = z.row(i).array().exp() / z.row(i).array().exp().sum() / 3;
    dz(i, target) -= 1.0 / 3;
    sum += std::log(z.row(i).array().exp().sum()) - z(i, target);
  }
  EXPECT_NEAR(loss.loss, sum / 3, 1e-14);
  heed::Embedding<double>::Params by_parts = heed::zeros_like(head);
  const Matrix<double> dx = embedding.logits_backward(head, x, heed::Batch::one(4), cache, dz, by_parts);
  EXPECT_LE((dx - loss.dx).norm() + (by_parts.table - g.table).norm() + (by_parts.bias - g.bias).norm(), 1e-14);
}

TEST(CrossEntropy, HasTheSameBitsForAnyChunkAndThreads) {
  heed::Random random(1);
  const Matrix<float> w = heed::random_normal<float>(random, 256, 33, 1),
                      x = heed::random_normal<float>(random, 700, 33, 1);
  const std::vector<Index> t = targets(700, 256);
  Matrix<float> dw = w * 0, dx;
  heed::CrossEntropy<float>::Cache cache;
  const auto first = heed::CrossEntropy<float>({.chunk = 100})(w, x, t, cache, dw);
  dx = first.dx;
  for (const int threads : {2, 3}) {
    Matrix<float> again = w * 0;
    heed::CrossEntropy<float>::Cache fresh;
    const auto result =
        heed::CrossEntropy<float>({.chunk = threads == 2 ? 100 : 333, .threads = threads})(w, x, t, fresh, again);
    EXPECT_EQ(result.loss, first.loss);
    EXPECT_EQ(Matrix<float>(result.dx), dx);
    EXPECT_EQ(again, dw);
  }
}

TEST(CrossEntropy, TakesTokensAsTargets) {
  const Inputs in = draw(9, 5, 4);
  const std::vector<Index> t = targets(9, 4);
  const std::vector<std::int32_t> tokens(t.begin(), t.end());
  Matrix<double> dw = in.w * 0, dw_tokens = dw;
  heed::CrossEntropy<double>::Cache cache, cache_tokens;
  const auto of = heed::CrossEntropy<double>()(in.w, in.x, t, cache, dw),
             of_tokens = heed::CrossEntropy<double>()(in.w, in.x, tokens, cache_tokens, dw_tokens);
  EXPECT_EQ(of_tokens.loss, of.loss);
  EXPECT_EQ(of_tokens.tokens, of.tokens);
  EXPECT_EQ(Matrix<double>(of_tokens.dx), Matrix<double>(of.dx));
  EXPECT_EQ(dw_tokens, dw);
}

TEST(CrossEntropy, LargeLogitsStayFinite) {
  const Matrix<float> w = (Matrix<float>(2, 1) << 1e18f, -1e18f).finished(),
                      x = (Matrix<float>(2, 1) << 1e18f, -1e18f).finished();
  heed::CrossEntropy<float>::Cache cache;
  Matrix<float> dw = w * 0;
  const auto result = heed::CrossEntropy<float>()(w, x, {0, 1}, cache, dw);
  EXPECT_EQ(result.loss, 0);
  EXPECT_EQ(dw, w * 0);
}

TEST(CrossEntropy, AllocatesNothingAgain) {
  heed::Random random(1);
  const Matrix<float> w = heed::random_normal<float>(random, 50, 8, 1),
                      x = heed::random_normal<float>(random, 40, 8, 1);
  Matrix<float> dw = w * 0;
  heed::CrossEntropy<float>::Cache cache;
  const heed::CrossEntropy<float> loss({.chunk = 16});
  const std::vector<Index> t = targets(40, 50), fewer = targets(30, 50);
  loss(w, x, t, cache, dw);
  const long before = allocations::calls;
  loss(w, x, t, cache, dw);
  loss(w, x.topRows(30), fewer, cache, dw);
  EXPECT_EQ(allocations::calls, before);
}

TEST(CrossEntropy, RefusesWhatMakesNoSense) {
  const Inputs in = draw(3, 5, 4);
  Matrix<double> dw = in.w * 0;
  heed::CrossEntropy<double>::Cache cache;
  const heed::CrossEntropy<double> loss;
  const auto refused = [&](const char* says, const Matrix<double>& w, const std::vector<Index>& t, Matrix<double>& d) {
    try {
      loss(w, in.x, t, cache, d);
      ADD_FAILURE() << says;
    } catch (const heed::ShapeError& e) {
      EXPECT_TRUE(std::regex_search(e.what(), std::regex(says))) << e.what();
    }
  };
  refused("targets: one for each of the 3 rows of x expected, came 2", in.w, {0, 1}, dw);
  refused("targets\\[1\\]: in \\[0, 4\\), or -1 for none, expected, came 4", in.w, {0, 4, 0}, dw);
  refused("targets\\[2\\].*came -2", in.w, {0, 0, -2}, dw);
  refused("w: one or more rows of 5 columns", Matrix<double>::Zero(4, 6), {0, 0, 0}, dw);
  Matrix<double> small(3, 5);
  refused("dw: \\[4, 5\\] expected, came \\[3, 5\\]", in.w, {0, 0, 0}, small);
  EXPECT_EQ(dw, in.w * 0);
  const auto head_refused = [&](const char* says, const Matrix<double>& bias, const Matrix<double>& dbias) {
    heed::Embedding<double>::Params g{dw, dbias};
    try {
      loss({in.w, bias}, in.x, {0, 0, 0}, cache, g);
      ADD_FAILURE() << says;
    } catch (const heed::ShapeError& e) {
      EXPECT_STREQ(e.what(), says);
    }
    EXPECT_EQ(g.table, in.w * 0);
  };
  const Matrix<double> right(1, 4), narrow(1, 3), none;
  head_refused("bias: [1, 4] or none expected, came [1, 3]", narrow, narrow);
  head_refused("gradient.bias: [1, 4] expected, came [1, 3]", right, narrow);
  head_refused("gradient.bias: [0, 0] expected, came [1, 4]", none, right);
  EXPECT_THROW(heed::CrossEntropy<double>({.chunk = 0}), heed::OptionError);
  EXPECT_THROW(heed::CrossEntropy<double>({.threads = 0}), heed::OptionError);
}

TEST(CheckGradient, FindsTheWrongNumber) {
  Inputs in = draw(2, 3, 4);
  const Inputs before = in;
  Inputs g = in;  // of half the sum of squares
  const auto loss = [&] { return 0.5 * (in.w.squaredNorm() + in.x.squaredNorm()); };
  EXPECT_LT(heed::check_gradient(in, g, loss).error, 1e-9);
  EXPECT_EQ(in.w, before.w);
  g.x(1, 2) += 0.25;
  const heed::GradientCheck found = heed::check_gradient(in, g, loss, {.samples = 0});
  EXPECT_EQ(found.path, "x");
  EXPECT_EQ(found.row, 1);
  EXPECT_EQ(found.col, 2);
  EXPECT_GT(found.error, 0.05);
  g.x(1, 2) = std::nan("");
  EXPECT_TRUE(std::isnan(heed::check_gradient(in, g, loss, {.samples = 0}).error));
  EXPECT_THROW(heed::check_gradient(in, g, loss, {.step = 0}), heed::OptionError);
  g.x.resize(1, 1);
  EXPECT_THROW(heed::check_gradient(in, g, loss), heed::ShapeError);
}

}  // namespace
