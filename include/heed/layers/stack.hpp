// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/layers/layer.hpp>

#include <cstddef>
#include <utility>
#include <vector>

namespace heed {

/// `depth` layers of one type, one after another. What a layer shares, all of them share.
template <Layer L>
class Stack {
 public:
  using Scalar = typename L::Scalar;
  using S = Scalar;
  struct Options {
    Index depth = 1;
    typename L::Options layer{};              ///< of every layer
    std::vector<typename L::Options> each{};  ///< or of each, if it is not empty: then `depth` of them
  };
  struct Params {
    std::vector<typename L::Params> layers;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("layers", x.layers...);
    }
  };
  using Shared = typename L::Shared;
  using Context = typename L::Context;
  using Choices =
      std::conditional_t<std::is_empty_v<detail::ChoicesOf<L>>, NoChoices, std::vector<detail::ChoicesOf<L>>>;
  static constexpr bool tokenwise = TokenwiseLayer<L>;
  struct Cache {
    detail::Made made;
    std::vector<typename L::Cache> layers;
    ConstView<S> result() const { return detail::result(layers.back()); }
  };
  struct State {
    std::vector<detail::StateOf<L>> layers;
    bool torn = false;  // some layers took a step that another refused
  };

  explicit Stack(const Options& options) : layers_(build(options)) {}
  Index depth() const { return static_cast<Index>(layers_.size()); }
  const L& layer(Index i) const { return layers_[static_cast<std::size_t>(i)]; }
  Causality causality() const requires CausalLayer<L> { return detail::causality(layers_); }

  Params init(Random& random) const {
    Params p;
    for (const L& l : layers_) p.layers.push_back(l.init(random));
    return p;
  }
  Shared init_shared(Random& random) const { return layers_.front().init_shared(random); }

  template <class X>
  ConstView<S> forward(Weights<Stack> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                       const Context& context = {}, const Dropout& dropout = {}) const {
    return run(w, front_door<S>(tokens, "x"), batch, c, dropout, [&](std::size_t i, ConstView<S> x) {
      return detail::forward(layers_[i], down(w, i), x, batch, c.layers[i], context, dropout.below(i));
    });
  }
  template <class X>
  ConstView<S> replay(Weights<Stack> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                      const Context& context = {}, const Dropout& dropout = {}) const requires ReplayableLayer<L> {
    return run(w, front_door<S>(tokens, "x"), batch, c, dropout, [&](std::size_t i, ConstView<S> x) {
      return detail::replay(layers_[i], down(w, i), x, batch, c.layers[i], context, dropout.below(i));
    });
  }
  void exchange(Cache& c, Choices& choices) const {
    if constexpr (!std::is_empty_v<Choices>) {
      c.layers.resize(layers_.size());
      choices.resize(layers_.size());
      for (std::size_t i = 0; i < layers_.size(); ++i) detail::exchange(layers_[i], c.layers[i], choices[i]);
    }
  }

  template <class X, class Y>
  ConstView<S> backward(Weights<Stack> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                        const Eigen::MatrixBase<Y>& cotangent, Gradients<Stack> g, const Context& context = {},
                        const Dropout& dropout = {}) const {
    const ConstView<S> x = front_door<S>(tokens, "x"), dy = front_door<S>(cotangent, "dy");
    c.made.check(batch, x.rows(), x.cols(), dropout);
    detail::check_depth(c.layers.size(), layers_.size());
    detail::check_cotangent(dy, x.rows(), c.result().cols());
    detail::check_gradients(w, g);
    return pull(0, w, x, batch, c, dy, g, context, dropout);
  }

  State start(Index sequences, Index capacity, Index longest_chunk = 1) const requires StreamingLayer<L> {
    State s;
    for (const L& l : layers_) s.layers.push_back(detail::start(l, sequences, capacity, longest_chunk));
    return s;
  }
  template <class X>
  ConstView<S> step(Weights<Stack> w, State& state, const Eigen::MatrixBase<X>& tokens, const Batch& batch,
                    const Context& context = {}) const requires StreamingLayer<L> {
    check(w);
    require<StateError>(state.layers.size() == layers_.size(), "state: was started by a stack of another depth");
    return detail::whole_step(state.torn, [&] {
      return chain(0, front_door<S>(tokens, "x"), [&](std::size_t i, ConstView<S> x) {
        return detail::step(layers_[i], down(w, i), state.layers[i], x, batch, context, state.torn);
      });
    });
  }

 private:
  static std::vector<L> build(const Options& o) {
    require<OptionError>(o.depth >= 1, "options.depth: at least 1 expected, came ", o.depth);
    require<OptionError>(o.each.empty() || static_cast<Index>(o.each.size()) == o.depth,
                         "options.each: none, or one for each of the ", o.depth, " layers, expected, came ",
                         o.each.size());
    std::vector<L> layers;
    for (std::size_t i = 0; i < static_cast<std::size_t>(o.depth); ++i)
      layers.emplace_back(o.each.empty() ? o.layer : o.each[i]);
    return layers;
  }
  void check(const Weights<Stack>& w) const {
    require<ShapeError>(w.own.layers.size() == layers_.size(), "weights.layers: ", layers_.size(), " expected, came ",
                        w.own.layers.size());
  }
  static Weights<L> down(const Weights<Stack>& w, std::size_t i) { return {w.own.layers[i], w.shared}; }

  // Recursive, as a view can be initialised but not assigned.
  template <class F>
  ConstView<S> chain(std::size_t i, ConstView<S> x, const F& f) const {
    const ConstView<S> y = f(i, x);
    return i + 1 < layers_.size() ? chain(i + 1, y, f) : y;
  }
  template <class F>
  ConstView<S> run(const Weights<Stack>& w, ConstView<S> x, const Batch& batch, Cache& c, const Dropout& dropout,
                   const F& f) const {
    check(w);
    c.made.forget();
    c.layers.resize(layers_.size());
    const ConstView<S> y = chain(0, x, f);
    c.made.note(batch, x.rows(), x.cols(), dropout);
    return y;
  }
  ConstView<S> pull(std::size_t i, const Weights<Stack>& w, ConstView<S> x, const Batch& batch, Cache& c,
                    ConstView<S> dy, const Gradients<Stack>& g, const Context& context, const Dropout& dropout) const {
    const ConstView<S> d = i + 1 < layers_.size() ? pull(i + 1, w, detail::result(std::as_const(c.layers[i])), batch, c,
                                                         dy, g, context, dropout)
                                                  : dy;
    return detail::backward(layers_[i], down(w, i), x, batch, c.layers[i], d, Gradients<L>(g.own.layers[i], g.shared),
                            context, dropout.below(i));
  }

  std::vector<L> layers_;
};

}  // namespace heed
