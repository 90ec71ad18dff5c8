// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/core/head_layout.hpp>

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

namespace heed {

/// The calls of a policy that are multi-head attention over a batch: one for each head of each sequence, cut further
/// where the policy allows, as tasks of many workers. `head_of(sequence, h)` is what a call reads besides its fields.
/// Results lie side by side, `mixed [rows, heads d_v]`.
template <AttentionPolicy P, class HeadOf>
class HeadTasks {
 public:
  using S = typename P::Scalar;
  using Fields = typename P::template Fields<Buffer<S>>;

  HeadTasks(const P& policy, const HeadLayout& layout, const Batch& batch, const HeadOf& head_of)
      : policy_(policy), layout_(layout), batch_(batch), head_of_(head_of) {}

  /// Assigns `mixed`, `lse [heads, rows]` and what every call keeps in `made`; `choose`, or replay its choices.
  /// `longest` is the longest sequence of queries that the workers' scratch was made for.
  void forward(const Fields& fields, bool choose, Index longest, Buffer<S>& mixed, Buffer<S>& lse,
               std::vector<typename P::Cache>& made, Workers& workers) const {
    for_each_task(longest, workers, [&](Index s, Index h, Range rows, Arena& scratch) {
      const Head<P> head = head_of_(s, h);
      const auto in = layout_.read(fields, batch_, s, h);
      const Segment at = batch_.queries(s);
      const Out<S> out{columns(mixed.view(), at, h), {lse.view().data() + h * lse.cols() + at.begin, at.size}};
      if constexpr (RowwisePolicy<P>) {
        policy_.forward_rows(head, in, rows, out, scratch);
      } else {
        typename P::Cache& cache = made[task_of(s, h)];
        if constexpr (ChoosingPolicy<P>)
          if (choose) policy_.choose(head, in, cache, scratch);
        policy_.forward(head, in, out, cache, scratch);
      }
    });
    static_cast<void>(choose);
  }

  /// Given what forward read and made and the cotangent `dmixed`: adds to `dfields`, which have a block per query head,
  /// to `own`, of every head, and to `shared`, through one `partial` sum of each head.
  void backward(const Fields& fields, const Buffer<S>& mixed, const Buffer<S>& lse,
                const std::vector<typename P::Cache>& made, const Buffer<S>& dmixed, Fields& dfields,
                std::vector<typename P::Params>& own, typename P::Shared& shared,
                std::vector<typename P::Shared>& partial, Workers& workers) const {
    constexpr bool shares = !std::is_empty_v<typename P::Shared>;
    if constexpr (shares) {
      if (partial.size() != static_cast<std::size_t>(layout_.heads) || !same_shape(partial[0], shared))
        partial.assign(static_cast<std::size_t>(layout_.heads), shared);
      for (typename P::Shared& sum : partial) set_zero(sum);
    }
    const auto pull = [&](Index s, Index h, Arena& scratch) {
      typename P::Shared& sum = [&]() -> typename P::Shared& {
        if constexpr (shares)
          return partial[static_cast<std::size_t>(h)];
        else
          return shared;
      }();
      const Segment at = batch_.queries(s);
      const ConstOut<S> out{columns(mixed.view(), at, h), {lse.view().data() + h * lse.cols() + at.begin, at.size}};
      policy_.backward(head_of_(s, h), layout_.read(fields, batch_, s, h), out,
                       ConstOut<S>{columns(dmixed.view(), at, h), {nullptr, 0}}, made[task_of(s, h)],
                       layout_.write(dfields, batch_, s, h), HeadGradient<P>{own[static_cast<std::size_t>(h)], sum},
                       scratch);
    };
    if (sequences_share(fields))
      workers.run(layout_.heads, [&](Index h, Arena& scratch) {
        for (Index s = 0; s < batch_.size(); ++s) {
          const Arena::Frame frame(scratch);
          pull(s, h, scratch);
        }
      });
    else
      workers.run(batch_.size() * layout_.heads,
                  [&](Index task, Arena& scratch) { pull(task / layout_.heads, task % layout_.heads, scratch); });
    if constexpr (shares)
      for (const typename P::Shared& sum : partial) add(shared, sum);
  }

  /// The next rows of running streams, one for each sequence and key/value head. `lse [rows, heads]` is scratch.
  template <class State>
  void step(const Fields& fields, std::vector<State>& streams, Buffer<S>& mixed, Buffer<S>& lse,
            Workers& workers) const requires StreamingPolicy<P> {
    workers.run(batch_.size() * layout_.kv_heads, [&](Index task, Arena& scratch) {
      const Index s = task / layout_.kv_heads, kv = task % layout_.kv_heads, first = kv * layout_.group();
      const Segment at = batch_.queries(s);
      State& stream = streams[static_cast<std::size_t>(task)];
      policy_.append(head_of_(s, first), stream, layout_.read(fields, batch_, s, first));
      if (at.size == 0) return;
      S* const own_lse = lse.view().data() + at.begin * layout_.heads + at.size * first;
      if constexpr (GroupStreamingPolicy<P>) {
        const Index width = layout_.group() * layout_.value_dim;
        policy_.attend_group(head_of_(s, first), layout_.group(), std::as_const(stream),
                             layout_.read_group(fields, batch_, s, kv),
                             Out<S>{block(mixed.view(), at.begin, kv * width, at.size, width),
                                    VectorView<S>(own_lse, at.size * layout_.group())},
                             scratch);
      } else {
        for (Index h = first; h < first + layout_.group(); ++h)
          policy_.attend(head_of_(s, h), std::as_const(stream), layout_.read(fields, batch_, s, h),
                         Out<S>{columns(mixed.view(), at, h), VectorView<S>(own_lse, at.size)}, scratch);
      }
    });
  }

 private:
  std::size_t task_of(Index sequence, Index h) const { return static_cast<std::size_t>(sequence * layout_.heads + h); }
  /// The results of head h in rows of a sequence.
  template <class V>
  V columns(V mixed, Segment rows, Index h) const {
    return block(mixed, rows.begin, h * layout_.value_dim, rows.size, layout_.value_dim);
  }
  /// Whether sequences add to something that they share; then there is one task per head.
  static bool sequences_share(const Fields& fields) {
    bool share = learns<P>;
    Fields::map([&](Field f, const auto&) { return share |= f.rows == Rows::fixed; }, fields);
    return share;
  }
  /// Calls f(sequence, head, rows, scratch) for every head of every sequence, cut into blocks of rows where the policy
  /// allows. Last blocks come first: causal ones are the longest, and should not be what everyone waits for.
  template <class F>
  void for_each_task(Index longest, Workers& workers, F&& f) const {
    Index rows = std::max<Index>(longest, 1);
    if constexpr (RowwisePolicy<P>) rows = std::min(rows, policy_.rows_per_task());
    const Index blocks = std::max<Index>(1, (longest + rows - 1) / rows), pairs = batch_.size() * layout_.heads;
    workers.run(blocks * pairs, [&](Index task, Arena& scratch) {
      const Index s = task % pairs / layout_.heads, h = task % layout_.heads, n = batch_.queries(s).size;
      const Index begin = (blocks - 1 - task / pairs) * rows;
      if (begin < n || begin == 0) f(s, h, Range{begin, std::min(n, begin + rows)}, scratch);
    });
  }

  const P& policy_;
  HeadLayout layout_;
  const Batch& batch_;
  const HeadOf& head_of_;
};

}  // namespace heed
