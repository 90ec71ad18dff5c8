// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/heed.hpp>
#include <heed/io/safetensors.hpp>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

/// A language model over the bytes of any text, with any policy that streams. The last tenth of the text is held out.
/// With --model, weights and moments of the optimiser are kept in that file, and training goes on from there:
///
///     train_language_model text.txt --policy=SlidingWindow --steps=3000 --model=model.safetensors

using heed::Index;

std::map<std::string, std::string> arguments = {
    {"policy", "Tiled"}, {"model", ""},    {"steps", "1500"}, {"stop", "1000000"}, {"print", "50"},
    {"check", "250"},    {"threads", "2"}, {"n", "512"},      {"batch", "8"},      {"d_model", "256"},
    {"heads", "4"},      {"depth", "4"},   {"rate", "2e-3"},  {"sample", "400"}};
Index number(const char* name) { return std::stol(arguments.at(name)); }

/// Bytes [begin, begin + n) of a text, as tokens.
template <class Token>
void add_bytes(const std::string& text, Index begin, Index n, std::vector<Token>& to) {
  for (Index i = begin; i < begin + n; ++i) to.push_back(static_cast<unsigned char>(text[static_cast<std::size_t>(i)]));
}

template <class P>
struct Model {
  using Projection = heed::Rotary<typename P::Projection>;
  using Encoder = heed::Owning<heed::Encoder<P, heed::LayerNorm, Projection>>;
  using Embedding = heed::Embedding<float>;
  struct Params {
    typename Embedding::Params embedding;
    typename Encoder::Params encoder;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("embedding", x.embedding...);
      f("encoder", x.encoder...);
    }
  };
  struct Checkpoint {
    Params weights;
    heed::AdamState<Params> adam;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("weights", x.weights...);
      f("adam", x.adam...);
    }
  };
  static auto encoder_options() {
    heed::EncoderSize<P, Projection> size{.d_model = number("d_model"), .heads = number("heads")};
    size.depth = number("depth");
    size.threads = static_cast<int>(number("threads"));
    if constexpr (requires { size.policy.causal; }) size.policy.causal = true;
    if constexpr (requires { size.policy.inner.causal; }) size.policy.inner.causal = true;
    return heed::encoder_options<P, heed::LayerNorm, Projection>(size);
  }

  const std::string& text;
  int threads = static_cast<int>(number("threads"));
  Index d = number("d_model");
  Embedding embedding{{.vocabulary = 256, .d_model = d, .scale = std::sqrt(d), .threads = threads}};
  Encoder encoder{encoder_options()};
  heed::CrossEntropy<float> head{{.threads = threads}};  // tied: its weights are the table of the embedding
  typename Embedding::Cache embedding_cache{};
  typename Encoder::Cache encoder_cache{};
  heed::CrossEntropy<float>::Cache head_cache{};

  /// Mean loss in nats of windows of n bytes, for the byte that follows each. Adds to the gradient, if there is one.
  double loss(const Params& w, const std::vector<Index>& windows, Index n, Params* gradient = nullptr) {
    std::vector<std::int32_t> ids;
    std::vector<Index> targets;
    for (const Index window : windows) {
      add_bytes(text, window, n, ids);
      add_bytes(text, window + 1, n, targets);
    }
    const heed::Batch batch = heed::Batch::ragged(std::vector<Index>(windows.size(), n));
    const auto x = embedding.forward(w.embedding, ids, batch, embedding_cache);
    const auto y = encoder.forward(w.encoder, x, batch, encoder_cache);
    if (gradient == nullptr) return head(w.embedding.table, y, targets, head_cache).loss;
    const auto out = head(w.embedding.table, y, targets, head_cache, gradient->embedding.table);
    const auto dx = encoder.backward(w.encoder, x, batch, encoder_cache, out.dx, gradient->encoder);
    embedding.backward(w.embedding, ids, batch, embedding_cache, dx, gradient->embedding);
    return out.loss;
  }

  /// Goes on after the prompt, byte by byte: the stream keeps of its past what the policy needs.
  std::string sample(const Params& w, const std::string& prompt, Index bytes, heed::Random random) {
    const Index size = static_cast<Index>(prompt.size());
    auto state = encoder.start(/*sequences=*/1, /*capacity=*/size + bytes, /*longest_chunk=*/size);
    std::string all, next = prompt;
    for (; bytes > 0; --bytes) {
      std::vector<std::int32_t> ids;
      add_bytes(next, 0, static_cast<Index>(next.size()), ids);
      const heed::Batch batch = heed::Batch::one(static_cast<Index>(ids.size()));
      const auto x = embedding.forward(w.embedding, ids, batch, embedding_cache);
      const auto y = encoder.step(w.encoder, state, x, batch);
      const Eigen::VectorXf logits = w.embedding.table * y.bottomRows(1).transpose();
      const Eigen::ArrayXf p = ((logits.array() - logits.maxCoeff()) / 0.8f).exp();  // a temperature of 0.8
      double left = random.uniform() * static_cast<double>(p.sum());
      Index byte = 0;
      while (byte < 255 && (left -= static_cast<double>(p(byte))) > 0) ++byte;
      all += next = std::string(1, static_cast<char>(byte));
    }
    return all;
  }
};

