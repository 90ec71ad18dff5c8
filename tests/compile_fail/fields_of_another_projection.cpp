// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
// A projection makes what the policy reads.
// expect: the projection does not make the fields that the policy reads
#include <heed/heed.hpp>

template <class M>
struct Other {
  M q, k, v;
  template <class F, class... X>
  static auto map(F&& f, X&... x) {
    using R = decltype(f(heed::Field{}, x.q...));
    return Other<R>{f(heed::Field{}, x.q...), f(heed::Field{}, x.k...), f(heed::Field{}, x.v...)};
  }
};
template <class S>
struct Project {
  using Scalar = S;
  template <class M>
  using Fields = Other<M>;
  static constexpr bool crosses = false;
  struct Options {};
  struct State {};
  using Params = heed::NoParams;
  Project(const Options&, const heed::ProjectionShape&) {}
  Params init(heed::Random&) const { return {}; }
  void check(const Params&) const {}
  std::size_t scratch(heed::Index, heed::Index) const { return 0; }
  void forward(const Params&, heed::ConstView<S>, heed::ConstView<S>, const heed::Batch&, Other<heed::Buffer<S>>&,
               heed::Workers&) const {}
  void backward(const Params&, heed::ConstView<S>, heed::ConstView<S>, const heed::Batch&,
                const Other<heed::Buffer<S>>&, Params&, heed::View<S>, heed::View<S>, heed::Workers&) const {}
  State start(heed::Index) const { return {}; }
  void step(const Params&, State&, heed::ConstView<S>, const heed::Batch&, Other<heed::Buffer<S>>&,
            heed::Workers&) const {}
};
static_assert(heed::FieldProjection<Project<float>>);

#ifdef HEED_SHOULD_FAIL
template class heed::Attention<heed::Dense<float>, Project<float>>;
#endif
