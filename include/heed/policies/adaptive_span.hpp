// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/kernels/distance_term.hpp>
#include <heed/kernels/logits.hpp>
#include <heed/kernels/recent_panels.hpp>
#include <heed/kernels/softmax_backward.hpp>
#include <heed/kernels/softmax_forward.hpp>
#include <heed/kernels/softmax_stream.hpp>
#include <heed/kernels/spans.hpp>
#include <heed/projections/qkv.hpp>
#include <heed/projections/qkv_span.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <type_traits>
#include <vector>

namespace heed {

/// Where a span comes from.
enum class SpanFrom {
  head,  ///< one learned number per head
  query  ///< each query's own: z = max_span sigmoid(w.x + b), "dynamic" in the paper
};

/// What a head learns: z / max_span, `[1, 1]`, between 0 and 1.
template <class S>
struct SpanParams {
  Matrix<S> span;
  template <class F, class... X>
  static void visit(F&& f, X&... x) {
    f("span", x.span...);
  }
};

/// Attention whose heads learn how far they look back, with a soft end and a table of relative positions (adaptive
/// attention span).
///
///   o_i = sum_j p_ij v_j,  p_ij = m_z(x) e^(s_ij) / sum_j' m_z(x') e^(s_ij'),  s_ij = scale q_i.(k_j + table_(i-j)),
///   m_z(x) = clamp((R + z - x) / R, 0, 1),  x = i - j,
///
/// where z, between 0 and max_span, is learned: one number per head, or (DynamicSpan) of each query. The ramp of length
/// R lets its gradient through. The table is shared by all heads, and by all layers under one owner.
///
/// Cost:        n (z + R) pairs a head, of its own z; pairs * (2 d + d_v) multiply-adds. Saves nothing but output and
///              log-sum-exp. A stream holds the last max_span keys and values.
/// Exactness:   exact on its pattern; the gradient of z too. At m = 0 and m = 1 exactly it is taken as 0.
/// Paper:       Sukhbaatar et al. 2019, arXiv 1905.07799, equations 1 to 8. There a token does not see itself
///              (`sees_itself`), and x = 1 for the one before it (`distance_origin`); the authors' code has x = 0 there,
///              and zeros that take weight before the first token (`zero_history`).
/// Limitation:  a head whose ramp ends before a useful key gets no gradient from it.
template <class S, SpanFrom from = SpanFrom::head>
class AdaptiveSpan {
  static constexpr bool per_head = from == SpanFrom::head;

 public:
  static constexpr std::string_view name = per_head ? "AdaptiveSpan" : "DynamicSpan";
  static constexpr About about{per_head ? "n (mean span + ramp) time, n memory" : "n (longest span) time, n memory",
                               "exact on its pattern", "Sukhbaatar et al. 2019, arXiv 1905.07799"};
  using Scalar = S;
  template <class M>
  using Fields = std::conditional_t<per_head, Qkv<M>, QkvSpan<M>>;
  using Projection = std::conditional_t<per_head, ProjectQkv<S>, ProjectQkvSpan<S>>;

  struct Options {
    Index max_span = 1024;      ///< a query sees no more keys than these, however long its span and ramp
    S ramp = 32;                ///< R, at least 1: keys over which the weight falls to 0
    S initial_span = 0;         ///< z of every head at the start; the dynamic span starts where its projection says
    std::optional<S> scale{};   ///< of q.(k + table); 1 / sqrt(d) if not given
    bool sees_itself = true;    ///< or only what comes before it
    Index distance_origin = 0;  ///< x of the nearest key seen, 0 or 1
    bool zero_history = false;  ///< keys and values before the first are zeros and take their weight, at a copy of all
  };
  using Params = std::conditional_t<per_head, SpanParams<S>, NoParams>;
  /// `table [max_span, d]`: row t is that of the nearest key seen for t = 0, then of those before it.
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

  static std::vector<Preset<Options>> presets() {
    if constexpr (per_head)
      return {{"span:256", {.initial_span = 256}}};
    else
      return {{"", {}}};
  }

