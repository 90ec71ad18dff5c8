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
    Choices choices;  // of every layer
    Buffer<S> y, x, dx;
    Workers workers;
  };
  using State = typename Stack<L>::State;

  explicit ReversibleStack(const Options& options)
      : threads_(options.threads), layers_(detail::build_layers<L>(options)) {
    require<OptionError>(options.threads >= 1, "options.threads: at least 1 expected, came ", options.threads);
  }
  Index depth() const { return static_cast<Index>(layers_.size()); }
  Causality causality() const requires CausalLayer<L> { return detail::causality(layers_); }
  Params init(Random& random) const {
    Params p;
    for (const L& l : layers_) p.layers.push_back(l.init(random));
    return p;
  }
  Shared init_shared(Random& random) const { return layers_.front().init_shared(random); }

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
    detail::check_cotangent(dy, x.rows(), x.cols());
    detail::check_gradients(w, g);
    View<S> xy = c.x.resize(x.rows(), x.cols()), d = c.dx.resize(x.rows(), x.cols());
    copy_rows<S>(batch.q, std::as_const(c.y).view(), xy, c.workers);
    copy_rows<S>(batch.q, dy, d, c.workers);
    for (std::size_t i = layers_.size(); i-- > 0;)
      with_choices(i, c, [&] {
        layers_[i].pull(down(w, i), xy, d, batch, c.layer, Gradients<L>(g.own.layers[i], g.shared), context,
                        dropout.below(i));
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
    for (std::size_t i = layers_.size(); i-- > 0;)
      with_choices(i, c, [&] { layers_[i].retreat(down(w, i), xy, batch, c.layer, context, dropout.below(i)); });
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
    State s;
    for (const L& l : layers_) s.layers.push_back(detail::start(l, sequences, capacity, longest_chunk));
    return s;
  }
  template <class X>
  ConstView<S> step(Weights<ReversibleStack> w, State& state, const Eigen::MatrixBase<X>& tokens, const Batch& batch,
                    const Context& context = {}) const requires StreamingLayer<L> {
    const ConstView<S> x = front_door<S>(tokens, "x");
    check(w, x, batch);
    require<StateError>(state.layers.size() == layers_.size(), "state: was started by a stack of another depth");
    return advance(0, w, state, x, batch, context);
  }

 private:
  void check(const Weights<ReversibleStack>& w, ConstView<S> x, const Batch& batch) const {
    require<ShapeError>(w.own.layers.size() == layers_.size(), "weights.layers: ", layers_.size(), " expected, came ",
                        w.own.layers.size());
    L::check_columns(x);
    detail::check_tokens(x, x.cols(), batch);
  }
  static Weights<L> down(const Weights<ReversibleStack>& w, std::size_t i) { return {w.own.layers[i], w.shared}; }
  /// Calls f while the cache of all layers holds the choices of layer i.
  template <class F>
  void with_choices(std::size_t i, Cache& c, const F& f) const {
    struct Exchanged {  // and back, also when f throws
      const L& layer;
      typename L::Cache& cache;
      detail::ChoicesOf<L>& choices;
      Exchanged(const L& l, typename L::Cache& own, detail::ChoicesOf<L>& kept) : layer(l), cache(own), choices(kept) {
        detail::exchange(layer, cache, choices);
      }
      ~Exchanged() { detail::exchange(layer, cache, choices); }
    } const exchanged(layers_[i], c.layer, c.choices[i]);
    f();
  }
  ConstView<S> run(const Weights<ReversibleStack>& w, ConstView<S> x, const Batch& batch, Cache& c,
                   const Context& context, const Dropout& dropout, bool choose) const {
    check(w, x, batch);
    dropout.check();
    c.made.note(batch, x.rows(), x.cols(), dropout);
    c.workers.prepare(threads_, 0);
    c.choices.resize(layers_.size());
    View<S> y = c.y.resize(x.rows(), x.cols());
    copy_rows<S>(batch.q, x, y, c.workers);
    for (std::size_t i = 0; i < layers_.size(); ++i)
      with_choices(i, c, [&] { layers_[i].advance(down(w, i), y, batch, c.layer, context, dropout.below(i), choose); });
    return view(y);
  }
  ConstView<S> advance(std::size_t i, const Weights<ReversibleStack>& w, State& state, ConstView<S> x,
                       const Batch& batch, const Context& context) const {
    const ConstView<S> y = detail::step(layers_[i], down(w, i), state.layers[i], x, batch, context);
    return i + 1 < layers_.size() ? advance(i + 1, w, state, y, batch, context) : y;
  }

  int threads_;
  std::vector<L> layers_;
};

}  // namespace heed
