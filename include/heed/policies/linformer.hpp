// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/kernels/logits.hpp>
#include <heed/kernels/product.hpp>
#include <heed/kernels/score_terms.hpp>
#include <heed/kernels/softmax_backward.hpp>
#include <heed/kernels/softmax_forward.hpp>
#include <heed/patterns/full.hpp>
#include <heed/projections/qkv.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

namespace heed {

/// Who uses the same E and F. What heads share lives in `Shared`, and whoever owns that decides how far the sharing
/// goes: `Owning` around an attention shares it among its heads, around a stack among all its layers ("layerwise").
enum class LinformerSharing {
  none,      ///< every head has its own E and F
  headwise,  ///< all heads have one E and one F
  key_value  ///< all heads have one E, for keys and values
};

/// What E is.
enum class LengthProjection {
  learned,     ///< E [max_length, k]
  mean,        ///< slot r is the mean of its rows [r w, (r + 1) w), w = max_length / k rounded up; nothing is learned
  convolution  ///< of width and stride w: slot r is sum_i e_i x_(r w + i), one learned e [w, 1] for all channels
};

namespace detail {

/// Keys and values [n, d] to slots E^T K and F^T V [slots(n), d], for n up to the maximum; shorter lengths take the
/// first n rows of E and F. Slots of a mean or a convolution that no row falls in are not there; a mean is taken over
/// the rows that are.
template <class S>
class ProjectLength {
 public:
  ProjectLength(LengthProjection kind, Index k, Index max_length)
      : kind_(kind), k_(k), max_length_(max_length), width_((max_length - 1) / k + 1) {}

  Index slots(Index n) const { return learned() ? (n > 0 ? k_ : 0) : (n + width_ - 1) / width_; }
  Index rows() const { return learned() ? max_length_ : kind_ == LengthProjection::mean ? 0 : width_; }
  Index cols() const { return learned() ? k_ : kind_ == LengthProjection::mean ? 0 : 1; }
  /// Normal; slots are of the size of the rows at the full length. The variance is Glorot's with gain 1 / sqrt(2).
  Matrix<S> init(Random& random) const {
    const double inputs = static_cast<double>(learned() ? max_length_ + k_ : width_);
    return random_normal<S>(random, rows(), cols(), 1 / std::sqrt(inputs));
  }
  /// Multiply-adds for n rows of one channel.
  double forward_work(Index n) const { return static_cast<double>(n) * (learned() ? static_cast<double>(k_) : 1.0); }
  double backward_work(Index n) const { return (kind_ == LengthProjection::mean ? 1 : 2) * forward_work(n); }
  std::size_t scratch(Index n, Index d) const {
    const Index rows = std::min(n, learned() ? rows_at_once : width_);
    if (learned())
      return std::max({product_scratch<S>(Form::atb, k_, rows, d), product_scratch<S>(Form::ab, rows, k_, d),
                       product_scratch<S>(Form::abt, rows, d, k_)});
    return Arena::size_of<S>(rows) +
           std::max(product_scratch<S>(Form::ab, 1, rows, d), product_scratch<S>(Form::ab, rows, 1, d));
  }

