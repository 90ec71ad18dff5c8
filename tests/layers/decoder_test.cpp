// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/encoder.hpp>
#include <heed/policies/favor.hpp>
#include <heed/policies/persistent_memory.hpp>
#include <heed/policies/sliding_window.hpp>
#include <heed/policies/tiled.hpp>
#include <layers/two_inputs.hpp>

using namespace heed;

/// The decoder: a layer of two inputs, and a stream that reads its memory once.

namespace {

constexpr Index d = 6, d_memory = 5;
constexpr Dropout dropout{.rate = 0.2, .seed = 3, .step = 1};
const Batch uneven = Batch::cross(Batch::padded({3, 0, 2}, 4), Batch::padded({4, 1, 2}, 5));

template <class S>
using Plain = Decoder<Tiled<S>>;
template <class S>
using Mixed = Decoder<SlidingWindow<S>, PersistentMemory<Tiled<S>>, RmsNorm>;

template <class S>
typename Plain<S>::Options plain(int threads, Index memory = d_memory) {
  return decoder_options<Tiled<S>>(
      {.d_model = d, .heads = 2, .depth = 2, .d_ff = 7, .threads = threads, .policy = {.causal = true}}, {}, memory);
}
template <class S>
typename Mixed<S>::Options mixed(int threads) {
  return decoder_options<SlidingWindow<S>, PersistentMemory<Tiled<S>>, RmsNorm>(
      {.d_model = d, .heads = 2, .depth = 2, .d_ff = 7, .threads = threads, .policy = {.window = 2, .causal = true}},
      {.memory = 3}, d_memory);
}

template <class S>
using PlainBeside = check::Beside<Plain<S>, d_memory>;
template <class S>
using MixedBeside = check::Beside<Mixed<S>, d_memory>;

}  // namespace

TEST(Decoder, IsALayer) {
  check::all<PlainBeside>([](auto s, int threads) { return plain<decltype(s)>(threads); }, d_memory + d, dropout);
  check::all<MixedBeside>([](auto s, int threads) { return mixed<decltype(s)>(threads); }, d_memory + d, dropout);
}

TEST(Decoder, GradientsAreDifferences) {
  for (const Dropout& drop : {Dropout{}, dropout}) {
    check::differences<Plain<double>>(plain<double>(2), d, d_memory, uneven, drop);
    check::differences<Mixed<double>>(mixed<double>(2), d, d_memory, uneven, drop);
  }
}

TEST(Decoder, PaddingReachesNothing) {
  const Batch batch = Batch::cross(Batch::padded({3, 2}, 4), Batch::padded({4, 2}, 5));
  const Plain<double> decoder(plain<double>(2));
  Random random(7);
  const auto p = decoder.init(random);
  auto g = zeros_like(p), g_again = g;
  Plain<double>::Cache cache, other;
  Matrix<double> x = check::tokens<double>(8, d), memory = check::tokens<double>(10, d_memory, 5), dy = x;
  const Matrix<double> y = decoder.forward(p, x, memory, batch, cache);
  const auto back = decoder.backward(p, x, memory, batch, cache, dy, g);
  for (const Index i : {3, 6, 7}) x.row(i).setConstant(std::nan("")), dy.row(i).setConstant(std::nan(""));
  for (const Index i : {4, 7, 8, 9}) memory.row(i).setConstant(std::nan(""));
  EXPECT_TRUE(check::same_bits(decoder.forward(p, x, memory, batch, other), y));
  const auto again = decoder.backward(p, x, memory, batch, other, dy, g_again);
  EXPECT_TRUE(check::same_bits(again.dx, back.dx) && check::same_bits(again.dmemory, back.dmemory));
  for_each([](const std::string& path, const auto& a, const auto& b) { EXPECT_TRUE(check::same_bits(a, b)) << path; },
           g, g_again);
  EXPECT_TRUE((y.row(3).array() == 0).all() && (back.dmemory.row(4).array() == 0).all());
}

