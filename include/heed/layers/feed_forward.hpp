// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/parallel.hpp>
#include <heed/kernels/activation.hpp>
#include <heed/kernels/affine.hpp>
#include <heed/kernels/row_panels.hpp>
#include <heed/layers/layer.hpp>

#include <algorithm>
#include <cmath>

namespace heed {

/// y = dropout(h) W_out + b_out, row by row, with
///
///   h = act(x W_value + b_value)                               or, gated,
///   h = act(x W_gate + b_gate) * (x W_value + b_value)
///
/// ReLU: Vaswani et al. 2017, arXiv 1706.03762, eq. 2; gates (SwiGLU is silu, GEGLU gelu, ReGLU relu, gated): Shazeer
/// 2020, arXiv 2002.05202, eq. 6; chunks: Kitaev et al. 2020, arXiv 2001.04451, section 3.
///
/// Multiply-adds: rows * d_model * d_ff * (2, gated 3) forward, twice that backward. Without chunks the cache keeps the
/// 2 (gated 3) hidden matrices [rows, d_ff]; with chunks of c tokens it holds [c, d_ff], and backward computes them
/// again. Results and gradients have the same bits for any chunk.
template <class S>
class FeedForward {
 public:
  using Scalar = S;
  struct Options {
    Index d_model = 0;
    Index d_ff = 0;  ///< 0: 4 d_model; gated: 8/3 d_model rounded up to a multiple of 8
    Activation activation = Activation::gelu;
    bool gated = false;
    bool bias = true;
    Index chunk_tokens = 0;  ///< tokens whose hidden values are held at one time; 0: all, and kept for backward
    int threads = 1;
  };
  /// `w_value [d_model, d_ff]`, `w_gate` the same or empty, `w_out [d_ff, d_model]`; biases `[1, columns]` or empty.
  struct Params {
    Matrix<S> w_gate, w_value, w_out, b_gate, b_value, b_out;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("w_gate", x.w_gate...);
      f("w_value", x.w_value...);
      f("w_out", x.w_out...);
      f("b_gate", x.b_gate...);
      f("b_value", x.b_value...);
      f("b_out", x.b_out...);
    }
  };
  using Shared = NoParams;
  using Context = NoContext;
  static constexpr bool tokenwise = true;
  struct Cache {
    detail::Made made;
    Buffer<S> gate, value, hidden;  // before the activation, and after gate and dropout
    Buffer<S> dgate, dvalue;        // of a chunk, or of all
    Buffer<S> y, dx;
    Workers workers;
  };

  explicit FeedForward(const Options& options) : options_(complete(options)) {}
  const Options& options() const { return options_; }

  /// Normal with variance 1 / inputs; biases 0.
  Params init(Random& random) const {
    const auto weight = [&](bool there, Index rows, Index columns) {
      return random_normal<S>(random, there ? rows : 0, there ? columns : 0, 1 / std::sqrt(static_cast<double>(rows)));
    };
    const auto bias = [&](bool there, Index columns) -> Matrix<S> {
      return Matrix<S>::Zero(there ? 1 : 0, there ? columns : 0);
    };
    const Options& o = options_;
    Params p;
    p.w_gate = weight(o.gated, o.d_model, o.d_ff);
    p.w_value = weight(true, o.d_model, o.d_ff);
    p.w_out = weight(true, o.d_ff, o.d_model);
    p.b_gate = bias(o.gated && o.bias, o.d_ff);
    p.b_value = bias(o.bias, o.d_ff);
    p.b_out = bias(o.bias, o.d_model);
    return p;
  }
  Shared init_shared(Random&) const { return {}; }

  template <class X>
  ConstView<S> forward(Weights<FeedForward> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                       const Context& = {}, const Dropout& dropout = {}) const {
    const ConstView<S> x = front_door<S>(tokens, "x");
    check(w.own, x, batch, dropout);
    c.made.note(batch, x.rows(), options_.d_model, dropout);
    prepare(batch, x.rows(), c);
    View<S> y = c.y.resize(x.rows(), options_.d_model);
    zero_gaps<S>(batch.q, y);
    for_each_chunk(batch, [&](Segment rows) {
      hide(w.own, x, rows, dropout, c);
      affine_rows<S>(part(std::as_const(c.hidden), rows), w.own.w_out, w.own.b_out, rows_of(y, rows), c.workers);
    });
    return std::as_const(c.y).view();
  }

