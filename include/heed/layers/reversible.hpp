// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/parallel.hpp>
#include <heed/kernels/row_panels.hpp>
#include <heed/layers/layer.hpp>

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace heed {

/// Two streams side by side, x = [x1 x2], that add to each other in turn:
///
///   y1 = x1 + dropout(F(x2)),   y2 = x2 + dropout(G(y1))
///
/// so that x follows from y: x2 = y2 - dropout(G(y1)), x1 = y1 - dropout(F(x2)), within rounding. Usually F is a norm
/// and attention, G a norm and a feed-forward layer. (Gomez et al. 2017, arXiv 1707.04585, eqs. 6 and 7; Kitaev et al.
/// 2020, arXiv 2001.04451, eqs. 7 to 9.)
///
/// Both parts are computed again on the way back, with the same dropout and the same choices: a layer that cannot
/// repeat itself (`ReplayableLayer`), such as one with a state of its own, does not compile here.
template <ReplayableLayer F, ReplayableLayer G>
class Reversible {
 public:
  using Scalar = typename F::Scalar;
  static_assert(std::same_as<Scalar, typename G::Scalar>, "heed: layers of one scalar type expected");
  using S = Scalar;
  struct Options {
    typename F::Options f{};
    typename G::Options g{};
    int threads = 1;
  };
  struct Params {
    typename F::Params f;
    typename G::Params g;
    template <class V, class... X>
    static void visit(V&& v, X&... x) {
      v("f", x.f...);
      v("g", x.g...);
    }
  };
  using Shared = Together<NoParams, typename F::Shared, typename G::Shared>;
  using Context = Together<NoContext, typename F::Context, typename G::Context>;
  struct BothChoices {
    detail::ChoicesOf<F> f;
    detail::ChoicesOf<G> g;
  };
  using Choices = std::conditional_t<std::is_empty_v<detail::ChoicesOf<F>> && std::is_empty_v<detail::ChoicesOf<G>>,
                                     NoChoices, BothChoices>;
  static constexpr bool tokenwise = TokenwiseLayer<F> && TokenwiseLayer<G>;
  struct Cache {
    detail::Made made;
    typename F::Cache f;
    typename G::Cache g;
    Buffer<S> y, dropped, dx;
    Workers workers;
  };
  struct State {
    detail::StateOf<F> f;
    detail::StateOf<G> g;
    Buffer<S> y;
    Workers workers;
    bool torn = false;  // some layers took a step that another refused
  };

  explicit Reversible(const Options& options) : options_(options), f_(options.f), g_(options.g) {
    require<OptionError>(options.threads >= 1, "options.threads: at least 1 expected, came ", options.threads);
  }
  const Options& options() const { return options_; }
  Causality causality() const requires(CausalLayer<F>&& CausalLayer<G>) {
    return detail::weakest(detail::causality(f_), detail::causality(g_));
  }

  Params init(Random& random) const {
    typename F::Params f = f_.init(random);
    return {std::move(f), g_.init(random)};
  }
  Shared init_shared(Random& random) const {
    Shared shared;
    if constexpr (!std::is_empty_v<typename G::Shared>) part<typename G::Shared>(shared) = g_.init_shared(random);
    if constexpr (!std::is_empty_v<typename F::Shared>) part<typename F::Shared>(shared) = f_.init_shared(random);
    return shared;
  }

  // --- as a layer that keeps what it needs: x and y are [rows, 2 d] ---

  template <class X>
  ConstView<S> forward(Weights<Reversible> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                       const Context& context = {}, const Dropout& dropout = {}) const {
    return run(w, front_door<S>(tokens, "x"), batch, c, context, dropout, true);
  }
  template <class X>
  ConstView<S> replay(Weights<Reversible> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                      const Context& context = {}, const Dropout& dropout = {}) const {
    return run(w, front_door<S>(tokens, "x"), batch, c, context, dropout, false);
  }
  void exchange(Cache& c, Choices& choices) const {
    if constexpr (!std::is_empty_v<Choices>) {
      detail::exchange(f_, c.f, choices.f);
      detail::exchange(g_, c.g, choices.g);
    }
  }
  template <class X, class Y>
  ConstView<S> backward(Weights<Reversible> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                        const Eigen::MatrixBase<Y>& cotangent, Gradients<Reversible> g, const Context& context = {},
                        const Dropout& dropout = {}) const {
    const ConstView<S> x = front_door<S>(tokens, "x"), dy = front_door<S>(cotangent, "dy");
    check_columns(x);
    c.made.check(batch, x.rows(), x.cols(), dropout);
    detail::check_cotangent(dy, x.rows(), x.cols());
    detail::check_gradients(w, g);
    View<S> d = c.dx.resize(x.rows(), x.cols());
    copy_rows<S>(batch.q, dy, d, c.workers);
    pull_g(w, left(std::as_const(c.y).view()), d, batch, c, g, context, dropout);
    pull_f(w, right(x), d, batch, c, g, context, dropout);
    return std::as_const(c.dx).view();
  }

  State start(Index sequences, Index capacity, Index longest_chunk = 1) const
      requires(StreamingLayer<F>&& StreamingLayer<G>) {
    return {detail::start(f_, sequences, capacity, longest_chunk),
            detail::start(g_, sequences, capacity, longest_chunk),
            {},
            {}};
  }
  template <class X>
  ConstView<S> step(Weights<Reversible> w, State& state, const Eigen::MatrixBase<X>& tokens, const Batch& batch,
                    const Context& context = {}) const requires(StreamingLayer<F>&& StreamingLayer<G>) {
    const ConstView<S> x = front_door<S>(tokens, "x");
    check_columns(x);
    detail::check_tokens(x, x.cols(), batch);
    state.workers.prepare(options_.threads, 0);
    View<S> y = state.y.resize(x.rows(), x.cols());
    copy_rows<S>(batch.q, x, y, state.workers);
    return detail::whole_step(state.torn, [&] {
      add(left(y), 1, detail::step(f_, down_f(w), state.f, right(view(y)), batch, context, state.torn), {}, batch,
          state.workers);
      add(right(y), 1, detail::step(g_, down_g(w), state.g, left(view(y)), batch, context, state.torn), {}, batch,
          state.workers);
      return view(y);
    });
  }

  // --- in place, for stacks that keep one activation; `choose` or replay what the cache holds ---

  /// x becomes y.
  void advance(const Weights<Reversible>& w, View<S> xy, const Batch& batch, Cache& c, const Context& context,
               const Dropout& dropout, bool choose) const {
    c.workers.prepare(options_.threads, 0);
    add(left(xy), 1, run_f(w, right(view(xy)), batch, c, context, dropout, choose), dropout.below(0), batch, c.workers);
    add(right(xy), 1, run_g(w, left(view(xy)), batch, c, context, dropout, choose), dropout.below(1), batch, c.workers);
  }
  /// y becomes x.
  void retreat(const Weights<Reversible>& w, View<S> xy, const Batch& batch, Cache& c, const Context& context,
               const Dropout& dropout) const {
    add(right(xy), -1, run_g(w, left(view(xy)), batch, c, context, dropout, false), dropout.below(1), batch, c.workers);
    add(left(xy), -1, run_f(w, right(view(xy)), batch, c, context, dropout, false), dropout.below(0), batch, c.workers);
  }
  /// y becomes x and dy becomes dx; adds to the gradients.
  void pull(const Weights<Reversible>& w, View<S> xy, View<S> d, const Batch& batch, Cache& c,
            const Gradients<Reversible>& g, const Context& context, const Dropout& dropout) const {
    add(right(xy), -1, run_g(w, left(view(xy)), batch, c, context, dropout, false), dropout.below(1), batch, c.workers);
    pull_g(w, left(view(xy)), d, batch, c, g, context, dropout);
    // F sees the rebuilt x2, so that its value and its gradient are those of one and the same point
    add(left(xy), -1, run_f(w, right(view(xy)), batch, c, context, dropout, false), dropout.below(0), batch, c.workers);
    pull_f(w, right(view(xy)), d, batch, c, g, context, dropout);
  }

  static void check_columns(ConstView<S> x) {
    require<ShapeError>(x.cols() % 2 == 0, "x: two streams side by side, an even number of columns, expected, came ",
                        x.cols());
  }

 private:
  template <class V>
  static V left(V m) {
    return block(m, 0, 0, m.rows(), m.cols() / 2);
  }
  template <class V>
  static V right(V m) {
    return block(m, 0, m.cols() / 2, m.rows(), m.cols() / 2);
  }
  static void add(View<S> to, S sign, ConstView<S> more, const Dropout& dropout, const Batch& batch, Workers& workers) {
    require<ShapeError>(more.cols() == to.cols(), "options: layers that give ", to.cols(),
                        " columns, as many as they take, expected, came ", more.cols());
    add_dropped<S>(batch.q, view(to), sign, more, dropout, to, workers);
  }
  static Weights<F> down_f(const Weights<Reversible>& w) { return {w.own.f, part<typename F::Shared>(w.shared)}; }
  static Weights<G> down_g(const Weights<Reversible>& w) { return {w.own.g, part<typename G::Shared>(w.shared)}; }

  ConstView<S> run_f(const Weights<Reversible>& w, ConstView<S> x2, const Batch& batch, Cache& c,
                     const Context& context, const Dropout& dropout, bool choose) const {
    return choose ? detail::forward(f_, down_f(w), x2, batch, c.f, context, dropout.below(2))
                  : detail::replay(f_, down_f(w), x2, batch, c.f, context, dropout.below(2));
  }
  ConstView<S> run_g(const Weights<Reversible>& w, ConstView<S> y1, const Batch& batch, Cache& c,
                     const Context& context, const Dropout& dropout, bool choose) const {
    return choose ? detail::forward(g_, down_g(w), y1, batch, c.g, context, dropout.below(3))
                  : detail::replay(g_, down_g(w), y1, batch, c.g, context, dropout.below(3));
  }
  ConstView<S> run(const Weights<Reversible>& w, ConstView<S> x, const Batch& batch, Cache& c, const Context& context,
                   const Dropout& dropout, bool choose) const {
    check_columns(x);
    detail::check_tokens(x, x.cols(), batch);
    dropout.check();
    c.made.forget();
    c.workers.prepare(options_.threads, 0);
    View<S> y = c.y.resize(x.rows(), x.cols());
    copy_rows<S>(batch.q, x, y, c.workers);
    advance(w, y, batch, c, context, dropout, choose);
    c.made.note(batch, x.rows(), x.cols(), dropout);
    return view(y);
  }

  /// The cotangent of what was added, before its dropout.
  ConstView<S> dropped(ConstView<S> d, const Dropout& dropout, const Batch& batch, Cache& c) const {
    if (!dropout.active()) return d;
    drop(batch.q, d, dropout, c.dropped.resize(d.rows(), d.cols()), c.workers);
    return std::as_const(c.dropped).view();
  }
  /// dy1 += G'(y1)^T dy2
  void pull_g(const Weights<Reversible>& w, ConstView<S> y1, View<S> d, const Batch& batch, Cache& c,
              const Gradients<Reversible>& g, const Context& context, const Dropout& dropout) const {
    const ConstView<S> dy2 = dropped(right(view(d)), dropout.below(1), batch, c);
    add(left(d), 1,
        detail::backward(g_, down_g(w), y1, batch, c.g, dy2, Gradients<G>(g.own.g, part<typename G::Shared>(g.shared)),
                         context, dropout.below(3)),
        {}, batch, c.workers);
  }
  /// dx2 = dy2 + F'(x2)^T dy1
  void pull_f(const Weights<Reversible>& w, ConstView<S> x2, View<S> d, const Batch& batch, Cache& c,
              const Gradients<Reversible>& g, const Context& context, const Dropout& dropout) const {
    const ConstView<S> dy1 = dropped(left(view(d)), dropout.below(0), batch, c);
    add(right(d), 1,
        detail::backward(f_, down_f(w), x2, batch, c.f, dy1, Gradients<F>(g.own.f, part<typename F::Shared>(g.shared)),
                         context, dropout.below(2)),
        {}, batch, c.workers);
  }

  Options options_;
  F f_;
  G g_;
};

/// Refinement: y can be turned back into x in place.
template <class L>
concept ReversibleLayer = Layer<L> &&
    requires(const L l, const Weights<L>& w, const Gradients<L>& g, View<typename L::Scalar> xy, const Batch& batch,
             typename L::Cache& cache, const typename L::Context& context, const Dropout& dropout) {
  l.advance(w, xy, batch, cache, context, dropout, true);
  l.retreat(w, xy, batch, cache, context, dropout);
  l.pull(w, xy, xy, batch, cache, g, context, dropout);
};

}  // namespace heed
