// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/attention.hpp>
#include <heed/layers/decoder.hpp>
#include <heed/layers/encoder_decoder.hpp>
#include <heed/layers/feed_forward.hpp>
#include <heed/layers/norm.hpp>
#include <heed/layers/residual.hpp>
#include <heed/layers/reversible.hpp>
#include <heed/layers/reversible_stack.hpp>
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
template <AttentionPolicy P, template <class> class NormOf = LayerNorm, class Projection = typename P::Projection>
using EncoderLayer = Sequential<PreNorm<NormOf<typename P::Scalar>, Attention<P, Projection>>,
                                PreNorm<NormOf<typename P::Scalar>, FeedForward<typename P::Scalar>>>;
/// `depth` of them, and a norm.
template <AttentionPolicy P, template <class> class NormOf = LayerNorm, class Projection = typename P::Projection>
using Encoder = Sequential<Stack<EncoderLayer<P, NormOf, Projection>>, NormOf<typename P::Scalar>>;

/// With the norms after the sums; no last norm, as every layer ends with one.
template <AttentionPolicy P, template <class> class NormOf = LayerNorm, class Projection = typename P::Projection>
using PostNormLayer = Sequential<PostNorm<NormOf<typename P::Scalar>, Attention<P, Projection>>,
                                 PostNorm<NormOf<typename P::Scalar>, FeedForward<typename P::Scalar>>>;
template <AttentionPolicy P, template <class> class NormOf = LayerNorm, class Projection = typename P::Projection>
using PostNormEncoder = Stack<PostNormLayer<P, NormOf, Projection>>;

/// Attention only (Sukhbaatar et al. 2019, arXiv 1907.01470): for policies with a persistent memory.
template <AttentionPolicy P, template <class> class NormOf = LayerNorm, class Projection = typename P::Projection>
using AllAttentionEncoder =
    Sequential<Stack<PreNorm<NormOf<typename P::Scalar>, Attention<P, Projection>>>, NormOf<typename P::Scalar>>;

/// One activation for any depth (Kitaev et al. 2020, arXiv 2001.04451).
template <AttentionPolicy P, template <class> class NormOf = LayerNorm, class Projection = typename P::Projection>
using ReversibleEncoderLayer = Reversible<Sequential<NormOf<typename P::Scalar>, Attention<P, Projection>>,
                                          Sequential<NormOf<typename P::Scalar>, FeedForward<typename P::Scalar>>>;
template <AttentionPolicy P, template <class> class NormOf = LayerNorm, class Projection = typename P::Projection>
using ReversibleEncoder = Sequential<TwoStreams<typename P::Scalar, Streams::split>,
                                     ReversibleStack<ReversibleEncoderLayer<P, NormOf, Projection>>,
                                     TwoStreams<typename P::Scalar, Streams::join>, NormOf<typename P::Scalar>>;

/// Causal attention in x, attention to a memory, feed-forward.
template <CausalPolicy P, AttentionPolicy Cross = P, template <class> class NormOf = LayerNorm,
          class Projection = typename P::Projection>
using Decoder =
    DecoderOf<PreNorm<NormOf<typename P::Scalar>, Attention<P, Projection>>, Attention<Cross>,
              PreNorm<NormOf<typename P::Scalar>, FeedForward<typename P::Scalar>>, NormOf<typename P::Scalar>>;

/// An encoder over the source, and a decoder that reads what it gives: P is the policy of both, Cross that of the
/// attention from one to the other. `EncoderDecoderOf` takes any two.
template <CausalPolicy P, AttentionPolicy Cross = P, template <class> class NormOf = LayerNorm,
          class Projection = typename P::Projection>
using EncoderDecoder = EncoderDecoderOf<Encoder<P, NormOf, Projection>, Decoder<P, Cross, NormOf, Projection>>;

/// Options of a policy, made causal: their `causal`, or that of the policy inside. As they are where it always is.
template <class Options>
Options made_causal(Options options) {
  if constexpr (requires { options.causal = true; })
    options.causal = true;
  else if constexpr (requires { options.inner; })
    options.inner = made_causal(options.inner);
  return options;
}

