// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
// Masks are -inf: the headers refuse flags under which there is no infinity.
// flags: -ffast-math
// expect: heed: masks are -inf
#include <heed/core/types.hpp>