  template <class X, class Y>
  ConstView<S> backward(Weights<FeedForward> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                        const Eigen::MatrixBase<Y>& cotangent, Gradients<FeedForward> g, const Context& = {},
                        const Dropout& dropout = {}) const {
    const ConstView<S> x = front_door<S>(tokens, "x"), dy = front_door<S>(cotangent, "dy");
    check(w.own, x, batch, dropout);
    c.made.check(batch, x.rows(), options_.d_model, dropout);
    detail::check_cotangent(dy, x.rows(), options_.d_model);
    detail::check_gradients(w, g);

    prepare(batch, x.rows(), c);
    c.dvalue.resize(held(batch, x.rows()), options_.d_ff);
    if (options_.gated) c.dgate.resize(held(batch, x.rows()), options_.d_ff);
    View<S> dx = c.dx.resize(x.rows(), x.cols());
    zero_gaps<S>(batch.q, dx);
    for_each_chunk(batch, [&](Segment rows) {
      if (options_.chunk_tokens > 0) hide(w.own, x, rows, dropout, c);
      const ConstView<S> x_rows = rows_of(x, rows);
      const View<S> dx_rows = rows_of(dx, rows);
      affine_rows_backward<S>(part(std::as_const(c.hidden), rows), w.own.w_out, rows_of(dy, rows), g.own.w_out,
                              g.own.b_out, Into::assign, part(c.dvalue, rows), c.workers);
      unhide(rows, dropout, c);
      affine_rows_backward<S>(x_rows, w.own.w_value, part(std::as_const(c.dvalue), rows), g.own.w_value, g.own.b_value,
                              Into::assign, dx_rows, c.workers);
      if (options_.gated)
        affine_rows_backward<S>(x_rows, w.own.w_gate, part(std::as_const(c.dgate), rows), g.own.w_gate, g.own.b_gate,
                                Into::add, dx_rows, c.workers);
    });
    return std::as_const(c.dx).view();
  }

 private:
  static Options complete(Options o) {
    require<OptionError>(o.d_model >= 1, "options.d_model: at least 1 expected, came ", o.d_model);
    require<OptionError>(o.d_ff >= 0, "options.d_ff: 0 (the usual multiple of d_model) or more expected, came ",
                         o.d_ff);
    require<OptionError>(o.chunk_tokens >= 0, "options.chunk_tokens: 0 (no chunks) or more expected, came ",
                         o.chunk_tokens);
    require<OptionError>(o.threads >= 1, "options.threads: at least 1 expected, came ", o.threads);
    if (o.d_ff == 0) o.d_ff = o.gated ? (8 * o.d_model + 23) / 24 * 8 : 4 * o.d_model;
    return o;
  }
  void check(const Params& p, ConstView<S> x, const Batch& batch, const Dropout& dropout) const {
    const Options& o = options_;
    detail::check_weight("w_gate", p.w_gate, o.gated ? o.d_model : 0, o.gated ? o.d_ff : 0);
    detail::check_weight("w_value", p.w_value, o.d_model, o.d_ff);
    detail::check_weight("w_out", p.w_out, o.d_ff, o.d_model);
    const bool gate_bias = o.gated && o.bias;
    detail::check_weight("b_gate", p.b_gate, gate_bias, gate_bias ? o.d_ff : 0);
    detail::check_weight("b_value", p.b_value, o.bias, o.bias ? o.d_ff : 0);
    detail::check_weight("b_out", p.b_out, o.bias, o.bias ? o.d_model : 0);
    detail::check_tokens(x, o.d_model, batch);
    dropout.check();
  }

