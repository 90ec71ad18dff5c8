// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/core/front_door.hpp>
#include <heed/core/head_layout.hpp>
#include <heed/core/weights.hpp>
#include <heed/kernels/affine.hpp>
#include <heed/kernels/head_tasks.hpp>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

namespace heed {

/// Multi-head attention with policy P: y = concat_h(P(fields of head h)) W_o + b_o, where the projection makes the
/// fields.
///
/// Token matrices are row-major `[tokens, channels]`; a batch says which rows are which sequence. `forward` and
/// `backward` are pure: what they made lies in the cache, and the views they return are valid until its next use. Every
/// check throws before anything is written. Results have the same bits for every number of threads.
template <AttentionPolicy P, FieldProjection Projection = typename P::Projection>
class Attention {
 public:
  using Policy = P;
  using Scalar = typename P::Scalar;
  using S = Scalar;
  using Context = typename P::Context;
  using Shared = typename P::Shared;
  using Fields = typename P::template Fields<Buffer<S>>;
  static_assert(std::same_as<Fields, typename Projection::template Fields<Buffer<S>>>,
                "heed: the projection does not make the fields that the policy reads");

  struct Options {
    Index d_model = 0;    ///< channels of x and of the result
    Index d_memory = 0;   ///< channels of the memory in cross-attention; 0: d_model
    Index heads = 1;      ///< query heads
    Index kv_heads = 0;   ///< key/value heads, must divide heads; 0: heads. 1 is multi-query attention
    Index head_dim = 0;   ///< width of a query and a key; 0: d_model / heads
    Index value_dim = 0;  ///< width of a value; 0: head_dim
    bool bias = false;    ///< whether the output projection has a bias
    int threads = 1;      ///< workers of a call, where the program is compiled with OpenMP
    typename P::Options policy{};
    typename Projection::Options projection{};
  };

  /// `wo [heads value_dim, d_model]`, `bo [1, d_model]` or empty, one `P::Params` per head.
  struct Params {
    typename Projection::Params projection;
    Matrix<S> wo, bo;
    std::vector<typename P::Params> heads;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("projection", x.projection...);
      f("wo", x.wo...);
      f("bo", x.bo...);
      f("heads", x.heads...);
    }
  };

  /// Every buffer of one call. Make one, pass it again and again; layers of this type may take turns with it.
  struct Cache {
    ProjectionShape shape;    // of the layer that used it last
    Batch batch;              // of the last forward, and
    Index memory_rows = -1;   // what it read: -1 nothing yet, 0 x itself, else 1 + the rows of the memory
    Index remembered = -1;    // rows of the memory that `recall` reads: -1 none
    Fields fields;            // what the projection made
    Buffer<S> mixed, lse, y;  // results of the heads side by side; log-sum-exp [heads, rows]; result
    std::vector<typename P::Cache> heads;

    Fields dfields, folded;  // gradients per query head, and folded into key/value heads
    Buffer<S> dmixed, dx, dmemory;
    std::vector<Shared> partial;

    Workers workers;
    CallShape longest;  // that this cache has met, and what it costs
    Cost cost;
  };

  /// The choices of one call, where the policy makes any: what a layer that lends its cache to others keeps.
  using Choices = std::conditional_t<ChoosingPolicy<P>, std::vector<detail::ChoicesOf<P>>, NoChoices>;

  /// Running streams, one per sequence.
  struct State {
    typename Projection::State projection;
    std::vector<typename P::State> heads;
    std::vector<Index> sizes;  // tokens so far
    Index capacity = 0, longest_chunk = 0;
    std::size_t scratch = 0;  // that the policy takes
    ProjectionShape shape;
    Fields fields;
    Buffer<S> mixed, lse, y;
    Workers workers;
  };

  explicit Attention(const Options& options)
      : options_(complete(options)),
        policy_(options_.policy, HeadShape{options_.head_dim, options_.value_dim, options_.heads}),
        projection_(options_.projection, shape()) {}

  const Options& options() const { return options_; }
  const P& policy() const { return policy_; }
  Causality causality() const { return policy_.causality(); }

