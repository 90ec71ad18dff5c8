// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/core/front_door.hpp>

#include <concepts>
#include <utility>

/// One call of a policy without any projection: queries, keys and values of one head, of the caller's own making.

namespace heed {

/// Every buffer of such a call; grows, and is used again and again.
template <AttentionPolicy P>
struct HeadCache {
  using S = typename P::Scalar;
  HeadShape shape;  // of the policy that used it last
  CallShape call{-1, -1};
  typename P::Cache policy;
  Buffer<S> o, lse;
  Qkv<Buffer<S>> gradients;
  Arena scratch;
};

/// A policy that learns nothing and reads plain q, k and v.
template <class P>
concept PlainPolicy = AttentionPolicy<P> && !learns<P> && std::same_as<typename P::template Fields<int>, Qkv<int>>;

namespace detail {
/// The caller's q, k and v, if they are as wide as the policy says.
template <PlainPolicy P, class Q, class K, class V>
Qkv<ConstView<typename P::Scalar>> plain_fields(const P& policy, const Eigen::MatrixBase<Q>& q,
                                                const Eigen::MatrixBase<K>& k, const Eigen::MatrixBase<V>& v) {
  using S = typename P::Scalar;
  const Qkv<ConstView<S>> in{front_door<S>(q, "q"), front_door<S>(k, "k"), front_door<S>(v, "v")};
  const HeadShape shape = policy.shape();
  require<ShapeError>(in.q.cols() == shape.key_dim, "q: ", shape.key_dim, " columns expected, came ", in.q.cols());
  require<ShapeError>(in.k.cols() == shape.key_dim, "k: ", shape.key_dim, " columns expected, came ", in.k.cols());
  require<ShapeError>(in.v.cols() == shape.value_dim, "v: ", shape.value_dim, " columns expected, came ", in.v.cols());
  require<ShapeError>(in.k.rows() == in.v.rows(), "v: as many rows as k expected, ", in.k.rows(), ", came ",
                      in.v.rows());
  return in;
}
}  // namespace detail

/// Output `[n_q, d_v]` and log-sum-exp `[n_q]` of q `[n_q, d]`, k `[n_k, d]`, v `[n_k, d_v]`, valid until the cache is
/// used again. Throws ShapeError for widths that are not the policy's.
template <PlainPolicy P, class Q, class K, class V>
ConstOut<typename P::Scalar> attend(const P& policy, const Eigen::MatrixBase<Q>& q, const Eigen::MatrixBase<K>& k,
                                    const Eigen::MatrixBase<V>& v, HeadCache<P>& cache,
                                    const typename P::Context& context = {}) {
  using S = typename P::Scalar;
  const Qkv<ConstView<S>> in = detail::plain_fields(policy, q, k, v);
  const typename P::Params own{};
  const typename P::Shared shared{};
  const Head<P> head{own, shared, context, 0, 0};
  const CallShape call{in.q.rows(), in.k.rows()};
  policy.check(head, call);

  cache.shape = policy.shape();
  cache.call = call;
  policy.reserve(call, cache.policy);
  cache.scratch.reserve(policy.cost(call).forward_scratch);
  const Arena::Frame frame(cache.scratch);
  if constexpr (ChoosingPolicy<P>) policy.choose(head, in, cache.policy, cache.scratch);
  View<S> o = cache.o.resize(in.q.rows(), in.v.cols());
  VectorView<S> lse(cache.lse.resize(1, in.q.rows()).data(), in.q.rows());
  policy.forward(head, in, {o, lse}, cache.policy, cache.scratch);
  return {view(o), {lse.data(), lse.size()}};
}

/// The gradients of q, k and v, given the cotangent of the output of the last `attend` with this cache and the same q,
/// k, v.
template <PlainPolicy P, class Q, class K, class V, class D>
Qkv<ConstView<typename P::Scalar>> attend_backward(const P& policy, const Eigen::MatrixBase<Q>& q,
                                                   const Eigen::MatrixBase<K>& k, const Eigen::MatrixBase<V>& v,
                                                   HeadCache<P>& cache, const Eigen::MatrixBase<D>& d_o,
                                                   const typename P::Context& context = {}) {
  using S = typename P::Scalar;
  const Qkv<ConstView<S>> in = detail::plain_fields(policy, q, k, v);
  const ConstView<S> cotangent = front_door<S>(d_o, "d_o"), o = std::as_const(cache.o).view();
  const CallShape call{in.q.rows(), in.k.rows()};
  require<StateError>(cache.shape == policy.shape() && cache.call == call,
                      "cache: the last attend with it was another, over ", cache.call.queries, " queries and ",
                      cache.call.keys, " keys");
  require<ShapeError>(cotangent.rows() == o.rows() && cotangent.cols() == o.cols(), "d_o: [", o.rows(), ", ", o.cols(),
                      "] expected, came [", cotangent.rows(), ", ", cotangent.cols(), "]");
  typename P::Params own{};
  typename P::Shared shared{};
  const Head<P> head{own, shared, context, 0, 0};
  policy.check(head, call);
  cache.scratch.reserve(policy.cost(call).backward_scratch);
  Qkv<Buffer<S>>& g = cache.gradients;
  const Qkv<View<S>> din{g.q.resize(in.q.rows(), in.q.cols()), g.k.resize(in.k.rows(), in.k.cols()),
                         g.v.resize(in.v.rows(), in.v.cols())};
  Qkv<View<S>>::map([](Field, View<S> m) { return m.setZero(), 0; }, din);
  const Arena::Frame frame(cache.scratch);
  policy.backward(head, in, {o, {cache.lse.view().data(), o.rows()}}, {cotangent, {nullptr, 0}}, cache.policy, din,
                  HeadGradient<P>{own, shared}, cache.scratch);
  return {view(din.q), view(din.k), view(din.v)};
}

}  // namespace heed
