// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include "attention_jobs.hpp"
#include "bandwidth.hpp"
#include "kernel_jobs.hpp"
#include "measure.hpp"

#include <heed/encoder.hpp>
#include <heed/policies/tiled.hpp>

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <utility>

/// The layers around attention, and what they are made of.

namespace heed::bench {

/// A norm on one thread, `of_bandwidth` of a loop that reads and writes as much: forward reads x and writes y, backward
/// reads x and dy and writes dx. What is learned, and its gradient, stay in cache and do not count.
template <class Norm>
Job norm_job(Index n, Index d, bool backward) {
  struct Run {
    Norm norm;
    typename Norm::Params params, gradient;
    typename Norm::Cache cache;
    Matrix<float> x, dy;
    Batch batch;
    WriteBandwidth bandwidth;
  };
  typename Norm::Options options;
  options.d_model = d;
  const Norm norm(options);
  Random random(4);
  const auto params = norm.init(random);
  const Matrix<float> x = random_normal<float>(random, n, d, 1), dy = random_normal<float>(random, n, d, 1);
  auto run = std::make_shared<Run>(
      Run{norm, params, zeros_like(params), {}, x, dy, Batch::one(n), WriteBandwidth(backward, n * d)});
  run->norm.forward(run->params, run->x, run->batch, run->cache);
  Job job{.tokens = static_cast<double>(n),
          .once = [run] { run->norm.forward(run->params, run->x, run->batch, run->cache); },
          .between = [run] { run->bandwidth.sample(); }};
  if (backward)
    job.once = [run] { run->norm.backward(run->params, run->x, run->batch, run->cache, run->dy, run->gradient); };
  job.finish = [run](benchmark::State& state, double best) {
    state.counters["of_bandwidth"] = run->bandwidth.bytes() / best / run->bandwidth.best();
  };
  return job;
}

/// The forward of an encoder layer, and its time over the sum of its parts alone, in alternation: its six products and
/// its attention.
inline Job encoder_layer_job(Index n, Index d_ff, Activation activation, const Text& text) {
  using Layer = EncoderLayer<Tiled<float>>;
  struct Run {
    Layer layer;
    Layer::Params params;
    Layer::Cache cache;
    Matrix<float> x;
    Batch batch;
    Product<Form::ab> project, widen, narrow;
    Heads<Tiled<float>> heads;
    std::array<double, 4> parts;
  };
  EncoderSize<Tiled<float>> size;
  size.d_model = d_model;
  size.heads = d_model / d_head;
  size.d_ff = d_ff;
  size.activation = activation;
  const Layer layer(encoder_layer_options<Tiled<float>>(size));
  Random random(5);
  const Name alone{.pass = "forward", .subject = "Tiled", .heads = size.heads, .n = n};
  std::array<double, 4> parts;
  parts.fill(std::numeric_limits<double>::infinity());
  auto run = std::make_shared<Run>(Run{layer,
                                       layer.init(random),
                                       {},
                                       embed(text, n),
                                       Batch::one(n),
                                       {n, d_model, d_model, true},
                                       {n, d_model, d_ff, true},
                                       {n, d_ff, d_model, true},
                                       {{}, alone, text, false, nullptr},
                                       parts});
  const double work = 4 * run->project.work() + run->widen.work() + run->narrow.work() + run->heads.forward_work();
  Job job{.multiply_adds = work, .tokens = static_cast<double>(n), .once = [run] {
            run->layer.forward(run->params, run->x, run->batch, run->cache);
          }};
  job.between = [run] {
    const auto sample = [&](std::size_t part, auto&& f) { run->parts[part] = std::min(run->parts[part], seconds(f)); };
    sample(0, run->project);
    sample(1, run->widen);
    sample(2, run->narrow);
    sample(3, [&] { run->heads.forward(run->heads.workers(1)); });
  };
  job.finish = [run](benchmark::State& state, double best) {
    const auto& [project, widen, narrow, attention] = run->parts;
    state.counters["over_parts"] = best / (4 * project + widen + narrow + attention);
  };
  job.once();
  return job;
}

}  // namespace heed::bench
