// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include "arguments.hpp"
#include "bars.hpp"
#include "facts.hpp"
#include "progress.hpp"
#include "report.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace heed::bench {
namespace {

namespace fs = std::filesystem;

void write(const fs::path& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary);
  file << content;
  file.close();
  if (!file) throw UsageError("--out: cannot write '" + path.string() + "'");
}

/// So that a folder which cannot be written to is known before the minutes that it takes to fill it.
void make_folders(const fs::path& out) {
  std::error_code error;
  fs::create_directories(out / "report", error);
  if (error) throw UsageError("--out: cannot make the folder '" + (out / "report").string() + "': " + error.message());
}

nlohmann::json read_results(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  nlohmann::json results = nlohmann::json::parse(file, nullptr, false);
  if (!results.is_object() || !results.contains("benchmarks") || !results["benchmarks"].is_array())
    throw UsageError("--report: the results.json of an earlier run expected, came '" + path + "'");
  return results;
}

void write_report(const fs::path& out, const nlohmann::json& results) {
  const fs::path page = out / "report" / "index.html";
  write(page, report(results));
  std::cout << "\nreport: " << page.string() << "\n";
}

/// Registers a case. What it needs is made when it starts, and given back when the next one does.
void add(const Case& c, const Text& text, bool own_min_time, std::map<std::string, std::string>& refused) {
  struct Running {
    std::string name;
    std::unique_ptr<Clock> clock;
  };
  static Running running;
  const auto body = [c, &text, &refused, name = c.name.text()](benchmark::State& state) {
    try {
      if (running.name != name) {
        running = {name, nullptr};
        running.clock = std::make_unique<Clock>(c.make(text));
      }
      if (!running.clock) return state.SkipWithError("it could not be made");
      running.clock->run(state);
      if (!running.clock->refused().empty()) refused[name] = running.clock->refused();
    } catch (const std::exception& e) {
      refused[name] = e.what();
      state.SkipWithError(e.what());
    }
  };
  auto* b = benchmark::RegisterBenchmark(c.name.text().c_str(), body);
  b->UseManualTime()->Unit(benchmark::kMillisecond);
  if (own_min_time) b->MinTime(c.min_time);
}

/// 0, or 1 if a case was refused.
int run(const Arguments& arguments, const std::vector<Case>& cases, const Text& text) {
  if (!arguments.out.empty()) make_folders(arguments.out);
  const auto known = facts(arguments.suite, text);
  for (const auto& [key, value] : known) benchmark::AddCustomContext(key, value);

  std::size_t width = 0;
  double budget = 0;
  for (const Case& c : cases) {
    width = std::max(width, c.name.text().size());
    budget += c.min_time;
  }
  std::map<std::string, std::string> refused;
  const bool own_min_time = std::none_of(arguments.rest.begin(), arguments.rest.end(), [](const std::string& flag) {
    return flag.starts_with("--benchmark_min_time");
  });
  for (const Case& c : cases) add(c, text, own_min_time, refused);

  std::cout << "heed " << known.at("commit") << ", " << known.at("processor") << ", " << known.at("instruction sets")
            << "\npeak of one core " << known.at("peak of one core") << "; " << text.bytes.size() << " bytes of "
            << text.path << "\nsuite " << arguments.suite << ": " << cases.size() << " cases, a budget of "
            << std::lround(budget) << " s of timed runs or one run each\n\n"
            << std::flush;
  Progress progress(cases.size(), static_cast<int>(width), refused);
  benchmark::RunSpecifiedBenchmarks(&progress);

  nlohmann::json results = nlohmann::json::parse(progress.json(), nullptr, false);
  if (!results.is_object()) return refused.empty() ? 0 : 1;  // the harness only listed names, or its filter left none
  results["context"].erase("library_build_type");  // of the harness, not ours: it says nothing about these numbers
  if (arguments.suite == "full" || arguments.suite == "bars") Bars(results).print();
  if (!arguments.out.empty()) {
    write(fs::path(arguments.out) / "results.json", results.dump(1) + "\n");
    write_report(arguments.out, results);
  }
  if (!refused.empty()) std::cerr << "\n" << refused.size() << " of " << cases.size() << " cases were refused\n";
  return refused.empty() ? 0 : 1;
}

int main(int argc, char** argv) {
  Eigen::setNbThreads(1);  // its products are a measure of one core here
  Arguments arguments = parse(argc, argv);
  if (arguments.help) {
    std::cout << help;
    return 0;
  }
  if (!arguments.report.empty()) {
    const nlohmann::json results = read_results(arguments.report);
    make_folders(arguments.out);
    write_report(arguments.out, results);
    return 0;
  }
  const std::vector<Case> cases = arguments.cases();
  if (arguments.list) {
    for (const Case& c : cases) std::cout << c.name.text() << "\n";
    return 0;
  }
  const Text text = arguments.text.empty() ? default_text() : read_text(arguments.text);

  std::vector<char*> rest;
  for (std::string& word : arguments.rest) rest.push_back(word.data());
  int count = static_cast<int>(rest.size());
  rest.push_back(nullptr);
  benchmark::Initialize(&count, rest.data());
  if (count > 1) throw UsageError("'" + std::string(rest[1]) + "': no such argument; --help tells which there are");
  return run(arguments, cases, text);
}

}  // namespace
}  // namespace heed::bench

int main(int argc, char** argv) {
  try {
    return heed::bench::main(argc, argv);
  } catch (const heed::bench::UsageError& e) {
    std::cerr << "heed_benchmarks: " << e.what() << "\n";
    return 2;
  } catch (const std::exception& e) {
    std::cerr << "heed_benchmarks: " << e.what() << "\n";
    return 1;
  }
}
