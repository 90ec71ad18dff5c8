// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/core/batch.hpp>
#include <heed/core/buffer.hpp>
#include <heed/core/dropout.hpp>
#include <heed/core/front_door.hpp>
#include <heed/core/params.hpp>
#include <heed/core/random.hpp>
#include <heed/core/require.hpp>
#include <heed/core/together.hpp>
#include <heed/core/weights.hpp>

#include <concepts>
#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

/// The contract of a layer: a pure function of its weights, tokens `[rows, channels]` and a batch that says which rows
/// are which sequence. `Attention<P>` is one, and so is everything built of layers.

namespace heed {

/// The context of a layer that needs nothing from the caller.
struct NoContext {};

namespace detail {
/// What the last forward gave, as it lies in the cache.
template <class Cache>
auto result(const Cache& cache) {
  if constexpr (requires { cache.y.view(); })
    return cache.y.view();
  else
    return cache.result();
}
}  // namespace detail

/// Types: `Scalar`; `Options` (chosen by the user, an aggregate); `Params` and `Shared` (learned: its own; by several
/// layers, owned by a wrapper such as `Owning`); `Context` (the caller's data for one call, may be empty); `Cache`
/// (every buffer of one call; its `y`, or its `result()`, is what the last forward gave).
///
/// - `L(options)` checks the options and throws OptionError. `init(random)`, `init_shared(random)`.
/// - `forward(weights, x, batch, cache, context)` gives y; `backward(weights, x, batch, cache, dy, gradients, context)`,
///   called with what forward was given, adds to the gradients and gives dx. Both are views into the cache, valid until
///   its next use. Rows in no segment are not read; their y and dx are 0. The bits do not depend on the threads.
template <class L>
concept Layer = std::copy_constructible<L> && std::floating_point<typename L::Scalar> &&
    std::is_aggregate_v<typename L::Options> && Visitable<typename L::Params> && Visitable<typename L::Shared> &&
    std::default_initializable<typename L::Cache> && std::default_initializable<typename L::Context> &&
    requires(const L l, const typename L::Options& options, Random& random, const Weights<L>& w, const Gradients<L>& g,
             ConstView<typename L::Scalar> x, const Batch& batch, typename L::Cache& cache,
             const typename L::Context& context) {
  L(options);
  { l.init(random) } -> std::same_as<typename L::Params>;
  { l.init_shared(random) } -> std::same_as<typename L::Shared>;
  { l.forward(w, x, batch, cache, context) } -> std::same_as<ConstView<typename L::Scalar>>;
  { l.backward(w, x, batch, cache, x, g, context) } -> std::same_as<ConstView<typename L::Scalar>>;
  { detail::result(std::as_const(cache)) } -> std::same_as<ConstView<typename L::Scalar>>;
};

namespace detail {
template <class L>
constexpr bool is_tokenwise() {
  if constexpr (requires { L::tokenwise; })
    return L::tokenwise;
  else
    return false;
}
/// Of a layer that reads a memory: whether it writes token by token over it.
template <class L>
constexpr bool writes_streams() {
  if constexpr (requires { L::streams; })
    return L::streams;
  else
    return false;
}
}  // namespace detail

/// Refinement: row i of y depends on row i of x alone. Said by `static constexpr bool tokenwise = true`. Such a layer
/// needs no state in a stream, and repeats itself.
template <class L>
concept TokenwiseLayer = Layer<L> && detail::is_tokenwise<L>();

/// Refinement: takes a `Dropout` as last argument of forward, replay and backward.
template <class L>
concept DroppingLayer = Layer<L> &&
    requires(const L l, const Weights<L>& w, ConstView<typename L::Scalar> x, const Batch& batch,
             typename L::Cache& cache, const typename L::Context& context) {
  l.forward(w, x, batch, cache, context, Dropout{});
};

/// Refinement: can say again what it said. `replay` is `forward` with the choices that the cache holds; a layer that
/// makes choices names what has to be kept of a call as `Choices`, and `exchange(cache, choices)` swaps them with those
/// in the cache. A layer with a state of its own cannot do this.
template <class L>
concept ReplayableLayer = TokenwiseLayer<L> ||
    (Layer<L>&& requires(const L l, const Weights<L>& w, ConstView<typename L::Scalar> x, const Batch& batch,
                         typename L::Cache& cache, const typename L::Context& context) {
      { l.replay(w, x, batch, cache, context) } -> std::same_as<ConstView<typename L::Scalar>>;
    });

/// Refinement: says how much of the past it keeps from the future, `causality()`. A tokenwise layer need not: it keeps
/// all.
template <class L>
concept CausalLayer = TokenwiseLayer<L> ||(Layer<L>&& requires(const L l) {
  { l.causality() } -> std::same_as<Causality>;
});

/// Refinement: token by token. `start(sequences, capacity, longest_chunk)` gives a `State`, `step(weights, state, x,
/// batch, context)` the rows of the causal forward for the next tokens of every sequence.
template <class L>
concept StreamingLayer = TokenwiseLayer<L> ||
    (Layer<L>&& requires(const L l, const Weights<L>& w, ConstView<typename L::Scalar> x, const Batch& batch,
                         typename L::State& state, const typename L::Context& context, Index n) {
      { l.start(n, n, n) } -> std::same_as<typename L::State>;
      { l.step(w, state, x, batch, context) } -> std::same_as<ConstView<typename L::Scalar>>;
    });

namespace detail {

// --- how a layer calls its parts, whatever refinements these are of ---

template <Layer L, class X, class Context>
auto forward(const L& layer, const Weights<L>& w, const X& x, const Batch& batch, typename L::Cache& cache,
             const Context& context, const Dropout& dropout) {
  const auto& mine = part<typename L::Context>(context);
  if constexpr (DroppingLayer<L>)
    return layer.forward(w, x, batch, cache, mine, dropout);
  else
    return layer.forward(w, x, batch, cache, mine);
}
template <ReplayableLayer L, class X, class Context>
auto replay(const L& layer, const Weights<L>& w, const X& x, const Batch& batch, typename L::Cache& cache,
            const Context& context, const Dropout& dropout) {
  const auto& mine = part<typename L::Context>(context);
  if constexpr (TokenwiseLayer<L>)
    return forward(layer, w, x, batch, cache, context, dropout);
  else if constexpr (DroppingLayer<L>)
    return layer.replay(w, x, batch, cache, mine, dropout);
  else
    return layer.replay(w, x, batch, cache, mine);
}
template <Layer L, class X, class Y, class Context>
auto backward(const L& layer, const Weights<L>& w, const X& x, const Batch& batch, typename L::Cache& cache,
              const Y& dy, const Gradients<L>& g, const Context& context, const Dropout& dropout) {
  const auto& mine = part<typename L::Context>(context);
  if constexpr (DroppingLayer<L>)
    return layer.backward(w, x, batch, cache, dy, g, mine, dropout);
  else
    return layer.backward(w, x, batch, cache, dy, g, mine);
}

template <class L>
void exchange(const L& layer, typename L::Cache& cache, ChoicesOf<L>& choices) {
  if constexpr (!std::is_empty_v<ChoicesOf<L>>) layer.exchange(cache, choices);
}

template <class L>
struct state_of {
  using type = typename L::State;
};
template <TokenwiseLayer L>
struct state_of<L> {
  using type = typename L::Cache;
};
template <class L>
using StateOf = typename state_of<L>::type;
template <StreamingLayer L>
StateOf<L> start(const L& layer, Index sequences, Index capacity, Index longest_chunk) {
  if constexpr (TokenwiseLayer<L>)
    return {};
  else
    return layer.start(sequences, capacity, longest_chunk);
}
template <StreamingLayer L, class X, class Context>
auto step(const L& layer, const Weights<L>& w, StateOf<L>& state, const X& x, const Batch& batch,
          const Context& context) {
  if constexpr (TokenwiseLayer<L>)
    return layer.forward(w, x, batch, state, part<typename L::Context>(context));
  else
    return layer.step(w, state, x, batch, part<typename L::Context>(context));
}

/// A step through several layers, each of which notes in `torn` that it took it: once another refused it, the stream
/// cannot go on. A step that the first of them refuses changes nothing.
template <class F>
auto whole_step(bool& torn, const F& f) {
  require<StateError>(!torn, "state: an earlier step was refused after some of its layers took it: start again");
  const auto y = f();
  torn = false;
  return y;
}
template <StreamingLayer L, class X, class Context>
auto step(const L& layer, const Weights<L>& w, StateOf<L>& state, const X& x, const Batch& batch,
          const Context& context, bool& torn) {
  const auto y = step(layer, w, state, x, batch, context);
  torn = torn || !TokenwiseLayer<L>;
  return y;
}

/// What layers one after another promise: as little as the least of them.
inline Causality weakest(Causality a, Causality b) {
  if (a == Causality::none || b == Causality::none) return Causality::none;
  return a == Causality::strict ? b : a;
}
template <CausalLayer L>
Causality causality(const L& layer) {
  if constexpr (TokenwiseLayer<L>)
    return Causality::strict;
  else
    return layer.causality();
}
template <CausalLayer L>
Causality causality(const std::vector<L>& layers) {
  Causality all = Causality::strict;
  for (const L& l : layers) all = weakest(all, causality(l));
  return all;
}

// --- what layers check ---

/// What the last forward with a cache was given, for backward to compare. A layer of others forgets it before it calls
/// them and notes it after: when one of them refuses, there is no forward to go back from.
struct Made {
  std::vector<Segment> segments;
  Index rows = -1, columns = -1;
  Dropout dropout;

