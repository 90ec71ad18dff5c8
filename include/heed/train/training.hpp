// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/params.hpp>
#include <heed/core/require.hpp>
#include <heed/train/adam.hpp>

#include <cmath>
#include <utility>

namespace heed {

/// Weights in training: T is what is learned. Backward calls add to `gradient`, `step` uses it up. `visit` lists weights
/// and moments, and so a file of them (io/safetensors.hpp) is what training goes on from, to the same bits.
template <class T>
struct Training {
  T weights;
  AdamState<T> adam;
  T gradient;
  explicit Training(T initial)
      : weights(std::move(initial)), adam(Adam().start(weights)), gradient(zeros_like(weights)) {}
  template <class F, class... X>
  static void visit(F&& f, X&... x) {
    f("weights", x.weights...);
    f("adam", x.adam...);
  }

  /// Steps so far.
  Index steps() const { return static_cast<Index>(adam.steps(0, 0)); }
  /// Clips the gradient to a norm of `most`, moves the weights at the learning rate `rate`, and sets the gradient to 0.
  /// Returns the norm before. Throws StateError where that is not finite: training has diverged, and weights, moments and
  /// gradient are as they were.
  double step(const Adam& optimiser, double rate, double most = 1) {
    optimiser.check(weights, gradient, adam, rate);
    const double norm = clip_norm(gradient, most);
    require<StateError>(std::isfinite(norm), "gradient: a finite norm expected, came ", norm);
    optimiser.step(weights, gradient, adam, rate);
    set_zero(gradient);
    return norm;
  }
};

}  // namespace heed
