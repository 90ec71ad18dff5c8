// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include "report.hpp"

#include "crossover.hpp"
#include "names.hpp"

#include <report_page.hpp>  // made by CMake of report.html

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace heed::bench {
namespace {

using nlohmann::json;

/// What every variant is compared with.
constexpr std::string_view base = "Tiled";

/// What is measured of one variant at one length; NaN where it was not.
struct Numbers {
  double seconds, of_peak, error, memory, tokens, of_dense;
};

struct Series {
  std::string policy, variant;
  std::map<std::int64_t, Numbers> at;  // by length

  std::vector<Point> points() const {
    std::vector<Point> p;
    for (const auto& [n, x] : at) p.push_back({static_cast<double>(n), x.seconds});
    return p;
  }
};

/// What can be compared with each other: all but policy, options and length is equal.
struct View {
  Name name;
  std::vector<Series> series;

  std::string title() const {
    std::string s = name.pass + ", " + std::to_string(name.heads) + (name.heads == 1 ? " head" : " heads");
    if (name.kv_heads > 0) s += " on " + std::to_string(name.kv_heads);
    if (name.workers > 1) s += ", " + std::to_string(name.workers) + " workers";
    return name.causal ? s + ", causal" : s;
  }
  const Series* find(std::string_view variant) const {
    for (const Series& s : series)
      if (s.variant == variant) return &s;
    return nullptr;
  }
};

double number(const json& b, const char* key) {
  const auto at = b.find(key);
  return at != b.end() && at->is_number() ? at->get<double>() : std::numeric_limits<double>::quiet_NaN();
}
std::string word(const json& b, const char* key) {
  const auto at = b.find(key);
  return at == b.end() ? "" : at->is_string() ? at->get<std::string>() : at->dump();
}
bool was_refused(const json& b) { return b.value("error_occurred", false) || b.contains("skipped"); }

std::vector<View> views(const json& results) {
  std::vector<View> all;
  for (const json& b : results["benchmarks"]) {
    const auto name = Name::parse(word(b, "name"));
    if (!name || name->heads == 0 || name->n == 0 || name->pass == "bandwidth" || word(b, "run_type") == "aggregate" ||
        was_refused(b) || !(number(b, "seconds") > 0))
      continue;
    const auto key = [](const Name& x) { return std::tuple(x.pass, x.heads, x.kv_heads, x.workers, x.causal); };
    auto view = std::find_if(all.begin(), all.end(), [&](const View& v) { return key(v.name) == key(*name); });
    if (view == all.end()) view = all.insert(all.end(), View{*name, {}});
    auto series = std::find_if(view->series.begin(), view->series.end(),
                               [&](const Series& s) { return s.variant == name->variant(); });
    if (series == view->series.end()) series = view->series.insert(series, Series{name->subject, name->variant(), {}});
    const double scratch = number(b, "scratch_bytes") * static_cast<double>(name->workers),
                 saved = number(b, "saved_bytes");
    const Numbers now{number(b, "seconds"),
                      number(b, "of_peak"),
                      number(b, "error"),
                      std::isnan(saved) ? scratch : saved + scratch,
                      number(b, "tokens_per_second"),
                      number(b, "of_dense")};
    const auto [at, is_new] = series->at.emplace(name->n, now);
    if (!is_new && now.seconds < at->second.seconds) at->second = now;  // repetitions: the fastest
  }
  const auto lengths = [](const View& v) {
    std::set<std::int64_t> n;
    for (const Series& s : v.series)
      for (const auto& [length, x] : s.at) n.insert(length);
    return n.size();
  };
  std::stable_partition(all.begin(), all.end(), [&](const View& v) { return lengths(v) > 1; });
  return all;
}

std::string escaped(std::string_view text) {
  std::string s;
  for (const char c : text)
    s += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : c == '"' ? "&quot;" : std::string(1, c);
  return s;
}
std::string format(const char* how, double x) {
  if (!std::isfinite(x)) return "";
  char s[48];
  std::snprintf(s, sizeof s, how, x);
  return s;
}
std::string time(double s) {
  return s >= 1 ? format("%.2f s", s) : s >= 1e-3 ? format("%.2f ms", 1e3 * s) : format("%.1f µs", 1e6 * s);
}
std::string size(double bytes) {
  if (bytes >= 1024.0 * 1024.0 * 1024.0) return format("%.2f GiB", bytes / (1024.0 * 1024.0 * 1024.0));
  return bytes >= 1024.0 * 1024.0 ? format("%.1f MiB", bytes / (1024.0 * 1024.0)) : format("%.1f KiB", bytes / 1024.0);
}
/// 1234567 as 1,234,567; smaller numbers with a decimal.
std::string rate(double x) {
  if (!std::isfinite(x) || x < 100) return format("%.1f", x);
  std::string s = format("%.0f", x);
  for (std::size_t at = s.size(); at > 3;) s.insert(at -= 3, ",");
  return s;
}
std::string length(double n) { return format("%.0f", n); }

std::string in_words(const Crossover& c) {
  switch (c.kind) {
    case Crossover::Kind::always:
      return "at every length from " + length(c.first);
    case Crossover::Kind::from:
      return "from about " + length(c.n);
    case Crossover::Kind::never:
      return "never up to " + length(c.last);
    default:
      return "not measured at a common length";
  }
}

/// The crossovers of a view: from which length on each variant is faster than the base.
std::string crossovers(const View& view) {
  const Series* const to = view.find(base);
  if (to == nullptr || view.series.size() < 2) return "";
  std::string rows;
  for (const Series& s : view.series) {
    if (&s == to) continue;
    const Crossover c = crossover(s.points(), to->points());
    const auto last = s.at.find(static_cast<std::int64_t>(c.last));
    const double gain = last == s.at.end() ? 0 : to->at.at(last->first).seconds / last->second.seconds;
    const bool pays = c.kind == Crossover::Kind::always || c.kind == Crossover::Kind::from;
    rows += "<tr><td>" + escaped(s.variant) + "</td><td class=\"text " + (pays ? "good" : "") + "\">" + in_words(c) +
            "</td><td>" + (last == s.at.end() ? "" : format("%.2f×", gain) + " at " + length(c.last)) + "</td></tr>\n";
  }
  return "<h3>Crossover: faster than " + std::string(base) +
         "</h3>\n<div class=\"card scroll\"><table>\n<tr><th>variant"
         "</th><th style=\"text-align:left\">faster</th><th>speed-up at the longest</th></tr>\n" +
         rows + "</table></div>\n";
}

std::string table(const View& view) {
  const Series* const to = view.find(base);
  std::string rows;
  std::set<std::int64_t> lengths;
  for (const Series& s : view.series)
    for (const auto& [n, x] : s.at) lengths.insert(n);
  for (const std::int64_t n : lengths)
    for (const Series& s : view.series) {
      const auto at = s.at.find(n);
      if (at == s.at.end()) continue;
      const Numbers& x = at->second;
      const bool compared = to != nullptr && &s != to && to->at.contains(n);
      const double gain = compared ? to->at.at(n).seconds / x.seconds : std::numeric_limits<double>::quiet_NaN();
      rows += "<tr><td>" + escaped(s.variant) + "</td><td>" + std::to_string(n) + "</td><td>" + time(x.seconds) +
              "</td><td class=\"" + (gain > 1 ? "good" : "") + "\">" + format("%.2f×", gain) + "</td><td>" +
              format("%.3g %%", 100 * x.of_dense) + "</td><td>" + rate(x.tokens) + "</td><td>" +
              format("%.3f", x.of_peak) + "</td><td>" + (std::isnan(x.memory) ? "" : size(x.memory)) + "</td><td>" +
              format("%.1e", x.error) + "</td></tr>\n";
    }
  return "<h3>Numbers</h3>\n<div class=\"card scroll\"><table>\n<tr><th>variant</th><th>n</th><th>time</th><th>speed-up"
         "</th><th>of dense</th><th>tokens/s</th><th>of peak</th><th>memory</th><th>error</th></tr>\n" +
         rows + "</table></div>\n";
}

/// The Linformer's table 3 (Wang et al. 2020): times as fast by length and rank, ours beside the paper's, which are of
/// whole models on a GPU.
std::string linformer_table(const View& view) {
  static constexpr std::int64_t ranks[] = {128, 256, 512, 1024, 2048};
  struct Row {
    std::int64_t n;
    double faster[std::size(ranks)];  // 0: not in the table
  };
  static constexpr Row paper[] = {{512, {1.5, 1.3, 0, 0, 0}},        {1024, {1.7, 1.6, 1.3, 0, 0}},
                                  {2048, {2.6, 2.4, 2.1, 1.3, 0}},   {4096, {3.4, 3.2, 2.8, 2.2, 1.3}},
                                  {8192, {5.5, 5.0, 4.4, 3.5, 2.1}}, {16384, {8.6, 7.8, 7.0, 5.6, 3.3}},
                                  {32768, {13, 12, 11, 8.8, 5.0}},   {65536, {20, 18, 16, 14, 7.9}}};
  const Series* const to = view.find(base);
  std::string head, rows;
  std::size_t measured = 0;
  for (const std::int64_t k : ranks) {
    head += "<th>k = " + std::to_string(k) + "</th>";
    if (view.find("Linformer/k:" + std::to_string(k)) != nullptr) ++measured;
  }
  if (to == nullptr || measured < 2) return "";
  for (const auto& [n, faster] : paper) {
    rows += "<tr><td>" + std::to_string(n) + "</td>";
    for (std::size_t i = 0; i < std::size(ranks); ++i) {
      const Series* const s = view.find("Linformer/k:" + std::to_string(ranks[i]));
      const bool have = s != nullptr && s->at.contains(n) && to->at.contains(n);
      rows += "<td>" + (have ? format("%.2f×", to->at.at(n).seconds / s->at.at(n).seconds) : "") + " <small>" +
              (faster[i] > 0 ? format("%.1f×", faster[i]) : "–") + "</small></td>";
    }
    rows += "</tr>\n";
  }
  return "<h3>Linformer, table 3: times as fast as " + std::string(base) +
         " <small>(small: the paper's, whole models on a GPU)</small></h3>\n"
         "<div class=\"card scroll\"><table>\n<tr><th>n</th>" +
         head + "</tr>\n" + rows + "</table></div>\n";
}

json drawn(const std::vector<View>& all) {
  json data{{"base", base}, {"views", json::array()}};
  const auto put = [](json& to, const char* key, double x) {
    if (std::isfinite(x)) to[key] = x;
  };
  for (const View& view : all) {
    const Series* const to = view.find(base);
    json v{{"title", view.title()}, {"series", json::array()}};
    for (const Series& s : view.series) {
      json one{{"policy", s.policy}, {"variant", s.variant}, {"points", json::array()}};
      if (to != nullptr && to != &s)
        if (const Crossover c = crossover(s.points(), to->points()); c.kind == Crossover::Kind::from)
          one["crossover"] = c.n;
      for (const auto& [n, x] : s.at) {
        json point{{"n", n}};
        put(point, "seconds", x.seconds);
        put(point, "memory", x.memory);
        put(point, "error", x.error);
        if (to != nullptr && to->at.contains(n)) put(point, "speedup", to->at.at(n).seconds / x.seconds);
        one["points"].push_back(std::move(point));
      }
      v["series"].push_back(std::move(one));
    }
    data["views"].push_back(std::move(v));
  }
  return data;
}

std::string refused(const json& results) {
  std::string rows;
  for (const json& b : results["benchmarks"])
    if (was_refused(b))
      rows += "<tr><td>" + escaped(word(b, "name")) + "</td><td class=\"text bad\">" +
              escaped(word(b, b.contains("error_message") ? "error_message" : "skip_message")) + "</td></tr>\n";
  if (rows.empty()) return "";
  return "<h2>Refused</h2>\n<p>These cases have no time, because their result or their speed cannot be right.</p>\n"
         "<div class=\"card scroll\"><table>\n" +
         rows + "</table></div>\n";
}

std::string facts(const json& context) {
  std::string s;
  for (const auto& [key, value] : context.items()) {
    if (value.is_array() || value.is_object()) continue;
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    if (text.empty() || key == "executable" || key == "host_name" || key == "num_cpus") continue;
    std::string name = key;
    std::replace(name.begin(), name.end(), '_', ' ');
    s += "<div><dt>" + escaped(name) + "</dt><dd>" + escaped(text) + "</dd></div>\n";
  }
  return s;
}

void replace(std::string& page, std::string_view mark, const std::string& by) {
  if (const std::size_t at = page.find(mark); at != page.npos) page.replace(at, mark.size(), by);
}

}  // namespace

std::string report(const json& results) {
  const std::vector<View> all = views(results);
  const json context = results.value("context", json::object());
  std::string sections;
  for (std::size_t i = 0; i < all.size(); ++i)
    sections += "<section data-view=\"" + std::to_string(i) + "\" aria-label=\"" + escaped(all[i].title()) +
                "\">\n<h2>" + escaped(all[i].title()) + "</h2>\n" + crossovers(all[i]) + linformer_table(all[i]) +
                table(all[i]) + "</section>\n";
  std::string data = drawn(all).dump();
  for (std::size_t at = 0; (at = data.find("</", at)) != data.npos;) data.replace(at, 2, "<\\/");  // ends no script

  std::string subtitle = word(context, "processor");
  for (const char* key : {"peak of one core", "suite", "commit", "date"})
    if (const std::string x = word(context, key); !x.empty())
      subtitle += (subtitle.empty() ? "" : " · ") + (key == std::string_view("date") ? x : std::string(key) + " " + x);

  std::string page = report_page;
  replace(page, "{{subtitle}}", escaped(subtitle));
  replace(page, "{{refused}}", refused(results));
  replace(page, "{{sections}}", sections);
  replace(page, "{{facts}}", facts(context));
  replace(page, "{{data}}", data);
  return page;
}

}  // namespace heed::bench
