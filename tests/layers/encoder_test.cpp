// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <archetypes/archetype.hpp>
#include <heed/encoder.hpp>
#include <heed/layers/embedding.hpp>
#include <heed/layers/owning.hpp>
#include <heed/layers/pooling.hpp>
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

TEST(Encoders, OwnWhatTheyShare) {
  using Table = archetype::Distances<double>;
  check::gradients<Owning<Encoder<Table>>>(encoder_options<Table>(size<Table>()), d);
  check::gradients<Owning<ReversibleEncoder<Table>>>(reversible_encoder_options<Table>(size<Table>()), d, dropout);
}

namespace {

using Two = Decoder<Tiled<double>>;
Two::Options two(int threads, double = 0) {
  return decoder_options<Tiled<double>>(size<Tiled<double>>(threads, {.causal = true}));
}

struct DecoderRig {
  Two decoder;
  Two::Params p, g;
  Two::Cache cache;
  Dropout drop;
  explicit DecoderRig(int threads) : decoder(two(threads)) {
    Random random(7);
    p = decoder.init(random);
    for_each_leaf([&](auto& m) { m = random_normal<double>(random, m.rows(), m.cols(), 0.5); }, p);
    g = zeros_like(p);
  }
  Matrix<double> forward(const Matrix<double>& x, const Matrix<double>& memory, const Batch& batch) {
    return decoder.forward(p, x, memory, batch, cache, {}, drop);
  }
};

}  // namespace

TEST(Decoder, GradientsAreDifferences) {
  const Batch batch = Batch::cross(Batch::padded({3, 0, 2}, 4), Batch::padded({4, 1, 2}, 5));
  for (const Dropout& drop : {Dropout{}, dropout}) {
    DecoderRig rig(2);
    rig.drop = drop;
    Matrix<double> x = check::tokens<double>(12, d), memory = check::tokens<double>(15, d, 5);
    const Matrix<double> y = rig.forward(x, memory, batch), w = check::tokens<double>(12, d, 6);
    const auto back = rig.decoder.backward(rig.p, x, memory, batch, rig.cache, w, rig.g, {}, drop);
    const Matrix<double> dx = back.dx, dmemory = back.dmemory;
    Random random(5);
    const auto probe = [&](const std::string& path, Matrix<double>& m, const Matrix<double>& gradient) {
      for (int pick = 0; pick < 12 && m.size() > 0; ++pick) {
        double& number = m.data()[random.below(m.size())];
        const double before = number;
        number = before + 1e-5;
        const double above = (rig.forward(x, memory, batch).array() * w.array()).sum();
        number = before - 1e-5;
        const double difference = (above - (rig.forward(x, memory, batch).array() * w.array()).sum()) / 2e-5;
        number = before;
        const Index i = &number - m.data();
        EXPECT_NEAR(difference, gradient.data()[i], 1e-7 * std::max(1.0, std::abs(difference)))
            << path << "[" << i << "]";
      }
    };
    for_each(probe, rig.p, rig.g);
    probe("x", x, dx);
    probe("memory", memory, dmemory);
  }
}

TEST(Decoder, PaddingReachesNothing) {
  const Batch batch = Batch::cross(Batch::padded({3, 2}, 4), Batch::padded({4, 2}, 5));
  DecoderRig clean(1), dirty(2);
  Matrix<double> x = check::tokens<double>(8, d), memory = check::tokens<double>(10, d, 5), dy = x;
  const Matrix<double> y = clean.forward(x, memory, batch);
  const auto back = clean.decoder.backward(clean.p, x, memory, batch, clean.cache, dy, clean.g);
  const Matrix<double> dx = back.dx, dmemory = back.dmemory;
  for (const Index i : {3, 6, 7}) x.row(i).setConstant(std::nan("")), dy.row(i).setConstant(std::nan(""));
  for (const Index i : {4, 7, 8, 9}) memory.row(i).setConstant(std::nan(""));
  EXPECT_TRUE(check::same_bits(dirty.forward(x, memory, batch), y));
  const auto again = dirty.decoder.backward(dirty.p, x, memory, batch, dirty.cache, dy, dirty.g);
  EXPECT_TRUE(check::same_bits(again.dx, dx) && check::same_bits(again.dmemory, dmemory));
  for_each([](const std::string& path, const auto& a, const auto& b) { EXPECT_TRUE(check::same_bits(a, b)) << path; },
           clean.g, dirty.g);
  EXPECT_TRUE((y.row(3).array() == 0).all() && (dmemory.row(4).array() == 0).all());
}

TEST(Decoder, StreamsAndAllocatesNothingAgain) {
  DecoderRig rig(1);
  const Batch batch = Batch::cross(Batch::ragged({5, 4}), Batch::ragged({3, 6}));
  const Matrix<double> x = check::tokens<double>(9, d), memory = check::tokens<double>(9, d, 5),
                       y = rig.forward(x, memory, batch);
  auto state = rig.decoder.start(2, 5);
  for (Index i = 0; i < 5; ++i) {
    const Index second = i < 4 ? 1 : 0;
    Matrix<double> next(1 + second, d);
    next.row(0) = x.row(i);
    if (second) next.row(1) = x.row(5 + i);
    const Matrix<double> out =
        rig.decoder.step(rig.p, state, next, memory, Batch::cross(Batch::ragged({1, second}), Batch::ragged({3, 6})));
    EXPECT_LE((out.row(0) - y.row(i)).norm(), 1e-12);
    if (second) {
      EXPECT_LE((out.row(1) - y.row(5 + i)).norm(), 1e-12);
    }
  }
  const auto call = [&] {
    rig.decoder.forward(rig.p, x, memory, batch, rig.cache);
    rig.decoder.backward(rig.p, x, memory, batch, rig.cache, x, rig.g);
  };
  call();
  const long before = allocations::calls;
  call();
  EXPECT_EQ(allocations::calls, before);
}

TEST(Decoder, BadCalls) {
  DecoderRig rig(1);
  const Matrix<double> x = check::tokens<double>(3, d), memory = check::tokens<double>(4, d);
  EXPECT_NE(check::error<ShapeError>([&] { rig.forward(x, memory, Batch::one(4)); }).find("batch.q[0]"),
            std::string::npos);
  const Batch batch = Batch::cross(Batch::one(3), Batch::one(4));
  EXPECT_NE(check::error<StateError>([&] {
              rig.decoder.backward(rig.p, x, memory, batch, rig.cache, x, rig.g);
            }).find("cache"),
            std::string::npos);
  rig.p.layers.pop_back();
  EXPECT_EQ(check::error<ShapeError>([&] { rig.forward(x, memory, batch); }), "weights.layers: 2 expected, came 1");
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
