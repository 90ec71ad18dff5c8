// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <mutants/mutant.hpp>
#include <policies/linformer_cases.hpp>
#include <policies/longformer_cases.hpp>
#include <policies/lsh_cases.hpp>
#include <policies/memory_cases.hpp>
#include <policies/span_cases.hpp>

/// Mutants of what only some variants have: a second set of fields, tied queries and keys, choices, values that are
/// averaged but not given, something seen that is no key, a cost of each head. What they derive from obeys the law, or
/// its case would kill them all.

template <class Law, template <class> class Sound>
bool sound(const char* what) {
  register_test("Control", std::string(Law::name) + "/" + what, [] {
    const Verdict v = Law::template check_family<MutantFamily<Sound>>();
    EXPECT_TRUE(v.ok) << v.log;
  });
  return true;
}

// --- a second set of fields ---

template <class S>
struct SoundSets : MutantOf<heed::Longformer<S>, SoundSets<S>> {
  using SoundSets::Mutant::Mutant;
};
template <class S>
struct Cases<SoundSets<S>> : LongformerCases<SoundSets<S>> {};
const bool sets_contain_nan = sound<ContainsNan, SoundSets>("two sets");
const bool sets_survive = sound<SurvivesExtremes, SoundSets>("two sets");

template <class S>
struct SeesOtherSet : MutantOf<heed::Longformer<S>, SeesOtherSet<S>> {
  using SeesOtherSet::Mutant::Mutant;
  void forward(const typename SeesOtherSet::Head& h, const typename SeesOtherSet::In& in, heed::Out<S> out,
               typename SeesOtherSet::Cache& cache, heed::Arena& scratch) const {
    SeesOtherSet::Mutant::forward(h, in, out, cache, scratch);
    for (heed::Index i = 0; i < out.o.rows(); ++i) out.o.row(i) += S(0) * in.global.v.colwise().sum();
  }
};
template <class S>
struct Cases<SeesOtherSet<S>> : LongformerCases<SeesOtherSet<S>> {};
const bool sees_other_set = mutant<ContainsNan, SeesOtherSet>("local rows meet the global values, times 0");

template <class S>
struct PullsOtherSet : MutantOf<heed::Longformer<S>, PullsOtherSet<S>> {
  using PullsOtherSet::Mutant::Mutant;
  void backward(const typename PullsOtherSet::Head& h, const typename PullsOtherSet::In& in, heed::ConstOut<S> out,
                heed::ConstOut<S> dout, const typename PullsOtherSet::Cache& cache,
                const heed::LocalGlobal<heed::View<S>>& din, const heed::HeadGradient<PullsOtherSet>& g,
                heed::Arena& scratch) const {
    PullsOtherSet::Mutant::backward(h, in, out, dout, cache, din, g, scratch);
    heed::View<S> dk = din.global.k;
    for (heed::Index j = 0; j < dk.rows(); ++j) dk.row(j) += S(0) * in.local.k.row(j);
  }
};
template <class S>
struct Cases<PullsOtherSet<S>> : LongformerCases<PullsOtherSet<S>> {};
const bool pulls_other_set =
    mutant<ContainsNan, PullsOtherSet>("local keys meet the gradients of global ones, times 0");

template <class S>
struct GlobalNoMaximum : MutantOf<heed::Longformer<S>, GlobalNoMaximum<S>> {
  using GlobalNoMaximum::Mutant::Mutant;
  void forward(const typename GlobalNoMaximum::Head& h, const typename GlobalNoMaximum::In& in, heed::Out<S> out,
               typename GlobalNoMaximum::Cache& cache, heed::Arena& scratch) const {
    GlobalNoMaximum::Mutant::forward(h, in, out, cache, scratch);
    if (h.context.globals.empty()) return;
    for (const heed::Index p : h.context.globals[static_cast<std::size_t>(h.sequence)]) {
      const heed::Index i = p - in.local.k.rows() + in.local.q.rows();
      if (i >= 0 && !std::isfinite(std::exp(out.lse(i)))) out.o.row(i).setZero();
    }
  }
};
template <class S>
struct Cases<GlobalNoMaximum<S>> : LongformerCases<GlobalNoMaximum<S>> {};
const bool global_no_maximum = mutant<SurvivesExtremes, GlobalNoMaximum>("global rows lose what overflows");

