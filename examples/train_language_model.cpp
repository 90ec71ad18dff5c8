// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/heed.hpp>
#include <heed/io/safetensors.hpp>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <string>

/// A language model over bytes, of any text and with any policy that streams:
///
///     train_language_model text.txt --policy=SlidingWindow --model=weights.safetensors
///
/// The last tenth of the text is held out. With --model training goes on where the file stopped, if it is there.

using heed::Index;

/// `--name=value`, and what stands where nothing is said.
std::map<std::string, std::string> arguments = {
    {"policy", "Tiled"}, {"model", ""}, {"log", ""},   {"steps", "1500"}, {"stop", ""},       {"every", "50"},
    {"threads", "2"},    {"n", "512"},  {"batch", "8"}, {"d", "256"},     {"depth", "4"},     {"heads", "4"},
    {"rate", "0.002"},   {"sample", "400"}};
Index number(const char* name) { return std::stol(arguments.at(name)); }

struct Examples {
  std::vector<std::int32_t> ids;
  std::vector<Index> targets;
  /// n bytes of the text, and for each the one that follows it.
  void add(const std::string& text, Index begin, Index n) {
    for (Index i = begin; i < begin + n; ++i) {
      ids.push_back(static_cast<unsigned char>(text[static_cast<std::size_t>(i)]));
      targets.push_back(static_cast<unsigned char>(text[static_cast<std::size_t>(i + 1)]));
    }
  }
};

template <class P>
struct Model {
  using Projection = heed::Rotary<typename P::Projection>;
  using Embedding = heed::Embedding<float>;
  using Encoder = heed::Owning<heed::Encoder<P, heed::LayerNorm, Projection>>;
  struct Params {
    typename Embedding::Params embedding;
    typename Encoder::Params encoder;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("embedding", x.embedding...);
      f("encoder", x.encoder...);
    }
  };
  static auto options() {
    heed::EncoderSize<P, Projection> o{.d_model = number("d"), .heads = number("heads"), .depth = number("depth")};
    o.threads = static_cast<int>(number("threads"));
    if constexpr (requires { o.policy.causal; }) o.policy.causal = true;
    if constexpr (requires { o.policy.inner.causal; }) o.policy.inner.causal = true;
    return heed::encoder_options<P, heed::LayerNorm, Projection>(o);
  }
  int threads = static_cast<int>(number("threads"));
  Embedding embedding{{.vocabulary = 256, .d_model = number("d"), .scale = std::sqrt(number("d")), .threads = threads}};
  Encoder encoder{options()};
  heed::CrossEntropy<float> cross_entropy{{.threads = threads}};  // with the embedding's table as the output layer
  typename Embedding::Cache embedding_cache;
  typename Encoder::Cache encoder_cache;
  typename heed::CrossEntropy<float>::Cache loss_cache;

  /// The mean loss in nats; adds to the gradient, where there is one.
  double loss(const Params& w, const Examples& e, const heed::Batch& batch, Params* gradient = nullptr) {
    const auto x = embedding.forward(w.embedding, e.ids, batch, embedding_cache);
    const auto y = encoder.forward(w.encoder, x, batch, encoder_cache);
    if (gradient == nullptr) return cross_entropy(w.embedding.table, y, e.targets, loss_cache).loss;
    const auto result = cross_entropy(w.embedding.table, y, e.targets, loss_cache, gradient->embedding.table);
    const auto dx = encoder.backward(w.encoder, x, batch, encoder_cache, result.dx, gradient->encoder);
    embedding.backward(w.embedding, e.ids, batch, embedding_cache, dx, gradient->embedding);
    return result.loss;
  }
  double loss_of_all(const Params& w, const std::string& text, Index begin, Index n, Index sequences) {
    double sum = 0, tokens = 0;
    const Index size = static_cast<Index>(text.size());
    while (begin + 1 < size) {
      Examples e;
      std::vector<Index> lengths;
      for (Index s = 0; s < sequences && begin + 1 < size; ++s) {
        lengths.push_back(std::min(n, size - 1 - begin));
        e.add(text, begin, lengths.back());
        begin += lengths.back();
      }
      const double count = static_cast<double>(e.ids.size());
      sum += count * loss(w, e, heed::Batch::ragged(lengths));
      tokens += count;
    }
    return sum / tokens;
  }

  /// Goes on after the prompt, byte by byte: a stream keeps of its past what the policy needs.
  std::string sample(const Params& w, std::string text, Index bytes, double temperature, heed::Random random) {
    const Index prompt = static_cast<Index>(text.size());
    auto state = encoder.start(/*sequences=*/1, /*capacity=*/prompt + bytes, /*longest_chunk=*/prompt);
    for (Index at = 0; static_cast<Index>(text.size()) < prompt + bytes;) {
      const std::vector<std::int32_t> ids = [&] {
        Examples e;
        e.add(text + ' ', at, static_cast<Index>(text.size()) - at);
        return e.ids;
      }();
      const heed::Batch batch = heed::Batch::one(static_cast<Index>(ids.size()));
      const auto y = encoder.step(w.encoder, state, embedding.forward(w.embedding, ids, batch, embedding_cache), batch);
      const Eigen::VectorXf logits = w.embedding.table * y.row(y.rows() - 1).transpose() / static_cast<float>(temperature);
      const Eigen::ArrayXf weights = (logits.array() - logits.maxCoeff()).exp();
      at = static_cast<Index>(text.size());
      float left = static_cast<float>(random.uniform()) * weights.sum();
      Index byte = 0;
      while (byte < 255 && (left -= weights(byte)) > 0) ++byte;
      text += static_cast<char>(byte);
    }
    return text.substr(static_cast<std::size_t>(prompt));
  }
};