  /// Weights are normal with variance 1 / inputs, biases 0.
  Params init(Random& random) const {
    Params p;
    p.projection = projection_.init(random);
    p.wo = random_normal<S>(random, mixed_width(), options_.d_model,
                            1 / std::sqrt(static_cast<double>(std::max<Index>(mixed_width(), 1))));
    p.bo.setZero(options_.bias ? 1 : 0, options_.bias ? options_.d_model : 0);
    for (Index h = 0; h < options_.heads; ++h) p.heads.push_back(policy_.init(random));
    return p;
  }
  Shared init_shared(Random& random) const { return policy_.init_shared(random); }

  /// Self-attention over x `[rows, d_model]`; gives y `[rows, d_model]`, 0 in padding rows.
  template <class X>
  ConstView<S> forward(Weights<Attention> w, const Eigen::MatrixBase<X>& x, const Batch& batch, Cache& cache,
                       const Context& context = {}) const {
    const ConstView<S> tokens = front_door<S>(x, "x");
    check_self(batch);
    return run(w, tokens, tokens, batch, cache, context, 0, true);
  }
  /// Cross-attention: queries from x, keys and values from memory `[memory rows, d_memory]`.
  template <class X, class M>
  ConstView<S> forward(Weights<Attention> w, const Eigen::MatrixBase<X>& x, const Eigen::MatrixBase<M>& memory,
                       const Batch& batch, Cache& cache, const Context& context = {}) const
      requires(Projection::crosses) {
    return run(w, front_door<S>(x, "x"), front_door<S>(memory, "memory"), batch, cache, context, 1 + memory.rows(),
               true);
  }
  /// Self-attention again with the choices that the cache holds from an earlier forward (recomputation, differences).
  template <class X>
  ConstView<S> replay(Weights<Attention> w, const Eigen::MatrixBase<X>& x, const Batch& batch, Cache& cache,
                      const Context& context = {}) const {
    const ConstView<S> tokens = front_door<S>(x, "x");
    check_self(batch);
    check_made(batch, cache, tokens, 0);
    return run(w, tokens, tokens, batch, cache, context, 0, false);
  }
  /// Cross-attention again with the choices that the cache holds.
  template <class X, class M>
  ConstView<S> replay(Weights<Attention> w, const Eigen::MatrixBase<X>& x, const Eigen::MatrixBase<M>& memory,
                      const Batch& batch, Cache& cache, const Context& context = {}) const
      requires(Projection::crosses) {
    const ConstView<S> tokens = front_door<S>(x, "x");
    check_made(batch, cache, tokens, 1 + memory.rows());
    return run(w, tokens, front_door<S>(memory, "memory"), batch, cache, context, 1 + memory.rows(), false);
  }

  /// Swaps the choices in the cache with these.
  void exchange(Cache& cache, Choices& choices) const {
    if constexpr (ChoosingPolicy<P>) {
      const std::size_t n = std::max(cache.heads.size(), choices.size());
      cache.heads.resize(n);
      choices.resize(n);
      for (std::size_t i = 0; i < n; ++i) std::swap(policy_.choices(cache.heads[i]), choices[i]);
    }
  }

  /// Given what forward read and made and the cotangent dy of its result: adds to the gradients, gives dx (assigned).
  template <class X, class Y>
  ConstView<S> backward(Weights<Attention> w, const Eigen::MatrixBase<X>& x, const Batch& batch, Cache& cache,
                        const Eigen::MatrixBase<Y>& dy, Gradients<Attention> gradients,
                        const Context& context = {}) const {
    const ConstView<S> tokens = front_door<S>(x, "x");
    check_self(batch);
    pull(w, tokens, tokens, batch, cache, front_door<S>(dy, "dy"), gradients, context, true);
    return std::as_const(cache.dx).view();
  }
  struct InputGradients {
    ConstView<S> dx, dmemory;
  };
  template <class X, class M, class Y>
  InputGradients backward(Weights<Attention> w, const Eigen::MatrixBase<X>& x, const Eigen::MatrixBase<M>& memory,
                          const Batch& batch, Cache& cache, const Eigen::MatrixBase<Y>& dy,
                          Gradients<Attention> gradients, const Context& context = {}) const
      requires(Projection::crosses) {
    pull(w, front_door<S>(x, "x"), front_door<S>(memory, "memory"), batch, cache, front_door<S>(dy, "dy"), gradients,
         context, false);
    return {std::as_const(cache.dx).view(), std::as_const(cache.dmemory).view()};
  }

