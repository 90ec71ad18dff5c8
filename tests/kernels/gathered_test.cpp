// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <heed/core/random.hpp>
#include <heed/kernels/bias_term.hpp>
#include <heed/kernels/diagonal_softmax.hpp>
#include <heed/kernels/gathered_backward.hpp>
#include <heed/kernels/softmax_backward.hpp>
#include <heed/kernels/softmax_forward.hpp>
#include <heed/patterns/algebra.hpp>
#include <heed/patterns/causal.hpp>
#include <heed/patterns/full.hpp>
#include <heed/patterns/global.hpp>
#include <heed/patterns/log_offsets.hpp>
#include <heed/patterns/window.hpp>

#include <limits>
#include <utility>
#include <vector>

using namespace heed;

namespace {

/// Output, log-sum-exp and gradients of one way to compute them, of heads that lie strided in wide matrices.
struct Results {
  Matrix<double> o, dq, dk, dv, dbias;
  Vector<double> lse;
  double distance(const Results& other) const {
    double most = 0;
    const auto add = [&](const auto& a, const auto& b) {
      if (a.size() > 0) most = std::max(most, (a - b).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>());
    };
    add(o, other.o);
    add(dq, other.dq);
    add(dk, other.dk);
    add(dv, other.dv);
    add(dbias, other.dbias);
    for (Index i = 0; i < lse.size(); ++i)
      if (lse[i] != other.lse[i]) most = std::max(most, std::abs(lse[i] - other.lse[i]));
    return most;
  }
};

enum class By { tiles, lists, diagonals };

template <class Pattern>
Results run(const Pattern& pattern, Index n_q, Index n_k, double cap, bool biased, By by) {
  const Index d = 19, d_v = 24;
  Random random(static_cast<std::uint64_t>(n_q * 1000 + n_k));
  const Index some_q = std::max<Index>(n_q, 1), some_k = std::max<Index>(n_k, 1);  // null has no columns to cut out
  const Matrix<double> q = random_normal<double>(random, some_q, 64, 1),
                       k = random_normal<double>(random, some_k, 64, 1),
                       d_o = random_normal<double>(random, some_q, 64, 1);
  const Vector<double> d_lse = random_normal<double>(random, n_q, 1, 1);
  Matrix<double> bias = random_normal<double>(random, n_q, n_k, 1), dbias = Matrix<double>::Zero(n_q, n_k);
  for (Index i = 0; i < bias.size(); i += 4) bias.data()[i] = -std::numeric_limits<double>::infinity();
  if (n_q > 3) bias.row(2).setConstant(-std::numeric_limits<double>::infinity());
  ScoreBias<double> context;
  std::vector<double> slopes;
  if (biased) {
    context.blocks = {view(std::as_const(bias))};
    context.per = BiasPer::sequence_and_head;
    context.gradient = {view(dbias)};
    slopes = {0.125};
  }
  const BiasTerm<double> term(context, slopes, 0, 0, 1);
  const Logits<double> logits{0.25, cap};
  const Qkv<ConstView<double>> in{block(q, 0, 3, n_q, d), block(k, 0, 1, n_k, d), block(k, 0, 30, n_k, d_v)};
  Results r{Matrix<double>::Zero(n_q, d_v),
            Matrix<double>::Constant(n_q, d, 1),
            Matrix<double>::Constant(n_k, d, 2),
            Matrix<double>::Constant(n_k, d_v, 3),
            {},
            Vector<double>::Zero(n_q)};
  Arena arena;
  const Out<double> out{view(r.o), view(r.lse)};
  const ConstOut<double> made{view(std::as_const(r.o)), view(std::as_const(r.lse))},
      cotangent{block(d_o, 0, 9, n_q, d_v), view(d_lse)};
  const Qkv<View<double>> din{view(r.dq), view(r.dk), view(r.dv)};
  if (by == By::lists) {
    gathered_forward(pattern, term, logits, in, {0, n_q}, out, arena);
    EXPECT_LE(arena.peak(), gathered_forward_scratch<double>(n_q, n_k, d, d_v));
    gathered_backward(pattern, term, logits, in, made, cotangent, din, arena);
    EXPECT_LE(arena.peak(), std::max(gathered_forward_scratch<double>(n_q, n_k, d, d_v),
                                     gathered_backward_scratch<double>(n_q, n_k, d, d_v)));
  } else if (by == By::diagonals) {
    diagonal_forward(pattern, logits, in, {0, n_q}, out, arena);
    EXPECT_LE(arena.peak(), diagonal_forward_scratch<double>(pattern, n_q, n_k, d, d_v));
    diagonal_backward(pattern, logits, in, made, cotangent, din, arena);
    EXPECT_LE(arena.peak(), std::max(diagonal_forward_scratch<double>(pattern, n_q, n_k, d, d_v),
                                     diagonal_backward_scratch<double>(pattern, n_q, n_k, d, d_v)));
  } else {
    softmax_forward(pattern, term, logits, in, {0, n_q}, out, arena);
    softmax_backward(pattern, term, logits, in, made, cotangent, din, arena);
  }
  r.dbias = dbias;
  return r;
}

const std::vector<std::pair<Index, Index>> calls = {{0, 0},   {0, 5},   {4, 0},   {1, 1},     {5, 3},
                                                    {17, 40}, {40, 17}, {9, 700}, {130, 130}, {600, 600}};

template <class Pattern>
void agree(const char* name, const Pattern& pattern) {
  for (const auto& [n_q, n_k] : calls)
    for (const double cap : {0.0, 1.5})
      for (const bool biased : {false, true})
        EXPECT_LE(
            run(pattern, n_q, n_k, cap, biased, By::lists).distance(run(pattern, n_q, n_k, cap, biased, By::tiles)),
            1e-12)
            << name << ", n_q " << n_q << ", n_k " << n_k << ", cap " << cap << ", bias " << biased;
}

}  // namespace

/// Rows over lists of keys and tiles compute the same: for patterns that name their keys and for those that do not, of
/// few keys and of more than a list holds, with every term.
TEST(Gathered, RowsEqualTiles) {
  agree("log", LogOffsets(3));
  agree("restart", LogRestart(4, 30));
  agree("full", Full{});
  agree("causal", heed::Causal{});
  agree("window and globals", Window(20, 5) | GlobalAt({7, 100}));
}

/// So do diagonals, for patterns whose queries all see their past at the same distances: few of them and many.
TEST(Gathered, DiagonalsEqualTiles) {
  const auto agree_on = [](const char* name, const auto& pattern) {
    for (const auto& [n_q, n_k] : calls)
      EXPECT_LE(run(pattern, n_q, n_k, 0, false, By::diagonals).distance(run(pattern, n_q, n_k, 0, false, By::tiles)),
                1e-12)
          << name << ", n_q " << n_q << ", n_k " << n_k;
  };
  agree_on("log", LogOffsets(1));
  agree_on("local log", LogOffsets(37));
  agree_on("restart", LogRestart(4, 30));
  agree_on("windows that overlap", LogRestart(6, 4));
  agree_on("causal", heed::Causal{});
}
