// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/kernels/bias_term.hpp>
#include <heed/kernels/logits.hpp>
#include <heed/kernels/softmax_backward.hpp>
#include <heed/kernels/softmax_forward.hpp>
#include <heed/patterns/algebra.hpp>
#include <heed/patterns/causal.hpp>
#include <heed/patterns/count.hpp>
#include <heed/patterns/full.hpp>
#include <heed/projections/qkv.hpp>

#include <optional>
#include <vector>

namespace heed {

/// Exact attention tile by tile, over any key pattern (FlashAttention).
///
///   o_i = sum_j p_ij v_j,  p_i = softmax_{j seen by i}(t(scale q_i.k_j) + b_ij),  computed with a running maximum and
///   sum, so that scores live only as tiles in the first cache; backward computes them again from the log-sum-exp.
///
/// Cost:        pairs seen * (d + d_v) multiply-adds; saves nothing but output and log-sum-exp. A stream holds its K
/// and V. Exactness:   exact on its pattern. Paper:       Dao et al. 2022, arXiv 2205.14135, algorithms 1 and 4; Dao
/// 2023, arXiv 2307.08691; online softmax by Milakov
///              and Gimelshein 2018, arXiv 1805.02867.
/// Limitation:  the time still grows with the pairs seen: n^2 for the full pattern.
template <class S, KeyPattern Pattern = Full>
class Tiled {
 public:
  static constexpr std::string_view name = "Tiled";
  static constexpr About about{"n^2 time, n memory", "exact", "Dao et al. 2022, arXiv 2205.14135"};
  using Scalar = S;
  template <class M>
  using Fields = Qkv<M>;
  using Projection = ProjectQkv<S>;

  struct Options {
    bool causal = false;       ///< row i of n_q sees keys j <= i + n_k - n_q only
    std::optional<S> scale{};  ///< of q.k; 1 / sqrt(d) if not given
    S soft_cap = 0;            ///< cap tanh(u / cap) on scaled scores; 0 for none
    std::vector<S> alibi{};    ///< one slope per head (see `alibi_slopes`), or none
    Pattern pattern{};         ///< which keys a query may see
  };
  using Params = NoParams;
  using Shared = NoParams;
  using Context = ScoreBias<S>;
  struct Cache {};
  /// Keys and values so far, in rows that lie side by side.
  struct State {
    Matrix<S> k, v;
    Index size = 0;
  };

  static std::vector<Preset<Options>> presets() { return {{"", {}}, {"", {.causal = true}}}; }

  Tiled(const Options& options, HeadShape shape)
      : options_(options),
        shape_(shape),
        logits_(make_logits(options.scale, options.soft_cap, shape.key_dim)),
        pattern_(compose(options)) {
    check_alibi(options.alibi, shape.heads);
  }

  HeadShape shape() const { return shape_; }
  Causality causality() const { return options_.causal ? Causality::strict : Causality::none; }
  Cost cost(CallShape call) const {
    const double pairs = static_cast<double>(visible_pairs(pattern_, call.queries, call.keys));
    const double d = static_cast<double>(shape_.key_dim), d_v = static_cast<double>(shape_.value_dim);
    Cost c;
    c.forward = pairs * (d + d_v);
    c.backward = pairs * (3 * d + 2 * d_v);
    c.forward_scratch = softmax_forward_scratch<S>(call.queries * call.group, call.keys, shape_.key_dim,
                                                   shape_.value_dim, true, call.group);
    if (call.group > 1)
      c.forward_scratch += Arena::size_of<S>(call.queries * call.group * shape_.key_dim) +
                           Arena::size_of<S>(call.queries * call.group * shape_.value_dim);
    c.backward_scratch = softmax_backward_scratch<S>(call.queries, call.keys, shape_.key_dim, shape_.value_dim, true);
    return c;
  }

  Params init(Random&) const { return {}; }
  Shared init_shared(Random&) const { return {}; }
  void check(const Head<Tiled>& h, CallShape call) const { h.context.check(h.sequence, h.head, shape_.heads, call); }
  void reserve(CallShape, Cache&) const {}

  Index rows_per_task() const { return softmax_rows_per_task<S>; }
  void forward_rows(const Head<Tiled>& h, const Qkv<ConstView<S>>& in, Range rows, Out<S> out, Arena& scratch) const {
    softmax_forward(pattern_, term(h), logits_, in, rows, 1, out, scratch);
  }
  void forward(const Head<Tiled>& h, const Qkv<ConstView<S>>& in, Out<S> out, Cache&, Arena& scratch) const {
    forward_rows(h, in, {0, in.q.rows()}, out, scratch);
  }
  void backward(const Head<Tiled>& h, const Qkv<ConstView<S>>& in, ConstOut<S> out, ConstOut<S> dout, const Cache&,
                const Qkv<View<S>>& din, const HeadGradient<Tiled>&, Arena& scratch) const {
    softmax_backward(pattern_, term(h), logits_, in, out, dout, din, scratch);
  }

  State start(Index capacity, Index) const {
    require<OptionError>(options_.causal, "options.causal: a stream only sees its past; causal = true expected");
    return {Matrix<S>(capacity, shape_.key_dim), Matrix<S>(capacity, shape_.value_dim), 0};
  }
  void append(const Head<Tiled>&, State& state, const Qkv<ConstView<S>>& in) const {
    state.k.middleRows(state.size, in.k.rows()) = in.k;
    state.v.middleRows(state.size, in.v.rows()) = in.v;
    state.size += in.k.rows();
  }
  void attend(const Head<Tiled>& h, const State& state, const Qkv<ConstView<S>>& in, Out<S> out, Arena& scratch) const {
    attend_group(h, 1, state, in, out, scratch);
  }
  void attend_group(const Head<Tiled>& first, Index group, const State& state, const Qkv<ConstView<S>>& in, Out<S> out,
                    Arena& scratch) const {
    const ConstView<S> k = block(state.k, 0, 0, state.size, state.k.cols());
    const ConstView<S> v = block(state.v, 0, 0, state.size, state.v.cols());
    const Index rows = in.q.rows() * group;
    if (group == 1)
      return softmax_forward(pattern_, term(first), logits_, {in.q, k, v}, {0, rows}, group, out, scratch);
    // Time by time, the heads of the group one below the other: [n, group d] becomes [n group, d].
    View<S> q = scratch.matrix<S>(rows, k.cols()), o = scratch.matrix<S>(rows, v.cols());
    for (Index r = 0; r < rows; ++r) q.row(r) = in.q.block(r / group, r % group * k.cols(), 1, k.cols());
    softmax_forward(pattern_, term(first), logits_, {view(q), k, v}, {0, rows}, group, {o, out.lse}, scratch);
    for (Index r = 0; r < rows; ++r) out.o.block(r / group, r % group * v.cols(), 1, v.cols()) = o.row(r);
  }

 private:
  /// What the options say, as one pattern; made once, as a pattern may hold tables.
  static auto compose(const Options& o) {
    if constexpr (std::is_same_v<Pattern, Full>)
      return Causal{o.causal};
    else
      return Causal{o.causal} & o.pattern;
  }
  BiasTerm<S> term(const Head<Tiled>& h) const { return {h.context, options_.alibi, h.sequence, h.head, shape_.heads}; }

  Options options_;
  HeadShape shape_;
  Logits<S> logits_;
  decltype(compose(Options{})) pattern_;
};
static_assert(RegisteredPolicy<Tiled<float>> && GroupStreamingPolicy<Tiled<float>> && RowwisePolicy<Tiled<float>>);

}  // namespace heed
