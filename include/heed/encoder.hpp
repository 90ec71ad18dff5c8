// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/attention.hpp>
#include <heed/layers/decoder.hpp>
#include <heed/layers/feed_forward.hpp>
#include <heed/layers/norm.hpp>
#include <heed/layers/residual.hpp>
#include <heed/layers/reversible.hpp>
#include <heed/layers/sequential.hpp>
#include <heed/layers/stack.hpp>
#include <heed/layers/streams.hpp>

#include <tuple>

/// The usual models, as compositions of layers, for every policy P; and their options from a few sizes.
///
///     using Model = heed::Encoder<heed::Tiled<float>>;
///     const Model model(heed::encoder_options<heed::Tiled<float>>({.d_model = 512, .heads = 8, .depth = 6}));
///
/// Where the policy shares parameters (one position table, one projection along the length for all layers), wrap the
/// model: `Owning<Encoder<P>>`.

namespace heed {

/// x + attention(norm(x)), then x + feed_forward(norm(x)).
template <AttentionPolicy P, template <class> class NormOf = LayerNorm>
using EncoderLayer = Sequential<PreNorm<NormOf<typename P::Scalar>, Attention<P>>,
                                PreNorm<NormOf<typename P::Scalar>, FeedForward<typename P::Scalar>>>;
/// `depth` of them, and a norm.
template <AttentionPolicy P, template <class> class NormOf = LayerNorm>
using Encoder = Sequential<Stack<EncoderLayer<P, NormOf>>, NormOf<typename P::Scalar>>;

/// With the norms after the sums; no last norm, as every layer ends with one.
template <AttentionPolicy P, template <class> class NormOf = LayerNorm>
using PostNormLayer = Sequential<PostNorm<NormOf<typename P::Scalar>, Attention<P>>,
                                 PostNorm<NormOf<typename P::Scalar>, FeedForward<typename P::Scalar>>>;
template <AttentionPolicy P, template <class> class NormOf = LayerNorm>
using PostNormEncoder = Stack<PostNormLayer<P, NormOf>>;

/// Attention only (Sukhbaatar et al. 2019, arXiv 1907.01470): for policies with a persistent memory.
template <AttentionPolicy P, template <class> class NormOf = LayerNorm>
using AllAttentionEncoder =
    Sequential<Stack<PreNorm<NormOf<typename P::Scalar>, Attention<P>>>, NormOf<typename P::Scalar>>;

/// One activation for any depth (Kitaev et al. 2020, arXiv 2001.04451).
template <AttentionPolicy P, template <class> class NormOf = LayerNorm>
using ReversibleEncoderLayer = Reversible<Sequential<NormOf<typename P::Scalar>, Attention<P>>,
                                          Sequential<NormOf<typename P::Scalar>, FeedForward<typename P::Scalar>>>;
template <AttentionPolicy P, template <class> class NormOf = LayerNorm>
using ReversibleEncoder =
    Sequential<TwoStreams<typename P::Scalar, Streams::split>, ReversibleStack<ReversibleEncoderLayer<P, NormOf>>,
               TwoStreams<typename P::Scalar, Streams::join>, NormOf<typename P::Scalar>>;

/// Causal attention in x, attention to a memory, feed-forward.
template <AttentionPolicy P, AttentionPolicy Cross = P, template <class> class NormOf = LayerNorm>
using Decoder =
    DecoderOf<PreNorm<NormOf<typename P::Scalar>, Attention<P>>, Attention<Cross>,
              PreNorm<NormOf<typename P::Scalar>, FeedForward<typename P::Scalar>>, NormOf<typename P::Scalar>>;

/// What an encoder is asked for; what is 0 has the default of the layer it belongs to.
template <AttentionPolicy P>
struct EncoderSize {
  Index d_model = 0, heads = 1, kv_heads = 0, depth = 1, d_ff = 0;
  Activation activation = Activation::gelu;
  bool gated = false;      ///< the feed-forward layers
  bool bias = true;        ///< of all projections and feed-forward layers
  Index chunk_tokens = 0;  ///< of the feed-forward layers
  int threads = 1;
  typename P::Options policy{};
};

namespace detail {
template <class Norm, class Size>
typename Norm::Options norm_options(const Size& s) {
  typename Norm::Options o;
  o.d_model = s.d_model;
  o.threads = s.threads;
  return o;
}
template <AttentionPolicy P, class Size>
typename Attention<P>::Options attention_options(const Size& s, const typename P::Options& policy) {
  typename Attention<P>::Options o;
  o.d_model = s.d_model;
  o.heads = s.heads;
  o.kv_heads = s.kv_heads;
  o.bias = s.bias;
  o.threads = s.threads;
  o.policy = policy;
  if constexpr (requires { o.projection.bias; }) o.projection.bias = s.bias;
  return o;
}
template <class S, class Size>
typename FeedForward<S>::Options feed_forward_options(const Size& s) {
  return {s.d_model, s.d_ff, s.activation, s.gated, s.bias, s.chunk_tokens, s.threads};
}
/// Of `Residual<Sequential<Norm, F>>`.
template <class Pre, class NormOptions, class InnerOptions>
typename Pre::Options pre_norm_options(const NormOptions& norm, const InnerOptions& inner, int threads) {
  typename Pre::Options o;
  o.inner.layers = {norm, inner};
  o.threads = threads;
  return o;
}
}  // namespace detail

template <AttentionPolicy P, template <class> class NormOf = LayerNorm>
typename EncoderLayer<P, NormOf>::Options encoder_layer_options(const EncoderSize<P>& s) {
  using S = typename P::Scalar;
  using N = NormOf<S>;
  typename EncoderLayer<P, NormOf>::Options o;
  const auto norm = detail::norm_options<N>(s);
  std::get<0>(o.layers) =
      detail::pre_norm_options<PreNorm<N, Attention<P>>>(norm, detail::attention_options<P>(s, s.policy), s.threads);
  std::get<1>(o.layers) =
      detail::pre_norm_options<PreNorm<N, FeedForward<S>>>(norm, detail::feed_forward_options<S>(s), s.threads);
  return o;
}
template <AttentionPolicy P, template <class> class NormOf = LayerNorm>
typename Encoder<P, NormOf>::Options encoder_options(const EncoderSize<P>& s) {
  typename Encoder<P, NormOf>::Options o;
  std::get<0>(o.layers).depth = s.depth;
  std::get<0>(o.layers).layer = encoder_layer_options<P, NormOf>(s);
  std::get<1>(o.layers) = detail::norm_options<NormOf<typename P::Scalar>>(s);
  return o;
}
template <AttentionPolicy P, template <class> class NormOf = LayerNorm>
typename PostNormEncoder<P, NormOf>::Options post_norm_encoder_options(const EncoderSize<P>& s) {
  using S = typename P::Scalar;
  typename PostNormEncoder<P, NormOf>::Options o;
  o.depth = s.depth;
  auto& [attention, feed] = o.layer.layers;
  std::get<0>(attention.layers) = {detail::attention_options<P>(s, s.policy), s.threads};
  std::get<0>(feed.layers) = {detail::feed_forward_options<S>(s), s.threads};
  std::get<1>(attention.layers) = std::get<1>(feed.layers) = detail::norm_options<NormOf<S>>(s);
  return o;
}
template <AttentionPolicy P, template <class> class NormOf = LayerNorm>
typename AllAttentionEncoder<P, NormOf>::Options all_attention_encoder_options(const EncoderSize<P>& s) {
  using N = NormOf<typename P::Scalar>;
  typename AllAttentionEncoder<P, NormOf>::Options o;
  std::get<0>(o.layers).depth = s.depth;
  std::get<0>(o.layers).layer = detail::pre_norm_options<PreNorm<N, Attention<P>>>(
      detail::norm_options<N>(s), detail::attention_options<P>(s, s.policy), s.threads);
  std::get<1>(o.layers) = detail::norm_options<N>(s);
  return o;
}
template <AttentionPolicy P, template <class> class NormOf = LayerNorm>
typename ReversibleEncoder<P, NormOf>::Options reversible_encoder_options(const EncoderSize<P>& s) {
  using S = typename P::Scalar;
  const auto norm = detail::norm_options<NormOf<S>>(s);
  typename ReversibleEncoder<P, NormOf>::Options o;
  auto& stack = std::get<1>(o.layers);
  stack.depth = s.depth;
  stack.threads = stack.layer.threads = s.threads;
  stack.layer.f.layers = {norm, detail::attention_options<P>(s, s.policy)};
  stack.layer.g.layers = {norm, detail::feed_forward_options<S>(s)};
  std::get<0>(o.layers) = {s.d_model, s.threads};
  std::get<2>(o.layers) = {s.d_model, s.threads};
  std::get<3>(o.layers) = norm;
  return o;
}
/// `s.policy` is that of the attention in x, which should be causal; `cross` that of the attention to the memory.
template <AttentionPolicy P, AttentionPolicy Cross = P, template <class> class NormOf = LayerNorm>
typename Decoder<P, Cross, NormOf>::Options decoder_options(const EncoderSize<P>& s,
                                                            const typename Cross::Options& cross = {}) {
  using S = typename P::Scalar;
  using N = NormOf<S>;
  const auto norm = detail::norm_options<N>(s);
  typename Decoder<P, Cross, NormOf>::Options o;
  o.depth = s.depth;
  o.threads = s.threads;
  o.norm = norm;
  o.self =
      detail::pre_norm_options<PreNorm<N, Attention<P>>>(norm, detail::attention_options<P>(s, s.policy), s.threads);
  o.cross = detail::attention_options<Cross>(s, cross);
  o.feed = detail::pre_norm_options<PreNorm<N, FeedForward<S>>>(norm, detail::feed_forward_options<S>(s), s.threads);
  return o;
}

}  // namespace heed
