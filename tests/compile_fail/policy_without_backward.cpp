// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
// A policy that lacks a part is refused by the concept, which names it.
// expect: backward
#include <heed/heed.hpp>

template <class S>
struct Policy : heed::Dense<S> {
  using heed::Dense<S>::Dense;
  using Head = heed::Head<Policy>;
  void check(const Head&, heed::CallShape) const {}
  void forward(const Head&, const heed::Qkv<heed::ConstView<S>>&, heed::Out<S>, typename Policy::Cache&,
               heed::Arena&) const {}
#ifdef HEED_SHOULD_FAIL
  void backward() = delete;
#else
  void backward(const Head&, const heed::Qkv<heed::ConstView<S>>&, heed::ConstOut<S>, heed::ConstOut<S>,
                const typename Policy::Cache&, const heed::Qkv<heed::View<S>>&, const heed::HeadGradient<Policy>&,
                heed::Arena&) const {}
#endif
};
heed::Attention<Policy<float>>* attention = nullptr;
