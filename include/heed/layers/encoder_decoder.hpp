// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/layers/layer.hpp>

#include <utility>
#include <vector>

namespace heed {

/// A reader and a writer as one layer: y = Writer(x, Reader(source)).
///
/// `Reader` is any layer over the source, `Writer` one that reads a memory as `DecoderOf` does. In the batch, `q` are
/// the segments of x and `k` those of the source, sequence by sequence. What both share has one owner, around this.
/// (Vaswani et al. 2017, arXiv 1706.03762, section 3.)
template <Layer Reader, class Writer>
class EncoderDecoderOf {
 public:
  using Scalar = typename Writer::Scalar;
  using S = Scalar;
  static_assert(std::same_as<S, typename Reader::Scalar>, "heed: a reader and a writer of one scalar type expected");
  struct Options {
    typename Reader::Options reader{};
    typename Writer::Options writer{};
  };
  struct Params {
    typename Reader::Params reader;
    typename Writer::Params writer;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("reader", x.reader...);
      f("writer", x.writer...);
    }
  };
  using Shared = Together<NoParams, typename Reader::Shared, typename Writer::Shared>;
  struct Context {
    typename Reader::Context reader{};
    typename Writer::Context writer{};
  };
  struct Cache {
    detail::Made made, made_source;
    Batch source;  // the source alone
    typename Reader::Cache reader;
    typename Writer::Cache writer;
    ConstView<S> result() const { return detail::result(writer); }
    /// What the reader made of the source.
    ConstView<S> memory() const { return detail::result(reader); }
  };
  using State = typename Writer::State;

  explicit EncoderDecoderOf(const Options& options) : reader_(options.reader), writer_(options.writer) {}
  const Reader& reader() const { return reader_; }
  const Writer& writer() const { return writer_; }

  Params init(Random& random) const {
    typename Reader::Params reader = reader_.init(random);
    return {std::move(reader), writer_.init(random)};
  }
  Shared init_shared(Random& random) const {
    Shared shared;
    if constexpr (!std::is_empty_v<typename Writer::Shared>)
      part<typename Writer::Shared>(shared) = writer_.init_shared(random);
    if constexpr (!std::is_empty_v<typename Reader::Shared>)
      part<typename Reader::Shared>(shared) = reader_.init_shared(random);
    return shared;
  }

  /// y `[rows of x, columns of the writer]`.
  template <class X, class M>
  ConstView<S> forward(Weights<EncoderDecoderOf> w, const Eigen::MatrixBase<X>& tokens,
                       const Eigen::MatrixBase<M>& read, const Batch& batch, Cache& c, const Context& context = {},
                       const Dropout& dropout = {}) const {
    const ConstView<S> x = front_door<S>(tokens, "x"), source = front_door<S>(read, "source");
    begin(x, source, batch, c, dropout);
    const ConstView<S> memory =
        detail::forward(reader_, reader_of(w), source, c.source, c.reader, context.reader, dropout.below(0));
    const ConstView<S> y = writer_.forward(writer_of(w), x, memory, batch, c.writer, context.writer, dropout.below(1));
    note(x, source, batch, c, dropout);
    return y;
  }
  /// The same with the choices that the cache holds.
  template <class X, class M>
  ConstView<S> replay(Weights<EncoderDecoderOf> w, const Eigen::MatrixBase<X>& tokens, const Eigen::MatrixBase<M>& read,
                      const Batch& batch, Cache& c, const Context& context = {},
                      const Dropout& dropout = {}) const requires ReplayableLayer<Reader> {
    const ConstView<S> x = front_door<S>(tokens, "x"), source = front_door<S>(read, "source");
    begin(x, source, batch, c, dropout);
    const ConstView<S> memory =
        detail::replay(reader_, reader_of(w), source, c.source, c.reader, context.reader, dropout.below(0));
    const ConstView<S> y = writer_.replay(writer_of(w), x, memory, batch, c.writer, context.writer, dropout.below(1));
    note(x, source, batch, c, dropout);
    return y;
  }

  struct InputGradients {
    ConstView<S> dx, dsource;
  };
  /// The gradient of the memory goes on through the reader.
  template <class X, class M, class Y>
  InputGradients backward(Weights<EncoderDecoderOf> w, const Eigen::MatrixBase<X>& tokens,
                          const Eigen::MatrixBase<M>& read, const Batch& batch, Cache& c,
                          const Eigen::MatrixBase<Y>& cotangent, Gradients<EncoderDecoderOf> g,
                          const Context& context = {}, const Dropout& dropout = {}) const {
    const ConstView<S> x = front_door<S>(tokens, "x"), source = front_door<S>(read, "source"),
                       dy = front_door<S>(cotangent, "dy");
    c.made.check(batch, x.rows(), x.cols(), dropout);
    c.made_source.check(batch.k, source.rows(), source.cols(), dropout, "source");
    detail::check_cotangent(dy, x.rows(), c.result().cols());
    detail::check_gradients(w, g);
    const auto [dx, dmemory] = writer_.backward(
        writer_of(w), x, c.memory(), batch, c.writer, dy,
        Gradients<Writer>(g.own.writer, part<typename Writer::Shared>(g.shared)), context.writer, dropout.below(1));
    return {dx, detail::backward(reader_, reader_of(w), source, c.source, c.reader, dmemory,
                                 Gradients<Reader>(g.own.reader, part<typename Reader::Shared>(g.shared)),
                                 context.reader, dropout.below(0))};
  }

  /// Reads the source, whose segments are `batch.k`, once: then up to `capacity` tokens for each of its sequences may be
  /// written, in chunks of up to `longest_chunk`. The cache is free again afterwards.
  template <class M>
  State start(Weights<EncoderDecoderOf> w, const Eigen::MatrixBase<M>& read, const Batch& batch, Cache& c,
              Index capacity, Index longest_chunk = 1, const Context& context = {}) const requires(Writer::streams) {
    const ConstView<S> source = front_door<S>(read, "source");
    c.made.forget();
    c.source.q = c.source.k = batch.k;
    return writer_.start(writer_of(w),
                         detail::forward(reader_, reader_of(w), source, c.source, c.reader, context.reader, Dropout{}),
                         c.source, capacity, longest_chunk);
  }
  /// The writer's next rows. `batch` is that of x alone.
  template <class X>
  ConstView<S> step(Weights<EncoderDecoderOf> w, State& state, const Eigen::MatrixBase<X>& tokens, const Batch& batch,
                    const Context& context = {}) const requires(Writer::streams) {
    return writer_.step(writer_of(w), state, tokens, batch, context.writer);
  }

 private:
  static Weights<Reader> reader_of(const Weights<EncoderDecoderOf>& w) {
    return {w.own.reader, part<typename Reader::Shared>(w.shared)};
  }
  static Weights<Writer> writer_of(const Weights<EncoderDecoderOf>& w) {
    return {w.own.writer, part<typename Writer::Shared>(w.shared)};
  }
  static void begin(ConstView<S> x, ConstView<S> source, const Batch& batch, Cache& c, const Dropout& dropout) {
    batch.check(x.rows(), source.rows());
    dropout.check();
    c.made.forget();
    c.source.q = c.source.k = batch.k;
  }
  static void note(ConstView<S> x, ConstView<S> source, const Batch& batch, Cache& c, const Dropout& dropout) {
    c.made.note(batch, x.rows(), x.cols(), dropout);
    c.made_source.note(batch.k, source.rows(), source.cols(), dropout);
  }

  Reader reader_;
  Writer writer_;
};

}  // namespace heed