// --- tied queries and keys, and choices ---

template <class S>
struct SoundTied : MutantOf<heed::Lsh<S>, SoundTied<S>> {
  using SoundTied::Mutant::Mutant;
};
template <class S>
struct Cases<SoundTied<S>> : LshCases<SoundTied<S>> {};
const bool tied_contain_nan = sound<ContainsNan, SoundTied>("tied");
const bool tied_agree = sound<FloatAgrees, SoundTied>("tied");

template <class S>
struct PullsEveryKey : MutantOf<heed::Lsh<S>, PullsEveryKey<S>> {
  using PullsEveryKey::Mutant::Mutant;
  void backward(const typename PullsEveryKey::Head& h, const typename PullsEveryKey::In& in, heed::ConstOut<S> out,
                heed::ConstOut<S> dout, const typename PullsEveryKey::Cache& cache,
                const typename PullsEveryKey::template Fields<heed::View<S>>& din,
                const heed::HeadGradient<PullsEveryKey>& g, heed::Arena& scratch) const {
    PullsEveryKey::Mutant::backward(h, in, out, dout, cache, din, g, scratch);
    heed::View<S> dqk = din.qk;
    for (heed::Index t = 0; t < dqk.rows(); ++t) dqk.row(t) += S(0) * in.qk.colwise().sum();
  }
};
template <class S>
struct Cases<PullsEveryKey<S>> : LshCases<PullsEveryKey<S>> {};
const bool pulls_every_key = mutant<ContainsNan, PullsEveryKey>("a tied row meets the gradients of all, times 0");

template <class S>
struct ChoosesAgain : MutantOf<heed::Lsh<S>, ChoosesAgain<S>> {
  using ChoosesAgain::Mutant::Mutant;
  void forward(const typename ChoosesAgain::Head& h, const typename ChoosesAgain::In& in, heed::Out<S> out,
               typename ChoosesAgain::Cache& cache, heed::Arena& scratch) const {
    this->choose(h, in, cache, scratch);
    ChoosesAgain::Mutant::forward(h, in, out, cache, scratch);
  }
};
template <class S>
struct Cases<ChoosesAgain<S>> : LshCases<ChoosesAgain<S>> {};
const bool chooses_again = mutant<ContainsNan, ChoosesAgain>("forward makes the choices anew");

/// In double, token 0 is put into another bucket than the one that was chosen.
template <class S>
struct DoubleChooses : MutantOf<heed::Lsh<S>, DoubleChooses<S>> {
  using DoubleChooses::Mutant::Mutant;
  void forward(const typename DoubleChooses::Head& h, const typename DoubleChooses::In& in, heed::Out<S> out,
               typename DoubleChooses::Cache& cache, heed::Arena& scratch) const {
    if (std::is_same_v<S, double> && in.qk.rows() > 0) {
      std::int32_t& first = cache.buckets.view()(0, 0);
      first = (first + 1) % static_cast<std::int32_t>(this->sound_.buckets(in.qk.rows()));
    }
    DoubleChooses::Mutant::forward(h, in, out, cache, scratch);
  }
};
template <class S>
struct Cases<DoubleChooses<S>> : LshCases<DoubleChooses<S>> {};
const bool double_chooses = mutant<FloatAgrees, DoubleChooses>("double has choices of its own");

// --- values that are averaged but not given ---

template <class S>
struct SoundSlots : MutantOf<heed::Linformer<S>, SoundSlots<S>> {
  using SoundSlots::Mutant::Mutant;
};
template <class S>
struct Cases<SoundSlots<S>> : LinformerCases<SoundSlots<S>, heed::LinformerSharing::key_value> {};
const bool slots_survive = sound<SurvivesExtremes, SoundSlots>("slots");

