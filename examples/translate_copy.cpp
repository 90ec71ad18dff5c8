// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/heed.hpp>

#include <iostream>
#include <string>
#include <vector>

/// An encoder-decoder that learns to write words backwards. The encoder reads a word; the decoder writes letter by
/// letter, and looks at the word through cross-attention. Positions are rotary: a full stop is where they count from.

using namespace heed;
using Policy = Tiled<float>;
using Turned = Rotary<ProjectQkv<float>>;
using Translator = TokenModel<EncoderDecoder<Policy, Policy, LayerNorm, Turned>>;
constexpr char stop = '.';

/// Words "word." to read, ".drow" to go on from, and "drow." to write.
TokenBatch draw(Random& random, int count) {
  TokenBatch t;
  std::vector<Index> lengths;
  for (int i = 0; i < count; ++i) {
    std::string word;
    for (Index letters = 2 + random.below(5); letters > 0; --letters) word += static_cast<char>('a' + random.below(8));
    const std::string drow(word.rbegin(), word.rend());
    for (const char c : word + stop) t.source.push_back(c);
    for (const char c : stop + drow) t.ids.push_back(c);
    for (const char c : drow + stop) t.targets.push_back(c);
    lengths.push_back(static_cast<Index>(word.size()) + 1);
  }
  t.batch = Batch::ragged(lengths);  // of both, as both have as many letters
  return t;
}

std::string text(const std::vector<std::int32_t>& tokens) { return {tokens.begin(), tokens.end()}; }

int main() {
  EncoderSize<Policy, Turned> reader{.d_model = 32, .heads = 4, .depth = 1, .d_ff = 64}, writer = reader;
  writer.policy.causal = true;
  const Translator model({.embedding = {.vocabulary = 128, .d_model = 32, .scale = 5},
                          .layers = encoder_decoder_options<Policy, Policy, LayerNorm, Turned>(reader, writer)});
  Random random(1);
  Training now(model.init(random));
  Translator::Cache cache;
  const int steps = 400;
  const WarmUpCosine rate{.peak = 5e-3, .warm_up = 20, .total = steps};
  for (int step = 0; step < steps; ++step) {
    const double loss = model.loss(now.weights, draw(random, 32), cache, now.gradient).loss;
    now.step(Adam(), rate(step));
    if (step % 50 == 0) std::cout << "step " << step << ": loss " << loss << "\n";
  }

  // Greedy decoding: the word is read once, and a state holds what has been written, so that a letter costs one row.
  int right = 0;
  for (int i = 0; i < 100; ++i) {
    const TokenBatch pair = draw(random, 1);
    Translator::State state = model.start(now.weights, pair, cache, /*capacity=*/8);
    const auto written = model.generate(now.weights, state, {stop}, /*most=*/8, /*temperature=*/0, random, stop);
    right += written == pair.targets;
    if (i < 5) std::cout << text(pair.source) << " -> " << text(written) << "\n";
  }
  std::cout << right << " of 100 words right\n";
  return right >= 90 ? 0 : 1;
}
