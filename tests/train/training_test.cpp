// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <heed/io/safetensors.hpp>
#include <heed/train/progress.hpp>
#include <heed/train/training.hpp>

#include <cmath>
#include <filesystem>
#include <limits>
#include <string>

using heed::Adam, heed::Index, heed::Matrix, heed::Training;

namespace {

struct Weights {
  Matrix<double> w, b;
  template <class F, class... X>
  static void visit(F&& f, X&... x) {
    f("w", x.w...);
    f("b", x.b...);
  }
};
Weights make() { return {Matrix<double>::Constant(2, 3, 0.5), Matrix<double>::Constant(1, 3, -2)}; }
/// Adds the gradient of 0.5 |weights - step|^2.
void pull(Training<Weights>& now, double step) {
  now.gradient.w.array() += now.weights.w.array() - step;
  now.gradient.b.array() += now.weights.b.array() - step;
}
bool same(const Weights& a, const Weights& b) { return a.w == b.w && a.b == b.b; }

}  // namespace

TEST(Training, StepsAreClippedAdam) {
  const Adam adam({.beta2 = 0.98, .weight_decay = 0.1});
  Training now(make());
  Weights weights = make();
  heed::AdamState<Weights> state = adam.start(weights);
  for (int step = 0; step < 5; ++step) {
    pull(now, step);
    Weights g = now.gradient;
    const double norm = heed::clip_norm(g, 0.7);
    adam.step(weights, g, state, 0.1);
    EXPECT_EQ(now.step(adam, 0.1, 0.7), norm);
    EXPECT_TRUE(same(now.weights, weights));
    EXPECT_TRUE(same(now.gradient, heed::zeros_like(weights)));
    EXPECT_EQ(now.steps(), step + 1);
  }
}

TEST(Training, GoesOnFromAFileToTheSameBits) {
  const Adam adam;
  const std::string path = testing::TempDir() + "heed_training.safetensors";
  Training whole(make());
  for (int step = 0; step < 6; ++step) {
    pull(whole, step);
    whole.step(adam, 0.1);
    if (step == 2) heed::save_safetensors(path, whole);
  }
  Training parts(make());
  heed::load_safetensors(path, parts);
  EXPECT_EQ(parts.steps(), 3);
  for (Index step = parts.steps(); step < 6; ++step) {
    pull(parts, static_cast<double>(step));
    parts.step(adam, 0.1);
  }
  EXPECT_TRUE(same(parts.weights, whole.weights) && same(parts.adam.m, whole.adam.m) &&
              same(parts.adam.v, whole.adam.v));
  std::filesystem::remove(path);
}

TEST(Training, StopsWhereItDiverges) {
  Training now(make());
  pull(now, 1);
  now.step(Adam(), 0.1);
  const Weights weights = now.weights, m = now.adam.m;
  now.gradient.w(1, 2) = std::numeric_limits<double>::infinity();
  try {
    now.step(Adam(), 0.1);
    ADD_FAILURE();
  } catch (const heed::StateError& e) {
    EXPECT_STREQ(e.what(), "gradient: a finite norm expected, came inf");
  }
  EXPECT_TRUE(same(now.weights, weights) && same(now.adam.m, m));
  EXPECT_EQ(now.steps(), 1);
}

TEST(Training, ARefusedStepLeavesTheGradient) {
  Training now(make());
  now.gradient.w.setConstant(100);
  const Weights gradient = now.gradient;
  EXPECT_THROW(now.step(Adam(), std::nan("")), heed::OptionError);
  now.adam.steps(0, 0) = -1;  // such as a file may hold
  EXPECT_THROW(now.step(Adam(), 0.1), heed::StateError);
  EXPECT_TRUE(same(now.gradient, gradient) && same(now.weights, make()));
}

TEST(Progress, SaysMeansAndStartsAnew) {
  heed::Progress progress;
  EXPECT_EQ(progress.loss(), 0);
  progress.begin();
  progress.add(1, 10);
  progress.begin();
  progress.add(4, 20);
  EXPECT_EQ(progress.loss(), 3);
  EXPECT_DOUBLE_EQ(progress.bits(), 3 / std::log(2.0));
  EXPECT_GE(progress.speed(), 0);
  EXPECT_EQ(progress.line().substr(0, 30), "loss 3.0000  bits/char 4.3281 ");
  EXPECT_EQ(progress.loss(), 0);
}
