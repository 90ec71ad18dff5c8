// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/kernels/bias_term.hpp>
#include <heed/kernels/logits.hpp>
#include <heed/kernels/softmax_backward.hpp>
#include <heed/kernels/softmax_forward.hpp>
#include <heed/kernels/softmax_stream.hpp>
#include <heed/patterns/algebra.hpp>
#include <heed/patterns/causal.hpp>
#include <heed/patterns/count.hpp>
#include <heed/patterns/full.hpp>
#include <heed/projections/qkv.hpp>

#include <algorithm>
#include <optional>
#include <type_traits>
#include <vector>

namespace heed {

/// Exact attention tile by tile, over any key pattern (FlashAttention).
///
///   o_i = sum_j p_ij v_j,  p_i = softmax_{j seen by i}(t(scale q_i.k_j) + b_ij),  with a running maximum and sum, so that
///   scores live only as tiles in the first cache; backward computes them again from the log-sum-exp.
///
/// Cost:        pairs seen * (d + d_v) multiply-adds; saves nothing but output and log-sum-exp. A stream holds its K and V.
/// Exactness:   exact on its pattern.
/// Paper:       Dao et al. 2022, arXiv 2205.14135, algorithms 1 and 4; Dao 2023, arXiv 2307.08691; the online softmax is
///              Milakov and Gimelshein's, 2018, arXiv 1805.02867.
/// Limitation:  the time still grows with the pairs seen: n^2 for the full pattern.
template <class S, KeyPattern Pattern = Full>
class Tiled {
 public:
  static constexpr std::string_view name = "Tiled";
  static constexpr About about{"n^2 time, n memory", std::is_same_v<Pattern, Full> ? "exact" : "exact on its pattern",
                               "Dao et al. 2022, arXiv 2205.14135"};
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
  /// Keys and values so far.
  struct State {
    KeyPanels<S> k;
    Matrix<S> v;
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
    c.forward_scratch = std::max(softmax_forward_scratch<S>(call.queries, call.keys, shape_.key_dim, shape_.value_dim,
                                                            true, query_block_of(pattern_)),
                                 stream_scratch(call));
    c.backward_scratch = softmax_backward_scratch<S>(call.queries, call.keys, shape_.key_dim, shape_.value_dim, true,
                                                     query_block_of(pattern_));
    return c;
  }

  Params init(Random&) const { return {}; }
  Shared init_shared(Random&) const { return {}; }
  void check(const Head<Tiled>& h, CallShape call) const { h.context.check(h.sequence, h.head, shape_.heads, call); }
  void reserve(CallShape, Cache&) const {}

  Index rows_per_task() const { return softmax_rows_per_task<S>; }
  void forward_rows(const Head<Tiled>& h, const Qkv<ConstView<S>>& in, Range rows, Out<S> out, Arena& scratch) const {
    softmax_forward(pattern_, term(h), logits_, in, rows, out, scratch);
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
    return {KeyPanels<S>(capacity, shape_.key_dim), Matrix<S>(capacity, shape_.value_dim)};
  }
  void append(const Head<Tiled>&, State& state, const Qkv<ConstView<S>>& in) const {
    state.v.middleRows(state.k.size(), in.v.rows()) = in.v;
    state.k.append(in.k);
  }
  void attend(const Head<Tiled>& h, const State& state, const Qkv<ConstView<S>>& in, Out<S> out, Arena& scratch) const {
    softmax_stream(pattern_, term(h), logits_, in.q, state.k, values(state), 1, out, scratch);
  }
  void attend_group(const Head<Tiled>& first, Index group, const State& state, const Qkv<ConstView<S>>& in, Out<S> out,
                    Arena& scratch) const {
    if (group == 1) return attend(first, state, in, out, scratch);
    // Time by time, the heads of the group one below the other: [n, group d] becomes [n group, d].
    const Index rows = in.q.rows() * group, d = shape_.key_dim, d_v = shape_.value_dim;
    View<S> q = scratch.matrix<S>(rows, d), o = scratch.matrix<S>(rows, d_v);
    for (Index r = 0; r < rows; ++r) q.row(r) = in.q.block(r / group, r % group * d, 1, d);
    softmax_stream(pattern_, term(first), logits_, view(q), state.k, values(state), group, {o, out.lse}, scratch);
    for (Index r = 0; r < rows; ++r) out.o.block(r / group, r % group * d_v, 1, d_v) = o.row(r);
  }

 private:
  /// What the options say, as one pattern; made once, as a pattern may hold tables.
  static auto compose(const Options& o) {
    if constexpr (std::is_same_v<Pattern, Full>)
      return Causal{o.causal};
    else
      return Causal{o.causal} & o.pattern;
  }
  static ConstView<S> values(const State& state) { return block(state.v, 0, 0, state.k.size(), state.v.cols()); }
  std::size_t stream_scratch(CallShape call) const {
    const Index rows = call.queries * call.group;
    const std::size_t copies = Arena::size_of<S>(rows * shape_.key_dim) + Arena::size_of<S>(rows * shape_.value_dim);
    return (call.group > 1 ? copies : 0) + softmax_stream_scratch<S>(rows, call.keys, shape_.key_dim, shape_.value_dim,
                                                                     call.group, query_block_of(pattern_));
  }
  BiasTerm<S> term(const Head<Tiled>& h) const { return {h.context, options_.alibi, h.sequence, h.head, shape_.heads}; }

  Options options_;
  HeadShape shape_;
  Logits<S> logits_;
  decltype(compose(Options{})) pattern_;
};
static_assert(RegisteredPolicy<Tiled<float>> && GroupStreamingPolicy<Tiled<float>> && RowwisePolicy<Tiled<float>>);

}  // namespace heed
