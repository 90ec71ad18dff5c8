// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/residues.hpp>
#include <heed/kernels/softmax_backward.hpp>
#include <heed/kernels/softmax_forward.hpp>

#include <algorithm>

/// Softmax over patterns in which a query sees only keys at a multiple of `step` from it, as dilated windows do. The
/// positions of one residue modulo the step are a problem of their own, on strided views: what is dilated in the whole
/// is dense there, and costs no more.

namespace heed {

/// Rows `rows` of o and lse. `pattern` counts in positions of one residue.
template <KeyPattern Pattern, class S>
void residue_forward(const Pattern& pattern, Index step, Logits<S> logits, const Qkv<ConstView<S>>& in, Range rows,
                     Out<S> out, Arena& scratch) {
  if (step == 1) return softmax_forward(pattern, NoTerm{}, logits, in, rows, out, scratch);
  for_each_residue(step, in.q.rows(), in.k.rows(), [&](const Residue& at) {
    const auto before = [&](Index row) { return row > at.query ? (row - at.query + at.step - 1) / at.step : 0; };
    const Range part = {before(rows.begin), before(rows.end)};
    if (part.empty()) return;
    const Arena::Frame frame(scratch);
    VectorView<S> lse = scratch.vector<S>(at.queries);
    softmax_forward(pattern, NoTerm{}, logits,
                    Qkv<ConstView<S>>{at.of_queries(in.q), at.of_keys(in.k), at.of_keys(in.v)}, part,
                    Out<S>{at.of_queries(out.o), lse}, scratch);
    for (Index t = part.begin; t < part.end; ++t) out.lse[at.query + t * at.step] = lse[t];
  });
}

/// Adds the gradients of residue_forward over all rows to `din`. `pattern_of(residue)` is the pattern of a residue.
template <class PatternOf, class S>
void residue_backward(const PatternOf& pattern_of, Index step, Logits<S> logits, const Qkv<ConstView<S>>& in,
                      ConstOut<S> out, ConstOut<S> dout, const Qkv<View<S>>& din, Arena& scratch) {
  for_each_residue(step, in.q.rows(), in.k.rows(), [&](const Residue& at) {
    if (at.step == 1) return softmax_backward(pattern_of(at), NoTerm{}, logits, in, out, dout, din, scratch);
    const Arena::Frame frame(scratch);
    const auto gather = [&](ConstVectorView<S> all) -> ConstVectorView<S> {
      if (all.size() == 0) return {nullptr, 0};
      VectorView<S> some = scratch.vector<S>(at.queries);
      for (Index t = 0; t < at.queries; ++t) some[t] = all[at.query + t * at.step];
      return {some.data(), some.size()};
    };
    softmax_backward(
        pattern_of(at), NoTerm{}, logits, Qkv<ConstView<S>>{at.of_queries(in.q), at.of_keys(in.k), at.of_keys(in.v)},
        ConstOut<S>{at.of_queries(out.o), gather(out.lse)}, ConstOut<S>{at.of_queries(dout.o), gather(dout.lse)},
        Qkv<View<S>>{at.of_queries(din.q), at.of_keys(din.k), at.of_keys(din.v)}, scratch);
  });
}

/// Bytes of scratch that residue_forward takes.
template <class S>
std::size_t residue_forward_scratch(Index step, Index n_q, Index n_k, Index d, Index d_v) {
  if (step == 1) return softmax_forward_scratch<S>(n_q, n_k, d, d_v, true);
  const auto part = [&](Index n) { return n / step + (n % step > 0); };
  return softmax_forward_scratch<S>(part(n_q), part(n_k), d, d_v, true) + Arena::size_of<S>(part(n_q));
}
template <class S>
std::size_t residue_backward_scratch(Index step, Index n_q, Index n_k, Index d, Index d_v) {
  if (step == 1) return softmax_backward_scratch<S>(n_q, n_k, d, d_v, true);
  const auto part = [&](Index n) { return n / step + (n % step > 0); };
  return softmax_backward_scratch<S>(part(n_q), part(n_k), d, d_v, true) + 2 * Arena::size_of<S>(part(n_q));
}

}  // namespace heed