  void note(const Batch& batch, Index n_rows, Index n_columns, const Dropout& d) {
    note(batch.q, n_rows, n_columns, d);
  }
  void note(const std::vector<Segment>& s, Index n_rows, Index n_columns, const Dropout& d) {
    segments = s;
    rows = n_rows;
    columns = n_columns;
    dropout = d;
  }
  void forget() { rows = -1; }
  void check(const Batch& batch, Index n_rows, Index n_columns, const Dropout& d) const {
    check(batch.q, n_rows, n_columns, d, "x");
  }
  void check(const std::vector<Segment>& s, Index n_rows, Index n_columns, const Dropout& d, const char* name) const {
    require<StateError>(rows >= 0 && columns == n_columns, "cache: no forward of a layer of this shape made it");
    require<StateError>(segments == s, "cache: the last forward had another batch");
    require<StateError>(rows == n_rows, name, ": the last forward with this cache had ", rows, " rows, came ", n_rows);
    require<StateError>(dropout == d, "dropout: the last forward with this cache had another");
  }
};

/// Of a layer of many: whether the cache comes from one of as many.
inline void check_depth(std::size_t made, std::size_t depth) {
  require<StateError>(made == depth, "cache: the last forward had ", made, " layers, not ", depth);
}
template <class S>
void check_tokens(ConstView<S> x, Index columns, const Batch& batch) {
  require<ShapeError>(x.cols() == columns, "x: ", columns, " columns expected, came ", x.cols());
  require<ShapeError>(batch.q == batch.k, "batch: the same query and key segments expected");
  batch.check(x.rows(), x.rows());
}
template <class S>
void check_cotangent(ConstView<S> dy, Index rows, Index columns) {
  require<ShapeError>(dy.rows() == rows && dy.cols() == columns, "dy: [", rows, ", ", columns, "] expected, came [",
                      dy.rows(), ", ", dy.cols(), "]");
}
template <class L>
void check_gradients(const Weights<L>& w, const Gradients<L>& g) {
  require<ShapeError>(same_shape(w.own, g.own) && same_shape(w.shared, g.shared),
                      "gradients: the shapes of the weights expected");
}
template <class S>
void check_weight(const char* name, const Matrix<S>& m, Index rows, Index columns) {
  require<ShapeError>(m.rows() == rows && m.cols() == columns, "weights.", name, ": [", rows, ", ", columns,
                      "] expected, came [", m.rows(), ", ", m.cols(), "]");
}

}  // namespace detail

}  // namespace heed
