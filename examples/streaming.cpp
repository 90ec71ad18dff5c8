// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/heed.hpp>

#include <algorithm>
#include <iomanip>
#include <iostream>

/// Token by token: a causal encoder that keeps a state gives the rows that it gives for whole sequences. What the state
/// holds is up to the policy: the keys and values of a window, or of all tokens so far.

using namespace heed;

struct Streamed {
  float difference = 0;   // the largest, from the rows of the batch
  std::size_t bytes = 0;  // that the state holds in the end
};

/// Two sequences at a time, of `longest` and of half as many tokens.
template <class P>
Streamed stream(const typename P::Options& policy, Index longest) {
  using Model = Encoder<P>;
  constexpr Index d_model = 32;
  const Model model(encoder_options<P>({.d_model = d_model, .heads = 4, .depth = 2, .policy = policy}));
  Random random(1);
  const typename Model::Params params = model.init(random);

  // All at once: sequence s has the rows from s * longest on. Those after its end are padding, which nothing reads.
  const std::vector<Index> lengths{longest, longest / 2};
  const Matrix<float> x = random_normal<float>(random, 2 * longest, d_model, 1);
  typename Model::Cache cache;
  const Matrix<float> y = model.forward(params, x, Batch::padded(lengths, longest), cache);

  Streamed result;
  typename Model::State state = model.start(/*sequences=*/2, /*capacity=*/longest);
  for (Index t = 0; t < longest; ++t) {
    // Row t of both, without a copy; and which of the two have one.
    const auto rows_at = [&](const Matrix<float>& m) {
      return ConstView<float>(m.row(t).data(), 2, d_model, Eigen::OuterStride<>(longest * d_model));
    };
    const Batch next = Batch::padded({t < lengths[0], t < lengths[1]}, 1);
    const ConstView<float> rows = model.step(params, state, rows_at(x), next);
    result.difference = std::max(result.difference, (rows - rows_at(y)).cwiseAbs().maxCoeff());
  }
  result.bytes = bytes(state);
  return result;
}

int main() {
  bool same = true;
  std::size_t window_bytes = 0, tiled_bytes = 0, window_grew = 0, tiled_grew = 0;
  std::cout << "tokens   SlidingWindow: bytes   differs by   Tiled: bytes   differs by\n";
  for (const Index longest : {64, 128, 256, 512}) {
    const Streamed window = stream<SlidingWindow<float>>({.window = 16, .causal = true}, longest);
    const Streamed tiled = stream<Tiled<float>>({.causal = true}, longest);
    std::cout << std::setw(6) << longest << std::setw(23) << window.bytes << std::setw(13) << window.difference
              << std::setw(15) << tiled.bytes << std::setw(13) << tiled.difference << "\n";
    same = same && window.difference < 1e-5f && tiled.difference < 1e-5f;
    window_grew = window.bytes - std::exchange(window_bytes, window.bytes);
    tiled_grew = tiled.bytes - std::exchange(tiled_bytes, tiled.bytes);
  }
  return same && window_grew == 0 && tiled_grew > 200000 ? 0 : 1;
}
