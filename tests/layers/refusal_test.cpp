// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/encoder.hpp>
#include <heed/layers/owning.hpp>
#include <heed/policies/tiled.hpp>
#include <layers/reversible_block.hpp>
#include <layers/two_inputs.hpp>

using namespace heed;

/// What a refused call leaves behind: nothing that a later call takes for more than it is.

namespace {

constexpr Index d = 6;
using T = Tiled<double>;
using Writer = Decoder<T>;
using Many = ReversibleStack<Block<T>>;

constexpr const char* no_forward = "cache: no forward of a layer of this shape made it";

Writer::Options writer(Index depth) {
  return decoder_options<T>({.d_model = d, .heads = 2, .depth = depth, .d_ff = 7, .policy = {.causal = true}});
}

/// backward after a forward of another depth, with one cache.
template <class L, class Options>
void tells_depths_apart(const Options& options, Index columns) {
  const Matrix<double> x = check::tokens<double>(5, columns);
  const Batch batch = Batch::one(5);
  for (const auto& [made, asked] : {std::pair<Index, Index>{2, 3}, {3, 2}}) {
    check::Rig<L> first(options(made)), second(options(asked));
    const Matrix<double> y = first.forward(x, batch);
    std::swap(first.cache, second.cache);
    EXPECT_EQ(check::error<StateError>([&] { second.backward(x, batch, y); }),
              "cache: the last forward had " + std::to_string(made) + " layers, not " + std::to_string(asked));
    for_each_leaf([](const auto& m) { EXPECT_TRUE((m.array() == 0).all()); }, second.g);
    second.forward(x, batch);
    second.backward(x, batch, y);
  }
}

/// The last of the weights in another shape, which the last layer refuses after the others ran.
template <class Params>
Params broken(Params p) {
  Index left = 0;
  for_each_leaf([&](auto&) { ++left; }, p);
  for_each_leaf(
      [&](auto& m) {
        if (--left == 0) m.resize(m.rows() + 1, m.cols() + 1);
      },
      p);
  return p;
}

/// backward after a forward that was refused on its way, over tokens of the same shape as an earlier one.
template <class L>
void forgets(const typename L::Options& options, Index columns) {
  const Matrix<double> x = check::tokens<double>(5, columns), other = check::tokens<double>(5, columns, 8);
  const Batch batch = Batch::one(5);
  check::Rig<L> rig(options), fresh(options);
  const Matrix<double> y = rig.forward(x, batch), dx = rig.backward(x, batch, y);
  const typename L::Params right = rig.p;
  for (const bool replay : {false, true}) {
    rig.clear();
    rig.p = broken(right);
    EXPECT_NE(check::error<ShapeError>([&] {
                replay ? rig.replay(other, batch) : rig.forward(other, batch);
              }).find("weights."),
              std::string::npos);
    rig.p = right;
    for (const Matrix<double>& tokens : {x, other})
      EXPECT_EQ(check::error<StateError>([&] { rig.backward(tokens, batch, y); }), no_forward);
    for_each_leaf([](const auto& m) { EXPECT_TRUE((m.array() == 0).all()); }, rig.g);
    EXPECT_TRUE(check::same_bits(rig.forward(x, batch), y));
    EXPECT_TRUE(check::same_bits(rig.backward(x, batch, y), dx));
  }
  fresh.p = broken(right);
  check::error<ShapeError>([&] { fresh.forward(x, batch); });
  fresh.p = right;
  EXPECT_EQ(check::error<StateError>([&] { fresh.backward(x, batch, y); }), no_forward);
}

using Attend = PreNorm<LayerNorm<double>, Attention<T>>;
using Pair = Sequential<Attend, PreNorm<LayerNorm<double>, FeedForward<double>>>;

Attend::Options attend() {
  Attend::Options o;
  o.inner.layers = {{.d_model = d}, {.d_model = d, .heads = 2, .policy = {.causal = true}}};
  return o;
}
Pair::Options pair() {
  Pair::Options o;
  std::get<0>(o.layers) = attend();
  std::get<1>(o.layers).inner.layers = {{.d_model = d}, {.d_model = d, .d_ff = 7}};
  return o;
}

/// A stream of three tokens: a refusal by the first layer changes nothing, one by a later layer ends it.
/// `start(p)` gives a state, `step(p, state, x, batch)` the next rows, of one token at a time; `y` are those of forward.
template <class Params, class Start, class Step>
void ends(const Params& right, const Matrix<double>& x, const Matrix<double>& y, const Start& start, const Step& step) {
  auto state = start(right);
  const auto goes_on = [&](Index i) {
    EXPECT_LE((step(right, state, x.middleRows(i, 1), Batch::one(1)) - y.row(i)).norm(), 1e-12) << i;
  };
  const auto refuses = [&](const Params& p, Index rows) { step(p, state, x.topRows(rows), Batch::one(rows)); };
  goes_on(0);
  EXPECT_EQ(check::error<StateError>([&] { refuses(right, 2); }),
            "batch.q[0]: chunks of up to 1 tokens expected, came 2");
  goes_on(1);
  EXPECT_NE(check::error<ShapeError>([&] { refuses(broken(right), 1); }).find("weights."), std::string::npos);
  for (int again = 0; again < 2; ++again)
    EXPECT_EQ(check::error<StateError>([&] { goes_on(2); }),
              "state: an earlier step was refused after some of its layers took it: start again");
  state = start(right);
  for (Index i = 0; i < 3; ++i) goes_on(i);
}
template <class L>
void ends(const typename L::Options& options, Index columns) {
  check::Rig<L> rig(options);
  const Matrix<double> x = check::tokens<double>(3, columns), y = rig.forward(x, Batch::one(3));
  ends(
      rig.p, x, y, [&](const auto&) { return rig.layer.start(1, 3); },
      [&](const auto& p, auto& state, const Matrix<double>& next, const Batch& batch) -> Matrix<double> {
        return rig.layer.step(Weights<L>(p, rig.shared), state, next, batch);
      });
}

}  // namespace

