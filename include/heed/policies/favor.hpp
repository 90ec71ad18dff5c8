// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/kernels/linear_backward.hpp>
#include <heed/kernels/linear_forward.hpp>
#include <heed/kernels/linear_stream.hpp>
#include <heed/kernels/random_directions.hpp>
#include <heed/projections/qkv.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

namespace heed {

/// Linear attention by positive orthogonal random features (Performer's FAVOR+), or by any feature map phi >= 0.
///
///   o_i = sum_j p_ij v_j,  p_ij = phi(q_i).phi(k_j) / D_i,  D_i = sum_j phi(q_i).phi(k_j),  lse_i = log D_i
///
/// with, by default, m features phi_r(x) = e^(w_r.x' - |x'|^2 / 2) / sqrt(m), x' = sqrt(scale) x, whose products have the
/// mean e^(scale q.k). Products are taken in the order phi(Q) (phi(K)^T V), causal ones chunk by chunk.
///
/// Cost:        m (d + d_v) multiply-adds per query and per key; saves nothing but output and log-sum-exp. A stream holds
///              m (d_v + 3) numbers, however long it is (twice, if it takes chunks of more than one token), and
///              what taking a chunk of keys needs.
/// Exactness:   the kernel phi(q).phi(k) exactly. It is an unbiased estimate of e^(scale q.k), whose relative standard
///              deviation is below sqrt((e^(|q' + k'|^2) - 1) / m). Causality is strict.
/// Paper:       Choromanski et al. 2020, arXiv 2009.14794: lemma 1, algorithm 1, equation 11. Bounded features:
///              Likhosherstov et al. 2022, arXiv 2205.15317. elu + 1: Katharopoulos et al. 2020, arXiv 2006.16236.
/// Limitation:  the error grows exponentially with the squared norms of queries and keys: models have to be trained with
///              it.
///
/// The sums over keys are stabilised with a reference per feature that follows the keys met so far (kernels/
/// linear_sums.hpp), which cancels: no epsilon is needed, denominators never underflow, no later key touches an earlier
/// row, and gradients are exact. An `epsilon` of the map is added to the features themselves, not after a data-dependent
/// maximum was subtracted, as the authors' code does.
///
/// Features of a map must be finite and not negative. A key with one that is not makes NaN of every row that sees it, a
/// query of its own row; so does a row whose features are all 0 against those of the keys it sees.
template <class S, FeatureMap<S> Map = SoftmaxFeatures>
class Favor {
 public:
  static constexpr std::string_view name = "Favor";
  static constexpr About about{"n m time, n memory", "unbiased estimate", "Choromanski et al. 2020, arXiv 2009.14794"};
  using Scalar = S;
  template <class M>
  using Fields = Qkv<M>;
  using Projection = ProjectQkv<S>;

  struct Options {
    Index features = 256;      ///< directions m, where the map projects
    bool causal = false;       ///< row i of n_q sees keys j <= i + n_k - n_q only
    std::optional<S> scale{};  ///< of q.k, positive; if not given 1 / sqrt(d) for softmax features, 1 for others
    bool orthogonal = true;    ///< directions are orthogonal in blocks of d: less variance
    bool fixed_norms = false;  ///< directions have the norm sqrt(d) instead of that of a normal vector (SMREG)
    /// What the directions are drawn from: a part of the model, as are its weights. To redraw, make a layer with another
    /// seed; it takes the same weights. Never between forward and backward, or within a stream.
    std::uint64_t seed = 1;
    Map map{};               ///< the feature map
    Matrix<S> directions{};  ///< [features, d] of a trained model, instead of drawn ones
  };
  using Params = NoParams;
  using Shared = NoParams;
  struct Context {};
  struct Cache {};
  using State = LinearStream<S>;

  static std::vector<Preset<Options>> presets() {
    return {{"m:256", {}},
            {"m:256", {.causal = true}},
            {"m:64", {.features = 64}, 65536, true},
            {"m:128", {.features = 128}, 65536, true},
            {"m:512", {.features = 512}, 65536, true},
            {"m:1024", {.features = 1024}, 65536, true}};
  }

  Favor(const Options& options, HeadShape shape)
      : options_(checked(options, shape)),
        shape_(shape),
        directions_(draw(options, shape.key_dim)),
        features_(options.map, directions_, scale(options, shape.key_dim), shape.key_dim) {}

