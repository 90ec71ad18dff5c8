// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/bytes.hpp>
#include <heed/kernels/linear_forward.hpp>

#include <algorithm>
#include <cstddef>
#include <type_traits>

/// Linear attention token by token: the sums over all keys so far, which do not grow.

namespace heed {
namespace detail {

/// Sums whose numbers lie side by side at `at`: `stride (padded d_v + 3)` of them.
template <class S>
LinearSums<S> sums_at(S* at, Index stride, Index d_v) {
  const Index size = stride * packet_padded<std::remove_const_t<S>>(d_v);
  return {at, at + size, at + size + stride, at + size + 2 * stride};
}

}  // namespace detail

/// One running stream of one key/value head.
template <class S>
struct LinearStream {
  Vector<S> now;  // sums over all keys
  Vector<S>
      before;     // without the last chunk, if that was longer than one token: its first rows do not see its last keys
  Arena scratch;  // of append

  LinearStream(Index stride, Index d, Index d_v, Index longest_chunk)
      : now(stride * (detail::packet_padded<S>(d_v) + 3)), before(longest_chunk > 1 ? now.size() : 0) {
    detail::clear(detail::sums_at(now.data(), stride, d_v), stride, detail::packet_padded<S>(d_v));
    scratch.reserve(linear_forward_scratch<S>(stride, d, d_v, false));
  }
  /// Bytes held.
  std::size_t bytes() const { return heed::bytes(now) + heed::bytes(before) + scratch.bytes(); }
};

/// Takes the rows of k and v as the next keys.
template <class S, class Map>
void linear_append(const FeatureRows<S, Map>& features, LinearStream<S>& stream, ConstView<S> k, ConstView<S> v) {
  const Arena::Frame frame(stream.scratch);
  const Index stride = features.stride(), d_v = v.cols();
  if (k.rows() > 1) stream.before = stream.now;
  const auto take = [&](Index count) { return stream.scratch.template take<S>(count); };
  const detail::LinearForward<S, Map> run{
      features, d_v, {stride, features.dim(), d_v, false, take}, detail::sums_at(stream.now.data(), stride, d_v)};
  run.absorb_keys(k, v, {0, k.rows()});
}

/// o and lse of the rows of `in`, whose keys and values are those of the last append. Takes no more scratch than a causal
/// linear_forward.
template <class S, class Map>
void linear_attend(const FeatureRows<S, Map>& features, const LinearStream<S>& stream, const Qkv<ConstView<S>>& in,
                   Out<S> out, Arena& arena) {
  const Arena::Frame frame(arena);
  const Index n = in.q.rows(), stride = features.stride(), d_v = in.v.cols();
  const auto take = [&](Index count) { return arena.take<S>(count); };
  if (n == 1) {
    const detail::LinearForward<S, Map> run{features, d_v, {stride, features.dim(), d_v, false, take}, {}};
    run.read_rows(in.q, {0, 1}, detail::sums_at(stream.now.data(), stride, d_v), out);
  } else {
    S* const copy = take(stream.before.size());
    std::copy_n(stream.before.data(), stream.before.size(), copy);
    const detail::LinearForward<S, Map> run{
        features, d_v, {stride, features.dim(), d_v, true, take}, detail::sums_at(copy, stride, d_v)};
    run.causal_rows(in, {0, n}, 0, false, out);
  }
}

}  // namespace heed
