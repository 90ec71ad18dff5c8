// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <heed/core/arena.hpp>

#include <cstdint>

using heed::Arena, heed::Index;

TEST(Arena, FramesNestAndGiveBack) {
  Arena arena;
  {
    const Arena::Frame outer(arena);
    float* const a = arena.take<float>(100);
    a[99] = 1;
    {
      const Arena::Frame inner(arena);
      arena.take<double>(1000)[999] = 2;
    }
    EXPECT_EQ(a[99], 1);
    EXPECT_EQ(arena.peak(), Arena::size_of<float>(100) + Arena::size_of<double>(1000));
  }
  const std::size_t held = arena.bytes();
  for (int again = 0; again < 3; ++again) {
    const Arena::Frame outer(arena);
    arena.take<float>(100);
    const Arena::Frame inner(arena);
    arena.take<double>(1000);
  }
  EXPECT_EQ(arena.bytes(), held) << "a call like an earlier one grows it";
}

TEST(Arena, WhatIsTakenIsAlignedAndDisjoint) {
  Arena arena;
  const Arena::Frame frame(arena);
  char* last = nullptr;
  for (Index n : {1, 63, 64, 65, 0, 1000}) {
    char* const at = arena.take<char>(n);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(at) % Arena::alignment, 0u);
    EXPECT_NE(at, last);
    for (Index i = 0; i < n; ++i) at[i] = 7;
    if (n > 0) last = at;
  }
}

TEST(Arena, ReservedRoomIsOnePiece) {
  Arena arena;
  arena.reserve(100000);
  const std::size_t held = arena.bytes();
  EXPECT_GE(held, 100000u);
  {
    const Arena::Frame frame(arena);
    arena.matrix<float>(100, 100).setZero();
    arena.vector<float>(10000).setZero();
    arena.reserve(1000000);  // inside a frame nothing moves
  }
  EXPECT_EQ(arena.bytes(), held);
  arena.reserve(1000);  // never shrinks
  EXPECT_EQ(arena.bytes(), held);
}

TEST(Arena, ACopyIsAnotherArena) {
  Arena a;
  a.reserve(1000);
  Arena b = a;
  const Arena::Frame fa(a), fb(b);
  EXPECT_NE(a.take<float>(10), b.take<float>(10));
}
