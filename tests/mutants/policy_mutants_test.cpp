// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <mutants/mutant.hpp>

/// Mutants of one head of one sequence.

template <class S>
struct WrongScale : Mutant<S, WrongScale> {
  WrongScale(const typename WrongScale::Options& o, heed::HeadShape shape)
      : WrongScale::Mutant(wrong(o, shape), shape) {}
  static typename WrongScale::Options wrong(typename WrongScale::Options o, heed::HeadShape shape) {
    if (!o.scale) o.scale = 1 / static_cast<S>(shape.key_dim);
    return o;
  }
};
template <class S>
struct Cases<WrongScale<S>> : SoftmaxCases<WrongScale<S>, SeesEverything> {};
const bool wrong_scale = mutant<MatchesOracle, WrongScale>("scale 1 over d");

/// The mask is < where it should be <=.
template <class S>
struct ShiftedMask : Mutant<S, ShiftedMask> {
  using ShiftedMask::Mutant::Mutant;
  void forward(const typename ShiftedMask::Head& h, const typename ShiftedMask::In& in, heed::Out<S> out,
               typename ShiftedMask::Cache&, heed::Arena& scratch) const {
    const heed::Index n = in.k.rows();
    if (!this->options_.causal || n == 0 || !h.context.empty()) {
      this->forward_with(this->options_, h, in, out, scratch);
      return;
    }
    // One key less shifts every query one to the left.
    this->forward_with(this->options_, h,
                       {in.q, heed::block(in.k, 0, 0, n - 1, in.k.cols()), heed::block(in.v, 0, 0, n - 1, in.v.cols())},
                       out, scratch);
  }
};
template <class S>
struct Cases<ShiftedMask<S>> : SoftmaxCases<ShiftedMask<S>, SeesEverything> {};
const bool shifted_mask = mutant<MatchesOracle, ShiftedMask>("diagonal left out");

template <class S>
struct ScaledTwice : Mutant<S, ScaledTwice> {
  using ScaledTwice::Mutant::Mutant;
  void backward(const typename ScaledTwice::Head& h, const typename ScaledTwice::In& in, heed::ConstOut<S> out,
                heed::ConstOut<S> dout, const typename ScaledTwice::Cache& cache, const heed::Qkv<heed::View<S>>& din,
                const heed::HeadGradient<ScaledTwice>& g, heed::Arena& scratch) const {
    ScaledTwice::Mutant::backward(h, in, out, dout, cache, din, g, scratch);
    heed::View<S> dk = din.k;
    dk *= S(0.9);
  }
};
template <class S>
struct Cases<ScaledTwice<S>> : SoftmaxCases<ScaledTwice<S>, SeesEverything> {};
const bool scaled_twice = mutant<MatchesDifferences, ScaledTwice>("dk scaled once too often");

template <class S>
struct Assigns : Mutant<S, Assigns> {
  using Assigns::Mutant::Mutant;
  void backward(const typename Assigns::Head& h, const typename Assigns::In& in, heed::ConstOut<S> out,
                heed::ConstOut<S> dout, const typename Assigns::Cache& cache, const heed::Qkv<heed::View<S>>& din,
                const heed::HeadGradient<Assigns>& g, heed::Arena& scratch) const {
    heed::View<S> dv = din.v;
    dv.setZero();
    Assigns::Mutant::backward(h, in, out, dout, cache, din, g, scratch);
  }
};
template <class S>
struct Cases<Assigns<S>> : SoftmaxCases<Assigns<S>, SeesEverything> {};
const bool assigns = mutant<Adds, Assigns>("dv is assigned");

template <class S>
struct Leaky : Mutant<S, Leaky> {
  using Leaky::Mutant::Mutant;
  void forward(const typename Leaky::Head& h, const typename Leaky::In& in, heed::Out<S> out, typename Leaky::Cache&,
               heed::Arena& scratch) const {
    auto options = this->options_;
    options.causal = false;
    this->forward_with(options, h, in, out, scratch);
  }
};
template <class S>
struct Cases<Leaky<S>> : SoftmaxCases<Leaky<S>, SeesEverything> {};
const bool leaky = mutant<Causal, Leaky>("sees the future");

/// What a causality test alone lets pass: every row sees itself only.
template <class S>
struct Amnesiac : Mutant<S, Amnesiac> {
  using Amnesiac::Mutant::Mutant;
  void forward(const typename Amnesiac::Head& h, const typename Amnesiac::In& in, heed::Out<S> out,
               typename Amnesiac::Cache& cache, heed::Arena& scratch) const {
    Amnesiac::Mutant::forward(h, in, out, cache, scratch);
    for (heed::Index i = 0; i < in.q.rows(); ++i) {
      const heed::Index p = i + in.k.rows() - in.q.rows();
      if (p >= 0) out.o.row(i) = in.v.row(p);
    }
  }
};
template <class S>
struct Cases<Amnesiac<S>> : SoftmaxCases<Amnesiac<S>, SeesEverything> {};
const bool amnesiac = mutant<Causal, Amnesiac>("forgets the past");

template <class S>
struct MultipliesMask : Mutant<S, MultipliesMask> {
  using MultipliesMask::Mutant::Mutant;
  void forward(const typename MultipliesMask::Head& h, const typename MultipliesMask::In& in, heed::Out<S> out,
               typename MultipliesMask::Cache& cache, heed::Arena& scratch) const {
    MultipliesMask::Mutant::forward(h, in, out, cache, scratch);
    for (heed::Index i = 0; i < in.q.rows(); ++i) out.o.row(i) += S(0) * in.v.colwise().sum();
  }
};
template <class S>
struct Cases<MultipliesMask<S>> : SoftmaxCases<MultipliesMask<S>, SeesEverything> {};
const bool multiplies_mask = mutant<ContainsNan, MultipliesMask>("masks by multiplying with 0");

