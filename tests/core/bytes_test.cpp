// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <allocations.hpp>
#include <heed/heed.hpp>

using namespace heed;

namespace {

/// A copy takes as much from the heap as what is copied holds, but for what Eigen, and an arena, take to align it.
template <class T>
void expect_what_a_copy_takes(const T& original, std::size_t at_least = 1) {
  const T x = original;  // lists without room to grow
  const long calls = allocations::calls;
  const std::size_t before = allocations::bytes;
  const T copy = x;
  const std::size_t taken = allocations::bytes - before;
  const auto more = static_cast<std::size_t>(allocations::calls - calls) * 64;
  EXPECT_LE(bytes(copy), taken);
  EXPECT_GE(bytes(copy) + more, taken);
  EXPECT_GE(bytes(copy), at_least);
}

template <class P>
typename P::Options causal() {
  typename P::Options o;
  if constexpr (requires { o.causal; }) o.causal = true;
  return o;
}

constexpr Index d = 24, n = 300;
Matrix<float> tokens() {
  Random random(1);
  return random_normal<float>(random, n, d, 1);
}

template <class M, class O>
void expect_of_calls(const O& options) {
  const Owning<M> model(options);
  Random random(2);
  const auto p = model.init(random);
  auto g = zeros_like(p);
  expect_what_a_copy_takes(p, static_cast<std::size_t>(count(p)) * sizeof(float));
  typename M::Cache cache;
  const Matrix<float> x = tokens();
  const Batch batch = Batch::ragged({200, 100});
  model.forward(p, x, batch, cache);
  expect_what_a_copy_takes(cache, n * d * sizeof(float));
  model.backward(p, x, batch, cache, x, g);
  expect_what_a_copy_takes(cache, 2 * n * d * sizeof(float));
  if constexpr (StreamingLayer<M>) {
    auto state = model.start(2, n, 4);
    const std::size_t fresh = bytes(state);
    model.step(p, state, x.topRows(5), Batch::ragged({4, 1}));
    expect_what_a_copy_takes(state, fresh + 1);
  }
}
template <class P>
void expect_of_policy() {
  expect_of_calls<Encoder<P>>(encoder_options<P>({.d_model = d, .heads = 2, .depth = 2, .policy = causal<P>()}));
}

}  // namespace

TEST(Bytes, AreThoseOfMatricesAndLists) {
  EXPECT_EQ(bytes(3.0), 0u);
  EXPECT_EQ(bytes(Matrix<double>(3, 5)), 15 * sizeof(double));
  EXPECT_EQ(bytes(std::vector<Vector<float>>(2, Vector<float>(7))), 2 * (sizeof(Vector<float>) + 7 * sizeof(float)));
  EXPECT_EQ(bytes(std::tuple<int, Matrix<float>>(1, Matrix<float>(2, 2))), 16u);
  struct Twenty {
    int a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s;
    std::vector<int> last;
  };
  Twenty twenty{};
  twenty.last.assign(10, 1);
  EXPECT_EQ(bytes(twenty), twenty.last.capacity() * sizeof(int));
}

TEST(Bytes, AreWhatACopyTakes) {
  expect_of_policy<Tiled<float>>();
  expect_of_policy<SlidingWindow<float>>();
  expect_of_policy<Lsh<float>>();
  expect_of_policy<Favor<float>>();
  expect_of_policy<AdaptiveSpan<float>>();
  using Reversed = ReversibleEncoder<Tiled<float>, RmsNorm>;
  expect_of_calls<Reversed>(
      reversible_encoder_options<Tiled<float>, RmsNorm>({.d_model = d, .depth = 3, .policy = causal<Tiled<float>>()}));
}
