// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/kernels/diagonal_softmax.hpp>
#include <heed/kernels/gathered_backward.hpp>
#include <heed/kernels/gathered_forward.hpp>
#include <heed/kernels/logits.hpp>
#include <heed/patterns/count.hpp>
#include <heed/patterns/log_offsets.hpp>
#include <heed/projections/convolved_qkv.hpp>

#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

namespace heed {

namespace detail {
/// The keys of LogSparse: one of two sets, and all the past for the first positions.
class LogSparsePattern {
 public:
  LogSparsePattern(LogOffsets once, LogRestart again, bool restarts, Index dense)
      : once_(once), again_(again), restarts_(restarts), dense_(dense) {}
  void keys(Range positions, Index n_k, Ranges& ranges) const {
    if (positions.begin < dense_) ranges.add({0, std::min(positions.end, dense_)});
    return restarts_ ? again_.keys(positions, n_k, ranges) : once_.keys(positions, n_k, ranges);
  }
  bool sees(Index p, Index j) const { return p < dense_ ? j <= p : restarts_ ? again_.sees(p, j) : once_.sees(p, j); }
  bool all(Range positions, Range keys) const {
    if (positions.end <= dense_) return keys.end - 1 <= positions.begin;
    return restarts_ ? again_.all(positions, keys) : once_.all(positions, keys);
  }
  template <class F>
  void for_each_seen(Index p, Index n_k, const F& f) const {
    if (p < dense_) return p < 0 ? void() : f(Range{0, std::min(p + 1, n_k)});
    return restarts_ ? again_.for_each_seen(p, n_k, f) : once_.for_each_seen(p, n_k, f);
  }
  /// Whether all queries see their past at the same distances.
  bool is_diagonal() const { return dense_ == 0 && !(restarts_ && again_.drops_anchors()); }

 private:
  LogOffsets once_;
  LogRestart again_;
  bool restarts_;
  Index dense_;
};
static_assert(NamingPattern<LogSparsePattern>);
}  // namespace detail

/// LogSparse: every token sees its past at distances that grow as powers of two, so that a few layers reach all of it.
///
///   o_l = sum_{j in I_l} p_lj v_j,  p_l = softmax_{j in I_l}(scale q_l.k_j),
///   I_l = { l } and { l - 2^e >= 0 }                                    with W = local, S = restart, counted from 0:
///   I_l = { l - W + 1 ... l } and { l - W + 1 - 2^e >= 0 }              local,
///   I_l = the union over anchors a = l - r S >= 0 of { a - W + 1 ... a } and { a - W + 1 - 2^e, e < W, not below a - S }.
///
/// Queries and keys are causal convolutions of the tokens (`ConvolveQkv`).
///
/// Cost:        pairs seen * (d + d_v) multiply-adds: n (log2 n + local), and with restarts n (n / S) 2 W, which is n log n
///              for S in proportion to n; saves nothing but output and log-sum-exp. A stream holds its K and V, and a step
///              reads what its row sees.
/// Exactness:   exact on its pattern.
/// Paper:       Li et al. 2019, arXiv 1907.00235: sections 4.1 (convolution) and 4.2 (index sets, theorem 1).
/// Limitation:  always causal. Neighbouring tokens see different keys, so that nothing is shared between them: a pair costs
///              several times what it costs in a dense tile.
template <class S>
class LogSparse {
 public:
  static constexpr std::string_view name = "LogSparse";
  static constexpr About about{"n log n time, n memory", "exact on its pattern", "Li et al. 2019, arXiv 1907.00235"};
  using Scalar = S;
  template <class M>
  using Fields = Qkv<M>;
  using Projection = ConvolveQkv<S>;

  struct Options {
    Index local = 1;           ///< W: the token itself and the local - 1 before it, seen without gaps
    Index restart = 0;         ///< S: the set again from every so many tokens back; 0 for none
    std::optional<S> scale{};  ///< of q.k; 1 / sqrt(d) if not given
    /// As the code that circulates for a window of so many tokens: rows l < (dense_head / S) 2 W see all their past (S =
    /// dense_head without restart). 0 for none, as in the paper.
    Index dense_head = 0;
    /// As that code: the last anchor is left out where the window before it is cut off by the beginning.
    bool drop_anchor = false;
  };
  using Params = NoParams;
  using Shared = NoParams;
  struct Context {};
  struct Cache {};
  /// Keys and values so far.
  struct State {
    Matrix<S> k, v;
    Index size = 0;
  };

  static std::vector<Preset<Options>> presets() {
    return {{"", {}}, {"local:16", {.local = 16}}, {"local:10/restart:1024", {.local = 10, .restart = 1024}}};
  }

  LogSparse(const Options& options, HeadShape shape)
      : shape_(shape), logits_(make_logits(options.scale, S(0), shape.key_dim)), pattern_(make_pattern(options)) {}

