// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/parallel.hpp>
#include <heed/kernels/row_panels.hpp>
#include <heed/layers/layer.hpp>
#include <heed/layers/reversible.hpp>
#include <heed/layers/stack.hpp>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

namespace heed {

/// `depth` reversible layers that keep one activation, whatever the depth: backward turns the output back into the
/// input, layer by layer, in the one cache that all layers take turns with. Only choices (buckets) are kept per layer.
///
/// The input that backward rebuilds differs from the true one by some eps * depth for layers that do not amplify, and
/// by more where they do: `drift` measures it. x is not read in backward.
template <ReversibleLayer L>
class ReversibleStack {
 public:
  using Scalar = typename L::Scalar;
  using S = Scalar;
  struct Options {
    Index depth = 1;
    typename L::Options layer{};              ///< of every layer
    std::vector<typename L::Options> each{};  ///< or of each, if it is not empty: then `depth` of them
    int threads = 1;
  };
  using Params = typename Stack<L>::Params;
  using Shared = typename L::Shared;
  using Context = typename L::Context;
  using Choices = std::vector<detail::ChoicesOf<L>>;
  static constexpr bool tokenwise = TokenwiseLayer<L>;
  struct Cache {
    detail::Made made;
    typename L::Cache layer;
    Choices choices;  // of every layer, empty or not
    Buffer<S> y, x, dx;
    Workers workers;
  };
  using State = typename Stack<L>::State;

  explicit ReversibleStack(const Options& options)
      : threads_(options.threads), stack_({options.depth, options.layer, options.each}) {
    require<OptionError>(options.threads >= 1, "options.threads: at least 1 expected, came ", options.threads);
  }
  Index depth() const { return stack_.depth(); }
  Causality causality() const requires CausalLayer<L> { return stack_.causality(); }
  Params init(Random& random) const { return stack_.init(random); }
  Shared init_shared(Random& random) const { return stack_.init_shared(random); }

  template <class X>
  ConstView<S> forward(Weights<ReversibleStack> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                       const Context& context = {}, const Dropout& dropout = {}) const {
    return run(w, front_door<S>(tokens, "x"), batch, c, context, dropout, true);
  }
  template <class X>
  ConstView<S> replay(Weights<ReversibleStack> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                      const Context& context = {}, const Dropout& dropout = {}) const {
    return run(w, front_door<S>(tokens, "x"), batch, c, context, dropout, false);
  }
  void exchange(Cache& c, Choices& choices) const { std::swap(c.choices, choices); }

  template <class X, class Y>
  ConstView<S> backward(Weights<ReversibleStack> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                        const Eigen::MatrixBase<Y>& cotangent, Gradients<ReversibleStack> g,
                        const Context& context = {}, const Dropout& dropout = {}) const {
    const ConstView<S> x = front_door<S>(tokens, "x"), dy = front_door<S>(cotangent, "dy");
    check(w, x, batch);
    c.made.check(batch, x.rows(), x.cols(), dropout);
    detail::check_depth(c.choices.size(), w.own.layers.size());
    detail::check_cotangent(dy, x.rows(), x.cols());
    detail::check_gradients(w, g);
    View<S> xy = c.x.resize(x.rows(), x.cols()), d = c.dx.resize(x.rows(), x.cols());
    copy_rows<S>(batch.q, std::as_const(c.y).view(), xy, c.workers);
    copy_rows<S>(batch.q, dy, d, c.workers);
    for (std::size_t i = w.own.layers.size(); i-- > 0;)
      with_layer(i, w, c, dropout, [&](const L& layer, const Weights<L>& own, const Dropout& dropped) {
        layer.pull(own, xy, d, batch, c.layer, Gradients<L>(g.own.layers[i], g.shared), context, dropped);
      });
    return std::as_const(c.dx).view();
  }