  HeadShape shape() const { return shape_; }
  /// The directions [m, d]; empty where the map does not project.
  const Matrix<S>& directions() const { return directions_; }
  Causality causality() const { return options_.causal ? Causality::strict : Causality::none; }
  Cost cost(CallShape call) const {
    const bool none = call.queries == 0 || call.keys == 0;
    const double n_q =
        none ? 0 : static_cast<double>(options_.causal ? std::min(call.queries, call.keys) : call.queries);
    const double n_k = none ? 0 : static_cast<double>(call.keys);
    const double project = Map::projects ? static_cast<double>(features_.directions() * shape_.key_dim) : 0;
    const double sums = static_cast<double>(features_.width() * shape_.value_dim);
    Cost c;
    c.forward = (n_q + n_k) * (project + sums);
    c.backward = n_q * (2 * project + 2 * sums) + n_k * (2 * project + 3 * sums);
    const Index stride = features_.stride(), d = shape_.key_dim, d_v = shape_.value_dim;
    c.forward_scratch = linear_forward_scratch<S>(stride, d, d_v, options_.causal);
    c.backward_scratch = linear_backward_scratch<S>(stride, d, d_v, options_.causal);
    return c;
  }

  Params init(Random&) const { return {}; }
  Shared init_shared(Random&) const { return {}; }
  void check(const Head<Favor>&, CallShape) const {}
  void reserve(CallShape, Cache&) const {}

  void forward(const Head<Favor>&, const Qkv<ConstView<S>>& in, Out<S> out, Cache&, Arena& scratch) const {
    linear_forward(features_, options_.causal, in, out, scratch);
  }
  void backward(const Head<Favor>&, const Qkv<ConstView<S>>& in, ConstOut<S> out, ConstOut<S> dout, const Cache&,
                const Qkv<View<S>>& din, const HeadGradient<Favor>&, Arena& scratch) const {
    linear_backward(features_, options_.causal, in, out, dout, din, scratch);
  }

  State start(Index /*capacity*/, Index longest_chunk) const {
    require<OptionError>(options_.causal, "options.causal: a stream only sees its past; causal = true expected");
    return State(features_.stride(), shape_.key_dim, shape_.value_dim, longest_chunk);
  }
  void append(const Head<Favor>&, State& state, const Qkv<ConstView<S>>& in) const {
    linear_append(features_, state, in.k, in.v);
  }
  void attend(const Head<Favor>&, const State& state, const Qkv<ConstView<S>>& in, Out<S> out, Arena& scratch) const {
    linear_attend(features_, state, in, out, scratch);
  }

 private:
  static const Options& checked(const Options& o, HeadShape shape) {
    if (Map::projects)
      require<OptionError>(o.features >= 1, "options.features: at least 1 expected, came ", o.features);
    require<OptionError>(!o.scale || (std::isfinite(*o.scale) && *o.scale > 0),
                         "options.scale: a positive number expected, came ", o.scale.value_or(S(0)));
    if (o.directions.size() > 0)
      require<OptionError>(Map::projects && o.directions.rows() == o.features && o.directions.cols() == shape.key_dim &&
                               o.directions.allFinite(),
                           "options.directions: ", Map::projects ? o.features : 0, " rows of ", shape.key_dim,
                           " finite numbers expected, came ", o.directions.rows(), " of ", o.directions.cols());
    if constexpr (requires { o.map.check(); }) o.map.check();
    return o;
  }
  static Matrix<S> draw(const Options& o, Index d) {
    if (!Map::projects || o.directions.size() > 0) return o.directions;
    // A stream of their own: whoever draws weights from the same seed must not get the same numbers.
    constexpr std::uint64_t favor = 0x6661766f72;
    return random_directions<S>(Random(o.seed).stream(favor), o.features, d, o.orthogonal, o.fixed_norms);
  }
  static S scale(const Options& o, Index d) {
    constexpr bool softmax = FeatureRows<S, Map>::logarithmic;
    return o.scale.value_or(softmax ? 1 / std::sqrt(static_cast<S>(std::max<Index>(d, 1))) : S(1));
  }

  Options options_;
  HeadShape shape_;
  Matrix<S> directions_;
  FeatureRows<S, Map> features_;
};
static_assert(RegisteredPolicy<Favor<float>> && StreamingPolicy<Favor<float>>);
static_assert(AttentionPolicy<Favor<float, ReluFeatures>> && AttentionPolicy<Favor<float, EluFeatures>>);

}  // namespace heed
