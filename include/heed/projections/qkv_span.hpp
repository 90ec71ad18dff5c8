// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/projections/qkv.hpp>

#include <algorithm>
#include <cmath>

namespace heed {

/// Queries, keys and values, and one number per query and head: `span [n_q, 1]`.
template <class M>
struct QkvSpan {
  M q, k, v, span;
  template <class F, class... X>
  static auto map(F&& f, X&... x) {
    using R = decltype(f(Field{}, x.q...));
    return QkvSpan<R>{f(Field{"q", Rows::queries, Width::key, false}, x.q...),
                      f(Field{"k", Rows::keys, Width::key, true}, x.k...),
                      f(Field{"v", Rows::keys, Width::value, true}, x.v...),
                      f(Field{"span", Rows::queries, Width::one, false}, x.span...)};
  }
};

/// The usual projection, and span = x W_span + b_span: how far each query looks back, as a logit.
template <class S>
class ProjectQkvSpan {
 public:
  using Scalar = S;
  template <class M>
  using Fields = QkvSpan<M>;
  static constexpr bool crosses = true;

  struct Options {
    bool bias = false;    ///< of q, k and v
    S initial_span = -4;  ///< b_span at the start: sigmoid(-4) is 1.8 % of the longest span
  };
  /// `wspan [d_model, heads]`, `bspan [1, heads]`.
  struct Params {
    typename ProjectQkv<S>::Params qkv;
    Matrix<S> wspan, bspan;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("qkv", x.qkv...);
      f("wspan", x.wspan...);
      f("bspan", x.bspan...);
    }
  };
  struct State {};

  ProjectQkvSpan(const Options& options, const ProjectionShape& shape)
      : options_(options), shape_(shape), qkv_({options.bias}, shape) {
    require<OptionError>(std::isfinite(options.initial_span),
                         "options.projection.initial_span: a finite number expected, came ", options.initial_span);
  }

  /// Weights are normal with variance 1 / inputs; biases of q, k and v are 0.
  Params init(Random& random) const {
    Params p;
    p.qkv = qkv_.init(random);
    p.wspan = random_normal<S>(random, shape_.d_model, shape_.heads,
                               1 / std::sqrt(static_cast<double>(std::max<Index>(shape_.d_model, 1))));
    p.bspan.setConstant(1, shape_.heads, options_.initial_span);
    return p;
  }

  void check(const Params& p) const {
    qkv_.check(p.qkv);
    const auto check_shape = [&](const char* name, const Matrix<S>& m, Index rows) {
      require<ShapeError>(m.rows() == rows && m.cols() == shape_.heads, "weights.projection.", name, ": [", rows, ", ",
                          shape_.heads, "] expected, came [", m.rows(), ", ", m.cols(), "]");
    };
    check_shape("wspan", p.wspan, shape_.d_model);
    check_shape("bspan", p.bspan, 1);
  }

  std::size_t scratch(Index q_rows, Index k_rows) const {
    return std::max(qkv_.scratch(q_rows, k_rows), affine_scratch<S>(q_rows, shape_.d_model, shape_.heads));
  }

  void forward(const Params& p, ConstView<S> x, ConstView<S> memory, const Batch& batch, Fields<Buffer<S>>& fields,
               Workers& workers) const {
    qkv_.forward(p.qkv, x, memory, batch, fields, workers);
    affine<S>(batch.q, x, p.wspan, p.bspan, fields.span.resize(x.rows(), shape_.heads), workers);
  }

  void backward(const Params& p, ConstView<S> x, ConstView<S> memory, const Batch& batch,
                const Fields<Buffer<S>>& dfields, Params& g, View<S> dx, View<S> dmemory, Workers& workers) const {
    qkv_.backward(p.qkv, x, memory, batch, dfields, g.qkv, dx, dmemory, workers);
    affine_backward<S>(batch.q, x, p.wspan, dfields.span.view(), g.wspan, g.bspan, dx, workers);
  }

  /// What a loss adds for long spans: weight * (the sum of sigmoid(span) over all queries and heads). The mean of z over
  /// both, times lambda, has weight = lambda max_span / (queries heads).
  S penalty(const Params& p, ConstView<S> x, const Batch& batch, S weight) const {
    S sum = 0;
    for_each_span(p, x, batch, [&](Index, Index, S part) { sum += part; });
    return weight * sum;
  }
  /// Adds the gradient of the penalty.
  void penalty_backward(const Params& p, ConstView<S> x, const Batch& batch, S weight, Params& g, View<S> dx) const {
    for_each_span(p, x, batch, [&](Index i, Index h, S part) {
      const S d = weight * part * (1 - part);
      g.wspan.col(h) += d * x.row(i).transpose();
      g.bspan(0, h) += d;
      dx.row(i) += d * p.wspan.col(h).transpose();
    });
  }

  State start(Index) const { return {}; }
  void step(const Params& p, State&, ConstView<S> x, const Batch& batch, Fields<Buffer<S>>& fields,
            Workers& workers) const {
    forward(p, x, x, batch, fields, workers);
  }

 private:
  /// f(row, head, sigmoid(span)) for the rows of query segments.
  template <class F>
  void for_each_span(const Params& p, ConstView<S> x, const Batch& batch, const F& f) const {
    for (const Segment& rows : batch.q)
      for (Index i = rows.begin; i < rows.begin + rows.size; ++i)
        for (Index h = 0; h < shape_.heads; ++h)
          f(i, h, 1 / (1 + std::exp(-(x.row(i).dot(p.wspan.col(h)) + p.bspan(0, h)))));
  }

  Options options_;
  ProjectionShape shape_;
  ProjectQkv<S> qkv_;
};

static_assert(FieldProjection<ProjectQkvSpan<float>>);

}  // namespace heed
