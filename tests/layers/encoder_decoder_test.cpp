// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <archetypes/archetype.hpp>
#include <heed/core/bytes.hpp>
#include <heed/encoder.hpp>
#include <heed/layers/owning.hpp>
#include <heed/policies/big_bird.hpp>
#include <heed/policies/lsh.hpp>
#include <heed/policies/persistent_memory.hpp>
#include <heed/policies/relative_bias.hpp>
#include <heed/policies/sliding_window.hpp>
#include <heed/policies/tiled.hpp>
#include <layers/two_inputs.hpp>

using namespace heed;

/// The encoder-decoder: a layer of two inputs, whose source is read through the reader.

namespace {

constexpr Index d = 6, d_source = 4;
constexpr Dropout dropout{.rate = 0.2, .seed = 3, .step = 1};

template <class S>
using Plain = EncoderDecoder<Tiled<S>>;
template <class S>
using Mixed = EncoderDecoderOf<Encoder<Lsh<S>>, Decoder<SlidingWindow<S>, PersistentMemory<Tiled<S>>, RmsNorm>>;

template <class S>
typename Plain<S>::Options plain(int threads) {
  return encoder_decoder_options<Tiled<S>>(
      {.d_model = d_source, .heads = 1, .depth = 2, .d_ff = 5, .threads = threads},
      {.d_model = d, .heads = 2, .depth = 2, .d_ff = 7, .threads = threads, .policy = {.causal = true}});
}
template <class S>
typename Mixed<S>::Options mixed(int threads) {
  return {encoder_options<Lsh<S>>({.d_model = d_source,
                                   .heads = 2,
                                   .depth = 2,
                                   .d_ff = 5,
                                   .threads = threads,
                                   .policy = {.rounds = 2, .chunk = 2}}),
          decoder_options<SlidingWindow<S>, PersistentMemory<Tiled<S>>, RmsNorm>(
              {.d_model = d, .heads = 2, .d_ff = 7, .threads = threads, .policy = {.window = 2, .causal = true}},
              {.memory = 3}, d_source)};
}

template <class S>
using PlainBeside = check::Beside<Plain<S>, d_source>;
template <class S>
using MixedBeside = check::Beside<Mixed<S>, d_source>;

/// A model with weights drawn and one pair of inputs: targets of 5 and 4 tokens, sources of 3 and 6.
template <class L>
struct Pair {
  L model;
  typename L::Params p, g;
  typename L::Cache cache;
  Matrix<double> x = check::tokens<double>(9, d), source = check::tokens<double>(12, d_source, 5);
  Batch sources = Batch::padded({3, 6}, 6), batch = Batch::cross(Batch::ragged({5, 4}), sources);
  explicit Pair(const typename L::Options& options) : model(options) {
    Random random(7);
    p = model.init(random);
    for_each_leaf([&](auto& m) { m = random_normal<double>(random, m.rows(), m.cols(), 0.5); }, p);
    g = zeros_like(p);
  }
};

}  // namespace

TEST(EncoderDecoder, IsALayer) {
  check::all<PlainBeside>([](auto s, int threads) { return plain<decltype(s)>(threads); }, d_source + d, dropout);
  check::all<MixedBeside>([](auto s, int threads) { return mixed<decltype(s)>(threads); }, d_source + d, dropout);
}

TEST(EncoderDecoder, GradientsAreDifferences) {
  const Batch uneven = Batch::cross(Batch::padded({3, 0, 2}, 4), Batch::padded({4, 1, 2}, 5));
  for (const Dropout& drop : {Dropout{}, dropout}) {
    check::differences<Plain<double>>(plain<double>(2), d, d_source, uneven, drop);
    check::differences<Mixed<double>>(mixed<double>(2), d, d_source, uneven, drop);
  }
}

TEST(EncoderDecoder, SharesWhatReaderAndWriterShare) {
  using P = archetype::Distances<double>;
  using Both = EncoderDecoder<P, Tiled<double>>;
  static_assert(std::is_same_v<Both::Shared, P::Shared>);
  const Both::Options options =
      encoder_decoder_options<P, Tiled<double>>({.d_model = d, .heads = 2}, {.d_model = d, .heads = 2, .depth = 2});
  const Batch batch = Batch::cross(Batch::ragged({3, 2}), Batch::ragged({4, 2}));
  check::differences<Both>(options, d, d, batch);
  check::differences<Owning<Both>>(options, d, d, batch);
  Random random(1);
  const Owning<Both>::Params p = Owning<Both>(options).init(random);
  int tables = 0;
  for_each([&](const std::string& path, const auto&) { tables += path.find("table") != std::string::npos; }, p);
  EXPECT_EQ(tables, 1);
}

TEST(EncoderDecoder, IsTheWriterOverTheReader) {
  Pair<Plain<double>> two(plain<double>(1));
  Plain<double>::Cache cache;
  const Matrix<double> y = two.model.forward(two.p, two.x, two.source, two.batch, two.cache);
  const Matrix<double> memory = two.model.reader().forward(two.p.reader, two.source, two.sources, cache.reader);
  EXPECT_TRUE(check::same_bits(two.cache.memory(), memory));
  EXPECT_TRUE(check::same_bits(two.model.writer().forward(two.p.writer, two.x, memory, two.batch, cache.writer), y));
  // A loss of the memory alone does not reach the writer's weights, and all of it goes through the reader.
  const auto [dx, dsource] = two.model.backward(two.p, two.x, two.source, two.batch, two.cache, y, two.g);
  Plain<double>::Params g = zeros_like(two.g);
  const auto of_writer = two.model.writer().backward(two.p.writer, two.x, memory, two.batch, cache.writer, y, g.writer);
  EXPECT_TRUE(check::same_bits(of_writer.dx, dx));
  EXPECT_TRUE(check::same_bits(
      two.model.reader().backward(two.p.reader, two.source, two.sources, cache.reader, of_writer.dmemory, g.reader),
      dsource));
  for_each([](const std::string& path, const auto& a, const auto& b) { EXPECT_TRUE(check::same_bits(a, b)) << path; },
           g, two.g);
}

