// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/kernels/affine.hpp>
#include <heed/kernels/causal_convolution.hpp>
#include <heed/projections/qkv_weights.hpp>

#include <algorithm>

namespace heed {

/// Convolutional self-attention (Li et al. 2019, arXiv 1907.00235, section 4.1): queries and keys are causal convolutions
/// of the tokens, so that they match by the shape of what came before; values are point-wise.
///
///   q_t = b_q + sum_{s < kernel} x_{t-s} W_q[kernel - 1 - s],  k_t likewise,  v_t = b_v + x_t W_v,
///
/// with zeros before the first token of each sequence. A kernel of 1 is ProjectQkv.
template <class S>
class ConvolveQkv {
 public:
  using Scalar = S;
  template <class M>
  using Fields = Qkv<M>;
  static constexpr bool crosses = false;

  struct Options {
    bool bias = false;
    Index kernel = 9;  ///< tokens that a query or a key is made from, its own included
  };
  /// `wq [kernel d_model, heads d]` and `wk [kernel d_model, kv_heads d]` hold one map per token of the kernel one below
  /// the other, the oldest first; `wv [d_model, kv_heads d_v]`; biases `[1, columns]` or empty.
  using Params = QkvWeights<S>;
  /// The last kernel - 1 tokens of every sequence.
  struct State {
    Matrix<S> past;
  };

  ConvolveQkv(const Options& options, const ProjectionShape& shape) : options_(options), shape_(shape) {
    require<OptionError>(options.kernel >= 1, "options.projection.kernel: at least 1 expected, came ", options.kernel);
  }

  /// Normal with variance 1 / inputs; biases 0.
  Params init(Random& random) const { return weights().template init<S>(random); }
  void check(const Params& p) const { weights().check(p); }

  std::size_t scratch(Index rows, Index) const {
    return std::max({affine_scratch<S>(rows, shape_.d_model, queries()),
                     affine_scratch<S>(rows, shape_.d_model, keys()),
                     affine_scratch<S>(rows, shape_.d_model, values())});
  }

  void forward(const Params& p, ConstView<S> x, ConstView<S>, const Batch& batch, Fields<Buffer<S>>& fields,
               Workers& workers) const {
    make(p, x, batch, nullptr, fields, workers);
  }

  void backward(const Params& p, ConstView<S> x, ConstView<S>, const Batch& batch, const Fields<Buffer<S>>& dfields,
                Params& g, View<S> dx, View<S>, Workers& workers) const {
    causal_convolution_backward<S>(batch.q, x, p.wq, dfields.q.view(), g.wq, g.bq, dx, workers);
    causal_convolution_backward<S>(batch.q, x, p.wk, dfields.k.view(), g.wk, g.bk, dx, workers);
    affine_backward<S>(batch.q, x, p.wv, dfields.v.view(), g.wv, g.bv, dx, workers);
  }

  State start(Index sequences) const { return {Matrix<S>::Zero(sequences * (options_.kernel - 1), shape_.d_model)}; }
  void step(const Params& p, State& state, ConstView<S> x, const Batch& batch, Fields<Buffer<S>>& fields,
            Workers& workers) const {
    make(p, x, batch, &state.past, fields, workers);
    remember_past<S>(batch.q, x, state.past);
  }

 private:
  Index queries() const { return shape_.heads * shape_.key_dim; }
  Index keys() const { return shape_.kv_heads * shape_.key_dim; }
  Index values() const { return shape_.kv_heads * shape_.value_dim; }
  QkvWeightShape weights() const {
    const Index inputs = options_.kernel * shape_.d_model;
    return {{inputs, queries()}, {inputs, keys()}, {shape_.d_model, values()}, options_.bias};
  }
  void make(const Params& p, ConstView<S> x, const Batch& batch, const Matrix<S>* past, Fields<Buffer<S>>& fields,
            Workers& workers) const {
    causal_convolution<S>(batch.q, x, p.wq, p.bq, past, fields.q.resize(x.rows(), queries()), workers);
    causal_convolution<S>(batch.q, x, p.wk, p.bk, past, fields.k.resize(x.rows(), keys()), workers);
    affine<S>(batch.q, x, p.wv, p.bv, fields.v.resize(x.rows(), values()), workers);
  }

  Options options_;
  ProjectionShape shape_;
};
static_assert(FieldProjection<ConvolveQkv<float>>);

}  // namespace heed
