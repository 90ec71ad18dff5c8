// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <sstream>
#include <string>

/// What a law says: whether it holds, and where it does not.
struct Verdict {
  bool ok = true;
  std::string log;

  /// Records a violation unless `holds`.
  template <class... Parts>
  void expect(bool holds, const Parts&... parts) {
    if (holds) return;
    ok = false;
    if (log.size() > 2000) return;  // the first ones tell enough
    std::ostringstream line;
    (line << ... << parts) << '\n';
    log += line.str();
  }
};
