// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <archetypes/archetype.hpp>
#include <heed/attention.hpp>
#include <heed/layers/feed_forward.hpp>
#include <heed/layers/norm.hpp>
#include <heed/layers/owning.hpp>
#include <heed/layers/residual.hpp>
#include <heed/layers/sequential.hpp>
#include <heed/layers/stack.hpp>
#include <heed/policies/tiled.hpp>
#include <layers/check.hpp>

using namespace heed;

namespace {

template <class S>
using SelfAttention = Attention<Tiled<S>>;
template <class S>
using Block = Sequential<PreNorm<RmsNorm<S>, SelfAttention<S>>, PreNorm<LayerNorm<S>, FeedForward<S>>>;
template <class S>
using Post = Sequential<PostNorm<LayerNorm<S>, SelfAttention<S>>, PostNorm<ScaleNorm<S>, FeedForward<S>>>;
template <class S>
using Tower = Sequential<Stack<Block<S>>, LayerNorm<S>>;

static_assert(ReplayableLayer<Tower<float>> && StreamingLayer<Tower<float>> && DroppingLayer<Tower<float>> &&
              !TokenwiseLayer<Tower<float>>);
static_assert(TokenwiseLayer<PreNorm<RmsNorm<float>, FeedForward<float>>>);
static_assert(std::is_same_v<Tower<float>::Context, ScoreBias<float>> && std::is_empty_v<Tower<float>::Shared>);

constexpr Index d = 6;
template <class S>
typename SelfAttention<S>::Options attention(int threads, bool causal = false) {
  return {.d_model = d, .heads = 2, .bias = true, .threads = threads, .policy = {.causal = causal}};
}
template <class S>
typename FeedForward<S>::Options feed_forward(int threads) {
  return {.d_model = d, .d_ff = 9, .threads = threads};
}
const auto block_options = [](auto s, int threads) {
  using S = decltype(s);
  typename Block<S>::Options o;
  o.layers = {{{{{.d_model = d, .threads = threads}, attention<S>(threads)}}, threads},
              {{{{.d_model = d, .threads = threads}, feed_forward<S>(threads)}}, threads}};
  return o;
};
const auto post = [](auto s, int threads) {
  using S = decltype(s);
  typename Post<S>::Options o;
  std::get<0>(std::get<0>(o.layers).layers) = {attention<S>(threads), threads};
  std::get<1>(std::get<0>(o.layers).layers) = {.d_model = d, .threads = threads};
  std::get<0>(std::get<1>(o.layers).layers) = {feed_forward<S>(threads), threads};
  std::get<1>(std::get<1>(o.layers).layers) = {.d_model = d, .threads = threads};
  return o;
};
const auto tower = [](auto s, int threads) {
  using S = decltype(s);
  typename Tower<S>::Options o;
  o.layers = {{.depth = 3, .layer = block_options(s, threads)}, {.d_model = d, .threads = threads}};
  return o;
};

}  // namespace

TEST(Sequential, IsALayer) {
  check::all<Block>(block_options, d);
  check::all<Post>(post, d);
  check::all<Block>(block_options, d, {.rate = 0.3, .seed = 4, .step = 1});
}

TEST(Stack, IsALayer) {
  check::all<Tower>(tower, d);
  check::all<Tower>(tower, d, {.rate = 0.2, .seed = 4, .step = 1});
}

TEST(Residual, AddsExactly) {
  check::Rig<Residual<RmsNorm<float>>> rig({.inner = {.d_model = 5}});
  check::Rig<RmsNorm<float>> inner({.d_model = 5});
  const Matrix<float> x = check::tokens<float>(4, 5);
  EXPECT_TRUE(check::same_bits(rig.forward(x, Batch::one(4)), (x + inner.forward(x, Batch::one(4))).eval()));
}

