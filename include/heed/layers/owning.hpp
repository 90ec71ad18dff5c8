// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/layers/layer.hpp>

#include <utility>

namespace heed {

/// A layer together with what it shares. Shared parameters have one owner, and where the owner stands is the sharing:
/// around one attention they are shared by its heads, around a stack by all its layers. A layer whose `Shared` is not
/// owned by anyone does not take its parameters alone: forgetting to hand them down does not compile.
template <class L>
class Owning {
  static Weights<L> down(const Weights<Owning>& w) { return {w.own.own, w.own.shared}; }
  static Gradients<L> down(const Gradients<Owning>& g) { return {g.own.own, g.own.shared}; }

 public:
  using Inner = L;
  using Scalar = typename L::Scalar;
  using Options = typename L::Options;
  using Context = typename L::Context;
  using Cache = typename L::Cache;
  using Choices = detail::ChoicesOf<L>;
  using State = detail::StateOf<L>;
  using Shared = NoParams;
  static constexpr bool tokenwise = detail::is_tokenwise<L>();
  /// Whether it writes token by token over a memory.
  static constexpr bool streams = detail::writes_streams<L>();
  struct Params {
    typename L::Shared shared;
    typename L::Params own;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("shared", x.shared...);
      f("own", x.own...);
    }
  };

  explicit Owning(const Options& options) : inner_(options) {}
  const L& inner() const { return inner_; }
  Causality causality() const requires CausalLayer<L> { return detail::causality(inner_); }

  Params init(Random& random) const {
    typename L::Shared shared = inner_.init_shared(random);
    return {std::move(shared), inner_.init(random)};
  }
  Shared init_shared(Random&) const { return {}; }

  // `I` makes the return types depend on the call, so that what the layer cannot do is no error before it is asked for.

  /// As the layer's own: in self- and cross-attention, and token by token, where it can.
  template <class I = L, class... A>
  auto forward(Weights<Owning> w, A&&... arguments) const
      -> decltype(std::declval<const I&>().forward(down(w), std::forward<A>(arguments)...)) {
    return inner_.forward(down(w), std::forward<A>(arguments)...);
  }
  template <class I = L, class... A>
  auto replay(Weights<Owning> w, A&&... arguments) const
      -> decltype(std::declval<const I&>().replay(down(w), std::forward<A>(arguments)...)) {
    return inner_.replay(down(w), std::forward<A>(arguments)...);
  }
  void exchange(Cache& cache, Choices& choices) const { detail::exchange(inner_, cache, choices); }
  template <class X, class Y, class I = L, class... A>
  auto backward(Weights<Owning> w, const X& x, const Batch& batch, Cache& cache, const Eigen::MatrixBase<Y>& dy,
                Gradients<Owning> g, A&&... arguments) const
      -> decltype(std::declval<const I&>().backward(down(w), x, batch, cache, dy, down(g),
                                                    std::forward<A>(arguments)...)) {
    return inner_.backward(down(w), x, batch, cache, dy, down(g), std::forward<A>(arguments)...);
  }
  template <class X, class M, class Y, class I = L, class... A>
  auto backward(Weights<Owning> w, const X& x, const Eigen::MatrixBase<M>& memory, const Batch& batch, Cache& cache,
                const Y& dy, Gradients<Owning> g, A&&... arguments) const
      -> decltype(std::declval<const I&>().backward(down(w), x, memory, batch, cache, dy, down(g),
                                                    std::forward<A>(arguments)...)) {
    return inner_.backward(down(w), x, memory, batch, cache, dy, down(g), std::forward<A>(arguments)...);
  }
  template <class I = L, class... A>
  auto start(Weights<Owning> w, A&&... arguments) const
      -> decltype(std::declval<const I&>().start(down(w), std::forward<A>(arguments)...)) {
    return inner_.start(down(w), std::forward<A>(arguments)...);
  }
  template <class I = L, class... A>
  auto start(A&&... arguments) const -> decltype(std::declval<const I&>().start(std::forward<A>(arguments)...)) {
    return inner_.start(std::forward<A>(arguments)...);
  }
  template <class I = L, class... A>
  auto step(Weights<Owning> w, A&&... arguments) const
      -> decltype(std::declval<const I&>().step(down(w), std::forward<A>(arguments)...)) {
    return inner_.step(down(w), std::forward<A>(arguments)...);
  }

 private:
  L inner_;
};

}  // namespace heed