TEST(RefusedStep, EndsAStreamThatSomeLayersTook) {
  ends<Pair>(pair(), d);
  ends<Stack<Attend>>({.depth = 2, .layer = attend()}, d);
  ends<Encoder<T>>(encoder_options<T>({.d_model = d, .depth = 2, .policy = {.causal = true}}), d);
  ends<Block<T>>(block_options<T>(d, 1, {.causal = true}), 2 * d);
  ends<Many>(stack_options<T>(2, d, 1, {.causal = true}), 2 * d);
}

TEST(RefusedStep, EndsAStreamOfADecoder) {
  const Writer decoder(writer(2));
  Random random(7);
  const Writer::Params p = decoder.init(random);
  Writer::Cache cache;
  const Matrix<double> x = check::tokens<double>(3, d), memory = check::tokens<double>(4, d, 5),
                       y = decoder.forward(p, x, memory, Batch::cross(Batch::one(3), Batch::one(4)), cache);
  const auto start = [&](const auto& w) { return decoder.start(w, memory, Batch::one(4), 3); };
  ends(p, x, y, start,
       [&](const auto& w, auto& state, const Matrix<double>& next, const Batch& batch) -> Matrix<double> {
         return decoder.step(w, state, next, batch);
       });
  // and so does what cross-attention refuses, after self-attention
  const Matrix<double> bias = Matrix<double>::Zero(7, 7);
  Writer::Context wrong;
  wrong.cross.blocks.push_back(view(bias));
  Writer::State state = start(p);
  EXPECT_NE(check::error<ShapeError>([&] { decoder.step(p, state, x.topRows(1), Batch::one(1), wrong); }),
            "no such error");
  EXPECT_EQ(check::error<StateError>([&] { decoder.step(p, state, x.topRows(1), Batch::one(1)); }),
            "state: an earlier step was refused after some of its layers took it: start again");
}

TEST(RefusedForward, IsForgotten) {
  forgets<Attend>(attend(), d);
  forgets<Pair>(pair(), d);
  forgets<Stack<Attend>>({.depth = 2, .layer = attend()}, d);
  forgets<Block<T>>(block_options<T>(d, 1), 2 * d);
  forgets<Many>(stack_options<T>(2, d), 2 * d);
  forgets<Owning<Pair>>(pair(), d);
  forgets<check::Beside<Writer, d>>(writer(2), 2 * d);
  using Both = EncoderDecoder<T>;
  forgets<check::Beside<Both, d>>(
      encoder_decoder_options<T>({.d_model = d, .heads = 2, .depth = 1}, {.d_model = d, .policy = {.causal = true}}),
      2 * d);
}

TEST(Decoder, TellsDepthsApart) { tells_depths_apart<check::Beside<Writer, d>>(writer, 2 * d); }

TEST(ReversibleStack, TellsDepthsApart) {
  const auto options = [](Index depth) { return stack_options<T>(depth, d); };
  tells_depths_apart<Many>(options, 2 * d);
  check::Rig<Many> two(options(2)), three(options(3));
  const Matrix<double> x = check::tokens<double>(5, 2 * d);
  two.forward(x, Batch::one(5));
  std::swap(two.cache, three.cache);
  EXPECT_EQ(check::error<StateError>([&] { three.replay(x, Batch::one(5)); }),
            "cache: the last forward had 2 layers, not 3");
}
