// ferry/ferry.hpp - all of ferry
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge.hpp>

#include <ferry/net/address.hpp>
#include <ferry/net/connect.hpp>
#include <ferry/net/listener.hpp>
#include <ferry/net/memory_stream.hpp>
#include <ferry/net/resolver.hpp>
#include <ferry/net/send_file.hpp>
#include <ferry/net/socket.hpp>
#include <ferry/net/stream.hpp>

#include <ferry/http/cookies.hpp>
#include <ferry/http/headers.hpp>
#include <ferry/http/request_parser.hpp>
#include <ferry/http/request_writer.hpp>
#include <ferry/http/response_parser.hpp>
#include <ferry/http/uri.hpp>
#include <ferry/http/writer.hpp>

#include <ferry/websocket/client_handshake.hpp>
#include <ferry/websocket/control_rate.hpp>
#include <ferry/websocket/handshake.hpp>
#include <ferry/websocket/keep_alive.hpp>
#include <ferry/websocket/session.hpp>

#include <ferry/app/application.hpp>
#include <ferry/app/message.hpp>
#include <ferry/app/middleware.hpp>
#include <ferry/app/router.hpp>
#include <ferry/app/scope.hpp>

#include <ferry/middleware/access_log.hpp>

#include <ferry/channels/channel_layer.hpp>
#include <ferry/channels/in_memory_layer.hpp>

#include <ferry/server/serve_options.hpp>
#include <ferry/server/server.hpp>

#include <ferry/client/http_client.hpp>
#include <ferry/client/http_connection.hpp>
#include <ferry/client/reconnect.hpp>
#include <ferry/client/websocket_client.hpp>
#include <ferry/client/websocket_message.hpp>
#include <ferry/client/websocket_options.hpp>
