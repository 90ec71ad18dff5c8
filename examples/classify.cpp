// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/heed.hpp>

#include <iostream>
#include <vector>

/// A classifier of whole sequences: embedding, bidirectional encoder, mean pooling, cross-entropy, Adam. Its task: of
/// the letters in a sequence, name the one that follows the marker. The others say nothing, so tokens have to look at
/// each other. Sequences of 6 to 20 tokens lie one below the other, without padding.

using namespace heed;
using Token = Embedding<float>;
using Rotated = Rotary<ProjectQkv<float>>;  // tells queries how far away a key is
using Model = Encoder<Tiled<float>, LayerNorm, Rotated>;
constexpr Index letters = 4, marker = letters, d_model = 32;

/// All that is learned; an optimiser needs nothing but this list.
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
  Token::Ids ids;
  std::vector<Index> lengths, classes;
};
Examples draw(Random& random, int sequences) {
  Examples e;
  for (int s = 0; s < sequences; ++s) {
    const std::size_t begin = e.ids.size();
    e.lengths.push_back(6 + random.below(15));
    for (Index i = 0; i < e.lengths.back(); ++i) e.ids.push_back(static_cast<std::int32_t>(random.below(letters)));
    const std::size_t at = begin + static_cast<std::size_t>(random.below(e.lengths.back() - 1));
    e.ids[at] = marker;
    e.classes.push_back(e.ids[at + 1]);
  }
  return e;
}

int main() {
  const Token token({.vocabulary = letters + 1, .d_model = d_model, .scale = 5});
  const Model encoder(
      encoder_options<Tiled<float>, LayerNorm, Rotated>({.d_model = d_model, .heads = 2, .depth = 2, .d_ff = 64}));
  const CrossEntropy<float> cross_entropy;
  const Adam adam;
  Random random(1);
  Classifier p{token.init(random), encoder.init(random), random_normal<float>(random, letters, d_model, 0.1)};
  Classifier gradient = zeros_like(p);
  AdamState<Classifier> moments = adam.start(p);

  Token::Cache token_cache;
  Model::Cache encoder_cache;
  CrossEntropy<float>::Cache loss_cache;
  Buffer<float> pooled, dy;
  const auto embed = [&](const Examples& e, const Batch& batch) {
    return token.forward(p.token, e.ids, batch, token_cache);
  };
  const auto encode = [&](ConstView<float> x, const Batch& batch) {
    return pool<float>(Pooling::mean, encoder.forward(p.encoder, x, batch, encoder_cache), batch, pooled);
  };
  const auto accuracy = [&] {
    Random unseen(2);
    const Examples e = draw(unseen, 200);
    const Batch batch = Batch::ragged(e.lengths);
    const Matrix<float> scores = encode(embed(e, batch), batch) * p.classes.transpose();
    Index right = 0;
    for (Index s = 0, best = 0; s < scores.rows(); ++s) {
      scores.row(s).maxCoeff(&best);
      right += best == e.classes[static_cast<std::size_t>(s)];
    }
    return static_cast<double>(right) / static_cast<double>(scores.rows());
  };

  const double before = accuracy();
  for (int step = 0; step < 150; ++step) {
    const Examples e = draw(random, 32);
    const Batch batch = Batch::ragged(e.lengths);
    const ConstView<float> x = embed(e, batch);
    const auto [loss, counted, dpooled] =
        cross_entropy(p.classes, encode(x, batch), e.classes, loss_cache, gradient.classes);
    const ConstView<float> dx =
        encoder.backward(p.encoder, x, batch, encoder_cache,
                         pool_backward<float>(Pooling::mean, x.rows(), batch, dpooled, dy), gradient.encoder);
    token.backward(p.token, e.ids, batch, token_cache, dx, gradient.token);
    clip_norm(gradient, 1);
    adam.step(p, gradient, moments, 5e-3);
    set_zero(gradient);
    if (step % 50 == 0) std::cout << "step " << step << ": loss " << loss << "\n";
  }
  const double after = accuracy();
  std::cout << "accuracy on unseen sequences: " << before << " before, " << after << " after\n";
  return after > 0.9 ? 0 : 1;
}