  /// to_k = E^T k, to_v = F^T v
  void forward(const Matrix<S>& e, const Matrix<S>& f, ConstView<S> k, ConstView<S> v, View<S> to_k, View<S> to_v,
               Arena& scratch) const {
    for (Index row = 0, rows; learned() && row < k.rows(); row += rows) {
      rows = std::min(rows_at_once, k.rows() - row);
      const Into into = row == 0 ? Into::assign : Into::add;
      product<Form::atb, S>(into, block(e, row, 0, rows, k_), block(k, row, 0, rows, k.cols()), to_k, scratch);
      product<Form::atb, S>(into, block(f, row, 0, rows, k_), block(v, row, 0, rows, v.cols()), to_v, scratch);
    }
    if (learned()) return;
    pool(e, k, to_k, scratch);
    pool(f, v, to_v, scratch);
  }
  /// dk += E dto_k, dv += F dto_v, de += k dto_k^T, df += v dto_v^T; de and df may be one.
  void backward(const Matrix<S>& e, const Matrix<S>& f, ConstView<S> k, ConstView<S> v, ConstView<S> dto_k,
                ConstView<S> dto_v, View<S> dk, View<S> dv, Matrix<S>& de, Matrix<S>& df, Arena& scratch) const {
    for (Index row = 0, rows; learned() && row < k.rows(); row += rows) {
      rows = std::min(rows_at_once, k.rows() - row);
      product<Form::ab, S>(Into::add, block(e, row, 0, rows, k_), dto_k, block(dk, row, 0, rows, k.cols()), scratch);
      product<Form::ab, S>(Into::add, block(f, row, 0, rows, k_), dto_v, block(dv, row, 0, rows, v.cols()), scratch);
      product<Form::abt, S>(Into::add, block(k, row, 0, rows, k.cols()), dto_k, block(de, row, 0, rows, k_), scratch);
      product<Form::abt, S>(Into::add, block(v, row, 0, rows, v.cols()), dto_v, block(df, row, 0, rows, k_), scratch);
    }
    if (learned()) return;
    pull_pool(e, k, dto_k, dk, de, scratch);
    pull_pool(f, v, dto_v, dv, df, scratch);
  }

 private:
  bool learned() const { return kind_ == LengthProjection::learned; }

  void pool(const Matrix<S>& e, ConstView<S> x, View<S> to, Arena& scratch) const {
    each_slot(e, x.rows(), scratch, [&](Index r, Index row, ConstView<S> weights) {
      product<Form::ab, S>(Into::assign, weights, block(x, row, 0, weights.cols(), x.cols()),
                           block(to, r, 0, 1, x.cols()), scratch);
    });
  }
  void pull_pool(const Matrix<S>& e, ConstView<S> x, ConstView<S> dto, View<S> dx, Matrix<S>& de,
                 Arena& scratch) const {
    each_slot(e, x.rows(), scratch, [&](Index r, Index row, ConstView<S> weights) {
      const Index w = weights.cols(), d = x.cols();
      const ConstView<S> dslot = block(dto, r, 0, 1, d), column(weights.data(), w, 1, Eigen::OuterStride<>(1));
      product<Form::ab, S>(Into::add, column, dslot, block(dx, row, 0, w, d), scratch);
      if (kind_ == LengthProjection::convolution)
        product<Form::abt, S>(Into::add, dslot, block(x, row, 0, w, d),
                              View<S>(de.data(), 1, w, Eigen::OuterStride<>(w)), scratch);
    });
  }
  /// Calls f(slot, first row, weights [1, rows]) for every slot of n rows.
  template <class F>
  void each_slot(const Matrix<S>& e, Index n, Arena& scratch, const F& f) const {
    const Arena::Frame frame(scratch);
    const bool mean = kind_ == LengthProjection::mean;
    S* const equal = mean ? scratch.take<S>(std::min(n, width_)) : nullptr;
    for (Index r = 0, row = 0; row < n; ++r, row += width_) {
      const Index rows = std::min(width_, n - row);
      if (mean) std::fill_n(equal, rows, 1 / static_cast<S>(rows));
      f(r, row, ConstView<S>(mean ? equal : e.data(), 1, rows, Eigen::OuterStride<>(rows)));
    }
  }

  /// Rows of E that stay in the second cache until all that reads them has: where F is E, it comes from memory once.
  static constexpr Index rows_at_once = block_rows;

