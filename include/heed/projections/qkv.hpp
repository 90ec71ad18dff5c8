// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/kernels/affine.hpp>
#include <heed/projections/qkv_weights.hpp>

#include <algorithm>

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
  using Params = QkvWeights<S>;
  struct State {};

  ProjectQkv(const Options& options, const ProjectionShape& shape) : options_(options), shape_(shape) {}

  /// Normal with variance 1 / inputs; biases 0.
  Params init(Random& random) const { return weights().template init<S>(random); }
  /// `where`: what errors call the parameters.
  void check(const Params& p, const char* where = "weights.projection") const { weights().check(p, where); }

  std::size_t scratch(Index q_rows, Index k_rows) const {
    return std::max({affine_scratch<S>(q_rows, shape_.d_model, queries()),
                     affine_scratch<S>(k_rows, shape_.d_memory, keys()),
                     affine_scratch<S>(k_rows, shape_.d_memory, values())});
  }

  /// `F`: these fields, or others that have `q`, `k` and `v`, for projections that make more.
  template <class F>
  void forward(const Params& p, ConstView<S> x, ConstView<S> memory, const Batch& batch, F& fields,
               Workers& workers) const {
    project_queries(p, x, batch, fields, workers);
    project_keys(p, memory, batch, fields, workers);
  }
  template <class F>
  void project_queries(const Params& p, ConstView<S> x, const Batch& batch, F& fields, Workers& workers) const {
    affine<S>(batch.q, x, p.wq, p.bq, fields.q.resize(x.rows(), queries()), workers);
  }
  template <class F>
  void project_keys(const Params& p, ConstView<S> memory, const Batch& batch, F& fields, Workers& workers) const {
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
  QkvWeightShape weights() const {
    return {{shape_.d_model, queries()}, {shape_.d_memory, keys()}, {shape_.d_memory, values()}, options_.bias};
  }

  Options options_;
  ProjectionShape shape_;
};
static_assert(SplitProjection<ProjectQkv<float>>);

}  // namespace heed