template <class S>
struct WrongLse : Mutant<S, WrongLse> {
  using WrongLse::Mutant::Mutant;
  void forward(const typename WrongLse::Head& h, const typename WrongLse::In& in, heed::Out<S> out,
               typename WrongLse::Cache& cache, heed::Arena& scratch) const {
    WrongLse::Mutant::forward(h, in, out, cache, scratch);
    out.lse *= S(1.4426950408889634);  // base 2
  }
};
template <class S>
struct Cases<WrongLse<S>> : SoftmaxCases<WrongLse<S>, SeesEverything> {};
const bool wrong_lse = mutant<ResultsMerge, WrongLse>("lse in base 2");

template <class S>
struct IgnoresStride : Mutant<S, IgnoresStride> {
  using IgnoresStride::Mutant::Mutant;
  void forward(const typename IgnoresStride::Head& h, const typename IgnoresStride::In& in, heed::Out<S> out,
               typename IgnoresStride::Cache& cache, heed::Arena& scratch) const {
    const heed::ConstView<S> v(in.v.data(), in.v.rows(), in.v.cols(), Eigen::OuterStride<>(in.v.cols()));
    IgnoresStride::Mutant::forward(h, {in.q, in.k, v}, out, cache, scratch);
  }
};
template <class S>
struct Cases<IgnoresStride<S>> : SoftmaxCases<IgnoresStride<S>, SeesEverything> {};
const bool ignores_stride = mutant<ReadsAnyLayout, IgnoresStride>("values read as if contiguous");

/// Leaves a number in the scratch memory and believes to find it there.
template <class S>
struct RemembersScratch : Mutant<S, RemembersScratch> {
  using RemembersScratch::Mutant::Mutant;
  void forward(const typename RemembersScratch::Head& h, const typename RemembersScratch::In& in, heed::Out<S> out,
               typename RemembersScratch::Cache& cache, heed::Arena& scratch) const {
    S* const left = scratch.template take<S>(1);
    if (out.o.size() > 0) {
      RemembersScratch::Mutant::forward(h, in, out, cache, scratch);
      if (*left != *left) out.o(0, 0) += S(1);
    }
  }
};
template <class S>
struct Cases<RemembersScratch<S>> : SoftmaxCases<RemembersScratch<S>, SeesEverything> {};
const bool remembers_scratch = mutant<ReadsAnyLayout, RemembersScratch>("reads scratch that it did not write");

template <class S>
struct NoMaximum : Mutant<S, NoMaximum> {
  using NoMaximum::Mutant::Mutant;
  void forward(const typename NoMaximum::Head& h, const typename NoMaximum::In& in, heed::Out<S> out,
               typename NoMaximum::Cache& cache, heed::Arena& scratch) const {
    NoMaximum::Mutant::forward(h, in, out, cache, scratch);
    for (heed::Index i = 0; i < in.q.rows(); ++i)  // what exp(score) without a maximum would have done
      if (std::exp(out.lse(i)) == S(0) || !std::isfinite(std::exp(out.lse(i)))) out.o.row(i).setConstant(S(0) / S(0));
  }
};
template <class S>
struct Cases<NoMaximum<S>> : SoftmaxCases<NoMaximum<S>, SeesEverything> {};
const bool no_maximum = mutant<SurvivesExtremes, NoMaximum>("no maximum subtracted");

template <class S>
struct FloatForgets : Mutant<S, FloatForgets> {
  using FloatForgets::Mutant::Mutant;
  void forward(const typename FloatForgets::Head& h, const typename FloatForgets::In& in, heed::Out<S> out,
               typename FloatForgets::Cache& cache, heed::Arena& scratch) const {
    FloatForgets::Mutant::forward(h, in, out, cache, scratch);
    if constexpr (std::is_same_v<S, float>) out.o *= S(1.0005);
  }
};
template <class S>
struct Cases<FloatForgets<S>> : SoftmaxCases<FloatForgets<S>, SeesEverything> {};
const bool float_forgets = mutant<FloatAgrees, FloatForgets>("float has a path of its own");

template <class S>
struct PublishesLess : Mutant<S, PublishesLess> {
  using PublishesLess::Mutant::Mutant;
  heed::Cost cost(heed::CallShape call) const {
    heed::Cost c = PublishesLess::Mutant::cost(call);
    c.forward_scratch /= 2;
    return c;
  }
};
template <class S>
struct Cases<PublishesLess<S>> : SoftmaxCases<PublishesLess<S>, SeesEverything> {};
const bool publishes_less = mutant<CostHolds, PublishesLess>("publishes half of its scratch");

template <class S>
struct PublishesFewer : Mutant<S, PublishesFewer> {
  using PublishesFewer::Mutant::Mutant;
  heed::Cost cost(heed::CallShape call) const {
    heed::Cost c = PublishesFewer::Mutant::cost(call);
    c.forward /= 2;
    return c;
  }
};
template <class S>
struct Cases<PublishesFewer<S>> : SoftmaxCases<PublishesFewer<S>, SeesEverything> {};
const bool publishes_fewer = mutant<CostHolds, PublishesFewer>("publishes half of its multiply-adds");
