// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/policies/persistent_memory.hpp>
#include <laws.hpp>
#include <policies/softmax_cases.hpp>

#include <exception>

/// A sound policy, passed through: mutants derive from it and break one thing. `Self` is the mutant; what it claims and
/// what its cases expect are the sound policy's.
template <class Sound, class Self, class ProjectionOf = typename Sound::Projection>
class MutantOf {
 public:
  using Mutant = MutantOf;
  static constexpr std::string_view name = "mutant";
  using Scalar = typename Sound::Scalar;
  using S = Scalar;
  template <class M>
  using Fields = typename Sound::template Fields<M>;
  using Projection = ProjectionOf;
  using Options = typename Sound::Options;
  using Params = typename Sound::Params;
  using Shared = typename Sound::Shared;
  using Context = typename Sound::Context;
  using Cache = typename Sound::Cache;
  using Choices = heed::detail::ChoicesOf<Sound>;
  using State = typename heed::detail::InnerState<Sound>::Type;
  using Head = heed::Head<Self>;
  using In = Fields<heed::ConstView<S>>;
  using Index = heed::Index;

  MutantOf(const Options& options, heed::HeadShape shape) : options_(options), shape_(shape), sound_(options, shape) {}
  heed::HeadShape shape() const { return shape_; }
  heed::Causality causality() const { return sound_.causality(); }
  heed::Cost cost(heed::CallShape call) const { return sound_.cost(call); }
  heed::Cost cost(const Head& h, heed::CallShape call) const requires heed::HeadCostPolicy<Sound> {
    return sound_.cost(down(h), call);
  }
  Params init(heed::Random& random) const { return sound_.init(random); }
  Shared init_shared(heed::Random& random) const { return sound_.init_shared(random); }
  void check(const Head& h, heed::CallShape call) const { sound_.check(down(h), call); }
  void reserve(heed::CallShape call, Cache& cache) const { sound_.reserve(call, cache); }
  void choose(const Head& h, const In& in, Cache& cache,
              heed::Arena& scratch) const requires heed::ChoosingPolicy<Sound> {
    sound_.choose(down(h), in, cache, scratch);
  }
  Choices& choices(Cache& cache) const requires heed::ChoosingPolicy<Sound> { return sound_.choices(cache); }
  void forward(const Head& h, const In& in, heed::Out<S> out, Cache& cache, heed::Arena& scratch) const {
    sound_.forward(down(h), in, out, cache, scratch);
  }
  void backward(const Head& h, const In& in, heed::ConstOut<S> out, heed::ConstOut<S> dout, const Cache& cache,
                const Fields<heed::View<S>>& din, const heed::HeadGradient<Self>& g, heed::Arena& scratch) const {
    sound_.backward(down(h), in, out, dout, cache, din, heed::HeadGradient<Sound>{g.own, g.shared}, scratch);
  }
  State start(Index capacity, Index chunk) const requires heed::StreamingPolicy<Sound> {
    return sound_.start(capacity, chunk);
  }
  void append(const Head& h, State& state, const In& in) const requires heed::StreamingPolicy<Sound> {
    sound_.append(down(h), state, in);
  }
  void attend(const Head& h, const State& state, const In& in, heed::Out<S> out,
              heed::Arena& scratch) const requires heed::StreamingPolicy<Sound> {
    sound_.attend(down(h), state, in, out, scratch);
  }

 protected:
  static heed::Head<Sound> down(const Head& h) { return {h.own, h.shared, h.context, h.sequence, h.head}; }
  /// The sound policy with other options.
  void forward_with(const Options& options, const Head& h, const In& in, heed::Out<S> out, heed::Arena& scratch) const {
    Cache cache;
    Sound(options, shape_).forward(down(h), in, out, cache, scratch);
  }
  Options options_;
  heed::HeadShape shape_;
  Sound sound_;
};

/// The same of `Tiled`.
template <class S, template <class> class Self, class ProjectionOf = heed::ProjectQkv<S>>
using Mutant = MutantOf<heed::Tiled<S>, Self<S>, ProjectionOf>;

template <template <class> class M>
struct MutantFamily {
  template <class S>
  using Of = M<S>;
};

/// The law must see that the mutant breaks it, or the mutant must not get through it at all.
template <class Law, template <class> class M>
void kill(const char* mutant) {
  bool killed = false;
  try {
    killed = !Law::template check_family<MutantFamily<M>>().ok;
  } catch (const std::exception&) {
    killed = true;
  }
  write_cell(Law::name, std::string("mutant ") + mutant, killed ? "killed" : "SURVIVED");
  EXPECT_TRUE(killed) << "the law " << Law::name << " does not notice: " << mutant;
}

/// `mutant<Law, Broken>("what is broken")`
template <class Law, template <class> class M>
bool mutant(const char* what) {
  static const char* const text = what;
  register_test("Mutants", std::string(Law::name) + "/" + what, [] { kill<Law, M>(text); });
  return true;
}