namespace {

/// Counts the rows that it makes queries of, and keys.
struct Counting : ProjectQkv<double> {
  static inline Index queries = 0, keys = 0;
  using ProjectQkv<double>::ProjectQkv;
  template <class... A>
  void project_queries(const Params& p, ConstView<double> x, A&&... rest) const {
    queries += x.rows();
    ProjectQkv<double>::project_queries(p, x, rest...);
  }
  template <class... A>
  void project_keys(const Params& p, ConstView<double> memory, A&&... rest) const {
    keys += memory.rows();
    ProjectQkv<double>::project_keys(p, memory, rest...);
  }
};
static_assert(SplitProjection<Counting>);

/// The rows of two sequences, of 5 and 4 tokens, in chunks of these many of each: those of `y`?
template <class D>
void streams_as_it_is_trained(const typename D::Options& options, const std::vector<std::pair<Index, Index>>& chunks = {
                                                                      {1, 1}, {1, 1}, {1, 0}, {1, 2}, {1, 0}}) {
  const D decoder(options);
  Random random(7);
  typename D::Params p = decoder.init(random);
  for_each_leaf([&](auto& m) { m = random_normal<double>(random, m.rows(), m.cols(), 0.5); }, p);
  typename D::Cache cache;
  const Matrix<double> x = check::tokens<double>(9, d), memory = check::tokens<double>(12, d_memory, 5);
  const Batch memories = Batch::padded({3, 6}, 6);
  const Matrix<double> y = decoder.forward(p, x, memory, Batch::cross(Batch::ragged({5, 4}), memories), cache);
  auto state = decoder.start(p, memory, memories, 5, 2);
  Index a = 0, b = 0;
  for (const auto& [m, n] : chunks) {
    Matrix<double> next(m + n, d);
    next << x.middleRows(a, m), x.middleRows(5 + b, n);
    const Matrix<double> out = decoder.step(p, state, next, Batch::ragged({m, n}));
    EXPECT_LE((out.topRows(m) - y.middleRows(a, m)).norm() + (out.bottomRows(n) - y.middleRows(5 + b, n)).norm(),
              1e-12);
    a += m;
    b += n;
  }
  EXPECT_EQ(a, 5);
  EXPECT_EQ(b, 4);
}

}  // namespace

TEST(Decoder, StreamsAsItIsTrained) {
  streams_as_it_is_trained<Plain<double>>(plain<double>(2));
  streams_as_it_is_trained<Plain<double>>(plain<double>(1), {{2, 2}, {0, 1}, {2, 1}, {1, 0}});
  streams_as_it_is_trained<Mixed<double>>(mixed<double>(2));
  streams_as_it_is_trained<Decoder<Tiled<double>, Favor<double>>>(decoder_options<Tiled<double>, Favor<double>>(
      {.d_model = d, .heads = 2, .kv_heads = 1, .depth = 2, .policy = {.causal = true}}, {.features = 8}, d_memory));
}

TEST(Decoder, ReadsItsMemoryOnce) {
  using Norm = LayerNorm<double>;
  using Feed = PreNorm<Norm, FeedForward<double>>;
  using Self = PreNorm<Norm, Attention<Tiled<double>>>;
  using D = DecoderOf<Self, Attention<Tiled<double>, Counting>, Feed, Norm>;
  const Plain<double>::Options like = plain<double>(1);
  D::Options options{.depth = 2, .self = like.self, .feed = like.feed, .norm = like.norm};
  options.cross.d_model = d;
  options.cross.d_memory = d_memory;
  const D decoder(options);
  Random random(7);
  const D::Params p = decoder.init(random);
  const Matrix<double> x = check::tokens<double>(1, d), memory = check::tokens<double>(100, d_memory, 5);
  Counting::queries = Counting::keys = 0;
  D::State state = decoder.start(p, memory, Batch::one(100), 10);
  EXPECT_EQ(Counting::keys, 2 * 100);
  const auto step = [&] { decoder.step(p, state, x, Batch::one(1)); };
  step();
  const Batch one = Batch::one(1);
  const long before = allocations::calls;
  for (int i = 0; i < 9; ++i) decoder.step(p, state, x, one);
  EXPECT_EQ(allocations::calls, before);
  EXPECT_EQ(Counting::keys, 2 * 100);
  EXPECT_EQ(Counting::queries, 2 * 10);
}

TEST(Decoder, RefusesASelfAttentionThatSeesTheFuture) {
  constexpr const char* says = "a causal one (causal = true) expected in a decoder, came one that sees later tokens";
  EXPECT_EQ(check::error<OptionError>([] { decoder_options<Tiled<double>>({.d_model = d, .heads = 2}); }),
            std::string("size.policy: ") + says);
  EXPECT_EQ(check::error<OptionError>([] {
              decoder_options<PersistentMemory<Tiled<double>>>({.d_model = d, .heads = 2, .policy = {.memory = 3}});
            }),
            std::string("size.policy: ") + says);
  Plain<double>::Options options = plain<double>(1);
  std::get<1>(options.self.inner.layers).policy.causal = false;
  EXPECT_EQ(check::error<OptionError>([&] { Plain<double>{options}; }),
            "options.self: a causal layer (policy.causal = true) expected, came one that sees later tokens");
}

