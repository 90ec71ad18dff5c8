// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/parallel.hpp>
#include <heed/kernels/affine.hpp>
#include <heed/kernels/row_panels.hpp>
#include <heed/layers/layer.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace heed {

/// Token i as row i of a table: x = dropout(scale table[token]); and, with the same table, the way back to a score for
/// every token: logits = x table^T + bias (Press and Wolf 2017, arXiv 1608.05859).
///
/// `ids` holds one token per row of the batch's matrices; those of padding rows are not read. Throws ShapeError for a
/// token outside [0, vocabulary).
template <class S>
class Embedding {
 public:
  using Scalar = S;
  using Ids = std::vector<std::int32_t>;
  struct Options {
    Index vocabulary = 0, d_model = 0;
    double scale = 1;   ///< sqrt(d_model) in Vaswani et al. 2017, section 3.4
    bool bias = false;  ///< of the logits
    int threads = 1;
  };
  /// `table [vocabulary, d_model]`, normal with deviation 1 / sqrt(d_model); `bias [1, vocabulary]` or empty.
  struct Params {
    Matrix<S> table, bias;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("table", x.table...);
      f("bias", x.bias...);
    }
  };
  using Shared = NoParams;
  struct Cache {
    detail::Made made, head_made;
    Buffer<S> y;           // embedded tokens
    Buffer<S> logits, dx;  // of the head
    Workers workers;
  };

  explicit Embedding(const Options& options) : options_(options) {
    require<OptionError>(options.vocabulary >= 1, "options.vocabulary: at least 1 expected, came ", options.vocabulary);
    require<OptionError>(options.d_model >= 1, "options.d_model: at least 1 expected, came ", options.d_model);
    require<OptionError>(std::isfinite(options.scale), "options.scale: a finite number expected, came ", options.scale);
    require<OptionError>(options.threads >= 1, "options.threads: at least 1 expected, came ", options.threads);
  }
  const Options& options() const { return options_; }
  Params init(Random& random) const {
    return {random_normal<S>(random, options_.vocabulary, options_.d_model,
                             1 / std::sqrt(static_cast<double>(options_.d_model))),
            Matrix<S>::Zero(options_.bias ? 1 : 0, options_.bias ? options_.vocabulary : 0)};
  }
  Shared init_shared(Random&) const { return {}; }

  /// x `[ids.size(), d_model]`, 0 in padding rows.
  ConstView<S> forward(Weights<Embedding> w, const Ids& ids, const Batch& batch, Cache& c,
                       const Dropout& dropout = {}) const {
    check(w.own, ids, batch, dropout);
    const Index rows = static_cast<Index>(ids.size()), d = options_.d_model;
    c.made.note(batch, rows, d, dropout);
    c.workers.prepare(options_.threads, 0);
    View<S> y = c.y.resize(rows, d);
    zero_gaps<S>(batch.q, y);
    const DropMask mask(dropout);
    const S scale = static_cast<S>(options_.scale);
    for_each_row(batch.q, rows, d, c.workers, [&](Index i) {
      const S* const from = w.own.table.data() + ids[static_cast<std::size_t>(i)] * d;
      S* const to = y.data() + i * d;
      for (Index k = 0; k < d; ++k) to[k] = scale * from[k];
      if (mask.active()) mask.apply(i, d, to, to);
    });
    return std::as_const(c.y).view();
  }
  /// Adds to the gradient of the table, row by row in the order of the tokens.
  template <class Y>
  void backward(Weights<Embedding> w, const Ids& ids, const Batch& batch, Cache& c,
                const Eigen::MatrixBase<Y>& cotangent, Gradients<Embedding> g, const Dropout& dropout = {}) const {
    const ConstView<S> dy = front_door<S>(cotangent, "dy");
    check(w.own, ids, batch, dropout);
    const Index rows = static_cast<Index>(ids.size()), d = options_.d_model;
    c.made.check(batch, rows, d, dropout);
    detail::check_cotangent(dy, rows, d);
    detail::check_gradients(w, g);
    const DropMask mask(dropout);
    const S scale = static_cast<S>(options_.scale);
    // Columns are independent, so they are what threads share; a packet or more of them each.
    constexpr Index width = 64;
    View<S> dropped = c.dx.resize(mask.active() ? rows : 0, mask.active() ? d : 0);
    if (mask.active()) drop<S>(batch.q, dy, dropout, dropped, c.workers);
    c.workers.run((d + width - 1) / width, [&](Index task, Arena&) {
      const Index begin = task * width, n = std::min(width, d - begin);
      for (const Segment s : batch.q)
        for (Index i = s.begin; i < s.begin + s.size; ++i) {
          const S* const from = mask.active() ? dropped.data() + i * d : dy.data() + i * dy.outerStride();
          S* const to = g.own.table.data() + ids[static_cast<std::size_t>(i)] * d;
          for (Index k = begin; k < begin + n; ++k) to[k] += scale * from[k];
        }
    });
  }

  /// The head: logits `[rows, vocabulary]` of x `[rows, d_model]`, 0 in padding rows.
  template <class X>
  ConstView<S> logits(Weights<Embedding> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c) const {
    const ConstView<S> x = front_door<S>(tokens, "x");
    check(w.own);
    detail::check_tokens(x, options_.d_model, batch);
    c.head_made.note(batch, x.rows(), x.cols(), {});
    prepare_head(x.rows(), c);
    View<S> y = c.logits.resize(x.rows(), options_.vocabulary);
    zero_gaps<S>(batch.q, y);
    for_each_run(batch.q, [&](Segment run) {
      View<S> to = block(y, run.begin, 0, run.size, y.cols());
      if (options_.bias) to.rowwise() = w.own.bias.row(0);
      parallel_product<Form::abt, S>(options_.bias ? Into::add : Into::assign,
                                     block(x, run.begin, 0, run.size, x.cols()), view(w.own.table), to, c.workers);
    });
    return std::as_const(c.logits).view();
  }
  /// Given the cotangent of the logits: adds to the gradients, gives dx.
  template <class X, class Y>
  ConstView<S> logits_backward(Weights<Embedding> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                               const Eigen::MatrixBase<Y>& cotangent, Gradients<Embedding> g) const {
    const ConstView<S> x = front_door<S>(tokens, "x"), dy = front_door<S>(cotangent, "dlogits");
    check(w.own);
    c.head_made.check(batch, x.rows(), x.cols(), {});
    require<ShapeError>(dy.rows() == x.rows() && dy.cols() == options_.vocabulary, "dlogits: [", x.rows(), ", ",
                        options_.vocabulary, "] expected, came [", dy.rows(), ", ", dy.cols(), "]");
    detail::check_gradients(w, g);
    prepare_head(x.rows(), c);
    View<S> dx = c.dx.resize(x.rows(), x.cols());
    zero_gaps<S>(batch.q, dx);
    for_each_run(batch.q, [&](Segment run) {
      const ConstView<S> d = block(dy, run.begin, 0, run.size, dy.cols());
      parallel_product<Form::ab, S>(Into::assign, d, view(w.own.table), block(dx, run.begin, 0, run.size, dx.cols()),
                                    c.workers);
      parallel_product<Form::atb, S>(Into::add, d, block(x, run.begin, 0, run.size, x.cols()), view(g.own.table),
                                     c.workers);
      if (options_.bias)
        for (Index i = 0; i < run.size; ++i) g.own.bias.row(0) += d.row(i);
    });
    return std::as_const(c.dx).view();
  }

 private:
  void check(const Params& p) const {
    detail::check_weight("table", p.table, options_.vocabulary, options_.d_model);
    detail::check_weight("bias", p.bias, options_.bias, options_.bias ? options_.vocabulary : 0);
  }
  void check(const Params& p, const Ids& ids, const Batch& batch, const Dropout& dropout) const {
    check(p);
    batch.check(static_cast<Index>(ids.size()), static_cast<Index>(ids.size()));
    for (const Segment s : batch.q)
      for (Index i = s.begin; i < s.begin + s.size; ++i) {
        const Index id = ids[static_cast<std::size_t>(i)];
        require<ShapeError>(id >= 0 && id < options_.vocabulary, "ids[", i, "]: a token in [0, ", options_.vocabulary,
                            ") expected, came ", id);
      }
    dropout.check();
  }
  void prepare_head(Index rows, Cache& c) const {
    const Index n = options_.vocabulary, d = options_.d_model;
    c.workers.prepare(options_.threads,
                      std::max({product_scratch<S>(Form::abt, rows, d, n), product_scratch<S>(Form::ab, rows, n, d),
                                product_scratch<S>(Form::atb, n, rows, d)}));
  }

  Options options_;
};

}  // namespace heed
