// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <archetypes/archetype.hpp>
#include <heed/encoder.hpp>
#include <heed/layers/embedding.hpp>
#include <heed/layers/owning.hpp>
#include <heed/layers/pooling.hpp>
#include <heed/policies/lsh.hpp>
#include <heed/policies/persistent_memory.hpp>
#include <heed/policies/tiled.hpp>
#include <layers/check.hpp>

using namespace heed;

namespace {

constexpr Index d = 6;
template <class Policy>
EncoderSize<Policy> size(int threads = 1, typename Policy::Options policy = {}) {
  return {.d_model = d, .heads = 2, .depth = 2, .d_ff = 7, .threads = threads, .policy = policy};
}
constexpr Dropout dropout{.rate = 0.2, .seed = 3, .step = 1};

template <class S>
using Pre = Encoder<Tiled<S>, RmsNorm>;
template <class S>
using PostN = PostNormEncoder<Tiled<S>>;
template <class S>
using Lean = AllAttentionEncoder<Tiled<S>, ScaleNorm>;
template <class S>
using Rev = ReversibleEncoder<Tiled<S>>;

}  // namespace

TEST(Encoders, AreLayers) {
  check::all<Pre>(
      [](auto s, int threads) {
        return encoder_options<Tiled<decltype(s)>, RmsNorm>(size<Tiled<decltype(s)>>(threads));
      },
      d, dropout);
  check::all<PostN>(
      [](auto s, int threads) {
        return post_norm_encoder_options<Tiled<decltype(s)>>(size<Tiled<decltype(s)>>(threads));
      },
      d, dropout);
  check::all<Lean>(
      [](auto s, int threads) {
        return all_attention_encoder_options<Tiled<decltype(s)>, ScaleNorm>(size<Tiled<decltype(s)>>(threads));
      },
      d);
  check::all<Rev>(
      [](auto s, int threads) {
        return reversible_encoder_options<Tiled<decltype(s)>>(size<Tiled<decltype(s)>>(threads));
      },
      d, dropout);
}

TEST(Encoders, OptionsAreMadeCausal) {
  EXPECT_TRUE(made_causal(Tiled<float>::Options{.soft_cap = 2}).causal);
  EXPECT_EQ(made_causal(Tiled<float>::Options{.soft_cap = 2}).soft_cap, 2);
  EXPECT_TRUE(made_causal(PersistentMemory<Tiled<float>>::Options{.memory = 3}).inner.causal);
  made_causal(archetype::Distances<float>::Options{});  // it is
  // What a composition promises is what the least of its parts does.
  const auto causality = [](bool first, bool second) {
    Sequential<Residual<Attention<Tiled<float>>>, LayerNorm<float>, Stack<Attention<Lsh<float>>>>::Options o;
    std::get<0>(o.layers) = {.inner = {.d_model = d, .policy = {.causal = first}}};
    std::get<1>(o.layers).d_model = d;
    std::get<2>(o.layers) = {
        .depth = 2, .each = {{.d_model = d, .policy = {.causal = true}}, {.d_model = d, .policy = {.causal = second}}}};
    return Sequential<Residual<Attention<Tiled<float>>>, LayerNorm<float>, Stack<Attention<Lsh<float>>>>(o).causality();
  };
  EXPECT_EQ(causality(true, true), Causality::values_only);
  EXPECT_EQ(causality(true, false), Causality::none);
  EXPECT_EQ(causality(false, true), Causality::none);
  const auto reversible = [](bool causal) {
    return ReversibleEncoder<Tiled<float>>(
               reversible_encoder_options<Tiled<float>>(size<Tiled<float>>(1, {.causal = causal})))
        .causality();
  };
  EXPECT_EQ(reversible(true), Causality::strict);
  EXPECT_EQ(reversible(false), Causality::none);
}

TEST(Encoders, OwnWhatTheyShare) {
  using Table = archetype::Distances<double>;
  check::gradients<Owning<Encoder<Table>>>(encoder_options<Table>(size<Table>()), d);
  check::gradients<Owning<ReversibleEncoder<Table>>>(reversible_encoder_options<Table>(size<Table>()), d, dropout);
}