  /// How far the input that backward would rebuild is from x: max |rebuilt - x| / max |x|, after a forward;
  /// infinity where it is not finite. Costs two forwards.
  template <class X>
  double drift(Weights<ReversibleStack> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
               const Context& context = {}, const Dropout& dropout = {}) const {
    const ConstView<S> x = front_door<S>(tokens, "x");
    run(w, x, batch, c, context, dropout, true);
    View<S> xy = c.x.resize(x.rows(), x.cols());
    copy_rows<S>(batch.q, std::as_const(c.y).view(), xy, c.workers);
    for (std::size_t i = w.own.layers.size(); i-- > 0;)
      with_layer(i, w, c, dropout, [&](const L& layer, const Weights<L>& own, const Dropout& dropped) {
        layer.retreat(own, xy, batch, c.layer, context, dropped);
      });
    double error = 0, largest = 0;
    for (const Segment s : batch.q) {
      if (s.size == 0) continue;
      const auto now = xy.middleRows(s.begin, s.size);
      const auto then = x.middleRows(s.begin, s.size);
      if (!now.allFinite()) return std::numeric_limits<double>::infinity();
      error = std::max(error, static_cast<double>((now - then).cwiseAbs().maxCoeff()));
      largest = std::max(largest, static_cast<double>(then.cwiseAbs().maxCoeff()));
    }
    return largest > 0 ? error / largest : error;
  }

  State start(Index sequences, Index capacity, Index longest_chunk = 1) const requires StreamingLayer<L> {
    return stack_.start(sequences, capacity, longest_chunk);
  }
  template <class X>
  ConstView<S> step(Weights<ReversibleStack> w, State& state, const Eigen::MatrixBase<X>& tokens, const Batch& batch,
                    const Context& context = {}) const requires StreamingLayer<L> {
    return stack_.step(Weights<Stack<L>>(w.own, w.shared), state, tokens, batch, context);
  }

 private:
  void check(const Weights<ReversibleStack>& w, ConstView<S> x, const Batch& batch) const {
    require<ShapeError>(static_cast<Index>(w.own.layers.size()) == depth(), "weights.layers: ", depth(),
                        " expected, came ", w.own.layers.size());
    L::check_columns(x);
    detail::check_tokens(x, x.cols(), batch);
  }
  /// Calls f(layer i, its weights, its dropout) while the cache of all layers holds the choices of this one.
  template <class F>
  void with_layer(std::size_t i, const Weights<ReversibleStack>& w, Cache& c, const Dropout& dropout,
                  const F& f) const {
    const L& layer = stack_.layer(static_cast<Index>(i));
    detail::exchange(layer, c.layer, c.choices[i]);
    try {
      f(layer, Weights<L>(w.own.layers[i], w.shared), dropout.below(i));
    } catch (...) {
      detail::exchange(layer, c.layer, c.choices[i]);
      throw;
    }
    detail::exchange(layer, c.layer, c.choices[i]);
  }
  ConstView<S> run(const Weights<ReversibleStack>& w, ConstView<S> x, const Batch& batch, Cache& c,
                   const Context& context, const Dropout& dropout, bool choose) const {
    check(w, x, batch);
    dropout.check();
    if (!choose) detail::check_depth(c.choices.size(), w.own.layers.size());
    c.made.forget();
    c.workers.prepare(threads_, 0);
    c.choices.resize(w.own.layers.size());
    View<S> y = c.y.resize(x.rows(), x.cols());
    copy_rows<S>(batch.q, x, y, c.workers);
    for (std::size_t i = 0; i < w.own.layers.size(); ++i)
      with_layer(i, w, c, dropout, [&](const L& layer, const Weights<L>& own, const Dropout& dropped) {
        layer.advance(own, y, batch, c.layer, context, dropped, choose);
      });
    c.made.note(batch, x.rows(), x.cols(), dropout);
    return view(y);
  }

  int threads_;
  Stack<L> stack_;
};

}  // namespace heed