  /// Streams for `sequences` sequences of up to `capacity` tokens each, that come in chunks of up to `longest_chunk`.
  State start(Index sequences, Index capacity, Index longest_chunk = 1) const requires StreamingPolicy<P> {
    require<StateError>(sequences >= 0, "start: sequences must not be negative, came ", sequences);
    require<StateError>(capacity >= 0, "start: capacity must not be negative, came ", capacity);
    require<StateError>(longest_chunk >= 1, "start: longest_chunk must be at least 1, came ", longest_chunk);
    State s;
    s.projection = projection_.start(sequences);
    s.heads.reserve(static_cast<std::size_t>(sequences * options_.kv_heads));
    for (Index i = 0; i < sequences * options_.kv_heads; ++i) s.heads.push_back(policy_.start(capacity, longest_chunk));
    s.sizes.assign(static_cast<std::size_t>(sequences), 0);
    s.capacity = capacity;
    s.longest_chunk = longest_chunk;
    s.scratch = policy_.cost(CallShape{longest_chunk, capacity, layout().group()}).forward_scratch;
    s.shape = shape();
    return s;
  }
  /// The next tokens of every sequence, any number up to the longest chunk: gives their rows of the causal forward.
  template <class X>
  ConstView<S> step(Weights<Attention> w, State& state, const Eigen::MatrixBase<X>& x, const Batch& batch,
                    const Context& context = {}) const requires StreamingPolicy<P> {
    return advance(w, state, front_door<S>(x, "x"), batch, context);
  }

  /// Cross-attention whose queries come later: makes the keys and values of a memory, once, and keeps them in the cache
  /// until its next `forward`. `batch.k` are the segments of the memory.
  template <class M>
  void remember(Weights<Attention> w, const Eigen::MatrixBase<M>& source, const Batch& batch,
                Cache& cache) const requires SplitProjection<Projection> {
    const ConstView<S> memory = front_door<S>(source, "memory");
    check(w, options_.d_model, memory.cols());
    Batch::check(batch.k, memory.rows(), "k");
    require<OptionError>(causality() == Causality::none,
                         "options.policy: queries that come later see all of a memory, so one that is not causal "
                         "expected, came a causal one");
    cache.batch.q.assign(batch.k.size(), {});  // no queries yet
    cache.batch.k = batch.k;
    cache.memory_rows = -1;
    cache.remembered = memory.rows();
    reserve(cache.batch, 0, memory.rows(), false, cache);
    projection_.project_keys(w.own.projection, memory, batch, cache.fields, cache.workers);
  }
  /// The results of the next rows of x, any number for each sequence, `batch.q`, over the memory that the cache keeps: a
  /// call projects these rows alone, and costs what the policy costs for them (one that sums its keys up first, such as
  /// `Favor`, does so in every call). They are the rows of `forward` over all of x where the policy looks at queries
  /// alike, wherever they stand; where it asks for positions (windows, ALiBi, relative biases), the last of the rows
  /// stands at the last key.
  template <class X>
  ConstView<S> recall(Weights<Attention> w, const Eigen::MatrixBase<X>& queries, const Batch& batch, Cache& cache,
                      const Context& context = {}) const requires SplitProjection<Projection> {
    const ConstView<S> x = front_door<S>(queries, "x");
    check(w, x.cols(), options_.d_memory);
    require<StateError>(cache.shape == shape() && cache.remembered >= 0,
                        "cache: holds no memory that a layer of this shape was told to remember");
    require<StateError>(cache.batch.k == batch.k, "batch.k: the segments of the memory that is remembered expected");
    batch.check(x.rows(), cache.remembered);
    check_policy(w, batch, context);
    reserve(batch, x.rows(), 0, false, cache);
    projection_.project_queries(w.own.projection, x, batch, cache.fields, cache.workers);
    return attend(w, batch, x.rows(), cache, context, true);
  }

