// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/position_list.hpp>
#include <heed/kernels/merge.hpp>
#include <heed/kernels/softmax_backward.hpp>
#include <heed/kernels/softmax_forward.hpp>

#include <algorithm>

/// Softmax over some keys, or of some rows, that lie scattered: gathered, so that tiles are full. Patterns then count
/// among the gathered ones.

namespace heed {
namespace detail {

/// Keys and rows that are gathered at a time: with their gradients they take no more scratch than plain backward does.
inline constexpr Index scattered_keys = 128, scattered_rows = 144;

template <class S>
View<S> gather(ConstView<S> from, PositionList at, Index first, Arena& scratch) {
  View<S> to = scratch.matrix<S>(at.size(), from.cols());
  for (Index i = 0; i < at.size(); ++i) to.row(i) = from.row(at[i] - first);
  return to;
}
template <class S>
ConstVectorView<S> gather(ConstVectorView<S> from, PositionList at, Index first, Arena& scratch) {
  if (from.size() == 0) return {nullptr, 0};
  VectorView<S> to = scratch.vector<S>(at.size());
  for (Index i = 0; i < at.size(); ++i) to[i] = from[at[i] - first];
  return {to.data(), to.size()};
}
template <class S>
View<S> zeros(Index rows, Index cols, Arena& scratch) {
  View<S> all = scratch.matrix<S>(rows, cols);
  all.setZero();
  return all;
}
template <class S>
void add_scattered(View<S> from, PositionList at, Index first, View<S> to) {
  for (Index i = 0; i < at.size(); ++i) to.row(at[i] - first) += from.row(i);
}

}  // namespace detail

/// Merges into rows `rows` of o and lse, at most softmax_rows_per_task of them, what they see of the keys `in.k`, which
/// they have not seen yet. The first of these rows is the first query of the pattern.
template <KeyPattern Pattern, class S>
void softmax_merge(const Pattern& pattern, Logits<S> logits, const Qkv<ConstView<S>>& in, Range rows, Out<S> out,
                   Arena& scratch) {
  const Arena::Frame frame(scratch);
  const Index n = rows.size(), d_v = in.v.cols();
  const Out<S> part{scratch.matrix<S>(n, d_v), scratch.vector<S>(n)};
  softmax_forward(pattern, NoTerm{}, logits, Qkv<ConstView<S>>{block(in.q, rows.begin, 0, n, in.q.cols()), in.k, in.v},
                  {0, n}, part, scratch);
  merge<S>({block(out.o, rows.begin, 0, n, d_v), {out.lse.data() + rows.begin, n}},
           {view(part.o), {part.lse.data(), n}});
}

/// The same for the rows `at` of k and v. `pattern_of(keys)` is the pattern for some of them.
template <class PatternOf, class S>
void scattered_keys_forward(const PatternOf& pattern_of, Logits<S> logits, const Qkv<ConstView<S>>& in, PositionList at,
                            Range rows, Out<S> out, Arena& scratch) {
  for (Index c = 0; c < at.size(); c += detail::scattered_keys) {
    const PositionList keys = at.part(c, detail::scattered_keys);
    const Arena::Frame frame(scratch);
    const View<S> k = detail::gather(in.k, keys, 0, scratch), v = detail::gather(in.v, keys, 0, scratch);
    softmax_merge(pattern_of(keys), logits, Qkv<ConstView<S>>{in.q, view(k), view(v)}, rows, out, scratch);
  }
}
/// Adds the gradients of scattered_keys_forward over all rows to `din`; `out` is the result over all keys.
template <class PatternOf, class S>
void scattered_keys_backward(const PatternOf& pattern_of, Logits<S> logits, const Qkv<ConstView<S>>& in,
                             PositionList at, ConstOut<S> out, ConstOut<S> dout, const Qkv<View<S>>& din,
                             Arena& scratch) {
  for (Index c = 0; c < at.size(); c += detail::scattered_keys) {
    const PositionList keys = at.part(c, detail::scattered_keys);
    const Arena::Frame frame(scratch);
    const View<S> k = detail::gather(in.k, keys, 0, scratch), v = detail::gather(in.v, keys, 0, scratch);
    const View<S> dk = detail::zeros<S>(k.rows(), k.cols(), scratch),
                  dv = detail::zeros<S>(v.rows(), v.cols(), scratch);
    softmax_backward(pattern_of(keys), NoTerm{}, logits, Qkv<ConstView<S>>{in.q, view(k), view(v)}, out, dout,
                     Qkv<View<S>>{din.q, dk, dv}, scratch);
    detail::add_scattered(dk, keys, 0, din.k);
    detail::add_scattered(dv, keys, 0, din.v);
  }
}

/// Assigns the rows `at` of o and lse, of which row 0 is called `first`. `pattern_of(rows)` is the pattern for some of
/// them.
template <class PatternOf, class S>
void scattered_rows_forward(const PatternOf& pattern_of, Logits<S> logits, const Qkv<ConstView<S>>& in, PositionList at,
                            Index first, Out<S> out, Arena& scratch) {
  for (Index r = 0; r < at.size(); r += detail::scattered_rows) {
    const PositionList rows = at.part(r, detail::scattered_rows);
    const Arena::Frame frame(scratch);
    const View<S> q = detail::gather(in.q, rows, first, scratch);
    const Out<S> part{scratch.matrix<S>(rows.size(), in.v.cols()), scratch.vector<S>(rows.size())};
    softmax_forward(pattern_of(rows), NoTerm{}, logits, Qkv<ConstView<S>>{view(q), in.k, in.v}, {0, rows.size()}, part,
                    scratch);
    for (Index i = 0; i < rows.size(); ++i) {
      out.o.row(rows[i] - first) = part.o.row(i);
      out.lse[rows[i] - first] = part.lse[i];
    }
  }
}
/// Adds the gradients of scattered_rows_forward to `din`.
template <class PatternOf, class S>
void scattered_rows_backward(const PatternOf& pattern_of, Logits<S> logits, const Qkv<ConstView<S>>& in,
                             PositionList at, Index first, ConstOut<S> out, ConstOut<S> dout, const Qkv<View<S>>& din,
                             Arena& scratch) {
  for (Index r = 0; r < at.size(); r += detail::scattered_rows) {
    const PositionList rows = at.part(r, detail::scattered_rows);
    const Arena::Frame frame(scratch);
    const auto some = [&](auto all) { return detail::gather(all, rows, first, scratch); };
    const View<S> q = some(in.q), dq = detail::zeros<S>(rows.size(), in.q.cols(), scratch);
    const View<S> o = some(out.o), d_o = some(dout.o);
    softmax_backward(pattern_of(rows), NoTerm{}, logits, Qkv<ConstView<S>>{view(q), in.k, in.v},
                     ConstOut<S>{view(o), some(out.lse)}, ConstOut<S>{view(d_o), some(dout.lse)},
                     Qkv<View<S>>{dq, din.k, din.v}, scratch);
    detail::add_scattered(dq, rows, first, din.q);
  }
}

/// Bytes of scratch that both take, forward and backward, and softmax_merge over contiguous keys.
template <class S>
std::size_t scattered_forward_scratch(Index n_q, Index n_k, Index d, Index d_v) {
  const auto numbers = [](Index n) { return Arena::size_of<S>(n); };
  const Index keys = std::min(n_k, detail::scattered_keys), rows = std::min(n_q, detail::scattered_rows);
  const Index block = std::min(n_q, softmax_rows_per_task<S>);
  return std::max(
      numbers(keys * d) + numbers(keys * d_v) + numbers(block * d_v) + numbers(block) +
          softmax_forward_scratch<S>(block, n_k, d, d_v, false),
      numbers(rows * d) + numbers(rows * d_v) + numbers(rows) + softmax_forward_scratch<S>(rows, n_k, d, d_v, true));
}
template <class S>
std::size_t scattered_backward_scratch(Index n_q, Index n_k, Index d, Index d_v) {
  const auto numbers = [](Index n) { return Arena::size_of<S>(n); };
  const Index keys = std::min(n_k, detail::scattered_keys), rows = std::min(n_q, detail::scattered_rows);
  return std::max(
      2 * numbers(keys * d) + 2 * numbers(keys * d_v) + softmax_backward_scratch<S>(n_q, keys, d, d_v, false),
      2 * numbers(rows * d) + 2 * numbers(rows * d_v) + 2 * numbers(rows) +
          softmax_backward_scratch<S>(rows, n_k, d, d_v, true));
}

}  // namespace heed
