// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/heed.hpp>

#include <iomanip>
#include <iostream>

/// What training keeps in memory, against depth: a plain stack keeps the activations of every layer, a reversible one
/// those of one layer, and computes the others again on the way back. Its gradients are the same, within rounding.

using namespace heed;
constexpr Index d_model = 32, n = 192;

struct Run {
  std::size_t bytes = 0, choices = 0;  // of all that the calls keep, and in it of choices made (the buckets of Lsh)
  Matrix<float> dx;
};

/// One forward and backward of `depth` layers.
template <class Stacked, class Layer>
Run run(Index depth, const Layer& layer) {
  const Stacked stack({.depth = depth, .layer = layer});
  Random random(1);
  typename Stacked::Params params = stack.init(random);
  // Layers that add little to what they are given, as trained ones do: a rounding error then stays one.
  for_each_leaf([](auto& m) { m *= m.rows() > 1 ? 0.3f : 1.0f; }, params);
  typename Stacked::Params gradient = zeros_like(params);
  const Matrix<float> x = random_normal<float>(random, n, 2 * d_model, 1), dy = x;  // two streams side by side
  const Batch batch = Batch::ragged({n / 2, n / 3, n / 6});
  typename Stacked::Cache cache;
  stack.forward(params, x, batch, cache);
  Run made;
  made.dx = stack.backward(params, x, batch, cache, dy, gradient);
  made.bytes = bytes(cache);
  if constexpr (requires { cache.choices; }) made.choices = bytes(cache.choices);
  return made;
}

/// Whether memory stays flat and gradients agree.
template <class P>
bool compare(const typename P::Options& policy) {
  using Layer = ReversibleEncoderLayer<P>;
  typename Layer::Options layer;
  layer.f.layers = {{.d_model = d_model}, {.d_model = d_model, .heads = 2, .policy = policy}};
  layer.g.layers = {{.d_model = d_model}, {.d_model = d_model, .d_ff = 2 * d_model}};

  std::cout << P::name << "\n depth   plain KiB   reversible KiB   of these choices   gradients differ by\n";
  std::size_t first = 0, flat = 0;
  double worst = 0;
  for (const Index depth : {4, 16, 64}) {
    const Run plain = run<Stack<Layer>>(depth, layer), reversible = run<ReversibleStack<Layer>>(depth, layer);
    const double difference = static_cast<double>((plain.dx - reversible.dx).norm() / plain.dx.norm());
    std::cout << std::setw(6) << depth << std::setw(12) << plain.bytes / 1024 << std::setw(17) << reversible.bytes / 1024
              << std::setw(19) << reversible.choices / 1024 << std::setw(22) << difference << "\n";
    worst = std::max(worst, difference);
    if (first == 0) first = reversible.bytes - reversible.choices;
    flat = reversible.bytes - reversible.choices;
  }
  const double growth = static_cast<double>(flat) / static_cast<double>(first);
  std::cout << "64 layers keep " << growth << " times what 4 keep, choices aside\n\n";
  return growth <= 1.05 && worst < 1e-4;
}

int main() {
  const bool tiled = compare<Tiled<float>>({.causal = true});
  const bool lsh = compare<Lsh<float>>({.rounds = 2, .chunk = 16});
  return tiled && lsh ? 0 : 1;
}
