// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/heed.hpp>

#include <iostream>
#include <string>
#include <vector>

/// An encoder-decoder, trained to say words backwards: the encoder reads the word, the decoder writes, token by token,
/// what it has seen there through cross-attention.

using namespace heed;
using Token = Embedding<float>;  // and, as its table is tied, the output head
using Place = Positions<float>;
using Reader = Sequential<Place, Encoder<Tiled<float>>>;
using Writer = Decoder<Tiled<float>>;
constexpr Index letters = 8, stop = letters, d_model = 32, longest = 6;

struct Translator {
  Token::Params token;
  Reader::Params reader;
  Place::Params place;  // of what is written
  Writer::Params writer;
  template <class F, class... X>
  static void visit(F&& f, X&... x) {
    f("token", x.token...);
    f("reader", x.reader...);
    f("place", x.place...);
    f("writer", x.writer...);
  }
};

/// Words of 2 to `longest` letters, and how they are written: `shown` is what the decoder has written before.
struct Pairs {
  Token::Ids words, shown;
  std::vector<Index> lengths, written_lengths, targets;
};
Pairs draw(Random& random, int words) {
  Pairs p;
  for (int w = 0; w < words; ++w) {
    const Index n = 2 + random.below(longest - 1);
    for (Index i = 0; i < n; ++i) p.words.push_back(static_cast<std::int32_t>(random.below(letters)));
    p.shown.push_back(stop);  // which is the start, too
    for (Index i = 1; i <= n; ++i) {
      p.shown.push_back(p.words[p.words.size() - static_cast<std::size_t>(i)]);
      p.targets.push_back(p.shown.back());
    }
    p.targets.push_back(stop);
    p.lengths.push_back(n);
    p.written_lengths.push_back(n + 1);
  }
  return p;
}

int main() {
  const Token token({.vocabulary = letters + 1, .d_model = d_model, .scale = std::sqrt(double(d_model))});
  const Place place({.d_model = d_model, .longest = longest + 1, .learned = false});
  const EncoderSize<Tiled<float>> size{.d_model = d_model, .heads = 4, .depth = 1, .d_ff = 64};
  EncoderSize<Tiled<float>> causal = size;
  causal.policy.causal = true;
  const Reader reader({{place.options(), encoder_options<Tiled<float>>(size)}});
  const Writer writer(decoder_options<Tiled<float>>(causal));
  const CrossEntropy<float> cross_entropy;
  const Adam adam({.beta2 = 0.99});
  Random random(1);
  Translator p{token.init(random), reader.init(random), place.init(random), writer.init(random)};
  Translator g = zeros_like(p);
  AdamState<Translator> moments = adam.start(p);

  Token::Cache words_cache, shown_cache;
  Reader::Cache reader_cache;
  Place::Cache place_cache;
  Writer::Cache writer_cache;
  CrossEntropy<float>::Cache loss_cache;
  const Index steps = 1000;
  const WarmUpCosine rate{.peak = 5e-3, .warm_up = 30, .total = steps};
  for (Index step = 0; step < steps; ++step) {
    const Pairs pairs = draw(random, 32);
    const Batch words = Batch::ragged(pairs.lengths), shown = Batch::ragged(pairs.written_lengths),
                across = Batch::cross(shown, words);
    const ConstView<float> x = token.forward(p.token, pairs.words, words, words_cache);
    const ConstView<float> memory = reader.forward(p.reader, x, words, reader_cache);
    const ConstView<float> before = token.forward(p.token, pairs.shown, shown, shown_cache);
    const ConstView<float> placed = place.forward(p.place, before, shown, place_cache);
    const ConstView<float> y = writer.forward(p.writer, placed, memory, across, writer_cache);
    const auto [loss, counted, dy] = cross_entropy(p.token.table, y, pairs.targets, loss_cache, g.token.table);
    const auto [dplaced, dmemory] = writer.backward(p.writer, placed, memory, across, writer_cache, dy, g.writer);
    const ConstView<float> dbefore = place.backward(p.place, before, shown, place_cache, dplaced, g.place);
    token.backward(p.token, pairs.shown, shown, shown_cache, dbefore, g.token);
    const ConstView<float> dx = reader.backward(p.reader, x, words, reader_cache, dmemory, g.reader);
    token.backward(p.token, pairs.words, words, words_cache, dx, g.token);
    clip_norm(g, 1);
    adam.step(p, g, moments, rate(step));
    set_zero(g);
    if (step % 100 == 0) std::cout << "step " << step << ": loss " << loss << "\n";
  }

  // Greedy decoding of words it may never have seen, token by token.
  const auto translate = [&](const Token::Ids& word) {
    const Batch words = Batch::one(static_cast<Index>(word.size())), next = Batch::one(1);
    const Matrix<float> memory =
        reader.forward(p.reader, token.forward(p.token, word, words, words_cache), words, reader_cache);
    Place::State places = place.start(1, longest + 1);
    Writer::State state = writer.start(1, longest + 1);
    Token::Ids written;
    for (Index last = stop; written.size() < longest;) {
      const ConstView<float> x = place.step(
          p.place, places, token.forward(p.token, {static_cast<std::int32_t>(last)}, next, shown_cache), next);
      const ConstView<float> y = writer.step(p.writer, state, x, memory, Batch::cross(next, words));
      token.logits(p.token, y, next, shown_cache).row(0).maxCoeff(&last);
      if (last == stop) break;
      written.push_back(static_cast<std::int32_t>(last));
    }
    return written;
  };
  const auto spell = [](const Token::Ids& word) {
    std::string text;
    for (const std::int32_t letter : word) text += static_cast<char>('a' + letter);
    return text;
  };
  int right = 0;
  for (int word = 0; word < 100; ++word) {
    const Token::Ids one = draw(random, 1).words, written = translate(one);
    right += std::equal(one.rbegin(), one.rend(), written.begin(), written.end());
    if (word < 5) std::cout << spell(one) << " -> " << spell(written) << "\n";
  }
  std::cout << right << " of 100 words right\n";
  return right >= 90 ? 0 : 1;
}