/// What an encoder is asked for; what is 0 has the default of the layer it belongs to.
template <AttentionPolicy P, class Projection = typename P::Projection>
struct EncoderSize {
  Index d_model = 0, heads = 1, kv_heads = 0, depth = 1, d_ff = 0;
  Activation activation = Activation::gelu;
  bool gated = false;      ///< the feed-forward layers
  bool bias = true;        ///< of all projections and feed-forward layers
  Index chunk_tokens = 0;  ///< of the feed-forward layers
  int threads = 1;
  typename P::Options policy{};
  typename Projection::Options projection{};  ///< as it is, but for the bias
};

namespace detail {
template <class Norm, class Size>
typename Norm::Options norm_options(const Size& s) {
  typename Norm::Options o;
  o.d_model = s.d_model;
  o.threads = s.threads;
  return o;
}
template <class A, class Size>
typename A::Options attention_options(const Size& s, const typename A::Policy::Options& policy,
                                      decltype(A::Options::projection) projection) {
  typename A::Options o;
  o.d_model = s.d_model;
  o.heads = s.heads;
  o.kv_heads = s.kv_heads;
  o.bias = s.bias;
  o.threads = s.threads;
  o.policy = policy;
  if constexpr (requires { projection.bias; }) projection.bias = s.bias;
  if constexpr (requires { projection.inner.bias; }) projection.inner.bias = s.bias;
  o.projection = projection;
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

template <AttentionPolicy P, template <class> class NormOf = LayerNorm, class Projection = typename P::Projection>
typename EncoderLayer<P, NormOf, Projection>::Options encoder_layer_options(const EncoderSize<P, Projection>& s) {
  using S = typename P::Scalar;
  using N = NormOf<S>;
  typename EncoderLayer<P, NormOf, Projection>::Options o;
  const auto norm = detail::norm_options<N>(s);
  std::get<0>(o.layers) = detail::pre_norm_options<PreNorm<N, Attention<P, Projection>>>(
      norm, detail::attention_options<Attention<P, Projection>>(s, s.policy, s.projection), s.threads);
  std::get<1>(o.layers) =
      detail::pre_norm_options<PreNorm<N, FeedForward<S>>>(norm, detail::feed_forward_options<S>(s), s.threads);
  return o;
}
template <AttentionPolicy P, template <class> class NormOf = LayerNorm, class Projection = typename P::Projection>
typename Encoder<P, NormOf, Projection>::Options encoder_options(const EncoderSize<P, Projection>& s) {
  typename Encoder<P, NormOf, Projection>::Options o;
  std::get<0>(o.layers).depth = s.depth;
  std::get<0>(o.layers).layer = encoder_layer_options<P, NormOf, Projection>(s);
  std::get<1>(o.layers) = detail::norm_options<NormOf<typename P::Scalar>>(s);
  return o;
}
template <AttentionPolicy P, template <class> class NormOf = LayerNorm, class Projection = typename P::Projection>
typename PostNormEncoder<P, NormOf, Projection>::Options post_norm_encoder_options(
    const EncoderSize<P, Projection>& s) {
  using S = typename P::Scalar;
  typename PostNormEncoder<P, NormOf, Projection>::Options o;
  o.depth = s.depth;
  auto& [attention, feed] = o.layer.layers;
  std::get<0>(attention.layers) = {detail::attention_options<Attention<P, Projection>>(s, s.policy, s.projection),
                                   s.threads};
  std::get<0>(feed.layers) = {detail::feed_forward_options<S>(s), s.threads};
  std::get<1>(attention.layers) = std::get<1>(feed.layers) = detail::norm_options<NormOf<S>>(s);
  return o;
}
template <AttentionPolicy P, template <class> class NormOf = LayerNorm, class Projection = typename P::Projection>
typename AllAttentionEncoder<P, NormOf, Projection>::Options all_attention_encoder_options(
    const EncoderSize<P, Projection>& s) {
  using N = NormOf<typename P::Scalar>;
  typename AllAttentionEncoder<P, NormOf, Projection>::Options o;
  std::get<0>(o.layers).depth = s.depth;
  std::get<0>(o.layers).layer = detail::pre_norm_options<PreNorm<N, Attention<P, Projection>>>(
      detail::norm_options<N>(s), detail::attention_options<Attention<P, Projection>>(s, s.policy, s.projection),
      s.threads);
  std::get<1>(o.layers) = detail::norm_options<N>(s);
  return o;
}
template <AttentionPolicy P, template <class> class NormOf = LayerNorm, class Projection = typename P::Projection>
typename ReversibleEncoderLayer<P, NormOf, Projection>::Options reversible_encoder_layer_options(
    const EncoderSize<P, Projection>& s) {
  using S = typename P::Scalar;
  const auto norm = detail::norm_options<NormOf<S>>(s);
  typename ReversibleEncoderLayer<P, NormOf, Projection>::Options o;
  o.f.layers = {norm, detail::attention_options<Attention<P, Projection>>(s, s.policy, s.projection)};
  o.g.layers = {norm, detail::feed_forward_options<S>(s)};
  o.threads = s.threads;
  return o;
}
template <AttentionPolicy P, template <class> class NormOf = LayerNorm, class Projection = typename P::Projection>
typename ReversibleEncoder<P, NormOf, Projection>::Options reversible_encoder_options(
    const EncoderSize<P, Projection>& s) {
  typename ReversibleEncoder<P, NormOf, Projection>::Options o;
  auto& stack = std::get<1>(o.layers);
  stack.depth = s.depth;
  stack.threads = s.threads;
  stack.layer = reversible_encoder_layer_options<P, NormOf, Projection>(s);
  std::get<0>(o.layers) = {s.d_model, s.threads};
  std::get<2>(o.layers) = {s.d_model, s.threads};
  std::get<3>(o.layers) = detail::norm_options<NormOf<typename P::Scalar>>(s);
  return o;
}
/// `s.policy` is that of the attention in x, and has to be causal: OptionError otherwise; `cross` is that of the
/// attention to a memory of `d_memory` columns, 0: d_model.
template <CausalPolicy P, AttentionPolicy Cross = P, template <class> class NormOf = LayerNorm,
          class Projection = typename P::Projection>
typename Decoder<P, Cross, NormOf, Projection>::Options decoder_options(const EncoderSize<P, Projection>& s,
                                                                        const typename Cross::Options& cross = {},
                                                                        Index d_memory = 0) {
  using S = typename P::Scalar;
  using N = NormOf<S>;
  const auto self = detail::attention_options<Attention<P, Projection>>(s, s.policy, s.projection);
  require<OptionError>(Attention<P, Projection>(self).causality() != Causality::none,
                       "size.policy: a causal one (causal = true) expected in a decoder, came one that sees later "
                       "tokens");
  const auto norm = detail::norm_options<N>(s);
  typename Decoder<P, Cross, NormOf, Projection>::Options o;
  o.depth = s.depth;
  o.threads = s.threads;
  o.norm = norm;
  o.self = detail::pre_norm_options<PreNorm<N, Attention<P, Projection>>>(norm, self, s.threads);
  o.cross = detail::attention_options<Attention<Cross>>(s, cross, {});
  o.cross.d_memory = d_memory;
  o.feed = detail::pre_norm_options<PreNorm<N, FeedForward<S>>>(norm, detail::feed_forward_options<S>(s), s.threads);
  return o;
}
/// `reader.policy` sees the whole source, `writer.policy` has to be causal. Widths and depths may differ.
template <CausalPolicy P, AttentionPolicy Cross = P, template <class> class NormOf = LayerNorm,
          class Projection = typename P::Projection>
typename EncoderDecoder<P, Cross, NormOf, Projection>::Options encoder_decoder_options(
    const EncoderSize<P, Projection>& reader, const EncoderSize<P, Projection>& writer,
    const typename Cross::Options& cross = {}) {
  return {encoder_options<P, NormOf, Projection>(reader),
          decoder_options<P, Cross, NormOf, Projection>(writer, cross, reader.d_model)};
}

}  // namespace heed
