// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include "measure.hpp"

#include <heed/encoder.hpp>
#include <heed/layers/embedding.hpp>
#include <heed/policies/tiled.hpp>
#include <heed/projections/rotary.hpp>
#include <heed/train/adam.hpp>
#include <heed/train/cross_entropy.hpp>

#include <cmath>
#include <cstddef>
#include <memory>
#include <vector>

namespace heed::bench {

/// The byte-level language model of the examples: 4 layers, d 256, 4 heads, 8 sequences of 512 tokens.
class TrainingStep {
 public:
  static constexpr Index sequences = 8, n = 512, d = 256, vocabulary = 256;

  explicit TrainingStep(int threads)
      : embedding_({.vocabulary = vocabulary, .d_model = d, .scale = std::sqrt(d), .threads = threads}),
        encoder_(encoder_options<Attending, LayerNorm, Turning>(size(threads))),
        cross_entropy_({.threads = threads}),
        adam_({.threads = threads}) {
    Random random(1);
    params_ = {embedding_.init(random), encoder_.init(random)};
    moments_ = adam_.start(params_);
    gradient_ = params_;
    for (Index i = 0; i < sequences * n; ++i) {
      ids_.push_back(static_cast<std::int32_t>(random.below(vocabulary)));
      targets_.push_back(random.below(vocabulary));
    }
  }
  /// Forward, loss, backward and optimiser.
  void operator()() {
    set_zero(gradient_);
    const auto x = embedding_.forward(params_.embedding, ids_, batch_, embedded_);
    const auto y = encoder_.forward(params_.encoder, x, batch_, encoded_);
    const auto loss = cross_entropy_(params_.embedding.table, y, targets_, lost_, gradient_.embedding.table);
    const auto dx = encoder_.backward(params_.encoder, x, batch_, encoded_, loss.dx, gradient_.encoder);
    embedding_.backward(params_.embedding, ids_, batch_, embedded_, dx, gradient_.embedding);
    clip_norm(gradient_, 1);
    adam_.step(params_, gradient_, moments_, 1e-5);
  }

 private:
  using Attending = Tiled<float>;
  using Turning = Rotary<ProjectQkv<float>>;
  using Tower = Encoder<Attending, LayerNorm, Turning>;
  struct Params {
    Embedding<float>::Params embedding;
    Tower::Params encoder;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("embedding", x.embedding...);
      f("encoder", x.encoder...);
    }
  };
  static EncoderSize<Attending, Turning> size(int threads) {
    EncoderSize<Attending, Turning> s;
    s.d_model = d;
    s.heads = 4;
    s.depth = 4;
    s.threads = threads;
    s.policy.causal = true;
    return s;
  }

  Embedding<float> embedding_;
  Tower encoder_;
  CrossEntropy<float> cross_entropy_;
  Adam adam_;
  Params params_, gradient_;
  AdamState<Params> moments_;
  Batch batch_ = Batch::ragged(std::vector<Index>(std::size_t{sequences}, n));
  Embedding<float>::Ids ids_;
  std::vector<Index> targets_;
  Embedding<float>::Cache embedded_;
  Tower::Cache encoded_;
  CrossEntropy<float>::Cache lost_;
};

/// A step on two workers, and what it gains by the second.
inline Job training_job() {
  auto one = std::make_shared<TrainingStep>(1), two = std::make_shared<TrainingStep>(2);
  Job job{.tokens = double{TrainingStep::sequences * TrainingStep::n}, .workers = 2, .once = [two] { (*two)(); }};
  measure_scaling(job, [one, two](int workers) { workers == 1 ? (*one)() : (*two)(); });
  return job;
}

}  // namespace heed::bench