  /// How many rows of hidden values are held.
  Index held(const Batch& batch, Index rows) const {
    if (options_.chunk_tokens == 0) return rows;
    Index longest = 0;
    for_each_run(batch.q, [&](Segment run) { longest = std::max(longest, run.size); });
    return std::min(longest, options_.chunk_tokens);
  }
  void prepare(const Batch& batch, Index rows, Cache& c) const {
    const Index n = held(batch, rows);
    c.workers.prepare(options_.threads, std::max(affine_scratch<S>(n, options_.d_model, options_.d_ff),
                                                 affine_scratch<S>(n, options_.d_ff, options_.d_model)));
    c.value.resize(n, options_.d_ff);
    c.hidden.resize(n, options_.d_ff);
    if (options_.gated) c.gate.resize(n, options_.d_ff);
  }
  template <class F>
  void for_each_chunk(const Batch& batch, F&& f) const {
    for_each_run(batch.q, [&](Segment run) {
      const Index step = options_.chunk_tokens > 0 ? options_.chunk_tokens : run.size;
      for (Index at = 0; at < run.size; at += step) f(Segment{run.begin + at, std::min(step, run.size - at)});
    });
  }
  template <class V>
  static V rows_of(V m, Segment rows) {
    return block(m, rows.begin, 0, rows.size, m.cols());
  }
  /// Where the hidden values of these tokens are held.
  Index first(Segment rows) const { return options_.chunk_tokens > 0 ? 0 : rows.begin; }
  View<S> part(Buffer<S>& m, Segment rows) const { return rows_of(m.view(), {first(rows), rows.size}); }
  ConstView<S> part(const Buffer<S>& m, Segment rows) const { return rows_of(m.view(), {first(rows), rows.size}); }

  /// Calls `f(i, token)` for each of the rows i of a chunk.
  template <class F>
  void for_each_hidden(Segment rows, Cache& c, F&& f) const {
    const Index height = panel_height(rows.size, options_.d_ff, 64);
    c.workers.run(panels_of(rows.size, height), [&](Index panel, Arena&) {
      for (Index i = panel * height; i < std::min(rows.size, (panel + 1) * height); ++i)
        f(first(rows) + i, rows.begin + i);
    });
  }

  void hide(const Params& p, ConstView<S> x, Segment rows, const Dropout& dropout, Cache& c) const {
    using P = detail::Packet<S>;
    const Index n = options_.d_ff;
    parallel_product<Form::ab, S>(Into::assign, rows_of(x, rows), view(p.w_value), part(c.value, rows), c.workers);
    if (options_.gated)
      parallel_product<Form::ab, S>(Into::assign, rows_of(x, rows), view(p.w_gate), part(c.gate, rows), c.workers);
    const auto add_bias = [&](const Matrix<S>& bias, S* u) {  // here, as the row is in cache for what follows
      if (bias.size() > 0)
        detail::map_columns(
            n, u, [](const P& v, const P& b) { return detail::padd(v, b); }, u, bias.data());
    };
    const DropMask mask(dropout);
    detail::with_activation<S>(options_.activation, [&](auto act) {
      using Act = decltype(act);
      for_each_hidden(rows, c, [&](Index i, Index token) {
        S* const value = c.value.view().data() + i * n;
        add_bias(p.b_value, value);
        S* const h = c.hidden.view().data() + i * n;
        if (options_.gated) {
          S* const gate = c.gate.view().data() + i * n;
          add_bias(p.b_gate, gate);
          detail::map_columns(
              n, h, [](const P& g, const P& v) { return detail::pmul(Act::value(g), v); }, gate, value);
        } else {
          detail::map_columns(
              n, h, [](const P& u) { return Act::value(u); }, value);
        }
        if (mask.active()) mask.apply(token, n, h, h);
      });
    });
  }
  /// From the gradient of h, in dvalue, to those of what goes into the activation.
  void unhide(Segment rows, const Dropout& dropout, Cache& c) const {
    using P = detail::Packet<S>;
    const Index n = options_.d_ff;
    const DropMask mask(dropout);
    detail::with_activation<S>(options_.activation, [&](auto act) {
      using Act = decltype(act);
      for_each_hidden(rows, c, [&](Index i, Index token) {
        S* const d = c.dvalue.view().data() + i * n;
        const S *const dh = d, *const value = std::as_const(c.value).view().data() + i * n;
        if (mask.active()) mask.apply(token, n, dh, d);
        if (options_.gated) {
          const S* const gate = std::as_const(c.gate).view().data() + i * n;
          detail::map_columns(
              n, c.dgate.view().data() + i * n,
              [](const P& x, const P& g, const P& v) { return detail::pmul(detail::pmul(x, v), Act::slope(g)); }, dh,
              gate, value);
          detail::map_columns(
              n, d, [](const P& x, const P& g) { return detail::pmul(x, Act::value(g)); }, dh, gate);
        } else {
          detail::map_columns(
              n, d, [](const P& x, const P& u) { return detail::pmul(x, Act::slope(u)); }, dh, value);
        }
      });
    });
  }

  Options options_;
};
static_assert(TokenwiseLayer<FeedForward<float>> && DroppingLayer<FeedForward<float>>);

}  // namespace heed