  AdaptiveSpan(const Options& options, HeadShape shape)
      : options_(options), shape_(shape), logits_(make_logits(options.scale, S(0), shape.key_dim)) {
    constexpr Index countable = Index{1} << std::min(std::numeric_limits<S>::digits, 40);
    require<OptionError>(options.max_span >= 1 && options.max_span <= countable, "options.max_span: between 1 and ",
                         countable, " expected, came ", options.max_span);
    require<OptionError>(std::isfinite(options.ramp) && options.ramp >= 1,
                         "options.ramp: a finite number of at least 1 expected, came ", options.ramp);
    require<OptionError>(options.initial_span >= 0 && options.initial_span <= static_cast<S>(options.max_span),
                         "options.initial_span: between 0 and max_span = ", options.max_span, " expected, came ",
                         options.initial_span);
    require<OptionError>(per_head || options.initial_span == 0,
                         "options.initial_span: a dynamic span starts where the projection says; 0 expected, came ",
                         options.initial_span);
    require<OptionError>(options.distance_origin == 0 || options.distance_origin == 1,
                         "options.distance_origin: 0 or 1 expected, came ", options.distance_origin);
  }

  HeadShape shape() const { return shape_; }
  Causality causality() const { return Causality::strict; }
  /// With the longest span for every query.
  Cost cost(CallShape call) const { return cost(call, options_.max_span); }
  /// With the span of this head.
  Cost cost(const Head<AdaptiveSpan>& h, CallShape call) const requires(per_head) {
    return cost(call, ramp().reach(end_of(h)));
  }

  Params init(Random&) const {
    if constexpr (per_head)
      return {Matrix<S>::Constant(1, 1, options_.initial_span / static_cast<S>(options_.max_span))};
    else
      return {};
  }
  /// Normal with variance 1, as the authors have it.
  Shared init_shared(Random& random) const { return {random_normal<S>(random, options_.max_span, shape_.key_dim, 1)}; }

  /// Throws ShapeError for a span outside [0, 1] too: `clamp` after each step of an optimiser keeps it there.
  void check(const Head<AdaptiveSpan>& h, CallShape) const {
    const Matrix<S>& table = h.shared.table;
    require<ShapeError>(table.rows() == options_.max_span && table.cols() == shape_.key_dim, "shared.table: [",
                        options_.max_span, ", ", shape_.key_dim, "] expected, came [", table.rows(), ", ", table.cols(),
                        "]");
    if constexpr (per_head) {
      const Matrix<S>& span = h.own.span;
      require<ShapeError>(span.rows() == 1 && span.cols() == 1, "weights.heads.", h.head,
                          ".span: [1, 1] expected, came [", span.rows(), ", ", span.cols(), "]");
      require<ShapeError>(span(0, 0) >= 0 && span(0, 0) <= 1, "weights.heads.", h.head,
                          ".span: between 0 and 1 (see clamp) expected, came ", span(0, 0));
    }
  }
  void reserve(CallShape, Cache&) const {}

  Index rows_per_task() const { return softmax_rows_per_task<S>; }
  void forward_rows(const Head<AdaptiveSpan>& h, const Fields<ConstView<S>>& in, Range rows, Out<S> out,
                    Arena& scratch) const {
    if (!options_.zero_history) return forward_part(h, in, rows, out, scratch);
    for (Index begin = rows.begin; begin < rows.end; begin += rows_per_task()) {
      const Arena::Frame frame(scratch);
      const Range part{begin, std::min(rows.end, begin + rows_per_task())};
      forward_part(h, with_history(in, part, scratch), {0, part.size()},
                   {block(out.o, begin, 0, part.size(), out.o.cols()), {out.lse.data() + begin, part.size()}}, scratch);
    }
  }
  void forward(const Head<AdaptiveSpan>& h, const Fields<ConstView<S>>& in, Out<S> out, Cache&, Arena& scratch) const {
    forward_rows(h, in, {0, in.q.rows()}, out, scratch);
  }
  void backward(const Head<AdaptiveSpan>& h, const Fields<ConstView<S>>& in, ConstOut<S> out, ConstOut<S> dout,
                const Cache&, const Fields<View<S>>& din, const HeadGradient<AdaptiveSpan>& g, Arena& scratch) const {
    const Arena::Frame frame(scratch);
    if (!options_.zero_history) return pull(h, in, out, dout, din, din.k, din.v, g, scratch);
    const Fields<ConstView<S>> all = with_history(in, {0, in.q.rows()}, scratch);
    View<S> dk = scratch.matrix<S>(all.k.rows(), all.k.cols()), dv = scratch.matrix<S>(all.v.rows(), all.v.cols());
    dk.setZero();
    dv.setZero();
    pull(h, all, out, dout, din, dk, dv, g, scratch);
    const Index n = std::min(in.k.rows(), all.k.rows());  // what comes before is zeros, or out of reach
    View<S> to_k = din.k, to_v = din.v;
    to_k.bottomRows(n) += dk.bottomRows(n);
    to_v.bottomRows(n) += dv.bottomRows(n);
  }

