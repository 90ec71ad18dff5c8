// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/arena.hpp>
#include <heed/core/types.hpp>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace heed {

/// Calls `f(task, worker)` for every task in [0, tasks), by up to `threads` workers where the program is compiled with
/// OpenMP, else one after another. Tasks are handed out in order, to whoever is free: a task must not depend on its
/// worker. The exception of the lowest failed task reaches the caller, when no task runs any more. Changes no setting
/// of the program.
template <class F>
void parallel_for(Index tasks, int threads, F&& f) {
#ifdef _OPENMP
  if (threads > 1 && tasks > 1) {
    std::exception_ptr error;
    Index failed = tasks;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (Index task = 0; task < tasks; ++task) {
      try {
        f(task, omp_get_thread_num());
      } catch (...) {
#pragma omp critical(heed_parallel_for)
        if (task < failed) {
          failed = task;
          error = std::current_exception();
        }
      }
    }
    if (error) std::rethrow_exception(error);
    return;
  }
#else
  static_cast<void>(threads);
#endif
  for (Index task = 0; task < tasks; ++task) f(task, 0);
}

/// The scratch memory of every worker, and the loop that hands it out.
class Workers {
 public:
  /// As many workers as `threads` (one where the program has no OpenMP), each with room for `bytes` in one piece.
  void prepare(int threads, std::size_t bytes) {
#ifdef _OPENMP
    const std::size_t n = threads > 1 ? static_cast<std::size_t>(threads) : 1;
#else
    static_cast<void>(threads);
    const std::size_t n = 1;
#endif
    if (arenas_.size() < n) arenas_.resize(n);
    threads_ = static_cast<int>(n);
    for (std::size_t i = 0; i < n; ++i) arenas_[i].reserve(bytes);
  }

  /// `f(task, arena)` for every task.
  template <class F>
  void run(Index tasks, F&& f) {
    parallel_for(tasks, threads_, [&](Index task, int worker) {
      Arena& arena = arenas_[static_cast<std::size_t>(worker)];
      const Arena::Frame frame(arena);
      f(task, arena);
    });
  }

  /// The most scratch that any worker ever used at one time, and all that is held.
  std::size_t peak() const {
    std::size_t most = 0;
    for (const Arena& a : arenas_) most = std::max(most, a.peak());
    return most;
  }
  std::size_t bytes() const {
    std::size_t n = 0;
    for (const Arena& a : arenas_) n += a.bytes();
    return n;
  }

 private:
  std::vector<Arena> arenas_ = std::vector<Arena>(1);
  int threads_ = 1;
};

}  // namespace heed