  HeadShape shape() const { return shape_; }
  Causality causality() const { return Causality::strict; }
  Cost cost(CallShape call) const {
    const double pairs = static_cast<double>(visible_pairs(pattern_, call.queries, call.keys));
    const double d = static_cast<double>(shape_.key_dim), d_v = static_cast<double>(shape_.value_dim);
    Cost c;
    c.forward = pairs * (d + d_v);
    c.backward = pairs * (3 * d + 2 * d_v);
    const Index n_q = call.queries, n_k = call.keys;
    c.forward_scratch = gathered_forward_scratch<S>(n_q, n_k, shape_.key_dim, shape_.value_dim);
    c.backward_scratch = gathered_backward_scratch<S>(n_q, n_k, shape_.key_dim, shape_.value_dim);
    if (pattern_.is_diagonal()) {
      const std::size_t forward = diagonal_forward_scratch<S>(pattern_, n_q, n_k, shape_.key_dim, shape_.value_dim);
      c.forward_scratch = std::max(c.forward_scratch, forward);
      c.backward_scratch = diagonal_backward_scratch<S>(pattern_, n_q, n_k, shape_.key_dim, shape_.value_dim);
    }
    return c;
  }

  Params init(Random&) const { return {}; }
  Shared init_shared(Random&) const { return {}; }
  void check(const Head<LogSparse>&, CallShape) const {}
  void reserve(CallShape, Cache&) const {}

  /// Many: each task copies what its rows see.
  Index rows_per_task() const { return 16384; }
  void forward_rows(const Head<LogSparse>&, const Qkv<ConstView<S>>& in, Range rows, Out<S> out, Arena& scratch) const {
    if (pattern_.is_diagonal())
      diagonal_forward(pattern_, logits_, in, rows, out, scratch);
    else
      gathered_forward(pattern_, NoTerm{}, logits_, in, rows, out, scratch);
  }
  void forward(const Head<LogSparse>& h, const Qkv<ConstView<S>>& in, Out<S> out, Cache&, Arena& scratch) const {
    forward_rows(h, in, {0, in.q.rows()}, out, scratch);
  }
  void backward(const Head<LogSparse>&, const Qkv<ConstView<S>>& in, ConstOut<S> out, ConstOut<S> dout, const Cache&,
                const Qkv<View<S>>& din, const HeadGradient<LogSparse>&, Arena& scratch) const {
    if (pattern_.is_diagonal())
      diagonal_backward(pattern_, logits_, in, out, dout, din, scratch);
    else
      gathered_backward(pattern_, NoTerm{}, logits_, in, out, dout, din, scratch);
  }

  State start(Index capacity, Index) const {
    return {Matrix<S>(capacity, shape_.key_dim), Matrix<S>(capacity, shape_.value_dim)};
  }
  void append(const Head<LogSparse>&, State& state, const Qkv<ConstView<S>>& in) const {
    state.k.middleRows(state.size, in.k.rows()) = in.k;
    state.v.middleRows(state.size, in.v.rows()) = in.v;
    state.size += in.k.rows();
  }
  void attend(const Head<LogSparse>& h, const State& state, const Qkv<ConstView<S>>& in, Out<S> out,
              Arena& scratch) const {
    const Qkv<ConstView<S>> all{in.q, block(state.k, 0, 0, state.size, state.k.cols()),
                                block(state.v, 0, 0, state.size, state.v.cols())};
    if (detail::takes_rows(in.q.rows()))
      gathered_forward(pattern_, NoTerm{}, logits_, all, {0, in.q.rows()}, out, scratch);
    else
      forward_rows(h, all, {0, in.q.rows()}, out, scratch);
  }

 private:
  static detail::LogSparsePattern make_pattern(const Options& o) {
    require<OptionError>(o.local >= 1, "options.local: a window of at least 1 token expected, came ", o.local);
    require<OptionError>(o.restart >= 0, "options.restart: 0 (none) or more expected, came ", o.restart);
    require<OptionError>(o.restart == 0 || o.local <= LogRestart::longest_window, "options.local: at most ",
                         LogRestart::longest_window, " tokens with restarts expected, came ", o.local);
    require<OptionError>(o.dense_head >= 0, "options.dense_head: 0 (none) or more expected, came ", o.dense_head);
    require<OptionError>(!o.drop_anchor || o.restart > 0, "options.drop_anchor: only with restarts");
    const Index sets = o.dense_head == 0 ? 0 : o.restart > 0 ? o.dense_head / o.restart : 1;
    const Index most = std::numeric_limits<Index>::max() / 2 / o.local;
    const bool restarts = o.restart > 0;
    return {LogOffsets(o.local), restarts ? LogRestart(o.local, o.restart, o.drop_anchor) : LogRestart(), restarts,
            std::min(sets, most) * 2 * o.local};
  }

  HeadShape shape_;
  Logits<S> logits_;
  detail::LogSparsePattern pattern_;
};
static_assert(RegisteredPolicy<LogSparse<float>> && StreamingPolicy<LogSparse<float>> &&
              RowwisePolicy<LogSparse<float>>);

}  // namespace heed
