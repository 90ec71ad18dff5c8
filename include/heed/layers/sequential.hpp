// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/layers/layer.hpp>

#include <cstddef>
#include <tuple>
#include <utility>

namespace heed {

/// One layer after another. Layers that share parameters of the same type share them with each other, and so with the
/// caller's context.
template <Layer First, Layer... Rest>
class Sequential {
 public:
  using Scalar = typename First::Scalar;
  static_assert((std::same_as<Scalar, typename Rest::Scalar> && ...), "heed: layers of one scalar type expected");
  using S = Scalar;
  struct Options {
    std::tuple<typename First::Options, typename Rest::Options...> layers{};
  };
  struct Params {
    std::tuple<typename First::Params, typename Rest::Params...> layers;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      detail::visit_tuples(f, x.layers...);
    }
  };
  using Shared = Together<NoParams, typename First::Shared, typename Rest::Shared...>;
  using Context = Together<NoContext, typename First::Context, typename Rest::Context...>;
  /// Of every layer; nothing where none makes a choice.
  using Choices =
      std::conditional_t<(std::is_empty_v<detail::ChoicesOf<First>> && ... && std::is_empty_v<detail::ChoicesOf<Rest>>),
                         NoChoices, std::tuple<detail::ChoicesOf<First>, detail::ChoicesOf<Rest>...>>;
  static constexpr bool tokenwise = (TokenwiseLayer<First> && ... && TokenwiseLayer<Rest>);
  static constexpr std::size_t size = 1 + sizeof...(Rest);
  struct Cache {
    detail::Made made;
    std::tuple<typename First::Cache, typename Rest::Cache...> layers;
    ConstView<S> result() const { return detail::result(std::get<size - 1>(layers)); }
  };
  struct State {
    std::tuple<detail::StateOf<First>, detail::StateOf<Rest>...> layers;
    bool torn = false;  // some layers took a step that another refused
  };

  explicit Sequential(const Options& options)
      : layers_(std::apply([](const auto&... o) { return Layers(o...); }, options.layers)) {}
  /// Layer i.
  template <std::size_t i>
  const auto& layer() const {
    return std::get<i>(layers_);
  }

  Causality causality() const requires(CausalLayer<First>&&...&& CausalLayer<Rest>) {
    Causality all = Causality::strict;
    for_each_index([&](auto i) { all = detail::weakest(all, detail::causality(std::get<i>(layers_))); });
    return all;
  }

  Params init(Random& random) const {
    return std::apply([&](const auto&... l) { return Params{{l.init(random)...}}; }, layers_);
  }
  Shared init_shared(Random& random) const {
    Shared shared;
    for_each_index([&](auto i) {
      using L = std::tuple_element_t<i, Layers>;
      if constexpr (!std::is_empty_v<typename L::Shared>)
        part<typename L::Shared>(shared) = std::get<i>(layers_).init_shared(random);
    });
    return shared;
  }

  template <class X>
  ConstView<S> forward(Weights<Sequential> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                       const Context& context = {}, const Dropout& dropout = {}) const {
    return run(front_door<S>(tokens, "x"), batch, c, dropout, [&](auto i, ConstView<S> from) {
      return detail::forward(std::get<i>(layers_), down<i>(w), from, batch, std::get<i>(c.layers), context,
                             dropout.below(i));
    });
  }
  template <class X>
  ConstView<S> replay(Weights<Sequential> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                      const Context& context = {}, const Dropout& dropout = {}) const
      requires(ReplayableLayer<First>&&...&& ReplayableLayer<Rest>) {
    return run(front_door<S>(tokens, "x"), batch, c, dropout, [&](auto i, ConstView<S> from) {
      return detail::replay(std::get<i>(layers_), down<i>(w), from, batch, std::get<i>(c.layers), context,
                            dropout.below(i));
    });
  }
  void exchange(Cache& c, Choices& choices) const {
    if constexpr (!std::is_empty_v<Choices>)
      for_each_index(
          [&](auto i) { detail::exchange(std::get<i>(layers_), std::get<i>(c.layers), std::get<i>(choices)); });
  }

