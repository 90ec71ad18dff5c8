// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/heed.hpp>

#include <iostream>

/// A policy of your own: every token attends to the mean of all values so far (a causal average pooling). It works on
/// one head of one sequence; batches, heads, projections and threads are not its business.
template <class S>
class RunningMean {
 public:
  static constexpr std::string_view name = "RunningMean";
  using Scalar = S;
  template <class M>
  using Fields = heed::Qkv<M>;             // it reads queries, keys and values,
  using Projection = heed::ProjectQkv<S>;  // which the usual projection makes
  struct Options {};                       // nothing to choose,
  using Params = heed::NoParams;           // nothing learned by a head,
  using Shared = heed::NoParams;           // or by all heads,
  struct Context {};                       // no data of the caller's,
  struct Cache {};                         // nothing kept for backward

  RunningMean(const Options&, heed::HeadShape shape) : shape_(shape) {}
  heed::HeadShape shape() const { return shape_; }
  heed::Causality causality() const { return heed::Causality::strict; }
  heed::Cost cost(heed::CallShape) const { return {}; }
  Params init(heed::Random&) const { return {}; }
  Shared init_shared(heed::Random&) const { return {}; }
  void check(const heed::Head<RunningMean>&, heed::CallShape call) const {
    heed::require<heed::ShapeError>(call.queries == call.keys, "batch: as many keys as queries expected, ",
                                    call.queries, ", came ", call.keys);
  }
  void reserve(heed::CallShape, Cache&) const {}

  // o_i = (v_0 + ... + v_i) / (i + 1)
  void forward(const heed::Head<RunningMean>&, const heed::Qkv<heed::ConstView<S>>& in, heed::Out<S> out, Cache&,
               heed::Arena&) const {
    for (heed::Index i = 0; i < in.v.rows(); ++i) {
      out.o.row(i) = in.v.row(i);
      if (i > 0) out.o.row(i) += out.o.row(i - 1) * static_cast<S>(i);
      out.o.row(i) /= static_cast<S>(i + 1);
      out.lse(i) = std::log(static_cast<S>(i + 1));
    }
  }

  // dv_j += sum_{i >= j} do_i / (i + 1)
  void backward(const heed::Head<RunningMean>&, const heed::Qkv<heed::ConstView<S>>&, heed::ConstOut<S>,
                heed::ConstOut<S> dout, const Cache&, const heed::Qkv<heed::View<S>>& din,
                const heed::HeadGradient<RunningMean>&, heed::Arena&) const {
    heed::View<S> dv = din.v;
    for (heed::Index i = 0; i < dv.rows(); ++i)
      for (heed::Index j = 0; j <= i; ++j) dv.row(j) += dout.o.row(i) / static_cast<S>(i + 1);
  }

 private:
  heed::HeadShape shape_;
};
static_assert(heed::AttentionPolicy<RunningMean<float>>);

int main() {
  using Attention = heed::Attention<RunningMean<float>>;
  const Attention attention({.d_model = 32, .heads = 4});
  heed::Random random(1);
  const Attention::Params params = attention.init(random);
  const heed::Matrix<float> x = heed::random_normal<float>(random, 20, 32, 1.0);
  Attention::Cache cache;
  const heed::Matrix<float> y = attention.forward(params, x, heed::Batch::ragged({12, 8}), cache);
  Attention::Params gradient = heed::zeros_like(params);
  attention.backward(params, x, heed::Batch::ragged({12, 8}), cache, y, gradient);
  std::cout << "|y| = " << y.norm() << ", |dW_v| = " << gradient.projection.wv.norm() << "\n";
  return y.allFinite() && gradient.projection.wv.norm() > 0 ? 0 : 1;
}
