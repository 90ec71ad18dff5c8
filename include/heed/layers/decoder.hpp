// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/parallel.hpp>
#include <heed/kernels/row_panels.hpp>
#include <heed/layers/layer.hpp>

#include <cstddef>
#include <utility>
#include <vector>

namespace heed {

/// A stack of decoder layers, each of three parts that add to the stream:
///
///   x += Self(x);   x += dropout(Cross(norm(x), memory));   x += Feed(x)
///
/// and a norm after the last. `Self` and `Feed` are layers that hold their own residual (`PreNorm`), Self a causal one;
/// `Cross` is an attention that crosses. (Vaswani et al. 2017, arXiv 1706.03762, section 3.1, with the norms first.)
///
/// In the batch, `q` are the segments of x and `k` those of the memory, sequence by sequence.
template <CausalLayer Self, class Cross, Layer Feed, Layer Norm>
class DecoderOf {
 public:
  using Scalar = typename Self::Scalar;
  using S = Scalar;
  struct Options {
    Index depth = 1;
    typename Self::Options self{};
    typename Cross::Options cross{};
    typename Feed::Options feed{};
    typename Norm::Options norm{};
    int threads = 1;
  };
  struct LayerParams {
    typename Self::Params self;
    typename Norm::Params cross_norm;
    typename Cross::Params cross;
    typename Feed::Params feed;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("self", x.self...);
      f("cross_norm", x.cross_norm...);
      f("cross", x.cross...);
      f("feed", x.feed...);
    }
  };
  struct Params {
    std::vector<LayerParams> layers;
    typename Norm::Params norm;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("layers", x.layers...);
      f("norm", x.norm...);
    }
  };
  using Shared = Together<NoParams, typename Self::Shared, typename Cross::Shared>;
  /// Whether it writes token by token.
  static constexpr bool streams =
      StreamingLayer<Self> && requires(const Cross cross, const Weights<Cross>& w, ConstView<S> x, const Batch& batch,
                                       typename Cross::Cache& cache) {
    cross.remember(w, x, batch, cache);
  };
  /// Of the attention in x, and to the memory.
  struct Context {
    typename Self::Context self{};
    typename Cross::Context cross{};
  };
  struct LayerCache {
    typename Self::Cache self;
    typename Norm::Cache cross_norm;
    typename Cross::Cache cross;
    typename Feed::Cache feed;
    Buffer<S> y;  // after cross-attention
  };
  struct Cache {
    detail::Made made;
    std::vector<LayerCache> layers;
    typename Norm::Cache norm;
    detail::Made made_memory;
    Batch own;  // x alone
    Buffer<S> dropped, dx, dmemory;
    Workers workers;
    ConstView<S> result() const { return detail::result(norm); }
  };
  struct State {
    std::vector<detail::StateOf<Self>> self;
    std::vector<typename Cross::Cache> cross;  // keys and values of the memory, for every layer
    LayerCache scratch;
    typename Norm::Cache norm;
    Batch batch;  // x against the memory
    Workers workers;
    bool torn = false;  // some layers took a step that another refused
  };

  explicit DecoderOf(const Options& o)
      : threads_(o.threads), depth_(o.depth), self_(o.self), cross_(o.cross), feed_(o.feed), norm_(o.norm) {
    require<OptionError>(o.depth >= 1, "options.depth: at least 1 expected, came ", o.depth);
    require<OptionError>(o.threads >= 1, "options.threads: at least 1 expected, came ", o.threads);
    require<OptionError>(detail::causality(self_) != Causality::none,
                         "options.self: a causal layer (policy.causal = true) expected, came one that sees later "
                         "tokens");
  }
  Causality causality() const requires CausalLayer<Feed> {
    return detail::weakest(detail::causality(self_), detail::causality(feed_));
  }

  Params init(Random& random) const {
    Params p;
    for (Index i = 0; i < depth_; ++i) {
      LayerParams l;
      l.self = self_.init(random);
      l.cross_norm = norm_.init(random);
      l.cross = cross_.init(random);
      l.feed = feed_.init(random);
      p.layers.push_back(std::move(l));
    }
    p.norm = norm_.init(random);
    return p;
  }
  Shared init_shared(Random& random) const {
    Shared shared;
    if constexpr (!std::is_empty_v<typename Cross::Shared>)
      part<typename Cross::Shared>(shared) = cross_.init_shared(random);
    if constexpr (!std::is_empty_v<typename Self::Shared>)
      part<typename Self::Shared>(shared) = self_.init_shared(random);
    return shared;
  }

  /// y `[rows of x, d_model]`.
  template <class X, class M>
  ConstView<S> forward(Weights<DecoderOf> w, const Eigen::MatrixBase<X>& tokens, const Eigen::MatrixBase<M>& source,
                       const Batch& batch, Cache& c, const Context& context = {}, const Dropout& dropout = {}) const {
    return run<false>(w, front_door<S>(tokens, "x"), front_door<S>(source, "memory"), batch, c, context, dropout);
  }
  /// The same with the choices that the cache holds.
  template <class X, class M>
  ConstView<S> replay(Weights<DecoderOf> w, const Eigen::MatrixBase<X>& tokens, const Eigen::MatrixBase<M>& source,
                      const Batch& batch, Cache& c, const Context& context = {}, const Dropout& dropout = {}) const
      requires(ReplayableLayer<Self>&& ReplayableLayer<Feed>) {
    return run<true>(w, front_door<S>(tokens, "x"), front_door<S>(source, "memory"), batch, c, context, dropout);
  }

  struct InputGradients {
    ConstView<S> dx, dmemory;
  };
  template <class X, class M, class Y>
  InputGradients backward(Weights<DecoderOf> w, const Eigen::MatrixBase<X>& tokens, const Eigen::MatrixBase<M>& source,
                          const Batch& batch, Cache& c, const Eigen::MatrixBase<Y>& cotangent, Gradients<DecoderOf> g,
                          const Context& context = {}, const Dropout& dropout = {}) const {
    const ConstView<S> x = front_door<S>(tokens, "x"), memory = front_door<S>(source, "memory"),
                       dy = front_door<S>(cotangent, "dy");
    check(w, x, memory, batch);
    c.made.check(batch, x.rows(), x.cols(), dropout);
    c.made_memory.check(batch.k, memory.rows(), memory.cols(), dropout, "memory");
    detail::check_depth(c.layers.size(), w.own.layers.size());
    detail::check_cotangent(dy, x.rows(), x.cols());
    detail::check_gradients(w, g);
    const ConstView<S> last = detail::result(std::as_const(c.layers.back().feed));
    copy_rows<S>(c.own.q, norm_.backward(w.own.norm, last, c.own, c.norm, dy, g.own.norm),
                 c.dx.resize(x.rows(), x.cols()), c.workers);
    c.dmemory.resize(memory.rows(), memory.cols()).setZero();
    for (std::size_t i = c.layers.size(); i-- > 0;) {
      const ConstView<S> from = i > 0 ? detail::result(std::as_const(c.layers[i - 1].feed)) : x;
      pull(i, w, from, memory, batch, c, g, context, dropout.below(i));
    }
    return {std::as_const(c.dx).view(), std::as_const(c.dmemory).view()};
  }

  /// Streams of up to `capacity` tokens that come in chunks of up to `longest_chunk`, one for each sequence of the
  /// memory, whose segments are `batch.k`. Its keys and values are made here, once for all steps; the state does not
  /// refer to it.
  template <class M>
  State start(Weights<DecoderOf> w, const Eigen::MatrixBase<M>& source, const Batch& batch, Index capacity,
              Index longest_chunk = 1) const requires(streams) {
    const ConstView<S> memory = front_door<S>(source, "memory");
    check(w);
    State s;
    s.batch.k = batch.k;
    s.cross.resize(w.own.layers.size());
    for (std::size_t i = 0; i < w.own.layers.size(); ++i) {
      cross_.remember(cross_of(w, i), memory, batch, s.cross[i]);
      s.self.push_back(detail::start(self_, static_cast<Index>(batch.k.size()), capacity, longest_chunk));
    }
    return s;
  }
  /// Their next tokens, any number for each up to the longest chunk: gives the rows of `forward`, and costs what these
  /// rows cost. `batch` is that of x alone. What `Attention::recall` says of positions holds.
  template <class X>
  ConstView<S> step(Weights<DecoderOf> w, State& state, const Eigen::MatrixBase<X>& tokens, const Batch& batch,
                    const Context& context = {}) const requires(streams) {
    const ConstView<S> x = front_door<S>(tokens, "x");
    check(w);
    require<ShapeError>(batch.q == batch.k, "batch: the same query and key segments expected");
    require<StateError>(static_cast<Index>(state.self.size()) == depth_,
                        "state: was started by a decoder of another depth");
    require<StateError>(batch.q.size() == state.batch.k.size(), "batch: ", state.batch.k.size(),
                        " sequences expected, as the memory has, came ", batch.q.size());
    state.batch.q = batch.q;
    state.workers.prepare(threads_, 0);
    return detail::whole_step(state.torn, [&] {
      return norm_.forward(w.own.norm, advance(0, w, state, x, batch, context), batch, state.norm);
    });
  }

 private:
  void check(const Weights<DecoderOf>& w) const {
    require<ShapeError>(static_cast<Index>(w.own.layers.size()) == depth_, "weights.layers: ", depth_,
                        " expected, came ", w.own.layers.size());
  }
  void check(const Weights<DecoderOf>& w, ConstView<S> x, ConstView<S> memory, const Batch& batch) const {
    check(w);
    batch.check(x.rows(), memory.rows());
  }
  Weights<Self> self_of(const Weights<DecoderOf>& w, std::size_t i) const {
    return {w.own.layers[i].self, part<typename Self::Shared>(w.shared)};
  }
  Weights<Cross> cross_of(const Weights<DecoderOf>& w, std::size_t i) const {
    return {w.own.layers[i].cross, part<typename Cross::Shared>(w.shared)};
  }
  /// x + dropout(attend(norm(x)))
  template <class Attend>
  ConstView<S> cross(std::size_t i, const Weights<DecoderOf>& w, ConstView<S> x, const Batch& own, LayerCache& l,
                     Workers& workers, const Dropout& dropout, const Attend& attend) const {
    const ConstView<S> seen = attend(norm_.forward(w.own.layers[i].cross_norm, x, own, l.cross_norm));
    View<S> y = l.y.resize(x.rows(), x.cols());
    zero_gaps<S>(own.q, y);
    add_dropped<S>(own.q, x, 1, seen, dropout.below(1), y, workers);
    return view(y);
  }
  template <bool again>
  ConstView<S> run(const Weights<DecoderOf>& w, ConstView<S> x, ConstView<S> memory, const Batch& batch, Cache& c,
                   const Context& context, const Dropout& dropout) const {
    check(w, x, memory, batch);
    dropout.check();
    c.made.forget();
    c.own.q = c.own.k = batch.q;
    c.workers.prepare(threads_, 0);
    c.layers.resize(w.own.layers.size());
    const ConstView<S> y =
        norm_.forward(w.own.norm, climb<again>(0, w, x, memory, batch, c, context, dropout), c.own, c.norm);
    c.made.note(c.own, x.rows(), x.cols(), dropout);
    c.made_memory.note(batch.k, memory.rows(), memory.cols(), dropout);
    return y;
  }
  template <bool again>
  ConstView<S> climb(std::size_t i, const Weights<DecoderOf>& w, ConstView<S> x, ConstView<S> memory,
                     const Batch& batch, Cache& c, const Context& context, const Dropout& dropout) const {
    LayerCache& l = c.layers[i];
    const Dropout mine = dropout.below(i);
    const auto call = [&](const auto& layer, const auto& weights, ConstView<S> from, auto& cache, const auto& with,
                          const Dropout& drops) {
      if constexpr (again)
        return detail::replay(layer, weights, from, c.own, cache, with, drops);
      else
        return detail::forward(layer, weights, from, c.own, cache, with, drops);
    };
    const ConstView<S> a = call(self_, self_of(w, i), x, l.self, context.self, mine.below(0));
    const ConstView<S> b = cross(i, w, a, c.own, l, c.workers, mine, [&](ConstView<S> normed) {
      if constexpr (again)
        return cross_.replay(cross_of(w, i), normed, memory, batch, l.cross, context.cross);
      else
        return cross_.forward(cross_of(w, i), normed, memory, batch, l.cross, context.cross);
    });
    const ConstView<S> y = call(feed_, Weights<Feed>(w.own.layers[i].feed), b, l.feed, NoContext{}, mine.below(2));
    return i + 1 < c.layers.size() ? climb<again>(i + 1, w, y, memory, batch, c, context, dropout) : y;
  }
  /// From the gradient of what layer i gave, in c.dx, to that of what it was given.
  void pull(std::size_t i, const Weights<DecoderOf>& w, ConstView<S> x, ConstView<S> memory, const Batch& batch,
            Cache& c, const Gradients<DecoderOf>& g, const Context& context, const Dropout& dropout) const {
    LayerCache& l = c.layers[i];
    LayerParams& to = g.own.layers[i];
    const LayerParams& p = w.own.layers[i];
    View<S> d = c.dx.view();
    const auto assign = [&](ConstView<S> from) { copy_rows<S>(c.own.q, from, d, c.workers); };
    const ConstView<S> a = detail::result(std::as_const(l.self)), b = std::as_const(l.y).view();
    assign(detail::backward(feed_, Weights<Feed>(p.feed), b, c.own, l.feed, view(d), Gradients<Feed>(to.feed),
                            NoContext{}, dropout.below(2)));
    if (dropout.active()) drop(c.own.q, view(d), dropout.below(1), c.dropped.resize(d.rows(), d.cols()), c.workers);
    const auto seen =
        cross_.backward(cross_of(w, i), detail::result(std::as_const(l.cross_norm)), memory, batch, l.cross,
                        dropout.active() ? std::as_const(c.dropped).view() : view(d),
                        Gradients<Cross>(to.cross, part<typename Cross::Shared>(g.shared)), context.cross);
    c.dmemory.view() += seen.dmemory;
    const ConstView<S> below = norm_.backward(p.cross_norm, a, c.own, l.cross_norm, seen.dx, to.cross_norm);
    add_dropped<S>(c.own.q, view(d), 1, below, {}, d, c.workers);
    assign(detail::backward(self_, self_of(w, i), x, c.own, l.self, view(d),
                            Gradients<Self>(to.self, part<typename Self::Shared>(g.shared)), context.self,
                            dropout.below(0)));
  }
  ConstView<S> advance(std::size_t i, const Weights<DecoderOf>& w, State& state, ConstView<S> x, const Batch& own,
                       const Context& context) const {
    LayerCache& l = state.scratch;
    const ConstView<S> a = detail::step(self_, self_of(w, i), state.self[i], x, own, context.self, state.torn);
    const ConstView<S> b = cross(i, w, a, own, l, state.workers, {}, [&](ConstView<S> normed) {
      return cross_.recall(cross_of(w, i), normed, state.batch, state.cross[i], context.cross);
    });
    const ConstView<S> y =
        detail::forward(feed_, Weights<Feed>(w.own.layers[i].feed), b, own, l.feed, NoContext{}, Dropout{});
    return i + 1 < state.self.size() ? advance(i + 1, w, state, y, own, context) : y;
  }

  int threads_;
  Index depth_;
  Self self_;
  Cross cross_;
  Feed feed_;
  Norm norm_;
};

}  // namespace heed