TEST(Residual, RefusesAnotherWidth) {
  check::Rig<Residual<SelfAttention<float>>> rig({.inner = attention<float>(1)});
  EXPECT_NE(check::error<ShapeError>([&] { rig.forward(check::tokens<float>(4, 5), Batch::one(4)); }).find("x: "),
            std::string::npos);
}

TEST(Dropout, IsTheSameForAnyThreadsAndChunks) {
  // The share that is dropped, the mean that is kept, and other masks at every place, step and seed.
  const Index rows = 200, columns = 300;
  const auto mask = [&](const Dropout& dropout) {
    Matrix<float> m = Matrix<float>::Ones(rows, columns);
    const DropMask drop(dropout);
    for (Index i = 0; i < rows; ++i) drop.apply(i, columns, m.row(i).data(), m.row(i).data());
    return m;
  };
  for (const double rate : {0.0, 0.1, 0.5, 0.9}) {
    const Matrix<float> m = mask({.rate = rate, .seed = 3});
    const double n = double(rows * columns), dropped = double((m.array() == 0).count()) / n;
    EXPECT_NEAR(dropped, rate, 5 * std::sqrt(rate * (1 - rate) / n) + 1e-9);
    EXPECT_TRUE(((m.array() == 0) || (m.array() == float(1 / (1 - rate)))).all());
    if (rate == 0) continue;
    // rows and columns are as independent as chance: no row or column stands out
    const double deviation = std::sqrt(rate * (1 - rate));
    for (Index i = 0; i < rows; ++i)
      EXPECT_NEAR(double((m.row(i).array() == 0).count()) / double(columns), rate,
                  5.5 * deviation / std::sqrt(double(columns)));
    for (Index j = 0; j < columns; ++j)
      EXPECT_NEAR(double((m.col(j).array() == 0).count()) / double(rows), rate,
                  5.5 * deviation / std::sqrt(double(rows)));
  }
  const Dropout base{.rate = 0.5, .seed = 3, .step = 7};
  const auto agreement = [&](const Dropout& a, const Dropout& b) {
    return double((mask(a).array() == mask(b).array()).count()) / double(rows * columns);
  };
  EXPECT_EQ(agreement(base, base), 1);
  for (const Dropout& other :
       {Dropout{0.5, 4, 7}, Dropout{0.5, 3, 8}, base.below(0), base.below(1), base.below(0).below(1)})
    EXPECT_NEAR(agreement(base, other), 0.5, 0.01);
  EXPECT_NEAR(agreement(base.below(0).below(1), base.below(1).below(0)), 0.5, 0.01);
  EXPECT_EQ(Dropout{}.below(3), Dropout{});
}

TEST(Dropout, LeavesEvaluationAlone) {
  check::Rig<Tower<float>> rig(tower(float{}, 1));
  const Matrix<float> x = check::tokens<float>(9, d), y = rig.forward(x, Batch::one(9));
  rig.dropout = {.rate = 0, .seed = 5, .step = 6};
  EXPECT_TRUE(check::same_bits(rig.forward(x, Batch::one(9)), y));
  rig.dropout.rate = 0.1;
  EXPECT_FALSE(check::same_bits(rig.forward(x, Batch::one(9)), y));
}

TEST(Stack, SharesWhatItsLayersShare) {
  using One = Residual<Attention<archetype::Distances<double>>>;
  using Shared = Stack<One>;
  using Owned = Owning<Shared>;
  static_assert(std::is_same_v<Shared::Shared, archetype::Distances<double>::Shared>);
  static_assert(Layer<Owned> && ReplayableLayer<Owned>);
  const Shared::Options options{.depth = 3, .layer = {.inner = {.d_model = d, .heads = 2}}};
  check::gradients<Shared>(options, d);
  check::gradients<Owned>(options, d);
  // one table, met once
  Random random(1);
  const Owned::Params p = Owned(options).init(random);
  int tables = 0;
  for_each([&](const std::string& path, const auto&) { tables += path.find("table") != std::string::npos; }, p);
  EXPECT_EQ(tables, 1);
  // and in a list of layers of two kinds, each kind's once
  using Two =
      Sequential<Attention<archetype::Distances<double>>, RmsNorm<double>, Attention<archetype::Distances<double>>>;
  static_assert(std::is_same_v<Two::Shared, archetype::Distances<double>::Shared>);
  Two::Options two;
  two.layers = {{.d_model = d, .heads = 2}, {.d_model = d}, {.d_model = d, .heads = 1, .head_dim = 3}};
  check::gradients<Two>(two, d);
}

