// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/attention.hpp>
#include <heed/layers/feed_forward.hpp>
#include <heed/layers/norm.hpp>
#include <heed/layers/reversible.hpp>
#include <heed/layers/reversible_stack.hpp>
#include <heed/layers/sequential.hpp>
#include <heed/layers/stack.hpp>
#include <layers/check.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <utility>

/// Reversible blocks of attention and feed-forward layers, and what their gradients are held against.

template <class P>
using Block =
    heed::Reversible<heed::Sequential<heed::LayerNorm<typename P::Scalar>, heed::Attention<P>>,
                     heed::Sequential<heed::LayerNorm<typename P::Scalar>, heed::FeedForward<typename P::Scalar>>>;
template <class P>
typename Block<P>::Options block_options(heed::Index d, int threads, typename P::Options policy = {}) {
  typename Block<P>::Options o;
  o.f.layers = {{.d_model = d, .threads = threads},
                {.d_model = d, .heads = 2, .head_dim = 3, .threads = threads, .policy = policy}};
  o.g.layers = {{.d_model = d, .threads = threads}, {.d_model = d, .d_ff = 2 * d, .threads = threads}};
  o.threads = threads;
  return o;
}
template <class P>
typename heed::ReversibleStack<Block<P>>::Options stack_options(heed::Index depth, heed::Index d, int threads = 1,
                                                                typename P::Options policy = {}) {
  return {.depth = depth, .layer = block_options<P>(d, threads, policy), .threads = threads};
}

/// Weights drawn as `init` does, those that end a branch times `gain`: how much a layer adds to what it was given.
template <class L>
void set_gain(check::Rig<L>& rig, const typename L::Options& options, double gain, std::uint64_t seed = 3) {
  heed::Random random(seed);
  rig.p = L(options).init(random);
  heed::for_each(
      [&](const std::string& path, auto& m) {
        if (path.ends_with(".wo") || path.ends_with(".w_out")) m *= typename L::Scalar(gain);
      },
      rig.p);
}

/// The gradients of a reversible stack are those of the same layers with all activations kept, within 2 depth eps for
/// layers that add less than they were given (reliability F29). Gives the stack, for more questions.
template <class P>
check::Rig<heed::ReversibleStack<Block<P>>> check_against_stored(
    const typename heed::ReversibleStack<Block<P>>::Options& options, const heed::Batch& batch,
    const heed::Matrix<typename P::Scalar>& x, const heed::Dropout& dropout, const typename P::Context& context,
    std::uint64_t seed) {
  using S = typename P::Scalar;
  check::Rig<heed::ReversibleStack<Block<P>>> rebuilt(options);
  set_gain(rebuilt, options, 0.3, seed);
  check::Rig<heed::Stack<Block<P>>> stored({.depth = options.depth, .layer = options.layer});
  stored.p = rebuilt.p;
  stored.shared = rebuilt.shared;
  stored.dropout = rebuilt.dropout = dropout;
  heed::part<typename P::Context>(stored.context) = heed::part<typename P::Context>(rebuilt.context) = context;
  const heed::Matrix<S> dy = check::tokens<S>(x.rows(), x.cols(), seed + 4);
  EXPECT_TRUE(check::same_bits(stored.forward(x, batch), rebuilt.forward(x, batch)));
  const heed::Matrix<S> dx = stored.backward(x, batch, dy), dx_rebuilt = rebuilt.backward(x, batch, dy);
  // Of all layers and heads together: the gradient of one number may be what is left of many that cancel.
  std::map<std::string, std::pair<double, double>> squares;
  const auto take = [&](std::string path, const auto& a, const auto& b) {
    std::erase_if(path, [](char c) { return c >= '0' && c <= '9'; });
    squares[path].first += static_cast<double>((a - b).squaredNorm());
    squares[path].second += static_cast<double>(a.squaredNorm());
  };
  take("x", dx, dx_rebuilt);
  heed::for_each(take, stored.g, rebuilt.g);
  heed::for_each(take, stored.g_shared, rebuilt.g_shared);
  const double bound = 2 * static_cast<double>(options.depth) * static_cast<double>(std::numeric_limits<S>::epsilon());
  for (const auto& [what, square] : squares)
    EXPECT_LE(std::sqrt(square.first), bound * std::sqrt(square.second)) << what << ", seed " << seed;
  // again, from the same cache: the output that it rebuilds from is still there
  rebuilt.clear();
  EXPECT_TRUE(check::same_bits(rebuilt.backward(x, batch, dy), dx_rebuilt));
  return rebuilt;
}