  State start(Index capacity, Index longest_chunk) const {
    const Index zeros = options_.zero_history ? options_.max_span : 0, d = shape_.key_dim, d_v = shape_.value_dim;
    State state(options_.max_span, capacity + zeros, std::max(longest_chunk, zeros), d, d_v);
    const Matrix<S> k = Matrix<S>::Zero(zeros, d), v = Matrix<S>::Zero(zeros, d_v);
    state.append(view(k), view(v));
    return state;
  }
  void append(const Head<AdaptiveSpan>&, State& state, const Fields<ConstView<S>>& in) const {
    state.append(in.k, in.v);
  }
  void attend(const Head<AdaptiveSpan>& h, const State& state, const Fields<ConstView<S>>& in, Out<S> out,
              Arena& scratch) const {
    const Arena::Frame frame(scratch);
    const Index n_k = state.keys().size();
    const auto spans = spans_of(h, in, {0, in.q.rows()}, n_k - in.q.rows(), scratch);
    const DistanceTerm term(in.q, {0, in.q.rows()}, view(h.shared.table), std::min(spans.distances(), n_k), nearest(),
                            logits_.scale, spans, scratch);
    softmax_stream(spans, term, logits_, in.q, state.keys(), state.values(), 1, out, scratch);
  }

  /// What a loss adds for long spans, lambda / M sum_h z_h over the M heads of a layer (the paper has lambda = 2e-6).
  S penalty(const std::vector<Params>& heads, S lambda) const requires(per_head) {
    S sum = 0;
    for (const Params& head : heads) sum += head.span(0, 0);
    return heads.empty() ? S(0) : lambda * static_cast<S>(options_.max_span) * sum / static_cast<S>(heads.size());
  }
  /// Adds the gradient of the penalty.
  void penalty_backward(S lambda, std::vector<Params>& gradient) const requires(per_head) {
    for (Params& head : gradient)
      head.span(0, 0) += lambda * static_cast<S>(options_.max_span) / static_cast<S>(gradient.size());
  }
  /// Takes the spans back to [0, max_span]: after each step of an optimiser.
  static void clamp(std::vector<Params>& heads) requires(per_head) {
    for (Params& head : heads) head.span = head.span.cwiseMax(S(0)).cwiseMin(S(1));
  }

 private:
  using Span = std::conditional_t<per_head, detail::HeadSpan<S>, detail::QuerySpans<S>>;

  Index nearest() const { return options_.sees_itself ? 0 : 1; }
  Index distances(Index n_k) const { return std::min(options_.max_span, n_k); }
  detail::SoftRamp<S> ramp() const { return {options_.ramp, options_.distance_origin, options_.max_span}; }
  /// z + R for a span as a part of the longest.
  S end_of(S part) const { return static_cast<S>(options_.max_span) * part + options_.ramp; }
  S end_of(const Head<AdaptiveSpan>& h) const requires(per_head) { return end_of(h.own.span(0, 0)); }
  static S sigmoid(S x) { return 1 / (1 + std::exp(-x)); }

  Span spans_of(const Head<AdaptiveSpan>& h, const Fields<ConstView<S>>& in, Range rows, Index shift,
                Arena& scratch) const {
    if constexpr (per_head) {
      static_cast<void>(in), static_cast<void>(rows), static_cast<void>(shift);
      return Span(ramp(), end_of(h), nearest(), scratch);
    } else {
      static_cast<void>(h);
      return Span(
          ramp(), [&](Index i) { return end_of(sigmoid(in.span(i, 0))); }, rows, nearest(), shift, scratch);
    }
  }

