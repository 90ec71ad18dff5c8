// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <archetypes/archetype.hpp>
#include <heed/policies/tiled.hpp>
#include <layers/reversible_block.hpp>

using namespace heed;

namespace {

template <class S>
using One = Block<Tiled<S>>;
template <class S>
using Many = ReversibleStack<Block<Tiled<S>>>;

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
  const Index d = 32;
  for (const double rate : {0.0, 0.1})
    check_against_stored<Tiled<float>>(stack_options<Tiled<float>>(64, d), Batch::ragged({25, 15}),
                                       check::tokens<float>(40, 2 * d), {.rate = rate, .seed = 4}, {}, 3);
}

/// Choices are kept of every layer, and replayed.
TEST(ReversibleStack, KeepsChoices) {
  using P = archetype::Buckets<double>;
  check::gradients<ReversibleStack<Block<P>>>(stack_options<P>(3, 6), 12);
}

/// The memory of a call does not grow with the depth, but for the choices of every layer.
TEST(ReversibleStack, KeepsOneActivation) {
  const Index d = 16, longest = 200;
  const auto held = [&]<class P>(Index depth, P*) {
    check::Rig<ReversibleStack<Block<P>>> rig(stack_options<P>(depth, d));
    const Matrix<float> x = check::tokens<float>(256, 2 * d);
    const Batch batch = Batch::ragged({longest, 56});
    const std::size_t before = allocations::bytes;
    heed::detail::forward(rig.layer, rig.weights(), x, batch, rig.cache, rig.context, Dropout{});
    heed::detail::backward(rig.layer, rig.weights(), x, batch, rig.cache, x, rig.gradients(), rig.context, Dropout{});
    return std::pair(allocations::bytes - before, bytes(rig.cache));
  };
  Tiled<float>* const none = nullptr;
  const auto [taken, kept] = held(4, none);
  const auto [taken_deep, kept_deep] = held(64, none);
  EXPECT_LE(double(taken_deep), 1.05 * double(taken));
  EXPECT_LE(double(kept_deep), 1.05 * double(kept));
  RecordProperty("ratio", std::to_string(double(taken_deep) / double(taken)));

  using P = archetype::Buckets<float>;  // two sequences, two heads
  P* const chooses = nullptr;
  const std::size_t buckets = 4 * (sizeof(P::Choices) + std::size_t(longest) * sizeof(int)) + sizeof(Block<P>::Choices);
  EXPECT_LE(held(16, chooses).second, held(4, chooses).second + 12 * buckets);
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
