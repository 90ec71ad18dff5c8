// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include "bandwidth.hpp"
#include "measure.hpp"
#include "reference.hpp"

#include <heed/kernels/product.hpp>

#include <memory>

/// What the variants are made of, and what they are up against.

namespace heed::bench {

/// C = A B or C = A^T B alone, C being [m, n] and the sum having k terms.
template <Form form>
Job product_job(Index m, Index k, Index n) {
  struct Operands {
    Matrix<float> a, b, c;
    Workers workers;
  };
  Random random(3);
  auto x = std::make_shared<Operands>();
  x->a = random_normal<float>(random, form == Form::ab ? m : k, form == Form::ab ? k : m, 1);
  x->b = random_normal<float>(random, k, n, 1);
  x->c.resize(m, n);
  x->workers.prepare(1, product_scratch<float>(form, m, k, n));
  Job job{.multiply_adds = static_cast<double>(m) * static_cast<double>(k) * static_cast<double>(n), .once = [x] {
            x->workers.run(1, [&](Index, Arena& scratch) {
              product<form, float>(Into::assign, view(std::as_const(x->a)), view(std::as_const(x->b)), view(x->c),
                                   scratch);
            });
          }};
  job.once();
  Exact a = x->a.template cast<double>();
  if (form == Form::atb) a.transposeInPlace();
  RelativeError error;
  error.add(x->c.template cast<double>(), a * x->b.template cast<double>());
  if (!(error.value() <= tolerance(k, 0))) job.wrong = "wrong: a relative error of " + std::to_string(error.value());
  job.facts.emplace_back("error", error.value());
  return job;
}

/// One thread that reads the keys and values of a decoding step.
inline Job bandwidth_job(Index heads, Index n, Index d) {
  auto bandwidth = std::make_shared<ReadBandwidth>(heads, n, d);
  return {.once = [bandwidth] { bandwidth->sample(1); },
          .finish = [bandwidth](benchmark::State& state,
                                double best) { state.counters["bytes_per_second"] = bandwidth->bytes() / best; }};
}

/// Two loops of nothing but multiply-adds on two workers.
inline Job fma_job() {
  auto scaling = std::make_shared<Scaling>();
  return {.once = [scaling] { scaling->sample([](int) {}); },
          .finish = [scaling](benchmark::State& state,
                              double) { state.counters["fma_scaling"] = scaling->fma_one / scaling->fma_two; }};
}

}  // namespace heed::bench