  /// What the policy keeps of one head of one sequence, for instance `Dense`'s weights.
  const typename P::Cache& head_cache(const Cache& cache, Index sequence, Index head) const {
    require<StateError>(cache.shape == shape(), "head_cache: the cache of a layer of another shape");
    require<ShapeError>(sequence >= 0 && sequence < cache.batch.size(), "head_cache: sequence in [0, ",
                        cache.batch.size(), ") expected, came ", sequence);
    require<ShapeError>(head >= 0 && head < options_.heads, "head_cache: head in [0, ", options_.heads,
                        ") expected, came ", head);
    return cache.heads[static_cast<std::size_t>(sequence * options_.heads + head)];
  }

 private:
  static Options complete(Options o) {
    require<OptionError>(o.d_model >= 1, "options.d_model: at least 1 expected, came ", o.d_model);
    require<OptionError>(o.d_memory >= 0, "options.d_memory: 0 (d_model) or more expected, came ", o.d_memory);
    require<OptionError>(o.heads >= 1, "options.heads: at least 1 expected, came ", o.heads);
    if (o.d_memory == 0) o.d_memory = o.d_model;
    if (o.kv_heads == 0) o.kv_heads = o.heads;
    require<OptionError>(o.kv_heads >= 1 && o.heads % o.kv_heads == 0,
                         "options.kv_heads: a divisor of heads = ", o.heads, " expected, came ", o.kv_heads);
    require<OptionError>(o.head_dim > 0 || (o.head_dim == 0 && o.d_model % o.heads == 0),
                         "options.head_dim: a positive width, or 0 with d_model divisible by heads, expected, came ",
                         o.head_dim, " with d_model = ", o.d_model, " and heads = ", o.heads);
    if (o.head_dim == 0) o.head_dim = o.d_model / o.heads;
    require<OptionError>(o.value_dim >= 0, "options.value_dim: 0 (head_dim) or more expected, came ", o.value_dim);
    if (o.value_dim == 0) o.value_dim = o.head_dim;
    require<OptionError>(o.threads >= 1, "options.threads: at least 1 expected, came ", o.threads);
    return o;
  }
  ProjectionShape shape() const {
    return {options_.d_model,  options_.d_memory, options_.heads,
            options_.kv_heads, options_.head_dim, options_.value_dim};
  }
  HeadLayout layout() const { return {options_.heads, options_.kv_heads, options_.head_dim, options_.value_dim}; }
  Index mixed_width() const { return options_.heads * options_.value_dim; }

  void check_self(const Batch& batch) const {
    require<ShapeError>(batch.q == batch.k, "batch: self-attention expects the same query and key segments");
    require<ShapeError>(options_.d_memory == options_.d_model,
                        "options.d_memory: self-attention expects d_model = ", options_.d_model, ", came ",
                        options_.d_memory);
  }
  /// Whether the cache holds what backward and replay need: a forward of this layer's shape with these arguments.
  void check_made(const Batch& batch, const Cache& cache, ConstView<S> x, Index memory_rows) const {
    require<StateError>(cache.shape == shape() && cache.memory_rows >= 0,
                        "cache: no forward of a layer of this shape made it");
    require<StateError>(cache.batch.q == batch.q && cache.batch.k == batch.k,
                        "cache: the last forward had another batch");
    require<StateError>(cache.y.rows() == x.rows(), "x: the last forward with this cache had ", cache.y.rows(),
                        " rows, came ", x.rows());
    require<StateError>(cache.memory_rows == memory_rows, "cache: the last forward had ",
                        cache.memory_rows == 0 ? "no memory" : "another memory, or none");
  }
  void check_policy(const Weights<Attention>& w, const Batch& batch, const Context& context) const {
    for (Index s = 0; s < batch.size(); ++s)
      for (Index h = 0; h < options_.heads; ++h)
        policy_.check(head(w, context, s, h), CallShape{batch.queries(s).size, batch.keys(s).size});
  }
  void check(const Weights<Attention>& w, Index x_columns, Index memory_columns) const {
    require<ShapeError>(x_columns == options_.d_model, "x: d_model = ", options_.d_model, " columns expected, came ",
                        x_columns);
    require<ShapeError>(memory_columns == options_.d_memory, "memory: d_memory = ", options_.d_memory,
                        " columns expected, came ", memory_columns);
    projection_.check(w.own.projection);
    require<ShapeError>(w.own.wo.rows() == mixed_width() && w.own.wo.cols() == options_.d_model, "weights.wo: [",
                        mixed_width(), ", ", options_.d_model, "] expected, came [", w.own.wo.rows(), ", ",
                        w.own.wo.cols(), "]");
    const Index n = options_.bias ? options_.d_model : 0;
    require<ShapeError>(w.own.bo.rows() == (n > 0) && w.own.bo.cols() == n, "weights.bo: [", n > 0, ", ", n,
                        "] expected, came [", w.own.bo.rows(), ", ", w.own.bo.cols(), "]");
    require<ShapeError>(static_cast<Index>(w.own.heads.size()) == options_.heads, "weights.heads: ", options_.heads,
                        " expected, came ", w.own.heads.size());
  }
  Head<P> head(const Weights<Attention>& w, const Context& context, Index sequence, Index h) const {
    return {w.own.heads[static_cast<std::size_t>(h)], w.shared, context, sequence, h};
  }
  /// The heads of a batch as calls of the policy, handed to f.
  template <class F>
  void with_heads(const Weights<Attention>& w, const Batch& batch, const Context& context, const F& f) const {
    const auto head_of = [&](Index s, Index h) { return head(w, context, s, h); };
    f(HeadTasks(policy_, layout(), batch, head_of));
  }

