// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <archetypes/archetype.hpp>
#include <heed/encoder.hpp>
#include <heed/layers/owning.hpp>
#include <heed/policies/sliding_window.hpp>
#include <heed/policies/tiled.hpp>
#include <heed/train/check_gradient.hpp>
#include <heed/train/token_model.hpp>
#include <layers/check.hpp>

using namespace heed;

/// Models over tokens: of one input, and with a source to read.

namespace {

constexpr Index d = 6, vocabulary = 5;
constexpr Dropout dropout{.rate = 0.2, .seed = 3, .step = 1};
using Plain = TokenModel<Encoder<SlidingWindow<double>>>;
using Reading = TokenModel<EncoderDecoder<Tiled<double>>>;
using Table = archetype::Distances<double>;
using Sharing = TokenModel<Owning<Encoder<Table>>>;
static_assert(!Plain::reads && Reading::reads && !Sharing::reads);

template <class L>
typename TokenModel<L>::Options over(const typename L::Options& layers) {
  return {.embedding = {.vocabulary = vocabulary, .d_model = d, .scale = 2, .bias = true},
          .layers = layers,
          .loss = {.chunk = 4}};
}
Plain::Options plain() {
  return over<Encoder<SlidingWindow<double>>>(encoder_options<SlidingWindow<double>>(
      {.d_model = d, .heads = 2, .depth = 2, .policy = {.window = 2, .causal = true}}));
}
Reading::Options reading() {
  return over<EncoderDecoder<Tiled<double>>>(encoder_decoder_options<Tiled<double>>(
      {.d_model = d, .heads = 2}, {.d_model = d, .heads = 2, .depth = 2, .policy = {.causal = true}}));
}
Sharing::Options sharing() { return over<Owning<Encoder<Table>>>(encoder_options<Table>({.d_model = d, .heads = 2})); }

/// Sequences of 3, 0 and 4 tokens that read 2, 1 and 8; what padding holds is no token.
template <class M>
TokenBatch tokens() {
  TokenBatch t{.ids = {1, 4, 1, -7, 99, 0, 1, 2, 3, 99}, .targets = {4, -1, 0, -1, -1, 1, 2, 3, 4, -1}};
  const Batch ids{{{0, 3}, {4, 0}, {5, 4}}, {{0, 3}, {4, 0}, {5, 4}}};
  t.batch = ids;
  if (M::reads) {
    t.source = {3, 3, 77, 2, 0, 4, 1, 2, 3, 4, 0, 1};
    t.batch = Batch::cross(ids, {{}, {{0, 2}, {3, 1}, {4, 8}}});
  }
  return t;
}

template <class M>
struct Fixture {
  M model;
  typename M::Params p, g;
  typename M::Cache cache;
  TokenBatch t = tokens<M>();
  explicit Fixture(const typename M::Options& options) : model(options) {
    Random random(7);
    p = model.init(random);
    for_each_leaf([&](auto& m) { m = random_normal<double>(random, m.rows(), m.cols(), 0.5); }, p);
    g = zeros_like(p);
  }
  Matrix<double> logits() {
    typename Embedding<double>::Cache head;
    const Batch rows{t.batch.q, t.batch.q};
    return model.embedding().logits(p.embedding, model.forward(p, t, cache), rows, head);
  }
};

template <class M>
void gradients_are_differences(const typename M::Options& options) {
  for (const Dropout& drop : {Dropout{}, dropout}) {
    Fixture<M> f(options);
    const auto loss = [&](typename M::Params& to) { return f.model.loss(f.p, f.t, f.cache, to, {}, drop).loss; };
    const double value = loss(f.g);
    auto thrown_away = f.g;
    const GradientCheck found = check_gradient(f.p, f.g, [&] { return loss(thrown_away); });
    EXPECT_LT(found.error, 1e-7) << found.path << "(" << found.row << ", " << found.col << ")";
    if (drop.active()) continue;
    EXPECT_EQ(f.model.loss(f.p, f.t, f.cache).loss, value);
    // The loss by its definition.
    const Matrix<double> z = f.logits();
    long double sum = 0;
    for (const Index i : {0, 2, 5, 6, 7, 8})
      sum += std::log(z.row(i).cast<long double>().array().exp().sum()) -
             static_cast<long double>(z(i, f.t.targets[static_cast<std::size_t>(i)]));
    EXPECT_NEAR(value, static_cast<double>(sum / 6), 1e-14);
  }
}

/// The scores of the next token, chunk by chunk, are the rows of the whole.
template <class M, class Start>
void streams(const typename M::Options& options, const Start& start) {
  Fixture<M> f(options);
  const Matrix<double> z = f.logits();
  typename M::State state = start(f);
  const auto step = [&](const typename M::Ids& ids, const std::vector<Index>& n) {
    return Matrix<double>(f.model.step(f.p, state, ids, Batch::ragged(n)));
  };
  const Matrix<double> first = step({1, 4, 0}, {2, 0, 1}), second = step({1, 1, 2}, {1, 0, 2}),
                       third = step({3}, {0, 0, 1});
  EXPECT_LE((first.row(0) - z.row(1)).norm() + (first.row(2) - z.row(5)).norm(), 1e-12);
  EXPECT_LE((second.row(0) - z.row(2)).norm() + (second.row(2) - z.row(7)).norm(), 1e-12);
  EXPECT_LE((third.row(2) - z.row(8)).norm(), 1e-12);
  EXPECT_TRUE((first.row(1).array() == 0).all() && (third.row(0).array() == 0).all());
}

}  // namespace