TEST(Decoder, BadCalls) {
  const Plain<double> decoder(plain<double>(1, d));
  Random random(7);
  Plain<double>::Params p = decoder.init(random), g = zeros_like(p);
  Plain<double>::Cache cache;
  const Matrix<double> x = check::tokens<double>(3, d), memory = check::tokens<double>(4, d), wide(4, d + 1);
  const auto forward = [&](const Batch& batch) { decoder.forward(p, x, memory, batch, cache); };
  const auto backward = [&](const Matrix<double>& read, const Batch& batch) {
    decoder.backward(p, x, read, batch, cache, x, g);
  };
  EXPECT_NE(check::error<ShapeError>([&] { forward(Batch::one(4)); }).find("batch.q[0]"), std::string::npos);
  const Batch batch = Batch::cross(Batch::one(3), Batch::one(4));
  EXPECT_EQ(check::error<StateError>([&] { backward(memory, batch); }),
            "cache: no forward of a layer of this shape made it");
  forward(batch);
  EXPECT_EQ(check::error<StateError>([&] { backward(memory, Batch::cross(Batch::one(3), Batch::one(2))); }),
            "cache: the last forward had another batch");
  EXPECT_EQ(check::error<StateError>([&] { backward(check::tokens<double>(6, d), batch); }),
            "memory: the last forward with this cache had 4 rows, came 6");
  for_each_leaf([](const auto& m) { EXPECT_TRUE((m.array() == 0).all()); }, g);

  EXPECT_EQ(check::error<ShapeError>([&] { decoder.start(p, wide, Batch::one(4), 3); }),
            "memory: d_memory = 6 columns expected, came 7");
  EXPECT_NE(check::error<ShapeError>([&] { decoder.start(p, memory, Batch::one(5), 3); }).find("batch.k[0]"),
            std::string::npos);
  auto state = decoder.start(p, memory, Batch::one(4), 3);
  EXPECT_EQ(check::error<StateError>([&] {
              decoder.step(p, state, x, Batch::ragged({1, 2}));
            }),
            "batch: 1 sequences expected, as the memory has, came 2");
  EXPECT_EQ(check::error<StateError>([&] { decoder.step(p, state, x, Batch::one(3)); }),
            "batch.q[0]: chunks of up to 1 tokens expected, came 3");
  Plain<double>::State none;
  EXPECT_EQ(check::error<StateError>([&] { decoder.step(p, none, x, Batch::one(1)); }),
            "state: was started by a decoder of another depth");
  p.layers.pop_back();
  EXPECT_EQ(check::error<ShapeError>([&] { forward(batch); }), "weights.layers: 2 expected, came 1");
}

TEST(Attention, RemembersOneMemoryAtATime) {
  using A = Attention<Tiled<double>>;
  const A attention({.d_model = d, .d_memory = d_memory, .heads = 2});
  Random random(7);
  const A::Params p = attention.init(random);
  A::Params g = zeros_like(p);
  A::Cache cache;
  const Matrix<double> x = check::tokens<double>(3, d), memory = check::tokens<double>(4, d_memory, 5);
  const Batch batch = Batch::cross(Batch::one(3), Batch::one(4));
  constexpr const char* none = "cache: holds no memory that a layer of this shape was told to remember";
  EXPECT_EQ(check::error<StateError>([&] { attention.recall(p, x, batch, cache); }), none);
  const Matrix<double> y = attention.forward(p, x, memory, batch, cache);
  EXPECT_EQ(check::error<StateError>([&] { attention.recall(p, x, batch, cache); }), none);
  attention.remember(p, memory, batch, cache);
  EXPECT_TRUE(check::same_bits(attention.recall(p, x, batch, cache), y));
  EXPECT_EQ(check::error<StateError>([&] { attention.recall(p, x, Batch::one(3), cache); }),
            "batch.k: the segments of the memory that is remembered expected");
  EXPECT_EQ(check::error<StateError>([&] { attention.backward(p, x, memory, batch, cache, y, g); }),
            "cache: no forward of a layer of this shape made it");
  attention.forward(p, x, memory, batch, cache);
  EXPECT_EQ(check::error<StateError>([&] { attention.recall(p, x, batch, cache); }), none);
  // A cache that a layer of another shape used is as good as a new one.
  const A wide({.d_model = d, .d_memory = d_memory, .heads = 2, .head_dim = 40});
  const A::Params wide_p = wide.init(random);
  A::Cache fresh;
  wide.remember(wide_p, memory, batch, cache);
  EXPECT_TRUE(check::same_bits(wide.recall(wide_p, x, batch, cache), wide.forward(wide_p, x, memory, batch, fresh)));
  const A causal({.d_model = d, .d_memory = d_memory, .heads = 2, .policy = {.causal = true}});
  EXPECT_EQ(check::error<OptionError>([&] { causal.remember(p, memory, batch, cache); }),
            "options.policy: queries that come later see all of a memory, so one that is not causal expected, came a "
            "causal one");
}
