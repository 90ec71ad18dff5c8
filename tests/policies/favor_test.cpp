// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <laws.hpp>
#include <policies/favor_cases.hpp>

const bool laws = register_laws<FavorFamily<heed::SoftmaxFeatures>>();
