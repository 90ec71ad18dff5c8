// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdio>
#include <map>
#include <sstream>
#include <string>
#include <vector>

/// What the terminal shows while the cases run; and the results of the harness, as JSON.

namespace heed::bench {

inline std::string human_time(double seconds) {
  const char* const units[] = {"s ", "ms", "us", "ns"};
  int unit = 0;
  for (; unit < 3 && seconds < 1; ++unit) seconds *= 1000;
  char s[32];
  std::snprintf(s, sizeof s, "%.*f %s", seconds < 10 ? 2 : seconds < 100 ? 1 : 0, seconds, units[unit]);
  return s;
}

class Progress : public benchmark::BenchmarkReporter {
 public:
  /// `refused` names the cases without a time, and says why.
  Progress(std::size_t cases, int name_width, const std::map<std::string, std::string>& refused)
      : cases_(cases), width_(name_width), refused_(refused) {
    json_.SetOutputStream(&text_);
    json_.SetErrorStream(&text_);
  }

  bool ReportContext(const Context& context) override {
    std::printf("%*s  %-*s %10s %8s %9s %11s\n", counter_width(), "", width_, "case", "time", "of peak", "error",
                "tokens/s");
    std::fflush(stdout);
    return json_.ReportContext(context);
  }

  void ReportRuns(const std::vector<Run>& runs) override {
    std::vector<Run> named = runs;
    for (Run& run : named) {  // the names that we gave, without what the harness appends
      run.run_name.min_time.clear();
      run.run_name.time_type.clear();
    }
    for (const Run& run : named)
      if (run.run_type == Run::RT_Iteration) line(run);
    json_.ReportRuns(named);
  }

  void Finalize() override { json_.Finalize(); }
  std::string json() const { return text_.str(); }

 private:
  int counter_width() const { return 3 + 2 * static_cast<int>(std::to_string(cases_).size()); }
  void line(const Run& run) {
    const std::string name = run.run_name.str();
    ++done_;
    std::printf("[%*zu/%zu]  %-*s ", static_cast<int>(std::to_string(cases_).size()), done_, cases_, width_,
                name.c_str());
    if (const auto why = refused_.find(name); why != refused_.end()) {
      std::printf("REFUSED: %s\n", why->second.c_str());
    } else {
      const auto cell = [&](const char* counter, int width, const char* format) {
        const auto at = run.counters.find(counter);
        char s[32] = "";
        if (at != run.counters.end()) std::snprintf(s, sizeof s, format, static_cast<double>(at->second));
        std::printf(" %*s", width, s);
      };
      const auto at = run.counters.find("seconds");
      std::printf("%10s", at == run.counters.end() ? "" : human_time(at->second).c_str());
      cell("of_peak", 8, "%.3f");
      cell("error", 9, "%.1e");
      cell("tokens_per_second", 11, "%.4g");
      for (const char* extra : {"of_bandwidth", "over_parts", "scaling", "fma_scaling"})
        if (const auto x = run.counters.find(extra); x != run.counters.end())
          std::printf("  %s %.3f", extra, static_cast<double>(x->second));
      std::printf("\n");
    }
    std::fflush(stdout);
  }

  std::size_t cases_, done_ = 0;
  int width_;
  const std::map<std::string, std::string>& refused_;
  benchmark::JSONReporter json_;
  std::ostringstream text_;
};

}  // namespace heed::bench