  void forward_part(const Head<AdaptiveSpan>& h, const Fields<ConstView<S>>& in, Range rows, Out<S> out,
                    Arena& scratch) const {
    const Arena::Frame frame(scratch);
    const Span spans = spans_of(h, in, rows, in.k.rows() - in.q.rows(), scratch);
    const DistanceTerm term(in.q, rows, view(h.shared.table), std::min(spans.distances(), in.k.rows()), nearest(),
                            logits_.scale, spans, scratch);
    softmax_forward(spans, term, logits_, {in.q, in.k, in.v}, rows, out, scratch);
  }
  void pull(const Head<AdaptiveSpan>& h, const Fields<ConstView<S>>& in, ConstOut<S> out, ConstOut<S> dout,
            const Fields<View<S>>& din, View<S> dk, View<S> dv, const HeadGradient<AdaptiveSpan>& g,
            Arena& scratch) const {
    const Span spans = spans_of(h, in, {0, in.q.rows()}, in.k.rows() - in.q.rows(), scratch);
    const DistanceTerm term(in.q, view(h.shared.table), std::min(spans.distances(), in.k.rows()), nearest(),
                            logits_.scale, spans, din.q, scratch);
    softmax_backward(spans, term, logits_, {in.q, in.k, in.v}, out, dout, Qkv<View<S>>{din.q, dk, dv}, scratch);
    term.finish(view(g.shared.table));
    const S longest = static_cast<S>(options_.max_span);  // z = longest part
    if constexpr (per_head) {
      g.own.span(0, 0) += longest * spans.gradient();
    } else {
      View<S> dspan = din.span;  // part = sigmoid(span)
      for (Index i = 0; i < dspan.rows(); ++i) {
        const S part = sigmoid(in.span(i, 0));
        dspan(i, 0) += longest * part * (1 - part) * spans.gradient(i);
      }
    }
  }

  /// The queries `rows` alone, with the keys in reach of them and zeros for those before the first.
  Fields<ConstView<S>> with_history(const Fields<ConstView<S>>& in, Range rows, Arena& scratch) const {
    const Index end = rows.end + in.k.rows() - in.q.rows(), n = rows.size() + options_.max_span;
    const auto copy = [&](ConstView<S> m) {
      View<S> all = scratch.matrix<S>(n, m.cols());
      const Index rest = std::clamp<Index>(end, 0, n);
      all.topRows(n - rest).setZero();
      all.bottomRows(rest) = m.middleRows(std::max<Index>(end, 0) - rest, rest);
      return view(all);
    };
    const auto queries = [&](ConstView<S> m) { return block(m, rows.begin, 0, rows.size(), m.cols()); };
    if constexpr (per_head)
      return {queries(in.q), copy(in.k), copy(in.v)};
    else
      return {queries(in.q), copy(in.k), copy(in.v), queries(in.span)};
  }

  Cost cost(CallShape call, Index reach) const {
    const Index n_q = call.queries, d = shape_.key_dim, d_v = shape_.value_dim;
    const bool history = options_.zero_history;
    const Index n_k = history ? std::max(call.keys, n_q + options_.max_span) : call.keys;
    const Index streamed = history ? call.keys + options_.max_span : call.keys;  // a stream keeps its zeros
    double pairs = 0;
    for (Index p = call.keys - n_q; p < call.keys; ++p) {
      const Index seen = p - nearest() + 1;
      pairs += static_cast<double>(history ? reach : std::clamp<Index>(seen, 0, reach));
    }
    const auto copies = [&](Index rows) {
      return history ? Arena::size_of<S>((rows + options_.max_span) * d) +
                           Arena::size_of<S>((rows + options_.max_span) * d_v)
                     : 0;
    };
    std::size_t spans = 0;
    if constexpr (per_head)
      spans = Span::scratch(ramp());
    else
      spans = Span::scratch(n_q);
    Cost c;
    c.forward = pairs * static_cast<double>(2 * d + d_v);
    c.backward = pairs * static_cast<double>(6 * d + 2 * d_v);
    c.forward_scratch = copies(std::min(n_q, rows_per_task())) + spans +
                        DistanceTerm<S, Span>::scratch(distances(n_k), d, false) +
                        std::max(softmax_forward_scratch<S>(n_q, n_k, d, d_v, !history),
                                 softmax_stream_scratch<S>(n_q, streamed, d, d_v, 1));
    c.backward_scratch = 2 * copies(n_q) + spans + DistanceTerm<S, Span>::scratch(distances(n_k), d, true) +
                         softmax_backward_scratch<S>(n_q, n_k, d, d_v, !history);
    return c;
  }

  Options options_;
  HeadShape shape_;
  Logits<S> logits_;
};

/// With a span for each query, z_i = max_span sigmoid(w.x_i + b), which its projection makes.
template <class S>
using DynamicSpan = AdaptiveSpan<S, SpanFrom::query>;

static_assert(RegisteredPolicy<AdaptiveSpan<float>> && StreamingPolicy<AdaptiveSpan<float>> &&
              RowwisePolicy<AdaptiveSpan<float>> && HeadCostPolicy<AdaptiveSpan<float>>);
static_assert(RegisteredPolicy<DynamicSpan<float>> && StreamingPolicy<DynamicSpan<float>> &&
              RowwisePolicy<DynamicSpan<float>>);

}  // namespace heed
