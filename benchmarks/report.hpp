// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <nlohmann/json.hpp>

#include <string>

namespace heed::bench {

/// One HTML page that needs nothing else: what the results of a run say, by length.
std::string report(const nlohmann::json& results);

}  // namespace heed::bench
