// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <mutants/mutant.hpp>

/// What the mutants derive from, unbroken, obeys every law: so it is its break that kills a mutant, and nothing else.
template <class S>
struct Sound : Mutant<S, Sound> {
  using Sound::Mutant::Mutant;
};
template <class S>
struct Cases<Sound<S>> : SoftmaxCases<Sound<S>, SeesEverything> {};

template <class Law>
void obeys() {
  const Verdict v = Law::template check_family<MutantFamily<Sound>>();
  EXPECT_TRUE(v.ok) << v.log;
}
const bool control = [] {
  heed::for_each_type(Laws{}, []<class Law>() { register_test("Control", Law::name, obeys<Law>); });
  return true;
}();