TEST(Embedding, GradientsAreDifferences) {
  for (const Dropout& drop : {Dropout{}, dropout}) {
    const Embedding<double> embedding({.vocabulary = 5, .d_model = d, .scale = 2, .bias = true, .threads = 2});
    Random random(2);
    auto p = embedding.init(random);
    auto g = zeros_like(p);
    Embedding<double>::Cache cache;
    const Embedding<double>::Ids ids{1, 4, 1, -7, 99, 0, 1, 99};  // padding is not read
    const Batch batch = Batch::padded({3, 2}, 5);
    const Matrix<double> w = check::tokens<double>(8, 5, 3), v = check::tokens<double>(8, d, 4);
    const auto loss = [&] {
      const ConstView<double> x = embedding.forward(p, ids, batch, cache, drop);
      return (embedding.logits(p, x, batch, cache).array() * w.array()).sum() + (x.array() * v.array()).sum();
    };
    loss();
    const Matrix<double> x = std::as_const(cache.y).view();
    EXPECT_TRUE((x.row(3).array() == 0).all());
    if (!drop.active()) {
      EXPECT_TRUE(x.row(0) == 2 * p.table.row(1));
    }
    const Matrix<double> dx = embedding.logits_backward(p, x, batch, cache, w, g);
    embedding.backward(p, ids, batch, cache, (dx + v).eval(), g, drop);
    for_each(
        [&](const std::string& path, auto& m, const auto& gradient) {
          for (Index i = 0; i < m.size(); ++i) {
            const double before = m.data()[i];
            m.data()[i] = before + 1e-5;
            const double above = loss();
            m.data()[i] = before - 1e-5;
            const double difference = (above - loss()) / 2e-5;
            m.data()[i] = before;
            EXPECT_NEAR(difference, gradient.data()[i], 1e-7 * std::max(1.0, std::abs(difference))) << path << i;
          }
        },
        p, g);
  }
}

TEST(Embedding, BadInput) {
  EXPECT_EQ(check::error<OptionError>([] { Embedding<float>({.vocabulary = 0, .d_model = 2}); }),
            "options.vocabulary: at least 1 expected, came 0");
  const Embedding<float> embedding({.vocabulary = 5, .d_model = 2});
  Random random(2);
  const auto p = embedding.init(random);
  Embedding<float>::Cache cache;
  EXPECT_EQ(check::error<ShapeError>([&] {
              embedding.forward(p, {0, 5}, Batch::one(2), cache);
            }),
            "ids[1]: a token in [0, 5) expected, came 5");
  EXPECT_EQ(check::error<ShapeError>([&] { embedding.forward(p, {-1}, Batch::one(1), cache); }),
            "ids[0]: a token in [0, 5) expected, came -1");
}

TEST(Pooling, MeansAndFirstTokens) {
  const Batch batch = Batch::padded({3, 0, 2}, 4);
  Matrix<float> x = check::tokens<float>(12, 5);
  x.row(3).setConstant(std::nanf(""));
  Buffer<float> y, dx;
  const Matrix<float> mean = pool<float>(Pooling::mean, x, batch, y);
  EXPECT_LE((mean.row(0) - (x.row(0) + x.row(1) + x.row(2)) / 3).norm(), 1e-6f);
  EXPECT_TRUE((mean.row(1).array() == 0).all());
  const Matrix<float> first = pool<float>(Pooling::first, x, batch, y);
  EXPECT_TRUE(first.row(2) == x.row(8));
  const Matrix<float> dy = check::tokens<float>(3, 5, 4);
  const Matrix<float> dmean = pool_backward<float>(Pooling::mean, 12, batch, dy, dx);
  EXPECT_TRUE(dmean.row(1) == dy.row(0) / 3.0f && (dmean.row(4).array() == 0).all());
  const Matrix<float> dfirst = pool_backward<float>(Pooling::first, 12, batch, dy, dx);
  EXPECT_TRUE(dfirst.row(8) == dy.row(2) && (dfirst.row(9).array() == 0).all());
  EXPECT_EQ(check::error<ShapeError>([&] { pool_backward<float>(Pooling::mean, 12, batch, x, dx); }),
            "dy: one row for each of the 3 sequences expected, came 12");
}
