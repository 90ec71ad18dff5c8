// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/batch.hpp>
#include <heed/core/params.hpp>
#include <heed/core/random.hpp>
#include <heed/core/weights.hpp>

#include <utility>

namespace heed {

/// A layer together with what it shares. Shared parameters have one owner, and where the owner stands is the sharing:
/// around one attention they are shared by its heads, around a stack by all its layers. A layer whose `Shared` is not
/// owned by anyone does not take its parameters alone: forgetting to hand them down does not compile.
template <class L>
class Owning {
 public:
  using Inner = L;
  using Scalar = typename L::Scalar;
  using Options = typename L::Options;
  using Context = typename L::Context;
  using Cache = typename L::Cache;
  using Shared = NoParams;
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

  Params init(Random& random) const {
    typename L::Shared shared = inner_.init_shared(random);
    return {std::move(shared), inner_.init(random)};
  }
  Shared init_shared(Random&) const { return {}; }

  /// As the layer's own: in self- and cross-attention, and token by token where it can.
  template <class... A>
  auto forward(Weights<Owning> w, A&&... arguments) const {
    return inner_.forward(down(w), std::forward<A>(arguments)...);
  }
  template <class... A>
  auto replay(Weights<Owning> w, A&&... arguments) const {
    return inner_.replay(down(w), std::forward<A>(arguments)...);
  }
  template <class X, class Y>
  auto backward(Weights<Owning> w, const X& x, const Batch& batch, Cache& cache, const Y& dy, Gradients<Owning> g,
                const Context& context = {}) const {
    return inner_.backward(down(w), x, batch, cache, dy, Gradients<L>(g.own.own, g.own.shared), context);
  }
  template <class X, class M, class Y>
  auto backward(Weights<Owning> w, const X& x, const M& memory, const Batch& batch, Cache& cache, const Y& dy,
                Gradients<Owning> g, const Context& context = {}) const {
    return inner_.backward(down(w), x, memory, batch, cache, dy, Gradients<L>(g.own.own, g.own.shared), context);
  }
  template <class... A>
  auto start(A&&... arguments) const {
    return inner_.start(std::forward<A>(arguments)...);
  }
  template <class... A>
  auto step(Weights<Owning> w, A&&... arguments) const {
    return inner_.step(down(w), std::forward<A>(arguments)...);
  }

 private:
  static Weights<L> down(const Weights<Owning>& w) { return {w.own.own, w.own.shared}; }
  L inner_;
};

}  // namespace heed