  /// Room in the cache for the longest call that it has met.
  void reserve(const Batch& batch, Index x_rows, Index memory_rows, bool backward, Cache& c) const {
    const CallShape longest{std::max(c.longest.queries, Batch::longest(batch.q)),
                            std::max(c.longest.keys, Batch::longest(batch.k))};
    if (longest != c.longest || c.shape != shape()) c.cost = policy_.cost(longest);
    c.longest = longest;
    c.shape = shape();
    const std::size_t tasks = static_cast<std::size_t>(batch.size() * options_.heads);
    if (c.heads.size() < tasks) c.heads.resize(tasks);
    for (typename P::Cache& head : c.heads) policy_.reserve(c.longest, head);
    c.workers.prepare(options_.threads, std::max({backward ? c.cost.backward_scratch : c.cost.forward_scratch,
                                                  projection_.scratch(x_rows, memory_rows),
                                                  affine_scratch<S>(x_rows, mixed_width(), options_.d_model)}));
  }

  ConstView<S> run(const Weights<Attention>& w, ConstView<S> x, ConstView<S> memory, const Batch& batch, Cache& c,
                   const Context& context, Index memory_rows, bool choose) const {
    check(w, x.cols(), memory.cols());
    batch.check(x.rows(), memory.rows());
    check_policy(w, batch, context);

    c.batch = batch;
    c.memory_rows = memory_rows;
    c.remembered = -1;
    reserve(batch, x.rows(), memory.rows(), false, c);
    projection_.forward(w.own.projection, x, memory, batch, c.fields, c.workers);
    return attend(w, batch, x.rows(), c, context, choose);
  }

  /// What the policy makes of the fields, row by row of x, and the output projection.
  ConstView<S> attend(const Weights<Attention>& w, const Batch& batch, Index x_rows, Cache& c, const Context& context,
                      bool choose) const {
    c.mixed.resize(x_rows, mixed_width());
    c.lse.resize(options_.heads, x_rows);
    with_heads(w, batch, context, [&](const auto& heads) {
      heads.forward(c.fields, choose, c.longest.queries, c.mixed, c.lse, c.heads, c.workers);
    });
    output(w, batch.q, c.mixed, c.y, c.workers);
    return std::as_const(c.y).view();
  }

  void output(const Weights<Attention>& w, const std::vector<Segment>& rows, const Buffer<S>& mixed, Buffer<S>& y,
              Workers& workers) const {
    View<S> to = y.resize(mixed.rows(), options_.d_model);
    for_each_gap(rows, mixed.rows(), [&](Segment gap) { block(to, gap.begin, 0, gap.size, to.cols()).setZero(); });
    affine<S>(rows, mixed.view(), w.own.wo, w.own.bo, to, workers);
  }