template <class S>
struct AveragesTheGiven : MutantOf<heed::Linformer<S>, AveragesTheGiven<S>> {
  using AveragesTheGiven::Mutant::Mutant;
  void forward(const typename AveragesTheGiven::Head& h, const typename AveragesTheGiven::In& in, heed::Out<S> out,
               typename AveragesTheGiven::Cache& cache, heed::Arena& scratch) const {
    AveragesTheGiven::Mutant::forward(h, in, out, cache, scratch);
    if (in.v.rows() > 0)
      for (heed::Index i = 0; i < out.o.rows(); ++i) out.o.row(i) = in.v.row(0);
  }
};
template <class S>
struct Cases<AveragesTheGiven<S>> : LinformerCases<AveragesTheGiven<S>, heed::LinformerSharing::key_value> {};
const bool averages_the_given = mutant<SurvivesExtremes, AveragesTheGiven>("averages values as they were given");

// --- something seen that is no key ---

template <class S>
using Remembering = heed::PersistentMemory<heed::Tiled<S>>;
template <class S>
struct SoundMemory : MutantOf<Remembering<S>, SoundMemory<S>> {
  using SoundMemory::Mutant::Mutant;
};
template <class S>
struct Cases<SoundMemory<S>> : MemoryCases<SoundMemory<S>, heed::Tiled<S>, SeesEverything> {};
const bool memory_survives = sound<SurvivesExtremes, SoundMemory>("a memory");

template <class S>
struct ForgetsMemory : MutantOf<Remembering<S>, ForgetsMemory<S>> {
  using ForgetsMemory::Mutant::Mutant;
  void forward(const typename ForgetsMemory::Head& h, const typename ForgetsMemory::In& in, heed::Out<S> out,
               typename ForgetsMemory::Cache& cache, heed::Arena& scratch) const {
    ForgetsMemory::Mutant::forward(h, in, out, cache, scratch);
    if (this->options_.inner.causal)  // rows before the first key
      for (heed::Index i = 0; i < in.q.rows() - in.k.rows(); ++i) {
        out.o.row(i).setZero();
        out.lse(i) = -std::numeric_limits<S>::infinity();
      }
  }
};
template <class S>
struct Cases<ForgetsMemory<S>> : MemoryCases<ForgetsMemory<S>, heed::Tiled<S>, SeesEverything> {};
const bool forgets_memory = mutant<SurvivesExtremes, ForgetsMemory>("a row without keys forgets the memory");

// --- a cost of each head ---

template <class S>
struct SoundHeads : MutantOf<heed::AdaptiveSpan<S>, SoundHeads<S>> {
  using SoundHeads::Mutant::Mutant;
};
template <class S>
struct Cases<SoundHeads<S>> : SpanCases<SoundHeads<S>> {};
static_assert(heed::HeadCostPolicy<SoundHeads<float>> && heed::ChoosingPolicy<SoundTied<float>>);
const bool heads_cost = sound<CostHolds, SoundHeads>("a cost of each head");

template <class S>
struct PublishesTheMost : MutantOf<heed::AdaptiveSpan<S>, PublishesTheMost<S>> {
  using PublishesTheMost::Mutant::Mutant;
  heed::Cost cost(heed::CallShape call) const { return PublishesTheMost::Mutant::cost(call); }
  heed::Cost cost(const typename PublishesTheMost::Head&, heed::CallShape call) const { return cost(call); }
};
static_assert(heed::HeadCostPolicy<PublishesTheMost<float>>);
template <class S>
struct Cases<PublishesTheMost<S>> : SpanCases<PublishesTheMost<S>> {};
const bool publishes_the_most = mutant<CostHolds, PublishesTheMost>("every head is said to cost the most");

template <class S>
struct CostsMore : MutantOf<heed::AdaptiveSpan<S>, CostsMore<S>> {
  using CostsMore::Mutant::Mutant;
  heed::Cost cost(heed::CallShape call) const { return CostsMore::Mutant::cost(call); }
  heed::Cost cost(const typename CostsMore::Head& h, heed::CallShape call) const {
    heed::Cost c = CostsMore::Mutant::cost(h, call);
    c.backward_scratch = cost(call).backward_scratch + 1;
    return c;
  }
};
static_assert(heed::HeadCostPolicy<CostsMore<float>>);
template <class S>
struct Cases<CostsMore<S>> : SpanCases<CostsMore<S>> {};
const bool costs_more = mutant<CostHolds, CostsMore>("a head takes more than any could");
