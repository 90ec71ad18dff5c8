// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include "inputs.hpp"
#include "measure.hpp"
#include "names.hpp"
#include "reference.hpp"

#include <heed/core/head_layout.hpp>

#include <cmath>
#include <limits>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

/// The jobs of a policy: the attention alone, on fields that its projection made before. Heads, tasks and workers are
/// those of `Attention`.

namespace heed::bench {

/// Whether the definition applies: an exact policy must meet it. Others are told how far they are from it.
template <class P>
bool is_exact() {
  return P::about.exactness == "exact";
}

/// Fields with queries, keys and values, or one that is both query and key: then there is a definition to compare with.
template <class F>
concept HasQkv = requires(const F& f) {
  f.q;
  f.k;
  f.v;
};
template <class F>
concept HasTied = requires(const F& f) {
  f.qk;
  f.v;
};
/// Fields whose numbers decide how far a query looks: what a call costs is then a bound, and no work to hold against a
/// peak.
template <class F>
concept HasSpans = requires(const F& f) {
  f.span;
};
template <class P>
using FieldsOf = typename P::template Fields<Buffer<float>>;

/// What a variant is to come near to: dense attention; with one field for both, on itself, over keys of length 1, and
/// seeing itself only if there is nothing else (Kitaev et al. 2020, section 2).
inline ExactHead exact_head(const auto& in, bool causal) requires(HasQkv<std::remove_cvref_t<decltype(in)>>) {
  return ExactHead(in.q, in.k, in.v, causal);
}
inline ExactHead exact_head(const auto& in, bool causal) requires(HasTied<std::remove_cvref_t<decltype(in)>>) {
  Matrix<float> k = in.qk;
  k.rowwise().normalize();
  return ExactHead(in.qk, view(std::as_const(k)), in.v, causal, false);
}

/// The reason to refuse a case with this error, or nothing.
template <class P>
std::string verdict(double error, Index n) {
  const double limit = is_exact<P>() ? tolerance(n, d_head) : std::numeric_limits<double>::max();
  if (error <= limit) return {};
  std::ostringstream s;
  s << "wrong: a relative error of " << error << ", where " << limit << " is the most for an exact variant";
  return s.str();
}

/// What a case does to the learned parameters of head h, once they are drawn; null for nothing.
template <AttentionPolicy P>
using Adjust = void (*)(Index h, typename P::Params& params);

/// One layer's heads on one sequence: forward and backward.
template <AttentionPolicy P>
class Heads {
 public:
  Heads(const typename P::Options& options, const Name& name, const Text& text, bool backward, Adjust<P> adjust)
      : policy_(options, HeadShape{d_head, d_head, name.heads}),
        layout_{name.heads, name.heads, d_head, d_head},
        batch_(Batch::one(name.n)),
        fields_(project<P>(text, name.n, name.heads, name.heads)),
        caches_(static_cast<std::size_t>(name.heads)) {
    Random random = Random(1).stream(2);
    for (Index h = 0; h < name.heads; ++h) {
      params_.push_back(policy_.init(random));
      if (adjust != nullptr) adjust(h, params_.back());
    }
    shared_ = policy_.init_shared(random);
    const CallShape call{name.n, name.n};
    for (auto& cache : caches_) policy_.reserve(call, cache);
    const Cost cost = policy_.cost(call);
    one_.prepare(1, backward ? cost.backward_scratch : cost.forward_scratch);
    if (name.workers > 1)
      several_.prepare(static_cast<int>(name.workers), backward ? cost.backward_scratch : cost.forward_scratch);
    mixed_.resize(name.n, name.heads * d_head);
    lse_.resize(name.heads, name.n);
    if (!backward) return;
    d_mixed_ = random_normal<float>(random, name.n, name.heads * d_head, 1);
    layout_.zero(fields_, d_fields_);
    for (const auto& p : params_) d_params_.push_back(zeros_like(p));
    for (Index h = 0; h < name.heads; ++h) d_shared_.push_back(zeros_like(shared_));
  }

  Workers& workers(Index count) { return count > 1 ? several_ : one_; }

  void forward(Workers& workers) {
    const Index n = batch_.queries(0).size;
    Index rows = n;
    if constexpr (RowwisePolicy<P>) rows = std::min(rows, policy_.rows_per_task());
    const Index blocks = (n + rows - 1) / rows;
    workers.run(blocks * layout_.heads, [&](Index task, Arena& scratch) {
      const Index h = task % layout_.heads, begin = (blocks - 1 - task / layout_.heads) * rows;
      const auto in = layout_.read(std::as_const(fields_), batch_, 0, h);
      if constexpr (RowwisePolicy<P>) {
        policy_.forward_rows(head(h), in, Range{begin, std::min(n, begin + rows)}, out(h), scratch);
      } else {
        static_cast<void>(begin);
        typename P::Cache& cache = caches_[static_cast<std::size_t>(h)];
        if constexpr (ChoosingPolicy<P>) policy_.choose(head(h), in, cache, scratch);
        policy_.forward(head(h), in, out(h), cache, scratch);
      }
    });
  }

  /// Adds to the gradients.
  void backward(Workers& workers) {
    workers.run(layout_.heads, [&](Index h, Arena& scratch) {
      const std::size_t at = static_cast<std::size_t>(h);
      const Out<float> made = out(h);
      policy_.backward(head(h), layout_.read(std::as_const(fields_), batch_, 0, h),
                       ConstOut<float>{view(made.o), {made.lse.data(), made.lse.size()}},
                       ConstOut<float>{cotangent(h), {nullptr, 0}}, std::as_const(caches_[at]),
                       layout_.write(d_fields_, batch_, 0, h), HeadGradient<P>{d_params_[at], d_shared_[at]}, scratch);
    });
  }