  void pull(const Weights<Attention>& w, ConstView<S> x, ConstView<S> memory, const Batch& batch, Cache& c,
            ConstView<S> dy, const Gradients<Attention>& g, const Context& context, bool self) const {
    check(w, x.cols(), memory.cols());
    check_made(batch, c, x, self ? 0 : 1 + memory.rows());
    require<ShapeError>(dy.rows() == x.rows() && dy.cols() == options_.d_model, "dy: [", x.rows(), ", ",
                        options_.d_model, "] expected, came [", dy.rows(), ", ", dy.cols(), "]");
    require<ShapeError>(same_shape(w.own, g.own) && same_shape(w.shared, g.shared),
                        "gradients: the shapes of the weights expected");
    batch.check(x.rows(), memory.rows());
    check_policy(w, batch, context);

    reserve(batch, x.rows(), memory.rows(), true, c);
    c.dmixed.resize(x.rows(), mixed_width()).setZero();
    affine_backward<S>(batch.q, std::as_const(c.mixed).view(), w.own.wo, dy, g.own.wo, g.own.bo, c.dmixed.view(),
                       c.workers);
    layout().zero(c.fields, c.dfields);
    with_heads(w, batch, context, [&](const auto& heads) {
      heads.backward(c.fields, c.mixed, c.lse, c.heads, c.dmixed, c.dfields, g.own.heads, g.shared, c.partial,
                     c.workers);
    });

    const bool grouped = layout().group() > 1;
    if (grouped) layout().fold(c.dfields, c.folded, c.workers);
    View<S> dx = c.dx.resize(x.rows(), x.cols());
    dx.setZero();
    if (!self) c.dmemory.resize(memory.rows(), memory.cols()).setZero();
    projection_.backward(w.own.projection, x, memory, batch, grouped ? c.folded : c.dfields, g.own.projection, dx,
                         self ? dx : c.dmemory.view(), c.workers);
  }

  ConstView<S> advance(const Weights<Attention>& w, State& state, ConstView<S> x, const Batch& batch,
                       const Context& context) const requires StreamingPolicy<P> {
    check(w, x.cols(), x.cols());
    check_self(batch);
    batch.check(x.rows(), x.rows());
    require<StateError>(state.shape == shape(), "state: was started by a layer of another shape");
    require<OptionError>(policy_.causality() != Causality::none, "options.causal: a stream only sees its past");
    require<StateError>(static_cast<std::size_t>(batch.size()) == state.sizes.size(), "batch: ", state.sizes.size(),
                        " sequences expected, as the state was started with, came ", batch.size());
    for (Index s = 0; s < batch.size(); ++s) {
      const Index n = batch.queries(s).size, before = state.sizes[static_cast<std::size_t>(s)];
      require<StateError>(n <= state.longest_chunk, "batch.q[", s, "]: chunks of up to ", state.longest_chunk,
                          " tokens expected, came ", n);
      require<StateError>(before + n <= state.capacity, "batch.q[", s, "]: the capacity of ", state.capacity,
                          " tokens is exceeded by ", n, " after ", before);
      for (Index h = 0; h < options_.heads; ++h) policy_.check(head(w, context, s, h), CallShape{n, before + n});
    }

    state.workers.prepare(options_.threads, std::max({state.scratch, projection_.scratch(x.rows(), x.rows()),
                                                      affine_scratch<S>(x.rows(), mixed_width(), options_.d_model)}));
    projection_.step(w.own.projection, state.projection, x, batch, state.fields, state.workers);
    state.mixed.resize(x.rows(), mixed_width());
    state.lse.resize(x.rows(), options_.heads);
    with_heads(w, batch, context, [&](const auto& heads) {
      heads.step(state.fields, state.heads, state.mixed, state.lse, state.workers);
    });
    for (Index s = 0; s < batch.size(); ++s) state.sizes[static_cast<std::size_t>(s)] += batch.queries(s).size;
    output(w, batch.q, state.mixed, state.y, state.workers);
    return std::as_const(state.y).view();
  }

  Options options_;
  P policy_;
  Projection projection_;
};

}  // namespace heed