  template <class X, class Y>
  ConstView<S> backward(Weights<Sequential> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                        const Eigen::MatrixBase<Y>& cotangent, Gradients<Sequential> g, const Context& context = {},
                        const Dropout& dropout = {}) const {
    const ConstView<S> x = front_door<S>(tokens, "x"), dy = front_door<S>(cotangent, "dy");
    c.made.check(batch, x.rows(), x.cols(), dropout);
    detail::check_cotangent(dy, x.rows(), c.result().cols());
    detail::check_gradients(w, g);
    return pull<0>(w, x, batch, c, dy, g, context, dropout);
  }

  State start(Index sequences, Index capacity, Index longest_chunk = 1) const
      requires(StreamingLayer<First>&&...&& StreamingLayer<Rest>) {
    return std::apply(
        [&](const auto&... l) { return State{{detail::start(l, sequences, capacity, longest_chunk)...}}; }, layers_);
  }
  template <class X>
  ConstView<S> step(Weights<Sequential> w, State& state, const Eigen::MatrixBase<X>& tokens, const Batch& batch,
                    const Context& context = {}) const requires(StreamingLayer<First>&&...&& StreamingLayer<Rest>) {
    return detail::whole_step(state.torn, [&] {
      return chain(front_door<S>(tokens, "x"), [&](auto i, ConstView<S> from) {
        return detail::step(std::get<i>(layers_), down<i>(w), std::get<i>(state.layers), from, batch, context,
                            state.torn);
      });
    });
  }

 private:
  using Layers = std::tuple<First, Rest...>;
  template <std::size_t i>
  using At = std::tuple_element_t<i, Layers>;
  template <std::size_t i>
  using Place = std::integral_constant<std::size_t, i>;

  template <class F>
  static void for_each_index(F&& f) {
    [&]<std::size_t... i>(std::index_sequence<i...>) { (f(Place<i>{}), ...); }
    (std::make_index_sequence<size>{});
  }
  template <std::size_t i>
  static Weights<At<i>> down(const Weights<Sequential>& w) {
    return {std::get<i>(w.own.layers), part<typename At<i>::Shared>(w.shared)};
  }
  template <std::size_t i = 0, class F>
  static ConstView<S> chain(ConstView<S> x, const F& f) {
    const ConstView<S> y = f(Place<i>{}, x);
    if constexpr (i + 1 < size)
      return chain<i + 1>(y, f);
    else
      return y;
  }
  template <class F>
  static ConstView<S> run(ConstView<S> x, const Batch& batch, Cache& c, const Dropout& dropout, const F& f) {
    c.made.forget();
    const ConstView<S> y = chain(x, f);
    c.made.note(batch, x.rows(), x.cols(), dropout);
    return y;
  }
  /// Back to the input of layer i, which was x.
  template <std::size_t i>
  ConstView<S> pull(const Weights<Sequential>& w, ConstView<S> x, const Batch& batch, Cache& c, ConstView<S> dy,
                    const Gradients<Sequential>& g, const Context& context, const Dropout& dropout) const {
    const Gradients<At<i>> mine(std::get<i>(g.own.layers), part<typename At<i>::Shared>(g.shared));
    const auto back = [&](ConstView<S> d) {
      return detail::backward(std::get<i>(layers_), down<i>(w), x, batch, std::get<i>(c.layers), d, mine, context,
                              dropout.below(i));
    };
    if constexpr (i + 1 < size)
      return back(
          pull<i + 1>(w, detail::result(std::as_const(std::get<i>(c.layers))), batch, c, dy, g, context, dropout));
    else
      return back(dy);
  }

  Layers layers_;
};

}  // namespace heed