  bool causal() const { return policy_.causality() != Causality::none; }
  double forward_work() const {
    return total([](const Cost& c) { return c.forward; });
  }
  double backward_work() const {
    return total([](const Cost& c) { return c.backward; });
  }
  /// Multiply-adds of forward over those of dense attention: for a sparse variant, the fraction of pairs that it visits.
  double of_dense() const {
    const double n = static_cast<double>(batch_.queries(0).size);
    return forward_work() / (static_cast<double>(layout_.heads) * n * n * 2 * d_head);
  }
  double saved() const {
    return total([](const Cost& c) { return static_cast<double>(c.saved); });
  }

  /// Of the last forward, on rows of all heads.
  double forward_error() {
    const Index n = batch_.queries(0).size;
    RelativeError error;
    for (Index h = 0; h < layout_.heads; ++h) {
      const std::vector<Index> rows = spread(n, samples / layout_.heads);
      error.add(rows_of(view(out(h).o), rows), exact(h).forward(rows));
    }
    return error.value();
  }
  /// Of the first backward, the worst of dq, dk and dv, on rows of the first and the last head.
  double backward_error() requires HasQkv<FieldsOf<P>> {
    const Index n = batch_.queries(0).size;
    RelativeError dq, dk, dv;
    for (const Index h : spread(layout_.heads, 2)) {
      const std::vector<Index> rows = spread(n, samples / std::min<Index>(layout_.heads, 2));
      const ExactGradients g = bench::backward(exact(h), cotangent(h), rows, rows);
      const auto d = layout_.write(d_fields_, batch_, 0, h);
      dq.add(rows_of(view(d.q), rows), g.dq);
      dk.add(rows_of(view(d.k), rows), g.dk);
      dv.add(rows_of(view(d.v), rows), g.dv);
    }
    return std::max({dq.value(), dk.value(), dv.value()});
  }

 private:
  Cost cost(Index h) const {
    const CallShape call{batch_.queries(0).size, batch_.keys(0).size};
    if constexpr (HeadCostPolicy<P>)
      return policy_.cost(head(h), call);
    else
      return policy_.cost(call);
  }
  /// Over all heads.
  template <class F>
  double total(const F& f) const {
    double sum = 0;
    for (Index h = 0; h < layout_.heads; ++h) sum += f(cost(h));
    return sum;
  }
  Head<P> head(Index h) const { return {params_[static_cast<std::size_t>(h)], shared_, context_, 0, h}; }
  Out<float> out(Index h) {
    return {block(mixed_.view(), 0, h * d_head, mixed_.rows(), d_head),
            {lse_.view().data() + h * lse_.cols(), lse_.cols()}};
  }
  ConstView<float> cotangent(Index h) const { return block(d_mixed_, 0, h * d_head, d_mixed_.rows(), d_head); }
  ExactHead exact(Index h) const { return exact_head(layout_.read(std::as_const(fields_), batch_, 0, h), causal()); }

  P policy_;
  HeadLayout layout_;
  Batch batch_;
  typename P::template Fields<Buffer<float>> fields_, d_fields_;
  std::vector<typename P::Cache> caches_;
  std::vector<typename P::Params> params_, d_params_;
  typename P::Shared shared_;
  std::vector<typename P::Shared> d_shared_;
  typename P::Context context_{};
  Matrix<float> d_mixed_;
  Buffer<float> mixed_, lse_;
  Workers one_, several_;
};

template <AttentionPolicy P>
Job forward_job(const typename P::Options& options, const Name& name, const Text& text, Adjust<P> adjust) {
  auto heads = std::make_shared<Heads<P>>(options, name, text, false, adjust);
  Workers& workers = heads->workers(name.workers);
  Job job{.multiply_adds = HasSpans<FieldsOf<P>> ? 0 : heads->forward_work(),
          .tokens = static_cast<double>(name.n),
          .workers = static_cast<int>(name.workers),
          .once = [heads, &workers] { heads->forward(workers); }};
  const double first = seconds(job.once);
  if (first > 5) job.known = first;
  if constexpr (HasQkv<FieldsOf<P>> || HasTied<FieldsOf<P>>) {
    const double error = heads->forward_error();
    job.wrong = verdict<P>(error, name.n);
    job.facts.emplace_back("error", error);
  }
  job.facts.emplace_back("of_dense", heads->of_dense());
  job.facts.emplace_back("saved_bytes", heads->saved());
  job.facts.emplace_back("scratch_bytes", static_cast<double>(workers.peak()));
  if (name.workers > 1) measure_scaling(job, [heads](int count) { heads->forward(heads->workers(count)); });
  return job;
}

template <AttentionPolicy P>
Job backward_job(const typename P::Options& options, const Name& name, const Text& text, Adjust<P> adjust) {
  auto heads = std::make_shared<Heads<P>>(options, name, text, true, adjust);
  Workers& workers = heads->workers(name.workers);
  heads->forward(workers);
  Job job{.multiply_adds = HasSpans<FieldsOf<P>> ? 0 : heads->backward_work(),
          .tokens = static_cast<double>(name.n),
          .workers = static_cast<int>(name.workers),
          .once = [heads, &workers] { heads->backward(workers); }};
  const double first = seconds(job.once);
  if (first > 5) job.known = first;
  if constexpr (HasQkv<FieldsOf<P>>) {
    const double error = heads->backward_error();
    job.wrong = verdict<P>(error, name.n);
    job.facts.emplace_back("error", error);
  }
  job.facts.emplace_back("saved_bytes", heads->saved());
  job.facts.emplace_back("scratch_bytes", static_cast<double>(workers.peak()));
  if (name.workers > 1) measure_scaling(job, [heads](int count) { heads->backward(heads->workers(count)); });
  return job;
}

}  // namespace heed::bench
