// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
// A key pattern answers three questions.
// expect: sees
#include <heed/heed.hpp>

struct Pattern {
  void keys(heed::Range, heed::Index n, heed::Ranges& ranges) const { ranges.add({0, n}); }
  bool all(heed::Range, heed::Range) const { return false; }
#ifndef HEED_SHOULD_FAIL
  bool sees(heed::Index, heed::Index) const { return true; }
#endif
};
heed::Tiled<float, Pattern>* policy = nullptr;
