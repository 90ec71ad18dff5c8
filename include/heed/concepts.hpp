// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/arena.hpp>
#include <heed/core/batch.hpp>
#include <heed/core/buffer.hpp>
#include <heed/core/fields.hpp>
#include <heed/core/parallel.hpp>
#include <heed/core/params.hpp>
#include <heed/core/random.hpp>
#include <heed/core/range.hpp>
#include <heed/core/types.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <string_view>
#include <type_traits>
#include <vector>

/// The whole contract, in code and in words.
///
/// What holds for every policy:
/// - Equal arguments give bitwise equal results. No randomness after construction, no state but the caller's.
/// - `forward` assigns its result; `backward` adds to input and parameter gradients.
/// - A row that sees no key gives output 0, log-sum-exp -inf and zero gradients, and touches no other row.
/// - What a row does not see never reaches it, not even NaN; NaN in what it sees makes the row NaN.

namespace heed {

// --- key patterns ---

/// Which keys may a query see. Both sides are counted among the keys: the query in row i of n_q has the position
/// p = i + n_k - n_q, so that the last query stands at the last key (bottom-right). p is negative in rows that come
/// before every key.
///
/// - `keys(positions, n_k, ranges)` adds ranges that cover every key which a query at one of `positions` may see. It
///   decides the cost. It may name more keys than are seen, and ends past n_k or below 0: the kernel clips them.
/// - `sees(p, j)` is the membership. It decides the result.
/// - `all(positions, keys)` may be true only if every query at `positions` sees every key of `keys`: such a block runs
///   without any test. Saying false is always right, and slower.
/// - `query_block()`, where it exists, is the natural block of queries: those at positions [m b, (m + 1) b) see much the
///   same keys. Tiles of queries then end at its borders. It moves the cost, never the result beyond rounding; below 1
///   means none.
template <class T>
concept KeyPattern = std::copy_constructible<T> &&
    requires(const T t, Range positions, Index n_k, Index p, Range keys, Ranges& ranges) {
  t.keys(positions, n_k, ranges);
  { t.sees(p, p) } -> std::same_as<bool>;
  { t.all(positions, keys) } -> std::same_as<bool>;
};

/// The natural block of queries of a pattern; 0 if it has none.
template <KeyPattern T>
constexpr Index query_block_of(const T& pattern) {
  if constexpr (requires {
                  { pattern.query_block() } -> std::same_as<Index>;
                })
    return std::max<Index>(pattern.query_block(), 0);
  else
    return 0;
}

/// Refinement: a pattern of few and scattered keys, which names those of one query without a search.
///
/// - `for_each_seen(p, n_k, f)` calls f(Range) for disjoint ranges that hold exactly the keys in [0, n_k) which the query
///   at p sees.
template <class T>
concept NamingPattern = KeyPattern<T> && requires(const T t, Index p, Index n_k, void (*f)(Range)) {
  t.for_each_seen(p, n_k, f);
};

/// The same for every pattern: one that does not name them is asked for its ranges, and key by key.
template <KeyPattern Pattern, class F>
void for_each_seen(const Pattern& pattern, Index p, Index n_k, const F& f) {
  if constexpr (NamingPattern<Pattern>) {
    pattern.for_each_seen(p, n_k, f);
  } else {
    Ranges named;
    pattern.keys({p, p + 1}, n_k, named);
    for (const Range range : named) {
      const Range keys = intersect(range, {0, n_k});
      if (keys.empty()) continue;
      if (pattern.all({p, p + 1}, keys)) {
        f(keys);
      } else {
        for (Index j = keys.begin; j < keys.end; ++j)
          if (pattern.sees(p, j)) f(Range{j, j + 1});
      }
    }
  }
}

// --- score terms ---

/// Where a tile of scores stands: `rows` query rows from `row` on against `keys` keys from `key` on. Scores lie
/// transposed, queries side by side: the one of key `key + c` and row `row + r` is `s[c * stride + r]`. Rows may come
/// from `group` query heads that share the keys, side by side: row r is member r % group at time r / group.
struct Tile {
  Index row = 0, rows = 0, key = 0, keys = 0, stride = 0;
  Index group = 1;  ///< members that share the keys
  Index shift = 0;  ///< n_k - n_q: what a query's time lacks to its position among the keys
  constexpr Index position(Index r) const { return (row + r) / group + shift; }
  constexpr Index member(Index r) const { return (row + r) % group; }
  /// The tile of these lanes and keys alone.
  constexpr Tile part(Range lanes, Range of_keys) const {
    Tile tile = *this;
    tile.row = row + lanes.begin;
    tile.rows = std::min(rows, lanes.end) - lanes.begin;
    tile.key = of_keys.begin;
    tile.keys = of_keys.size();
    tile.stride = lanes.size();
    return tile;
  }
};

/// What is added to the scores of a tile (after scale and soft cap), and how its gradient goes back.
///
/// - `active()`: false if `fill` would add nothing and `pull` take nothing; then neither is called.
/// - `fill(tile, s)` adds to every score of the tile. Where it hides a key it writes -inf, whatever the score was.
/// - `hides()`: whether it ever hides one. Then `sees(tile, r, j)` says whether row r of the tile sees key j.
/// - `pull(tile, ds)` is given the cotangent of the same tile, dE, exactly 0 where nothing is seen.
template <class T, class S>
concept ScoreTerm = requires(const T t, const Tile& tile, Index r, Index j, S* s, const S* ds) {
  { t.active() } -> std::same_as<bool>;
  { t.hides() } -> std::same_as<bool>;
  { t.sees(tile, r, j) } -> std::same_as<bool>;
  t.fill(tile, s);
  t.pull(tile, ds);
};

// --- policies ---

/// What a policy is built for: the widths of one head, and how many query heads there are.
struct HeadShape {
  Index key_dim = 0, value_dim = 0, heads = 1;
  friend bool operator==(HeadShape, HeadShape) = default;
};

/// One call: how many queries and keys, and how many query heads share the keys in it (`GroupStreamingPolicy`).
struct CallShape {
  Index queries = 0, keys = 0, group = 1;
  friend bool operator==(CallShape, CallShape) = default;
};

/// What one call of a policy (one head of one sequence) costs. Multiply-adds are the useful ones, whatever the kernel
/// repeats.
struct Cost {
  double forward = 0, backward = 0;                       ///< multiply-adds
  std::size_t saved = 0;                                  ///< bytes kept in the policy's Cache for backward
  std::size_t forward_scratch = 0, backward_scratch = 0;  ///< bytes of Arena in use at one time
};

/// How much of the past a causal policy keeps from the future.
enum class Causality {
  none,        ///< it sees everything
  strict,      ///< nothing that later tokens hold moves an earlier row, bitwise
  values_only  ///< later values do not reach earlier rows, but later keys may change what these see
};

/// What a call may read besides its fields.
template <class P>
struct Head {
  const typename P::Params& own;       ///< learned, of this head
  const typename P::Shared& shared;    ///< learned, of all heads and perhaps all layers
  const typename P::Context& context;  ///< the caller's data
  Index sequence = 0, head = 0;
};

/// Where a call adds the gradients of what it learned.
template <class P>
struct HeadGradient {
  typename P::Params& own;
  typename P::Shared& shared;
};

/// One variant of attention: works on one head of one sequence.
///
/// Types: `Scalar`; `Options` (chosen by the user, an aggregate with defaults); `Params` and `Shared` (learned by the
/// policy: per head; by all heads, owned by a wrapper); `Context` (the caller's data for one call, may be empty);
/// `Cache` (what backward needs beyond fields and result); `Fields<M>` (core/fields.hpp: what it reads); `Projection`
/// (who makes these).
///
/// - `name`: as in the registry and the benchmarks.
/// - `P(options, head_shape)` checks the options, throws OptionError, draws what is random.
/// - `shape()`: what it was built for. `causality()`: what these options promise; static and constexpr where no option
///   makes it causal.
/// - `cost(call_shape)`: what such a call takes, at the most where that hangs on what is learned or on the numbers.
///   Scratch must be enough for every shorter call too.
/// - `init(random)`, `init_shared(random)`.
/// - `check(head, call_shape)` refuses, by throwing, what these options or this context do not allow. `Attention` calls
///   it for every head before anything is written; the other calls may rely on it.
/// - `reserve(call_shape, cache)` makes room in the cache, so that calls up to this shape allocate nothing.
/// - `forward(head, in, out, cache, scratch)` assigns `out` and `cache`.
/// - `backward(head, in, out, dout, cache, din, gradient, scratch)` adds to `din` and `gradient`, given what forward
///   read and made, and the cotangents of output and log-sum-exp (`dout.lse` may be empty: zeros).
template <class P>
concept AttentionPolicy = std::copy_constructible<P> && std::floating_point<typename P::Scalar> &&
    std::is_aggregate_v<typename P::Options> && Visitable<typename P::Params> && Visitable<typename P::Shared> &&
    std::default_initializable<typename P::Cache> && std::default_initializable<typename P::Context> &&
    std::is_class_v<typename P::Projection> &&
    requires(const P p, const typename P::Options& options, HeadShape shape, CallShape call, Head<P> head,
             Random& random, typename P::template Fields<ConstView<typename P::Scalar>> in, Out<typename P::Scalar> out,
             ConstOut<typename P::Scalar> result, typename P::template Fields<View<typename P::Scalar>> din,
             typename P::Cache& cache, const typename P::Cache& made, HeadGradient<P> gradient, Arena& scratch) {
  { P::name } -> std::convertible_to<std::string_view>;
  P(options, shape);
  { p.causality() } -> std::same_as<Causality>;
  { p.cost(call) } -> std::same_as<Cost>;
  { p.init(random) } -> std::same_as<typename P::Params>;
  { p.init_shared(random) } -> std::same_as<typename P::Shared>;
  p.check(head, call);
  p.reserve(call, cache);
  p.forward(head, in, out, cache, scratch);
  p.backward(head, in, result, result, made, din, gradient, scratch);
};

/// Refinement: makes discrete choices (buckets, arg max). `choose` writes them into the cache before `forward`;
/// backward, recomputation and difference checks replay them. `choices(cache)` is where they lie in it, as the type
/// `Choices`: all that has to be kept of a call that is computed again.
template <class P>
concept ChoosingPolicy = AttentionPolicy<P> &&
    requires(const P p, Head<P> head, typename P::template Fields<ConstView<typename P::Scalar>> in,
             typename P::Cache& cache, Arena& scratch) {
  p.choose(head, in, cache, scratch);
  { p.choices(cache) } -> std::same_as<typename P::Choices&>;
};

/// The choices of what makes none.
struct NoChoices {};

namespace detail {
template <class T>
struct choices_of {
  using type = NoChoices;
};
template <class T>
requires requires { typename T::Choices; }
struct choices_of<T> {
  using type = typename T::Choices;
};
/// Of a policy or a layer.
template <class T>
using ChoicesOf = typename choices_of<T>::type;
}  // namespace detail

/// Refinement: what a head has learned decides what it takes. `cost(head, call_shape)` says it of this head; `cost` of
/// the call alone is the most that any could take.
template <class P>
concept HeadCostPolicy = AttentionPolicy<P> && requires(const P p, Head<P> head, CallShape call) {
  { p.cost(head, call) } -> std::same_as<Cost>;
};

/// Refinement: rows are independent, so that one head may be cut into tasks. `forward_rows` is `forward` for the query
/// rows in `rows`, without a cache; rows cut at multiples of `rows_per_task()` have the same bits as uncut. As nothing is
/// kept, backward takes the weights from the log-sum-exp: given the result over more keys than its own (merged) and its
/// cotangent, it adds its own part of the gradient.
template <class P>
concept RowwisePolicy = AttentionPolicy<P> &&
    requires(const P p, Head<P> head, Range rows, Out<typename P::Scalar> out,
             typename P::template Fields<ConstView<typename P::Scalar>> in, Arena& scratch) {
  { p.rows_per_task() } -> std::same_as<Index>;
  p.forward_rows(head, in, rows, out, scratch);
};

/// Refinement: token by token. One `State` serves one sequence and key/value head.
///
/// - `start(capacity, longest_chunk)`: room for `capacity` tokens that come in chunks of up to `longest_chunk`.
/// - `append(head, state, in)` takes the new rows of keys and values, once per key/value head.
/// - `attend(head, state, in, out, scratch)` gives the results of the new rows' queries, once per query head.
/// Together they equal the rows of the causal `forward` over all tokens so far.
template <class P>
concept StreamingPolicy = AttentionPolicy<P> && std::copy_constructible<typename P::State> &&
    requires(const P p, Head<P> head, Index n, typename P::template Fields<ConstView<typename P::Scalar>> in,
             Out<typename P::Scalar> out, typename P::State& state, const typename P::State& now, Arena& scratch) {
  { p.start(n, n) } -> std::same_as<typename P::State>;
  p.append(head, state, in);
  p.attend(head, now, in, out, scratch);
};

/// Refinement: all query heads that share a key/value head in one call, so that keys and values are read once. `in` and
/// `out` hold the `group` heads side by side, as columns; `lse` holds `group` numbers per row.
template <class P>
concept GroupStreamingPolicy = StreamingPolicy<P> &&
    requires(const P p, Head<P> first, Index group, Out<typename P::Scalar> out,
             typename P::template Fields<ConstView<typename P::Scalar>> in, const typename P::State& now,
             Arena& scratch) {
  p.attend_group(first, group, now, in, out, scratch);
};

namespace detail {
template <class P>
constexpr bool is_never_causal() {
  if constexpr (requires { typename std::integral_constant<Causality, P::causality()>; })
    return P::causality() == Causality::none;
  else
    return false;
}
}  // namespace detail

/// Refinement: with the options for it, it sees no later token. A policy that never is causal says so by a `causality()`
/// that is static and constexpr.
template <class P>
concept CausalPolicy = AttentionPolicy<P> && !detail::is_never_causal<P>();

/// Whether a policy learns anything besides its projection.
template <class P>
inline constexpr bool learns = !std::is_empty_v<typename P::Params> || !std::is_empty_v<typename P::Shared>;

/// What the table of variants says of a policy.
struct About {
  std::string_view cost, exactness, paper;
};

/// Options under the name that the benchmarks give them: `key:value` pairs joined by '/', empty for the defaults.
/// Causality has its own place in a name and is not repeated. Lengths above `longest` are not measured. A `detail` is
/// one of a series that shows how error and time move with an option, and is left out where variants are compared.
template <class Options>
struct Preset {
  std::string_view name;
  Options options;
  Index longest = 131072;
  bool detail = false;
};

/// A policy that the registry may list: it also says what it is and what to measure.
template <class P>
concept RegisteredPolicy = AttentionPolicy<P> && requires {
  { P::about } -> std::convertible_to<About>;
  { P::presets() } -> std::same_as<std::vector<Preset<typename P::Options>>>;
};

// --- projections ---

/// What a projection is built for.
struct ProjectionShape {
  Index d_model = 0, d_memory = 0;  ///< widths of the token matrices that queries and keys come from
  Index heads = 1, kv_heads = 1, key_dim = 0, value_dim = 0;
  friend bool operator==(const ProjectionShape&, const ProjectionShape&) = default;
};

/// What makes the fields from token matrices: queries from `x [tokens, d_model]`, keys and values from `memory`, which
/// is `x` itself in self-attention. Only the rows of segments are read and written.
///
/// - `crosses`: whether it can work on two token matrices.
/// - `T(options, shape)` throws OptionError. `init(random)`. `check(params)` throws ShapeError.
/// - `scratch(q_rows, k_rows)`: the bytes of Arena that one worker takes.
/// - `forward(params, x, memory, batch, fields, workers)` shapes and assigns the fields.
/// - `backward(params, x, memory, batch, dfields, gradient, dx, dmemory, workers)` adds to gradient, dx and dmemory;
/// it may use up `dfields`.
/// - `start(sequences)` and `step(params, state, x, batch, fields, workers)`: the same for the new rows of running
/// streams.
template <class T>
concept FieldProjection = std::copy_constructible<T> && std::is_aggregate_v<typename T::Options> &&
    Visitable<typename T::Params> &&
    requires(const T t, const typename T::Options& options, const ProjectionShape& shape, Random& random,
             const typename T::Params& params, typename T::Params& gradient, ConstView<typename T::Scalar> x,
             View<typename T::Scalar> dx, const Batch& batch,
             typename T::template Fields<Buffer<typename T::Scalar>>& fields,
             typename T::template Fields<Buffer<typename T::Scalar>>& dfields, typename T::State& state, Index n,
             Workers& workers) {
  T(options, shape);
  { T::crosses } -> std::convertible_to<bool>;
  { t.init(random) } -> std::same_as<typename T::Params>;
  t.check(params);
  { t.scratch(n, n) } -> std::same_as<std::size_t>;
  t.forward(params, x, x, batch, fields, workers);
  t.backward(params, x, x, batch, dfields, gradient, dx, dx, workers);
  { t.start(n) } -> std::same_as<typename T::State>;
  t.step(params, state, x, batch, fields, workers);
};

/// Refinement: queries, and keys and values, each for themselves, so that queries may come later than the memory that
/// they read. `project_queries(params, x, batch, fields, workers)` shapes and assigns the fields that follow queries,
/// `project_keys(params, memory, batch, fields, workers)` the others; both together are `forward`.
template <class T>
concept SplitProjection = FieldProjection<T> && T::crosses &&
    requires(const T t, const typename T::Params& params, ConstView<typename T::Scalar> x, const Batch& batch,
             typename T::template Fields<Buffer<typename T::Scalar>>& fields, Workers& workers) {
  t.project_queries(params, x, batch, fields, workers);
  t.project_keys(params, x, batch, fields, workers);
};

}  // namespace heed
