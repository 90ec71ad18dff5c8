// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/batch.hpp>
#include <heed/core/buffer.hpp>
#include <heed/core/front_door.hpp>
#include <heed/core/parallel.hpp>
#include <heed/core/types.hpp>
#include <heed/kernels/exp2.hpp>
#include <heed/kernels/product.hpp>
#include <heed/layers/embedding.hpp>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <utility>
#include <vector>

namespace heed {

/// The loss of a language model or a classifier: the mean over the tokens that have a target of
///
///   -log softmax(x W^T + b)_target
///
/// with one row of W `[classes, d]` per class, without b; or with table and bias of a token embedding, which is an output
/// head tied to it. Fused with its gradient: logits live for `chunk` tokens at a time, never for all of them.
template <class S>
class CrossEntropy {
 public:
  struct Options {
    Index chunk = 1024;  ///< tokens whose logits live at one time
    int threads = 1;
  };
  struct Cache {
    Buffer<S> logits, losses, dx;
    Workers workers;
  };
  struct Result {
    double loss = 0;   ///< mean, in nats; 0 if no token has a target
    Index tokens = 0;  ///< that have a target
    ConstView<S> dx;   ///< `[rows, d]`, of the mean; 0 where there is no target
  };

  CrossEntropy() : CrossEntropy(Options{}) {}
  explicit CrossEntropy(const Options& options) : options_(options) {
    require<OptionError>(options.chunk >= 1, "options.chunk: at least 1 expected, came ", options.chunk);
    require<OptionError>(options.threads >= 1, "options.threads: at least 1 expected, came ", options.threads);
  }

  /// `targets[i]` is the class of row i of x, or -1 for none: numbers of any signed type, so that tokens are targets as
  /// they are. Adds to the gradient dw.
  template <class X, std::signed_integral Id = Index>
  Result operator()(const Matrix<S>& w, const Eigen::MatrixBase<X>& x, const std::vector<Id>& targets, Cache& cache,
                    Matrix<S>& dw) const {
    return run(w, none, front_door<S>(x, "x"), targets, cache, &dw, nullptr);
  }
  template <class X, std::signed_integral Id = Index>
  Result operator()(const typename Embedding<S>::Params& head, const Eigen::MatrixBase<X>& x,
                    const std::vector<Id>& targets, Cache& cache, typename Embedding<S>::Params& gradient) const {
    return run(head.table, head.bias, front_door<S>(x, "x"), targets, cache, &gradient.table, &gradient.bias);
  }
  /// The loss alone.
  template <class X, std::signed_integral Id = Index>
  Result operator()(const Matrix<S>& w, const Eigen::MatrixBase<X>& x, const std::vector<Id>& targets,
                    Cache& cache) const {
    return run(w, none, front_door<S>(x, "x"), targets, cache, nullptr, nullptr);
  }
  template <class X, std::signed_integral Id = Index>
  Result operator()(const typename Embedding<S>::Params& head, const Eigen::MatrixBase<X>& x,
                    const std::vector<Id>& targets, Cache& cache) const {
    return run(head.table, head.bias, front_door<S>(x, "x"), targets, cache, nullptr, nullptr);
  }

 private:
  static inline const Matrix<S> none{};

