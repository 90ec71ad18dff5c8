// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <heed/core/parallel.hpp>

#include <atomic>
#include <stdexcept>
#include <string>

using heed::Index;

TEST(ParallelFor, EveryTaskOnce) {
  for (const int threads : {1, 2, 3, 8})
    for (const Index tasks : {0, 1, 2, 100}) {
      std::vector<std::atomic<int>> done(static_cast<std::size_t>(tasks));
      heed::parallel_for(tasks, threads, [&](Index task, int worker) {
        EXPECT_GE(worker, 0);
        EXPECT_LT(worker, threads);
        ++done[static_cast<std::size_t>(task)];
      });
      for (const auto& d : done) EXPECT_EQ(d, 1);
    }
}

TEST(ParallelFor, TheLowestExceptionReachesTheCaller) {
  for (const int threads : {1, 2, 8})
    for (int again = 0; again < 20; ++again) {
      std::string caught;
      try {
        heed::parallel_for(50, threads, [&](Index task, int) {
          if (task == 17 || task == 33) throw std::runtime_error(std::to_string(task));
        });
      } catch (const std::runtime_error& e) {
        caught = e.what();
      }
      EXPECT_EQ(caught, "17");
    }
  int done = 0;  // and the next call works
  heed::parallel_for(3, 1, [&](Index, int) { ++done; });
  EXPECT_EQ(done, 3);
}

TEST(ParallelFor, LeavesTheProgramAlone) {
#ifdef _OPENMP
  const int before = omp_get_max_threads();
  heed::parallel_for(10, 5, [](Index, int) {});
  EXPECT_EQ(omp_get_max_threads(), before);
#endif
  const int eigen = Eigen::nbThreads();
  heed::parallel_for(10, 5, [](Index, int) {});
  EXPECT_EQ(Eigen::nbThreads(), eigen);
}

TEST(Workers, HaveRoomOfTheirOwn) {
  heed::Workers workers;
  workers.prepare(3, 5000);
  EXPECT_GE(workers.bytes(), 15000u);
  const std::size_t held = workers.bytes();
  workers.run(20, [](Index task, heed::Arena& arena) {
    heed::View<double> m = arena.matrix<double>(20, 20);
    m.setConstant(static_cast<double>(task));
    EXPECT_EQ(m.sum(), 400.0 * static_cast<double>(task));
  });
  EXPECT_EQ(workers.bytes(), held);
  EXPECT_EQ(workers.peak(), 20u * 20u * sizeof(double));
}
