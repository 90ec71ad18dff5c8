// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/projections/qkv.hpp>

namespace heed {

/// Two sets of queries, keys and values: rows of local tokens read the one, rows of global tokens the other.
template <class M>
struct LocalGlobal {
  Qkv<M> local, global;
  template <class F, class... X>
  static auto map(F&& f, X&... x) {
    using R = decltype(f(Field{}, x.local.q...));
    const Qkv<R> of_local = Qkv<M>::map(f, x.local...);
    return LocalGlobal<R>{of_local, Qkv<M>::map(f, x.global...)};
  }
};

/// Both sets from the same tokens, each as `ProjectQkv` makes one. The second set is made for every token, as any token
/// may be global: that doubles the cost of `ProjectQkv`, whether there are global tokens or not. Without any, the
/// gradients of the second set are exactly 0.
template <class S>
class ProjectLocalGlobal {
  using One = ProjectQkv<S>;

 public:
  using Scalar = S;
  template <class M>
  using Fields = LocalGlobal<M>;
  static constexpr bool crosses = false;
  using Options = typename One::Options;
  using State = typename One::State;

  struct Params {
    typename One::Params local, global;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("local", x.local...);
      f("global", x.global...);
    }
  };

  ProjectLocalGlobal(const Options& options, const ProjectionShape& shape) : one_(options, shape) {}

  /// The global set starts as a copy of the local one, as in Longformer.
  Params init(Random& random) const {
    const typename One::Params local = one_.init(random);
    return {local, local};
  }
  void check(const Params& p) const {
    one_.check(p.local, "weights.projection.local");
    one_.check(p.global, "weights.projection.global");
  }
  std::size_t scratch(Index q_rows, Index k_rows) const { return one_.scratch(q_rows, k_rows); }

  void forward(const Params& p, ConstView<S> x, ConstView<S> memory, const Batch& batch, Fields<Buffer<S>>& fields,
               Workers& workers) const {
    one_.forward(p.local, x, memory, batch, fields.local, workers);
    one_.forward(p.global, x, memory, batch, fields.global, workers);
  }
  void backward(const Params& p, ConstView<S> x, ConstView<S> memory, const Batch& batch,
                const Fields<Buffer<S>>& dfields, Params& g, View<S> dx, View<S> dmemory, Workers& workers) const {
    one_.backward(p.local, x, memory, batch, dfields.local, g.local, dx, dmemory, workers);
    one_.backward(p.global, x, memory, batch, dfields.global, g.global, dx, dmemory, workers);
  }

  State start(Index sequences) const { return one_.start(sequences); }
  void step(const Params& p, State&, ConstView<S> x, const Batch& batch, Fields<Buffer<S>>& fields,
            Workers& workers) const {
    forward(p, x, x, batch, fields, workers);
  }

 private:
  One one_;
};
static_assert(FieldProjection<ProjectLocalGlobal<float>>);

}  // namespace heed
