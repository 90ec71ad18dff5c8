// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include "attention_jobs.hpp"
#include "bandwidth.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

/// The jobs of a policy that streams: token by token, with what came before in its state.

namespace heed::bench {

/// One token after another, each against up to n cached ones. A run is some 1 / 64 of n tokens; then the streams go
/// back to where they were.
template <StreamingPolicy P>
class Stream {
 public:
  Stream(const typename P::Options& options, const Name& name, const Text& text, Adjust<P> adjust)
      : policy_(options, HeadShape{d_head, d_head, name.heads}),
        layout_{name.heads, name.kv_heads > 0 ? name.kv_heads : name.heads, d_head, d_head},
        run_(std::max<Index>(1, name.n / 64)),
        n_(name.n),
        fields_(project<P>(text, name.n, name.heads, layout_.kv_heads)) {
    Random random = Random(1).stream(2);
    for (Index h = 0; h < name.heads; ++h) {
      params_.push_back(policy_.init(random));
      if (adjust != nullptr) adjust(h, params_.back());
    }
    shared_ = policy_.init_shared(random);
    const CallShape call{layout_.group(), name.n};
    scratch_.prepare(1, policy_.cost(call).forward_scratch);
    mixed_.resize(run_, name.heads * d_head);
    lse_.resize(run_, name.heads);
    for (Index kv = 0; kv < layout_.kv_heads; ++kv) {
      before_.push_back(policy_.start(name.n, 1));
      for (Index i = 0; i < name.n - run_; ++i) append(before_.back(), kv, i);
    }
    now_ = before_;
  }

  Index tokens() const { return run_; }
  /// Puts every stream back to n - tokens() tokens.
  void rewind() { now_ = before_; }
  void run() {
    for (Index i = 0; i < run_; ++i)
      scratch_.run(layout_.kv_heads, [&](Index kv, Arena& scratch) {
        auto& stream = now_[static_cast<std::size_t>(kv)];
        append(stream, kv, n_ - run_ + i);
        attend(std::as_const(stream), kv, i, scratch);
      });
  }
  /// Multiply-adds of a run.
  double work() const {
    double sum = 0;
    for (Index h = 0; h < layout_.heads; ++h)
      for (Index i = 0; i < run_; ++i) {
        const CallShape call{1, n_ - run_ + i + 1};
        if constexpr (HeadCostPolicy<P>)
          sum += policy_.cost(head(h), call).forward;
        else
          sum += policy_.cost(call).forward;
      }
    return sum;
  }
  /// Bytes of keys and values that a run must read.
  double bytes() const {
    return work() * static_cast<double>(layout_.kv_heads) / static_cast<double>(layout_.heads) * sizeof(float);
  }
  double scratch() const { return static_cast<double>(scratch_.peak()); }
  double error() const requires HasQkv<FieldsOf<P>> {
    RelativeError error;
    for (Index h = 0; h < layout_.heads; ++h) {
      const auto in = layout_.read(fields_, batch_, 0, h);
      std::vector<Index> rows, made;
      for (const Index i : spread(run_, samples / layout_.heads)) {
        rows.push_back(n_ - run_ + i);
        made.push_back(i);
      }
      error.add(rows_of(block(mixed_.view(), 0, h * d_head, run_, d_head), made),
                ExactHead(in.q, in.k, in.v, true).forward(rows));
    }
    return error.value();
  }

 private:
  using State = typename P::State;
  Head<P> head(Index h) const { return {params_[static_cast<std::size_t>(h)], shared_, context_, 0, h}; }
  static Batch one_row(Index i) { return {{{i, 1}}, {{i, 1}}}; }
  void append(State& stream, Index kv, Index i) {
    const Index first = kv * layout_.group();
    policy_.append(head(first), stream, layout_.read(std::as_const(fields_), row(i), 0, first));
  }
  void attend(const State& stream, Index kv, Index i, Arena& scratch) {
    const Index at = n_ - run_ + i, group = layout_.group(), first = kv * group;
    float* const lse = lse_.view().data() + i * layout_.heads + first;
    if constexpr (GroupStreamingPolicy<P>) {
      policy_.attend_group(head(first), group, stream, layout_.read_group(std::as_const(fields_), row(at), 0, kv),
                           Out<float>{block(mixed_.view(), i, first * d_head, 1, group * d_head), {lse, group}},
                           scratch);
    } else {
      for (Index h = first; h < first + group; ++h)
        policy_.attend(head(h), stream, layout_.read(std::as_const(fields_), row(at), 0, h),
                       Out<float>{block(mixed_.view(), i, h * d_head, 1, d_head), {lse + h - first, 1}}, scratch);
    }
  }
  const Batch& row(Index i) {
    row_.q[0] = row_.k[0] = {i, 1};
    return row_;
  }

  P policy_;
  HeadLayout layout_;
  Index run_, n_;
  typename P::template Fields<Buffer<float>> fields_;
  Batch batch_ = Batch::one(n_), row_ = one_row(0);
  std::vector<typename P::Params> params_;
  typename P::Shared shared_;
  typename P::Context context_{};
  std::vector<State> before_, now_;
  Buffer<float> mixed_, lse_;
  Workers scratch_;
};

/// Time is per token. `of_bandwidth` is the speed at which keys and values are read, of that of a loop that only reads.
template <StreamingPolicy P>
Job decode_job(const typename P::Options& options, const Name& name, const Text& text, Adjust<P> adjust) {
  auto stream = std::make_shared<Stream<P>>(options, name, text, adjust);
  auto bandwidth = std::make_shared<ReadBandwidth>(name.kv_heads > 0 ? name.kv_heads : name.heads, name.n, d_head);
  const double tokens = static_cast<double>(stream->tokens());
  Job job{.multiply_adds = HasSpans<FieldsOf<P>> ? 0 : stream->work() / tokens,
          .tokens = 1,
          .calls = tokens,
          .once = [stream] { stream->run(); },
          .between = [stream] { stream->rewind(); }};
  bandwidth->sample();
  job.once();
  if constexpr (HasQkv<FieldsOf<P>>) {
    const double error = stream->error();
    job.wrong = verdict<P>(error, name.n);
    job.facts.emplace_back("error", error);
  }
  job.between();
  job.facts.emplace_back("scratch_bytes", stream->scratch());
  if (is_exact<P>())
    job.finish = [stream, bandwidth, tokens](benchmark::State& state, double best) {
      bandwidth->sample();
      state.counters["of_bandwidth"] = stream->bytes() / tokens / best / bandwidth->best();
    };
  return job;
}

}  // namespace heed::bench