/// What is on disk between two runs.
template <class T>
struct Checkpoint {
  T weights;
  heed::AdamState<T> adam;
  template <class F, class... X>
  static void visit(F&& f, X&... x) {
    f("weights", x.weights...);
    f("adam", x.adam...);
  }
};

template <class P>
void train(const std::string& text) {
  Model<P> model;
  const Index n = number("n"), sequences = number("batch"), steps = number("steps");
  const Index stop = arguments["stop"].empty() ? steps : number("stop"), held_out = static_cast<Index>(text.size()) * 9 / 10;
  const heed::Adam adam({.beta2 = 0.98, .weight_decay = 0.01, .threads = model.threads});
  const heed::WarmUpCosine rate{.peak = std::stod(arguments["rate"]), .warm_up = steps / 15, .total = steps, .floor = 1e-5};
  heed::Random random(1);
  typename Model<P>::Params weights{model.embedding.init(random), model.encoder.init(random)};
  Checkpoint<typename Model<P>::Params> now{weights, adam.start(weights)};
  auto gradient = heed::zeros_like(weights);
  const std::string file = arguments["model"];
  if (std::filesystem::exists(file)) {
    heed::load_safetensors(file, now);
    now.adam.steps = std::stol(heed::read_safetensors_header(file).metadata.at("step"));
  }
  std::cout << heed::count(weights) << " weights, " << P::name << "\n";
  std::ofstream log(arguments["log"], std::ios::app);
  double sum = 0, seconds = 0;
  while (now.adam.steps < stop) {
    const auto start = std::chrono::steady_clock::now();
    const Index step = now.adam.steps;
    heed::Random draw = random.stream(static_cast<std::uint64_t>(step));
    Examples examples;
    for (Index s = 0; s < sequences; ++s) examples.add(text, draw.below(held_out - n), n);
    heed::set_zero(gradient);
    sum += model.loss(now.weights, examples, heed::Batch::ragged(std::vector<Index>(static_cast<std::size_t>(sequences), n)), &gradient);
    heed::clip_norm(gradient, 1);
    adam.step(now.weights, gradient, now.adam, rate(step));
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const Index every = number("every");
    if ((step + 1) % every == 0) {
      const double loss = sum / static_cast<double>(every), bits = loss / std::log(2.0);
      std::cout << "step " << step + 1 << "  loss " << loss << "  bits/char " << bits << "  tokens/s " << static_cast<double>(every * n * sequences) / seconds << "  rate " << rate(step) << std::endl;
      log << step + 1 << '\t' << bits;
      if ((step + 1) % (5 * every) == 0 || step + 1 == stop) {
        const double h = model.loss_of_all(now.weights, text, held_out, n, sequences) / std::log(2.0);
        std::cout << "held out: " << h << " bits/char" << std::endl;
        log << '\t' << h;
        if (!file.empty()) heed::save_safetensors(file, now, {.metadata = {{"step", std::to_string(now.adam.steps)}}});
      }
      log << std::endl;
      sum = seconds = 0;
    }
  }
  std::cout << model.sample(now.weights, text.substr(static_cast<std::size_t>(held_out), 100), number("sample"), 0.8, random) << "\n";
}

int main(int count, char** values) {
  for (int i = 2; i < count; ++i) {
    const std::string a = values[i];
    arguments.at(a.substr(2, a.find('=') - 2)) = a.substr(a.find('=') + 1);
  }
  std::ifstream file(values[1], std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
#ifdef ONLY
  train<heed::ONLY<float>>(text);
#else
  heed::for_each_type(heed::Policies<float>{}, [&]<class P>() {
    if constexpr (heed::StreamingPolicy<P>)
      if (P::name == arguments["policy"]) train<P>(text);
  });
#endif
}
