// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/kernels/logits.hpp>
#include <heed/kernels/recent_panels.hpp>
#include <heed/kernels/relative_buckets.hpp>
#include <heed/kernels/relative_term.hpp>
#include <heed/kernels/softmax_backward.hpp>
#include <heed/kernels/softmax_forward.hpp>
#include <heed/kernels/softmax_stream.hpp>
#include <heed/patterns/algebra.hpp>
#include <heed/patterns/causal.hpp>
#include <heed/patterns/count.hpp>
#include <heed/patterns/full.hpp>
#include <heed/projections/qkv.hpp>

#include <algorithm>
#include <cmath>
#include <optional>
#include <type_traits>
#include <vector>

namespace heed {

/// Exact attention with a learned bias for the distance of query and key, in buckets that widen with it (T5), over any
/// key pattern.
///
///   o_i = sum_j p_ij v_j,  p_i = softmax_{j seen by i}(scale q_i.k_j + b_h(bucket(t))),  t = i + n_k - n_q - j,
///
/// where small distances have a bucket each, those up to max_distance logarithmic ones, and all beyond the last one
/// (RelativeBuckets): on both sides of the query, or, if causal, for what lies before it. The table has a number for
/// each bucket and head; all layers under one owner share it, as in the paper.
///
/// Cost:        pairs seen * (d + d_v) multiply-adds, as without the bias; saves nothing but output and log-sum-exp. A
///              stream holds its K and V.
/// Exactness:   exact on its pattern.
/// Paper:       Raffel et al. 2019, arXiv 1910.10683, section 2.1. There q.k has no scale, which a smaller start of the
///              query weights makes up for: `scale` 1 is theirs.
/// Limitation:  no order beyond max_distance; the bias does not look at what the tokens hold. T5 has it in
///              self-attention only: in cross-attention the distance between two texts says little. Not one table for
///              causal layers and others, whose buckets mean other distances: an owner for each stack, and Cross =
///              Tiled in a decoder.
template <class S, KeyPattern Pattern = Full>
class RelativeBias {
 public:
  static constexpr std::string_view name = "RelativeBias";
  static constexpr About about{
      "n^2 time, n memory",
      std::is_same_v<Pattern, Full> ? "exact with its bias" : "exact on its pattern, with its bias",
      "Raffel et al. 2019, arXiv 1910.10683"};
  using Scalar = S;
  template <class M>
  using Fields = Qkv<M>;
  using Projection = ProjectQkv<S>;

  struct Options {
    bool causal = false;       ///< row i of n_q sees keys j <= i + n_k - n_q only, and has no buckets for others
    Index num_buckets = 32;    ///< rows of the table; half of them for each side unless causal
    Index max_distance = 128;  ///< keys at this distance or further share a bucket, on each side
    std::optional<S> scale{};  ///< of q.k; 1 / sqrt(d) if not given
    Pattern pattern{};         ///< which keys a query may see
  };
  using Params = NoParams;
  /// `table [num_buckets, heads]`, as the authors store it: the buckets of keys up to the query first.
  struct Shared {
    Matrix<S> table;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("table", x.table...);
    }
  };
  struct Context {};
  struct Cache {};
  using State = RecentPanels<S>;

  static std::vector<Preset<Options>> presets() { return {{"", {}}, {"", {.causal = true}}}; }

  RelativeBias(const Options& options, HeadShape shape)
      : causal_(options.causal),
        shape_(shape),
        logits_(make_logits(options.scale, S(0), shape.key_dim)),
        buckets_(options.num_buckets, options.max_distance, !options.causal),
        pattern_(Causal{options.causal} & options.pattern) {}

