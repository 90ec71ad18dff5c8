// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <laws.hpp>
#include <policies/softmax_cases.hpp>

#include <exception>

/// A sound policy, passed through: mutants derive from it and break one thing. `Self` is the mutant, a template over
/// the scalar; what it claims and what its cases expect are Tiled's.
template <class S, template <class> class Self, class ProjectionOf = heed::ProjectQkv<S>>
class Mutant {
 public:
  using Tiled = heed::Tiled<S>;
  static constexpr std::string_view name = "mutant";
  using Scalar = S;
  template <class M>
  using Fields = heed::Qkv<M>;
  using Projection = ProjectionOf;
  using Options = typename Tiled::Options;
  using Params = heed::NoParams;
  using Shared = heed::NoParams;
  using Context = typename Tiled::Context;
  struct Cache {};
  using State = typename Tiled::State;
  using Head = heed::Head<Self<S>>;
  using In = heed::Qkv<heed::ConstView<S>>;
  using Index = heed::Index;

  Mutant(const Options& options, heed::HeadShape shape) : options_(options), shape_(shape), sound_(options, shape) {}
  heed::HeadShape shape() const { return shape_; }
  heed::Causality causality() const { return sound_.causality(); }
  heed::Cost cost(heed::CallShape call) const { return sound_.cost(call); }
  Params init(heed::Random&) const { return {}; }
  Shared init_shared(heed::Random&) const { return {}; }
  void check(const Head& h, heed::CallShape call) const { sound_.check(down(h), call); }
  void reserve(heed::CallShape, Cache&) const {}
  void forward(const Head& h, const In& in, heed::Out<S> out, Cache&, heed::Arena& scratch) const {
    typename Tiled::Cache cache;
    sound_.forward(down(h), in, out, cache, scratch);
  }
  void backward(const Head& h, const In& in, heed::ConstOut<S> out, heed::ConstOut<S> dout, const Cache&,
                const heed::Qkv<heed::View<S>>& din, const heed::HeadGradient<Self<S>>&, heed::Arena& scratch) const {
    heed::NoParams none;
    sound_.backward(down(h), in, out, dout, {}, din, heed::HeadGradient<Tiled>{none, none}, scratch);
  }
  State start(Index capacity, Index chunk) const { return sound_.start(capacity, chunk); }
  void append(const Head& h, State& state, const In& in) const { sound_.append(down(h), state, in); }
  void attend(const Head& h, const State& state, const In& in, heed::Out<S> out, heed::Arena& scratch) const {
    sound_.attend(down(h), state, in, out, scratch);
  }

 protected:
  static heed::Head<Tiled> down(const Head& h) { return {h.own, h.shared, h.context, h.sequence, h.head}; }
  /// The sound policy with other options.
  void forward_with(const Options& options, const Head& h, const In& in, heed::Out<S> out, heed::Arena& scratch) const {
    typename Tiled::Cache cache;
    Tiled(options, shape_).forward(down(h), in, out, cache, scratch);
  }
  Options options_;
  heed::HeadShape shape_;
  Tiled sound_;
};

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
