// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <archetypes/archetype.hpp>
#include <heed/attention.hpp>
#include <heed/layers/feed_forward.hpp>
#include <heed/layers/norm.hpp>
#include <heed/layers/reversible.hpp>
#include <heed/layers/reversible_stack.hpp>
#include <heed/layers/sequential.hpp>
#include <heed/policies/tiled.hpp>
#include <layers/check.hpp>

using namespace heed;

namespace {

template <class P>
using Block = Reversible<Sequential<LayerNorm<typename P::Scalar>, Attention<P>>,
                         Sequential<LayerNorm<typename P::Scalar>, FeedForward<typename P::Scalar>>>;
template <class P>
typename Block<P>::Options block_options(Index d, int threads, typename P::Options policy = {}) {
  typename Block<P>::Options o;
  o.f.layers = {{.d_model = d, .threads = threads},
                {.d_model = d, .heads = 2, .head_dim = 3, .threads = threads, .policy = policy}};
  o.g.layers = {{.d_model = d, .threads = threads}, {.d_model = d, .d_ff = 2 * d, .threads = threads}};
  o.threads = threads;
  return o;
}
template <class P>
typename ReversibleStack<Block<P>>::Options stack_options(Index depth, Index d, int threads = 1) {
  return {.depth = depth, .layer = block_options<P>(d, threads), .threads = threads};
}
template <class S>
using One = Block<Tiled<S>>;
template <class S>
using Many = ReversibleStack<Block<Tiled<S>>>;

/// Weights drawn as `init` does, those that end a branch times `gain`: how much a layer adds to what it was given.
template <class L>
void set_gain(check::Rig<L>& rig, const typename L::Options& options, double gain) {
  Random random(3);
  rig.p = L(options).init(random);
  for_each(
      [&](const std::string& path, auto& m) {
        if (path.ends_with(".wo") || path.ends_with(".w_out")) m *= typename L::Scalar(gain);
      },
      rig.p);
}

}  // namespace

static_assert(ReversibleLayer<One<float>> && ReplayableLayer<Many<float>> && StreamingLayer<Many<float>>);

TEST(Reversible, IsALayer) {
  const auto one = [](auto s, int threads) { return block_options<Tiled<decltype(s)>>(5, threads); };
  const auto many = [](auto s, int threads) { return stack_options<Tiled<decltype(s)>>(3, 5, threads); };
  for (const Dropout& dropout : {Dropout{}, Dropout{.rate = 0.3, .seed = 2, .step = 9}}) {
    check::all<One>(one, 10, dropout);
    check::all<Many>(many, 10, dropout);
  }
  check::Rig<One<float>> rig(one(float{}, 1));
  EXPECT_EQ(check::error<ShapeError>([&] { rig.forward(check::tokens<float>(2, 9), Batch::one(2)); }),
            "x: two streams side by side, an even number of columns, expected, came 9");
}

TEST(Reversible, IsTwoStreams) {
  check::Rig<One<double>> rig(block_options<Tiled<double>>(5, 1));
  using F = Sequential<LayerNorm<double>, Attention<Tiled<double>>>;
  using G = Sequential<LayerNorm<double>, FeedForward<double>>;
  check::Rig<F> f(block_options<Tiled<double>>(5, 1).f);
  check::Rig<G> g(block_options<Tiled<double>>(5, 1).g);
  f.p = rig.p.f;
  g.p = rig.p.g;
  const Batch batch = Batch::ragged({4, 3});
  const Matrix<double> x = check::tokens<double>(7, 10), y = rig.forward(x, batch);
  const Matrix<double> x1 = x.leftCols(5), x2 = x.rightCols(5), y1 = x1 + f.forward(x2, batch),
                       y2 = x2 + g.forward(y1, batch);
  EXPECT_LE((y.leftCols(5) - y1).norm() + (y.rightCols(5) - y2).norm(), 1e-14);
}

/// Reliability F29: the rebuilt input is within 2 depth eps at a residual gain near 1, within 16 depth eps at gain 2.
TEST(ReversibleStack, RebuildsItsInput) {
  const Index d = 32;
  for (const Index depth : {4, 16, 64})
    for (const double gain : {0.3, 1.0}) {
      const auto options = stack_options<Tiled<float>>(depth, d);
      check::Rig<Many<float>> rig(options);
      set_gain(rig, options, gain);
      const Matrix<float> x = check::tokens<float>(40, 2 * d);
      for (const Dropout& dropout : {Dropout{}, Dropout{.rate = 0.1, .seed = 1}}) {
        const double drift = rig.layer.drift(rig.weights(), x, Batch::ragged({25, 15}), rig.cache, {}, dropout);
        EXPECT_LE(drift, (gain < 1 ? 2 : 16) * double(depth) * double(std::numeric_limits<float>::epsilon()))
            << depth << " layers, gain " << gain << ", dropout " << dropout.rate;
        EXPECT_GT(drift, 0);
      }
    }
}

