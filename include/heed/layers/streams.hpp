// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/parallel.hpp>
#include <heed/kernels/row_panels.hpp>
#include <heed/layers/layer.hpp>

namespace heed {

/// Which way between one stream `[rows, d_model]` and two side by side `[rows, 2 d_model]`.
enum class Streams {
  split,  ///< y = [x x]
  join    ///< y = (x1 + x2) / 2
};

/// The ends of a reversible stack: into two streams, and back to one.
template <class S, Streams way>
class TwoStreams {
 public:
  using Scalar = S;
  struct Options {
    Index d_model = 0;
    int threads = 1;
  };
  using Params = NoParams;
  using Shared = NoParams;
  using Context = NoContext;
  static constexpr bool tokenwise = true;
  struct Cache {
    detail::Made made;
    Buffer<S> y, dx;
    Workers workers;
  };

  explicit TwoStreams(const Options& options) : options_(options) {
    require<OptionError>(options.d_model >= 1, "options.d_model: at least 1 expected, came ", options.d_model);
    require<OptionError>(options.threads >= 1, "options.threads: at least 1 expected, came ", options.threads);
  }
  Params init(Random&) const { return {}; }
  Shared init_shared(Random&) const { return {}; }

  template <class X>
  ConstView<S> forward(Weights<TwoStreams>, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                       const Context& = {}) const {
    const ConstView<S> x = front_door<S>(tokens, "x");
    detail::check_tokens(x, columns(way == Streams::split), batch);
    c.made.note(batch, x.rows(), x.cols(), {});
    c.workers.prepare(options_.threads, 0);
    return way == Streams::split ? split(x, 1, batch, c.y, c) : join(x, S(0.5), batch, c.y, c);
  }
  template <class X, class Y>
  ConstView<S> backward(Weights<TwoStreams>, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                        const Eigen::MatrixBase<Y>& cotangent, Gradients<TwoStreams>, const Context& = {}) const {
    const ConstView<S> x = front_door<S>(tokens, "x"), dy = front_door<S>(cotangent, "dy");
    detail::check_tokens(x, columns(way == Streams::split), batch);
    c.made.check(batch, x.rows(), x.cols(), {});
    detail::check_cotangent(dy, x.rows(), columns(way != Streams::split));
    return way == Streams::split ? join(dy, 1, batch, c.dx, c) : split(dy, S(0.5), batch, c.dx, c);
  }

 private:
  Index columns(bool one) const { return one ? options_.d_model : 2 * options_.d_model; }
  ConstView<S> split(ConstView<S> x, S factor, const Batch& batch, Buffer<S>& y, Cache& c) const {
    const Index d = options_.d_model;
    View<S> to = y.resize(x.rows(), 2 * d);
    zero_gaps<S>(batch.q, to);
    for_each_row(batch.q, x.rows(), 2 * d, c.workers, [&](Index i) {
      for (Index k = 0; k < d; ++k) to(i, k) = to(i, d + k) = factor * x(i, k);
    });
    return view(to);
  }
  ConstView<S> join(ConstView<S> x, S factor, const Batch& batch, Buffer<S>& y, Cache& c) const {
    const Index d = options_.d_model;
    View<S> to = y.resize(x.rows(), d);
    zero_gaps<S>(batch.q, to);
    for_each_row(batch.q, x.rows(), 2 * d, c.workers, [&](Index i) {
      for (Index k = 0; k < d; ++k) to(i, k) = factor * (x(i, k) + x(i, d + k));
    });
    return view(to);
  }

  Options options_;
};
static_assert(TokenwiseLayer<TwoStreams<float, Streams::split>> && TokenwiseLayer<TwoStreams<float, Streams::join>>);

}  // namespace heed