TEST(Sequential, GivesEveryLayerItsContext) {
  using Two = Sequential<Residual<Attention<archetype::Globals<double>>>, Residual<SelfAttention<double>>>;
  static_assert(std::is_same_v<Two::Context, Several<archetype::Globals<double>::Context, ScoreBias<double>>>);
  Two::Options options;
  options.layers = {{.inner = {.d_model = d, .heads = 2}}, {.inner = {.d_model = d, .heads = 2}}};
  check::Rig<Two> rig(options);
  const Matrix<double> x = check::tokens<double>(4, d), plain = rig.forward(x, Batch::one(4));
  part<archetype::Globals<double>::Context>(rig.context).positions = {{1}};
  const Matrix<double> global = rig.forward(x, Batch::one(4));
  EXPECT_FALSE(check::same_bits(plain, global));
  const Matrix<double> bias = check::tokens<double>(4, 4);
  part<ScoreBias<double>>(rig.context).blocks.push_back(view(bias));
  EXPECT_FALSE(check::same_bits(global, rig.forward(x, Batch::one(4))));
}

TEST(Stack, LayersMayDiffer) {
  using Tall = Stack<FeedForward<float>>;
  Tall::Options options{.depth = 2, .each = {{.d_model = d, .d_ff = 3}, {.d_model = d, .d_ff = 11}}};
  check::Rig<Tall> rig(options);
  EXPECT_EQ(rig.p.layers[0].w_value.cols(), 3);
  EXPECT_EQ(rig.p.layers[1].w_value.cols(), 11);
  check::bad_calls<Tall>(options, d);
  options.depth = 3;
  EXPECT_EQ(check::error<OptionError>([&] { Tall{options}; }),
            "options.each: none, or one for each of the 3 layers, expected, came 2");
  EXPECT_EQ(check::error<OptionError>([] { Tall({.depth = 0}); }), "options.depth: at least 1 expected, came 0");
  rig.p.layers.pop_back();
  EXPECT_EQ(check::error<ShapeError>([&] { rig.forward(check::tokens<float>(2, d), Batch::one(2)); }),
            "weights.layers: 2 expected, came 1");
}

TEST(Tower, StreamsAsItIsTrained) {
  Tower<double>::Options options = tower(double{}, 1);
  auto& pre = std::get<0>(std::get<0>(options.layers).layer.layers).inner;  // norm and attention
  std::get<1>(pre.layers) = attention<double>(1, true);
  check::Rig<Tower<double>> rig(options);
  const Matrix<double> x = check::tokens<double>(14, d), y = rig.forward(x, Batch::ragged({8, 6}));
  auto state = rig.layer.start(2, 8, 3);
  const std::vector<std::pair<Index, Index>> chunks{{1, 3}, {3, 1}, {0, 2}, {1, 0}, {3, 0}};
  Index a = 0, b = 0;
  for (const auto& [m, n] : chunks) {
    Matrix<double> next(m + n, d);
    next << x.middleRows(a, m), x.middleRows(8 + b, n);
    const Matrix<double> out = rig.layer.step(rig.weights(), state, next, Batch::ragged({m, n}));
    EXPECT_LE((out.topRows(m) - y.middleRows(a, m)).norm() + (out.bottomRows(n) - y.middleRows(8 + b, n)).norm(),
              1e-12);
    a += m;
    b += n;
  }
}
