// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <layers.hpp>
#include <verdict.hpp>

/// Chunks of any size, sequence by sequence at their own pace, give the rows of the causal forward over all tokens. Both
/// round, and in another order: the stream may be twice as far as the forward from what the next wider type says, and
/// four units of rounding more.
struct StreamingEqualsBatch {
  static constexpr const char* name = "streaming_equals_batch";

  /// What a layer of policy `Wide` says of the same numbers.
  template <class Wide, class P>
  static heed::Matrix<typename Wide::Scalar> wider(const typename heed::Attention<Wide>::Options& options,
                                                   const Layer<P>& layer, const heed::Matrix<typename P::Scalar>& x,
                                                   const heed::Batch& batch) {
    using W = typename Wide::Scalar;
    Layer<Wide> wide(options);
    const auto widen = [](auto& to, const auto& from) { to = from.template cast<W>(); };
    heed::for_each_leaf(widen, wide.params, layer.params);
    heed::for_each_leaf(widen, wide.shared, layer.shared);
    return wide.forward(x.template cast<W>(), batch);
  }

  template <class P, class Wide>
  static void check(Verdict& v) {
    using S = typename P::Scalar;
    using W = typename Wide::Scalar;
    const auto all_options = layer_options<P>();
    const auto wide_options = layer_options<Wide>();
    for (std::size_t set = 0; set < all_options.size(); ++set) {
      const auto& options = all_options[set];
      Layer<P> layer(options);
      if (layer.attention.policy().causality() == heed::Causality::none) continue;
      const heed::Index n[2] = {67, 40};
      const heed::Batch all = heed::Batch::ragged({n[0], n[1]});
      const heed::Matrix<S> x = tokens<S>(n[0] + n[1], options.d_model, 9);
      const heed::Matrix<S> y = layer.forward(x, all);
      const heed::Matrix<W> expected = wider<Wide>(wide_options[set], layer, x, all);
      const W allowed =
          2 * (y.template cast<W>() - expected).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>() +
          2 * W(std::numeric_limits<S>::epsilon()) * expected.cwiseAbs().template maxCoeff<Eigen::PropagateNaN>();
      for (const int pace : {0, 1, 2}) {
        auto state = layer.attention.start(2, 67, 40);
        heed::Index at[2] = {0, 0};
        heed::Random random(static_cast<std::uint64_t>(pace));
        for (int round = 0; at[0] < n[0] || at[1] < n[1]; ++round) {
          heed::Index size[2];
          for (int s : {0, 1}) {
            const heed::Index wish = pace == 0 ? 1 : pace == 1 ? (round == 0 ? 40 : 1) : random.below(14);
            size[s] = std::min(wish, n[s] - at[s]);
          }
          heed::Matrix<S> chunk(size[0] + size[1], options.d_model);
          chunk << x.middleRows(at[0], size[0]), x.middleRows(n[0] + at[1], size[1]);
          const heed::Matrix<S> got =
              layer.attention.step(layer.weights(), state, chunk, heed::Batch::ragged({size[0], size[1]}),
                                   layer.context({at[0] + size[0], at[1] + size[1]}));
          for (int s : {0, 1}) {
            const auto want = expected.middleRows((s == 0 ? 0 : n[0]) + at[s], size[s]);
            const auto rows = got.middleRows(s == 0 ? 0 : size[0], size[s]);
            for (heed::Index i = 0; i < rows.rows(); ++i)
              for (heed::Index j = 0; j < rows.cols(); ++j)
                v.expect(std::abs(W(rows(i, j)) - want(i, j)) <= allowed, "options ", set, ", sequence ", s, ", token ",
                         at[s] + i, ": ", rows(i, j), " in the stream, ", want(i, j), " expected within ", allowed);
            at[s] += size[s];
          }
        }
      }
    }
  }
  template <class Family>
  static constexpr bool applies = heed::StreamingPolicy<typename Family::template Of<float>>;
  template <class Family>
  static Verdict check_family() {
    Verdict v;
    check<typename Family::template Of<float>, typename Family::template Of<double>>(v);
    check<typename Family::template Of<double>, typename Family::template Of<long double>>(v);
    return v;
  }
};
