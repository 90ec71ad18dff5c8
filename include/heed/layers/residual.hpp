// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/parallel.hpp>
#include <heed/kernels/row_panels.hpp>
#include <heed/layers/layer.hpp>
#include <heed/layers/sequential.hpp>

namespace heed {

/// y = x + dropout(F(x)).
template <Layer F>
class Residual {
 public:
  using Scalar = typename F::Scalar;
  using S = Scalar;
  struct Options {
    typename F::Options inner{};
    int threads = 1;
  };
  using Params = typename F::Params;
  using Shared = typename F::Shared;
  using Context = typename F::Context;
  using Choices = detail::ChoicesOf<F>;
  static constexpr bool tokenwise = TokenwiseLayer<F>;
  struct Cache {
    detail::Made made;
    typename F::Cache inner;
    Buffer<S> y, dropped, dx;
    Workers workers;
  };
  struct State {
    detail::StateOf<F> inner;
    Buffer<S> y;
    Workers workers;
  };

  explicit Residual(const Options& options) : options_(options), inner_(options.inner) {
    require<OptionError>(options.threads >= 1, "options.threads: at least 1 expected, came ", options.threads);
  }
  const Options& options() const { return options_; }
  const F& inner() const { return inner_; }
  Causality causality() const requires CausalLayer<F> { return detail::causality(inner_); }
  Params init(Random& random) const { return inner_.init(random); }
  Shared init_shared(Random& random) const { return inner_.init_shared(random); }

  template <class X>
  ConstView<S> forward(Weights<Residual> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                       const Context& context = {}, const Dropout& dropout = {}) const {
    const ConstView<S> x = front_door<S>(tokens, "x");
    dropout.check();
    c.made.forget();
    return sum(x, detail::forward(inner_, down(w), x, batch, c.inner, context, dropout.below(1)), batch, c, dropout);
  }
  template <class X>
  ConstView<S> replay(Weights<Residual> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                      const Context& context = {}, const Dropout& dropout = {}) const requires ReplayableLayer<F> {
    const ConstView<S> x = front_door<S>(tokens, "x");
    dropout.check();
    c.made.forget();
    return sum(x, detail::replay(inner_, down(w), x, batch, c.inner, context, dropout.below(1)), batch, c, dropout);
  }
  void exchange(Cache& c, Choices& choices) const { detail::exchange(inner_, c.inner, choices); }

  template <class X, class Y>
  ConstView<S> backward(Weights<Residual> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                        const Eigen::MatrixBase<Y>& cotangent, Gradients<Residual> g, const Context& context = {},
                        const Dropout& dropout = {}) const {
    const ConstView<S> x = front_door<S>(tokens, "x"), dy = front_door<S>(cotangent, "dy");
    c.made.check(batch, x.rows(), x.cols(), dropout);
    detail::check_cotangent(dy, x.rows(), x.cols());
    detail::check_gradients(w, g);
    if (dropout.active()) drop(batch.q, dy, dropout.below(0), c.dropped.resize(x.rows(), x.cols()), c.workers);
    const ConstView<S> inner =
        detail::backward(inner_, down(w), x, batch, c.inner, dropout.active() ? std::as_const(c.dropped).view() : dy,
                         Gradients<F>(g.own, g.shared), context, dropout.below(1));
    View<S> dx = c.dx.resize(x.rows(), x.cols());
    zero_gaps<S>(batch.q, dx);
    add_dropped<S>(batch.q, dy, 1, inner, {}, dx, c.workers);
    return std::as_const(c.dx).view();
  }

  auto start(Index sequences, Index capacity, Index longest_chunk = 1) const requires StreamingLayer<F> {
    return State{detail::start(inner_, sequences, capacity, longest_chunk), {}, {}};
  }
  template <class X>
  ConstView<S> step(Weights<Residual> w, State& state, const Eigen::MatrixBase<X>& tokens, const Batch& batch,
                    const Context& context = {}) const requires StreamingLayer<F> {
    const ConstView<S> x = front_door<S>(tokens, "x");
    return sum(x, detail::step(inner_, down(w), state.inner, x, batch, context), batch, state, {});
  }

 private:
  static Weights<F> down(const Weights<Residual>& w) { return {w.own, w.shared}; }
  template <class Holder>
  ConstView<S> sum(ConstView<S> x, ConstView<S> inner, const Batch& batch, Holder& c, const Dropout& dropout) const {
    require<ShapeError>(inner.cols() == x.cols(), "options.inner: a layer that gives as many columns as it takes, ",
                        x.cols(), ", expected, came ", inner.cols());
    if constexpr (requires { c.made; }) c.made.note(batch, x.rows(), x.cols(), dropout);
    c.workers.prepare(options_.threads, 0);
    View<S> y = c.y.resize(x.rows(), x.cols());
    zero_gaps<S>(batch.q, y);
    add_dropped<S>(batch.q, x, 1, inner, dropout.below(0), y, c.workers);
    return std::as_const(c.y).view();
  }

  Options options_;
  F inner_;
};

/// y = x + dropout(F(norm(x))). A stack of these wants one more norm after it.
template <Layer Norm, Layer F>
using PreNorm = Residual<Sequential<Norm, F>>;
/// y = norm(x + dropout(F(x))).
template <Layer Norm, Layer F>
using PostNorm = Sequential<Residual<F>, Norm>;

}  // namespace heed
