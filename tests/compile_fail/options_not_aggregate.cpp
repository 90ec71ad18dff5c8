// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
// Options are written with designated initialisers: they are an aggregate.
// expect: is_aggregate_v
#include <heed/heed.hpp>

template <class S>
struct Policy : heed::Dense<S> {
  struct Options : heed::Dense<S>::Options {
#ifdef HEED_SHOULD_FAIL
    explicit Options(int);
#endif
  };
  using Head = heed::Head<Policy>;
  Policy(const Options& o, heed::HeadShape shape) : heed::Dense<S>(o, shape) {}
  void check(const Head&, heed::CallShape) const {}
  void forward(const Head&, const heed::Qkv<heed::ConstView<S>>&, heed::Out<S>, typename Policy::Cache&,
               heed::Arena&) const {}
  void backward(const Head&, const heed::Qkv<heed::ConstView<S>>&, heed::ConstOut<S>, heed::ConstOut<S>,
                const typename Policy::Cache&, const heed::Qkv<heed::View<S>>&, const heed::HeadGradient<Policy>&,
                heed::Arena&) const {}
};
static_assert(heed::AttentionPolicy<Policy<float>>);