  LengthProjection kind_;
  Index k_, max_length_, width_;
};

/// E and F, and E alone.
template <class S>
struct LengthProjections {
  Matrix<S> e, f;
  template <class F, class... X>
  static void visit(F&& g, X&... x) {
    g("e", x.e...);
    g("f", x.f...);
  }
};
template <class S>
struct OneLengthProjection {
  Matrix<S> e;
  template <class F, class... X>
  static void visit(F&& g, X&... x) {
    g("e", x.e...);
  }
};

}  // namespace detail

/// Attention to k slots, into which keys and values are projected along the sequence (Linformer).
///
///   K~ = E^T K,  V~ = F^T V,  o_i = sum_r p_ir v~_r,  p_i = softmax_r(scale q_i.k~_r);  E, F: [n_k, k], the first n_k
///   rows of matrices learned for the longest sequence.
///
/// Cost:        2 n_k k (d + d_v) multiply-adds for n_q = n_k, n_k + n_q times k (d + d_v) in general; saves K~ and V~,
///              k (d + d_v) numbers per head. No stream. The calls of one head are not cut into tasks.
/// Exactness:   an approximation of rank k; dense attention at k = n_k with E = F = identity.
/// Paper:       Wang et al. 2020, arXiv 2006.04768, equation 7, its ways to share and its general projections.
/// Limitation:  every slot mixes all positions, so it cannot be causal, and NaN in one key or value reaches all rows;
///              the longest length is fixed with the weights.
template <class S, LinformerSharing sharing = LinformerSharing::key_value>
class Linformer {
 public:
  static constexpr std::string_view name = "Linformer";
  static constexpr About about{"n k time, n memory", "approximation of rank k", "Wang et al. 2020, arXiv 2006.04768"};
  using Scalar = S;
  template <class M>
  using Fields = Qkv<M>;
  using Projection = ProjectQkv<S>;

  /// Layers that do not share E may have different k.
  struct Options {
    Index k = 256;             ///< slots
    Index max_length = 512;    ///< the most keys of a sequence
    std::optional<S> scale{};  ///< of q.k~; 1 / sqrt(d) if not given
    LengthProjection length_projection = LengthProjection::learned;
  };
  /// E and F `[max_length, k]`; `[w, 1]` for a convolution, `[0, 0]` for means.
  using Params = std::conditional_t<sharing == LinformerSharing::none, detail::LengthProjections<S>, NoParams>;
  using Shared = std::conditional_t<sharing == LinformerSharing::none, NoParams,
                                    std::conditional_t<sharing == LinformerSharing::headwise,
                                                       detail::LengthProjections<S>, detail::OneLengthProjection<S>>>;
  struct Context {};
  /// K~ and V~.
  struct Cache {
    Buffer<S> k, v;
  };

  static std::vector<Preset<Options>> presets() {
    constexpr Index n = 65536;
    return {{"k:256", {.k = 256, .max_length = n}, n},
            {"k:128", {.k = 128, .max_length = n}, n, true},
            {"k:512", {.k = 512, .max_length = n}, n, true},
            {"k:1024", {.k = 1024, .max_length = n}, n, true},
            {"k:2048", {.k = 2048, .max_length = n}, n, true}};
  }

  Linformer(const Options& options, HeadShape shape)
      : options_(options),
        shape_(shape),
        logits_(make_logits(options.scale, S(0), shape.key_dim)),
        along_(options.length_projection, checked(options).k, options.max_length) {}

  HeadShape shape() const { return shape_; }
  static constexpr Causality causality() { return Causality::none; }
  Cost cost(CallShape call) const {
    const Index d = shape_.key_dim, d_v = shape_.value_dim, slots = along_.slots(call.keys);
    const double pairs = static_cast<double>(call.queries * slots), width = static_cast<double>(d + d_v);
    Cost c;
    c.forward = (along_.forward_work(call.keys) + pairs) * width;
    c.backward = along_.backward_work(call.keys) * width + pairs * static_cast<double>(3 * d + 2 * d_v);
    c.saved = static_cast<std::size_t>(slots * (d + d_v)) * sizeof(S);
    const std::size_t along = along_.scratch(call.keys, std::max(d, d_v));
    c.forward_scratch = std::max(along, softmax_forward_scratch<S>(call.queries, slots, d, d_v, false));
    c.backward_scratch = Arena::size_of<S>(slots * d) + Arena::size_of<S>(slots * d_v) +
                         std::max(along, softmax_backward_scratch<S>(call.queries, slots, d, d_v, false));
    return c;
  }

