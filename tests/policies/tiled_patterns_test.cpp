// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/patterns/global.hpp>
#include <heed/patterns/log_offsets.hpp>
#include <heed/patterns/random_blocks.hpp>
#include <heed/patterns/sparse_transformer.hpp>
#include <heed/patterns/star.hpp>
#include <heed/patterns/window.hpp>
#include <laws.hpp>
#include <policies/softmax_cases.hpp>

/// Tiled over key patterns obeys the laws that a pattern can break. The rules say again, in their own words, who sees
/// whom.

using heed::Index;

struct Band : heed::Window {
  Band() : Window(11, 5) {}
};
struct BandRule {
  static constexpr bool everything = false;
  static bool sees(Index p, Index j) { return p - 11 <= j && j <= p + 5; }
};
/// Window, global keys and random blocks, as in BigBird.
struct Bird : decltype(heed::Window(9, 9) | heed::GlobalAt({2, 30}) | heed::RandomBlocks(300, 8, 2, 1)) {
  Bird() : Union{heed::Window(9, 9) | heed::GlobalAt({2, 30}), heed::RandomBlocks(300, 8, 2, 1)} {}
};
struct BirdRule {
  static constexpr bool everything = false;
  static bool sees(Index p, Index j) {
    static const heed::RandomBlocks random(300, 8, 2, 1);
    return std::abs(p - j) <= 9 || p == 2 || p == 30 || j == 2 || j == 30 || random.sees(p, j);
  }
};
struct LogRule {
  static constexpr bool everything = false;
  static bool sees(Index p, Index j) { return j == p || (j < p && ((p - j) & (p - j - 1)) == 0); }
};

struct Dilated : heed::DilatedWindow {
  Dilated() : DilatedWindow(5, 4, 3) {}
};
struct DilatedRule {
  static constexpr bool everything = false;
  static bool sees(Index p, Index j) { return j - p >= -15 && j - p <= 12 && (j - p + 15) % 3 == 0; }
};
struct Strides : heed::Strided {
  Strides() : Strided(20) {}
};
struct StridesRule {
  static constexpr bool everything = false;
  static bool sees(Index p, Index j) { return j <= p && (p - j <= 20 || (p - j) % 20 == 0); }
};
struct Summaries : heed::FixedBlocks {
  Summaries() : FixedBlocks(33, 4) {}
};
struct SummariesRule {
  static constexpr bool everything = false;
  static bool sees(Index p, Index j) { return p >= 0 && j <= p && (j / 33 == p / 33 || j % 33 >= 29); }
};
struct Ring : heed::Star {
  Ring() : Star(64) {}
};
struct RingRule {
  static constexpr bool everything = false;
  static bool sees(Index p, Index j) {
    return p == 0 || j == 0 || std::abs(p - j) <= 1 || (p == 1 && j == 63) || (p == 63 && j == 1);
  }
};

template <class S>
struct Cases<heed::Tiled<S, Dilated>> : SoftmaxCases<heed::Tiled<S, Dilated>, DilatedRule> {};
template <class S>
struct Cases<heed::Tiled<S, Strides>> : SoftmaxCases<heed::Tiled<S, Strides>, StridesRule> {};
template <class S>
struct Cases<heed::Tiled<S, Summaries>> : SoftmaxCases<heed::Tiled<S, Summaries>, SummariesRule> {};
template <class S>
struct Cases<heed::Tiled<S, Ring>> : SoftmaxCases<heed::Tiled<S, Ring>, RingRule> {};
template <class S>
struct Cases<heed::Tiled<S, Band>> : SoftmaxCases<heed::Tiled<S, Band>, BandRule> {};
template <class S>
struct Cases<heed::Tiled<S, Bird>> : SoftmaxCases<heed::Tiled<S, Bird>, BirdRule> {};
template <class S>
struct Cases<heed::Tiled<S, heed::LogOffsets>> : SoftmaxCases<heed::Tiled<S, heed::LogOffsets>, LogRule> {};

template <class Pattern>
struct Family {
  template <class S>
  using Of = heed::Tiled<S, Pattern>;
};
template <class Law, class Pattern>
void obeys() {
  const Verdict v = Law::template check_family<Family<Pattern>>();
  EXPECT_TRUE(v.ok) << v.log;
}
template <class Pattern>
bool on(const char* name) {
  using Concerned = heed::TypeList<MatchesOracle, MatchesDifferences, ContainsNan, Causal, Deterministic,
                                   StreamingEqualsBatch, CostHolds>;
  const std::string suite = name;
  heed::for_each_type(Concerned{}, [&]<class Law>() { register_test(suite, Law::name, obeys<Law, Pattern>); });
  return true;
}
const bool band = on<Band>("Window");
const bool bird = on<Bird>("WindowGlobalRandom");
const bool logarithmic = on<heed::LogOffsets>("LogOffsets");
const bool dilated = on<Dilated>("DilatedWindow");
const bool strided = on<Strides>("Strided");
const bool fixed_blocks = on<Summaries>("FixedBlocks");
const bool star = on<Ring>("Star");
