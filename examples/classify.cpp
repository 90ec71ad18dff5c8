// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/heed.hpp>

#include <iostream>
#include <vector>

/// A classifier of whole sequences: embedding, bidirectional encoder, mean pooling, cross-entropy, Adam. Its task: name
/// the letter that follows the marker. The other letters say nothing, so tokens have to look at each other. Sequences of
/// 6 to 20 tokens lie one below the other, without padding.

using namespace heed;
using Token = Embedding<float>;
using Turned = Rotary<ProjectQkv<float>>;  // tells a query how far away a key is
using Model = Encoder<Tiled<float>, LayerNorm, Turned>;
constexpr std::int32_t letters = 4, marker = letters;

/// All that is learned: what an optimiser, or a file of weights, has to know.
struct Classifier {
  Token::Params token;
  Model::Params encoder;
  Matrix<float> classes;  // one row per class
  template <class F, class... X>
  static void visit(F&& f, X&... x) {
    f("token", x.token...);
    f("encoder", x.encoder...);
    f("classes", x.classes...);
  }
};

struct Examples {
  Token::Ids ids, classes;
  std::vector<Index> lengths;
};
Examples draw(Random& random, int count) {
  Examples e;
  for (int s = 0; s < count; ++s) {
    Token::Ids sequence(static_cast<std::size_t>(6 + random.below(15)));
    for (std::int32_t& id : sequence) id = static_cast<std::int32_t>(random.below(letters));
    const std::size_t at = static_cast<std::size_t>(random.below(static_cast<Index>(sequence.size()) - 1));
    sequence[at] = marker;
    e.ids.insert(e.ids.end(), sequence.begin(), sequence.end());
    e.classes.push_back(sequence[at + 1]);
    e.lengths.push_back(static_cast<Index>(sequence.size()));
  }
  return e;
}

/// The share of rows whose largest score is that of their class.
double accuracy(const Matrix<float>& scores, const Token::Ids& classes) {
  Index right = 0, best = 0;
  for (Index i = 0; i < scores.rows(); ++i) {
    scores.row(i).maxCoeff(&best);
    right += best == classes[static_cast<std::size_t>(i)];
  }
  return static_cast<double>(right) / static_cast<double>(scores.rows());
}

int main() {
  const Token token({.vocabulary = letters + 1, .d_model = 32, .scale = 5});
  const Model encoder(
      encoder_options<Tiled<float>, LayerNorm, Turned>({.d_model = 32, .heads = 2, .depth = 2, .d_ff = 64}));
  const CrossEntropy<float> cross_entropy;
  Random random(1);
  Classifier p{token.init(random), encoder.init(random), random_normal<float>(random, letters, 32, 0.1)};
  Classifier gradient = zeros_like(p);
  const Adam adam;
  AdamState<Classifier> moments = adam.start(p);

  Token::Cache token_cache;
  Model::Cache encoder_cache;
  CrossEntropy<float>::Cache loss_cache;
  Buffer<float> pooled, dpooled;
  double before = 0, now = 0;
  for (int step = 0; step <= 125; ++step) {
    const Examples e = draw(random, 48);  // new ones every time: none has been trained on
    const Batch batch = Batch::ragged(e.lengths);
    const ConstView<float> x = token.forward(p.token, e.ids, batch, token_cache);
    const ConstView<float> y = encoder.forward(p.encoder, x, batch, encoder_cache);
    const ConstView<float> sequences = pool(Pooling::mean, y, batch, pooled);
    const auto [loss, n, dsequences] = cross_entropy(p.classes, sequences, e.classes, loss_cache, gradient.classes);
    now = accuracy(sequences * p.classes.transpose(), e.classes);
    if (step == 0) before = now;
    if (step % 25 == 0) std::cout << "step " << step << ": loss " << loss << ", accuracy " << now << "\n";

    const ConstView<float> dy = pool_backward(Pooling::mean, y.rows(), batch, dsequences, dpooled);
    const ConstView<float> dx = encoder.backward(p.encoder, x, batch, encoder_cache, dy, gradient.encoder);
    token.backward(p.token, e.ids, batch, token_cache, dx, gradient.token);
    clip_norm(gradient, 1);
    adam.step(p, gradient, moments, 5e-3);
    set_zero(gradient);
  }
  return before < 0.5 && now > 0.9 ? 0 : 1;
}