/// ... and so are its gradients, against those of the same layers with all activations kept.
TEST(ReversibleStack, HasTheGradientsOfStoredActivations) {
  const Index d = 32, depth = 64;
  for (const double rate : {0.0, 0.1}) {
    const auto options = stack_options<Tiled<float>>(depth, d);
    check::Rig<Many<float>> rebuilt(options);
    set_gain(rebuilt, options, 0.3);
    check::Rig<Stack<One<float>>> stored({.depth = depth, .layer = options.layer});
    stored.p = rebuilt.p;
    stored.dropout = rebuilt.dropout = {.rate = rate, .seed = 4};
    const Batch batch = Batch::ragged({25, 15});
    const Matrix<float> x = check::tokens<float>(40, 2 * d), dy = check::tokens<float>(40, 2 * d, 4);
    EXPECT_TRUE(check::same_bits(stored.forward(x, batch), rebuilt.forward(x, batch)));
    const double bound = 2 * double(depth) * double(std::numeric_limits<float>::epsilon());
    const Matrix<float> dx = stored.backward(x, batch, dy), dx_rebuilt = rebuilt.backward(x, batch, dy);
    EXPECT_LE(double((dx_rebuilt - dx).norm()), bound * double(dx.norm()));
    double worst = 0;
    for_each(
        [&](const std::string& path, const auto& a, const auto& b) {
          if (a.size() == 0) return;
          worst = std::max(worst, double((a - b).norm() / a.norm()));
          EXPECT_LE(double((a - b).norm()), bound * double(a.norm())) << path;
        },
        stored.g, rebuilt.g);
    RecordProperty("worst", std::to_string(worst / bound));
    // again, from the same cache: the output that it rebuilds from is still there
    rebuilt.clear();
    EXPECT_TRUE(check::same_bits(rebuilt.backward(x, batch, dy), dx_rebuilt));
  }
}

/// Choices made in forward are those of backward, even where the rebuilt input would choose otherwise: 100 seeds.
TEST(ReversibleStack, KeepsChoices) {
  using P = archetype::Buckets<float>;
  using L = ReversibleStack<Block<P>>;
  const Index d = 6, depth = 6;
  const auto options = stack_options<P>(depth, d);
  const Batch batch = Batch::ragged({9, 5});
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    check::Rig<L> rebuilt(options);
    check::Rig<Stack<Block<P>>> stored({.depth = depth, .layer = options.layer});
    Random random(seed);
    rebuilt.p = stored.p = L(options).init(random);
    Matrix<float> x = random_normal<float>(random, 14, 2 * d, 1);
    const Matrix<float> dy = check::tokens<float>(14, 2 * d, seed + 1000);
    EXPECT_TRUE(check::same_bits(stored.forward(x, batch), rebuilt.forward(x, batch)));
    const Matrix<float> dx = stored.backward(x, batch, dy), dx_rebuilt = rebuilt.backward(x, batch, dy);
    EXPECT_LE(double((dx_rebuilt - dx).norm()), 2e-5 * double(dx.norm())) << seed;
    for_each([&](const std::string& path, const auto& a,
                 const auto& b) { EXPECT_LE(double((a - b).norm()), 2e-5 * (double(a.norm()) + 1e-3)) << path; },
             stored.g, rebuilt.g);
  }
  check::gradients<ReversibleStack<Block<archetype::Buckets<double>>>>(stack_options<archetype::Buckets<double>>(3, d),
                                                                       2 * d);
}

/// The memory of a call does not grow with the depth.
TEST(ReversibleStack, KeepsOneActivation) {
  const auto bytes = [](Index depth) {
    const Index d = 16;
    Many<float> stack(stack_options<Tiled<float>>(depth, d));
    Random random(1);
    const auto p = stack.init(random);
    auto g = zeros_like(p);
    const Matrix<float> x = check::tokens<float>(256, 2 * d);
    const Batch batch = Batch::ragged({200, 56});
    Many<float>::Cache cache;
    const std::size_t before = allocations::bytes;
    stack.forward(p, x, batch, cache);
    stack.backward(p, x, batch, cache, x, g);
    return double(allocations::bytes - before);
  };
  EXPECT_LE(bytes(64) / bytes(4), 1.05);
  RecordProperty("ratio", std::to_string(bytes(64) / bytes(4)));
}

TEST(ReversibleStack, Streams) {
  auto options = stack_options<Tiled<double>>(3, 5);
  options.layer = block_options<Tiled<double>>(5, 1, {.causal = true});
  check::Rig<Many<double>> rig(options);
  const Matrix<double> x = check::tokens<double>(7, 10), y = rig.forward(x, Batch::one(7));
  auto state = rig.layer.start(1, 7, 3);
  Index at = 0;
  for (const Index n : {1, 3, 0, 2, 1}) {
    const Matrix<double> next = x.middleRows(at, n), out = rig.layer.step(rig.weights(), state, next, Batch::one(n));
    EXPECT_LE((out - y.middleRows(at, n)).norm(), 1e-12);
    at += n;
  }
}
