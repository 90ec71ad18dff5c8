// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <gtest/gtest.h>
#include <heed/core/type_list.hpp>
#include <laws/adds_law.hpp>
#include <laws/batch_laws.hpp>
#include <laws/causal_law.hpp>
#include <laws/determinism_law.hpp>
#include <laws/differences_law.hpp>
#include <laws/extremes_law.hpp>
#include <laws/layer_law.hpp>
#include <laws/layout_law.hpp>
#include <laws/memory_laws.hpp>
#include <laws/merge_law.hpp>
#include <laws/nan_law.hpp>
#include <laws/oracle_law.hpp>
#include <laws/parameters_law.hpp>
#include <laws/precision_law.hpp>
#include <laws/rejects_law.hpp>
#include <laws/streaming_law.hpp>

#include <filesystem>
#include <fstream>
#include <string>

/// Every law. Each runs on every registered policy, and each is broken by a mutant (mutants_test.cpp).
using Laws = heed::TypeList<MatchesOracle, MatchesDifferences, LayersMatchDifferences, Adds, Causal, ContainsNan,
                            IgnoresPadding, SequencesIndependent, HeadsIndependent, StreamingEqualsBatch, ResultsMerge,
                            Deterministic, ReadsAnyLayout, RejectsBadInput, SurvivesExtremes, VisitsEveryParameter,
                            FloatAgrees, AllocatesNothingAgain, CostHolds>;

/// Whether a law has anything to say of a family: it does unless it asks for a refinement that the policy does not
/// have.
template <class Law, class Family>
constexpr bool law_applies() {
  if constexpr (requires { Law::template applies<Family>; })
    return Law::template applies<Family>;
  else
    return true;
}

/// Writes one cell of the table law x policy x mutant, which a test at the end reads (law_table.cmake).
inline void write_cell(const std::string& law, const std::string& row, const std::string& what) {
  const std::filesystem::path folder = std::filesystem::path(HEED_LAW_CELLS) / law;
  std::filesystem::create_directories(folder);
  std::ofstream(folder / row) << what;
}

/// A test that is a function.
class FunctionTest : public testing::Test {
 public:
  explicit FunctionTest(void (*body)()) : body_(body) {}
  void TestBody() override { body_(); }

 private:
  void (*body_)();
};
inline void register_test(const std::string& suite, const std::string& name, void (*body)()) {
  testing::RegisterTest(suite.c_str(), name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                        [body]() -> testing::Test* { return new FunctionTest(body); });
}

template <class Law, class Family>
void run_law() {
  const std::string policy(Family::template Of<float>::name);
  if constexpr (law_applies<Law, Family>()) {
    const Verdict v = Law::template check_family<Family>();
    write_cell(Law::name, policy, v.ok ? "holds" : "BROKEN");
    EXPECT_TRUE(v.ok) << v.log;
  } else {
    write_cell(Law::name, policy, "not its refinement");
  }
}

/// All laws on one family, one test each: `inline const bool laws = register_laws<TiledFamily>();`
template <class Family>
bool register_laws() {
  heed::for_each_type(Laws{}, []<class Law>() { register_test("Laws", Law::name, run_law<Law, Family>); });
  return true;
}
