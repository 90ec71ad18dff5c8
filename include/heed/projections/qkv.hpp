// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/kernels/affine.hpp>

#include <algorithm>
#include <cmath>

namespace heed {

/// The usual projection: q = x W_q + b_q, k = memory W_k + b_k, v = memory W_v + b_v. Head h has the columns
/// [h d, (h + 1) d) of its field; keys and values have one block per key/value head.
template <class S>
class ProjectQkv {
 public:
  using Scalar = S;
  template <class M>
  using Fields = Qkv<M>;
  static constexpr bool crosses = true;

  struct Options {
    bool bias = false;
  };
  /// `wq [d_model, heads d]`, `wk [d_memory, kv_heads d]`, `wv [d_memory, kv_heads d_v]`; biases `[1, columns]` or
  /// empty.
  struct Params {
    Matrix<S> wq, wk, wv, bq, bk, bv;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("wq", x.wq...);
      f("wk", x.wk...);
      f("wv", x.wv...);
      f("bq", x.bq...);
      f("bk", x.bk...);
      f("bv", x.bv...);
    }
  };
  struct State {};

  ProjectQkv(const Options& options, const ProjectionShape& shape) : options_(options), shape_(shape) {}

  /// Normal with variance 1 / inputs; biases 0.
  Params init(Random& random) const {
    const auto weight = [&](Index rows, Index cols) {
      return random_normal<S>(random, rows, cols, 1 / std::sqrt(static_cast<double>(std::max<Index>(rows, 1))));
    };
    const auto bias = [&](Index cols) -> Matrix<S> {
      return Matrix<S>::Zero(options_.bias ? 1 : 0, options_.bias ? cols : 0);
    };
    Params p;
    p.wq = weight(shape_.d_model, queries());
    p.wk = weight(shape_.d_memory, keys());
    p.wv = weight(shape_.d_memory, values());
    p.bq = bias(queries());
    p.bk = bias(keys());
    p.bv = bias(values());
    return p;
  }

  /// `where`: what errors call the parameters.
  void check(const Params& p, const char* where = "weights.projection") const {
    check(where, "wq", p.wq, p.bq, shape_.d_model, queries());
    check(where, "wk", p.wk, p.bk, shape_.d_memory, keys());
    check(where, "wv", p.wv, p.bv, shape_.d_memory, values());
  }

  std::size_t scratch(Index q_rows, Index k_rows) const {
    return std::max({affine_scratch<S>(q_rows, shape_.d_model, queries()),
                     affine_scratch<S>(k_rows, shape_.d_memory, keys()),
                     affine_scratch<S>(k_rows, shape_.d_memory, values())});
  }

  /// `F`: these fields, or others that have `q`, `k` and `v`, for projections that make more.
  template <class F>
  void forward(const Params& p, ConstView<S> x, ConstView<S> memory, const Batch& batch, F& fields,
               Workers& workers) const {
    affine<S>(batch.q, x, p.wq, p.bq, fields.q.resize(x.rows(), queries()), workers);
    affine<S>(batch.k, memory, p.wk, p.bk, fields.k.resize(memory.rows(), keys()), workers);
    affine<S>(batch.k, memory, p.wv, p.bv, fields.v.resize(memory.rows(), values()), workers);
  }

  template <class F>
  void backward(const Params& p, ConstView<S> x, ConstView<S> memory, const Batch& batch, const F& dfields, Params& g,
                View<S> dx, View<S> dmemory, Workers& workers) const {
    affine_backward<S>(batch.q, x, p.wq, dfields.q.view(), g.wq, g.bq, dx, workers);
    affine_backward<S>(batch.k, memory, p.wk, dfields.k.view(), g.wk, g.bk, dmemory, workers);
    affine_backward<S>(batch.k, memory, p.wv, dfields.v.view(), g.wv, g.bv, dmemory, workers);
  }

  State start(Index) const { return {}; }
  void step(const Params& p, State&, ConstView<S> x, const Batch& batch, Fields<Buffer<S>>& fields,
            Workers& workers) const {
    forward(p, x, x, batch, fields, workers);
  }

 private:
  Index queries() const { return shape_.heads * shape_.key_dim; }
  Index keys() const { return shape_.kv_heads * shape_.key_dim; }
  Index values() const { return shape_.kv_heads * shape_.value_dim; }
  void check(const char* where, const char* name, const Matrix<S>& w, const Matrix<S>& b, Index rows,
             Index cols) const {
    require<ShapeError>(w.rows() == rows && w.cols() == cols, where, ".", name, ": [", rows, ", ", cols,
                        "] expected, came [", w.rows(), ", ", w.cols(), "]");
    const Index n = options_.bias ? cols : 0;
    require<ShapeError>(b.rows() == (n > 0) && b.cols() == n, where, ": the bias of ", name, ": [", n > 0, ", ", n,
                        "] expected, came [", b.rows(), ", ", b.cols(), "]");
  }

  Options options_;
  ProjectionShape shape_;
};
static_assert(FieldProjection<ProjectQkv<float>>);

}  // namespace heed
