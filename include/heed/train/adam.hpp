// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/parallel.hpp>
#include <heed/core/params.hpp>
#include <heed/core/require.hpp>
#include <heed/core/types.hpp>

#include <algorithm>
#include <cmath>
#include <utility>

namespace heed {

/// First and second moments of the gradients seen so far: each is a struct of parameters itself. `steps` is one number,
/// how many there were: a matrix, so that whoever saves the state saves it too.
template <class T>
struct AdamState {
  T m, v;
  Matrix<double> steps = Matrix<double>::Zero(1, 1);
  template <class F, class... X>
  static void visit(F&& f, X&... x) {
    f("m", x.m...);
    f("v", x.v...);
    f("steps", x.steps...);
  }
};

/// Adam, and AdamW with a weight decay.
///
///   m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2
///   w = w - rate (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + weight_decay w)
///
/// Weights of a single row (biases, the gains of norms) do not decay.
/// Papers: Kingma and Ba 2015, arXiv 1412.6980, algorithm 1; Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2.
class Adam {
 public:
  struct Options {
    double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
    int threads = 1;
  };

  Adam() : Adam(Options{}) {}
  explicit Adam(const Options& options) : options_(options) {
    const auto beta = [](const char* name, double x) {
      require<OptionError>(x >= 0 && x < 1, "options.", name, ": in [0, 1) expected, came ", x);
    };
    beta("beta1", options.beta1);
    beta("beta2", options.beta2);
    require<OptionError>(options.epsilon > 0 && std::isfinite(options.epsilon),
                         "options.epsilon: positive and finite expected, came ", options.epsilon);
    require<OptionError>(options.weight_decay >= 0 && std::isfinite(options.weight_decay),
                         "options.weight_decay: finite and not negative expected, came ", options.weight_decay);
    require<OptionError>(options.threads >= 1, "options.threads: at least 1 expected, came ", options.threads);
  }

  template <class T>
  AdamState<T> start(const T& params) const {
    return {zeros_like(params), zeros_like(params)};
  }

  /// Throws what a step with these would throw.
  template <class T>
  void check(const T& params, const T& gradient, const AdamState<T>& state, double rate) const {
    require<OptionError>(std::isfinite(rate) && rate >= 0, "rate: finite and not negative expected, came ", rate);
    require<ShapeError>(same_shape(params, gradient), "gradient: the shapes of params expected");
    require<ShapeError>(same_shape(params, state.m) && same_shape(params, state.v),
                        "state: moments of the shapes of params expected");
    require<ShapeError>(state.steps.rows() == 1 && state.steps.cols() == 1, "state.steps: [1, 1] expected, came [",
                        state.steps.rows(), ", ", state.steps.cols(), "]");
    require<StateError>(state.steps(0, 0) >= 0 && std::isfinite(state.steps(0, 0)),
                        "state.steps: a finite number, not negative, expected, came ", state.steps(0, 0));
  }
  /// One step of `params` against `gradient`, at the learning rate `rate`. The same bits for any number of threads.
  template <class T>
  void step(T& params, const T& gradient, AdamState<T>& state, double rate) const {
    check(params, gradient, state, rate);
    const double t = state.steps(0, 0) += 1;
    for_each_leaf(
        [&]<class S>(Matrix<S>& w, const Matrix<S>& g, Matrix<S>& m, Matrix<S>& v) {
          const S b1 = S(options_.beta1), b2 = S(options_.beta2), epsilon = S(options_.epsilon);
          const S size = S(rate / (1 - std::pow(options_.beta1, t)));
          const S root = S(1 / std::sqrt(1 - std::pow(options_.beta2, t)));
          const S keep = S(1 - (w.rows() > 1 ? rate * options_.weight_decay : 0));
          parallel_for((w.size() + piece - 1) / piece, options_.threads, [&](Index task, int) {
            const Index begin = task * piece, n = std::min(piece, w.size() - begin);
            const auto part = [&](auto* data) {
              return Eigen::Map<Eigen::Array<S, Eigen::Dynamic, 1>>(data + begin, n);
            };
            const Eigen::Map<const Eigen::Array<S, Eigen::Dynamic, 1>> dw(g.data() + begin, n);
            auto first = part(m.data()), second = part(v.data()), weight = part(w.data());
            first = b1 * first + (1 - b1) * dw;
            second = b2 * second + (1 - b2) * dw.square();
            weight = keep * weight - size * first / (root * second.sqrt() + epsilon);
          });
        },
        params, gradient, state.m, state.v);
  }

 private:
  static constexpr Index piece = Index{1} << 15;
  Options options_;
};

/// Scales the gradient so that its norm over all numbers is at most `most`; returns what it was. A norm that is not
/// finite is returned and nothing is scaled: the caller decides whether to skip the step.
template <class T>
double clip_norm(T& gradient, double most) {
  require<OptionError>(most > 0, "clip_norm: a positive bound expected, came ", most);
  double squares = 0;
  for_each_leaf([&](const auto& g) { squares += g.template cast<double>().squaredNorm(); }, std::as_const(gradient));
  const double norm = std::sqrt(squares);
  if (std::isfinite(norm) && norm > most) for_each_leaf([&]<class S>(Matrix<S>& g) { g *= S(most / norm); }, gradient);
  return norm;
}

/// The learning rate of a step: up to `peak` in a straight line over `warm_up` steps, then along half a cosine down to
/// `floor` at step `total`, and `floor` ever after (Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5).
struct WarmUpCosine {
  double peak = 1e-3;
  Index warm_up = 100, total = 1000;
  double floor = 0;
  double operator()(Index step) const {
    require<OptionError>(warm_up >= 0 && total >= warm_up, "WarmUpCosine: 0 <= warm_up <= total expected, came ",
                         warm_up, " and ", total);
    require<OptionError>(std::isfinite(peak) && std::isfinite(floor), "WarmUpCosine: finite rates expected, came ",
                         peak, " and ", floor);
    if (step < warm_up) return peak * static_cast<double>(step + 1) / static_cast<double>(warm_up);
    if (step >= total) return floor;
    const double done = static_cast<double>(step - warm_up) / static_cast<double>(std::max<Index>(total - warm_up, 1));
    return floor + (peak - floor) * 0.5 * (1 + std::cos(3.14159265358979323846 * done));
  }
};

}  // namespace heed
