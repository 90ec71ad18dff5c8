// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/attend.hpp>
#include <heed/attention.hpp>
#include <heed/policies.hpp>