  template <class Id>
  Result run(const Matrix<S>& w, const Matrix<S>& b, ConstView<S> x, const std::vector<Id>& targets, Cache& c,
             Matrix<S>* dw, Matrix<S>* db) const {
    const Index n = x.rows(), d = x.cols(), classes = w.rows();
    require<ShapeError>(classes >= 1 && w.cols() == d, "w: one or more rows of ", d, " columns expected, came [",
                        w.rows(), ", ", w.cols(), "]");
    require<ShapeError>(dw == nullptr || (dw->rows() == classes && dw->cols() == d), "dw: [", classes, ", ", d,
                        "] expected, came [", dw == nullptr ? 0 : dw->rows(), ", ", dw == nullptr ? 0 : dw->cols(),
                        "]");
    const bool biased = b.size() > 0;
    require<ShapeError>(!biased || (b.rows() == 1 && b.cols() == classes), "bias: [1, ", classes,
                        "] or none expected, came [", b.rows(), ", ", b.cols(), "]");
    require<ShapeError>(db == nullptr || (db->rows() == b.rows() && db->cols() == b.cols()), "gradient.bias: [",
                        b.rows(), ", ", b.cols(), "] expected, came [", db == nullptr ? 0 : db->rows(), ", ",
                        db == nullptr ? 0 : db->cols(), "]");
    require<ShapeError>(static_cast<Index>(targets.size()) == n, "targets: one for each of the ", n,
                        " rows of x expected, came ", targets.size());
    Index counted = 0;
    for (std::size_t i = 0; i < targets.size(); ++i) {
      require<ShapeError>(targets[i] >= -1 && targets[i] < classes, "targets[", i, "]: in [0, ", classes,
                          "), or -1 for none, expected, came ", targets[i]);
      counted += targets[i] >= 0 ? 1 : 0;
    }
    const Index most = std::min(n, options_.chunk);
    c.workers.prepare(options_.threads, std::max({product_scratch<S>(Form::abt, most, d, classes),
                                                  product_scratch<S>(Form::ab, most, classes, d),
                                                  product_scratch<S>(Form::atb, classes, most, d)}));
    View<S> dx = dw != nullptr ? c.dx.resize(n, d) : c.dx.resize(0, d);
    View<S> losses = c.losses.resize(1, n);
    const S weight = S(1) / static_cast<S>(std::max<Index>(counted, 1));
    for (Index begin = 0; begin < n; begin += most) {
      const Index size = std::min(most, n - begin);
      View<S> logits = c.logits.resize(size, classes);
      const ConstView<S> part = block(x, begin, 0, size, d);
      if (biased) logits.rowwise() = b.row(0);
      parallel_product<Form::abt, S>(biased ? Into::add : Into::assign, part, view(w), logits, c.workers);
      constexpr Index rows_per_task = 64;
      c.workers.run((size + rows_per_task - 1) / rows_per_task, [&](Index task, Arena&) {
        for (Index i = task * rows_per_task; i < std::min(size, (task + 1) * rows_per_task); ++i)
          losses(0, begin + i) = row(logits.data() + i * logits.outerStride(), classes,
                                     targets[static_cast<std::size_t>(begin + i)], weight);
      });
      if (dw == nullptr) continue;
      const ConstView<S> d_logits = view(logits);
      parallel_product<Form::ab, S>(Into::assign, d_logits, view(w), block(dx, begin, 0, size, d), c.workers);
      parallel_product<Form::atb, S>(Into::add, d_logits, part, view(*dw), c.workers);
      for (Index i = 0; i < size && biased && db != nullptr; ++i) db->row(0) += d_logits.row(i);
    }
    double sum = 0;
    for (Index i = 0; i < n; ++i) sum += static_cast<double>(losses(0, i));
    return {sum / static_cast<double>(std::max<Index>(counted, 1)), counted, view(dx)};
  }

  /// Turns a row of logits into the gradient, weight (softmax - one at the target); returns -log softmax at the target.
  static S row(S* z, Index classes, Index target, S weight) {
    if (target < 0) {
      std::fill_n(z, classes, S(0));
      return S(0);
    }
    S top = -std::numeric_limits<S>::infinity();
    for (Index c = 0; c < classes; ++c) top = std::max(top, z[c]);
    const S at_target = z[target];
    constexpr Index width = detail::lanes<S>;
    S sum = 0;
    Index c = 0;
    for (; c + width <= classes; c += width)
      detail::store<S>(z + c, detail::exp<S>(detail::psub(detail::load(z + c), detail::broadcast(top))));
    for (; c < classes; ++c) z[c] = detail::exp_of(z[c] - top);
    for (c = 0; c < classes; ++c) sum += z[c];
    const S scale = weight / sum;
    for (c = 0; c < classes; ++c) z[c] *= scale;
    z[target] -= weight;
    return std::log(sum) + (top - at_target);
  }

  Options options_;
};

}  // namespace heed
