// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/kernels/logits.hpp>
#include <heed/kernels/merge.hpp>
#include <heed/kernels/score_terms.hpp>
#include <heed/kernels/softmax_backward.hpp>
#include <heed/kernels/softmax_forward.hpp>
#include <heed/patterns/full.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <optional>
#include <vector>

namespace heed {

namespace detail {

/// The stream state of a policy, or nothing.
template <class P>
struct InnerState {
  struct Type {};
};
template <class P>
requires requires { typename P::State; }
struct InnerState<P> {
  using Type = typename P::State;
};

}  // namespace detail

/// A policy whose memory can be joined: its queries are a field q, as wide as its keys.
template <class P>
concept QueryingPolicy = AttentionPolicy<P> && requires(typename P::template Fields<int> f) {
  f.q;
};

/// Persistent memory: N learned keys and values of each head beside those of the context, under one softmax
/// (all-attention). They take the place of a block's feed-forward layer, of which one head over N of them is a softmax
/// version of width N.
///
///   o_i = sum_j p_ij v_j + sum_r p_ir m^v_r,  p_i = softmax over both of (context scores, t(scale q_i.m^k_r)),
///
/// where the context is any policy: its result and that over the memory merge by their log-sum-exps. The memory is
/// never masked, has no position and no bias; a row whose context is empty sees the memory alone. Whether the whole is
/// causal, streams, chooses or has independent rows is as with the inner policy. N = 0 is the inner policy.
///
/// Cost:        that of the inner policy and n_q N (d + d_v) multiply-adds; saves what the inner policy saves, and its
///              result where its rows are not independent. A stream holds what the inner policy's does.
/// Exactness:   that of the inner policy.
/// Paper:       Sukhbaatar et al. 2019, arXiv 1907.01470.
/// Limitation:  each head has a memory of its own, so that decoding reads heads that share keys one by one.
template <QueryingPolicy Inner>
class PersistentMemory {
 public:
  static constexpr std::string_view name = "PersistentMemory";
  static constexpr About about{"n (n + N) time, n memory", "exact over context and memory",
                               "Sukhbaatar et al. 2019, arXiv 1907.01470"};
  using Scalar = typename Inner::Scalar;
  using S = Scalar;
  template <class M>
  using Fields = typename Inner::template Fields<M>;
  using Projection = typename Inner::Projection;

  struct Options {
    Index memory = 1024;    ///< learned keys and values of each head
    bool rescaled = false;  ///< the authors': m_k and m_v hold keys / sqrt(d) and values / sqrt(N), and so learn faster
    std::optional<S> scale{};  ///< of q.m_k; if not given as in the inner options if these have one, else 1 / sqrt(d)
    typename Inner::Options inner{};  ///< a soft cap there holds for the memory too
  };
  /// `m_k [N, d]`, `m_v [N, d_v]`, and what the inner policy learns.
  struct Params {
    Matrix<S> m_k, m_v;
    typename Inner::Params inner;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("m_k", x.m_k...);
      f("m_v", x.m_v...);
      f("inner", x.inner...);
    }
  };
  using Shared = typename Inner::Shared;
  using Context = typename Inner::Context;
  using State = typename detail::InnerState<Inner>::Type;
  using Choices = detail::ChoicesOf<Inner>;
  /// The context's own result, unless its rows are independent.
  struct Cache {
    typename Inner::Cache inner;
    Buffer<S> o, lse;
  };

  /// Of the inner presets those without a name.
  static std::vector<Preset<Options>> presets() requires RegisteredPolicy<Inner> {
    std::vector<Preset<Options>> all;
    for (const Preset<typename Inner::Options>& p : Inner::presets())
      if (p.name.empty()) {
        Options o;
        o.inner = p.options;
        all.push_back({"memory:1024", o, p.longest});
      }
    return all;
  }

  PersistentMemory(const Options& options, HeadShape shape)
      : options_(checked(options)), shape_(shape), inner_(options.inner, shape), logits_(logits(options, shape)) {}

  HeadShape shape() const { return shape_; }
  Causality causality() const { return inner_.causality(); }
  Cost cost(CallShape call) const { return cost(call, inner_.cost(call)); }
  /// Where the inner policy knows the cost of a head.
  Cost cost(const Head<PersistentMemory>& h, CallShape call) const requires HeadCostPolicy<Inner> {
    return cost(call, inner_.cost(down(h), call));
  }

