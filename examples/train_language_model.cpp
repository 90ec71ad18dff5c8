// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/heed.hpp>
#include <heed/io/safetensors.hpp>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

/// A language model over the bytes of any text, with any policy that streams. The last tenth of the text is held out.
/// With --model, weights and moments of the optimiser are kept in that file, and training goes on from there:
///
///     train_language_model text.txt --policy=SlidingWindow --steps=3000 --model=model.safetensors

using namespace heed;

std::map<std::string, std::string> arguments = {
    {"policy", "Tiled"}, {"model", ""},    {"steps", "1500"}, {"stop", "1000000"}, {"print", "50"},
    {"check", "250"},    {"threads", "2"}, {"n", "512"},      {"batch", "8"},      {"d_model", "256"},
    {"heads", "4"},      {"depth", "4"},   {"rate", "2e-3"},  {"sample", "400"}};
Index number(const char* name) {
  const Index n = std::stol(arguments.at(name));
  require<OptionError>(n >= 1, "--", name, ": at least 1 expected, came ", n);
  return n;
}

template <class P>
void train(const std::string& text) {
  using Projection = Rotary<typename P::Projection>;
  using Model = TokenModel<Owning<Encoder<P, LayerNorm, Projection>>>;
  const Index n = number("n"), steps = number("steps"), stop = std::min(steps, number("stop")), d = number("d_model");
  const Index size = static_cast<Index>(text.size()), held_out = size - size / 10;
  const int threads = static_cast<int>(number("threads"));
  require<OptionError>(size / 10 > n, "a text of more than ", 10 * n, " bytes expected, came ", size);

  EncoderSize<P, Projection> layers{.d_model = d, .heads = number("heads"), .depth = number("depth")};
  layers.threads = threads;
  layers.policy = made_causal(layers.policy);
  const Model model({.embedding = {.vocabulary = 256, .d_model = d, .scale = std::sqrt(d), .threads = threads},
                     .layers = encoder_options<P, LayerNorm, Projection>(layers),
                     .loss = {.threads = threads}});
  const Adam adam({.beta2 = 0.98, .weight_decay = 0.01, .threads = threads});
  const WarmUpCosine rate{std::stod(arguments["rate"]), /*warm_up=*/steps / 15, steps, /*floor=*/1e-5};
  Random random(1);
  Training now(model.init(random));
  const std::string file = arguments["model"];
  if (std::filesystem::exists(file)) load_safetensors(file, now);
  std::printf("%s, %td weights, step %td\n", P::name.data(), count(now.weights), now.steps());

  typename Model::Cache cache;
  Progress progress;
  for (Index step = now.steps() + 1; step <= stop; ++step) {
    progress.begin();
    std::vector<Index> windows(static_cast<std::size_t>(number("batch")));
    Random of_step = random.stream(static_cast<std::uint64_t>(step - 1));  // the same after a restart
    for (Index& window : windows) window = of_step.below(held_out - n);
    const auto [loss, tokens, dy] = model.loss(now.weights, byte_windows(text, windows, n), cache, now.gradient);
    now.step(adam, rate(step - 1));
    if constexpr (requires(std::vector<typename P::Params> heads) { P::clamp(heads); })  // spans stay in their range
      for_each_part<std::vector<typename P::Params>>([](auto& heads) { P::clamp(heads); }, now.weights);
    progress.add(loss, tokens);

    if (step % number("print") == 0)
      std::printf("step %5td  %s  rate %.1e\n", step, progress.line().c_str(), rate(step - 1));
    if (step % number("check") == 0 || step == stop) {
      Progress held;
      for (Index i = held_out; i + n < size; i += n)
        held.add(model.loss(now.weights, byte_windows(text, {i}, n), cache).loss, n);
      std::printf("held out: bits/char %.4f\n", held.bits());
      if (!file.empty()) save_safetensors(file, now);
    }
    std::fflush(stdout);
  }

  // The stream keeps of its past what the policy needs.
  const std::string prompt = text.substr(static_cast<std::size_t>(held_out), 100);
  const Index bytes = number("sample"), longest = static_cast<Index>(prompt.size());
  auto state = model.start(/*sequences=*/1, /*capacity=*/longest + bytes, /*longest_chunk=*/longest);
  const auto written = model.generate(now.weights, state, byte_tokens(prompt).ids, bytes, /*temperature=*/0.8, random);
  std::printf("--- %s|%s\n", prompt.c_str(), std::string(written.begin(), written.end()).c_str());
}

int main(int argc, char** argv) try {
  for (int i = 2; i < argc; ++i) {
    const std::string argument = argv[i], name = argument.substr(0, argument.find('='));
    const bool known = name.size() < argument.size() && name.starts_with("--") && arguments.contains(name.substr(2));
    require<OptionError>(known, "--name=value expected, came ", argument);
    arguments[name.substr(2)] = argument.substr(name.size() + 1);
  }
  std::ostringstream text;
  text << std::ifstream(argc > 1 ? argv[1] : "", std::ios::binary).rdbuf();
  with_policy<float>(
      arguments["policy"], [&]<StreamingPolicy P>() requires QueryKeyProjection<typename P::Projection> {
        train<P>(text.str());
      });
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
