// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <mutants/mutant.hpp>

#include <atomic>

/// Mutants of what a layer hands to its policy, and of what a policy does over many calls.

/// Projects padding along with the rest.
template <class S>
struct PaddedProjection : heed::ProjectQkv<S> {
  using heed::ProjectQkv<S>::ProjectQkv;
  using Base = heed::ProjectQkv<S>;
  void backward(const typename Base::Params& p, heed::ConstView<S> x, heed::ConstView<S> memory, const heed::Batch&,
                const heed::Qkv<heed::Buffer<S>>& d, typename Base::Params& g, heed::View<S> dx, heed::View<S> dmemory,
                heed::Workers& workers) const {
    Base::backward(p, x, memory, heed::Batch::one(x.rows()), d, g, dx, dmemory, workers);
  }
};
template <class S>
struct SeesPadding : Mutant<S, SeesPadding, PaddedProjection<S>> {
  using SeesPadding::Mutant::Mutant;
};
template <class S>
struct Cases<SeesPadding<S>> : SoftmaxCases<SeesPadding<S>, SeesEverything> {};
const bool sees_padding = mutant<IgnoresPadding, SeesPadding>("weight gradients over padding");

/// Forgets that values come from the memory too.
template <class S>
struct ForgetfulProjection : heed::ProjectQkv<S> {
  using heed::ProjectQkv<S>::ProjectQkv;
  using Base = heed::ProjectQkv<S>;
  void backward(const typename Base::Params& p, heed::ConstView<S> x, heed::ConstView<S> memory,
                const heed::Batch& batch, const heed::Qkv<heed::Buffer<S>>& d, typename Base::Params& g,
                heed::View<S> dx, heed::View<S> dmemory, heed::Workers& workers) const {
    heed::Matrix<S> lost = heed::Matrix<S>::Zero(dmemory.rows(), dmemory.cols());
    Base::backward(p, x, memory, batch, d, g, dx, dx.data() == dmemory.data() ? dx : heed::view(lost), workers);
  }
};
template <class S>
struct DropsMemory : Mutant<S, DropsMemory, ForgetfulProjection<S>> {
  using DropsMemory::Mutant::Mutant;
};
template <class S>
struct Cases<DropsMemory<S>> : SoftmaxCases<DropsMemory<S>, SeesEverything> {};
const bool drops_memory = mutant<LayersMatchDifferences, DropsMemory>("no gradient into the memory");

template <class S>
struct KnowsItsPlace : Mutant<S, KnowsItsPlace> {
  using KnowsItsPlace::Mutant::Mutant;
  void forward(const typename KnowsItsPlace::Head& h, const typename KnowsItsPlace::In& in, heed::Out<S> out,
               typename KnowsItsPlace::Cache& cache, heed::Arena& scratch) const {
    KnowsItsPlace::Mutant::forward(h, in, out, cache, scratch);
    out.o.array() += S(1e-3) * static_cast<S>(h.sequence);
  }
};
template <class S>
struct Cases<KnowsItsPlace<S>> : SoftmaxCases<KnowsItsPlace<S>, SeesEverything> {};
const bool knows_its_place = mutant<SequencesIndependent, KnowsItsPlace>("knows which sequence of the batch it is");

/// The last key/value head gets the keys of the first.
template <class S>
struct CrossedProjection : heed::ProjectQkv<S> {
  CrossedProjection(const typename heed::ProjectQkv<S>::Options& o, const heed::ProjectionShape& s)
      : heed::ProjectQkv<S>(o, s), key_dim(s.key_dim) {}
  void forward(const typename heed::ProjectQkv<S>::Params& p, heed::ConstView<S> x, heed::ConstView<S> memory,
               const heed::Batch& batch, heed::Qkv<heed::Buffer<S>>& fields, heed::Workers& workers) const {
    heed::ProjectQkv<S>::forward(p, x, memory, batch, fields, workers);
    const heed::Matrix<S> first = fields.k.view().leftCols(key_dim);
    fields.k.view().rightCols(key_dim) = first;
  }
  heed::Index key_dim;
};
template <class S>
struct CrossesHeads : Mutant<S, CrossesHeads, CrossedProjection<S>> {
  using CrossesHeads::Mutant::Mutant;
};
template <class S>
struct Cases<CrossesHeads<S>> : SoftmaxCases<CrossesHeads<S>, SeesEverything> {};
const bool crosses_heads = mutant<HeadsIndependent, CrossesHeads>("keys of another head");

