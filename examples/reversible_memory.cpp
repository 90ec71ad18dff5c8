// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/heed.hpp>

#include <cmath>
#include <iomanip>
#include <iostream>

/// What training keeps in memory, against depth: a plain stack keeps the activations of every layer, a reversible one
/// those of one layer, and computes the others again on the way back. Its gradients are the same, within rounding.

using namespace heed;
constexpr Index d_model = 32;

template <class Params>
struct Run {
  Params gradient;
  std::size_t bytes = 0, choices = 0;  // that the calls keep; and in it, choices they made: the buckets of Lsh
};

/// One forward and backward of `depth` layers.
template <class Stacked, class Layer>
auto run(Index depth, const Layer& layer) {
  const Stacked stack({.depth = depth, .layer = layer});
  Random random(1);
  typename Stacked::Params params = stack.init(random);
  // Layers that do not amplify what they are given: what the way back computes again is then the same within rounding.
  for_each_leaf([](auto& m) { m *= m.rows() > 1 ? 0.3f : 1.0f; }, params);
  const Batch batch = Batch::ragged({96, 64, 32});
  const Matrix<float> x = random_normal<float>(random, 192, 2 * d_model, 1), dy = x;  // two streams side by side

  Run<typename Stacked::Params> made{zeros_like(params)};
  typename Stacked::Cache cache;
  stack.forward(params, x, batch, cache);
  stack.backward(params, x, batch, cache, dy, made.gradient);
  made.bytes = bytes(cache);
  if constexpr (requires { cache.choices; }) made.choices = bytes(cache.choices);
  return made;
}

/// Whether memory stays flat and gradients agree.
template <class P>
bool compare(const typename P::Options& policy) {
  using Layer = ReversibleEncoderLayer<P>;
  const typename Layer::Options layer =
      reversible_encoder_layer_options<P>({.d_model = d_model, .heads = 2, .d_ff = 2 * d_model, .policy = policy});
  std::cout << P::name << "\n depth   plain KiB   reversible KiB   of these choices   gradients differ by\n";
  double first = 0, last = 0, worst = 0;
  for (const Index depth : {4, 16, 64}) {
    const auto plain = run<Stack<Layer>>(depth, layer), reversible = run<ReversibleStack<Layer>>(depth, layer);
    double difference = 0, size = 0;
    for_each_leaf(
        [&](const auto& a, const auto& b) {
          difference += static_cast<double>((a - b).squaredNorm());
          size += static_cast<double>(a.squaredNorm());
        },
        plain.gradient, reversible.gradient);
    worst = std::max(worst, std::sqrt(difference / size));
    last = static_cast<double>(reversible.bytes - reversible.choices);
    if (first == 0) first = last;
    std::cout << std::setw(6) << depth << std::setw(12) << plain.bytes / 1024 << std::setw(17)
              << reversible.bytes / 1024 << std::setw(19) << reversible.choices / 1024 << std::setw(22)
              << std::sqrt(difference / size) << "\n";
  }
  std::cout << "64 layers keep " << last / first << " times what 4 keep, choices aside\n\n";
  return last / first <= 1.05 && worst < 1e-5;
}

int main() {
  const bool tiled = compare<Tiled<float>>({.causal = true});
  const bool lsh = compare<Lsh<float>>({.rounds = 2, .chunk = 16});
  return tiled && lsh ? 0 : 1;
}
