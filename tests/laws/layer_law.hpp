// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <layers.hpp>
#include <verdict.hpp>

/// The gradients of a whole layer - of x, of the memory, of every weight and bias, through grouped heads - are the
/// central differences of w.y, with the choices of the first call: in self-attention over a ragged, padded batch, and
/// in cross-attention with a memory of another width.
struct LayersMatchDifferences {
  static constexpr const char* name = "layers_match_differences";

  template <class P, class Forward, class Pull>
  static void check(Verdict& v, Layer<P>& layer, heed::Matrix<double>& x, heed::Matrix<double>* memory,
                    const Forward& forward, const Pull& pull, const std::string& what) {
    using M = heed::Matrix<double>;
    const M y = forward();
    const M w = tokens<double>(y.rows(), y.cols(), 21);
    layer.clear();
    M dmemory;
    const M dx = pull(w, dmemory);
    heed::Random random(5);
    const auto probe = [&](const std::string& path, M& m, const M& gradient) {
      for (int pick = 0; pick < 12 && m.size() > 0; ++pick) {
        const heed::Index i = random.below(m.size());
        double& number = m.data()[i];
        const double before = number;
        number = before + 1e-5;
        const double above = (forward().array() * w.array()).sum();
        number = before - 1e-5;
        const double difference = (above - (forward().array() * w.array()).sum()) / 2e-5;
        number = before;
        v.expect(std::abs(difference - gradient.data()[i]) <= 1e-7 * std::max(1.0, std::abs(difference)), what, ": d ",
                 path, "[", i, "] = ", gradient.data()[i], ", difference ", difference);
      }
    };
    heed::for_each(probe, layer.params, layer.gradient);
    heed::for_each(probe, layer.shared, layer.shared_gradient);
    probe("x", x, dx);
    if (memory != nullptr) probe("memory", *memory, dmemory);
  }

  template <class Family>
  static Verdict check_family() {
    using P = typename Family::template Of<double>;
    using A = heed::Attention<P>;
    using M = heed::Matrix<double>;
    Verdict v;
    for (auto options : layer_options<P>(2)) {
      {
        Layer<P> layer(options);
        const heed::Batch batch = heed::Batch::padded({4, 0, 6}, 7);
        M x = tokens<double>(21, options.d_model, 3);
        layer.forward(x, batch);
        check<P>(
            v, layer, x, nullptr, [&] { return layer.replay(x, batch); },
            [&](const M& dy, M&) { return layer.backward(x, batch, dy); }, "self");
      }
      if constexpr (P::Projection::crosses) {
        options.d_memory = 7;
        Layer<P> layer(options);
        const heed::Batch batch = heed::Batch::cross(heed::Batch::ragged({4, 3, 2}), heed::Batch::ragged({5, 2, 6}));
        M x = tokens<double>(9, options.d_model, 3), memory = tokens<double>(13, 7, 4);
        check<P>(
            v, layer, x, &memory,
            [&]() -> M { return layer.attention.forward(layer.weights(), x, memory, batch, layer.cache); },
            [&](const M& dy, M& dmemory) -> M {
              const auto g = layer.attention.backward(layer.weights(), x, memory, batch, layer.cache, dy,
                                                      heed::Gradients<A>(layer.gradient, layer.shared_gradient));
              dmemory = g.dmemory;
              return g.dx;
            },
            "cross");
      }
    }
    return v;
  }
};
