// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/layers/embedding.hpp>
#include <heed/layers/layer.hpp>
#include <heed/train/cross_entropy.hpp>
#include <heed/train/sample.hpp>
#include <heed/train/token_batch.hpp>

#include <cstddef>
#include <utility>
#include <vector>

namespace heed {

/// A model from tokens to scores of tokens: an embedding, L over its rows, and the same table as output head.
///
/// L is a layer, or one that reads a source as `EncoderDecoderOf` does: then `TokenBatch::source` is embedded with the
/// same table. Dropout and context are L's; embedded tokens are dropped too.
template <class L>
class TokenModel {
 public:
  using Scalar = typename L::Scalar;
  using S = Scalar;
  using Ids = typename Embedding<S>::Ids;
  /// Whether L reads a source.
  static constexpr bool reads = !Layer<L>;
  struct Options {
    typename Embedding<S>::Options embedding{};
    typename L::Options layers{};
    typename CrossEntropy<S>::Options loss{};
  };
  struct Params {
    typename Embedding<S>::Params embedding;
    typename L::Params layers;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("embedding", x.embedding...);
      f("layers", x.layers...);
    }
  };
  using Shared = typename L::Shared;
  using Context = typename L::Context;
  struct Cache {
    typename Embedding<S>::Cache embedding, source;
    typename L::Cache layers;
    Batch of_ids, of_source;  // each alone
    typename CrossEntropy<S>::Cache loss;
  };
  struct State {
    detail::StateOf<L> layers;
    typename Embedding<S>::Cache embedding;
    Buffer<S> last;
    Batch newest;  // the last new row of each sequence, if it has any
  };
  using Loss = typename CrossEntropy<S>::Result;

  explicit TokenModel(const Options& options)
      : embedding_(options.embedding), layers_(options.layers), loss_(options.loss) {}
  const Embedding<S>& embedding() const { return embedding_; }
  const L& layers() const { return layers_; }

  Params init(Random& random) const {
    typename Embedding<S>::Params embedding = embedding_.init(random);
    return {std::move(embedding), layers_.init(random)};
  }
  Shared init_shared(Random& random) const { return layers_.init_shared(random); }

  /// What L gives for the tokens: `[ids, columns of L]`.
  ConstView<S> forward(Weights<TokenModel> w, const TokenBatch& t, Cache& c, const Context& context = {},
                       const Dropout& dropout = {}) const {
    c.of_ids.q = c.of_ids.k = t.batch.q;
    embedding_.forward(w.own.embedding, t.ids, c.of_ids, c.embedding, dropout.below(0));
    if constexpr (reads) {
      c.of_source.q = c.of_source.k = t.batch.k;
      embedding_.forward(w.own.embedding, t.source, c.of_source, c.source, dropout.below(1));
      return layers_.forward(down(w), x(c), source(c), t.batch, c.layers, context, dropout.below(2));
    } else {
      return detail::forward(layers_, down(w), x(c), t.batch, c.layers, context, dropout.below(2));
    }
  }
  /// Adds to the gradients, given the cotangent of what forward gave.
  template <class Y>
  void backward(Weights<TokenModel> w, const TokenBatch& t, Cache& c, const Eigen::MatrixBase<Y>& cotangent,
                Gradients<TokenModel> g, const Context& context = {}, const Dropout& dropout = {}) const {
    const ConstView<S> dy = front_door<S>(cotangent, "dy");
    detail::check_gradients(w, g);
    const Index d = embedding_.options().d_model;
    c.embedding.made.check(t.batch.q, static_cast<Index>(t.ids.size()), d, dropout.below(0), "ids");
    if constexpr (reads)
      c.source.made.check(t.batch.k, static_cast<Index>(t.source.size()), d, dropout.below(1), "source");
    const Gradients<L> to(g.own.layers, g.shared);
    const auto embed = [&](const Ids& ids, const Batch& batch, auto& cache, ConstView<S> dx, std::size_t part) {
      embedding_.backward(w.own.embedding, ids, batch, cache, dx, g.own.embedding, dropout.below(part));
    };
    if constexpr (reads) {
      const auto [dx, dsource] =
          layers_.backward(down(w), x(c), source(c), t.batch, c.layers, dy, to, context, dropout.below(2));
      embed(t.ids, c.of_ids, c.embedding, dx, 0);
      embed(t.source, c.of_source, c.source, dsource, 1);
    } else {
      embed(t.ids, c.of_ids, c.embedding,
            detail::backward(layers_, down(w), x(c), t.batch, c.layers, dy, to, context, dropout.below(2)), 0);
    }
  }

