// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include "bandwidth.hpp"
#include "measure.hpp"
#include "reference.hpp"

#include <heed/kernels/product.hpp>

#include <memory>
#include <string>
#include <utility>

/// What the variants are made of, and what they are up against.

namespace heed::bench {

/// A product alone, C being [m, n] and the sum having k terms: the kernel, or cut as in a layer.
template <Form form>
class Product {
 public:
  Product(Index m, Index k, Index n, bool of_layer)
      : of_layer_(of_layer), work_(static_cast<double>(m) * static_cast<double>(k) * static_cast<double>(n)) {
    Random random(3);
    a_ = random_normal<float>(random, form == Form::atb ? k : m, form == Form::atb ? m : k, 1);
    b_ = random_normal<float>(random, form == Form::abt ? n : k, form == Form::abt ? k : n, 1);
    c_.resize(m, n);
    workers_.prepare(1, product_scratch<float>(form, m, k, n));
  }
  void operator()() {
    const auto a = view(std::as_const(a_)), b = view(std::as_const(b_));
    if (of_layer_)
      parallel_product<form, float>(Into::assign, a, b, view(c_), workers_);
    else
      workers_.run(1, [&](Index, Arena& scratch) { product<form, float>(Into::assign, a, b, view(c_), scratch); });
  }
  double work() const { return work_; }
  /// Of the last call.
  double error() const {
    Exact a = a_.template cast<double>(), b = b_.template cast<double>();
    if (form == Form::atb) a.transposeInPlace();
    if (form == Form::abt) b.transposeInPlace();
    RelativeError error;
    error.add(c_.template cast<double>(), a * b);
    return error.value();
  }

 private:
  bool of_layer_;
  double work_;
  Matrix<float> a_, b_, c_;
  Workers workers_;
};

template <Form form>
Job product_job(Index m, Index k, Index n, bool of_layer = false) {
  auto product = std::make_shared<Product<form>>(m, k, n, of_layer);
  Job job{.multiply_adds = product->work(), .once = [product] { (*product)(); }};
  job.once();
  const double error = product->error();
  if (!(error <= tolerance(k, 0))) job.wrong = "wrong: a relative error of " + std::to_string(error);
  job.facts.emplace_back("error", error);
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
