// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/kernels/affine.hpp>

#include <algorithm>
#include <cmath>

namespace heed {

/// Queries that are keys too, and values: `qk [n, d]`, `v [n, d_v]` for one head.
template <class M>
struct Tied {
  M qk, v;
  template <class F, class... X>
  static auto map(F&& f, X&... x) {
    using R = decltype(f(Field{}, x.qk...));
    return Tied<R>{f(Field{"qk", Rows::queries, Width::key, false}, x.qk...),
                   f(Field{"v", Rows::keys, Width::value, false}, x.v...)};
  }
};

/// One projection for queries and keys: qk = x W_qk + b_qk, v = x W_v + b_v. Head h has the columns [h d, (h + 1) d) of
/// its field. There is no cross-attention, and every head has keys and values of its own.
template <class S>
class ProjectTied {
 public:
  using Scalar = S;
  template <class M>
  using Fields = Tied<M>;
  static constexpr bool crosses = false;

  struct Options {
    bool bias = false;
  };
  /// `wqk [d_model, heads d]`, `wv [d_model, heads d_v]`; biases `[1, columns]` or empty.
  struct Params {
    Matrix<S> wqk, wv, bqk, bv;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("wqk", x.wqk...);
      f("wv", x.wv...);
      f("bqk", x.bqk...);
      f("bv", x.bv...);
    }
  };
  struct State {};

  ProjectTied(const Options& options, const ProjectionShape& shape) : options_(options), shape_(shape) {
    require<OptionError>(shape.kv_heads == shape.heads,
                         "options.kv_heads: where queries are the keys, as many as heads expected, ", shape.heads,
                         ", came ", shape.kv_heads);
  }

  /// Normal with variance 1 / inputs; biases 0.
  Params init(Random& random) const {
    const double deviation = 1 / std::sqrt(static_cast<double>(std::max<Index>(shape_.d_model, 1)));
    const auto bias = [&](Index cols) -> Matrix<S> {
      return Matrix<S>::Zero(options_.bias ? 1 : 0, options_.bias ? cols : 0);
    };
    Params p;
    p.wqk = random_normal<S>(random, shape_.d_model, keys(), deviation);
    p.wv = random_normal<S>(random, shape_.d_model, values(), deviation);
    p.bqk = bias(keys());
    p.bv = bias(values());
    return p;
  }

  void check(const Params& p) const {
    check("wqk", p.wqk, p.bqk, keys());
    check("wv", p.wv, p.bv, values());
  }

  std::size_t scratch(Index rows, Index) const {
    return std::max(affine_scratch<S>(rows, shape_.d_model, keys()), affine_scratch<S>(rows, shape_.d_model, values()));
  }

  void forward(const Params& p, ConstView<S> x, ConstView<S>, const Batch& batch, Fields<Buffer<S>>& fields,
               Workers& workers) const {
    affine<S>(batch.q, x, p.wqk, p.bqk, fields.qk.resize(x.rows(), keys()), workers);
    affine<S>(batch.q, x, p.wv, p.bv, fields.v.resize(x.rows(), values()), workers);
  }

  void backward(const Params& p, ConstView<S> x, ConstView<S>, const Batch& batch, const Fields<Buffer<S>>& dfields,
                Params& g, View<S> dx, View<S>, Workers& workers) const {
    affine_backward<S>(batch.q, x, p.wqk, dfields.qk.view(), g.wqk, g.bqk, dx, workers);
    affine_backward<S>(batch.q, x, p.wv, dfields.v.view(), g.wv, g.bv, dx, workers);
  }

  State start(Index) const { return {}; }
  void step(const Params& p, State&, ConstView<S> x, const Batch& batch, Fields<Buffer<S>>& fields,
            Workers& workers) const {
    forward(p, x, x, batch, fields, workers);
  }

 private:
  Index keys() const { return shape_.heads * shape_.key_dim; }
  Index values() const { return shape_.heads * shape_.value_dim; }
  void check(const char* name, const Matrix<S>& w, const Matrix<S>& b, Index cols) const {
    require<ShapeError>(w.rows() == shape_.d_model && w.cols() == cols, "weights.projection.", name, ": [",
                        shape_.d_model, ", ", cols, "] expected, came [", w.rows(), ", ", w.cols(), "]");
    const Index n = options_.bias ? cols : 0;
    require<ShapeError>(b.rows() == (n > 0) && b.cols() == n, "weights.projection: the bias of ", name, ": [", n > 0,
                        ", ", n, "] expected, came [", b.rows(), ", ", b.cols(), "]");
  }

  Options options_;
  ProjectionShape shape_;
};
static_assert(FieldProjection<ProjectTied<float>>);

}  // namespace heed