  /// The mean cross-entropy of the targets, in nats, by the tied head; adds to the gradients.
  Loss loss(Weights<TokenModel> w, const TokenBatch& t, Cache& c, Gradients<TokenModel> g, const Context& context = {},
            const Dropout& dropout = {}) const {
    detail::check_gradients(w, g);
    const ConstView<S> y = forward(w, t, c, context, dropout);
    const Loss loss = loss_(w.own.embedding, y, t.targets, c.loss, g.own.embedding);
    backward(w, t, c, loss.dx, g, context, dropout);
    return loss;
  }
  /// The loss alone.
  Loss loss(Weights<TokenModel> w, const TokenBatch& t, Cache& c) const {
    return loss_(w.own.embedding, forward(w, t, c), t.targets, c.loss);
  }

  /// Streams for `sequences` sequences of up to `capacity` tokens that come in chunks of up to `longest_chunk`.
  State start(Index sequences, Index capacity, Index longest_chunk = 1) const requires(!reads) {
    return {detail::start(layers_, sequences, capacity, longest_chunk), {}, {}, {}};
  }
  /// The same, one for each of the sources, which are read here, once.
  State start(Weights<TokenModel> w, const TokenBatch& t, Cache& c, Index capacity, Index longest_chunk = 1,
              const Context& context = {}) const requires(reads) {
    c.of_source.q = c.of_source.k = t.batch.k;
    embedding_.forward(w.own.embedding, t.source, c.of_source, c.source);
    return {layers_.start(down(w), source(c), c.of_source, c.layers, capacity, longest_chunk, context), {}, {}, {}};
  }
  /// Takes the next tokens of every sequence, and gives the scores of the one that follows, `[sequences, vocabulary]`: 0
  /// for a sequence that has no new token.
  ConstView<S> step(Weights<TokenModel> w, State& state, const Ids& ids, const Batch& batch,
                    const Context& context = {}) const {
    const ConstView<S> y =
        advance(w, state, embedding_.forward(w.own.embedding, ids, batch, state.embedding), batch, context);
    const Index n = batch.size();
    View<S> last = state.last.resize(n, y.cols());
    state.newest.q.clear();
    for (Index s = 0; s < n; ++s) {
      const Segment rows = batch.queries(s);
      state.newest.q.push_back({s, rows.size > 0 ? 1 : 0});
      if (rows.size > 0) last.row(s) = y.row(rows.begin + rows.size - 1);
    }
    state.newest.k = state.newest.q;
    return embedding_.logits(w.own.embedding, view(last), state.newest, state.embedding);
  }
  /// Goes on after `prompt` in the stream of one sequence: up to `most` tokens, each drawn at the temperature
  /// (`sample`), or fewer if it draws `stop`, which is then the last. The model is shown all but the last one: whoever
  /// goes on begins the next prompt with it. The stream must have room for the prompt and `most - 1` tokens.
  Ids generate(Weights<TokenModel> w, State& state, const Ids& prompt, Index most, double temperature, Random& random,
               Index stop = -1, const Context& context = {}) const {
    require<ShapeError>(!prompt.empty(), "prompt: one token or more expected, came none");
    require<OptionError>(most >= 0, "most: must not be negative, came ", most);
    detail::check_temperature(temperature);
    Ids written, next = prompt;
    while (static_cast<Index>(written.size()) < most && (written.empty() || written.back() != stop)) {
      const ConstView<S> scores = step(w, state, next, Batch::one(static_cast<Index>(next.size())), context);
      next = {static_cast<typename Ids::value_type>(sample(scores, temperature, random))};
      written.push_back(next.front());
    }
    return written;
  }

 private:
  static Weights<L> down(const Weights<TokenModel>& w) { return {w.own.layers, w.shared}; }
  static ConstView<S> x(const Cache& c) { return c.embedding.y.view(); }
  static ConstView<S> source(const Cache& c) { return c.source.y.view(); }
  ConstView<S> advance(const Weights<TokenModel>& w, State& state, ConstView<S> rows, const Batch& batch,
                       const Context& context) const {
    if constexpr (reads)
      return layers_.step(down(w), state.layers, rows, batch, context);
    else
      return detail::step(layers_, down(w), state.layers, rows, batch, context);
  }

  Embedding<S> embedding_;
  L layers_;
  CrossEntropy<S> loss_;
};

}  // namespace heed
