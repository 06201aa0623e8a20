// ferry/bridge.hpp - coroutines, loops, and the bridge to blocking code; nothing of sockets or protocols
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/loop_thread.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/exception_handlers.hpp>
#include <ferry/core/task.hpp>
#include <ferry/core/temporaries.hpp>
#include <ferry/deadlock/allowance.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/loop/bounded_queue.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/signals.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>
