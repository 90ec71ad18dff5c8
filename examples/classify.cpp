// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/heed.hpp>

#include <iostream>
#include <vector>

/// A classifier of whole sequences: embedding, bidirectional encoder, mean pooling, cross-entropy, Adam. Its task: name
/// the letter that follows the marker. The other letters say nothing, so tokens have to look at each other. Sequences of
/// 6 to 20 tokens lie one below the other, without padding.

using namespace heed;
using Turned = Rotary<ProjectQkv<float>>;  // tells a query how far away a key is
using Reader = TokenModel<Encoder<Tiled<float>, LayerNorm, Turned>>;
constexpr std::int32_t letters = 4, marker = letters;

/// All that is learned: what an optimiser, or a file of weights, has to know.
struct Classifier {
  Reader::Params reader;
  Matrix<float> classes;  // one row per class
  template <class F, class... X>
  static void visit(F&& f, X&... x) {
    f("reader", x.reader...);
    f("classes", x.classes...);
  }
};

/// New sequences, and the class of each.
std::pair<TokenBatch, std::vector<Index>> draw(Random& random, int count) {
  TokenBatch t;
  std::vector<Index> classes, lengths;
  for (int s = 0; s < count; ++s) {
    std::vector<std::int32_t> sequence(static_cast<std::size_t>(6 + random.below(15)));
    for (std::int32_t& id : sequence) id = static_cast<std::int32_t>(random.below(letters));
    const std::size_t at = static_cast<std::size_t>(random.below(static_cast<Index>(sequence.size()) - 1));
    sequence[at] = marker;
    t.ids.insert(t.ids.end(), sequence.begin(), sequence.end());
    classes.push_back(sequence[at + 1]);
    lengths.push_back(static_cast<Index>(sequence.size()));
  }
  t.batch = Batch::ragged(lengths);
  return {t, classes};
}

int main() {
  const EncoderSize<Tiled<float>, Turned> size{.d_model = 32, .heads = 2, .depth = 2, .d_ff = 64};
  const Reader reader({.embedding = {.vocabulary = letters + 1, .d_model = 32, .scale = 5},
                       .layers = encoder_options<Tiled<float>, LayerNorm, Turned>(size)});
  const CrossEntropy<float> cross_entropy;
  Random random(1);
  Reader::Params initial = reader.init(random);
  Training<Classifier> now({std::move(initial), random_normal<float>(random, letters, 32, 0.1)});

  Reader::Cache cache;
  CrossEntropy<float>::Cache loss_cache;
  Buffer<float> pooled, dpooled;
  double before = 0, accuracy = 0;
  for (int step = 0; step <= 125; ++step) {
    const auto [tokens, classes] = draw(random, 48);  // new ones every time: none has been trained on
    const ConstView<float> y = reader.forward(now.weights.reader, tokens, cache);
    const ConstView<float> sequences = pool(Pooling::mean, y, tokens.batch, pooled);
    const auto [loss, n, dsequences] =
        cross_entropy(now.weights.classes, sequences, classes, loss_cache, now.gradient.classes);
    const Matrix<float> scores = sequences * now.weights.classes.transpose();
    accuracy = 0;
    for (Index i = 0, best = 0; i < n; ++i) {
      scores.row(i).maxCoeff(&best);
      accuracy += best == classes[static_cast<std::size_t>(i)] ? 1.0 / static_cast<double>(n) : 0;
    }
    if (step == 0) before = accuracy;
    if (step % 25 == 0) std::cout << "step " << step << ": loss " << loss << ", accuracy " << accuracy << "\n";

    const ConstView<float> dy = pool_backward(Pooling::mean, y.rows(), tokens.batch, dsequences, dpooled);
    reader.backward(now.weights.reader, tokens, cache, dy, now.gradient.reader);
    now.step(Adam(), 5e-3);
  }
  return before < 0.5 && accuracy > 0.9 ? 0 : 1;
}