TEST(TokenModel, GradientsAreDifferences) {
  gradients_are_differences<Plain>(plain());
  gradients_are_differences<Reading>(reading());
}

TEST(TokenModel, TakesWhatItsLayersOwn) { gradients_are_differences<Sharing>(sharing()); }

TEST(TokenModel, StreamsAsItIsTrained) {
  streams<Plain>(plain(), [](auto& f) { return f.model.start(3, 4, 2); });
  streams<Reading>(reading(), [](auto& f) {
    auto state = f.model.start(f.p, f.t, f.cache, 4, 2);
    f.t.source.assign(12, 0);  // it has been read
    return state;
  });
}

TEST(TokenModel, GeneratesWhatItsScoresSay) {
  Fixture<Plain> f(plain());
  const Plain::Ids prompt{1, 4, 1};
  Random random(5), same(5);
  Plain::State state = f.model.start(1, 20, 3), by_hand = f.model.start(1, 20, 3);
  const Plain::Ids written = f.model.generate(f.p, state, prompt, 9, 1.5, random);
  ASSERT_EQ(written.size(), 9u);
  Plain::Ids next = prompt;
  for (const std::int32_t id : written) {
    const Matrix<double> scores = f.model.step(f.p, by_hand, next, Batch::one(static_cast<Index>(next.size())));
    EXPECT_EQ(sample(scores, 1.5, same), id);
    next = {id};
  }
  // It ends with the token that says so.
  Plain::State again = f.model.start(1, 20, 3);
  Random third(5);
  const Plain::Ids ended = f.model.generate(f.p, again, prompt, 9, 1.5, third, /*stop=*/written[2]);
  const auto end = std::find(written.begin(), written.end(), written[2]) + 1;
  EXPECT_EQ(ended, Plain::Ids(written.begin(), end));
  EXPECT_TRUE(f.model.generate(f.p, again, prompt, 0, 1.5, third).empty());
  EXPECT_THROW(f.model.generate(f.p, again, {}, 1, 1.5, third), ShapeError);  // after nothing, no scores
  // What is refused has not been shown.
  Plain::State tight = f.model.start(1, 3, 3);
  EXPECT_THROW(f.model.generate(f.p, tight, prompt, 1, -1, third), OptionError);
  EXPECT_THROW(f.model.generate(f.p, tight, prompt, -1, 1, third), OptionError);
  EXPECT_EQ(f.model.generate(f.p, tight, prompt, 1, 1.5, third).size(), 1u);
}

TEST(TokenModel, AllocatesNothingAgain) {
  Fixture<Plain> one(plain());
  Fixture<Reading> two(reading());
  const auto call = [&] {
    one.model.loss(one.p, one.t, one.cache, one.g, {}, dropout);
    two.model.loss(two.p, two.t, two.cache, two.g, {}, dropout);
  };
  call();
  const long before = allocations::calls;
  call();
  EXPECT_EQ(allocations::calls, before);
  Reading::State state = two.model.start(two.p, two.t, two.cache, 9);
  const Batch batch = Batch::ragged({1, 1, 1});
  const Reading::Ids ids{1, 2, 3};
  two.model.step(two.p, state, ids, batch);
  const long started = allocations::calls;
  for (int i = 0; i < 8; ++i) two.model.step(two.p, state, ids, batch);
  EXPECT_EQ(allocations::calls, started);
}

TEST(TokenModel, BadCalls) {
  Fixture<Reading> f(reading());
  const auto says = [&](TokenBatch t) { return check::error<ShapeError>([&] { f.model.loss(f.p, t, f.cache, f.g); }); };
  TokenBatch t = f.t;
  t.ids[1] = 5;
  EXPECT_EQ(says(t), "ids[1]: a token in [0, 5) expected, came 5");
  t = f.t;
  t.targets.pop_back();
  EXPECT_EQ(says(t), "targets: one for each of the 10 rows of x expected, came 9");
  t = f.t;
  t.targets[0] = 5;
  EXPECT_EQ(says(t), "targets[0]: in [0, 5), or -1 for none, expected, came 5");
  t = f.t;
  t.source.pop_back();
  EXPECT_NE(says(t).find("leaves the matrix of 11 rows"), std::string::npos);

  Fixture<Reading> fresh(reading());
  const Matrix<double> dy = check::tokens<double>(10, d);
  const auto backward = [&](const TokenBatch& of) { fresh.model.backward(fresh.p, of, fresh.cache, dy, fresh.g); };
  EXPECT_EQ(check::error<StateError>([&] { backward(f.t); }), "cache: no forward of a layer of this shape made it");
  fresh.model.forward(fresh.p, f.t, fresh.cache);
  t = f.t;
  t.source.push_back(0);
  EXPECT_EQ(check::error<StateError>([&] { backward(t); }),
            "source: the last forward with this cache had 12 rows, came 13");
  for_each_leaf([](const auto& m) { EXPECT_TRUE((m.array() == 0).all()); }, f.g);
  for_each_leaf([](const auto& m) { EXPECT_TRUE((m.array() == 0).all()); }, fresh.g);
}