namespace {

template <class L>
void streams(const typename L::Options& options) {
  Pair<L> two(options);
  const Matrix<double> y = two.model.forward(two.p, two.x, two.source, two.batch, two.cache);
  auto state = two.model.start(two.p, two.source, two.sources, two.cache, /*capacity=*/5, /*longest_chunk=*/2);
  two.source.setConstant(std::nan(""));  // it has been read
  EXPECT_GT(bytes(two.cache), bytes(state));
  EXPECT_GE(bytes(state), 2 * 9 * d * sizeof(double));  // its keys and values, at the least
  for (Index a = 0, b = 0; a < 5;) {
    const Index m = a == 1 ? 2 : 1, n = a == 1 ? 0 : std::min<Index>(2, 4 - b);
    Matrix<double> next(m + n, d);
    next << two.x.middleRows(a, m), two.x.middleRows(5 + b, n);
    const Batch batch = Batch::ragged({m, n});
    const Matrix<double> rows = two.model.step(two.p, state, next, batch);
    EXPECT_LE((rows.topRows(m) - y.middleRows(a, m)).norm() + (rows.bottomRows(n) - y.middleRows(5 + b, n)).norm(),
              1e-12);
    a += m;
    b += n;
  }
  auto again = two.model.start(two.p, y.leftCols(d_source), Batch::one(9), two.cache, 8);
  const Batch one = Batch::one(1);
  two.model.step(two.p, again, two.x.topRows(1), one);
  const long before = allocations::calls;
  for (int i = 0; i < 7; ++i) two.model.step(two.p, again, two.x.topRows(1), one);
  EXPECT_EQ(allocations::calls, before);
}

}  // namespace

TEST(EncoderDecoder, StreamsAsItIsTrained) {
  streams<Plain<double>>(plain<double>(2));
  streams<Mixed<double>>(mixed<double>(1));
  // A reader need not stream, nor be one that could be causal; and a wrapper streams too.
  using Wrapped = Owning<EncoderDecoderOf<Encoder<BigBird<double>>, Decoder<Tiled<double>>>>;
  streams<Wrapped>(
      {encoder_options<BigBird<double>>({.d_model = d_source, .policy = {.block = 2}}),
       decoder_options<Tiled<double>>({.d_model = d, .heads = 2, .policy = {.causal = true}}, {}, d_source)});
}
TEST(EncoderDecoder, StreamsWithATableOfDistancesOnEitherSide) {
  using P = RelativeBias<double>;
  using T5 = EncoderDecoderOf<Owning<Encoder<P>>, Owning<Decoder<P, Tiled<double>>>>;
  streams<T5>({encoder_options<P>({.d_model = d_source, .heads = 4, .depth = 2}),
               decoder_options<P, Tiled<double>>({.d_model = d, .heads = 2, .depth = 2, .policy = {.causal = true}}, {},
                                                 d_source)});
}

TEST(EncoderDecoder, BadCalls) {
  Pair<Plain<double>> two(plain<double>(1));
  const auto forward = [&](const Matrix<double>& x, const Matrix<double>& source) {
    two.model.forward(two.p, x, source, two.batch, two.cache);
  };
  const auto backward = [&](const Matrix<double>& source, const Batch& batch) {
    two.model.backward(two.p, two.x, source, batch, two.cache, two.x, two.g);
  };
  EXPECT_EQ(check::error<StateError>([&] { backward(two.source, two.batch); }),
            "cache: no forward of a layer of this shape made it");
  EXPECT_NE(check::error<ShapeError>([&] { forward(two.x.topRows(3), two.source); }).find("batch.q[0]"),
            std::string::npos);
  EXPECT_NE(check::error<ShapeError>([&] { forward(two.x, two.source.topRows(3)); }).find("batch.k[1]"),
            std::string::npos);
  forward(two.x, two.source);
  EXPECT_EQ(check::error<StateError>([&] { backward(two.source.topRows(11), two.batch); }),
            "source: the last forward with this cache had 12 rows, came 11");
  EXPECT_EQ(check::error<StateError>([&] {
              backward(two.source, Batch::ragged({5, 4}));
            }),
            "cache: the last forward had another batch");
  // A stream that has begun since took the cache.
  two.model.start(two.p, two.source, two.sources, two.cache, 5);
  EXPECT_EQ(check::error<StateError>([&] { backward(two.source, two.batch); }),
            "cache: no forward of a layer of this shape made it");
  for_each_leaf([](const auto& m) { EXPECT_TRUE((m.array() == 0).all()); }, two.g);
  EXPECT_EQ(check::error<OptionError>([] { encoder_decoder_options<Tiled<double>>({.d_model = d}, {.d_model = d}); }),
            "size.policy: a causal one (causal = true) expected in a decoder, came one that sees later tokens");
}
