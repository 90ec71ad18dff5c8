// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <archetypes/archetype.hpp>
#include <heed/layers/owning.hpp>

/// Each archetype runs in a layer, over a ragged batch with an empty sequence, and its gradients - of inputs,
/// projections, own and shared parameters - are the central differences, with the choices of the first call replayed.

namespace {

using heed::Batch, heed::Index, heed::Matrix, heed::Random;
using S = double;

template <class L>
void check(const L& layer, const Batch& batch, Index d_model, const typename L::Context& context = {}) {
  Random random(5);
  typename L::Params params = layer.init(random);
  typename L::Shared shared = layer.init_shared(random);
  const heed::Weights<L> weights(params, shared);
  Matrix<S> x = heed::random_normal<S>(random, 12, d_model, 1);
  typename L::Cache cache;
  const Matrix<S> y = layer.forward(weights, x, batch, cache, context);
  const Matrix<S> dy = heed::random_normal<S>(random, y.rows(), y.cols(), 1);
  auto gradient = heed::zeros_like(params);
  auto shared_gradient = heed::zeros_like(shared);
  const Matrix<S> dx =
      layer.backward(weights, x, batch, cache, dy, heed::Gradients<L>(gradient, shared_gradient), context);
  Index probed = 0;
  const auto probe = [&](const std::string& path, Matrix<S>& m, const Matrix<S>& g) {
    for (Index i = 0; i < m.size(); ++i, ++probed) {
      const S before = m.data()[i];
      m.data()[i] = before + 1e-5;
      const S above = (layer.replay(weights, x, batch, cache, context).array() * dy.array()).sum();
      m.data()[i] = before - 1e-5;
      const S difference =
          (above - (layer.replay(weights, x, batch, cache, context).array() * dy.array()).sum()) / 2e-5;
      m.data()[i] = before;
      ASSERT_NEAR(g.data()[i], difference, 1e-7 * std::max(1.0, std::abs(difference))) << path << "[" << i << "]";
    }
  };
  heed::for_each(probe, params, gradient);
  heed::for_each(probe, shared, shared_gradient);
  probe("x", x, dx);
  EXPECT_GT(probed, 100);
}

template <class P>
typename heed::Attention<P>::Options options(Index heads, Index kv_heads, int threads = 1) {
  typename heed::Attention<P>::Options o;
  o.d_model = 6;
  o.heads = heads;
  o.kv_heads = kv_heads;
  o.head_dim = 3;
  o.value_dim = 2;
  o.threads = threads;
  return o;
}
const Batch batch = Batch::ragged({5, 0, 7});

TEST(Archetype, MinimalHasAllThatIsNeeded) {
  using A = heed::Attention<archetype::Minimal<S>>;
  check(A(options<archetype::Minimal<S>>(4, 2)), batch, 6);
}
TEST(Archetype, TiedFieldsAndChoices) {
  using A = heed::Attention<archetype::Buckets<S>>;
  check(A(options<archetype::Buckets<S>>(2, 2)), batch, 6);
  EXPECT_THROW(A(options<archetype::Buckets<S>>(4, 2)), heed::OptionError);
}
TEST(Archetype, TwoSetsAndContext) {
  using A = heed::Attention<archetype::Globals<S>>;
  const A attention(options<archetype::Globals<S>>(4, 2));
  check(attention, batch, 6, {{{0, 3}, {}, {6}}});
  check(attention, batch, 6);
  EXPECT_THROW(check(attention, batch, 6, {{{5}}}), heed::ShapeError);
}
TEST(Archetype, TermWithGradientAndSharedParameters) {
  using A = heed::Attention<archetype::Distances<S>>;
  check(A(options<archetype::Distances<S>>(4, 2)), batch, 6);
  check(heed::Owning<A>(options<archetype::Distances<S>>(4, 1)), batch, 6);
}
TEST(Archetype, FieldOfNoSegment) {
  using A = heed::Attention<archetype::Relative<S>>;
  check(A(options<archetype::Relative<S>>(4, 2)), batch, 6);
  check(heed::Owning<A>(options<archetype::Relative<S>>(4, 2)), batch, 6);
}

TEST(Archetype, SharedByTwoLayers) {
  using A = heed::Attention<archetype::Distances<S>>;
  const A layer(options<archetype::Distances<S>>(2, 2));
  Random random(5);
  const A::Params first = layer.init(random), second = layer.init(random);
  A::Shared shared = layer.init_shared(random);
  const Matrix<S> x = heed::random_normal<S>(random, 12, 6, 1), dy = heed::random_normal<S>(random, 12, 6, 1);
  A::Cache a, b;
  const auto loss = [&] {
    const Matrix<S> y = layer.forward({first, shared}, x, batch, a);
    return (layer.forward({second, shared}, y, batch, b).array() * dy.array()).sum();
  };
  loss();
  A::Params g1 = heed::zeros_like(first), g2 = heed::zeros_like(second);
  A::Shared g = heed::zeros_like(shared);
  const Matrix<S> y = a.y.view();
  const Matrix<S> d = layer.backward({second, shared}, y, batch, b, dy, {g2, g});
  layer.backward({first, shared}, x, batch, a, d, {g1, g});
  for (Index i = 0; i < shared.table.size(); ++i) {
    const S before = shared.table.data()[i];
    shared.table.data()[i] = before + 1e-5;
    const S above = loss();
    shared.table.data()[i] = before - 1e-5;
    const S difference = (above - loss()) / 2e-5;
    shared.table.data()[i] = before;
    ASSERT_NEAR(g.table.data()[i], difference, 1e-7 * std::max(1.0, std::abs(difference)));
  }
}

TEST(Archetype, ThreadsDoNotChangeTheBits) {
  using P = archetype::Distances<S>;
  using A = heed::Attention<P>;
  Matrix<S> table;
  for (const int threads : {1, 2, 3, 8}) {
    const A layer(options<P>(4, 2, threads));
    Random random(5);
    const A::Params params = layer.init(random);
    const A::Shared shared = layer.init_shared(random);
    const Matrix<S> x = heed::random_normal<S>(random, 12, 6, 1);
    A::Cache cache;
    const Matrix<S> y = layer.forward({params, shared}, x, batch, cache);
    A::Params gradient = heed::zeros_like(params);
    A::Shared g = heed::zeros_like(shared);
    layer.backward({params, shared}, x, batch, cache, y, {gradient, g});
    if (table.size() == 0) table = g.table;
    EXPECT_EQ(table, g.table) << threads;
  }
}

}  // namespace