  /// Effective keys and values are normal with variance 1.
  Params init(Random& random) const {
    const auto normal = [&](Index cols, Index over) {
      const double factor = options_.rescaled ? std::sqrt(static_cast<double>(std::max<Index>(over, 1))) : 1.0;
      return random_normal<S>(random, options_.memory, cols, 1 / factor);
    };
    Params p;
    p.m_k = normal(shape_.key_dim, shape_.key_dim);
    p.m_v = normal(shape_.value_dim, options_.memory);
    p.inner = inner_.init(random);
    return p;
  }
  Shared init_shared(Random& random) const { return inner_.init_shared(random); }
  void check(const Head<PersistentMemory>& h, CallShape call) const {
    const auto check_shape = [&](const char* what, const Matrix<S>& m, Index cols) {
      require<ShapeError>(m.rows() == options_.memory && m.cols() == cols, "weights.heads.", what, ": [",
                          options_.memory, ", ", cols, "] expected, came [", m.rows(), ", ", m.cols(), "]");
    };
    check_shape("m_k", h.own.m_k, shape_.key_dim);
    check_shape("m_v", h.own.m_v, shape_.value_dim);
    inner_.check(down(h), call);
  }
  void reserve(CallShape call, Cache& cache) const {
    inner_.reserve(call, cache.inner);
    if constexpr (!keeps_nothing) {
      cache.o.reserve(call.queries * shape_.value_dim);
      cache.lse.reserve(call.queries);
    }
  }
  void choose(const Head<PersistentMemory>& h, const Fields<ConstView<S>>& in, Cache& cache,
              Arena& scratch) const requires ChoosingPolicy<Inner> {
    inner_.choose(down(h), in, cache.inner, scratch);
  }
  Choices& choices(Cache& cache) const requires ChoosingPolicy<Inner> { return inner_.choices(cache.inner); }

  Index rows_per_task() const requires RowwisePolicy<Inner> {
    return std::lcm(inner_.rows_per_task(), softmax_rows_per_task<S>);
  }
  void forward_rows(const Head<PersistentMemory>& h, const Fields<ConstView<S>>& in, Range rows, Out<S> out,
                    Arena& scratch) const requires RowwisePolicy<Inner> {
    {
      const Arena::Frame frame(scratch);
      inner_.forward_rows(down(h), in, rows, out, scratch);
    }
    add_memory(h, in.q, rows, out, scratch);
  }
  void forward(const Head<PersistentMemory>& h, const Fields<ConstView<S>>& in, Out<S> out, Cache& cache,
               Arena& scratch) const {
    const Index n = in.q.rows();
    {
      const Arena::Frame frame(scratch);
      inner_.forward(down(h), in, out, cache.inner, scratch);
    }
    if constexpr (!keeps_nothing) {
      cache.o.resize(n, out.o.cols()) = out.o;
      cache.lse.resize(n, 1) = out.lse;
    }
    add_memory(h, in.q, {0, n}, out, scratch);
  }
  void backward(const Head<PersistentMemory>& h, const Fields<ConstView<S>>& in, ConstOut<S> out, ConstOut<S> dout,
                const Cache& cache, const Fields<View<S>>& din, const HeadGradient<PersistentMemory>& g,
                Arena& scratch) const {
    pull_memory(h, in.q, out, dout, din.q, g.own, scratch);
    const Arena::Frame frame(scratch);
    const HeadGradient<Inner> inner_gradient{g.own.inner, g.shared};
    if constexpr (keeps_nothing) {  // it takes its weights from the log-sum-exp over both
      inner_.backward(down(h), in, out, dout, cache.inner, din, inner_gradient, scratch);
    } else {
      // o = w o_c + (1 - w) o_m and lse = log(e^lse_c + e^lse_m), with the context's part w = e^(lse_c - lse).
      const Index n = in.q.rows();
      const ConstView<S> o = cache.o.view();
      const ConstVectorView<S> lse(cache.lse.view().data(), n);
      View<S> d_o = scratch.matrix<S>(n, o.cols());
      VectorView<S> d_lse = scratch.vector<S>(n);
      for (Index i = 0; i < n; ++i) {
        const bool empty = lse(i) == -std::numeric_limits<S>::infinity();
        const S w = empty ? S(0) : std::exp(lse(i) - out.lse(i));
        for (Index e = 0; e < o.cols(); ++e) d_o(i, e) = empty ? S(0) : w * dout.o(i, e);
        S moved = dout.lse.size() > 0 ? dout.lse(i) : S(0);
        for (Index e = 0; e < o.cols(); ++e) moved += dout.o(i, e) * (o(i, e) - out.o(i, e));
        d_lse(i) = empty ? S(0) : w * moved;
      }
      inner_.backward(down(h), in, {o, lse}, {view(d_o), {d_lse.data(), n}}, cache.inner, din, inner_gradient, scratch);
    }
  }

  State start(Index capacity, Index longest_chunk) const requires StreamingPolicy<Inner> {
    return inner_.start(capacity, longest_chunk);
  }
  void append(const Head<PersistentMemory>& h, State& state,
              const Fields<ConstView<S>>& in) const requires StreamingPolicy<Inner> {
    inner_.append(down(h), state, in);
  }
  void attend(const Head<PersistentMemory>& h, const State& state, const Fields<ConstView<S>>& in, Out<S> out,
              Arena& scratch) const requires StreamingPolicy<Inner> {
    {
      const Arena::Frame frame(scratch);
      inner_.attend(down(h), state, in, out, scratch);
    }
    add_memory(h, in.q, {0, in.q.rows()}, out, scratch);
  }

