// ferry/bridge.hpp - core to bridge: coroutines, plain values, loops, and the way to blocking code and back
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/async_generator.hpp>
#include <ferry/core/combine.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/context.hpp>
#include <ferry/core/context_local.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/exception_handlers.hpp>
#include <ferry/core/outcome.hpp>
#include <ferry/core/process.hpp>
#include <ferry/core/shield.hpp>
#include <ferry/core/stop_token.hpp>
#include <ferry/core/task.hpp>
#include <ferry/core/temporaries.hpp>

#include <ferry/data/base64.hpp>
#include <ferry/data/digest.hpp>
#include <ferry/data/json.hpp>
#include <ferry/data/utf8.hpp>
#include <ferry/data/value.hpp>

#include <ferry/deadlock/allowance.hpp>
#include <ferry/deadlock/hang.hpp>
#include <ferry/deadlock/report.hpp>

#include <ferry/loop/async_mutex.hpp>
#include <ferry/loop/async_shared_mutex.hpp>
#include <ferry/loop/bounded_queue.hpp>
#include <ferry/loop/callback.hpp>
#include <ferry/loop/condition.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/every.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/latch.hpp>
#include <ferry/loop/on.hpp>
#include <ferry/loop/poll_poller.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/semaphore.hpp>
#include <ferry/loop/shared_future.hpp>
#include <ferry/loop/shuffled_loop.hpp>
#include <ferry/loop/signals.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/connection_per_worker.hpp>
#include <ferry/bridge/loop_thread.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/bridge/this_call.hpp>
#include <ferry/bridge/thread_channel.hpp>
#include <ferry/bridge/thread_pool.hpp>
#include <ferry/bridge/thread_sensitive.hpp>
