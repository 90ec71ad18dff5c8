// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/policies.hpp>
#include <layers/reversible_block.hpp>

#include <string>
#include <tuple>
#include <utility>

/// Reversible stacks of every variant.

using namespace heed;

namespace {

/// Options that matter for sequences of some thirty tokens.
template <class P>
typename P::Options small_options() {
  typename P::Options o;
  if constexpr (requires { o.window; }) o.window = 4;
  if constexpr (requires { o.block; }) o.block = 4;
  if constexpr (requires { o.max_span; }) o.max_span = 12, o.ramp = 4;
  if constexpr (std::same_as<P, AdaptiveSpan<float>>) o.initial_span = 5;
  if constexpr (requires { o.chunk; }) o.chunk = 4, o.rounds = 2;
  if constexpr (requires { o.features; }) o.features = 16;
  if constexpr (requires { o.max_length; }) o.k = 6, o.max_length = 32;
  if constexpr (requires { o.memory; }) o.memory = 5;
  return o;
}
template <class P>
typename P::Context some_context() {
  if constexpr (requires(typename P::Context c) { c.globals; })
    return {.globals = {{0, 7}, {3}}};
  else
    return {};
}

template <class P>
void holds() {
  using L = ReversibleStack<Block<P>>;
  static_assert(ReversibleLayer<Block<P>> && ReplayableLayer<L>);
  static_assert(StreamingLayer<L> == StreamingPolicy<P>);
  const Index d = 32, depth = 16;
  for (const Dropout& dropout : {Dropout{}, Dropout{.rate = 0.1, .seed = 4}})
    check_against_stored<P>(stack_options<P>(depth, d, 1, small_options<P>()), Batch::ragged({25, 15}),
                            check::tokens<float>(40, 2 * d), dropout, some_context<P>(), 3);
}
const bool registered = [] {
  for_each_type(Policies<float>{}, []<class P>() {
    class Holds : public testing::Test {
      void TestBody() override { holds<P>(); }
    };
    testing::RegisterTest("ReversiblePolicies", std::string(P::name).c_str(), nullptr, nullptr, __FILE__, __LINE__,
                          []() -> testing::Test* { return new Holds; });
  });
  return true;
}();

using Hashed = Block<Lsh<float>>;

/// Which bucket the first token is put into, in the first round of the first head.
std::int32_t first_bucket(check::Rig<Hashed>& rig, const Matrix<float>& x, const Batch& batch) {
  rig.forward(x, batch);
  Hashed::Choices choices;
  rig.layer.exchange(rig.cache, choices);
  const std::int32_t bucket = std::get<1>(choices.f)[0].buckets.view()(0, 0);
  rig.layer.exchange(rig.cache, choices);
  return bucket;
}

/// Reliability F21: the buckets are kept, so that gradients are those of stored activations even where the rebuilt input
/// would fall into others. A token on the border of two buckets shows it: often it would.
TEST(ReversibleLsh, KeepsBuckets) {
  const Index d = 16, depth = 8;
  const Batch batch = Batch::ragged({9, 0, 14});
  int moved = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    auto options =
        stack_options<Lsh<float>>(depth, d, 1, {.causal = seed % 2 == 0, .rounds = 2, .buckets = 4, .chunk = 4});
    std::get<1>(options.layer.f.layers).head_dim = 16;  // no key near 0, whose direction rounding would decide
    const Dropout dropout{.rate = seed % 4 < 2 ? 0.0 : 0.1, .seed = seed};
    check::Rig<ReversibleStack<Hashed>> rig(options);
    set_gain(rig, options, 0.3, seed);
    check::Rig<Hashed> first(options.layer);
    first.p = rig.p.layers[0];
    Random random(seed);
    Matrix<float> x = random_normal<float>(random, batch.q.back().begin + batch.q.back().size, 2 * d, 1);
    Matrix<float> from = x, to = x;
    const std::int32_t here = first_bucket(first, from, batch);
    while (first_bucket(first, to, batch) == here) to.row(0) = random_normal<float>(random, 1, 2 * d, 1);
    for (int i = 0; i < 30; ++i) {
      x.row(0) = (from.row(0) + to.row(0)) / 2;
      (first_bucket(first, x, batch) == here ? from : to) = x;
    }
    auto rebuilt = check_against_stored<Lsh<float>>(options, batch, from, dropout, {}, seed);
    moved += first_bucket(first, rebuilt.cache.x.view(), batch) != here;
  }
  EXPECT_GE(moved, 20);
}

/// One activation for any depth, and of every layer the buckets alone.
TEST(ReversibleLsh, KeepsOneActivationAndBuckets) {
  const Index d = 16, rounds = 3, longest = 200, sequences = 2, heads = 2;
  const auto held = [&](Index depth) {
    const auto options = stack_options<Lsh<float>>(depth, d, 1, {.rounds = rounds, .chunk = 16});
    check::Rig<ReversibleStack<Hashed>> rig(options);
    const Matrix<float> x = check::tokens<float>(256, 2 * d);
    const Batch batch = Batch::ragged({longest, 56});
    rig.forward(x, batch);
    rig.backward(x, batch, x);
    return std::pair(bytes(rig.cache), bytes(rig.cache.choices));
  };
  const auto [few, few_choices] = held(4);
  const auto [many, many_choices] = held(64);
  EXPECT_EQ(many - many_choices, few - few_choices);
  const std::size_t of_one_layer =
      static_cast<std::size_t>(sequences * heads) *
          (sizeof(BucketChoices) + static_cast<std::size_t>(rounds * longest) * sizeof(std::int32_t)) +
      sizeof(Hashed::Choices);
  EXPECT_LE(many_choices, 64 * of_one_layer);
}

/// ... which change their places without a heap.
TEST(ReversibleLsh, AllocatesNothingAgain) {
  const auto options = stack_options<Lsh<float>>(3, 8, 1, {.rounds = 2, .chunk = 4});
  check::memory<ReversibleStack<Hashed>>(options, 16);
  check::memory<ReversibleStack<Hashed>>(options, 16, {.rate = 0.2, .seed = 1});
}

}  // namespace
