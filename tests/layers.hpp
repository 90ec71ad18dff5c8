// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <cases.hpp>
#include <heed/attention.hpp>

/// Whole layers for the laws about batches, heads, threads and streams: every option set of the policy with grouped
/// heads, values of another width, biases.

template <class P>
struct Layer {
  using A = heed::Attention<P>;
  using S = typename P::Scalar;
  A attention;
  typename A::Params params;
  typename A::Shared shared;
  typename A::Cache cache;
  typename A::Params gradient;
  typename A::Shared shared_gradient;

  explicit Layer(const typename A::Options& options) : attention(options) {
    heed::Random random(11);
    params = attention.init(random);
    shared = attention.init_shared(random);
    heed::for_each_leaf([&](auto& m) { m = heed::random_normal<S>(random, m.rows(), m.cols(), 0.4); },
                        params.projection);
    if (params.bo.size() > 0) params.bo = heed::random_normal<S>(random, 1, params.bo.cols(), 0.4);
    clear();
  }
  void clear() {
    gradient = heed::zeros_like(params);
    shared_gradient = heed::zeros_like(shared);
  }
  heed::Weights<A> weights() const { return {params, shared}; }
  /// The caller's data for sequences of so many keys: what `Cases<P>::layer_context` says, or none. It must depend on a
  /// sequence's length only; in a stream, tokens to come must not change what it says of those that have come.
  static typename P::Context context(const std::vector<heed::Index>& lengths) {
    if constexpr (requires { Cases<P>::layer_context(lengths); })
      return Cases<P>::layer_context(lengths);
    else
      return {};
  }
  static typename P::Context context(const heed::Batch& batch) {
    std::vector<heed::Index> lengths;
    for (const heed::Segment s : batch.k) lengths.push_back(s.size);
    return context(lengths);
  }
  heed::Matrix<S> forward(const heed::Matrix<S>& x, const heed::Batch& batch) {
    return attention.forward(weights(), x, batch, cache, context(batch));
  }
  heed::Matrix<S> replay(const heed::Matrix<S>& x, const heed::Batch& batch) {
    return attention.replay(weights(), x, batch, cache, context(batch));
  }
  heed::Matrix<S> backward(const heed::Matrix<S>& x, const heed::Batch& batch, const heed::Matrix<S>& dy) {
    return attention.backward(weights(), x, batch, cache, dy, heed::Gradients<A>(gradient, shared_gradient),
                              context(batch));
  }
};

/// The layers that a policy is tried in: its own option sets, several heads, with and without groups.
template <class P>
std::vector<typename heed::Attention<P>::Options> layer_options(int threads = 1) {
  std::vector<typename heed::Attention<P>::Options> all;
  std::vector<typename P::Options> policies = Cases<P>::options(4);
  const std::size_t narrow = policies.size();
  for (std::size_t i = 0; i < narrow; ++i) policies.push_back(policies[i]);
  for (const auto& policy : policies) {
    typename heed::Attention<P>::Options o;
    o.d_model = 10;
    o.heads = 4;
    o.kv_heads = Cases<P>::groups ? (all.size() % 3 == 0 ? 4 : all.size() % 3 == 1 ? 2 : 1) : 4;
    const bool packets = all.size() >= narrow;  // widths that fill whole packets go other ways
    o.head_dim = packets ? 16 : 5;
    o.value_dim = !Cases<P>::groups ? 0 : packets ? 16 : 3;
    o.bias = all.size() % 2 == 0;
    o.threads = threads;
    o.policy = policy;
    if constexpr (requires { o.projection.bias; }) o.projection.bias = all.size() % 2 == 1;
    all.push_back(o);
  }
  return all;
}

template <class S>
heed::Matrix<S> tokens(heed::Index rows, heed::Index cols, std::uint64_t seed) {
  heed::Random random(seed);
  return heed::random_normal<S>(random, rows, cols, 1);
}