  HeadShape shape() const { return shape_; }
  Causality causality() const { return causal_ ? Causality::strict : Causality::none; }
  Cost cost(CallShape call) const {
    const Index n_q = call.queries, n_k = call.keys, block = query_block_of(pattern_);
    const double pairs = static_cast<double>(visible_pairs(pattern_, n_q, n_k));
    const double d = static_cast<double>(shape_.key_dim), d_v = static_cast<double>(shape_.value_dim);
    Cost c;
    c.forward = pairs * (d + d_v);
    c.backward = pairs * (3 * d + 2 * d_v);
    c.forward_scratch = RelativeTerm<S>::scratch(buckets_, call, false) +
                        std::max(softmax_forward_scratch<S>(n_q, n_k, shape_.key_dim, shape_.value_dim, true, block),
                                 softmax_stream_scratch<S>(n_q, n_k, shape_.key_dim, shape_.value_dim, 1, block));
    c.backward_scratch = RelativeTerm<S>::scratch(buckets_, call, true) +
                         softmax_backward_scratch<S>(n_q, n_k, shape_.key_dim, shape_.value_dim, true, block);
    return c;
  }

  Params init(Random&) const { return {}; }
  /// Normal with variance 1 / (heads d), as the authors have it.
  Shared init_shared(Random& random) const {
    const Index width = std::max<Index>(shape_.heads * shape_.key_dim, 1);
    return {random_normal<S>(random, buckets_.count(), shape_.heads, 1 / std::sqrt(static_cast<double>(width)))};
  }
  void check(const Head<RelativeBias>& h, CallShape) const {
    const Matrix<S>& table = h.shared.table;
    require<ShapeError>(table.rows() == buckets_.count() && table.cols() == shape_.heads, "shared.table: [",
                        buckets_.count(), ", ", shape_.heads, "] expected, came [", table.rows(), ", ", table.cols(),
                        "]");
  }
  void reserve(CallShape, Cache&) const {}

  Index rows_per_task() const { return softmax_rows_per_task<S>; }
  void forward_rows(const Head<RelativeBias>& h, const Qkv<ConstView<S>>& in, Range rows, Out<S> out,
                    Arena& scratch) const {
    const Arena::Frame frame(scratch);
    softmax_forward(pattern_, term(h, {in.q.rows(), in.k.rows()}, scratch), logits_, in, rows, out, scratch);
  }
  void forward(const Head<RelativeBias>& h, const Qkv<ConstView<S>>& in, Out<S> out, Cache&, Arena& scratch) const {
    forward_rows(h, in, {0, in.q.rows()}, out, scratch);
  }
  void backward(const Head<RelativeBias>& h, const Qkv<ConstView<S>>& in, ConstOut<S> out, ConstOut<S> dout,
                const Cache&, const Qkv<View<S>>& din, const HeadGradient<RelativeBias>& g, Arena& scratch) const {
    const Arena::Frame frame(scratch);
    const RelativeTerm<S> term(buckets_, view(h.shared.table), h.head, {in.q.rows(), in.k.rows()}, view(g.shared.table),
                               scratch);
    softmax_backward(pattern_, term, logits_, in, out, dout, din, scratch);
  }

  State start(Index capacity, Index longest_chunk) const {
    require<OptionError>(causal_, "options.causal: a stream only sees its past; causal = true expected");
    return {capacity, capacity, longest_chunk, shape_.key_dim, shape_.value_dim};
  }
  void append(const Head<RelativeBias>&, State& state, const Qkv<ConstView<S>>& in) const { state.append(in.k, in.v); }
  void attend(const Head<RelativeBias>& h, const State& state, const Qkv<ConstView<S>>& in, Out<S> out,
              Arena& scratch) const {
    const Arena::Frame frame(scratch);
    softmax_stream(pattern_, term(h, {in.q.rows(), state.keys().size()}, scratch), logits_, in.q, state.keys(),
                   state.values(), 1, out, scratch);
  }

 private:
  RelativeTerm<S> term(const Head<RelativeBias>& h, CallShape call, Arena& scratch) const {
    return {buckets_, view(h.shared.table), h.head, call, scratch};
  }

  bool causal_;
  HeadShape shape_;
  Logits<S> logits_;
  RelativeBuckets buckets_;
  Intersection<Causal, Pattern> pattern_;
};
static_assert(RegisteredPolicy<RelativeBias<float>> && StreamingPolicy<RelativeBias<float>> &&
              RowwisePolicy<RelativeBias<float>>);

}  // namespace heed
