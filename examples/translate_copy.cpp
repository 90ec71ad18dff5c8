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
using Token = Embedding<float>;
using Reader = Encoder<Policy, LayerNorm, Turned>;
using Writer = Decoder<Policy, Policy, LayerNorm, Turned>;
constexpr char stop = '.';

struct Translator {
  Token::Params token;  // of words and translations, and of the output head
  Reader::Params reader;
  Writer::Params writer;
  template <class F, class... X>
  static void visit(F&& f, X&... x) {
    f("token", x.token...);
    f("reader", x.reader...);
    f("writer", x.writer...);
  }
};

struct Pairs {
  Token::Ids words, shown, written;  // "word.", ".drow", "drow."
  std::vector<Index> lengths;
};
Pairs draw(Random& random, int count) {
  Pairs p;
  for (int i = 0; i < count; ++i) {
    std::string word;
    for (Index letters = 2 + random.below(5); letters > 0; --letters) word += static_cast<char>('a' + random.below(8));
    const std::string drow(word.rbegin(), word.rend());
    for (const char c : word + stop) p.words.push_back(c);
    for (const char c : stop + drow) p.shown.push_back(c);
    for (const char c : drow + stop) p.written.push_back(c);
    p.lengths.push_back(static_cast<Index>(word.size()) + 1);
  }
  return p;
}

int main() {
  EncoderSize<Policy, Turned> size{.d_model = 32, .heads = 4, .depth = 1, .d_ff = 64};
  const Token token({.vocabulary = 128, .d_model = size.d_model, .scale = 5});
  const Reader reader(encoder_options<Policy, LayerNorm, Turned>(size));
  size.policy.causal = true;
  const Writer writer(decoder_options<Policy, Policy, LayerNorm, Turned>(size));
  Random random(1);
  Translator p{token.init(random), reader.init(random), writer.init(random)}, g = zeros_like(p);
  const Adam adam;
  AdamState<Translator> moments = adam.start(p);

  Token::Cache words_cache, shown_cache;
  Reader::Cache reader_cache;
  Writer::Cache writer_cache;
  CrossEntropy<float>::Cache loss_cache;
  const int steps = 400;
  const WarmUpCosine rate{.peak = 5e-3, .warm_up = 20, .total = steps};
  for (int step = 0; step < steps; ++step) {
    const Pairs pairs = draw(random, 32);
    const Batch batch = Batch::ragged(pairs.lengths);  // of both, as both have as many letters
    const ConstView<float> words = token.forward(p.token, pairs.words, batch, words_cache);
    const ConstView<float> memory = reader.forward(p.reader, words, batch, reader_cache);
    const ConstView<float> shown = token.forward(p.token, pairs.shown, batch, shown_cache);
    const ConstView<float> y = writer.forward(p.writer, shown, memory, batch, writer_cache);
    const auto [loss, n, dy] = CrossEntropy<float>()(p.token.table, y, pairs.written, loss_cache, g.token.table);
    const auto [dshown, dmemory] = writer.backward(p.writer, shown, memory, batch, writer_cache, dy, g.writer);
    token.backward(p.token, pairs.shown, batch, shown_cache, dshown, g.token);
    const ConstView<float> dwords = reader.backward(p.reader, words, batch, reader_cache, dmemory, g.reader);
    token.backward(p.token, pairs.words, batch, words_cache, dwords, g.token);
    clip_norm(g, 1);
    adam.step(p, g, moments, rate(step));
    set_zero(g);
    if (step % 50 == 0) std::cout << "step " << step << ": loss " << loss << "\n";
  }

  // Greedy decoding: a state holds what has been written, so that a letter costs one row.
  const auto translate = [&](const Token::Ids& word) {
    const Batch whole = Batch::one(static_cast<Index>(word.size())), next = Batch::one(1);
    const ConstView<float> words = token.forward(p.token, word, whole, words_cache);
    const ConstView<float> memory = reader.forward(p.reader, words, whole, reader_cache);
    Writer::State state = writer.start(/*sequences=*/1, /*capacity=*/8);
    std::string written;
    for (Index c = stop; written.size() < 8 && !written.ends_with(stop); written += static_cast<char>(c)) {
      const ConstView<float> x = token.forward(p.token, {static_cast<std::int32_t>(c)}, next, shown_cache);
      const ConstView<float> y = writer.step(p.writer, state, x, memory, Batch::cross(next, whole));
      token.logits(p.token, y, next, shown_cache).row(0).maxCoeff(&c);
    }
    return written;
  };
  int right = 0;
  for (int i = 0; i < 100; ++i) {
    const Pairs pair = draw(random, 1);
    const std::string word(pair.words.begin(), pair.words.end()), written = translate(pair.words);
    right += written == std::string(pair.written.begin(), pair.written.end());
    if (i < 5) std::cout << word << " -> " << written << "\n";
  }
  std::cout << right << " of 100 words right\n";
  return right >= 90 ? 0 : 1;
}