  Params init(Random& random) const { return make<Params>(random); }
  Shared init_shared(Random& random) const { return make<Shared>(random); }
  /// Throws ShapeError for more keys than max_length, and for weights of another shape.
  void check(const Head<Linformer>& h, CallShape call) const {
    require<ShapeError>(call.keys <= options_.max_length, "batch: up to max_length = ", options_.max_length,
                        " keys in a sequence expected, came ", call.keys);
    for_each(
        [&](const std::string& path, const Matrix<S>& m) {
          require<ShapeError>(m.rows() == along_.rows() && m.cols() == along_.cols(), "weights.",
                              sharing == LinformerSharing::none ? "heads." : "shared.", path, ": [", along_.rows(),
                              ", ", along_.cols(), "] expected, came [", m.rows(), ", ", m.cols(), "]");
        },
        of(h));
  }
  void reserve(CallShape call, Cache& cache) const {
    cache.k.reserve(along_.slots(call.keys) * shape_.key_dim);
    cache.v.reserve(along_.slots(call.keys) * shape_.value_dim);
  }

  void forward(const Head<Linformer>& h, const Qkv<ConstView<S>>& in, Out<S> out, Cache& cache, Arena& scratch) const {
    const Index slots = along_.slots(in.k.rows());
    View<S> k = cache.k.resize(slots, in.k.cols()), v = cache.v.resize(slots, in.v.cols());
    along_.forward(e(of(h)), f(of(h)), in.k, in.v, k, v, scratch);
    softmax_forward(Full{}, NoTerm{}, logits_, slots_of(in, cache), {0, in.q.rows()}, out, scratch);
  }
  void backward(const Head<Linformer>& h, const Qkv<ConstView<S>>& in, ConstOut<S> out, ConstOut<S> dout,
                const Cache& cache, const Qkv<View<S>>& din, const HeadGradient<Linformer>& g, Arena& scratch) const {
    const Index slots = along_.slots(in.k.rows());
    View<S> dk = scratch.matrix<S>(slots, in.k.cols()), dv = scratch.matrix<S>(slots, in.v.cols());
    dk.setZero();
    dv.setZero();
    softmax_backward(Full{}, NoTerm{}, logits_, slots_of(in, cache), out, dout, Qkv<View<S>>{din.q, dk, dv}, scratch);
    along_.backward(e(of(h)), f(of(h)), in.k, in.v, view(dk), view(dv), din.k, din.v, e(of(g)), f(of(g)), scratch);
  }

 private:
  static const Options& checked(const Options& o) {
    require<OptionError>(o.k >= 1, "options.k: at least one slot expected, came ", o.k);
    require<OptionError>(o.max_length >= 1, "options.max_length: at least 1 expected, came ", o.max_length);
    return o;
  }
  template <class M>
  M make(Random& random) const {
    M m;
    for_each_leaf([&](Matrix<S>& e) { e = along_.init(random); }, m);
    return m;
  }
  static Qkv<ConstView<S>> slots_of(const Qkv<ConstView<S>>& in, const Cache& cache) {
    return {in.q, cache.k.view(), cache.v.view()};
  }

  /// What holds E and F, of a head or of its gradient.
  template <class H>
  static auto& of(const H& h) {
    if constexpr (sharing == LinformerSharing::none)
      return h.own;
    else
      return h.shared;
  }
  template <class M>
  static auto& e(M& m) {
    return m.e;
  }
  template <class M>
  static auto& f(M& m) {
    if constexpr (sharing == LinformerSharing::key_value)
      return m.e;
    else
      return m.f;
  }

  Options options_;
  HeadShape shape_;
  Logits<S> logits_;
  detail::ProjectLength<S> along_;
};
static_assert(RegisteredPolicy<Linformer<float>> && !StreamingPolicy<Linformer<float>>);

}  // namespace heed
