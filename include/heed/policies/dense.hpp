// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/kernels/bias_term.hpp>
#include <heed/kernels/logits.hpp>
#include <heed/kernels/product.hpp>
#include <heed/kernels/seen_product.hpp>
#include <heed/patterns/causal.hpp>
#include <heed/patterns/count.hpp>
#include <heed/projections/qkv.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

namespace heed {

/// Dense attention, the textbook: every score, one softmax per row, and weights that can be looked at.
///
///   o_i = sum_j p_ij v_j,  p_i = softmax_j(t(scale q_i.k_j) + b_ij),  t = soft cap or identity, b = bias and ALiBi
///
/// Cost:        n_q n_k (d + d_v) multiply-adds; saves n_q n_k weights per head. No streaming.
/// Exactness:   exact.
/// Paper:       Vaswani et al. 2017, arXiv 1706.03762, equation 1.
/// Limitation:  memory grows with n^2. Tiled gives the same numbers, faster, without it.
template <class S>
class Dense {
 public:
  static constexpr std::string_view name = "Dense";
  static constexpr About about{"n^2 time, n^2 memory", "exact", "Vaswani et al. 2017, arXiv 1706.03762"};
  using Scalar = S;
  template <class M>
  using Fields = Qkv<M>;
  using Projection = ProjectQkv<S>;

  struct Options {
    bool causal = false;       ///< row i of n_q sees keys j <= i + n_k - n_q
    std::optional<S> scale{};  ///< of q.k; 1 / sqrt(d) if not given
    S soft_cap = 0;            ///< cap tanh(u / cap) on scaled scores; 0 for none
    std::vector<S> alibi{};    ///< one slope per head (see `alibi_slopes`), or none
  };
  using Params = NoParams;
  using Shared = NoParams;
  using Context = ScoreBias<S>;
  /// The attention weights `[n_q, n_k]`, exactly 0 where nothing is seen.
  struct Cache {
    Buffer<S> weights;
  };

  static std::vector<Preset<Options>> presets() { return {{"", {}, 4096}, {"", {.causal = true}, 4096}}; }

  Dense(const Options& options, HeadShape shape)
      : options_(options), shape_(shape), logits_(make_logits(options.scale, options.soft_cap, shape.key_dim)) {
    check_alibi(options.alibi, shape.heads);
  }

  HeadShape shape() const { return shape_; }
  Causality causality() const { return options_.causal ? Causality::strict : Causality::none; }
  Cost cost(CallShape call) const {
    const double pairs = static_cast<double>(visible_pairs(Causal{options_.causal}, call.queries, call.keys));
    const double d = static_cast<double>(shape_.key_dim), d_v = static_cast<double>(shape_.value_dim);
    const Index n_q = call.queries, n_k = call.keys;
    Cost c;
    c.forward = pairs * (d + d_v);
    c.backward = pairs * (3 * d + 2 * d_v);
    c.saved = static_cast<std::size_t>(n_q * n_k) * sizeof(S);
    const Index d_max = std::max(shape_.key_dim, shape_.value_dim), n_max = std::max(n_q, n_k);
    const std::size_t products =
        seen_product_scratch<S>(n_max, d_max) +
        std::max({product_scratch<S>(Form::abt, n_q, d_max, n_k), product_scratch<S>(Form::ab, n_q, n_k, d_max),
                  product_scratch<S>(Form::atb, n_k, n_q, d_max)});
    c.forward_scratch = products;
    c.backward_scratch = Arena::size_of<S>(n_q * n_k) * (logits_.soft_cap > 0 ? 2 : 1) + products;
    return c;
  }

  Params init(Random&) const { return {}; }
  Shared init_shared(Random&) const { return {}; }
  void check(const Head<Dense>& h, CallShape call) const { h.context.check(h.sequence, h.head, shape_.heads, call); }
  void reserve(CallShape call, Cache& cache) const { cache.weights.reserve(call.queries * call.keys); }

