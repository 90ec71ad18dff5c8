// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include "fma_peak.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

/// The clock of a case.

namespace heed::bench {

/// One case: what it takes to run it, made when it starts. `once` is timed; `between` is not, and runs after it.
struct Job {
  double multiply_adds = 0;  ///< useful ones; 0 if there is no peak to hold them against
  double tokens = 0;         ///< that are worked off; 0 if it has none
  int workers = 1;
  double calls = 1;  ///< of what is named by the case, in one call of `once`; all numbers are for one of them
  std::function<void()> once;
  std::function<void()> between = [] {};
  std::function<void(benchmark::State&, double seconds)> finish = [](benchmark::State&, double) {};  ///< adds counters
  std::string wrong{};                                  ///< why it must not be timed; empty if it may
  double known = 0;                                     ///< seconds of a call already made, if that was a long one
  std::vector<std::pair<std::string, double>> facts{};  ///< counters that do not depend on the time
};

/// Times a job over all the calls that the harness makes until it has seen enough: the fastest run of it counts, and so
/// does the fastest run of the peak loop beside it, because whatever else goes on in the machine only makes both
/// slower.
class Clock {
 public:
  explicit Clock(Job job) : job_(std::move(job)) {}

  /// Why there is no time; empty if there is one.
  const std::string& refused() const { return job_.wrong; }

  void run(benchmark::State& state) {
    if (!job_.wrong.empty()) return refuse(state, job_.wrong);
    peak_.sample();
    double since = 0;
    for (auto _ : state) {
      const double s = job_.known > 0 ? std::exchange(job_.known, 0) : seconds(job_.once);
      job_.between();
      best_ = std::min(best_, s / job_.calls);
      state.SetIterationTime(s / job_.calls);
      if ((since += s) > 0.01) {  // the clock moves: look at the peak all along
        peak_.sample(1);
        since = 0;
      }
    }
    peak_.sample();
    report(state);
  }

 private:
  void report(benchmark::State& state) {
    state.counters["seconds"] = best_;
    if (job_.tokens > 0) state.counters["tokens_per_second"] = job_.tokens / best_;
    for (const auto& [name, value] : job_.facts) state.counters[name] = value;
    job_.finish(state, best_);
    if (job_.multiply_adds == 0) return;

    // Both sides of this comparison are disturbed by what else the machine does: it gets a few more tries.
    double product = eigen_product_rate();
    for (int i = 0; i < 20 && peak_.best() < peak_over_eigen * product; ++i) {
      peak_ = FmaPeak();
      peak_.sample(10);
      product = eigen_product_rate();
    }
    const double of_peak = job_.multiply_adds / best_ / (peak_.best() * job_.workers);
    char message[128];
    if (peak_.best() < peak_over_eigen * product) {
      std::snprintf(message, sizeof message,
                    "the peak of %.3g multiply-adds per second is below %.2f times Eigen's %.3g", peak_.best(),
                    peak_over_eigen, product);
      return refuse(state, message);
    }
    // Products run at the peak itself, and the clock may rise by a little between the two.
    if (of_peak > 1.02) {
      std::snprintf(message, sizeof message, "%.3f of the peak: more than can be", of_peak);
      return refuse(state, message);
    }
    state.counters["of_peak"] = of_peak;
    state.counters["peak"] = peak_.best();
  }

  void refuse(benchmark::State& state, const std::string& why) {
    job_.wrong = why;
    state.SkipWithError(why.c_str());
  }

  Job job_;
  FmaPeak peak_;
  double best_ = std::numeric_limits<double>::infinity();
};

/// What two loops of nothing but multiply-adds gain by a second worker, and what `f(workers)` gains, in alternation.
struct Scaling {
  double one = std::numeric_limits<double>::infinity(), two = one, fma_one = one, fma_two = one;

  template <class F>
  void sample(F&& f) {
    one = std::min(one, seconds([&] { f(1); }));
    fma_one = std::min(fma_one, fma(1));
    fma_two = std::min(fma_two, fma(2));
    two = std::min(two, seconds([&] { f(2); }));
  }
  static double fma(int workers) {
    constexpr std::int64_t rounds = 2'000'000;
    return seconds([&] { parallel_for(2, workers, [](Index, int) { fma_loop(rounds, 0.5f, -0.5f); }); });
  }
};

/// With several workers: what they gain, beside what loops of nothing but multiply-adds gain.
template <class F>
void measure_scaling(Job& job, F&& run_with) {
  auto scaling = std::make_shared<Scaling>();
  job.between = [scaling, run_with] { scaling->sample(run_with); };
  job.finish = [scaling](benchmark::State& state, double best) {
    state.counters["scaling"] = scaling->one / std::min(best, scaling->two);
    state.counters["fma_scaling"] = scaling->fma_one / scaling->fma_two;
  };
}

}  // namespace heed::bench