template <class S>
struct ForgetsOne : Mutant<S, ForgetsOne> {
  using ForgetsOne::Mutant::Mutant;
  void attend(const typename ForgetsOne::Head& h, const typename ForgetsOne::State& state,
              const typename ForgetsOne::In& in, heed::Out<S> out, heed::Arena& scratch) const {
    if (state.k.size() <= in.q.rows()) return ForgetsOne::Mutant::attend(h, state, in, out, scratch);
    typename ForgetsOne::State shorter = this->sound_.start(state.k.size(), 1);
    heed::Matrix<S> k(state.k.size() - 1, state.k.dim());
    for (heed::Index j = 0; j < k.rows(); ++j)
      for (heed::Index e = 0; e < k.cols(); ++e)
        k(j, e) = state.k.panel(j + 1)[e * state.k.width + (j + 1) % state.k.width];
    const heed::Matrix<S> v = state.v.middleRows(1, k.rows());
    ForgetsOne::Mutant::append(h, shorter, {in.q, heed::view(std::as_const(k)), heed::view(v)});
    ForgetsOne::Mutant::attend(h, shorter, in, out, scratch);
  }
};
template <class S>
struct Cases<ForgetsOne<S>> : SoftmaxCases<ForgetsOne<S>, SeesEverything> {};
const bool forgets_one = mutant<StreamingEqualsBatch, ForgetsOne>("the oldest key is dropped");

template <class S>
struct HasMoods : Mutant<S, HasMoods> {
  using HasMoods::Mutant::Mutant;
  static inline std::atomic<int> calls{0};
  void forward(const typename HasMoods::Head& h, const typename HasMoods::In& in, heed::Out<S> out,
               typename HasMoods::Cache& cache, heed::Arena& scratch) const {
    HasMoods::Mutant::forward(h, in, out, cache, scratch);
    if (++calls % 7 == 0) out.o *= 1 + std::numeric_limits<S>::epsilon();
  }
};
template <class S>
struct Cases<HasMoods<S>> : SoftmaxCases<HasMoods<S>, SeesEverything> {};
const bool has_moods = mutant<Deterministic, HasMoods>("every seventh call rounds otherwise");

template <class S>
struct Forgiving : Mutant<S, Forgiving> {
  Forgiving(const typename Forgiving::Options& o, heed::HeadShape shape) : Forgiving::Mutant(mend(o), shape) {}
  static typename Forgiving::Options mend(typename Forgiving::Options o) {
    if (!(o.soft_cap >= 0)) o.soft_cap = 0;
    return o;
  }
};
template <class S>
struct Cases<Forgiving<S>> : SoftmaxCases<Forgiving<S>, SeesEverything> {};
const bool forgiving = mutant<RejectsBadInput, Forgiving>("a negative soft cap is taken for none");

template <class S>
struct Hides : Mutant<S, Hides> {
  using Hides::Mutant::Mutant;
  struct Params {
    heed::Matrix<S> seen, hidden;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("seen", x.seen...);
    }
  };
  Params init(heed::Random&) const { return {heed::Matrix<S>::Zero(1, 1), heed::Matrix<S>::Zero(1, 1)}; }
  void check(const heed::Head<Hides>&, heed::CallShape) const {}
  void forward(const heed::Head<Hides>&, const typename Hides::In&, heed::Out<S>, typename Hides::Cache&,
               heed::Arena&) const {}
  void backward(const heed::Head<Hides>&, const typename Hides::In&, heed::ConstOut<S>, heed::ConstOut<S>,
                const typename Hides::Cache&, const heed::Qkv<heed::View<S>>&, const heed::HeadGradient<Hides>&,
                heed::Arena&) const {}
};
template <class S>
struct Cases<Hides<S>> : SoftmaxCases<Hides<S>, SeesEverything> {};
const bool hides = mutant<VisitsEveryParameter, Hides>("a member that visit does not name");

template <class S>
struct Allocates : Mutant<S, Allocates> {
  using Allocates::Mutant::Mutant;
  void forward(const typename Allocates::Head& h, const typename Allocates::In& in, heed::Out<S> out,
               typename Allocates::Cache& cache, heed::Arena& scratch) const {
    const heed::Matrix<S> copy = in.q;
    Allocates::Mutant::forward(h, {heed::view(copy), in.k, in.v}, out, cache, scratch);
  }
};
template <class S>
struct Cases<Allocates<S>> : SoftmaxCases<Allocates<S>, SeesEverything> {};
const bool allocates = mutant<AllocatesNothingAgain, Allocates>("a copy of the queries");