 private:
  static constexpr bool keeps_nothing = RowwisePolicy<Inner>;

  static const Options& checked(const Options& o) {
    require<OptionError>(o.memory >= 0, "options.memory: 0 or more expected, came ", o.memory);
    return o;
  }
  /// From q.m_k to scores like those of the context.
  static Logits<S> logits(const Options& o, HeadShape shape) {
    std::optional<S> scale = o.scale;
    S soft_cap = 0;
    if constexpr (requires { o.inner.scale; })
      if (!scale) scale = o.inner.scale;
    if constexpr (requires { o.inner.soft_cap; }) soft_cap = o.inner.soft_cap;
    Logits<S> l = make_logits(scale, soft_cap, shape.key_dim);
    if (o.rescaled) l.scale *= std::sqrt(static_cast<S>(shape.key_dim));
    return l;
  }
  /// With the memory, given what the inner policy costs.
  Cost cost(CallShape call, Cost c) const {
    const Index n = call.queries, n_m = options_.memory, d = shape_.key_dim, d_v = shape_.value_dim;
    const double pairs = static_cast<double>(n * n_m);
    c.forward += pairs * static_cast<double>(d + d_v);
    c.backward += pairs * static_cast<double>(3 * d + 2 * d_v);
    if constexpr (!keeps_nothing) {
      c.saved += static_cast<std::size_t>(n * (d_v + 1)) * sizeof(S);
      c.backward_scratch += Arena::size_of<S>(n * d_v) + Arena::size_of<S>(n);
    }
    if (n_m == 0) return c;
    const Index rows = std::min(n, softmax_rows_per_task<S>);
    const std::size_t values = options_.rescaled ? Arena::size_of<S>(n_m * d_v) : 0;
    c.forward_scratch = std::max(c.forward_scratch, values + Arena::size_of<S>(rows * d_v) + Arena::size_of<S>(rows) +
                                                        softmax_forward_scratch<S>(rows, n_m, d, d_v, false));
    c.backward_scratch = std::max(c.backward_scratch, 2 * values + softmax_backward_scratch<S>(n, n_m, d, d_v, false));
    return c;
  }
  static Head<Inner> down(const Head<PersistentMemory>& h) {
    return {h.own.inner, h.shared, h.context, h.sequence, h.head};
  }
  S value_factor() const { return std::sqrt(static_cast<S>(options_.memory)); }
  /// The effective values, in scratch if they are not m_v itself.
  ConstView<S> values(const Matrix<S>& m_v, Arena& scratch) const {
    if (!options_.rescaled) return view(m_v);
    View<S> v = scratch.matrix<S>(m_v.rows(), m_v.cols());
    v = value_factor() * m_v;
    return view(v);
  }

  /// Merges the result over the memory into rows `rows` of `out`.
  void add_memory(const Head<PersistentMemory>& h, ConstView<S> q, Range rows, Out<S> out, Arena& scratch) const {
    if (options_.memory == 0) return;
    const Arena::Frame frame(scratch);
    const ConstView<S> v = values(h.own.m_v, scratch);
    for (Index row = rows.begin, n; row < rows.end; row += n) {
      const Arena::Frame part(scratch);
      n = std::min(softmax_rows_per_task<S>, rows.end - row);
      const Out<S> context{block(out.o, row, 0, n, out.o.cols()), {out.lse.data() + row, n}};
      const Out<S> memory{scratch.matrix<S>(n, v.cols()), scratch.vector<S>(n)};
      softmax_forward(Full{}, NoTerm{}, logits_, {block(q, row, 0, n, q.cols()), view(h.own.m_k), v}, {0, n}, memory,
                      scratch);
      merge<S>(context, {view(memory.o), {memory.lse.data(), n}});
    }
  }
  /// Adds the gradients of the memory, and its part of dq. The weights follow from the log-sum-exp over both parts.
  void pull_memory(const Head<PersistentMemory>& h, ConstView<S> q, ConstOut<S> out, ConstOut<S> dout, View<S> dq,
                   Params& g, Arena& scratch) const {
    if (options_.memory == 0) return;
    const Arena::Frame frame(scratch);
    const ConstView<S> v = values(h.own.m_v, scratch);
    View<S> dv = options_.rescaled ? scratch.matrix<S>(g.m_v.rows(), g.m_v.cols()) : view(g.m_v);
    if (options_.rescaled) dv.setZero();
    softmax_backward(Full{}, NoTerm{}, logits_, {q, view(h.own.m_k), v}, out, dout, {dq, view(g.m_k), dv}, scratch);
    if (options_.rescaled) g.m_v += value_factor() * dv;
  }

  Options options_;
  HeadShape shape_;
  Inner inner_;
  Logits<S> logits_;
};

}  // namespace heed