  void forward(const Head<Dense>& h, const Qkv<ConstView<S>>& in, Out<S> out, Cache& cache, Arena& scratch) const {
    const Index n_q = in.q.rows(), n_k = in.k.rows(), shift = n_k - n_q;
    const BiasTerm<S> bias = term(h);
    View<S> p = cache.weights.resize(n_q, n_k);
    product<Form::abt, S>(Into::assign, in.q, in.k, p, scratch);
    for (Index i = 0; i < n_q; ++i) {
      S m = -std::numeric_limits<S>::infinity(), sum = 0;
      for (Index j = 0; j < n_k; ++j)
        if (seen(bias, shift, i, j)) {
          p(i, j) = logits_(p(i, j)) + bias.at(i, i + shift, j);
          m = p(i, j) > m ? p(i, j) : m;
        }
      if (m == -std::numeric_limits<S>::infinity()) m = 0;  // -inf - -inf is NaN
      for (Index j = 0; j < n_k; ++j) {
        p(i, j) = seen(bias, shift, i, j) ? std::exp(p(i, j) - m) : S(0);
        sum += p(i, j);
      }
      const bool empty = sum == 0;
      for (Index j = 0; j < n_k; ++j)  // what is not seen stays 0, even where the sum is NaN
        if (p(i, j) != 0) p(i, j) /= sum;
      out.lse(i) = empty ? -std::numeric_limits<S>::infinity() : m + std::log(sum);
    }
    seen_product<Form::ab, S>(
        Into::assign, view(p), in.v, out.o, [&](Index i, Index j) { return seen(bias, shift, i, j); }, scratch);
  }

  void backward(const Head<Dense>& h, const Qkv<ConstView<S>>& in, ConstOut<S> out, ConstOut<S> dout,
                const Cache& cache, const Qkv<View<S>>& din, const HeadGradient<Dense>&, Arena& scratch) const {
    const Index n_q = in.q.rows(), n_k = in.k.rows(), shift = n_k - n_q;
    const BiasTerm<S> bias = term(h);
    const auto sees = [&](Index i, Index j) { return seen(bias, shift, i, j); };
    const ConstView<S> p = cache.weights.view();
    View<S> ds = scratch.matrix<S>(n_q, n_k);

    seen_product<Form::atb, S>(Into::add, p, dout.o, din.v, sees, scratch);  // o = P v
    product<Form::abt, S>(Into::assign, dout.o, in.v, ds, scratch);          // dP
    for (Index i = 0; i < n_q; ++i) {                                        // dE = p (dP - D + dlse)
      S d = dout.lse.size() > 0 ? -dout.lse(i) : S(0);
      for (Index c = 0; c < out.o.cols(); ++c) d += dout.o(i, c) * out.o(i, c);
      for (Index j = 0; j < n_k; ++j) ds(i, j) = sees(i, j) ? p(i, j) * (ds(i, j) - d) : S(0);
    }
    if (!h.context.gradient.empty()) {
      const BiasBlock<S> g = h.context.gradient[h.context.index(h.sequence, h.head, shape_.heads)];
      for (Index i = 0; i < n_q; ++i)
        for (Index j = 0; j < n_k; ++j) g(i, j) += ds(i, j);
    }
    if (logits_.soft_cap > 0) {  // t = cap tanh(u / cap)
      const Arena::Frame frame(scratch);
      View<S> u = scratch.matrix<S>(n_q, n_k);
      product<Form::abt, S>(Into::assign, in.q, in.k, u, scratch);
      for (Index i = 0; i < n_q; ++i)
        for (Index j = 0; j < n_k; ++j)
          if (sees(i, j)) ds(i, j) *= logits_.slope(logits_(u(i, j)));
    }
    ds *= logits_.scale;  // u = scale q k^T
    seen_product<Form::ab, S>(Into::add, view(ds), in.k, din.q, sees, scratch);
    seen_product<Form::atb, S>(Into::add, view(ds), in.q, din.k, sees, scratch);
  }

 private:
  BiasTerm<S> term(const Head<Dense>& h) const { return {h.context, options_.alibi, h.sequence, h.head, shape_.heads}; }
  bool seen(const BiasTerm<S>& bias, Index shift, Index i, Index j) const {
    return (!options_.causal || j <= i + shift) && bias.at(i, i + shift, j) != -std::numeric_limits<S>::infinity();
  }

  Options options_;
  HeadShape shape_;
  Logits<S> logits_;
};
static_assert(RegisteredPolicy<Dense<float>>);

}  // namespace heed