template <class P>
void train(const std::string& text) {
  const Index n = number("n"), batch = number("batch"), steps = number("steps"), stop = std::min(steps, number("stop"));
  const Index size = static_cast<Index>(text.size()), held_out = size - size / 10;
  heed::require<heed::OptionError>(size / 10 > n, "a text of more than ", 10 * n, " bytes expected, came ", size);
  Model<P> model{text};
  const heed::Adam adam({.beta2 = 0.98, .weight_decay = 0.01, .threads = model.threads});
  const heed::WarmUpCosine rate{std::stod(arguments["rate"]), /*warm_up=*/steps / 15, steps, /*floor=*/1e-5};
  heed::Random random(1);
  typename Model<P>::Params weights{model.embedding.init(random), model.encoder.init(random)}, gradient = weights;
  typename Model<P>::Checkpoint now{weights, adam.start(weights)};
  const std::string file = arguments["model"];
  if (std::filesystem::exists(file)) heed::load_safetensors(file, now);
  Index step = static_cast<Index>(now.adam.steps(0, 0));
  std::printf("%s, %td weights, step %td\n", P::name.data(), heed::count(weights), step);

  double nats = 0, tokens = 0, seconds = 0;
  while (step < stop) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<Index> windows(static_cast<std::size_t>(batch));
    heed::Random of_step = random.stream(static_cast<std::uint64_t>(step));  // the same after a restart
    for (Index& window : windows) window = of_step.below(held_out - n);
    heed::set_zero(gradient);
    nats += static_cast<double>(batch * n) * model.loss(now.weights, windows, n, &gradient);
    tokens += static_cast<double>(batch * n);
    heed::clip_norm(gradient, 1);
    adam.step(now.weights, gradient, now.adam, rate(step++));
    if constexpr (requires(std::vector<typename P::Params> heads) { P::clamp(heads); })  // spans stay in their range
      for (auto& layer : std::get<0>(now.weights.encoder.own.layers).layers)
        P::clamp(std::get<1>(std::get<0>(layer.layers).layers).heads);
    seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

    if (step % number("print") == 0) {
      std::printf("step %5td  loss %.4f  bits/char %.4f  tokens/s %5.0f  rate %.1e\n", step, nats / tokens,
                  nats / tokens / std::log(2.0), tokens / seconds, rate(step - 1));
      nats = tokens = seconds = 0;
    }
    if (step % number("check") == 0 || step == stop) {
      double sum = 0;
      Index count = 0;
      for (Index i = held_out; i + n < size; i += n, ++count) sum += model.loss(now.weights, {i}, n);
      std::printf("held out: bits/char %.4f\n", sum / static_cast<double>(count) / std::log(2.0));
      if (!file.empty()) heed::save_safetensors(file, now);
    }
    std::fflush(stdout);
  }
  const std::string prompt = text.substr(static_cast<std::size_t>(held_out), 100);
  std::printf("--- %s|%s\n", prompt.c_str(), model.sample(now.weights, prompt, number("sample"), random).c_str());
}

int main(int count, char** values) try {
  for (int i = 2; i < count; ++i) {
    const std::string argument = values[i];
    const std::size_t equals = argument.find('=');
    const bool pair = argument.starts_with("--") && equals != argument.npos;
    const auto known = pair ? arguments.find(argument.substr(2, equals - 2)) : arguments.end();
    heed::require<heed::OptionError>(known != arguments.end(), "--name=value expected, came ", argument);
    known->second = argument.substr(equals + 1);
  }
  std::ifstream file(count > 1 ? values[1] : "", std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  std::string names;
  bool found = false;
  heed::for_each_type(heed::Policies<float>{}, [&]<class P>() {
    if constexpr (heed::StreamingPolicy<P> && heed::QueryKeyProjection<typename P::Projection>) {
      names += " " + std::string(P::name);
      if (P::name != arguments["policy"]) return;
      found = true;
      train<P>(text.str());
    }
  });
  heed::require<heed::OptionError>(found, "--policy: one of", names, " expected, came ", arguments["policy"]);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
